"""A directory, known again: by its inode, its filesystem and where that is mounted.

Within one boot of the system all of it must be the same. What was written down in an earlier one is
compared only as far as it lasts: device numbers are given anew, and so are the numbers of filesystems that
are made of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from atomsync.fs.mounts import Mount, mount_of
from atomsync.fs.posix import PosixDisk

_BOOT = "/proc/sys/kernel/random/boot_id"
# Filesystems whose f_fsid is made of an identifier that is stored on them.
_LASTING = {"ext2", "ext3", "ext4", "btrfs", "f2fs"}


class Filesystem(NamedTuple):
    """A filesystem at a place, so that it is known again. ``number`` is f_fsid, 0 if it has none: device
    numbers are given anew, an unmounted tmpfs and the next one have the same. ``point`` and ``root``: where
    it is mounted, and what of it; "" where that cannot be told, and so ``kind``, its type."""

    device: int
    number: int
    point: str
    root: str
    kind: str = ""

    def same(self, other: Filesystem) -> bool:
        by_number = self.number and other.number
        alike = self.number == other.number if by_number else self.device == other.device
        return alike and (self.point, self.root) == (other.point, other.root)


class Identity(NamedTuple):
    """A directory, so that it is known again. ``generation`` tells it from a later one that got the same
    inode number; 0 where that cannot be told."""

    ino: int
    generation: int
    filesystem: Filesystem

    def same(self, other: Identity) -> bool:
        return self.same_inode(other) and self.filesystem.same(other.filesystem)

    def same_inode(self, other: Identity) -> bool:
        born = not (self.generation and other.generation) or self.generation == other.generation
        return self.ino == other.ino and born


def identity(path: str | int, table: Iterable[Mount] | None = None) -> Identity:
    """Of a directory by path (links followed) or descriptor. Raises OSError."""
    disk = PosixDisk()
    fd = path if isinstance(path, int) else disk.open_root(path)
    try:
        found, mount = disk.fstat(fd), mount_of(fd, table)
        place = (mount.point, mount.root, mount.fs_type) if mount is not None else ("", "")
        filesystem = Filesystem(found.st_dev, os.statvfs(fd).f_fsid, *place)
        return Identity(found.st_ino, disk.generation(fd, "."), filesystem)
    finally:
        if fd != path:
            disk.close(fd)


class Seen(NamedTuple):
    """An identity as it is written down. ``boot``: in which run of the system, "" where that cannot be told;
    ``generation`` as hexadecimal text, since it may have a thousand bits."""

    ino: int
    generation: str
    device: int
    number: int
    point: str
    root: str
    kind: str
    boot: str

    @staticmethod
    def of(found: Identity) -> Seen:
        return Seen(found.ino, f"{found.generation:x}", *found.filesystem, boot_id())

    @staticmethod
    def read(fields: Mapping[str, object]) -> Seen | None:
        """What ``_asdict`` gave; None if it is anything else."""
        numbers = ("ino", "device", "number")
        if fields.keys() != set(Seen._fields):
            return None
        if any(type(value) is not (int if name in numbers else str) for name, value in fields.items()):
            return None
        return Seen(**fields)  # type: ignore[arg-type]  # just checked

    def same_filesystem(self, now: Seen, *, placed: bool) -> bool:
        """``placed``: mounted in the same place, too."""
        if self.kind != now.kind or (placed and (self.point, self.root) != (now.point, now.root)):
            return False
        if self.boot and self.boot == now.boot:
            by_number = self.number and now.number
            return self.number == now.number if by_number else self.device == now.device
        return self.kind not in _LASTING or self.number == now.number

    def same_inode(self, now: Seen) -> bool:
        known = {self.generation, now.generation}.isdisjoint({"", "0"})
        return self.ino == now.ino and (not known or self.generation == now.generation)


def boot_id() -> str:
    """Another text each time the system starts; "" where it has none."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
