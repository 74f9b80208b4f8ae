"""A directory, known again: by its inode, its filesystem and where that is mounted.

Within one boot of the system all of it must be the same. What was written down is compared only as far as it
lasts: at the next boot device numbers are given anew, and so are the numbers of filesystems that are made of
them; those of filesystems without a device at each mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from atomsync.fs.mounts import Mount, mount_of
from atomsync.fs.posix import PosixDisk

_BOOT = "/proc/sys/kernel/random/boot_id"
# Filesystems whose f_fsid is made of an identifier that is stored on them.
_LASTING = {"ext2", "ext3", "ext4", "btrfs"}
_OVERLAY = "overlay"  # every container has another one
_FS_IOC_GETFSUUID = 0x80111500


class Filesystem(NamedTuple):
    """A filesystem at a place, so that it is known again. ``number`` is f_fsid, or the UUID where f_fsid
    would be made of the device, 0 if it has none: device numbers are given anew, an unmounted tmpfs and the
    next one have the same. ``point`` and ``root``: where it is mounted, and what of it; "" where that cannot
    be told, and so ``kind``, its type."""

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
        stored = mount is None or mount.fs_type in _LASTING
        number = (0 if stored else _uuid(fd)) or os.statvfs(fd).f_fsid
        filesystem = Filesystem(found.st_dev, number, *place)
        return Identity(found.st_ino, disk.generation(fd, "."), filesystem)
    finally:
        if fd != path:
            disk.close(fd)


def _uuid(fd: int) -> int:
    """What the filesystem is called by itself; 0 where that cannot be told (Linux before 6.9)."""
    found = bytearray(17)  # its length, then as many bytes
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _FS_IOC_GETFSUUID, found)
    return int.from_bytes(found[1:], "big")


class Seen(NamedTuple):
    """An identity as it is written down. ``boot``: in which run of the system, "" where that cannot be told;
    ``number`` and ``generation`` as hexadecimal text, since they may have a hundred bits and more."""

    ino: int
    generation: str
    device: int
    number: str
    point: str
    root: str
    kind: str
    boot: str

    @staticmethod
    def of(found: Identity) -> Seen:
        device, number, point, root, kind = found.filesystem
        return Seen(found.ino, f"{found.generation:x}", device, f"{number:x}", point, root, kind, boot_id())

    @staticmethod
    def read(fields: Mapping[str, object]) -> Seen | None:
        """What ``_asdict`` gave; None if it is anything else."""
        numbers = ("ino", "device")
        if fields.keys() != set(Seen._fields):
            return None
        if any(type(value) is not (int if name in numbers else str) for name, value in fields.items()):
            return None
        return Seen(**fields)  # type: ignore[arg-type]  # just checked

    def same_filesystem(self, now: Seen, *, subvolumes: bool = False) -> bool:
        """``subvolumes``: those of one btrfs are one, as a snapshot that is made anew is another one."""
        if self.kind != now.kind or self.kind == _OVERLAY:
            return self.kind == now.kind
        if "0" not in (self.number, now.number):
            if self.kind == "btrfs" and subvolumes:  # their numbers differ in the upper half only
                return self.number.zfill(8)[-8:] == now.number.zfill(8)[-8:]
            if self.kind in _LASTING or self.boot == now.boot != "":
                return self.number == now.number
            return True
        without_device = 0 in (os.major(self.device), os.major(now.device))
        return without_device or self.boot != now.boot or self.device == now.device

    def same_place(self, now: Seen, path: str) -> bool:
        """Whether ``path``, the same both times, leads to the same mount point, or, by another mount (a bind
        mount, as in a sandbox), to the same place of the filesystem."""
        return self.point == now.point or self.within(path) == now.within(path)

    def within(self, path: str) -> str:
        """Where ``path``, which lies below the mount point, is on the filesystem itself."""
        return os.path.normpath(f"//{self.root}/{path.removeprefix(self.point)}")

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
