"""A move within SRC is a move at DST; what moves in or out across its border comes whole or goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync import push
from tests.follow.following import Following

Follow = Callable[..., Following]
SameTree = Callable[..., None]
Move = Callable[[Path], object]

TREE: dict[str, bytes | str | None] = {
    "file": b"content" * 1000,
    "other": b"another" * 1000,
    "into": None,
    "dir/link": "one",
    **{f"dir/sub{number % 5}/{number}": b"%d " % number * 100 for number in range(500)},
}


def _into_a_new_one(src: Path) -> None:
    """Which nobody watches yet at that moment."""
    (src / "new/er").mkdir(parents=True)
    (src / "file").rename(src / "new/er/file")


def _in_turns(src: Path) -> None:
    (src / "dir").rename(src / "aside")
    (src / "aside/sub1/1").rename(src / "aside/one")
    (src / "aside").rename(src / "into/moved")
    (src / "into/moved/sub2").rename(src / "dir")


def _swapped(src: Path) -> None:
    (src / "file").rename(src / "aside")
    (src / "other").rename(src / "file")
    (src / "aside").rename(src / "other")


MOVES: dict[str, Move] = {
    "a file renamed": lambda src: (src / "file").rename(src / "renamed"),
    "a file into a directory": lambda src: (src / "file").rename(src / "into/file"),
    "a file into a new directory": _into_a_new_one,
    "a file over another": lambda src: (src / "file").rename(src / "other"),
    "two files swapped": _swapped,
    "a directory renamed": lambda src: (src / "dir").rename(src / "renamed"),
    "a directory into another": lambda src: (src / "dir").rename(src / "into/dir"),
    "a directory over an empty one": lambda src: (src / "dir").rename(src / "into"),
    "several in turns": _in_turns,
}


def inodes(root: Path) -> dict[int, bytes]:
    """The files of a tree and what they hold."""
    found: dict[int, bytes] = {}
    for top, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name != ".atomsync"]
        paths = [Path(top, name) for name in names]
        found.update((path.lstat().st_ino, path.read_bytes()) for path in paths if not path.is_symlink())
    return found


@pytest.mark.parametrize("move", MOVES)
def test_a_move_within_the_source_copies_no_byte_and_keeps_the_inodes(
    move: str,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst, delete=True, settle_s=0.15)
    watch.settled()
    before = inodes(dst)
    MOVES[move](src)
    watch.wait_until(watch.units)
    watch.settled()
    [report] = watch.reports()
    assert report.receipt is not None
    assert report.receipt.bytes == 0
    assert_same_tree(src, dst)
    assert inodes(dst).items() <= before.items()


def test_a_moved_file_that_is_then_written_is_copied(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow, assert_same_tree: SameTree
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst, delete=True)
    watch.settled()
    (src / "file").rename(src / "renamed")
    status = (src / "renamed").stat()
    (src / "renamed").write_bytes(b"CONTENT" * 1000)
    os.utime(src / "renamed", ns=(status.st_atime_ns, status.st_mtime_ns))
    watch.settled()
    assert (dst / "renamed").read_bytes() == b"CONTENT" * 1000
    assert_same_tree(src, dst)


def test_a_move_without_delete_leaves_the_old_name(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst)
    watch.settled()
    (src / "file").rename(src / "renamed")
    watch.settled()
    assert watch.changes() == [("created", "renamed")]
    assert (dst / "file").read_bytes() == (dst / "renamed").read_bytes() == TREE["file"]
    assert (dst / "file").stat().st_ino != (dst / "renamed").stat().st_ino


def test_a_tree_moved_in_from_outside_is_taken_whole_in_one_unit(
    tmp_path: Path,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    outside = plant(tmp_path / "outside", TREE)
    watch = follow(src, dst, delete=True)
    watch.settled()
    before = len(watch.units())
    outside.rename(src / "inside")
    watch.wait_until(lambda: (dst / "inside").exists())
    assert_same_tree(src, dst)  # from the first moment it is visible at all
    (src / "inside/dir/sub3/later").write_bytes(b"heard as well")
    watch.wait_until(lambda: (dst / "inside/dir/sub3/later").exists())
    watch.settled()
    assert len(watch.units()) == before + 2


@pytest.mark.parametrize("delete", [True, False])
def test_what_is_moved_out_is_removed_only_with_delete(
    delete: bool,
    tmp_path: Path,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    snapshot: Callable[..., object],
    assert_same_tree: SameTree,
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst, delete=delete)
    watch.settled()
    before = snapshot(dst / "dir")
    (src / "dir").rename(tmp_path / "outside")
    (src / "file").rename(tmp_path / "outside.file")
    (tmp_path / "outside/sub1/1").write_bytes(b"changed where nobody watches")
    (src / "other").write_bytes(b"the rest goes on")
    watch.settled()
    if delete:
        assert_same_tree(src, dst)
    else:
        assert watch.changes() == [("updated", "other")]
        assert snapshot(dst / "dir") == before
        assert (dst / "file").exists()


def test_a_tree_moved_out_and_changed_and_in_again_is_looked_at_anew(
    tmp_path: Path,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst, delete=True)
    watch.settled()
    (src / "dir").rename(tmp_path / "outside")
    (tmp_path / "outside/sub1/1").write_bytes(b"changed where nobody watches")
    (tmp_path / "outside").rename(src / "dir")
    watch.settled()
    assert_same_tree(src, dst)
    (src / "dir/sub2/2").write_bytes(b"and watched again")
    watch.wait_until(lambda: (dst / "dir/sub2/2").read_bytes() == b"and watched again")
    watch.settled()
    assert_same_tree(src, dst)
