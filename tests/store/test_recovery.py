"""What a crash leaves, and what recovery makes of it: all old or all new, with nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import AtomSyncError, DiskError, InDoubt, JournalError, NoSpace, StoreLocked
from atomsync.fs.posix import PosixDisk
from atomsync.store.recovery import CLEAN, DISCARDED, FINISHED, ROLLED_BACK, Recovery
from atomsync.testing import (
    Dir,
    File,
    HookedDisk,
    Killed,
    Link,
    SimDisk,
    Tree,
    VerbFailed,
    fail_at,
    fail_sync_at,
    kill_at,
)
from atomsync.testing.crash import is_legal
from tests.store.world import NEW, OLD, World, opened, without_link_times

Make = Callable[..., World]
WEAKER: list[dict[str, bool]] = [
    {"exchange": False},
    {"exchange": False, "link": False},
    {"syncfs_trusted": False},
    {"generations": False},
]
ALL_CLASSES = [{}, *WEAKER, {"rename_new": False}, {"exchange": False, "link": False, "rename_new": False}]


def killed(
    world: World, when: Callable[[int, str, tuple[str, ...]], bool], act: Callable[[World], Any]
) -> World:
    """The world after a process that ran ``act`` was killed before the first verb ``when`` holds for."""
    if isinstance(world.disk, SimDisk):
        disk = world.sim.copy()
        dead = False

        def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
            nonlocal dead
            dead = dead or when(index, verb, names)
            if dead:
                raise Killed

        disk.hook = hook
        with pytest.raises(Killed):
            act(world.on(disk))
        return world.on(disk.copy())

    def end(index: int, verb: str, names: tuple[str, ...]) -> None:
        if when(index, verb, names):
            os._exit(42)

    child = os.fork()
    if child == 0:
        try:
            act(world.on(HookedDisk(end)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    return world


def pushed(world: World) -> None:
    world.push()


def at_seal(index: int, verb: str, names: tuple[str, ...]) -> bool:
    return verb in ("rename_new", "replace") and names[1:] == ("unit",)


def at_commit_record(index: int, verb: str, names: tuple[str, ...]) -> bool:
    return verb in ("rename_new", "replace") and names[:1] == ("unit",)


class _Sealed:
    """Kills before this call, once the unit is sealed."""

    def __init__(self, *call: str) -> None:
        self.call, self.sealed = call, False

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> bool:
        self.sealed = self.sealed or at_seal(index, verb, names)
        return self.sealed and (verb, *names[:1]) == self.call


class _NthSwap:
    """Kills before the ``nth`` exchange behind the seal."""

    def __init__(self, nth: int) -> None:
        self.nth, self.sealed, self.seen = nth, False, 0

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> bool:
        if at_seal(index, verb, names):
            self.sealed = True
        elif self.sealed and verb == "exchange" and names != ("a", "b"):
            self.seen += 1
        return self.seen == self.nth


def all_swapped(world: World) -> World:
    """Killed behind the last swap, before the commit record is written."""
    sealed = False

    def when(index: int, verb: str, names: tuple[str, ...]) -> bool:
        nonlocal sealed
        sealed = sealed or (verb in ("rename_new", "replace") and names[:1] == ("gone-dir",))
        return sealed and verb in ("syncfs",)

    return killed(world, when, pushed)


def synced(world: World, path: str) -> None:
    with world.place(path) as (at, name):
        fd = world.disk.open_file(at, name)
        world.disk.fsync(fd)
        world.disk.fsync(at)
        world.disk.close(fd)


def check(world: World, old: Tree, new: Tree) -> Recovery:
    """Recover; all is old or new, nothing is left over, and a second recovery finds nothing to do."""
    action = world.recover()
    tree = world.tree()
    assert tree in (old, new)
    if action.action != CLEAN:
        assert (tree == new) is (action.action == FINISHED)
    assert action.conflicts == ()
    assert "unit" not in world.control_names()
    assert world.control_names("retired") == []
    assert world.control_names("conflicts") == []
    again = world.recover()
    assert again.action == CLEAN
    assert world.tree() == tree
    return action


# -- the four answers, on every disk


def test_without_a_crash_there_is_nothing_to_recover(make: Make) -> None:
    world = make(OLD, NEW)
    assert world.recover() == Recovery(CLEAN)
    world.push()
    assert world.recover() == Recovery(CLEAN)
    assert world.tree() == NEW


def test_a_unit_killed_before_its_seal_is_discarded(make: Make) -> None:
    world = killed(make(OLD, NEW), at_seal, pushed)
    assert "staged" in world.store().status().unfinished
    found = check(world, OLD, NEW)
    assert found.action == DISCARDED
    assert world.tree() == OLD


@pytest.mark.parametrize("nth", [1, 2, 4])
def test_a_unit_killed_between_its_swaps_is_rolled_back(make: Make, nth: int) -> None:
    world = killed(make(OLD, NEW), _NthSwap(nth), pushed)
    assert "roll it back" in world.store().status().unfinished
    found = check(world, OLD, NEW)
    assert found.action == ROLLED_BACK
    assert found.unit_id
    assert world.tree() == OLD


def test_a_unit_killed_behind_its_commit_point_is_finished(make: Make) -> None:
    world = killed(make(OLD, NEW), at_commit_record, pushed)
    assert "committed" in world.store().status().unfinished
    assert world.tree() == NEW
    found = check(world, OLD, NEW)
    assert found.action == FINISHED
    assert world.tree() == NEW
    assert world.control_names("history") == [found.unit_id]
    with world.store().session() as session:
        assert session.manifest.digest("file")  # the manifest catches up


def test_the_next_session_recovers_by_itself_and_tells(make: Make) -> None:
    world = killed(make(OLD, NEW), _NthSwap(2), pushed)
    with world.store().session() as session:
        assert session.recovery.action == ROLLED_BACK
        assert world.tree() == OLD
    world.push()
    assert world.tree() == NEW


def test_recovery_waits_for_nobody(make: Make) -> None:
    world = make(OLD, NEW)
    with world.store().session(), pytest.raises(StoreLocked):
        world.recover()


def test_a_killed_push_on_the_real_disk_is_recovered_wherever_it_was(tmp_path: Path) -> None:
    for at in range(0, 90, 4):
        base = tmp_path / str(at)
        base.mkdir()
        world = World.made(PosixDisk(), str(base), OLD, NEW)

        def act(world: World) -> None:
            world.push(durability="none")
            os._exit(42)  # it was done before that verb came

        world = killed(world, lambda index, verb, names, at=at: index == at, act)
        check(world, OLD, NEW)


# -- kills at every verb


def sweep(world: World, **options: Any) -> int:
    """How many verbs a push takes."""
    disk = world.sim.copy()
    disk.log.clear()
    world.on(disk).push(**options)
    return len(disk.log)


@pytest.mark.parametrize("traits", ALL_CLASSES)
def test_a_kill_at_any_verb_leaves_old_or_new(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(OLD, NEW, **traits)
    answers = set()
    for at in range(sweep(world)):
        after = killed(world, lambda index, verb, names, at=at: index == at, pushed)
        answers.add(check(after, OLD, NEW).action)
    assert answers == {CLEAN, DISCARDED, ROLLED_BACK, FINISHED}


def test_a_kill_in_the_middle_of_a_write_leaves_old_or_new(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    disk = world.sim.copy()
    disk.log.clear()
    world.on(disk).push()
    writes = [at for at, (verb, *_) in enumerate(disk.log) if verb == "write"]
    for at in writes:
        for written in (1, 10, 27, 100):
            cut = world.sim.copy()
            cut.hook = kill_at(at, written)
            with pytest.raises(Killed):
                world.on(cut).push()
            check(world.on(cut.copy()), OLD, NEW)


def test_a_kill_without_durability_leaves_old_or_new(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    for at in range(sweep(world, durability="none")):
        after = killed(
            world, lambda index, verb, names, at=at: index == at, lambda w: w.push(durability="none")
        )
        check(after, OLD, NEW)


def test_a_kill_of_a_small_unit_leaves_old_or_new(simulate: Make) -> None:
    old = Dir({"a": File(b"old"), "b": File(b"old b")}, mtime_ns=5)
    new = Dir({"a": File(b"new"), "c": File(b"new c")}, mtime_ns=6)
    world = simulate(old, new)
    old, new = world.tree(), world.tree("src")
    for at in range(sweep(world)):
        check(killed(world, lambda index, verb, names, at=at: index == at, pushed), old, new)


# -- errors at every verb


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_at_any_verb_is_told_and_leaves_old_or_new(
    simulate: Make, number: int, sticky: bool
) -> None:
    world = simulate(OLD, NEW)
    raw: list[tuple[str, ...]] = []
    for at in range(sweep(world)):
        disk = world.sim.copy()
        disk.log.clear()
        disk.hook = fail_at(at, number, sticky)
        failure: BaseException | None = None
        try:
            world.on(disk).push()
        except Exception as error:
            failure = error
        if failure is not None and not isinstance(failure, AtomSyncError):
            raw.append(disk.log[at])
        after = world.on(disk.copy())
        if not sticky and not isinstance(failure, InDoubt):
            assert after.tree() == (OLD if failure else NEW), disk.log[at]
        check(after, OLD, NEW)
        if failure is None:
            assert after.tree() == NEW
    assert raw == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("options", [{"durability": "none"}, {"verify": "media"}])
def test_an_error_at_any_verb_with_other_options(simulate: Make, number: int, options: Any) -> None:
    world = simulate(OLD, NEW)
    raw: list[tuple[str, ...]] = []
    for at in range(sweep(world, **options)):
        disk = world.sim.copy()
        disk.log.clear()
        disk.hook = fail_at(at, number)
        try:
            with contextlib.suppress(AtomSyncError):
                world.on(disk).push(**options)
        except OSError:
            raw.append(disk.log[at])
        check(world.on(disk.copy()), OLD, NEW)
    assert raw == []


@pytest.mark.parametrize("traits", WEAKER)
def test_an_error_at_any_verb_in_the_weaker_classes(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(OLD, NEW, **traits)
    for at in range(sweep(world)):
        for sticky in (False, True):
            disk = world.sim.copy()
            disk.hook = fail_at(at, errno.EIO, sticky)
            with contextlib.suppress(AtomSyncError, OSError):
                world.on(disk).push()
            check(world.on(disk.copy()), OLD, NEW)


def test_the_error_named_is_the_one_that_happened(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    wrong = []
    for at in range(sweep(world)):
        disk = world.sim.copy()
        disk.log.clear()
        disk.hook = fail_at(at, errno.ENOSPC)
        try:
            world.on(disk).push()
        except AtomSyncError as error:
            if error.code not in ("space", "in-doubt"):
                wrong.append((disk.log[at], str(error)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                wrong.append((disk.log[at], str(error)))
    assert wrong == []


@pytest.mark.parametrize("sticky", [False, True])
def test_no_descriptor_stays_open_whatever_fails(simulate: Make, sticky: bool) -> None:
    world = simulate(OLD, NEW)
    left = []
    for at in range(sweep(world)):
        disk = world.sim.copy()
        disk.log.clear()
        disk.hook = fail_at(at, errno.EIO, sticky)
        with contextlib.suppress(AtomSyncError, OSError):
            world.on(disk).push()
        if disk.open_descriptors:
            left.append((disk.log[at], disk.open_descriptors))
    assert left == []


@pytest.mark.parametrize("sticky", [False, True])
def test_after_any_error_the_same_process_may_go_on(simulate: Make, sticky: bool) -> None:
    world = simulate(OLD, NEW)
    stuck = []
    for at in range(sweep(world)):
        disk = world.sim.copy()
        disk.log.clear()
        disk.hook = fail_at(at, errno.EIO, sticky)
        here = world.on(disk)
        with contextlib.suppress(AtomSyncError, OSError):
            here.push()
        record, disk.hook = disk.log[at], None
        try:
            here.recover()
            here.push()
        except AtomSyncError as error:
            stuck.append((record, str(error)))
        else:
            assert here.tree() == NEW
    assert stuck == []


@pytest.mark.parametrize("traits", [{}, {"syncfs_trusted": False}])
def test_a_failed_sync_that_loses_pages_is_never_believed_again(
    simulate: Make, traits: dict[str, bool]
) -> None:
    world = simulate(OLD, NEW, **traits)
    syncs = [verb for verb, *_ in logged(world) if verb in ("fsync", "syncfs")]
    for nth in range(len(syncs)):
        disk = world.sim.copy()
        disk.hook = fail_sync_at(nth)
        done = False
        try:
            world.on(disk).push()
            done = True
        except AtomSyncError:
            pass
        disk.hook = None
        for after in (disk.copy(), disk.crash()):
            found = world.on(after)
            found.recover()
            tree = without_link_times(found.tree())
            assert tree in ([NEW] if done else [OLD, NEW])
        torn = world.on(disk.copy())
        torn.recover()
        tree = without_link_times(torn.tree())
        lost = world.on(torn.sim.crash())  # the power goes right after recovery
        lost.recover()
        assert without_link_times(lost.tree()) == tree


def logged(world: World) -> list[tuple[str, ...]]:
    disk = world.sim.copy()
    disk.log.clear()
    world.on(disk).push()
    return list(disk.log)


# -- power cuts


def cuts(world: World, rng: random.Random, limit: int, step: int = 1, **options: Any) -> Iterator[World]:
    """Worlds after a power cut before every ``step``-th verb of a push, sampled from what could survive."""
    for at in range(0, sweep(world, **options), step):
        disk = world.sim.copy()
        disk.hook = kill_at(at)
        with pytest.raises(Killed):
            world.on(disk).push(**options)
        for keep, torn in disk.crash_states(rng, limit):
            yield world.on(disk.crash(keep, torn))


def test_a_power_cut_at_any_verb_leaves_old_or_new(simulate: Make) -> None:
    for after in cuts(simulate(OLD, NEW), random.Random(1), 8):
        check(after, OLD, NEW)


@pytest.mark.parametrize("traits", [*WEAKER, {"rename_new": False}])
def test_a_power_cut_in_the_weaker_classes_leaves_old_or_new(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(OLD, NEW, **traits)
    old, new = (OLD, NEW) if traits.get("syncfs_trusted", True) else map(without_link_times, (OLD, NEW))
    for after in cuts(world, random.Random(2), 5, 2):
        check(after, old, new)


def test_a_power_cut_of_a_small_unit_leaves_old_or_new(simulate: Make) -> None:
    old = Dir({"a": File(b"old"), "b": File(b"old b")}, mtime_ns=5)
    new = Dir({"a": File(b"new"), "c": Dir({"d": File(b"new d", mtime_ns=3)}, mtime_ns=4)}, mtime_ns=6)
    world = simulate(old, new)
    old, new = world.tree(), world.tree("src")
    for after in cuts(world, random.Random(4), 20):
        check(after, old, new)


@pytest.mark.parametrize("traits", [{}, {"syncfs_trusted": False}, {"exchange": False}])
def test_what_a_receipt_said_survives_every_power_cut(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(OLD, NEW, **traits)
    disk = world.sim.copy()
    world.on(disk).push()
    for keep, torn in disk.crash_states(random.Random(5), 100):
        after = world.on(disk.crash(keep, torn))
        after.recover()
        assert without_link_times(after.tree()) == NEW


def test_what_recovery_decided_survives_every_power_cut(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    for at in range(50, sweep(world), 2):
        after = killed(world, lambda index, verb, names, at=at: index == at, pushed)
        after.recover()
        tree = after.tree()
        for keep, torn in after.sim.crash_states(random.Random(at), 12):
            later = world.on(after.sim.crash(keep, torn))
            later.recover()
            assert later.tree() == tree


# -- crashes of recovery itself


def recovery_verbs(world: World) -> list[tuple[str, ...]]:
    disk = world.sim.copy()
    disk.log.clear()
    world.on(disk).recover()
    return list(disk.log)


@pytest.mark.parametrize("traits", [{}, {"exchange": False}, {"syncfs_trusted": False}])
def test_recovery_killed_at_any_verb_is_just_recovery_again(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(OLD, NEW, **traits)
    for at in range(3, sweep(world), 6):
        after = killed(world, lambda index, verb, names, at=at: index == at, pushed)
        for verb_at in range(len(recovery_verbs(after))):
            again = killed(after, lambda index, verb, names, at=verb_at: index == at, lambda w: w.recover())
            check(again, OLD, NEW)


def test_a_power_cut_during_recovery_is_just_recovery_again(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    rng = random.Random(6)
    for at in range(44, sweep(world), 5):
        after = killed(world, lambda index, verb, names, at=at: index == at, pushed)
        for verb_at in range(0, len(recovery_verbs(after)), 2):
            disk = after.sim.copy()
            disk.hook = kill_at(verb_at)
            with pytest.raises(Killed):
                world.on(disk).recover()
            for keep, torn in disk.crash_states(rng, 4):
                check(world.on(disk.crash(keep, torn)), OLD, NEW)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_an_error_during_recovery_is_told_and_recovery_can_be_repeated(simulate: Make, number: int) -> None:
    world = simulate(OLD, NEW)
    raw = []
    for at in range(3, sweep(world), 5):
        after = killed(world, lambda index, verb, names, at=at: index == at, pushed)
        for verb_at in range(len(recovery_verbs(after))):
            disk = after.sim.copy()
            disk.log.clear()
            disk.hook = fail_at(verb_at, number, True)
            try:
                world.on(disk).recover()
            except AtomSyncError as error:
                str(error)
            except OSError:
                raw.append(disk.log[verb_at])
            check(world.on(disk.copy()), OLD, NEW)
    assert sorted(set(raw)) == []


# -- a journal that cannot be trusted


@pytest.mark.parametrize(
    "how", ["flipped", "cut", "empty", "another version", "another name", "a directory", "a link"]
)
def test_a_journal_that_cannot_be_trusted_stops_everything_and_nothing_is_touched(
    make: Make, how: str
) -> None:
    world = killed(make(OLD, NEW), _NthSwap(2), pushed)
    path = ".atomsync/unit/journal"
    data = world.content(path)
    if how == "flipped":
        world.write_into(path, bytes([data[40] ^ 1]), 40)
    elif how == "another version":
        world.write_into(path, b"\x02", 4)
    elif how == "another name":
        with world.place(path) as (at, name):
            world.disk.link(at, name, at, "elsewhere")
    else:
        world.unlink(path)
        if how == "a directory":
            with world.place(path) as (at, name):
                world.disk.mkdir(at, name)
        elif how == "a link":
            world.create(".atomsync/unit/elsewhere", data)
            world.symlink(path, "elsewhere")
        else:
            world.create(path, data[:50] if how == "cut" else b"")
    before, control = world.tree(), world.control_tree("unit")
    for act in (world.recover, world.push):
        with pytest.raises(JournalError) as failure:
            act()
        assert failure.value.exit_status == 46
        assert world.tree() == before
        assert world.control_tree("unit") == control


def test_slots_that_vanished_behind_a_swap_are_not_taken_for_a_unit_that_never_began(make: Make) -> None:
    world = killed(make(OLD, NEW), _NthSwap(2), pushed)
    world.rename(".atomsync/unit/slots", ".atomsync/somewhere")
    before = world.tree()
    with pytest.raises(AtomSyncError):
        world.recover()
    assert world.tree() == before
    assert "unit" in world.control_names()


# -- what other programs did meanwhile


def test_a_save_after_the_crash_stays_and_the_old_version_is_kept_aside(make: Make) -> None:
    world = all_swapped(make(OLD, NEW))
    world.save("file", b"saved")
    found = world.recover()
    assert found.action == ROLLED_BACK
    (conflict,) = found.conflicts
    assert conflict.path == "file"
    assert conflict.kept.startswith(f"conflicts/{found.unit_id}/")
    assert world.content("file") == b"saved"
    assert world.content(f".atomsync/{conflict.kept}") == b"old"
    assert world.recover().action == CLEAN
    assert world.content("file") == b"saved"


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda w: w.write_into("file", b"edited"), "file"),
        (lambda w: w.write_into("file", b"EDITE"), "file"),
        (lambda w: w.write_into("empty", b"edited"), "empty"),
        (lambda w: w.write_into("dir-to-file", b"edited"), "dir-to-file"),
        (lambda w: w.write_into("made/sub/f", b"edited"), "made"),
        (lambda w: w.write_into("made/sub/f", b"F"), "made"),
        (lambda w: w.create("made/sub/more", b"edited"), "made"),
        (lambda w: w.unlink("made/sub/f"), "made"),
        (lambda w: w.save("file-to-dir/in", b"edited"), "file-to-dir"),
    ],
)
def test_an_edit_after_the_crash_is_kept_aside_and_told(
    make: Make, edit: Callable[[World], None], path: str
) -> None:
    world = all_swapped(make(OLD, NEW))
    edit(world)
    edited = world.all_contents() - {b"newer"}
    found = world.recover()
    assert found.action == ROLLED_BACK
    assert [conflict.path for conflict in found.conflicts] == [path]
    assert without_times(world.tree()) == without_times(OLD)
    assert {b"edited", b"EDITE", b"F"} & edited <= world.all_contents()


def test_what_was_made_where_something_was_removed_stays(make: Make) -> None:
    world = all_swapped(make(OLD, NEW))
    world.create("gone", b"made anew")
    found = world.recover()
    assert [conflict.path for conflict in found.conflicts] == ["gone"]
    assert world.content("gone") == b"made anew"
    assert b"gone" in world.all_contents()


def test_a_directory_that_vanished_with_its_steps_keeps_the_old_versions_aside(make: Make) -> None:
    world = all_swapped(make(OLD, NEW))
    world.rename("nested", "../elsewhere")
    found = world.recover()
    assert [conflict.path for conflict in found.conflicts] == ["nested/closed/change"]
    assert b"old" in world.all_contents()
    assert "nested" not in world.tree().names


def test_a_directory_that_became_a_link_leads_nothing_outside(make: Make) -> None:
    world = all_swapped(make(OLD, NEW))
    world.rename("nested", "../elsewhere")
    world.symlink("nested", "../elsewhere")
    with world.root(world.base) as at:
        outside = world.disk.open_dir(at, "elsewhere")
    before = world.tree("elsewhere")
    world.disk.close(outside)
    try:
        world.recover()
    except AtomSyncError:
        assert "unit" in world.control_names()
    assert world.tree("elsewhere") == before
    assert b"old" in world.all_contents()


def test_attributes_another_program_set_are_left_and_told(make: Make) -> None:
    world = all_swapped(make(OLD, NEW))
    world.chmod("mode", 0o777)
    found = world.recover()
    assert [conflict.path for conflict in found.conflicts] == ["mode"]
    entry = world.entry("mode")
    assert entry is not None
    assert entry.mode == 0o777


@pytest.mark.parametrize("traits", [{}, {"syncfs_trusted": False}])
def test_what_recovery_kept_aside_survives_every_power_cut(simulate: Make, traits: dict[str, bool]) -> None:
    world = simulate(Dir({"a": File(b"old")}), Dir({"a": File(b"new")}), **traits)
    world = killed(world, _Sealed("write", "journal"), pushed)
    world.save("a", b"saved")
    synced(world, "a")
    found = world.recover()
    assert [conflict.path for conflict in found.conflicts] == ["a"]
    for keep, torn in world.sim.crash_states(random.Random(7), 200):
        after = world.on(world.sim.crash(keep, torn))
        after.recover()
        assert {b"saved", b"old"} <= after.all_contents()


def without_times(tree: Tree) -> Tree:
    if not isinstance(tree, Dir):
        return tree
    return Dir({name: without_times(child) for name, child in tree.names.items()}, tree.mode)


# -- a first unit, into a destination that did not exist


def test_a_first_unit_that_fails_leaves_no_destination_behind(tmp_path: Path) -> None:
    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "create" and "journal" in names:
            raise OSError(errno.ENOSPC, "full")

    world = World(HookedDisk(hook), str(tmp_path))
    unit = world.unit()
    unit.write("a", b"new")
    with pytest.raises(AtomSyncError):
        unit.commit()
    unit.rollback()
    assert not (tmp_path / "dst").exists()


def test_a_first_unit_in_doubt_can_still_be_recovered(tmp_path: Path) -> None:
    swapped = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal swapped
        swapped = swapped or (verb == "rename_new" and "a" in names and "0" in names)
        if swapped and (verb in ("fsync", "syncfs", "unlink", "rmdir") or "slots" in names):
            raise OSError(errno.EIO, "dying")

    world = World(HookedDisk(hook), str(tmp_path))
    unit = world.unit()
    unit.write("a", b"new a")
    unit.write("b", b"new b")
    with pytest.raises(AtomSyncError):
        unit.commit()
    unit.rollback()
    after = World(PosixDisk(), str(tmp_path))
    if (tmp_path / "dst").exists():
        after.recover()
        names = set(os.listdir(tmp_path / "dst")) - {".atomsync"}
        assert names in (set(), {"a", "b"})


def test_a_first_unit_that_meets_another_writer_loses_none_of_its_bytes(tmp_path: Path) -> None:
    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "rename_new" and "b" in names and "1" in names:
            (tmp_path / "dst" / "a").write_bytes(b"edited by somebody")
            (tmp_path / "dst" / "b").write_bytes(b"made by somebody")

    world = World(HookedDisk(hook), str(tmp_path))
    unit = world.unit()
    unit.write("a", b"new a")
    unit.write("b", b"new b")
    with pytest.raises(AtomSyncError) as failure:
        unit.commit()
    unit.rollback()
    assert failure.value.code == "stale"
    assert {b"edited by somebody", b"made by somebody"} <= World(PosixDisk(), str(tmp_path)).all_contents()


# -- what the proof layers found, each on its own


SMALL_OLD = Dir({"a": File(b"old"), "mode": File(b"mode", 0o644, mtime_ns=3)}, mtime_ns=5)
SMALL_NEW = Dir({"a": File(b"new"), "mode": File(b"mode", 0o600, mtime_ns=3)}, mtime_ns=6)


def before_commit(world: World) -> World:
    """Killed before its commit record is written."""
    return killed(world, _Sealed("write", "journal"), pushed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Dir({}), Dir({"link": Link("new", mtime_ns=7)})),
        (Dir({"link": Link("old", mtime_ns=3)}), Dir({"link": Link("new", mtime_ns=7)})),
        (Dir({"link": Link("same", mtime_ns=3)}), Dir({"link": Link("same", mtime_ns=7)})),
        (Dir({}), Dir({"made": Dir({"link": Link("new", mtime_ns=7)})})),
    ],
    ids=["created", "replaced", "its time", "in a new directory"],
)
def test_a_small_unit_with_a_link_keeps_the_links_time_in_a_power_cut(
    simulate: Make, old: Dir, new: Dir
) -> None:
    world = simulate(old, new)
    world.sim.log.clear()
    world.push()
    assert ("syncfs",) in {record[:1] for record in world.sim.log}
    after = world.on(world.sim.crash())
    after.recover()
    assert after.tree() == new


def test_the_first_displaced_versions_survive_every_power_cut(simulate: Make) -> None:
    world = simulate(SMALL_OLD, SMALL_NEW)
    world.push()
    for keep, torn in world.sim.crash_states(random.Random(8), 100):
        after = world.on(world.sim.crash(keep, torn))
        after.recover()
        assert b"old" in after.all_contents()


def test_a_decision_that_could_not_be_synced_is_not_believed(simulate: Make) -> None:
    world = killed(
        simulate(SMALL_OLD, SMALL_NEW),
        _Sealed("fsync", "journal"),
        pushed,
    )
    for nth in range(12):
        torn = world.on(world.sim.copy())
        torn.sim.hook = fail_sync_at(nth)
        with contextlib.suppress(DiskError):
            torn.recover()
        torn = torn.on(torn.sim.copy())
        torn.recover()
        tree = torn.tree()
        for keep in ((), range(len(torn.sim.pending))):
            after = torn.on(torn.sim.crash(keep))
            after.recover()
            assert after.tree() == tree, nth


@pytest.mark.parametrize("edit", [World.save, World.write_into])
def test_what_is_kept_aside_is_lost_in_no_power_cut_meanwhile(
    simulate: Make, edit: Callable[[World, str, bytes], None]
) -> None:
    world = before_commit(simulate(SMALL_OLD, SMALL_NEW))
    edit(world, "a", b"saved")
    synced(world, "a")
    for at in range(len(recovery_verbs(world))):
        disk = world.sim.copy()
        disk.hook = kill_at(at)
        with pytest.raises(Killed):
            world.on(disk).recover()
        every = {*range(len(disk.pending))}
        for lost in sorted(every)[-8:]:  # each of the last effects, alone
            if is_legal(disk.pending, disk._medium.ordered, every - {lost}):
                after = world.on(disk.crash(every - {lost}))
                after.recover()
                assert {b"saved", b"old"} <= after.all_contents()


@pytest.mark.parametrize("traits", WEAKER[:2])
def test_a_power_cut_during_a_rollback_in_the_weaker_classes_leaves_old_or_new(
    simulate: Make, traits: dict[str, bool]
) -> None:
    world = simulate(SMALL_OLD, SMALL_NEW, **traits)
    old, new = world.tree(), world.tree("src")
    world = before_commit(world)
    for at in range(len(recovery_verbs(world))):
        disk = world.sim.copy()
        disk.hook = kill_at(at)
        with pytest.raises(Killed):
            world.on(disk).recover()
        for keep, torn in disk.crash_states(random.Random(at), 8):
            check(world.on(disk.crash(keep, torn)), old, new)


@pytest.mark.parametrize("path", ["file-to-dir/in", "made/sub/f", "file"])
def test_an_edit_is_kept_and_told_by_the_recovery_after_one_that_was_killed_before_it_was(
    make: Make, path: str
) -> None:
    world = all_swapped(make(OLD, NEW))
    world.write_into(path, b"edited")
    world = killed(
        world, lambda index, verb, names: (verb, names) == ("mkdir", ("conflicts",)), lambda w: w.recover()
    )
    found = world.recover()
    assert [conflict.path for conflict in found.conflicts] == [path.partition("/")[0]]
    assert b"edited" in world.all_contents()


@pytest.mark.parametrize("target", ["a", "nowhere"])
def test_a_file_that_became_a_link_under_a_change_of_its_mode_does_not_stop_recovery(
    simulate: Make, target: str
) -> None:
    world = before_commit(simulate(SMALL_OLD, SMALL_NEW))
    world.unlink("mode")
    world.symlink("mode", target)
    assert world.recover().action == ROLLED_BACK
    assert world.tree() == Dir({"a": File(b"old"), "mode": Link(target)})


def test_a_fifo_under_a_change_of_a_mode_does_not_stop_recovery(tmp_path: Path) -> None:
    def at_commit(index: int, verb: str, names: tuple[str, ...]) -> bool:
        return (tmp_path / "dst" / "a").read_bytes() == b"new" and verb == "write"

    world = killed(World.made(PosixDisk(), str(tmp_path), SMALL_OLD, SMALL_NEW), at_commit, pushed)
    (tmp_path / "dst" / "mode").unlink()
    os.mkfifo(tmp_path / "dst" / "mode")
    assert world.recover().action == ROLLED_BACK
    assert world.content("a") == b"old"
    assert (tmp_path / "dst" / "mode").is_fifo()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, DiskError)]
)
def test_what_recovery_needs_is_told_by_its_own_name(
    make: Make, number: int, kind: type[AtomSyncError], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = killed(make(OLD, NEW), _NthSwap(2), pushed)

    def create(at: int, name: str) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(world.disk, "create", create)
    with pytest.raises(kind, match="atomsync recover"):
        world.recover()
    monkeypatch.undo()
    assert check(world, OLD, NEW).action == ROLLED_BACK


def test_a_link_that_recovery_cannot_read_is_no_conflict(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = all_swapped(make(OLD, NEW))
    real = world.disk.readlink

    def readlink(at: int, name: str) -> str:
        if name == "l":  # in a new directory
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(at, name)

    monkeypatch.setattr(world.disk, "readlink", readlink)
    with pytest.raises(DiskError):
        world.recover()
    monkeypatch.undo()
    assert check(world, OLD, NEW).action == ROLLED_BACK


def test_a_stage_is_given_up_also_where_there_is_no_room_for_a_rename(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    full = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal full
        full = full or (verb == "create" and names == ("journal",))
        if full and verb in ("create", "mkdir", "symlink", "link", "write", "replace", "rename_new"):
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = hook
    with pytest.raises(NoSpace):
        world.push()
    assert full
    assert "unit" not in world.control_names()
    assert world.tree() == OLD


def test_recovery_empties_what_may_be_deleted_also_when_it_has_a_unit_to_finish(make: Make) -> None:
    world = killed(make(OLD, NEW), at_commit_record, pushed)
    with opened(world) as control, control.opened("retired") as at:
        world.disk.mkdir(at, "0-unit")
    assert world.recover().action == FINISHED
    assert world.control_names("retired") == []
