"""The view of a sealed unit: the tree as it will be, made of what is there and what is staged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store
from atomsync.errors import (
    AtomSyncError,
    CheckFailed,
    DestinationLimit,
    InDoubt,
    Interrupted,
    StaleEntry,
    UnitStateError,
)
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, FINISHED, ROLLED_BACK
from atomsync.testing import (
    Dir,
    File,
    Killed,
    Link,
    SimDisk,
    every_crash,
    every_failure,
    fail,
    faults,
    kill_at,
    simulated_store,
    tree_of,
)
from atomsync.unit.sealed import Sealed
from atomsync.unit.store import Store
from atomsync.unit.work import UnitOfWork
from tests.store.world import NEW, OLD, World

Make = Callable[..., World]

BEFORE = Dir(
    {
        "stays": File(b"stays", 0o640),
        "changes": File(b"old"),
        "goes": File(b"goes"),
        "link": Link("stays"),
        "far": Link("untouched/deep"),
        "untouched": Dir({"deep": Dir({"leaf": File(b"leaf")})}),
        "touched": Dir(
            {"beside": File(b"beside"), "gone": File(b"gone"), "asleep": Dir({"x": File(b"x")})}, 0o750
        ),
        "to-dir": File(b"was a file"),
        "to-file": Dir({"inner": File(b"inner")}),
    }
)


def change(unit: UnitOfWork) -> None:
    unit.write("changes", b"new")
    unit.remove("goes")
    unit.remove("touched/gone")
    unit.remove("to-dir")
    unit.mkdir("to-dir")
    unit.write("to-dir/in", b"in")
    unit.remove("to-file")
    unit.write("to-file", b"a file now")
    unit.mkdir("made", mode=0o711)
    unit.mkdir("made/sub")
    unit.write("made/sub/f", b"f")
    unit.symlink("made/up", "../stays")
    unit.symlink("new-link", "nowhere")


def previewed(store: Store, look: Callable[[str], object]) -> None:
    """Whatever a unit of this store does, ``look`` sees its view first."""

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        with sealed.preview() as path:
            look(path)


def kinds(tree: Dir) -> dict[str, Any]:
    """Path → content of a file, text of a link in quotes, None for a directory."""
    found: dict[str, Any] = {}
    for name, node in tree.names.items():
        if isinstance(node, Dir):
            found[name] = None
            found |= {f"{name}/{below}": what for below, what in kinds(node).items()}
        else:
            found[name] = node.data if isinstance(node, File) else f"-> {node.target}"
    return found


def test_the_view_holds_what_the_tree_will_and_shares_what_stays(make: Make) -> None:
    world = make(BEFORE)
    store, seen = world.store(), []
    previewed(store, lambda path: seen.append(kinds(world.control_tree("view"))))
    with store.begin() as unit:
        change(unit)
    dst = os.path.realpath(world.dst)
    assert seen == [
        {
            "stays": b"stays",
            "changes": b"new",
            "link": "-> stays",
            "far": "-> untouched/deep",
            "untouched": f"-> {dst}/untouched",
            "touched": None,
            "touched/beside": b"beside",
            "touched/asleep": f"-> {dst}/touched/asleep",
            "to-dir": None,
            "to-dir/in": b"in",
            "to-file": b"a file now",
            "made": None,
            "made/sub": None,
            "made/sub/f": b"f",
            "made/up": "-> ../stays",
            "new-link": "-> nowhere",
        }
    ]
    assert "view" not in world.control_names()


def test_its_directories_have_the_modes_they_will_have_but_are_open_to_their_owner(make: Make) -> None:
    world = make(Dir({"d": Dir({"f": File(b"f")}, 0o755), "e": Dir({"f": File(b"f")}, 0o050)}))
    store, seen = world.store(), []
    previewed(store, lambda path: seen.append(world.control_tree("view")))
    with store.begin() as unit:
        unit.chmod("d", 0o511)
        unit.write("d/g", b"g")
        unit.write("e/g", b"g")
        unit.mkdir("new", mode=0o2700)
    (view,) = seen
    assert {name: oct(node.mode) for name, node in view.names.items()} == {
        "d": "0o711",
        "e": "0o750",
        "new": "0o2700",
    }


def test_a_unit_that_changes_attributes_only_shows_the_tree_as_it_is(make: Make) -> None:
    world = make(Dir({"f": File(b"f", 0o644), "d": Dir({"x": File(b"x")})}))
    store, seen = world.store(), []
    previewed(store, lambda path: seen.append(kinds(world.control_tree("view"))))
    with store.begin() as unit:
        unit.chmod("f", 0o600)
    assert seen == [{"f": b"f", "d": f"-> {os.path.realpath(world.dst)}/d"}]


def test_where_there_are_no_hard_links_the_view_is_made_of_symbolic_ones(simulate: Make) -> None:
    world = simulate(Dir({"stays": File(b"stays"), "changes": File(b"old")}), link=False)
    store, seen = world.store(), []
    previewed(store, lambda path: seen.append(kinds(world.control_tree("view"))))
    with store.begin() as unit:
        unit.write("changes", b"new")
    dst = os.path.realpath(world.dst)
    assert seen == [{"stays": f"-> {dst}/stays", "changes": f"-> {dst}/.atomsync/unit/slots/0"}]


def test_where_there_are_no_symbolic_links_either_that_is_said(simulate: Make) -> None:
    world = simulate(Dir({"d": Dir({})}), link=False)
    store = world.store()
    previewed(store, lambda path: None)
    no_links = faults(store, fail("symlink", errno.EPERM))
    with pytest.raises(DestinationLimit, match="no symbolic links"), no_links, store.begin() as unit:
        unit.write("f", b"f")
    assert "f" not in world.tree().names


def test_what_is_sealed_is_looked_at_and_changes_no_more(make: Make) -> None:
    world = make(BEFORE)
    store, told = world.store(), []

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        told.append((sealed.counts, [change.path for change in sealed.changes], unit.read("changes")))
        for verb in (
            lambda: unit.write("more", b"x"),
            unit.flush,
            unit.begin_nested,
            unit.commit,
            unit.rollback,
        ):
            with pytest.raises(UnitStateError):
                verb()

    with store.begin() as unit:
        unit.write("changes", b"new")
        unit.remove("goes")
    assert told == [((0, 1, 1), ["changes", "goes"], b"new")]
    assert "more" not in world.tree().names


def test_whoever_keeps_what_was_sealed_has_no_view_of_it_later(make: Make) -> None:
    world = make(BEFORE)
    store, kept = world.store(), []

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        kept.append(sealed)

    with store.begin() as unit:
        unit.write("changes", b"new")
    with pytest.raises(UnitStateError, match="its listeners are through"), kept[0].preview():
        raise AssertionError("by now its session's descriptors may be anybody's")


@pytest.mark.parametrize("end", ["commit", "prepare"])
def test_a_veto_after_the_seal_rolls_the_whole_unit_back(make: Make, end: str) -> None:
    world = make(BEFORE)
    store = world.store()
    before = world.tree()

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        with sealed.preview():
            raise ValueError("not like this")

    with UnitOfWork(store) as unit:
        change(unit)
        with pytest.raises(ValueError, match="not like this"):
            getattr(unit, end)()
        assert unit.state == "failed"
    assert world.tree() == before
    assert not {"view", "unit"} & set(world.control_names())
    assert world.control_names("pending") == world.control_names("prepared") == []
    assert store.prepared() == ()
    with world.begin() as unit:
        change(unit)


def test_a_directory_that_another_writer_takes_away_is_drift(tmp_path: Path) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BEFORE)
    store = world.store()

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        os.rename(f"{world.dst}/touched", f"{world.dst}/elsewhere")
        with sealed.preview():
            raise AssertionError("there is no such tree")

    with pytest.raises(StaleEntry, match="touched"), store.begin() as unit:
        unit.write("touched/new", b"x")


def test_a_scratch_file_of_somebody_that_goes_while_the_view_is_made_is_none_of_the_units(
    tmp_path: Path,
) -> None:
    class Busy(PosixDisk):
        def link(self, at: int, name: str, to: int, new_name: str) -> None:
            if name == "beside":
                os.unlink(name, dir_fd=at)
            super().link(at, name, to, new_name)

    world = World.made(Busy(), str(tmp_path), BEFORE)
    store, seen = world.store(), []
    previewed(store, lambda path: seen.append(sorted(os.listdir(f"{path}/touched"))))
    with store.begin() as unit:
        unit.write("touched/new", b"x")
    assert seen == [["asleep", "gone", "new"]]


def test_whoever_stops_a_unit_need_not_wait_for_its_view(make: Make) -> None:
    world = make(BEFORE)
    store, progress = world.store(), Progress()

    @store.listens_for("after_seal")
    def listener(unit: UnitOfWork, sealed: Sealed) -> None:
        progress.stopping = "SIGTERM"
        with sealed.preview():
            raise AssertionError("it should have been stopped")

    with UnitOfWork(store, progress=progress) as unit:
        unit.write("changes", b"new")
        with pytest.raises(Interrupted):
            unit.commit()
    assert not {"view", "unit"} & set(world.control_names())


def test_a_kill_at_any_verb_of_a_push_that_is_previewed_leaves_old_or_new(simulate: Make) -> None:
    world = simulate(OLD, NEW)

    def pushed(disk: SimDisk) -> None:
        store = world.on(disk).store()
        previewed(store, lambda path: None)
        with world.on(disk).pushing(store=store) as unit:
            unit.commit()

    whole = world.sim.copy()
    whole.log.clear()
    pushed(whole)
    viewed = [at for at, (verb, *names) in enumerate(whole.log) if verb == "mkdir" and "view" in names]
    answers = set()
    for at in range(viewed[0], len(whole.log)):
        cut = world.sim.copy()
        cut.hook = kill_at(at)
        with pytest.raises(Killed):
            pushed(cut)
        after = world.on(cut.copy())
        answers.add(after.recover().action)
        assert after.tree() in (OLD, NEW), at
        assert not {"view", "unit"} & set(after.control_names())
    assert answers == {CLEAN, ROLLED_BACK, FINISHED}


def test_a_staged_file_that_is_changed_in_the_view_fails_the_unit(tmp_path: Path) -> None:
    store = open_store(tmp_path / "dst")

    def spoil(path: str) -> None:
        with open(f"{path}/f", "ab") as file:
            file.write(b"more")

    previewed(store, spoil)
    with pytest.raises(CheckFailed, match="f is not as it was staged"), store.begin() as unit:
        unit.write("f", b"f")


def edit(store: Store) -> None:
    """A unit that is previewed."""
    previewed(store, lambda path: None)
    with store.begin() as unit:
        unit.write("d/f", b"new")
        unit.mkdir("made")
        unit.write("made/f", b"f")
        unit.remove("gone")


BEFORE_EDIT = Dir({"stays": File(b"stays"), "d": Dir({"f": File(b"old"), "x": Dir({})}), "gone": Link("d")})
AFTER_EDIT = {"stays": b"stays", "d": None, "d/f": b"new", "d/x": None, "made": None, "made/f": b"f"}


def test_a_power_cut_at_any_moment_of_a_previewed_unit_leaves_old_or_new_and_no_view() -> None:
    was_there = 0
    for trial in every_crash(simulated_store(BEFORE_EDIT), edit):
        was_there += ".atomsync/view" in kinds(tree_of(trial.store, control=True))
        trial.store.recover()
        assert kinds(tree_of(trial.store)) in (kinds(BEFORE_EDIT), AFTER_EDIT), trial
        assert ".atomsync/view" not in kinds(tree_of(trial.store, control=True)), trial
    assert was_there > 20


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EPERM])
def test_a_call_that_fails_while_the_view_is_made_or_removed_fails_the_unit_and_no_more(number: int) -> None:
    for trial in every_failure(simulated_store(BEFORE_EDIT), edit, number):
        assert trial.raised is None or isinstance(trial.raised, AtomSyncError), trial
        if trial.raised is None or isinstance(trial.raised, InDoubt):
            trial.store.recover()
            assert kinds(tree_of(trial.store)) in (kinds(BEFORE_EDIT), AFTER_EDIT), trial
        else:
            assert kinds(tree_of(trial.store)) == kinds(BEFORE_EDIT), trial
