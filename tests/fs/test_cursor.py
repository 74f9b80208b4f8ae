"""The way to a directory: never through a link, at any depth, with few descriptors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.testing import Dir, File, Link, SimDisk, build, read
from atomsync.tree.path import parent_of

DEEP = 3000


class Place(NamedTuple):
    disk: Disk
    at: int


@pytest.fixture(params=["posix", "sim"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    disk: Disk = PosixDisk() if request.param == "posix" else SimDisk()
    at = disk.open_root(str(tmp_path) if request.param == "posix" else "/")
    yield Place(disk, at)
    disk.close(at)


class Counting(SimDisk):
    """Remembers how many descriptors were open at once."""

    most = 0

    def open_dir(self, at: int, name: str) -> int:
        fd = super().open_dir(at, name)
        self.most = max(self.most, self.open_descriptors)
        return fd


def chain(depth: int) -> Dir:
    tree = Dir({"end": File(b"end")})
    for _ in range(depth):
        tree = Dir({"d": tree})
    return tree


def path_of(depth: int) -> str:
    return "/".join(["d"] * depth)


def inode(place: Place, fd: int) -> int:
    return place.disk.fstat(fd).st_ino


def inode_at(place: Place, *names: str) -> int:
    """The inode reached name by name, without a cursor."""
    disk = place.disk
    here = disk.open_dir(place.at, ".")
    for name in names:
        below = disk.open_dir(here, name)
        disk.close(here)
        here = below
    try:
        return inode(place, here)
    finally:
        disk.close(here)


@pytest.mark.parametrize("open_max", [1, 2, 3, 96])
def test_every_directory_is_reached_in_any_order(place: Place, open_max: int) -> None:
    build(*place, Dir({"a": chain(4), "b": Dir({"a": chain(2), "c": Dir({})})}))
    paths = [
        "",
        "a",
        "a/d/d/d/d",
        "a/d",
        "b/a/d/d",
        "b/c",
        "b",
        "a/d/d",
        "",
        "b/a/d",
        "a/d/d/d",
        "b/a/d/d",
        "a",
    ]
    with Cursor(*place, open_max=open_max) as cursor:
        for path in paths + paths[::-1]:
            names = path.split("/") if path else []
            assert inode(place, cursor.at(path)) == inode_at(place, *names), path


@pytest.mark.parametrize("open_max", [2, 96])
def test_a_link_is_not_followed_at_any_depth(place: Place, open_max: int) -> None:
    depth = 5
    for at_depth in range(depth):
        inner = Dir({"real": chain(depth - at_depth), "link": Link("real")})
        for _ in range(at_depth):
            inner = Dir({"d": inner})
        place.disk.mkdir(place.at, f"{at_depth}")
        top = place.disk.open_dir(place.at, f"{at_depth}")
        build(place.disk, top, inner)
        place.disk.close(top)
        with Cursor(*place, open_max=open_max) as cursor:
            way = "/".join([f"{at_depth}"] + ["d"] * at_depth)
            for tail in ("link", "link/d"):
                with pytest.raises(OSError) as failure:
                    cursor.at(f"{way}/{tail}")
                assert failure.value.errno in (errno.ELOOP, errno.ENOTDIR)
            assert inode(place, cursor.at(f"{way}/real/d")) == inode_at(place, *f"{way}/real/d".split("/"))


def test_a_directory_that_became_a_link_is_not_followed(place: Place) -> None:
    build(*place, Dir({"a": Dir({"b": Dir({})}), "outside": Dir({"b": Dir({})})}))
    with Cursor(*place) as cursor:
        cursor.at("a/b")
        cursor.at("")
        place.disk.rename_new(place.at, "a", place.at, "was-a")
        place.disk.symlink("outside", place.at, "a")
        with pytest.raises(OSError) as failure:
            cursor.at("a/b")
        assert failure.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_a_failed_way_leaves_the_cursor_usable(place: Place) -> None:
    build(*place, Dir({"a": Dir({"b": Dir({})})}))
    with Cursor(*place) as cursor:
        for path, number in (("a/none/x", errno.ENOENT), ("a/none/x", errno.ENOENT), ("none", errno.ENOENT)):
            with pytest.raises(OSError) as failure:
                cursor.at(path)
            assert failure.value.errno == number
            assert inode(place, cursor.at("a/b")) == inode_at(place, "a", "b")


def test_split_gives_the_parent_and_the_last_name(place: Place) -> None:
    build(*place, Dir({"a": Dir({"f": File(b"")})}))
    with Cursor(*place) as cursor:
        fd, name = cursor.split("a/f")
        assert (inode(place, fd), name) == (inode_at(place, "a"), "f")
        fd, name = cursor.split("a")
        assert (fd, name) == (place.at, "a")
    assert (parent_of("a/b/c"), parent_of("a")) == ("a/b", "")


@pytest.mark.parametrize("open_max", [3, 50])
def test_three_thousand_levels_are_made_walked_and_removed(place: Place, open_max: int) -> None:
    disk, at = place
    with Cursor(disk, at, open_max) as cursor:
        try:
            for depth in range(DEEP):
                disk.mkdir(cursor.at(path_of(depth)), "d")
            deepest = inode(place, cursor.at(path_of(DEEP)))
            cursor.at("")
            assert inode(place, cursor.at(path_of(DEEP))) == deepest
            assert inode(place, cursor.at(path_of(DEEP // 2))) != deepest
        finally:
            for depth in range(DEEP - 1, -1, -1):
                disk.rmdir(cursor.at(path_of(depth)), "d")
    assert disk.scandir(at) == []


def test_no_more_descriptors_are_open_than_allowed_and_none_stay() -> None:
    disk = Counting()
    at = disk.open_root("/")
    build(disk, at, chain(60))
    disk.most = 0
    cursor = Cursor(disk, at, open_max=5)
    for depth in (60, 30, 60, 0, 45, 10):
        cursor.at(path_of(depth))
    assert disk.most <= 1 + 5 + 1  # the root, the limit, and the one just opened
    cursor.close()
    assert disk.open_descriptors == 1
    cursor.close()


def test_a_directory_moved_away_is_noticed_on_the_way_up(place: Place) -> None:
    disk, at = place
    build(disk, at, Dir({"a": chain(6), "elsewhere": Dir({})}))
    with Cursor(disk, at, open_max=2) as cursor:
        cursor.at("a/" + path_of(6))
        with Cursor(disk, at) as mover:
            elsewhere = disk.open_dir(at, "elsewhere")
            disk.rename_new(mover.at("a/d"), "d", elsewhere, "d")
            disk.close(elsewhere)
        with pytest.raises(OSError) as failure:
            cursor.at("a")
        assert failure.value.errno == errno.ESTALE


def test_a_cursor_is_usable_after_it_noticed_a_move(place: Place) -> None:
    disk, at = place
    build(disk, at, Dir({"a": chain(6), "elsewhere": Dir({})}))
    with Cursor(disk, at, open_max=2) as cursor:
        cursor.at("a/" + path_of(6))
        with Cursor(disk, at) as mover:
            elsewhere = disk.open_dir(at, "elsewhere")
            disk.rename_new(mover.at("a/d"), "d", elsewhere, "d")
            disk.close(elsewhere)
        with pytest.raises(OSError):
            cursor.at("a")
        assert inode(place, cursor.at("a/d")) == inode_at(place, "a", "d")
        assert cursor.at("") == at


def test_a_walk_through_a_cursor_sees_the_whole_tree(place: Place) -> None:
    tree = Dir({f"d{i}": Dir({f"e{j}": Dir({"f": File(b"%d" % j)}) for j in range(4)}) for i in range(4)})
    build(*place, tree)
    with Cursor(*place, open_max=1) as cursor:
        for i in range(4):
            for j in range(4):
                assert read(place.disk, cursor.at(f"d{i}/e{j}")) == Dir({"f": File(b"%d" % j)})
