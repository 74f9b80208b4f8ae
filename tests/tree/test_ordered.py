"""The walk in the order of the bytes of paths: the order of the table it is compared with."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.tree.entry import Entry
from atomsync.tree.ordered import in_order

Plant = Callable[..., Path]


def walked(
    root: Path, after: bytes = b"", leave_out: Callable[[str, Entry], bool] = lambda *_: False
) -> list[bytes]:
    disk = PosixDisk()
    fd = disk.open_root(str(root))
    told: list[str] = []
    try:
        with Cursor(disk, fd) as cursor:
            found = [
                key for key, _, _ in in_order(cursor, after, leave_out, lambda path, _: told.append(path))
            ]
    finally:
        disk.close(fd)
    assert told == []
    return found


def everything(root: Path) -> list[bytes]:
    top = os.fsencode(root)
    found = []
    for directory, below, names in os.walk(top):
        found += [os.path.relpath(os.path.join(directory, name), top) for name in [*below, *names]]
    return found


def test_what_is_below_a_directory_comes_where_its_path_sorts(tmp_path: Path, plant: Plant) -> None:
    plant(tmp_path, {"a/b": b"", "a.txt": b"", "a0": b"", "a-": b"", "a/c/d": b"", b"\xff/x": b"", "z": "a"})
    assert walked(tmp_path) == sorted(everything(tmp_path))
    assert walked(tmp_path) == [
        b"a",
        b"a-",
        b"a.txt",
        b"a/b",
        b"a/c",
        b"a/c/d",
        b"a0",
        b"z",
        b"\xff",
        b"\xff/x",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_from_any_path_on_it_yields_just_what_sorts_behind_it(
    seed: int, tmp_path: Path, plant: Plant
) -> None:
    dice = random.Random(seed)
    names = ["a", "a.", "a-b", "a0", "b", "ä", " ", "!"]
    plant(tmp_path, {"/".join([*dice.choices(names, k=dice.randint(1, 4)), "x"]): b"" for _ in range(40)})
    paths = sorted(everything(tmp_path))
    for after in [*paths, b"a/", b"a.zzz", b"zzz"]:
        assert walked(tmp_path, after) == [path for path in paths if path > after]


def test_what_is_left_out_is_not_gone_into(tmp_path: Path, plant: Plant) -> None:
    plant(tmp_path, {"a/b": b"", "c/a/b": b"", "d": b""})
    assert walked(tmp_path, leave_out=lambda path, _: path.endswith("a")) == [b"c", b"d"]


def test_a_directory_that_goes_meanwhile_is_passed_over(tmp_path: Path, plant: Plant) -> None:
    plant(tmp_path, {"a/b": b"", "c": b""})
    disk = PosixDisk()
    fd = disk.open_root(str(tmp_path))
    with Cursor(disk, fd) as cursor:
        found = []
        for key, _, _ in in_order(cursor, b"", lambda *_: False, lambda *_: pytest.fail("unreadable")):
            found.append(key)
            if key == b"a":
                os.rename(tmp_path / "a", tmp_path / "z")
    disk.close(fd)
    assert found == [b"a", b"c"]
