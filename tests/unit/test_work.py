"""The unit of work: its verbs, what is pending, and that nothing of it is seen before the commit."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from atomsync.errors import (
    AtomSyncError,
    Drift,
    PendingRollback,
    StoreLocked,
    UnitStateError,
    UsageError,
)
from atomsync.testing import Dir, File, Link, VerbFailed
from atomsync.unit.work import StagedFile, UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000

BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 3), "deep": Dir({"leaf": File(b"leaf")}, 0o750)}),
        "empty": Dir({}),
        "link": Link("file", T + 4),
        "dirlink": Link("dir"),
    }
)


def digest(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def names(world: World) -> dict[str, Any]:
    return dict(world.tree().names)


# -- write and open


def test_a_new_file_is_written(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("new", b"bytes")
        assert (unit.new, unit.dirty, unit.removed) == ({"new"}, set(), set())
        assert world.tree() == BASE
    assert world.tree() == Dir({**BASE.names, "new": File(b"bytes", 0o644)})


def test_a_written_file_keeps_its_mode_unless_another_is_given(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("file", b"v2")
        unit.write("other", b"v2", mode=0o444)
        assert (unit.new, unit.dirty, unit.removed) == (set(), {"file", "other"}, set())
    assert names(world)["file"] == File(b"v2", 0o640)
    assert names(world)["other"] == File(b"v2", 0o444)


def test_an_open_file_becomes_pending_when_the_block_ends(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        with unit.open("stream") as file:
            for part in (b"one ", b"two ", bytearray(b"three")):
                file.write(part)
            assert unit.new == set()
        assert unit.new == {"stream"}
    assert world.content("stream") == b"one two three"


def test_an_exception_while_writing_leaves_nothing_pending_and_nothing_staged(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with pytest.raises(KeyError), unit.open("stream") as file:  # noqa: PT012
        file.write(b"half")
        raise KeyError
    assert unit.new == set()
    assert world.control_names("pending", "0", "slots") == []
    unit.write("whole", b"x")
    unit.commit()
    assert world.tree() == Dir({**BASE.names, "whole": File(b"x")})


def test_what_is_being_written_cannot_be_sought_in(make: Make) -> None:
    unit = make(BASE).unit()
    with unit.open("stream") as file:
        assert not file.seekable()
        with pytest.raises(OSError):
            file.seek(0)
    unit.rollback()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_files_of_any_size_come_out_as_they_went_in(make: Make, size: int) -> None:
    world = make()
    data = bytes(range(256)) * (size // 256 + 1)
    with world.begin() as unit:
        unit.write("file", data[:size])
        (staged,) = unit.flush()
        assert staged == StagedFile("file", digest(data[:size]), size)
    assert world.tree() == Dir({"file": world.tree().names["file"]})
    with world.place("file") as (at, name):
        fd = world.disk.open_file(at, name)
        assert world.disk.pread(fd, 8 << 20, 0) == data[:size]
        world.disk.close(fd)


def test_writing_where_a_directory_is_replaces_it_with_all_it_holds(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("dir", b"a file now")
        assert unit.dirty == {"dir"}
        assert unit.removed == {"dir/inner", "dir/deep", "dir/deep/leaf"}
    assert names(world)["dir"] == File(b"a file now", 0o644)


# -- put


def test_a_file_from_elsewhere_comes_with_its_mode_and_time(make: Make, tmp_path: Path) -> None:
    world = make(BASE)
    if world.disk.__class__.__name__ == "SimDisk":
        source = f"{world.src}/given"
        with world.place("given", "src") as (at, name):
            world._put(at, name, b"given")
            world.disk.set_meta_at(at, name, -1, -1, 0o711, T + 9)
    else:
        source = str(tmp_path / "given")
        Path(source).write_bytes(b"given")
        os.chmod(source, 0o711)
        os.utime(source, ns=(T + 9, T + 9))
    with world.begin() as unit:
        unit.put("dir/new", source)
        unit.put("file", source)
        assert (unit.new, unit.dirty) == ({"dir/new"}, {"file"})
    assert names(world)["dir"].names["new"] == File(b"given", 0o711, T + 9)
    assert names(world)["file"] == File(b"given", 0o711, T + 9)


def test_only_a_regular_file_can_be_put(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    for source in ("link", "dir", "none"):
        with pytest.raises(UsageError, match="cannot put"):
            unit.put("new", f"{world.dst}/{source}")
    with pytest.raises(AtomSyncError):
        unit.put("new", f"{world.dst}/no/such/directory")
    assert unit.new == set()
    unit.rollback()


# -- mkdir, symlink


def test_a_directory_is_made_with_what_is_put_into_it(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("made", mode=0o700)
        unit.write("made/file", b"x")
        unit.mkdir("made/sub")
        unit.symlink("made/sub/link", "../file")
        assert unit.new == {"made", "made/file", "made/sub", "made/sub/link"}
    made = Dir({"file": File(b"x"), "sub": Dir({"link": Link("../file")})}, 0o700)
    assert names(world)["made"] == made


def test_parents_are_made_on_request_and_what_exists_is_no_error_then(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("a/b/c", parents=True)
        unit.mkdir("a/b", parents=True)
        unit.mkdir("dir/deep", parents=True)
        assert unit.new == {"a", "a/b", "a/b/c"}
        assert unit.dirty == set()
        for path in ("a/b", "dir", "file", "link", "dirlink"):
            with pytest.raises(UsageError, match="there already"):
                unit.mkdir(path)
        with pytest.raises(UsageError, match="does not exist"):
            unit.mkdir("x/y")
        with pytest.raises(UsageError):
            unit.mkdir("file/y", parents=True)
    assert names(world)["a"] == Dir({"b": Dir({"c": Dir({})})})


def test_a_link_is_made_and_replaced_with_its_text_as_it_is(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.symlink("new", "/no/such/../thing")
        unit.symlink("link", "other")
        unit.symlink("file", "other")
        unit.symlink("dir", "empty")
        assert (unit.new, unit.dirty) == ({"new"}, {"link", "file", "dir"})
    found = names(world)
    assert found["new"] == Link("/no/such/../thing")
    assert (found["link"], found["file"], found["dir"]) == (Link("other"), Link("other"), Link("empty"))


# -- remove


def test_files_links_and_whole_directories_are_removed(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        for path in ("file", "link", "dir", "dirlink"):
            unit.remove(path)
        assert unit.removed == {"file", "link", "dirlink", "dir", "dir/inner", "dir/deep", "dir/deep/leaf"}
        assert (unit.new, unit.dirty) == (set(), set())
        with pytest.raises(UsageError, match="nothing"):
            unit.remove("dir/inner")
    assert world.tree() == Dir({"other": BASE.names["other"], "empty": Dir({})})


def test_what_is_not_there_cannot_be_removed(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    for path in ("none", "none/x", "file/x", "dirlink/inner"):
        with pytest.raises(UsageError, match="nothing"):
            unit.remove(path)
    assert unit.removed == set()
    unit.rollback()


def test_what_came_and_went_within_the_unit_leaves_no_trace(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("d")
        unit.write("d/f", b"x")
        unit.write("f", b"x")
        unit.remove("d")
        unit.remove("f")
        assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    assert world.tree() == BASE
    assert world.control_names("history") == []


def test_a_path_removed_and_written_again_is_one_replacement(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.remove("file")
        unit.write("file", b"again")
        unit.remove("dir")
        unit.mkdir("dir")
        unit.write("dir/fresh", b"fresh")
        assert unit.dirty == {"file", "dir"}
        assert unit.new == {"dir/fresh"}
        assert unit.removed == {"dir/inner", "dir/deep", "dir/deep/leaf"}
    found = names(world)
    assert found["file"].data == b"again"
    assert found["dir"] == Dir({"fresh": File(b"fresh")})


# -- chmod


def test_modes_change_in_place(make: Make) -> None:
    world = make(BASE)
    before = world.entry("file")
    with world.begin() as unit:
        unit.chmod("file", 0o600)
        unit.chmod("dir", 0o700)
        assert unit.dirty == {"file", "dir"}
        assert world.tree() == BASE
    after = world.entry("file")
    assert before is not None
    assert after is not None
    assert after.ino == before.ino
    assert names(world)["file"] == File(b"content", 0o600, T + 1)
    assert names(world)["dir"].mode == 0o700
    assert names(world)["dir"].names["inner"] == File(b"inner", 0o644, T + 3)


def test_a_hard_linked_file_gets_a_successor_and_its_other_name_stays_as_it_is(make: Make) -> None:
    world = make(BASE)
    with world.root(world.base) as outside:
        with world.place("file") as (at, name):
            world.disk.link(at, name, outside, "other")
        before = world.disk.lstat(outside, "other")
        with world.begin() as unit:
            unit.chmod("file", 0o751)
        after = world.disk.lstat(outside, "other")
    assert names(world)["file"] == File(b"content", 0o751, T + 1)
    for field in ("ino", "mode", "uid", "gid", "size", "mtime_ns"):
        assert getattr(after, f"st_{field}") == getattr(before, f"st_{field}")


def test_the_mode_of_what_is_pending_changes_too(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("new", b"x")
        unit.chmod("new", 0o700)
        unit.mkdir("made")
        unit.chmod("made", 0o711)
        unit.write("file", b"v2")
        unit.chmod("file", 0o400)
        unit.flush()
        unit.chmod("new", 0o500)
        unit.chmod("file", 0o440)
    found = names(world)
    assert (found["new"], found["made"]) == (File(b"x", 0o500), Dir({}, 0o711))
    assert found["file"] == File(b"v2", 0o440)


def test_a_file_whose_mode_was_changed_can_still_be_written(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.chmod("file", 0o600)
        unit.flush()
        unit.write("file", b"v2")
        unit.chmod("dir", 0o700)
        unit.write("dir/inner", b"v2")
        unit.write("dir/more", b"more")
    found = names(world)
    assert found["file"] == File(b"v2", 0o600)
    assert found["dir"].mode == 0o700
    assert found["dir"].names["inner"].data == b"v2"
    assert found["dir"].names["more"].data == b"more"
    assert found["dir"].names["deep"] == BASE.names["dir"].names["deep"]  # type: ignore[union-attr]


def test_only_files_and_directories_have_a_mode(make: Make) -> None:
    unit = make(BASE).unit()
    for path in ("link", "none", "dirlink/inner"):
        with pytest.raises(UsageError):
            unit.chmod(path, 0o600)
    unit.rollback()


# -- move


def test_a_moved_file_is_the_same_inode(make: Make) -> None:
    world = make(BASE)
    before = world.entry("file")
    with world.begin() as unit:
        unit.move("file", "dir/moved")
        assert unit.new == {"dir/moved"}
        assert unit.removed == {"file"}
        receipt_bytes = sum(staged.size for staged in unit.flush() if staged.path != "dir/moved")
        assert receipt_bytes == 0
    after = world.entry("dir/moved")
    assert before is not None
    assert after is not None
    assert after.ino == before.ino
    assert names(world)["dir"].names["moved"] == File(b"content", 0o640, T + 1)
    assert "file" not in names(world)


def test_a_moved_directory_keeps_its_files_and_its_modes(make: Make) -> None:
    world = make(BASE)
    before = world.entry("dir/deep/leaf")
    with world.begin() as unit:
        unit.move("dir", "empty/moved")
        assert unit.new == {f"empty/moved{below}" for below in ("", "/inner", "/deep", "/deep/leaf")}
    after = world.entry("empty/moved/deep/leaf")
    assert before is not None
    assert after is not None
    assert after.ino == before.ino
    assert names(world)["empty"] == Dir({"moved": BASE.names["dir"]})
    assert "dir" not in names(world)


def test_a_moved_link_stays_a_link_with_its_time(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.move("link", "dir/link")
    assert names(world)["dir"].names["link"] == Link("file", T + 4)


def test_a_move_replaces_a_file_but_never_a_directory(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.move("file", "other")
        for path, to in (
            ("other", "dir"),
            ("dir", "link"),
            ("dir", "dir/sub"),
            ("dir", "dir"),
            ("none", "x"),
        ):
            with pytest.raises(UsageError, match="cannot move"):
                unit.move(path, to)
        with pytest.raises(UsageError):
            unit.move("other", "none/x")
    assert names(world)["other"] == File(b"content", 0o640, T + 1)


def test_what_is_pending_moves_too(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("made")
        unit.write("made/f", b"x")
        unit.write("dir/inner", b"v2")
        unit.flush()
        unit.move("made", "named")
        unit.move("dir", "renamed")
        unit.move("named/f", "f")
        assert "made" not in unit.new
    found = names(world)
    assert found["named"] == Dir({})
    assert found["f"] == File(b"x")
    assert found["renamed"].names["inner"].data == b"v2"
    assert "dir" not in found


def test_two_files_can_change_places(make: Make) -> None:
    world = make(BASE)
    one, two = world.entry("file"), world.entry("other")
    with world.begin() as unit:
        unit.move("file", "aside")
        unit.move("other", "file")
        unit.move("aside", "other")
    assert one is not None
    assert two is not None
    assert names(world)["file"].data == b"other"
    assert names(world)["other"].data == b"content"
    assert (world.entry("file").ino, world.entry("other").ino) == (two.ino, one.ino)  # type: ignore[union-attr]


def test_the_mode_of_a_moved_file_does_not_reach_the_old_one_before_the_commit(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.move("file", "moved")
    unit.chmod("moved", 0o777)
    unit.flush()
    assert names(world)["file"] == File(b"content", 0o640, T + 1)
    unit.rollback()
    assert world.tree() == BASE
    with world.begin() as unit:
        unit.chmod("file", 0o600)
        unit.move("file", "moved")
        unit.flush()
        assert names(world)["file"].mode == 0o640
    assert names(world)["moved"] == File(b"content", 0o600, T + 1)


def test_the_mode_of_a_file_in_a_moved_directory_does_not_either(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.move("dir", "moved")
    unit.chmod("moved/inner", 0o777)
    unit.chmod("moved/deep", 0o777)
    unit.flush()
    assert world.tree() == BASE
    unit.commit()
    assert names(world)["moved"].names["inner"] == File(b"inner", 0o777, T + 3)
    assert names(world)["moved"].names["deep"].mode == 0o777


# -- paths that are refused


@pytest.mark.parametrize("path", ["../x", "/etc/x", "dir/../../x", ".", "", "a//b", ".atomsync/x", "x\0"])
def test_no_verb_takes_a_path_that_leads_out(make: Make, path: str) -> None:
    world = make(BASE)
    unit = world.unit()
    verbs: list[Callable[[], object]] = [
        lambda: unit.write(path, b"x"),
        lambda: unit.put(path, "/dev/null"),
        lambda: unit.mkdir(path),
        lambda: unit.mkdir(path, parents=True),
        lambda: unit.symlink(path, "x"),
        lambda: unit.remove(path),
        lambda: unit.move(path, "x"),
        lambda: unit.move("file", path),
        lambda: unit.chmod(path, 0o777),
    ]
    for verb in verbs:
        with pytest.raises(UsageError):
            verb()
    with contextlib.suppress(UsageError), unit.open(path) as file:
        file.write(b"x")
    assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    unit.rollback()
    assert world.tree() == BASE


def outside(world: World) -> Dir:
    return world.tree("src")


CANARY = Dir({"victim": File(b"canary", 0o600, T), "sub": Dir({"leaf": File(b"leaf", 0o600, T)}, mtime_ns=T)})


@pytest.mark.parametrize("target", ["../src", "absolute"])
def test_no_verb_goes_through_a_planted_link(make: Make, target: str) -> None:
    world = make(BASE, CANARY)
    world.symlink("evil", world.src if target == "absolute" else target)
    before = outside(world)
    unit = world.unit()
    verbs: list[Callable[[], object]] = [
        lambda: unit.write("evil/victim", b"x"),
        lambda: unit.write("evil/new", b"x"),
        lambda: unit.write("evil/sub/new", b"x"),
        lambda: unit.mkdir("evil/new"),
        lambda: unit.mkdir("evil/sub/new", parents=True),
        lambda: unit.symlink("evil/new", "x"),
        lambda: unit.remove("evil/victim"),
        lambda: unit.remove("evil/sub"),
        lambda: unit.move("evil/victim", "stolen"),
        lambda: unit.move("evil/sub", "stolen"),
        lambda: unit.move("file", "evil/new"),
        lambda: unit.chmod("evil/victim", 0o777),
        lambda: unit.chmod("evil", 0o777),
        lambda: unit.put("evil/new", f"{world.dst}/file"),
    ]
    for verb in verbs:
        with pytest.raises(AtomSyncError):
            verb()
    assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    unit.remove("evil")
    unit.commit()
    assert outside(world) == before
    assert world.tree() == BASE


@pytest.mark.parametrize("when", ["before the flush", "behind the flush"])
def test_a_directory_that_becomes_a_link_meanwhile_leads_nothing_outside(make: Make, when: str) -> None:
    world = make(BASE, CANARY)
    before = outside(world)
    verbs: list[Callable[[UnitOfWork], object]] = [
        lambda unit: unit.write("dir/victim", b"x"),
        lambda unit: unit.write("dir/inner", b"x"),
        lambda unit: unit.mkdir("dir/new"),
        lambda unit: unit.symlink("dir/new", "x"),
        lambda unit: unit.remove("dir/inner"),
        lambda unit: unit.chmod("dir/inner", 0o777),
        lambda unit: unit.chmod("dir", 0o777),
        lambda unit: unit.move("dir/inner", "stolen"),
        lambda unit: unit.remove("dir"),
        lambda unit: unit.move("dir", "stolen"),
    ]
    for number, verb in enumerate(verbs):
        unit = world.unit()
        verb(unit)
        if when == "behind the flush":
            unit.flush()
        world.rename("dir", f"hidden{number}")
        world.symlink("dir", "../src")
        with pytest.raises(AtomSyncError):
            unit.commit()
        unit.rollback()
        assert outside(world) == before
        world.unlink("dir")
        world.rename(f"hidden{number}", "dir")
        assert world.tree() == BASE


# -- flush


def test_flush_gives_the_evidence_and_shows_nothing(make: Make) -> None:
    world = make(BASE)
    before = world.tree()
    unit = world.unit()
    unit.write("new", b"new")
    unit.write("file", b"v2")
    unit.mkdir("made")
    unit.write("made/inside", b"inside")
    unit.symlink("made/link", "inside")
    unit.remove("other")
    staged = unit.flush()
    assert sorted(staged) == [
        StagedFile("file", digest(b"v2"), 2),
        StagedFile("made/inside", digest(b"inside"), 6),
        StagedFile("new", digest(b"new"), 3),
    ]
    assert world.tree() == before
    assert unit.new == {"new", "made", "made/inside", "made/link"}
    unit.rollback()
    assert world.tree() == before


def test_a_flush_of_nothing_is_no_flush(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    assert unit.flush() == ()
    assert unit.commit().unit_id == ""
    assert world.tree() == BASE
    assert world.control_names("history") == []


def test_more_can_be_added_after_a_flush_also_to_new_directories(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("made")
        unit.write("made/one", b"one")
        unit.flush()
        unit.write("made/two", b"two")
        unit.mkdir("made/sub")
        unit.flush()
        unit.write("made/sub/three", b"three")
        unit.write("made/one", b"ONE")
        assert len(unit.flush()) == 3
    assert names(world)["made"] == Dir(
        {"one": File(b"ONE"), "two": File(b"two"), "sub": Dir({"three": File(b"three")})}
    )


@pytest.mark.parametrize("flushes", [(), (1,), (2,), (1, 2)])
def test_the_last_of_several_writes_counts(make: Make, flushes: tuple[int, ...]) -> None:
    world = make(BASE)
    with world.begin() as unit:
        for number in (1, 2, 3):
            unit.write("file", b"%d" % number)
            unit.write("new", b"%d" % number)
            if number in flushes:
                assert {staged.digest for staged in unit.flush()} == {digest(b"%d" % number)}
        receipt = unit.commit()
    assert (receipt.created, receipt.updated, receipt.removed) == (1, 1, 0)
    found = names(world)
    assert (found["file"].data, found["new"].data) == (b"3", b"3")


def test_what_is_removed_after_a_flush_is_not_committed(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("new", b"x")
        unit.mkdir("made")
        unit.write("made/f", b"x")
        unit.flush()
        unit.remove("new")
        unit.remove("made/f")
    assert names(world) == {**BASE.names, "made": Dir({})}


def test_a_file_may_become_a_directory_and_a_link_between_flushes(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("x", b"file")
        unit.flush()
        unit.remove("x")
        unit.mkdir("x")
        unit.write("x/inside", b"inside")
        unit.flush()
        unit.symlink("x", "file")
        unit.flush()
        unit.write("x", b"file again")
    assert names(world)["x"] == File(b"file again")


def test_what_was_forgotten_is_not_committed(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("forgotten", b"x")
        unit.flush()
        unit.expunge_all()
        assert unit.new == set()
        unit.write("kept", b"x")
    assert names(world) == {**BASE.names, "kept": File(b"x")}


# -- commit, rollback, context manager


def test_a_commit_returns_a_receipt_and_ends_the_unit(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"x")
    unit.write("file", b"v2")
    unit.remove("dir")
    receipt = unit.commit()
    assert (receipt.created, receipt.updated, receipt.removed) == (1, 1, 4)
    assert world.control_names("history") == [receipt.unit_id]
    refused = [
        lambda: unit.write("late", b"x"),
        lambda: unit.mkdir("late"),
        lambda: unit.remove("other"),
        lambda: unit.chmod("other", 0o600),
        lambda: unit.move("other", "late"),
        lambda: unit.symlink("late", "x"),
        unit.flush,
        unit.commit,
        unit.expunge_all,
        unit.__enter__,
    ]
    for verb in refused:
        with pytest.raises(UnitStateError, match="committed"):
            verb()
    unit.rollback()  # harmless
    assert "late" not in names(world)


def test_a_rollback_leaves_no_trace_and_ends_the_unit(make: Make) -> None:
    world = make(BASE)
    control = world.control_tree()
    unit = world.unit()
    unit.write("new", b"x")
    unit.remove("dir")
    unit.move("file", "moved")
    unit.flush()
    unit.rollback()
    assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    assert world.tree() == BASE
    assert "unit" not in world.control_names()
    assert world.control_names("history") == []
    assert world.control_names("retired") == []
    assert world.control_names("pending") == []
    assert set(world.control_names()) - {"lock", "pending"} == set(control.names) - {"lock"}
    with pytest.raises(UnitStateError, match="rolled back"):
        unit.write("late", b"x")
    unit.rollback()


def test_an_exclusive_unit_holds_the_lock_from_its_first_verb_to_the_end(make: Make) -> None:
    world = make(BASE)
    one, two = (UnitOfWork(world.store(), exclusive=True) for _ in range(2))
    one.write("a", b"x")
    with pytest.raises(StoreLocked):
        two.write("b", b"x")
    one.rollback()
    two.write("b", b"x")
    two.commit()
    three = world.unit()
    three.write("c", b"x")
    three.commit()
    assert {"b", "c"} <= set(names(world))


def test_units_are_pending_side_by_side_and_committed_one_after_the_other(make: Make) -> None:
    world = make(BASE)
    one, two = world.unit(), world.unit()
    one.write("a", b"x")
    two.write("b", b"x")
    one.flush()
    two.commit()
    assert "a" not in names(world)
    one.commit()
    assert {"a", "b"} <= set(names(world))


def test_a_clean_exit_commits_and_an_exception_rolls_back(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("good", b"x")
    assert "good" in names(world)
    with pytest.raises(KeyError), world.begin() as unit:  # noqa: PT012
        unit.write("bad", b"x")
        unit.flush()
        raise KeyError
    assert "bad" not in names(world)
    assert "unit" not in world.control_names()
    world.store().recover()


def test_within_the_block_a_unit_may_be_ended_early(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("a", b"x")
        unit.commit()
    with world.begin() as unit:
        unit.write("b", b"x")
        unit.rollback()
    assert "a" in names(world)
    assert "b" not in names(world)


def test_a_commit_that_fails_at_the_end_of_the_block_is_rolled_back_and_told(make: Make) -> None:
    world = make(BASE)
    with pytest.raises(Drift), world.begin() as unit:  # noqa: PT012
        unit.write("file", b"mine")
        unit.flush()
        world.save("file", b"theirs")
    assert world.content("file") == b"theirs"
    assert "unit" not in world.control_names()
    with world.begin() as unit:
        unit.write("file", b"mine")
    assert world.content("file") == b"mine"


def test_after_a_failure_only_a_rollback_is_possible(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.write("new", b"x")
    unit.mkdir("made")

    def full(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "mkdir":
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = full
    with pytest.raises(AtomSyncError) as failure:
        unit.flush()
    assert failure.value.code == "space"
    world.sim.hook = None
    refused = [lambda: unit.write("x", b"x"), unit.flush, unit.commit, lambda: unit.remove("file")]
    for verb in refused:
        with pytest.raises(PendingRollback) as refusal:
            verb()
        assert "rollback" in refusal.value.hint
    unit.rollback()
    assert world.tree() == BASE
    assert "unit" not in world.control_names()
    with world.begin() as again:
        again.write("new", b"x")
    assert world.content("new") == b"x"


def test_a_verb_that_is_refused_does_not_fail_the_unit(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("new", b"x")
        with pytest.raises(UsageError):
            unit.remove("none")
        with pytest.raises(UsageError):
            unit.write("none/x", b"x")
    assert "new" in names(world)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_while_a_file_is_written_is_ours_and_leaves_nothing(simulate: Make, number: int) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.write("first", b"x")

    def failing(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "write" and names[0].isdigit():
            raise VerbFailed(number)

    world.sim.hook = failing
    with pytest.raises(AtomSyncError):
        unit.write("second", b"x")
    world.sim.hook = None
    assert unit.new == {"first"}
    assert len(world.control_names("pending", "0", "slots")) == 1
    unit.commit()
    assert names(world) == {**BASE.names, "first": File(b"x")}


def test_files_made_in_a_setgid_directory_inherit_its_group(make: Make) -> None:
    world = make(Dir({"common": Dir({}, 0o2775)}))
    with world.begin() as unit:
        unit.mkdir("common/sub")
        unit.write("common/file", b"x")
    common = names(world)["common"]
    assert common.mode == 0o2775
    assert common.names["sub"].mode == 0o2755
    above, file = world.entry("common"), world.entry("common/file")
    assert above is not None
    assert file is not None
    assert file.gid == above.gid


def test_names_that_are_not_utf8_and_names_with_newlines_are_names(make: Make) -> None:
    world = make(BASE)
    odd = [os.fsdecode(b"\xff\xfe"), "new\nline", "-rf", " ", "\\", "é" * 60]
    with world.begin() as unit:
        for name in odd:
            unit.write(name, os.fsencode(name))
    with world.begin() as unit:
        for name in odd:
            unit.move(name, f"dir/{name}")
    assert {name: file.data for name, file in names(world)["dir"].names.items() if name in odd} == {
        name: os.fsencode(name) for name in odd
    }


def test_the_message_is_kept_with_the_unit(make: Make) -> None:
    from atomsync.store.history import read_journal
    from tests.store.world import opened

    world = make(BASE)
    unit = UnitOfWork(world.store(), message="spring cleaning")
    unit.remove("dir")
    receipt = unit.commit()
    with opened(world) as control:
        assert read_journal(control, "history", receipt.unit_id).header.message == "spring cleaning"


def test_what_is_known_about_a_unit_is_kept_with_it_and_who_made_it(make: Make) -> None:
    from atomsync.store.history import read_journal
    from tests.store.world import opened

    world = make(BASE)
    unit = UnitOfWork(world.store(), about={"source": {"path": "/srv", "identity": {"ino": 7}}})
    unit.remove("dir")
    receipt = unit.commit()
    with opened(world) as control:
        about = read_journal(control, "history", receipt.unit_id).header.about
    assert about["source"] == {"path": "/srv", "identity": {"ino": 7}}
    user, _, host = about["who"].partition("@")
    assert user == pwd.getpwuid(os.geteuid()).pw_name
    assert host == os.uname().nodename


@pytest.mark.parametrize("about", [{"a": [1]}, {"a": "\ud800"}, {"a": "x" * (1 << 16)}])
def test_what_a_journal_cannot_say_about_a_unit_is_refused(make: Make, about: dict[str, Any]) -> None:
    world = make(BASE)
    before = world.tree()
    unit = UnitOfWork(world.store(), about=about)
    unit.remove("dir")
    with pytest.raises(UsageError, match="cannot record this"):
        unit.commit()
    unit.rollback()
    assert world.tree() == before
