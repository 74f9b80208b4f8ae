"""Whether SRC and DST are still what they were: real directories, real mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import RootError, RootReplaced
from atomsync.follow.ground import Ground
from atomsync.fs.identity import identity


@pytest.fixture
def ground(src: Path, dst: Path) -> Ground:
    """Of two directories that were found."""
    dst.mkdir()
    return settled(src, dst)


def settled(src: Path, dst: Path, *, one_file_system: bool = False) -> Ground:
    found = Ground(str(src), str(dst), one_file_system=one_file_system)
    found.settle_on_source()
    found.destination = identity(str(dst))
    return found


def unmount(point: Path) -> None:
    subprocess.run(["umount", "-l", point], check=True)


def test_what_did_not_change_is_right(ground: Ground, src: Path, dst: Path) -> None:
    (src / "new").mkdir()
    (dst / "new").mkdir()
    assert ground.check() == ""
    assert ground.check() == ""


def test_nothing_is_asked_of_what_was_never_found(src: Path, dst: Path) -> None:
    ground = Ground(str(src), str(dst), one_file_system=False)
    assert ground.check() == ""
    ground.settle_on_source()
    assert ground.check() == ""  # there is no destination yet, and that is right


def test_a_source_that_was_made_anew_is_covered_anew(ground: Ground, src: Path) -> None:
    src.rename(src.with_name("before"))
    src.mkdir()
    assert "another directory" in ground.check()
    ground.settle_on_source()
    assert ground.check() == ""


@pytest.mark.parametrize("role", ["source", "destination"])
def test_a_root_that_is_gone_is_said_and_right_when_it_is_back(
    ground: Ground, src: Path, dst: Path, role: str
) -> None:
    path = src if role == "source" else dst
    path.rename(path.with_name("away"))
    with pytest.raises(RootError) as refusal:
        ground.check()
    assert role in refusal.value.what
    assert str(path) in refusal.value.what
    path.with_name("away").rename(path)
    assert ground.check() == ""


def test_a_file_by_the_name_of_a_root_is_no_root(ground: Ground, src: Path) -> None:
    src.rmdir()
    src.write_bytes(b"")
    with pytest.raises(RootError):
        ground.settle_on_source()


def test_another_destination_is_refused_until_it_is_accepted(ground: Ground, dst: Path) -> None:
    dst.rename(dst.with_name("before"))
    dst.mkdir()
    for _ in range(2):
        with pytest.raises(RootReplaced) as refusal:
            ground.check()
    assert "atomsync resume" in refusal.value.hint
    ground.accept()
    assert ground.check() == ""


def test_an_open_root_must_be_the_one_that_was_found(ground: Ground, src: Path, dst: Path) -> None:
    fds = [os.open(path, os.O_RDONLY) for path in (src, dst)]
    try:
        ground.must_be_source(fds[0])
        ground.must_be_destination(fds[1], fresh=False)
        with pytest.raises(RootReplaced):
            ground.must_be_source(fds[1])
        with pytest.raises(RootReplaced):
            ground.must_be_destination(fds[0], fresh=False)
    finally:
        for fd in fds:
            os.close(fd)


def test_a_link_is_followed_and_may_lead_elsewhere_later(tmp_path: Path, src: Path, dst: Path) -> None:
    dst.mkdir()
    (tmp_path / "link").symlink_to("src")
    ground = settled(tmp_path / "link", dst)
    assert ground.check() == ""
    (tmp_path / "other").mkdir()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert "another directory" in ground.check()


@pytest.mark.parametrize("role", ["source", "destination"])
def test_an_unmounted_root_is_refused_and_an_empty_one_mounted_after_it_too(
    small_fs: Any, src: Path, dst: Path, role: str
) -> None:
    """The next tmpfs has the device number and the inode of the one before."""
    dst.mkdir()
    point = src if role == "source" else dst
    small_fs.tmpfs(point)
    ground = settled(src, dst)
    unmount(point)
    with pytest.raises(RootReplaced):
        ground.check()
    small_fs.tmpfs(point)
    with pytest.raises(RootReplaced):
        ground.check()
    with pytest.raises(RootReplaced):
        ground.settle_on_source() if role == "source" else ground.check()
    small_fs.points.remove(point)
    ground.accept()
    ground.settle_on_source()
    assert ground.check() == ""


def test_a_disk_that_is_mounted_again_is_the_same(small_fs: Any, tmp_path: Path, dst: Path) -> None:
    dst.mkdir()
    point = small_fs("ext4")
    image = next(point.parent.glob("*.image"))
    ground = settled(point, dst)
    unmount(point)
    with pytest.raises(RootReplaced):
        ground.check()
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    assert ground.check() == ""


def test_a_bind_mount_that_is_unmounted_does_not_uncover_a_source(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    """What shows beneath is on the same filesystem."""
    dst.mkdir()
    (tmp_path / "real").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "real", src], check=True)
    small_fs.points.append(src)
    ground = settled(src, dst)
    unmount(src)
    small_fs.points.remove(src)
    with pytest.raises(RootReplaced):
        ground.check()
    with pytest.raises(RootReplaced):
        ground.settle_on_source()


def test_a_filesystem_mounted_in_the_source_is_news_once_and_must_stay(
    small_fs: Any, ground: Ground, src: Path
) -> None:
    (src / "a").mkdir()
    small_fs.tmpfs(src / "a")
    assert "mounted" in ground.check()
    assert ground.check() == ""
    unmount(src / "a")
    with pytest.raises(RootReplaced) as refusal:
        ground.check()
    assert f"{src}/a" in str(refusal.value)
    small_fs.tmpfs(src / "a")  # another one
    small_fs.points.pop()
    with pytest.raises(RootReplaced):
        ground.check()
    ground.accept()
    ground.settle_on_source()
    assert ground.check() == ""


def test_mounts_in_the_source_are_nothing_to_one_file_system(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    dst.mkdir()
    (src / "a").mkdir()
    ground = settled(src, dst, one_file_system=True)
    small_fs.tmpfs(src / "a")
    assert ground.check() == ""


def test_a_source_removed_with_its_parent_is_gone(ground: Ground, src: Path) -> None:
    shutil.rmtree(src)
    with pytest.raises(RootError):
        ground.check()
