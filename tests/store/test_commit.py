"""A commit, on the real disk and on the simulated one: what is seen, what is kept, what is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from atomsync.errors import AccessError, DestinationLimit, Drift, NoSpace, StoreLocked
from atomsync.fs.posix import PosixDisk
from atomsync.plan.step import REMOVE, Step
from atomsync.store.commit import _is_untouched_file
from atomsync.store.history import read_journal
from atomsync.testing import Dir, File, Link, Tree, VerbFailed
from atomsync.tree.entry import look, look_deep, untouched
from tests.store.world import NEW, OLD, World, opened, without_link_times

Make = Callable[..., World]


def files(tree: Tree, path: str = "") -> dict[str, bytes]:
    """Path → content of every file in a tree."""
    if isinstance(tree, File):
        return {path: tree.data}
    found: dict[str, bytes] = {}
    if isinstance(tree, Dir):
        for name, child in tree.names.items():
            found |= files(child, f"{path}/{name}" if path else name)
    return found


def contents(tree: Tree) -> set[bytes]:
    return set(files(tree).values())


def without_times(tree: Tree) -> Tree:
    """Without the times of directories."""
    if not isinstance(tree, Dir):
        return tree
    return Dir({name: without_times(child) for name, child in tree.names.items()}, tree.mode)


# -- what a commit does


def test_a_commit_makes_the_destination_what_was_planned_to_the_nanosecond(make: Make) -> None:
    world = make(OLD, NEW)
    assert world.tree() == OLD
    world.push()
    assert world.tree() == NEW
    assert world.tree("src") == NEW


def test_a_commit_the_other_way_round_does_too(make: Make) -> None:
    world = make(NEW, OLD)
    world.push()
    assert world.tree() == OLD


def test_a_journal_written_in_small_pieces_is_the_same_journal(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(OLD, NEW)
    monkeypatch.setattr("atomsync.store.seal._WRITE_BYTES", 100)
    with world.sealed() as (session, sealed):
        journal = read_journal(session.control, "unit")
        assert (journal.header, journal.steps, journal.committed) == (sealed.header, sealed.steps, False)
        session.commit(sealed)
    assert world.tree() == NEW


def test_a_unit_whose_journal_recovery_would_not_read_is_refused_and_nothing_is_touched(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(OLD, NEW)
    monkeypatch.setattr("atomsync.store.seal._WRITE_BYTES", 100)
    monkeypatch.setattr("atomsync.store.seal.JOURNAL_MAX_BYTES", 1000)
    with pytest.raises(DestinationLimit, match="too large"):
        world.push()
    assert world.tree() == OLD
    assert world.recover().action == "clean"


def test_a_receipt_counts_entries_below_directories_too(make: Make) -> None:
    receipt = make(OLD, NEW).push()
    assert (receipt.created, receipt.updated, receipt.removed, receipt.bytes) == (7, 8, 8, 26)
    assert receipt.swap_class == "exchange"
    assert receipt.durability == "full"
    assert receipt.warnings == ()
    assert receipt.window_ms > 0


def test_nothing_is_left_of_the_unit_but_its_history(make: Make) -> None:
    world = make(OLD, NEW)
    receipt = world.push()
    assert "unit" not in world.control_names()
    assert world.control_names("retired") == []
    assert world.control_names("conflicts") == []
    assert world.control_names("history") == [receipt.unit_id]
    assert "probe" not in world.control_names()


def test_a_push_without_changes_writes_nothing(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    tree, control = world.tree(), world.control_tree()
    receipt = world.push()
    assert receipt.unit_id == ""
    assert (receipt.created, receipt.updated, receipt.removed, receipt.bytes) == (0, 0, 0, 0)
    assert world.tree() == tree
    assert without_times(world.control_tree()).names.keys() == control.names.keys()
    assert world.control_names("history") == sorted(control.names["history"].names)  # type: ignore[union-attr]


def test_what_does_not_change_keeps_its_inode(make: Make) -> None:
    world = make(OLD, NEW)
    same, mode = world.entry("same"), world.entry("mode")
    world.push()
    for before, path in ((same, "same"), (mode, "mode")):
        after = world.entry(path)
        assert before is not None
        assert after is not None
        assert after.ino == before.ino


def test_a_status_tells_the_last_unit(make: Make) -> None:
    world = make(OLD, NEW)
    assert world.store().status().last is None
    receipt = world.push()
    status = world.store().status()
    assert status.last is not None
    assert (status.last.unit_id, status.last.created, status.last.updated, status.last.removed) == (
        receipt.unit_id,
        receipt.created,
        receipt.updated,
        receipt.removed,
    )
    assert (status.unfinished, status.holder, status.conflicts) == ("", "", ())


@pytest.mark.parametrize("durability", ["full", "none"])
@pytest.mark.parametrize("verify", ["readback", "media"])
def test_every_option_commits_the_same(make: Make, durability: str, verify: str) -> None:
    world = make(OLD, NEW)
    receipt = world.push(durability=durability, verify=verify)
    assert world.tree() == NEW
    assert receipt.durability == durability


def test_the_journal_in_the_history_says_committed(make: Make) -> None:
    world = make(OLD, NEW)
    receipt = world.push()
    with opened(world) as control:
        journal = read_journal(control, "history", receipt.unit_id)
    assert journal.committed
    assert journal.header.id == receipt.unit_id


# -- privacy


def test_while_it_is_staged_nothing_of_it_can_be_reached_by_others(make: Make) -> None:
    world = make(OLD, NEW)
    with world.pushing() as unit:
        unit.flush()
        for names in ((), ("pending", "0"), ("pending", "0", "slots")):
            assert world.control_tree(*names).mode == 0o700
        assert world.tree() == OLD


def test_the_control_directory_stays_ours_alone(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    assert world.control_tree().mode == 0o700


# -- history


def test_the_history_holds_every_displaced_version(make: Make) -> None:
    world = make(OLD, NEW)
    receipt = world.push()
    kept = contents(world.control_tree("history", receipt.unit_id, "slots"))
    assert kept == contents(OLD) - {b"same", b"keep", b"mode"}


def test_displaced_versions_are_the_old_inodes_themselves(make: Make) -> None:
    world = make(OLD, NEW)
    before = world.entry("file")
    receipt = world.push()
    with opened(world) as control:
        (step,) = [
            step for step in read_journal(control, "history", receipt.unit_id).steps if step.path == "file"
        ]
        with control.opened("history", receipt.unit_id, "slots") as slots:
            assert before is not None
            assert control.disk.lstat(slots, step.slot).st_ino == before.ino


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_newest_units_are_kept_and_older_ones_given_up_whole(make: Make, keep: int) -> None:
    world = make()
    ids = []
    for number in range(5):
        with world.begin(keep=keep) as unit:
            unit.write("file", b"%d" % number)
        ids.append(world.control_names("history")[-1:] if keep else [])
    assert world.control_names("history") == [one for (one,) in ids[-keep:]] if keep else True
    assert len(world.control_names("history")) == keep
    assert world.control_names("retired") == []
    kept = contents(world.control_tree("history")) if keep else set()
    assert {b"%d" % number for number in range(4 - keep, 4)} <= kept
    assert not {b"%d" % number for number in range(4 - keep)} & kept


def test_units_are_named_in_the_order_they_were_made(make: Make) -> None:
    world = make()
    ids = []
    for number in range(4):
        with world.begin() as unit:
            unit.write("file", b"%d" % number)
            receipt = unit.commit()
        ids.append(receipt.unit_id)
    assert ids == sorted(set(ids))


# -- late writers


@pytest.mark.parametrize("path", ["file", "gone", "nested/closed/change"])
def test_what_a_late_writer_put_into_a_displaced_file_is_rescued(make: Make, path: str) -> None:
    world = make(OLD, NEW)
    with world.place(path) as (at, name):
        writer = world.disk.open_lock(at, name)
    receipt = world.push(keep=1)
    world.disk.write(writer, b"late words", 0)
    world.disk.close(writer)
    with world.begin(keep=1) as unit:
        unit.write("another", b"x")
        later = unit.commit()
    assert contents(world.control_tree("conflicts")) == {b"late words"}
    assert len(later.warnings) == 1
    assert path in later.warnings[0]
    (kept,) = world.control_names("conflicts", receipt.unit_id)
    assert f"conflicts/{receipt.unit_id}/{kept}" in later.warnings[0]
    assert world.store().status().conflicts == (receipt.unit_id,)


@pytest.mark.parametrize("path", ["gone-dir/deep/f", "dir-to-file/b/c", "dir-to-link/x"])
def test_what_a_late_writer_put_into_a_file_of_a_displaced_directory_is_rescued(
    make: Make, path: str
) -> None:
    world = make(OLD, NEW)
    with world.place(path) as (at, name):
        writer = world.disk.open_lock(at, name)
    world.push(keep=1)
    world.disk.write(writer, b"late words", 0)
    world.disk.close(writer)
    with world.begin(keep=1) as unit:
        unit.write("another", b"x")
    assert b"late words" in world.all_contents()


def test_a_new_file_in_a_displaced_directory_is_rescued(make: Make) -> None:
    world = make(OLD, NEW)
    with world.place("gone-dir/deep/f") as (at, _):
        directory = world.disk.open_dir(at, ".")
    world.push(keep=1)
    writer = world.disk.create(directory, "late")
    world.disk.write(writer, b"late words", 0)
    world.disk.close(writer)
    world.disk.close(directory)
    with world.begin(keep=1) as unit:
        unit.write("another", b"x")
    assert b"late words" in world.all_contents()


def test_without_a_late_writer_nothing_is_rescued(make: Make) -> None:
    world = make(OLD, NEW)
    world.push(keep=0)
    assert world.control_names("conflicts") == []


# -- the manifest


def digests(world: World, *paths: str) -> dict[str, str]:
    with world.store().session() as session:
        return {path: session.manifest.digest(path) for path in paths}


def expected(new: Dir, old: Dir) -> dict[str, str]:
    """Every file this unit staged has its digest; what it did not stage or removed has none."""
    before = files(old)
    staged = {path: data for path, data in files(new).items() if before.get(path) != data}
    found = {path: xxhash.xxh3_128_hexdigest(data) for path, data in staged.items()}
    return {**dict.fromkeys(before, ""), **found}


def test_the_manifest_follows_a_commit(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    wanted = expected(NEW, OLD)
    assert wanted["file"]
    assert wanted["made/sub/f"]
    assert not wanted["gone"]
    assert digests(world, *wanted) == wanted


def test_the_manifest_is_rebuilt_from_the_history_when_it_is_lost(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    if "manifest.sqlite" in world.control_names():
        world.unlink(".atomsync/manifest.sqlite")
    wanted = expected(NEW, OLD)
    assert digests(world, *wanted) == wanted


@pytest.mark.parametrize("junk", [b"", b"junk" * 5000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_the_manifest_is_rebuilt_when_it_is_corrupt(make: Make, junk: bytes) -> None:
    world = make(OLD, NEW)
    world.push()
    if "manifest.sqlite" in world.control_names():
        world.save(".atomsync/manifest.sqlite", junk)
    wanted = expected(NEW, OLD)
    assert digests(world, *wanted) == wanted


def test_a_manifest_torn_in_the_middle_never_fails_a_push(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    if "manifest.sqlite" in world.control_names():
        size = len(world.content(".atomsync/manifest.sqlite"))
        for at in range(0, size, 4096):
            world.write_into(".atomsync/manifest.sqlite", b"\xa5" * 200, at + 100)
            wanted = expected(NEW, OLD)
            found = digests(world, *wanted)
            assert set(found.values()) <= {*wanted.values(), ""}
    with world.begin() as unit:
        unit.write("file", b"again")
        receipt = unit.commit()
    assert receipt.warnings == ()
    assert digests(world, "file") == {"file": xxhash.xxh3_128_hexdigest(b"again")}


def test_files_changed_while_they_were_staged_are_racy_until_compared(make: Make) -> None:
    world = make()
    with world.begin() as unit:
        unit.write("file", b"x")
        unit.mkdir("dir")
        unit.checked_ns = 1  # as if the source had been seen in the very tick of its change
        unit.commit()
    with world.store().session() as session:
        assert session.manifest.racy() == {"file": xxhash.xxh3_128_hexdigest(b"x")}
        session.manifest.settle(["file"])
        assert session.manifest.racy() == {}


def test_old_files_are_not_racy(make: Make) -> None:
    world = make(OLD, NEW)
    world.push()
    with world.store().session() as session:
        assert session.manifest.racy() == {}


# -- drift: someone else was there first

Drifting = Callable[[World], None]
DRIFTS: dict[str, Drifting] = {
    "a path to be created was taken": lambda w: w.create("made", b"foreign"),
    "a path to be created was taken by a link": lambda w: w.symlink("new-link", "foreign"),
    "a file to be replaced was written into": lambda w: w.write_into("file", b"foreign"),
    "a file to be replaced was written into, same size": lambda w: w.write_into("file", b"fgn"),
    "a file to be replaced was saved anew": lambda w: w.save("file", b"foreign"),
    "a file to be replaced vanished": lambda w: w.unlink("file"),
    "a file to be replaced got another mode": lambda w: w.chmod("file", 0o640),
    "a file that becomes a directory was saved": lambda w: w.save("file-to-dir", b"foreign"),
    "a directory that becomes a file got an entry": lambda w: w.create("dir-to-file/b/foreign", b"foreign"),
    "a directory that becomes a file got one at its top": lambda w: w.create(
        "dir-to-file/foreign", b"foreign"
    ),
    "a directory that becomes a file was edited in": lambda w: w.write_into("dir-to-file/b/c", b"foreign"),
    "a directory that becomes a link lost an entry": lambda w: w.unlink("dir-to-link/x"),
    "a directory that becomes a link was edited in": lambda w: w.save("dir-to-link/x", b"foreign"),
    "a link to be replaced became a file": lambda w: w.save("link", b"foreign"),
    "a file to be removed was written into": lambda w: w.write_into("gone", b"foreign"),
    "a file to be removed was saved anew": lambda w: w.save("gone", b"foreign"),
    "a file to be removed vanished": lambda w: w.unlink("gone"),
    "a directory to be removed got an entry": lambda w: w.create("gone-dir/foreign", b"foreign"),
    "a directory to be removed got one deep inside": lambda w: w.create("gone-dir/deep/foreign", b"foreign"),
    "a directory to be removed was edited in": lambda w: w.write_into("gone-dir/deep/f", b"F"),
    "a directory inside it got another mode": lambda w: w.chmod("gone-dir/deep", 0o700),
    "a directory on the way was moved": lambda w: w.rename("nested", "elsewhere"),
    "a directory on the way became a link": lambda w: (
        w.rename("nested", "elsewhere"),
        w.symlink("nested", "elsewhere"),
    )[1],
    "a file to get a mode was saved anew": lambda w: w.save("mode", b"foreign"),
    "a file to get a mode vanished": lambda w: w.unlink("mode"),
    "a file to get a mode was written into": lambda w: w.write_into("mode", b"foreign"),
    "a file to get a mode got another": lambda w: w.chmod("mode", 0o400),
    "a file to get a mode became a link": lambda w: (w.unlink("mode"), w.symlink("mode", "same"))[1],
    "a directory to get a mode became a file": lambda w: (
        w.rename("time", "elsewhere"),
        w.create("time", b"foreign"),
    )[1],
    "a directory to get a mode got another": lambda w: w.chmod("time", 0o711),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_behind_the_seal_is_noticed_taken_back_and_loses_nothing(make: Make, what: str) -> None:
    world = make(OLD, NEW)
    with world.sealed() as (session, sealed):
        DRIFTS[what](world)
        found = without_times(world.tree())
        with pytest.raises(Drift) as failure:
            session.commit(sealed)
    assert "someone else changed" in failure.value.what
    assert without_times(world.tree()) == found
    assert "unit" not in world.control_names()
    assert world.recover().action == "clean"
    assert world.control_names("history") == []
    world.push()  # planned with what is there now, it goes through
    assert without_times(world.tree()) == without_times(NEW)


def _another(path: Path) -> None:
    """Alike, but for its inode."""
    found = path.stat()
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").chmod(found.st_mode & 0o7777)
    os.utime(path.with_name("other"), ns=(found.st_mtime_ns, found.st_mtime_ns))
    path.with_name("other").rename(path)


TOUCHES: dict[str, Callable[[Path], object]] = {
    "": lambda path: None,
    "its time of change": lambda path: path.chmod(path.stat().st_mode & 0o7777),
    "another name": lambda path: path.with_name("name").hardlink_to(path),
    "mode": lambda path: path.chmod(0o4644),
    "owner": lambda path: os.chown(path, 12, -1),
    "group": lambda path: os.chown(path, -1, 12),
    "time": lambda path: os.utime(path, ns=(1, 1)),
    "size": lambda path: os.truncate(path, 1),
    "inode": _another,
    "a link": lambda path: (path.unlink(), path.symlink_to("x")),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
}


@pytest.mark.parametrize("what", TOUCHES)
def test_a_displaced_file_is_judged_as_by_a_look_that_makes_an_entry(
    what: str, tmp_path: Path, needs_root: None
) -> None:
    path, disk = tmp_path / "0", PosixDisk()
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)
    slots = disk.open_root(str(tmp_path))
    try:
        old = look_deep(disk, slots, "0")
        assert old is not None
        TOUCHES[what](path)
        now = look(disk, slots, "0")
        assert now is not None
        judged = _is_untouched_file(disk, slots, Step(REMOVE, "path", old, None, slot="0"), old)
    finally:
        disk.close(slots)
    assert judged == untouched(old, now)
    assert judged == (what in ("", "its time of change", "another name"))


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_before_the_seal_is_noticed_and_nothing_is_touched(make: Make, what: str) -> None:
    world = make(OLD, NEW)
    with world.pushing() as unit:
        unit.flush()
        DRIFTS[what](world)
        found = world.tree()
        try:
            unit.commit()
        except Drift:
            unit.rollback()
        else:  # inside a directory that moves, only what comes out of it can tell
            pytest.fail("not noticed")
    assert without_times(world.tree()) == without_times(found)
    assert world.recover().action == "clean"
    assert "unit" not in world.control_names()


def test_times_of_directories_are_restored_when_a_unit_is_taken_back(make: Make) -> None:
    world = make(OLD, NEW)
    with world.sealed() as (session, sealed):
        world.write_into("gone", b"foreign")
        with pytest.raises(Drift):
            session.commit(sealed)
    found = world.tree()
    assert {**found.names, "gone": OLD.names["gone"]} == OLD.names
    assert found.mtime_ns == OLD.mtime_ns


def test_a_failed_step_is_taken_back_even_if_the_change_is_small(make: Make) -> None:
    world = make(Dir({"a": File(b"old"), "b": File(b"old b")}))
    unit = world.unit()
    unit.write("a", b"new")
    unit.write("c", b"new c")
    unit.flush()
    sealed = unit.session.seal(unit._plan)
    world.create("c", b"foreign")
    with pytest.raises(Drift):
        unit.session.commit(sealed)
    unit.rollback()
    assert files(world.tree()) == {"a": b"old", "b": b"old b", "c": b"foreign"}


# -- in the middle of a commit: on the simulated disk another program can be let in at any verb


def letting_in(world: World, path: str, act: Drifting, nth: int = 0) -> None:
    """Let ``act`` happen right after the swap of ``path``."""
    swapped = inside = done = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal swapped, inside, done
        if inside or done:
            return
        if swapped:
            inside = True
            act(world)
            inside, done = False, True
        elif verb in ("exchange", "rename_new", "replace") and path in names:
            swapped = True

    world.sim.hook = hook


def test_a_save_over_a_new_version_stays_and_the_old_one_is_kept_aside(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    with world.sealed() as (session, sealed):
        world.write_into("gone", b"drift")
        letting_in(world, "file", lambda w: w.save("file", b"saved"))
        with pytest.raises(Drift) as failure:
            session.commit(sealed)
    world.sim.hook = None
    assert world.content("file") == b"saved"
    assert contents(world.control_tree("conflicts")) == {b"old"}
    assert f"kept as conflicts/{sealed.header.id}/" in failure.value.hint
    assert "file: " in failure.value.hint
    assert contents(OLD) - {b"gone"} <= world.all_contents()
    assert world.recover().action == "clean"


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("file", lambda w: w.write_into("file", b"edited")),
        ("empty", lambda w: w.write_into("empty", b"edited")),
        ("made", lambda w: w.write_into("made/sub/f", b"edited")),
        ("made", lambda w: w.create("made/sub/more", b"edited")),
        ("file-to-dir", lambda w: w.save("file-to-dir/in", b"edited")),
        ("nested/closed/change", lambda w: w.write_into("nested/closed/change", b"edited")),
    ],
)
def test_an_edit_of_a_new_version_is_kept_aside_when_the_unit_is_taken_back(
    simulate: Make, path: str, edit: Drifting
) -> None:
    world = simulate(OLD, NEW)
    with world.sealed() as (session, sealed):
        world.write_into("gone", b"drift")
        letting_in(world, path.rpartition("/")[2], edit)
        with pytest.raises(Drift) as failure:
            session.commit(sealed)
    world.sim.hook = None
    found = world.tree()
    assert {**found.names, "gone": OLD.names["gone"]} == OLD.names
    assert b"edited" in contents(world.control_tree("conflicts"))
    assert f"{path}: it was edited" in failure.value.hint


def test_what_is_made_where_a_removed_file_was_stays(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    with world.sealed() as (session, sealed):
        letting_in(
            world, "gone", lambda w: (w.create("gone", b"made anew"), w.write_into("mode", b"MODE"))[1]
        )
        world.create("new-link.x", b"x")
        world.chmod("gone-dir/deep", 0o700)
        with pytest.raises(Drift):
            session.commit(sealed)
    world.sim.hook = None
    assert world.content("gone") == b"made anew"
    assert b"gone" in contents(world.control_tree("conflicts"))


# -- durability: what is asked of the disk


def verbs(world: World, **options: Any) -> list[tuple[str, ...]]:
    world.sim.log.clear()
    world.push(**options)
    return list(world.sim.log)


def test_without_durability_nothing_is_synced(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    assert not {"fsync", "syncfs"} & {verb for verb, *_ in verbs(world, durability="none")}
    assert world.tree() == NEW


def test_a_large_unit_is_synced_whole_before_and_after_its_swaps(simulate: Make) -> None:
    log = verbs(simulate(OLD, NEW))
    syncs = [at for at, (verb, *_) in enumerate(log) if verb == "syncfs"]
    swaps = [at for at, (verb, *_) in enumerate(log) if verb == "exchange" and log[at][1] != "a"]
    commits = [at for at, record in enumerate(log) if record == ("write", "journal")]
    assert len(syncs) == 2
    assert syncs[0] < min(swaps)
    assert max(swaps) < syncs[1] < commits[-1]
    assert log[commits[-1] + 1] == ("fsync", "journal")


def test_a_small_unit_does_not_flush_everybodys_writes(simulate: Make) -> None:
    world = simulate(Dir({"a": File(b"old")}), Dir({"a": File(b"new")}))
    log = verbs(world)
    assert "syncfs" not in {verb for verb, *_ in log}
    assert ("fsync", "0") in log


def test_where_syncfs_is_not_trusted_every_file_and_directory_is_synced(simulate: Make) -> None:
    world = simulate(OLD, NEW, syncfs_trusted=False)
    log = verbs(world)
    assert "syncfs" not in {verb for verb, *_ in log}
    synced = {names[0] for verb, *names in log if verb == "fsync"}
    assert {"in", "f", "sub", "slots", "closed", "mode", "time", "journal"} <= synced
    assert world.tree() == NEW
    left = [effect for effect in world.sim.pending if "dst" in repr(effect)]
    assert left == []


# -- the weaker classes


CLASSES = [
    ({}, "exchange"),
    ({"exchange": False}, "link+replace"),
    ({"exchange": False, "link": False}, "replace"),
    ({"exchange": False, "rename_new": False}, "link+replace"),
    ({"exchange": False, "link": False, "rename_new": False}, "replace"),
    ({"generations": False}, "exchange"),
    ({"link": False}, "exchange"),
]


@pytest.mark.parametrize(("traits", "swap_class"), CLASSES)
def test_every_filesystem_gets_there_and_the_receipt_names_the_way(
    simulate: Make, traits: dict[str, bool], swap_class: str
) -> None:
    world = simulate(OLD, NEW, **traits)
    receipt = world.push()
    assert world.tree() == NEW
    assert receipt.swap_class == swap_class
    assert receipt.warnings == ()
    kept = contents(world.control_tree("history", receipt.unit_id, "slots"))
    assert kept == contents(OLD) - {b"same", b"keep", b"mode"}


@pytest.mark.parametrize(("traits", "swap_class"), CLASSES)
@pytest.mark.parametrize("what", ["a path to be created was taken", "a file to be removed was saved anew"])
def test_drift_is_taken_back_in_every_class(
    simulate: Make, traits: dict[str, bool], swap_class: str, what: str
) -> None:
    world = simulate(OLD, NEW, **traits)
    with world.sealed() as (session, sealed):
        DRIFTS[what](world)
        found = without_times(world.tree())
        with pytest.raises(Drift):
            session.commit(sealed)
    assert without_times(world.tree()) == found
    assert world.recover().action == "clean"


# -- the lock


def test_a_store_has_one_user_at_a_time(make: Make) -> None:
    world = make(OLD, NEW)
    with world.store().session(), pytest.raises(StoreLocked) as refusal, world.store().session():
        pass
    assert "process" in refusal.value.why
    assert world.store().status().holder == ""
    world.push()
    assert world.tree() == NEW


def test_a_status_names_the_holder_of_the_lock(make: Make) -> None:
    world = make()
    with world.store().session():
        assert "process" in world.store().status().holder
        with pytest.raises(StoreLocked):
            world.recover()


# -- space


def test_a_unit_that_does_not_fit_is_refused_before_anything_is_staged(simulate: Make) -> None:
    world = simulate(OLD, NEW, bytes_free=4096)
    with pytest.raises(NoSpace), world.pushing() as unit:
        unit.commit()
    assert world.tree() == OLD
    assert not [record for record in world.sim.log if record[0] == "create" and record[1].isdigit()]


def test_a_read_only_disk_is_told(simulate: Make) -> None:
    world = simulate(OLD, NEW)
    world.sim.hook = read_only
    with pytest.raises(AccessError):
        world.push()
    world.sim.hook = None
    assert world.tree() == OLD


def read_only(index: int, verb: str, names: tuple[str, ...]) -> None:
    raise VerbFailed(30)


def test_literals_without_link_times_still_tell_trees_apart() -> None:
    assert without_link_times(Dir({"a": Link("x", 1)})) == Dir({"a": Link("x", 2)})
    assert without_link_times(OLD) != NEW
