"""Large and sparse files: what is written, what is shared, what stays a hole; judged by stat and filefrag."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import Report, push
from atomsync.errors import DigestMismatch, Interrupted
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress

MIB = 1 << 20
KINDS = ["ext4", "xfs", "btrfs", "tmpfs"]
WITH_REFLINKS = ["xfs", "btrfs"]
T = 10**18


def written(path: Path) -> int:
    """Bytes that have a place on the filesystem."""
    return path.stat().st_blocks * 512


def made_sparse(path: Path, size: int, pieces: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    os.utime(path, ns=(T, T))


def filled(path: Path, size: int, seed: int = 1) -> bytes:
    data = (bytes([seed]) * 4095 + b"\n") * (size // 4096)
    path.write_bytes(data)
    return data


def shared_extents(path: Path) -> bool:
    """Whether filefrag finds every extent of the file shared with another file."""
    program = shutil.which("filefrag", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if program is None:
        pytest.skip("filefrag is not installed")
    subprocess.run(["sync", "-f", path], check=True)
    said = subprocess.run([program, "-v", path], check=True, capture_output=True, text=True).stdout
    extents = [line for line in said.splitlines() if line.lstrip()[:1].isdigit()]
    return bool(extents) and all("shared" in line for line in extents)


def grown(point: Path, work: Callable[[], object]) -> int:
    """How many bytes of its filesystem ``work`` took."""

    def used() -> int:
        subprocess.run(["sync", "-f", point], check=True)
        found = os.statvfs(point)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    before = used()
    work()
    return used() - before


def nothing_to_do(report: Report) -> bool:
    return report.receipt is not None and report.receipt.unit_id == ""


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_a_sparse_file_stays_sparse_and_reads_the_same(kind: str, small_fs: Any, tmp_path: Path) -> None:
    dst, src = small_fs(kind, 320 if kind == "xfs" else 160) / "dst", tmp_path / "src"
    src.mkdir()
    made_sparse(src / "large", 200 * MIB, {0: b"head", 3 * MIB + 5: b"x" * 9000, 199 * MIB: b"tail"})
    made_sparse(src / "small", 900_000, {500_000: b"in the midst"})
    made_sparse(src / "empty", 5 * MIB, {})
    (src / "zeros").write_bytes(bytes(2 * MIB))  # not sparse: its zeros have a place
    push(src, dst)
    for name in ("large", "small", "empty", "zeros"):
        assert subprocess.run(["cmp", src / name, dst / name], check=False).returncode == 0
    assert written(dst / "large") < 256 << 10
    assert written(dst / "small") < 128 << 10
    assert written(dst / "empty") == 0
    assert written(dst / "zeros") >= 2 * MIB
    assert nothing_to_do(push(src, dst, checksum=True))


@pytest.mark.root
def test_a_sparse_file_larger_than_the_destination_is_not_refused_for_its_holes(
    small_fs: Any, tmp_path: Path
) -> None:
    dst, src = small_fs("ext4", 32) / "dst", tmp_path / "src"
    src.mkdir()
    made_sparse(src / "image", 120 * MIB, {100 * MIB: b"data"})
    push(src, dst)
    assert (dst / "image").stat().st_size == 120 * MIB
    assert written(dst / "image") < MIB


@pytest.mark.root
@pytest.mark.parametrize("kind", WITH_REFLINKS)
def test_on_one_filesystem_with_reflinks_a_large_file_shares_the_blocks_of_its_source(
    kind: str, small_fs: Any
) -> None:
    point = small_fs(kind, 400)
    src, dst = point / "src", point / "dst"
    src.mkdir()
    data = filled(src / "f", 64 * MIB)
    took = grown(point, lambda: push(src, dst))
    assert took < 8 * MIB
    assert shared_extents(dst / "f")
    assert (dst / "f").read_bytes() == data
    with (src / "f").open("r+b") as file:  # and the copy stays a copy
        file.write(b"edited")
    assert (dst / "f").read_bytes() == data


@pytest.mark.root
@pytest.mark.parametrize("kind", WITH_REFLINKS)
@pytest.mark.parametrize("change", ["in place", "grown", "cut", "all of it"])
def test_a_changed_large_file_takes_the_place_of_its_changes_only(
    kind: str, change: str, small_fs: Any, tmp_path: Path
) -> None:
    point, src = small_fs(kind, 400), tmp_path / "src"
    dst = point / "dst"
    src.mkdir()
    before = filled(src / "f", 32 * MIB)
    push(src, dst)
    with (src / "f").open("r+b") as file:
        if change == "in place":
            file.seek(5 * MIB + 100)
            file.write(b"x" * 100_000)
        elif change == "grown":
            file.seek(0, os.SEEK_END)
            file.write(b"y" * 100_000)
        elif change == "cut":
            file.truncate(20 * MIB + 7)
        else:
            file.write(b"z" * (32 * MIB))
    old = (dst / "f").stat()
    took = grown(point, lambda: push(src, dst))
    assert (took < 4 * MIB) == (change != "all of it")
    assert (dst / "f").read_bytes() == (src / "f").read_bytes()
    (unit,) = dst.glob(".atomsync/history/*/slots/*")
    assert unit.stat().st_ino == old.st_ino  # the old inode itself, untouched
    assert (unit.read_bytes(), unit.stat().st_mtime_ns) == (before, old.st_mtime_ns)


@pytest.mark.root
@pytest.mark.parametrize("kind", WITH_REFLINKS)
def test_what_became_a_hole_in_the_source_becomes_one_in_the_successor(
    kind: str, small_fs: Any, tmp_path: Path
) -> None:
    dst, src = small_fs(kind, 400) / "dst", tmp_path / "src"
    src.mkdir()
    filled(src / "f", 32 * MIB)
    push(src, dst)
    with (src / "f").open("r+b") as file:  # as fstrim does with the image of a disk
        PosixDisk().punch(file.fileno(), 8 * MIB, 16 * MIB)
    os.utime(src / "f", ns=(T, T))
    push(src, dst)
    subprocess.run(["sync", "-f", dst], check=True)
    assert written(dst / "f") <= 17 * MIB
    assert (dst / "f").read_bytes() == (src / "f").read_bytes()


@pytest.mark.root
def test_a_block_that_is_not_what_was_written_is_found_in_a_file_staged_over_its_former_version(
    small_fs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dst, src = small_fs("btrfs", 400) / "dst", tmp_path / "src"
    src.mkdir()
    before = filled(src / "f", 32 * MIB)
    push(src, dst)
    with (src / "f").open("r+b") as file:
        file.seek(9 * MIB)
        file.write(b"new")
    write = PosixDisk.write

    def failing(self: PosixDisk, fd: int, data: bytes, offset: int) -> None:
        write(self, fd, b"?" + data[1:] if offset == 9 * MIB else data, offset)

    monkeypatch.setattr(PosixDisk, "write", failing)
    with pytest.raises(DigestMismatch):
        push(src, dst)
    assert (dst / "f").read_bytes() == before


@pytest.mark.root
def test_a_block_that_cannot_be_read_in_the_former_version_is_no_part_of_the_new_one(
    small_fs: Any, tmp_path: Path, atomsync: Any
) -> None:
    point, src = small_fs("btrfs", 320), tmp_path / "src"
    src.mkdir()
    marks = [b"atomsync %d" % number for number in range(20 * MIB // 4096)]
    data = b"".join(mark.ljust(4096, b".") for mark in marks)
    (src / "f").write_bytes(data)
    push(src, point / "dst")
    subprocess.run(["umount", point], check=True)
    image = point.with_name(point.name + ".image")
    with image.open("r+b") as file:  # the first block of one of the pieces that are compared
        file.seek(file.read().index(marks[10 * MIB // 4096].ljust(4096, b".")))
        file.write(b"rotten")
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    assert atomsync("verify", point / "dst").returncode == 42
    done = atomsync("verify", point / "dst", "--repair", src)
    assert done.returncode == 0, done.stderr
    assert (point / "dst" / "f").read_bytes() == data


@pytest.mark.root
def test_a_source_that_changes_while_its_clone_is_read_back_is_not_taken(small_fs: Any) -> None:
    point = small_fs("btrfs", 400)
    src, dst = point / "src", point / "dst"
    src.mkdir()
    filled(src / "f", 32 * MIB)

    class Writing(Progress):
        times = 0

        def advance(self, files: int = 0, size: int = 0) -> None:
            if size and not self.times:
                self.times += 1
                with (src / "f").open("r+b") as file:
                    file.write(b"changed meanwhile")

    push(src, dst, progress=Writing())
    assert (dst / "f").read_bytes() == (src / "f").read_bytes()
    assert (dst / "f").read_bytes().startswith(b"changed meanwhile")


@pytest.mark.root
def test_a_signal_in_a_clone_leaves_the_destination_as_it_was(small_fs: Any, unchanged: Any) -> None:
    point = small_fs("xfs", 400)
    src, dst = point / "src", point / "dst"
    src.mkdir()
    filled(src / "f", 32 * MIB)
    push(src, dst)
    filled(src / "f", 32 * MIB, 2)

    class Stopping(Progress):
        def advance(self, files: int = 0, size: int = 0) -> None:
            self.stopping = "SIGTERM" if size else ""

    with unchanged(dst), pytest.raises(Interrupted):
        push(src, dst, progress=Stopping())


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_whether_files_can_share_blocks_is_found_by_trying(kind: str, small_fs: Any) -> None:
    from atomsync.fs.capabilities import has_reflinks, probe

    disk = PosixDisk()
    at = disk.open_root(str(small_fs(kind, 320 if kind == "xfs" else 160)))
    try:
        probe(disk, at)
        assert has_reflinks(disk, at) == (kind in WITH_REFLINKS)
    finally:
        disk.close(at)
