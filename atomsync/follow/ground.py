"""What SRC and DST stood on when the watch began, to be known again before every unit.

A name can come to lead elsewhere: a disk is unmounted and its empty mount point shows, a directory is
replaced. To follow that would remove or fill what nobody meant. So both roots, and the mount points
in SRC, must be what they were; only a source that was made anew in the same place counts as SRC again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from atomsync.errors import RootError, RootReplaced, from_oserror
from atomsync.fs.mounts import Mount, below, mount_of, mounts
from atomsync.tree.path import shown
from atomsync.watch.filesystems import why_silent

_SOURCE, _DESTINATION = "source", "destination"


class Filesystem(NamedTuple):
    """A filesystem at a place, so that it is known again. ``number`` is f_fsid, 0 if it has none: device
    numbers are given anew, an unmounted tmpfs and the next one have the same. ``point`` and ``root``: where
    it is mounted, and what of it; "" where that cannot be told."""

    device: int
    number: int
    point: str
    root: str

    def same(self, other: Filesystem) -> bool:
        by_number = self.number and other.number
        alike = self.number == other.number if by_number else self.device == other.device
        return alike and (self.point, self.root) == (other.point, other.root)


class Identity(NamedTuple):
    """A directory, so that it is known again."""

    ino: int
    filesystem: Filesystem

    def same(self, other: Identity) -> bool:
        return self.ino == other.ino and self.filesystem.same(other.filesystem)

    def is_open_at(self, fd: int) -> bool:
        """Whether the descriptor leads to the same inode; what it is mounted on is asked of the path."""
        found = os.fstat(fd)
        return (found.st_ino, found.st_dev) == (self.ino, self.filesystem.device)


def identity(path: str | int, table: Iterable[Mount] | None = None) -> Identity:
    """Of a directory by path (links followed) or descriptor. Raises OSError."""
    found, mount = os.stat(path), mount_of(path, table)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    place = (mount.point, mount.root) if mount is not None else ("", "")
    return Identity(found.st_ino, Filesystem(found.st_dev, os.statvfs(path).f_fsid, *place))


class Ground:
    """``source`` and ``destination`` are what was found first, None before."""

    def __init__(self, source: str, destination: str, *, one_file_system: bool) -> None:
        self._paths = {_SOURCE: source, _DESTINATION: destination}
        self._look_for_mounts = not one_file_system
        self.source: Identity | None = None
        self.destination: Identity | None = None
        self._mounts: dict[str, Filesystem] = {}

    def settle_on_source(self) -> int:
        """Take SRC for what it is now, if it may be; returns its st_dev. Raises RootError, RootReplaced."""
        table = mounts()
        now = self._now(_SOURCE, table)
        if self.source is not None and not self.source.filesystem.same(now.filesystem):
            raise self._replaced(_SOURCE, "is on another filesystem than before")
        self.source = now
        self._check_mounts(table)
        return now.filesystem.device

    def check(self) -> str:
        """Why the source must be covered anew, "" if it need not. Raises RootError, RootReplaced."""
        why, table = "", mounts()
        if self.source is not None:
            now = self._now(_SOURCE, table)
            if not self.source.filesystem.same(now.filesystem):
                raise self._replaced(_SOURCE, "is on another filesystem than before")
            if self.source.ino != now.ino:
                why = "the source is another directory by the same name"
            elif self._check_mounts(table):
                why = "a filesystem was mounted in the source"
        if self.destination is not None and not self.destination.same(self._now(_DESTINATION, table)):
            raise self._replaced(_DESTINATION, "is not the directory it was")
        return why

    def must_be_source(self, root: int) -> None:
        """Raises RootReplaced if the open source is not what ``check`` has just found by its path."""
        if self.source is not None and not self.source.is_open_at(root):
            raise self._replaced(_SOURCE, "is not the directory it was")

    def must_be_destination(self, root: int, *, fresh: bool) -> None:
        """Raises RootReplaced if the open destination is not what ``check`` has just found by its path, or
        is ``fresh``, without a trace of us: a directory made anew may well get the same inode number."""
        if self.destination is not None and (fresh or not self.destination.is_open_at(root)):
            raise self._replaced(_DESTINATION, "is not the directory it was")

    def accept(self) -> None:
        """Whatever is there now is right."""
        self.source = self.destination = None
        self._mounts = {}

    def _check_mounts(self, table: Iterable[Mount]) -> bool:
        """Whether there are new ones; they are remembered. Raises RootReplaced for one that went."""
        if not self._look_for_mounts:
            return False
        source = self._paths[_SOURCE]
        now = below(source, table)
        for path, filesystem in self._mounts.items():
            again = now.get(path)
            if again is None or not _seen(source, path, again).same(filesystem):
                raise self._replaced(_SOURCE, "was a mounted filesystem, and is not that one any more", path)
        new = now.keys() - self._mounts.keys()
        self._mounts |= {path: _seen(source, path, now[path]) for path in new}
        return bool(new)

    def _now(self, role: str, table: Iterable[Mount]) -> Identity:
        path = self._paths[role]
        try:
            return identity(path, table)
        except (FileNotFoundError, NotADirectoryError):
            hint = "When it is back the watch goes on by itself."
            if role == _DESTINATION:
                hint += f" To begin with a new one: atomsync resume {shown(path)}"
            raise RootError(f"the {role} {shown(path)} is gone", "no directory is there", hint) from None
        except OSError as error:
            raise from_oserror(error, f"cannot reach the {role} {shown(path)}") from None

    def _replaced(self, role: str, why: str, below_it: str = "") -> RootReplaced:
        path = self._paths[role] + (f"/{below_it}" if below_it else "")
        hint = (
            f"Bring it back, or accept what is there now: atomsync resume {shown(self._paths[_DESTINATION])}"
        )
        return RootReplaced(f"not following the {role}", f"{shown(path)} {why}", hint)


def _seen(source: str, path: str, mount: Mount) -> Filesystem:
    """A server that does not answer must not hold us up: what may be on one is known by its device alone."""
    number = 0 if why_silent(mount) else os.statvfs(os.path.join(source, path)).f_fsid
    return Filesystem(mount.device, number, mount.point, mount.root)
