"""Undo and restore: a unit taken back leaves the tree that was there before it, to the nanosecond."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import GuardTripped, JournalError, UsageError, VersionGone
from atomsync.fs.posix import PosixDisk
from atomsync.testing import Dir, File, every_crash, every_failure
from atomsync.unit.store import Store, open_store
from tests.store.world import NEW, OLD, T, World

Make = Callable[..., World]


def ids(world: World) -> list[str]:
    """The last first."""
    return [unit.unit_id for unit in world.store().history()]


def names_in_history(world: World) -> list[tuple[str, int]]:
    """Every file that the history keeps, with how many names it has in all."""
    found = []
    for unit_id in world.control_names("history"):
        pending = [f".atomsync/history/{unit_id}/slots"]
        while pending:
            path = pending.pop()
            with world.place(path + "/x") as (at, _):
                for name, status in world.disk.scandir(at):
                    if status.st_mode & 0o170000 == 0o040000:
                        pending.append(f"{path}/{name}")
                    elif status.st_mode & 0o170000 == 0o100000:
                        found.append((f"{path}/{name}", status.st_nlink))
    return found


# -- back and forth


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (NEW, OLD), (OLD, Dir({})), (Dir({}), NEW)])
def test_an_undone_unit_leaves_the_tree_that_was_there_before_it(make: Make, old: Dir, new: Dir) -> None:
    world = make(old, new)
    world.push()
    assert world.tree() == world.tree("src")
    receipt = world.store().undo()
    assert world.tree() == old
    assert receipt.bytes == 0
    assert receipt.warnings == ()
    assert "unit" not in world.control_names()


def test_an_undone_unit_can_be_undone_itself_again_and_again(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    for wanted in (OLD, NEW, OLD, NEW, OLD):
        world.store().undo()
        assert world.tree() == wanted


def test_what_went_back_is_the_very_file_and_has_one_name(make: Make) -> None:
    world = make(OLD, NEW)
    before = {path: world.entry(path) for path in ("file", "gone", "gone-dir/deep/f", "dir-to-file/b/c")}
    world.push()
    world.store().undo()
    for path, entry in before.items():
        found = world.entry(path)
        assert entry is not None
        assert found is not None
        assert found.ino == entry.ino, path
        with world.place(path) as (at, name):
            assert world.disk.lstat(at, name).st_nlink == 1, path
    assert {links for _, links in names_in_history(world)} == {1}


def test_the_history_says_what_took_back_what(make: Make) -> None:
    world = make(OLD, NEW)
    pushed = world.push()
    undone = world.store().undo(message="that was wrong")
    restored = world.store().restore(pushed.unit_id)
    told = {unit.unit_id: unit for unit in world.store().history()}
    assert [*told] == [restored.unit_id, undone.unit_id, pushed.unit_id]
    assert told[undone.unit_id].undoes == pushed.unit_id
    assert told[undone.unit_id].message == "that was wrong"
    assert told[restored.unit_id].restores == pushed.unit_id
    assert (told[pushed.unit_id].created, told[pushed.unit_id].updated, told[pushed.unit_id].removed) == (
        7,
        8,
        8,
    )


def test_units_are_named_by_id_beginning_or_distance(make: Make) -> None:
    world = make(Dir({"a": File(b"0", mtime_ns=T)}))
    for number in (1, 2, 3):
        with world.begin() as unit:
            unit.write(f"f{number}", b"x")
    last, second, first = ids(world)
    store = world.store()
    for word, wanted in (("@", last), ("@~0", last), ("@~1", second), ("@~2", first), (first, first)):
        with store.shown(word) as (unit, _):
            assert unit.unit_id == wanted
    for word in ("@~3", "20200101", "", "@~", "nonsense", "@~-1", second[:8]):
        with pytest.raises(UsageError), store.shown(word):
            pass


def test_a_store_without_a_history_has_nothing_to_take_back(make: Make, tmp_path: Path) -> None:
    world = make(OLD)
    for verb in (lambda: world.store().undo(), lambda: world.store().restore("@")):
        with pytest.raises(UsageError, match="history"):
            verb()
    assert world.tree() == OLD
    assert world.store().history() == ()


# -- others were there


def test_what_a_later_unit_changed_is_not_undone_unawares(make: Make) -> None:
    world = make(OLD, NEW)
    pushed = world.push()
    with world.begin() as unit:
        unit.write("file", b"later")
        unit.write("made/sub/later", b"x")
        unit.write("other", b"not in the way")
    later = world.tree()
    with pytest.raises(GuardTripped, match="2 paths were changed since") as refused:
        world.store().undo(pushed.unit_id)
    assert f"file (changed by unit {ids(world)[0]})" in str(refused.value)
    assert "made/sub/later (changed by unit" in str(refused.value)
    assert "--force" in refused.value.hint
    assert world.tree() == later
    receipt = world.store().undo(pushed.unit_id, force=True)
    assert world.content("file") == b"old"
    assert world.entry("made") is None
    assert world.content("other") == b"not in the way"
    assert b"later" in world.all_contents()  # in the history of the undo
    world.store().undo(receipt.unit_id)
    assert world.content("file") == b"later"
    assert world.content("made/sub/later") == b"x"


def test_what_somebody_else_changed_is_not_undone_unawares(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    world.save("file", b"an operator's")
    with pytest.raises(GuardTripped, match=r"1 path was changed since: file \(changed by somebody else\)"):
        world.store().undo()
    world.store().undo(force=True)
    assert world.content("file") == b"old"
    assert b"an operator's" in world.all_contents()


def test_an_edit_that_keeps_size_and_time_is_noticed_by_its_inode(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    now = world.entry("file")
    assert now is not None
    world.save("file", b"newes")
    with world.place("file") as (at, name):
        world.disk.set_meta_at(at, name, now.uid, now.gid, now.mode, now.mtime_ns)
    with pytest.raises(GuardTripped, match="file"):
        world.store().undo()


def test_a_unit_in_the_middle_is_undone_where_nobody_else_was(make: Make) -> None:
    world = make(Dir({"a": File(b"0", mtime_ns=T), "d": Dir({"b": File(b"0", mtime_ns=T)}, mtime_ns=T + 1)}))
    with world.begin() as unit:
        unit.write("d/b", b"1")
    with world.begin() as unit:
        unit.write("a", b"2")
    world.store().undo("@~1")
    assert (world.content("a"), world.content("d/b")) == (b"2", b"0")
    assert world.entry("d").mtime_ns == T + 1  # type: ignore[union-attr]
    world.store().undo("@~1")
    assert (world.content("a"), world.content("d/b")) == (b"0", b"0")


def test_where_its_directory_went_with_a_later_unit_force_makes_it_anew(make: Make) -> None:
    world = make(Dir({"d": Dir({"e": Dir({"f": File(b"0", mtime_ns=T)}, 0o750)}, 0o711)}))
    with world.begin() as unit:
        unit.write("d/e/f", b"1")
    with world.begin() as unit:
        unit.remove("d")
        unit.write("d", b"a file by now")
    with pytest.raises(GuardTripped):
        world.store().undo("@~1")
    world.store().undo("@~1", force=True)
    assert world.content("d/e/f") == b"0"
    assert (world.entry("d").mode, world.entry("d/e").mode) == (0o711, 0o750)  # type: ignore[union-attr]
    world.store().undo()
    assert world.content("d") == b"a file by now"


# -- attributes


def test_modes_and_times_go_back_where_only_they_changed(make: Make) -> None:
    tree = Dir({"f": File(b"0", 0o640, mtime_ns=T), "d": Dir({}, 0o750, mtime_ns=T + 1)}, mtime_ns=T + 2)
    world = make(tree)
    with world.begin() as unit:
        unit.chmod("f", 0o600)
        unit.utime("f", T + 50)
        unit.chmod("d", 0o700)
    world.store().undo()
    assert world.tree() == tree


def test_attributes_of_before_come_with_content_that_went_later(make: Make) -> None:
    tree = Dir({"f": File(b"0", 0o640, mtime_ns=T)}, mtime_ns=T + 2)
    world = make(tree)
    with world.begin() as unit:
        unit.write("g", b"1")
    with world.begin() as unit:
        unit.chmod("f", 0o600)
        unit.utime("f", T + 50)
    with world.begin() as unit:
        unit.write("f", b"1")
    world.store().restore("@~2")
    assert world.tree().names["f"] == tree.names["f"]
    world.store().restore("@~2", ["f"])
    assert world.tree().names["f"] == File(b"0", 0o600, T + 50)
    assert {links for _, links in names_in_history(world)} == {1}


def test_a_mode_is_undone_and_what_was_written_later_stays(make: Make) -> None:
    world = make(Dir({"f": File(b"0", 0o640, mtime_ns=T)}))
    with world.begin() as unit:
        unit.chmod("f", 0o600)
    with world.begin() as unit:
        unit.write("f", b"1")
    with pytest.raises(GuardTripped):
        world.store().undo("@~1")
    world.store().undo("@~1", force=True)
    assert (world.content("f"), world.entry("f").mode) == (b"1", 0o640)  # type: ignore[union-attr]


def test_a_mode_is_undone_though_somebody_wrote_into_the_file(make: Make) -> None:
    world = make(Dir({"f": File(b"0", 0o640, mtime_ns=T)}))
    with world.begin() as unit:
        unit.chmod("f", 0o600)
    world.write_into("f", b"more")
    world.store().undo(force=True)
    assert world.content("f") == b"more"
    assert world.entry("f").mode == 0o640  # type: ignore[union-attr]


def test_a_file_with_other_names_gets_its_old_mode_as_a_copy(make: Make) -> None:
    world = make(Dir({"f": File(b"0", 0o640, mtime_ns=T)}))
    with world.begin() as unit:
        unit.chmod("f", 0o600)
    with world.place("f") as (at, name):
        world.disk.link(at, name, at, "g")
    world.store().undo(force=True)
    assert (world.entry("f").mode, world.entry("g").mode) == (0o640, 0o600)  # type: ignore[union-attr]


# -- restore


@pytest.fixture
def years(make: Make) -> World:
    """A store with units that left ``f`` as 1, 2, 3, and ``d/g`` as 2."""
    world = make(Dir({"f": File(b"0", mtime_ns=T), "d": Dir({}, mtime_ns=T + 1)}, mtime_ns=T + 2))
    for number in (1, 2, 3):
        with world.begin() as unit:
            unit.write("f", b"%d" % number)
            if number == 2:
                unit.write("d/g", b"2")
                unit.symlink("d/l", "g")
        time.sleep(0.002)
    return world


def test_a_restore_brings_every_state_back_that_the_history_has(years: World) -> None:
    states = {}
    for unit_id in ids(years):
        years.store(keep=50).restore(unit_id)
        states[unit_id] = years.tree()
    assert [states[unit_id].names["f"].data for unit_id in states] == [b"3", b"2", b"1"]  # type: ignore[union-attr]
    assert [sorted(state.names["d"].names) for state in states.values()] == [  # type: ignore[union-attr]
        ["g", "l"],
        ["g", "l"],
        [],
    ]
    for unit_id, state in reversed(states.items()):
        years.store(keep=50).restore(unit_id)
        assert years.tree() == state
    assert {links for _, links in names_in_history(years)} == {1}


def test_nobody_goes_back_over_a_unit_of_which_nobody_knows_what_it_did(years: World) -> None:
    third, second, first = ids(years)
    years.write_into(f".atomsync/history/{second}/journal", b"rotten")
    before = years.tree()
    for attempt in (
        lambda: years.store().restore(first),
        lambda: years.store().restore(first, ["f"]),
        lambda: years.store().undo("@~1"),
        lambda: years.store().shown("@~1").__enter__(),
    ):
        with pytest.raises(JournalError, match=f"what unit {second} changed"):
            attempt()
        assert years.tree() == before
    years.store().restore(second)
    assert years.tree().names["f"] == File(b"2", mtime_ns=years.tree().names["f"].mtime_ns)
    years.store().undo(third, force=True)


def test_only_the_paths_that_are_named_go_back(years: World) -> None:
    first = ids(years)[-1]
    years.store().restore(first, ["d"])
    assert years.content("f") == b"3"
    assert years.entry("d/g") is None
    with pytest.raises(UsageError, match="nothing/there"):  # misspelt, most likely
        years.store().restore(first, ["f", "nothing/there"])
    years.store().restore(first, ["f"])
    assert years.content("f") == b"1"


def test_a_path_is_restored_though_its_directory_is_gone(years: World) -> None:
    last = ids(years)[0]
    with years.begin() as unit:
        unit.remove("d")
    years.store().restore(last, ["d/g"])
    assert years.content("d/g") == b"2"
    assert years.entry("d/l") is None


def test_a_restore_goes_to_a_time(years: World) -> None:
    units = years.store().history()
    moment = datetime.fromtimestamp((units[1].committed_ns // 1_000_000 + 1) / 1000, UTC)
    years.store().restore(moment)
    assert years.content("f") == b"2"


def test_a_time_before_the_history_is_refused_and_says_how_far_it_goes_back(years: World) -> None:
    with pytest.raises(UsageError, match=f"goes back to unit {ids(years)[-1]}"):
        years.store().restore(datetime(2020, 1, 1, tzinfo=UTC))
    years.store().gc(keep=2)
    with pytest.raises(UsageError, match=f"goes back to {ids(years)[-1]}"):
        years.store().restore("20200101")
    assert years.content("f") == b"3"


def test_what_others_changed_is_displaced_by_a_restore_and_kept(years: World) -> None:
    years.save("f", b"an operator's")
    years.store().restore("@~1")
    assert years.content("f") == b"2"
    assert b"an operator's" in years.all_contents()


def test_to_restore_what_is_there_changes_nothing(years: World) -> None:
    before = years.tree(), ids(years)
    assert years.store().restore("@").unit_id == ""
    assert (years.tree(), ids(years)) == before


@pytest.mark.parametrize("path", ["/abs", "../out", "a//b", ".atomsync/lock"])
def test_a_path_that_leads_out_is_refused(years: World, path: str) -> None:
    with pytest.raises(UsageError):
        years.store().restore("@~1", [path])


# -- versions that are gone


def kept(world: World, unit_id: str, path: str) -> str:
    """Where the version of ``path`` that a unit displaced lies."""
    from atomsync.store.kept import journals
    from tests.store.world import opened

    with opened(world) as control:
        (journal,) = [found for found in journals(control) if found.header.id == unit_id]
    (slot,) = [step.slot for step in journal.steps if step.path == path and step.slot]
    return f".atomsync/history/{unit_id}/slots/{slot}"


def test_a_version_that_somebody_wrote_into_does_not_go_back(make: Make) -> None:
    world = make(OLD, NEW)
    pushed = world.push()
    world.write_into(kept(world, pushed.unit_id, "file"), b"late and longer")
    with pytest.raises(VersionGone, match="file") as refused:
        world.store().undo()
    assert refused.value.exit_status == 53
    assert world.tree() == NEW
    world.store().restore("@", ["file"])  # what is there is not concerned


def test_a_version_of_another_content_with_the_same_time_and_size_does_not_go_back(make: Make) -> None:
    world = make(Dir({}))
    for data in (b"first", b"other"):
        with world.begin() as unit:
            unit.write("f", data)
    where = kept(world, ids(world)[0], "f")
    before = world.entry(where)
    assert before is not None
    world.write_into(where, b"rots!")
    with world.place(where) as (at, name):
        world.disk.set_meta_at(at, name, -1, -1, None, before.mtime_ns)
    with pytest.raises(VersionGone, match="f"):
        world.store().undo()
    assert world.content("f") == b"other"


def test_a_version_that_was_taken_away_is_named(make: Make) -> None:
    world = make(OLD, NEW)
    pushed = world.push()
    world.unlink(kept(world, pushed.unit_id, "gone"))
    with pytest.raises(VersionGone, match="gone"):
        world.store().undo()
    assert world.tree() == NEW


# -- prepared units in between


def test_the_order_is_that_of_the_commits(make: Make) -> None:
    world = make(Dir({"a": File(b"0", mtime_ns=T)}))
    unit = world.unit()
    unit.write("p", b"prepared first")
    resting = unit.prepare("a ledger")
    unit.close()
    with world.begin() as unit:
        unit.write("a", b"1")
    between = ids(world)[0]
    world.store().commit_prepared(resting.id)
    assert ids(world) == [resting.id, between]
    assert resting.id < between
    world.store().restore("@~1")
    assert world.entry("p") is None
    assert world.content("a") == b"1"


# -- crashes


@pytest.mark.parametrize("way", ["undo", "redo", "restore"])
def test_an_undo_cut_at_any_call_is_done_or_is_not_and_can_be_undone(simulate: Make, way: str) -> None:
    world = simulate(OLD, NEW)
    with world.begin() as unit:
        unit.utime("same", T)
    world.push()
    old, new = NEW, OLD
    if way == "redo":
        world.store().undo()
        old, new = OLD, NEW

    def work(here: Store) -> object:
        return here.restore("@~1") if way == "restore" else here.undo()

    seen = set()
    for trial in every_crash(world.store(), work, reboots=2):
        left = world.on(trial.store.disk)
        left.recover()
        assert left.tree() in (old, new), trial[:3]
        done = left.tree() == new
        seen.add(done)
        if trial.how != "power cut":
            assert {links for _, links in names_in_history(left)} == {1}, trial[:3]
        if trial.at % 7 == 0:
            left.store().undo()
            assert (left.tree() == old) == done, trial[:3]
    assert seen == {False, True}


def test_a_restore_of_some_names_of_a_file_cut_at_any_call_leaves_the_history_alone(simulate: Make) -> None:
    world = simulate(OLD, None)
    for twin in ("twin", "third"):
        with world.place("file") as (at, name):
            world.disk.link(at, name, at, twin)
    with world.begin() as unit:
        unit.write("other", b"")
    first = ids(world)[0]
    with world.begin() as unit:
        for name in ("file", "twin", "third"):
            unit.remove(name)

    seen = set()
    for trial in every_crash(world.store(), lambda here: here.restore(first, ["file", "twin"]), reboots=1):
        left = world.on(trial.store.disk)
        left.recover()
        seen.add(left.entry("file") is not None)
        if trial.how != "power cut":
            assert [links for _, links in names_in_history(left)] == [3, 3, 3], trial[:3]
        if trial.at % 7 == 0:
            left.store().restore(first)
            assert {left.content(name) for name in ("file", "twin", "third")} == {b"old"}
    assert seen == {False, True}


def test_an_undo_that_fails_at_any_call_can_be_tried_again(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    world.push()
    for trial in every_failure(world.store(), lambda here: here.undo(), errno.EIO):
        left = world.on(trial.store.disk)
        left.recover()
        assert left.tree() in (OLD, NEW), trial[:3]
        if left.tree() == NEW:
            left.store().undo()
        assert left.tree() == OLD, trial[:3]


# -- on the real disk


def test_special_files_go_back_too(tmp_path: Path) -> None:
    import os
    import stat

    world = World.made(PosixDisk(), str(tmp_path), OLD)
    os.mkfifo(tmp_path / "dst/pipe")
    inode = os.lstat(tmp_path / "dst/pipe").st_ino
    with world.begin() as unit:
        unit.remove("pipe")
    world.store().undo()
    found = os.lstat(tmp_path / "dst/pipe")
    assert stat.S_ISFIFO(found.st_mode)
    assert (found.st_ino, found.st_nlink) == (inode, 1)


def test_a_special_file_goes_back_with_the_attributes_it_had(tmp_path: Path) -> None:
    import os
    import stat

    world = World.made(PosixDisk(), str(tmp_path), OLD)
    os.mkfifo(tmp_path / "dst/pipe")
    before = os.lstat(tmp_path / "dst/pipe")
    with world.begin() as unit:
        unit.write("other", b"")
    first = ids(world)[0]
    os.chmod(tmp_path / "dst/pipe", 0o600)
    with world.begin() as unit:
        unit.remove("pipe")
    os.chmod(tmp_path / f"dst/.atomsync/history/{ids(world)[0]}/slots/0", 0o640)
    world.store().restore(first)
    found = os.lstat(tmp_path / "dst/pipe")
    assert stat.S_ISFIFO(found.st_mode)
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o600, before.st_mtime_ns)


def test_hard_links_within_the_tree_go_back_as_one_file(tmp_path: Path) -> None:
    import os

    world = World.made(PosixDisk(), str(tmp_path), OLD)
    os.link(tmp_path / "dst/file", tmp_path / "dst/twin")
    with world.begin() as unit:
        unit.remove("file")
        unit.write("twin", b"changed")
    world.store().undo()
    one, two = os.lstat(tmp_path / "dst/file"), os.lstat(tmp_path / "dst/twin")
    assert one.st_ino == two.st_ino
    assert one.st_nlink == 2
    assert (tmp_path / "dst/twin").read_bytes() == b"old"


def test_a_file_of_which_the_history_keeps_a_name_goes_back_as_a_copy(tmp_path: Path) -> None:
    """Or whoever writes into it would write into what the history has of its other name."""
    import os

    world = World.made(PosixDisk(), str(tmp_path), OLD)
    dst = tmp_path / "dst"
    names = ("file", "twin", "third")
    for name in names[1:]:
        os.link(dst / "file", dst / name)
    before = os.lstat(dst / "file")
    with world.begin() as unit:
        unit.write("other", b"")
    first = ids(world)[0]
    with world.begin() as unit:
        for name in names:
            unit.remove(name)
    world.store().restore(first, ["file", "twin"])
    one, two = os.lstat(dst / "file"), os.lstat(dst / "twin")
    assert one.st_ino == two.st_ino != before.st_ino
    assert (one.st_nlink, one.st_mtime_ns, one.st_mode) == (2, before.st_mtime_ns, before.st_mode)
    with (dst / "file").open("ab") as file:
        file.write(b" and more")
    world.store().restore(first, ["third"])
    assert (dst / "third").read_bytes() == b"old"
    assert (dst / "twin").read_bytes() == b"old and more"
    world.store().restore(first)
    assert [(dst / name).read_bytes() for name in names] == [b"old"] * 3


def test_a_state_directory_serves_as_well(tmp_path: Path) -> None:
    world = World.made(PosixDisk(), str(tmp_path), None, NEW)
    (tmp_path / "dst/.atomsync/lock").unlink(missing_ok=True)
    (tmp_path / "dst/.atomsync").rmdir()
    (tmp_path / "state").mkdir(mode=0o700)
    state: dict[str, Any] = {"state_dir": str(tmp_path / "state")}
    world.push(**state)
    assert world.tree().names == NEW.names
    world.store(**state).undo()
    assert world.tree().names == {}
    world.store(**state).undo()
    assert world.tree().names == NEW.names


def test_extended_attributes_and_acls_go_back_with_directories_that_are_made_anew(tmp_path: Path) -> None:
    import os

    world = World.made(PosixDisk(), str(tmp_path), OLD)
    directory, file = tmp_path / "dst/gone-dir", tmp_path / "dst/gone-dir/deep/f"
    try:
        os.setxattr(directory, "user.colour", b"red")
    except OSError:
        pytest.skip("no extended attributes here")
    os.setxattr(file, "user.colour", b"blue")
    with world.begin() as unit:
        unit.remove("gone-dir")
    world.store().undo()
    assert os.getxattr(directory, "user.colour") == b"red"
    assert os.getxattr(file, "user.colour") == b"blue"


def test_attributes_that_a_push_changed_are_undone_where_the_directory_stayed(tmp_path: Path) -> None:
    import os

    from atomsync import push

    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "d").mkdir(parents=True)
    (src / "d/f").write_bytes(b"f")
    try:
        os.setxattr(src / "d", "user.colour", b"red")
    except OSError:
        pytest.skip("no extended attributes here")
    push(src, dst, xattrs=True)
    os.setxattr(src / "d", "user.colour", b"blue")
    os.setxattr(src / "d/f", "user.taste", b"sweet")
    push(src, dst, xattrs=True)
    assert os.getxattr(dst / "d", "user.colour") == b"blue"
    store = open_store(dst)
    assert store.undo().unit_id
    assert os.getxattr(dst / "d", "user.colour") == b"red"
    assert os.listxattr(dst / "d/f") == []
    store.undo()
    assert os.getxattr(dst / "d", "user.colour") == b"blue"
    assert os.getxattr(dst / "d/f", "user.taste") == b"sweet"
    os.setxattr(dst / "d", "user.colour", b"an operator's")
    with pytest.raises(GuardTripped, match="d "):
        store.undo()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_on_every_filesystem_the_tree_is_what_it_was(kind: str, small_fs: Any) -> None:
    """Every kind of step there is, judged by a reader that shares no code with the product."""
    from atomsync import push
    from tests.proof import judge
    from tests.proof.scenario import Scenario

    scenario = Scenario(small_fs(kind, 320 if kind == "xfs" else 160))
    scenario.build()
    old = judge.look(scenario.dst)
    push(scenario.src, scenario.dst, delete=True, max_delete="100%")
    new = judge.look(scenario.dst)
    store = open_store(scenario.dst)
    for wanted in (old, new, old, new):
        assert store.undo().warnings == ()
        assert judge.is_same(judge.look(scenario.dst), wanted), judge.differences(
            judge.look(scenario.dst), wanted
        )
        for path, seen in wanted.items():  # the very objects came back
            if seen.kind == 0o100000:
                assert judge.look(scenario.dst)[path].ino == seen.ino, path
    assert judge.left_behind(scenario.dst) == []
