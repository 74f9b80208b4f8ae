"""Files of a unit: written as Python's own are, whole or not at all; and the times of what is there."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import AtomSyncError, DigestMismatch, NoSpace, UnitStateError, UsageError
from atomsync.testing import Dir, File, Link, VerbFailed
from atomsync.unit.expected import digest
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000
MIB = 1 << 20

BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 3)}, 0o750),
        "link": Link("file", T + 4),
        "dangling": Link("none", T + 5),
    }
)
flushed = pytest.mark.parametrize("flushed", [False, True], ids=["pending", "flushed"])


def names(world: World) -> dict[str, Any]:
    return dict(world.tree().names)


def stage(world: World) -> list[str]:
    return world.control_names("pending", "0", "slots")


# -- modes


@pytest.mark.parametrize(
    "mode",
    [
        "",
        "a",
        "ab",
        "r+",
        "rb+",
        "w+",
        "wb+",
        "w+b",
        "x+",
        "xb+",
        "b",
        "br",
        "bw",
        "rt",
        "wt",
        "U",
        "rw",
        "wx",
    ],
)
def test_any_other_mode_is_refused_and_nothing_is_staged(make: Make, mode: Any) -> None:
    unit = make(BASE).unit()
    for path in ("file", "new"):
        with pytest.raises(UsageError, match="the modes are r, rb, w, wb, x, xb"):
            unit.open(path, mode)
    assert (unit.new, unit.dirty) == (set(), set())


def test_the_default_is_to_write_bytes(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit, unit.open("new") as file:
        assert isinstance(file, io.BufferedWriter)
        assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
        assert file.write(b"123") == 3
        with pytest.raises(TypeError):
            file.write("text")  # type: ignore[arg-type]
        for verb in (file.read, file.tell, file.truncate, lambda: file.seek(0)):
            with pytest.raises(OSError):
                verb()
    assert names(world)["new"] == File(b"123", 0o644)


def test_text_is_written_as_text(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit, unit.open("new", "w", permissions=0o600) as file:
        assert isinstance(file, io.TextIOWrapper)
        assert file.encoding.lower() == "utf-8"
        assert file.write("grün ☃\n") == 7
        file.writelines(["a\n", "b"])
        print("printed", file=file)
        with pytest.raises(TypeError):
            file.write(b"bytes")  # type: ignore[arg-type]
    assert names(world)["new"] == File("grün ☃\na\nbprinted\n".encode(), 0o600)


WRITTEN = "one\ntwo\r\nthree\rfour\n\n"
STORED = b"one\ntwo\r\nthree\rfour\n\nend"


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("mode", ["w", "x"])
def test_newlines_are_written_as_python_writes_them(
    make: Make, tmp_path: Path, mode: Any, newline: str | None
) -> None:
    world = make(BASE)
    with open(tmp_path / "python", mode, newline=newline, encoding="utf-8") as theirs:
        theirs.write(WRITTEN)
    with world.begin() as unit, unit.open("new", mode, newline=newline) as ours:
        ours.write(WRITTEN)
    assert world.content("new") == (tmp_path / "python").read_bytes()


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("pending", [False, True])
def test_newlines_are_read_as_python_reads_them(
    make: Make, tmp_path: Path, pending: bool, newline: str | None
) -> None:
    world = make(Dir({"file": File(STORED)}))
    (tmp_path / "python").write_bytes(STORED)
    unit = world.unit()
    if pending:
        unit.write("file", STORED)
    with (
        open(tmp_path / "python", newline=newline, encoding="utf-8") as theirs,
        unit.open("file", "r", newline=newline) as ours,
    ):
        assert ours.readlines() == theirs.readlines()
    unit.rollback()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_any_encoding_can_be_asked_for(make: Make, encoding: str) -> None:
    world = make(BASE)
    text = "plain" if encoding == "ascii" else "grün"
    with world.begin() as unit:
        with unit.open("new", "w", encoding=encoding) as file:
            file.write(text)
        with unit.open("new", "r", encoding=encoding) as file:
            assert file.read() == text
    assert world.content("new") == text.encode(encoding)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16"],
)
def test_a_text_file_to_which_nothing_is_written_is_empty(make: Make, encoding: str) -> None:
    world = make(BASE)
    with world.begin() as unit, unit.open("empty", "w", encoding=encoding):
        pass
    assert world.content("empty") == b""


def test_what_an_encoding_cannot_write_or_read_is_python_s_error_and_leaves_nothing(make: Make) -> None:
    world = make(Dir({"file": File(b"\xff\xfe")}))
    unit = world.unit()
    with pytest.raises(UnicodeEncodeError), unit.open("new", "w", encoding="ascii") as file:
        file.write("grün")
    assert unit.new == set()
    assert stage(world) == []
    with pytest.raises(UnicodeDecodeError), unit.open("file", "r") as reading:
        reading.read()
    with unit.open("new", "w", encoding="ascii", errors="replace") as file:
        file.write("grün")
    with unit.open("file", "r", errors="surrogateescape") as reading:
        assert os.fsencode(reading.read()) == b"\xff\xfe"
    assert unit.read("new") == b"gr?n"
    unit.rollback()


def test_an_encoding_that_does_not_exist_leaves_nothing_behind(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    for mode in ("w", "r"):
        with pytest.raises(LookupError):
            unit.open("file", mode, encoding="no-such-encoding")
        with pytest.raises(ValueError, match="newline"):
            unit.open("file", mode, newline="no")
    gc.collect()
    assert unit.dirty == set()
    unit.commit()
    assert world.sim.open_descriptors == 0


def test_text_given_to_write_is_utf8(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("new", "grün\r\n")
        with pytest.raises(UnicodeEncodeError):
            unit.write("bad", "\udcff")
        assert unit.new == {"new"}
        with pytest.raises(TypeError):
            unit.write("bad", 7)  # type: ignore[arg-type]
        assert unit.new == {"new"}
    assert world.content("new") == "grün\r\n".encode()
    assert len(names(world)) == len(BASE.names) + 1


# -- reading


def test_a_file_open_for_reading_can_be_sought_in(make: Make) -> None:
    data = bytes(range(256)) * 4096
    world = make(Dir({"file": File(data)}))
    unit = world.unit()
    for pending in (False, True):
        if pending:
            unit.write("file", data)
        with unit.open("file", "rb") as file:
            assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
            assert file.read(10) == data[:10]
            assert file.seek(-5, os.SEEK_END) == len(data) - 5
            assert file.read() == data[-5:]
            assert file.seek(700_000) == 700_000
            assert file.read(300) == data[700_000:700_300]
            assert file.seek(-300, os.SEEK_CUR) == 700_000
            assert file.tell() == 700_000
            assert file.seek(1 << 30) == 1 << 30
            assert file.read() == b""
            with pytest.raises((ValueError, OSError)):
                file.seek(-1)
            with pytest.raises(OSError):
                file.write(b"x")
    unit.rollback()


def test_a_file_open_for_reading_outlives_the_change_and_the_unit(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.write("new", b"new")
    old, new = unit.open("file", "rb"), unit.open("new", "rb")
    unit.write("file", b"v2")
    unit.flush()
    unit.remove("new")
    unit.commit()
    assert (old.read(), new.read()) == (b"content", b"new")
    old.close()
    new.close()
    assert world.sim.open_descriptors == 0


def test_a_file_open_for_reading_that_is_forgotten_is_closed(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    with_it = unit.open("file", "r")
    with_it.read()
    del with_it
    gc.collect()
    unit.rollback()
    assert world.sim.open_descriptors == 0


# -- left open, forgotten, closed late


def test_a_file_still_open_keeps_the_unit_from_being_committed(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("other", b"v2")
    file = unit.open("new")
    file.write(b"half")
    for verb in (unit.commit, unit.prepare):
        with pytest.raises(UsageError, match="new is still being written"):
            verb()
    assert unit.state == "pending"
    unit.flush()  # without it
    file.write(b" and half")
    file.close()
    unit.commit()
    assert names(world)["new"] == File(b"half and half")
    assert names(world)["other"].data == b"v2"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_file_left_open_at_the_end_of_the_block_rolls_all_of_it_back(make: Make, mode: Any) -> None:
    world = make(BASE)
    with pytest.raises(UsageError, match="still being written"), world.begin() as unit:  # noqa: PT012
        unit.write("other", b"v2")
        file = unit.open("new", mode)
        file.write("half" if mode == "w" else b"half")
    assert file.closed or unit.state == "rolled back"
    assert world.tree() == BASE
    assert world.control_names("pending") == []


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_forgotten_file_warns_and_never_becomes_pending(simulate: Make, mode: Any) -> None:
    world = simulate(BASE)
    unit = world.unit()
    file = unit.open("new", mode)
    file.write("half" if mode == "w" else b"half")
    with pytest.warns(ResourceWarning, match="never closed"):  # noqa: PT031
        del file
        gc.collect()
    assert unit.new == set()
    assert stage(world) == []
    unit.commit()
    assert world.tree() == BASE
    assert world.sim.open_descriptors == 0


@pytest.mark.parametrize("mode", ["wb", "w"])
@pytest.mark.parametrize("end", [UnitOfWork.rollback, UnitOfWork.close])
def test_a_file_closed_after_its_unit_was_rolled_back_changes_nothing(
    simulate: Make, end: Callable[[UnitOfWork], None], mode: Any
) -> None:
    world = simulate(BASE)
    unit = world.unit()
    file = unit.open("new", mode)
    file.write("half" if mode == "w" else b"half")
    end(unit)
    with contextlib.suppress(ValueError, UnitStateError):  # it may say so
        file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write("x" if mode == "w" else b"x")
    del file
    gc.collect()
    assert world.tree() == BASE
    assert world.control_names("pending") == []
    assert world.sim.open_descriptors == 0


def test_a_file_cannot_be_finished_in_a_unit_that_needs_a_rollback(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    file = unit.open("new")
    file.write(b"x")
    unit.mkdir("made")

    def full(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "mkdir":
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = full
    with pytest.raises(NoSpace):
        unit.flush()
    world.sim.hook = None
    with pytest.raises(UnitStateError):
        file.close()
    assert file.closed
    unit.rollback()
    assert world.tree() == BASE
    assert world.sim.open_descriptors == 0


def test_a_file_is_closed_twice_like_any_other(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        file = unit.open("new")
        file.write(b"x")
        file.close()
        file.close()
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            file.write(b"y")
        with pytest.raises(ValueError, match="closed"), file:
            pass
    assert world.content("new") == b"x"


# -- exceptions while writing


@pytest.mark.parametrize("mode", ["wb", "xb", "w", "x"])
@pytest.mark.parametrize("size", [0, 1, MIB])
def test_an_exception_while_writing_leaves_nothing_pending_and_nothing_staged(
    simulate: Make, size: int, mode: Any
) -> None:
    world = simulate(BASE)
    unit = world.unit()
    with pytest.raises(KeyError), unit.open("new", mode) as file:  # noqa: PT012
        file.write("x" * size if "b" not in mode else b"x" * size)
        raise KeyError
    assert file.closed
    assert unit.new == set()
    assert stage(world) == []
    unit.write("new", b"whole", expected=None)
    unit.commit()
    assert names(world)["new"] == File(b"whole")
    assert world.sim.open_descriptors == 0


def test_an_abandoned_file_leaves_what_was_pending_before_it(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("file", b"v2")
        file = unit.open("file")
        file.write(b"v3")
        file.abandon()
        assert file.closed
        with unit.open("file", "w") as text:
            text.write("v4")
            text.abandon()
        assert unit.read("file") == b"v2"
    assert world.content("file") == b"v2"


@pytest.mark.parametrize("size", [1, MIB], ids=["at the close", "at the write"])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_write_that_failed_is_told_again_at_the_close(simulate: Make, mode: Any, size: int) -> None:
    """Who swallows it and leaves the block cleanly must not think that the file is there."""
    world = simulate(BASE)
    unit = world.unit()
    unit.write("good", b"x")
    failing = 1

    def once(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal failing
        if verb == "write" and failing:
            failing -= 1
            raise VerbFailed(errno.ENOSPC)

    told = []
    world.sim.hook = once
    with pytest.raises(NoSpace), unit.open("new", mode) as file:  # noqa: PT012
        try:
            file.write("x" * size if mode == "w" else b"x" * size)
        except NoSpace as error:
            told.append(error)
    world.sim.hook = None
    assert len(told) == (size > 1)
    assert file.closed
    assert unit.new == {"good"}
    assert len(stage(world)) == 1
    unit.commit()
    assert names(world) == {**BASE.names, "good": File(b"x")}
    assert world.sim.open_descriptors == 0


def test_a_file_that_does_not_read_back_is_not_taken(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    with pytest.raises(DigestMismatch), unit.open("new") as file:  # noqa: PT012
        file.write(b"right")
        file.flush()
        state: Any = world.sim.state
        serial = next(serial for serial, inode in state.items() if inode.data == b"right")
        state[serial] = state[serial]._replace(data=b"wrong")  # what a bad memory does
    assert unit.new == set()
    assert stage(world) == []
    unit.rollback()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_wherever_writing_a_file_fails_nothing_of_it_stays(simulate: Make, number: int) -> None:
    def write(unit: UnitOfWork) -> None:
        with unit.open("file") as file:
            for _ in range(3):
                file.write(b"x" * 200_000)

    world = simulate(BASE)
    unit = world.unit()
    unit.exists("file")
    begun = len(world.sim.log)
    write(unit)
    count = len(world.sim.log) - begun
    unit.rollback()
    assert count > 2
    for nth in range(count):
        world = simulate(BASE)
        unit = world.unit()
        unit.exists("file")
        at = len(world.sim.log) + nth

        def failing(index: int, verb: str, names: tuple[str, ...], at: int = at) -> None:
            if index == at:
                raise VerbFailed(number)

        world.sim.hook = failing
        with pytest.raises(AtomSyncError):
            write(unit)
        world.sim.hook = None
        assert unit.dirty == set()
        assert stage(world) == []
        unit.commit()
        assert world.tree() == BASE
        assert world.sim.open_descriptors == 0


# -- several at once, and of the same path


def test_several_files_can_be_written_at_once(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        files = {name: unit.open(name) for name in ("a", "b", "c", "file")}
        for part in range(5):
            for name, file in files.items():
                file.write(f"{name}{part} ".encode() * 50_000)
        for file in files.values():
            file.close()
    for name in ("a", "b", "c", "file"):
        whole = b"".join(f"{name}{part} ".encode() * 50_000 for part in range(5))
        with world.place(name) as (at, leaf):
            fd = world.disk.open_file(at, leaf)
            assert world.disk.pread(fd, 8 * MIB, 0) == whole
            world.disk.close(fd)


def test_of_two_files_of_one_path_the_one_closed_last_counts(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        one, two = unit.open("new"), unit.open("new")
        one.write(b"one")
        two.write(b"two")
        two.close()
        assert unit.read("new") == b"two"
        one.close()
        assert unit.read("new") == b"one"
    assert world.content("new") == b"one"


def test_a_file_whose_directory_is_removed_while_it_is_written_is_refused(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        file = unit.open("dir/new")
        file.write(b"x")
        unit.remove("dir")
        with pytest.raises(UsageError, match="does not exist"):
            file.close()
        assert file.closed
        assert unit.new == set()
    assert "dir" not in names(world)


def test_a_file_opened_in_place_of_a_directory_removes_that_when_it_is_closed(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        with unit.open("dir") as file:
            file.write(b"x")
            assert unit.removed == set()
            assert unit.exists("dir/inner")
        assert unit.removed == {"dir/inner"}
    assert names(world)["dir"] == File(b"x")


@flushed
def test_nothing_of_a_replaced_file_stays_though_its_file_object_does(make: Make, flushed: bool) -> None:
    world = make(BASE)
    unit = world.unit()
    with unit.open("new") as file:
        file.write(b"never seen")
    if flushed:
        unit.flush()
    unit.write("new", b"last")
    unit.commit()
    assert file.closed
    assert b"never seen" not in world.all_contents()


# -- times


@flushed
@pytest.mark.parametrize("path", ["file", "dir/inner", "link", "dangling", "dir"])
def test_the_time_of_anything_can_be_set(make: Make, path: str, flushed: bool) -> None:
    world = make(BASE)
    before = world.entry(path)
    assert before is not None
    unit = world.unit()
    unit.utime(path, T + 99)
    assert unit.dirty == {path}
    if flushed:
        unit.flush()
    assert world.tree() == BASE
    unit.commit()
    after = world.entry(path)
    assert after is not None
    assert after.mtime_ns == T + 99
    assert after._replace(mtime_ns=0)[:7] == before._replace(mtime_ns=0)[:7]
    if before.kind != "link":
        assert after.ino == before.ino  # in place
    assert world.tree() == BASE or path != "dir"


def test_the_time_of_a_link_is_its_own(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.utime("link", T + 99)
    assert names(world)["link"] == Link("file", T + 99)
    assert names(world)["file"] == BASE.names["file"]


def test_no_time_given_is_now(make: Make) -> None:
    world = make(BASE)
    before = time.time_ns()
    with world.begin() as unit:
        unit.utime("file")
        unit.utime("dir", None)
    for path in ("file", "dir"):
        entry = world.entry(path)
        assert entry is not None
        assert before <= entry.mtime_ns <= time.time_ns()


@flushed
def test_the_time_of_a_hard_linked_file_does_not_reach_its_other_name(make: Make, flushed: bool) -> None:
    world = make(BASE)
    with world.place("file") as (at, name), world.root(world.base) as outside:
        world.disk.link(at, name, outside, "second")
        world.disk.link(at, name, at, "third")
    unit = world.unit()
    unit.utime("file", T + 99)
    unit.chmod("file", 0o711)
    if flushed:
        unit.flush()
    unit.commit()
    assert names(world)["file"] == File(b"content", 0o711, T + 99)
    assert names(world)["third"] == BASE.names["file"]
    with world.root(world.base) as outside:
        assert world.disk.lstat(outside, "second").st_mtime_ns == T + 1
        assert world.disk.lstat(outside, "second").st_ino == world.entry("third").ino  # type: ignore[union-attr]


@flushed
def test_the_time_of_what_is_pending_can_be_set(make: Make, flushed: bool) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"x")
    unit.write("file", b"v2")
    unit.mkdir("made")
    unit.write("made/f", b"x")
    unit.symlink("made/l", "f")
    unit.move("dir", "moved")
    if flushed:
        unit.flush()
    for number, path in enumerate(["new", "file", "made/f", "made/l", "made", "moved/inner", "moved"]):
        unit.utime(path, T + 100 + number)
        if flushed:
            unit.flush()
    assert world.tree() == BASE
    unit.commit()
    found = names(world)
    assert found["new"] == File(b"x", 0o644, T + 100)
    assert found["file"] == File(b"v2", 0o640, T + 101)
    assert found["made"] == Dir({"f": File(b"x", 0o644, T + 102), "l": Link("f", T + 103)}, 0o755, T + 104)
    assert found["moved"] == Dir({"inner": File(b"inner", 0o644, T + 105)}, 0o750, T + 106)


@flushed
def test_the_time_of_a_moved_file_does_not_reach_the_old_one_before_the_commit(
    make: Make, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.move("file", "moved")
    unit.utime("moved", T + 99)
    unit.utime("other", T + 98)
    unit.move("other", "also-moved")
    if flushed:
        unit.flush()
    assert world.tree() == BASE
    unit.commit()
    assert names(world)["moved"] == File(b"content", 0o640, T + 99)
    assert names(world)["also-moved"] == File(b"other", 0o600, T + 98)
    assert "file" not in names(world)


def test_a_new_content_has_a_new_time_unless_it_is_set_afterwards(make: Make) -> None:
    world = make(BASE)
    before = time.time_ns()
    with world.begin() as unit:
        unit.utime("file", T + 99)
        unit.write("file", b"v2")
        unit.write("other", b"v2")
        unit.utime("other", T + 98)
    assert names(world)["file"].mtime_ns >= before
    assert names(world)["other"].mtime_ns == T + 98


def test_only_what_is_there_has_a_time(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.remove("other")
        for path in ("none", "other", "link/x", "file/x", "none/x"):
            with pytest.raises(UsageError, match="cannot set the time"):
                unit.utime(path, T)
        for path in ("", ".", "../src", ".atomsync"):
            with pytest.raises(UsageError):
                unit.utime(path, T)
        assert unit.dirty == set()


@pytest.mark.parametrize("mtime_ns", [0, -1, -(10**18), 1, 10**18, 4 * 10**18])
def test_any_time_the_filesystem_can_hold_comes_out_as_it_went_in(simulate: Make, mtime_ns: int) -> None:
    world = simulate(BASE)
    with world.begin() as unit:
        unit.utime("file", mtime_ns)
        unit.write("new", b"x")
        unit.utime("new", mtime_ns)
    assert names(world)["file"].mtime_ns == names(world)["new"].mtime_ns == mtime_ns


# -- put


def test_a_put_that_fails_leaves_nothing_in_the_stage(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.write("good", b"x")

    def failing(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "write":
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = failing
    with pytest.raises(NoSpace):
        unit.put("new", f"{world.dst}/other")
    world.sim.hook = None
    assert unit.new == {"good"}
    assert len(stage(world)) == 1
    receipt = unit.commit()
    assert world.control_names("history", receipt.unit_id, "slots") == []
    assert world.sim.open_descriptors == 0


def test_the_evidence_of_what_was_written_is_its_digest(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        with unit.open("text", "w", newline="\r\n") as text:
            text.write("a\nb\n")
        with unit.open("bytes") as file:
            file.write(b"x" * MIB)
        unit.put("put", f"{world.dst}/other")
        found = {staged.path: (staged.digest, staged.size) for staged in unit.flush()}
    assert found == {
        "text": (digest(b"a\r\nb\r\n"), 6),
        "bytes": (digest(b"x" * MIB), MIB),
        "put": (digest(b"other"), 5),
    }
