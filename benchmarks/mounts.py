"""Filesystems of our own, so that every contender finds the same one and nothing else writes to it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import BenchError, Skipped, quietly

PREFIX = "atomsync-bench-"
GIB = 1 << 30
SHARE_OF_MEMORY = 0.8
# ext4's inode tables and journal are written at once: left to the kernel they would be written in the
# background, on somebody's time.
MKFS = {
    "ext4": ("-F", "-i", "8192", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("-f", "-m", "reflink=1"),
    "btrfs": ("-f",),
}
_APART = "ATOMSYNC_BENCH_APART"


@functools.cache
def may_mount() -> bool:
    """Whether we may mount: root in a container often may not."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    return subprocess.run(("unshare", "--mount", "true"), capture_output=True).returncode == 0


def kind(path: Path) -> str:
    """The name of the filesystem ``path`` is on."""
    return quietly("findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(path)).strip()


def apart() -> None:
    """Go on in a mount namespace of our own, which ends with us, mounts and all, even after kill -9.

    Only who may mount may do that. The process starts anew, with the same id and arguments.
    """
    if may_mount() and not os.environ.get(_APART):
        os.environ[_APART] = "1"
        python = (sys.executable, *sys.orig_argv[1:])
        os.execvp("unshare", ("unshare", "--mount", "--propagation", "private", "--", *python))


@contextlib.contextmanager
def tmpfs() -> Iterator[tuple[Path, int]]:
    """A tmpfs and the bytes it may hold: without root a directory on the one everybody has.

    It never gets more than a part of the memory, so that too big a tree ends in an error, not in the
    hands of the kernel's out-of-memory killer.
    """
    size = int(available_memory() * SHARE_OF_MEMORY)
    if not may_mount():
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir="/dev/shm") as name:
            yield Path(name), min(size, shutil.disk_usage(name).free)
        return
    with _mounted("-t", "tmpfs", "-o", f"size={size},nr_inodes=0,mode=0700", "tmpfs") as point:
        yield point, size


@contextlib.contextmanager
def disk(filesystem: str, size: int) -> Iterator[tuple[Path, str]]:
    """A fresh filesystem on a loop device over a sparse image; with it, what the image itself lies on.

    The image has no name while it is in use, so there is nothing to forget when we are killed.
    """
    if not may_mount():
        raise Skipped("mounting needs root, outside of a container")
    if not shutil.which(f"mkfs.{filesystem}", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin"):
        raise Skipped(f"mkfs.{filesystem} is not installed")
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=_image_directory(size)))
        image = Path(name, "image")
        with image.open("wb") as file:
            file.truncate(size)
        quietly(f"mkfs.{filesystem}", "-q", *MKFS[filesystem], str(image))
        point = stack.enter_context(_mounted("-t", filesystem, "-o", "loop", str(image)))
        image.unlink()
        yield point, kind(Path(name))


@contextlib.contextmanager
def directory(size: int) -> Iterator[tuple[Path, str]]:
    """A directory on a disk of this machine with room for ``size`` bytes, and its filesystem."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=_image_directory(size)) as name:
        found = kind(Path(name))
        if found == "tmpfs":
            raise Skipped("no temporary directory is on a disk")
        yield Path(name), found


def used(point: Path) -> int:
    """Bytes the filesystem of ``point`` holds, once everything is written."""
    settle(point)
    found = os.statvfs(point)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def settle(path: Path) -> None:
    """Write out the filesystem of ``path``, so that nobody pays for what the one before left dirty."""
    quietly("sync", "--file-system", str(path))


@contextlib.contextmanager
def _mounted(*arguments: str) -> Iterator[Path]:
    point = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        quietly("mount", *arguments, str(point))
        try:
            yield point
        finally:
            # Lazily as the last resort: a mount that stays would hold gigabytes of memory or a loop device.
            if subprocess.run(["umount", point], stderr=subprocess.DEVNULL).returncode:
                subprocess.run(["umount", "--lazy", point], check=True)
    finally:
        point.rmdir()


def _image_directory(size: int) -> Path:
    """Where an image of ``size`` fits, preferably on a disk: on tmpfs an fsync would cost nothing."""
    places = [Path(tempfile.gettempdir()), Path("/var/tmp")]
    roomy = [place for place in places if place.is_dir() and shutil.disk_usage(place).free > size]
    if not roomy:
        raise Skipped(f"no temporary directory has room for an image of {size / GIB:.1f} GiB")
    return min(roomy, key=lambda place: kind(place) == "tmpfs")


def available_memory() -> int:
    """Bytes that may still be taken before the kernel has to take them from others."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise BenchError("/proc/meminfo does not say how much memory is available")
