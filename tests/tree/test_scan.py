"""Directories read into entries."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.testing import Dir, File, Link, SimDisk, build
from atomsync.tree.entry import DIR, FILE, LINK, OTHER, look, look_deep, same_object, special_name, untouched
from atomsync.tree.scan import listing, subtree

T = 1_500_000_000_000_000_123
TREE = Dir(
    {
        "b": Dir({"inner": Dir({"leaf": File(b"leaf")}), "a": File(b"a")}),
        "a": File(b"four", 0o640, T),
        "c": Dir({}),
        "b.txt": File(b""),
        "link": Link("b/inner", T),
    }
)


@pytest.fixture(params=["posix", "sim"])
def cursor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cursor]:
    disk: Disk = PosixDisk() if request.param == "posix" else SimDisk()
    at = disk.open_root(str(tmp_path) if request.param == "posix" else "/")
    build(disk, at, TREE)
    with Cursor(disk, at) as cursor:
        yield cursor
    disk.close(at)


def test_a_listing_has_every_name_with_what_can_be_seen_of_it(cursor: Cursor) -> None:
    found = listing(cursor.disk, cursor.root)
    assert {name: entry.kind for name, entry in found.items()} == {
        "a": FILE,
        "b": DIR,
        "b.txt": FILE,
        "c": DIR,
        "link": LINK,
    }
    assert found["a"][:4] == (FILE, 0o640, 4, T)
    assert (found["link"].target, found["link"].mtime_ns) == ("b/inner", T)
    assert found["b"].size == 0
    assert found["link"].size == 0


def test_a_listing_and_a_look_agree(cursor: Cursor) -> None:
    for name, entry in listing(cursor.disk, cursor.root).items():
        assert look(cursor.disk, cursor.root, name) == entry


def test_a_look_at_nothing_is_none(cursor: Cursor) -> None:
    assert look(cursor.disk, cursor.root, "none") is None
    assert look_deep(cursor.disk, cursor.root, "none") is None


def test_a_subtree_gives_each_path_once_and_parents_before_children(cursor: Cursor) -> None:
    paths = [path for path, _ in subtree(cursor, "")]
    assert sorted(paths) == ["a", "b", "b.txt", "b/a", "b/inner", "b/inner/leaf", "c", "link"]
    for at, path in enumerate(paths):
        parent = path.rpartition("/")[0]
        assert not parent or parent in paths[:at]


def test_a_subtree_is_in_the_same_order_each_time(cursor: Cursor) -> None:
    assert [*subtree(cursor, "")] == [*subtree(cursor, "")]


def test_a_subtree_does_not_hold_its_top_and_never_enters_a_link(cursor: Cursor) -> None:
    assert [path for path, _ in subtree(cursor, "b/inner")] == ["b/inner/leaf"]
    with pytest.raises(OSError):
        list(subtree(cursor, "link"))


def test_an_object_is_the_same_after_a_rename_and_another_after_a_save(cursor: Cursor) -> None:
    disk, root = cursor.disk, cursor.root
    before = look_deep(disk, root, "a")
    disk.rename_new(root, "a", root, "moved")
    after = look_deep(disk, root, "moved")
    assert before is not None
    assert after is not None
    assert same_object(before, after)
    assert untouched(before, after)
    other = look_deep(disk, root, "b.txt")
    assert other is not None
    assert not same_object(before, other)


@pytest.mark.parametrize("change", ["mode", "size", "mtime_ns", "uid", "gid", "target"])
def test_a_changed_attribute_shows(cursor: Cursor, change: str) -> None:
    before = look(cursor.disk, cursor.root, "a")
    assert before is not None
    value = "x" if change == "target" else getattr(before, change) + 1
    assert not untouched(before, before._replace(**{change: value}))


def test_special_files_are_listed_as_other_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
        listener.close()
    disk = PosixDisk()
    at = disk.open_root(str(tmp_path))
    try:
        found = listing(disk, at)
        assert {name: entry.kind for name, entry in found.items()} == {"fifo": OTHER, "socket": OTHER}
        assert special_name(disk.lstat(at, "fifo").st_mode) == "FIFO"
        assert special_name(disk.lstat(at, "socket").st_mode) == "socket"
    finally:
        disk.close(at)


def test_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    raw = b"\xff\n-x"
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), raw))).write_bytes(b"1")
    disk = PosixDisk()
    at = disk.open_root(str(tmp_path))
    try:
        assert [os.fsencode(name) for name in listing(disk, at)] == [raw]
    finally:
        disk.close(at)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EINTR])
def test_a_link_that_cannot_be_read_is_no_missing_link(
    cursor: Cursor, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails(cursor, number, monkeypatch)
    with pytest.raises(OSError) as failure:
        listing(cursor.disk, cursor.root)
    assert failure.value.errno == number


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL])
def test_a_link_that_is_gone_or_none_any_more_is_left_out(
    cursor: Cursor, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fails(cursor, number, monkeypatch)
    assert sorted(listing(cursor.disk, cursor.root)) == ["a", "b", "b.txt", "c"]


def _fails(cursor: Cursor, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def readlink(at: int, name: str) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cursor.disk, "readlink", readlink)
