"""What SRC and DST stood on when the watch began, to be known again before every unit.

A name can come to lead elsewhere: a disk is unmounted and its empty mount point shows, a directory is
replaced. To follow that would remove or fill what nobody meant. So both roots, and the mount points
in SRC, must be what they were; a root that was made anew on the same filesystem counts as SRC again.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from atomsync.errors import RootError, RootReplaced, from_oserror
from atomsync.tree.path import shown
from atomsync.watch.filesystems import mount_identities

_ACCEPT = "Bring it back, or accept what is there now: atomsync resume {}"


class Identity(NamedTuple):
    """A directory, so that it is known again: after a remount the device may have another number."""

    dev: int
    ino: int
    filesystem: int

    def same_filesystem(self, other: Identity) -> bool:
        return self.dev == other.dev or (self.filesystem != 0 and self.filesystem == other.filesystem)

    def same(self, other: Identity) -> bool:
        return self.ino == other.ino and self.same_filesystem(other)


def identity(path: str | int) -> Identity:
    """Of a directory by path (links followed) or descriptor. Raises OSError."""
    found = os.stat(path)
    return Identity(found.st_dev, found.st_ino, os.statvfs(path).f_fsid)


class Ground:
    """``source`` and ``destination`` are what was found first, None before; ``mounts``: path → st_dev."""

    def __init__(self, source: str, destination: str, *, one_file_system: bool) -> None:
        self._source_path, self._destination_path = source, destination
        self._look_for_mounts = not one_file_system
        self.source: Identity | None = None
        self.destination: Identity | None = None
        self._mounts: dict[str, int] = {}

    def settle_on_source(self) -> Identity:
        """Take SRC for what it is now, if it may be. Raises RootError, RootReplaced."""
        now = self._now(self._source_path, "source", "SRC")
        if self.source is not None and not self.source.same_filesystem(now):
            raise self._replaced("source", self._source_path, "is on another filesystem than before")
        self.source = now
        self._check_mounts()
        return now

    def check(self) -> str:
        """Why the source must be covered anew, "" if it need not. Raises RootError, RootReplaced."""
        why = ""
        if self.source is not None:
            now = self._now(self._source_path, "source", "SRC")
            if not self.source.same_filesystem(now):
                raise self._replaced("source", self._source_path, "is on another filesystem than before")
            if self.source.ino != now.ino:
                why = "the source is another directory by the same name"
            elif self._check_mounts():
                why = "a filesystem was mounted in the source"
        if self.destination is not None:
            now = self._now(self._destination_path, "destination", "DST")
            if not self.destination.same(now):
                raise self._replaced("destination", self._destination_path, "is not the directory it was")
        return why

    def must_be_source(self, root: int) -> None:
        """Raises RootReplaced if the open source is not the one that is covered."""
        if self.source is not None and not self.source.same(identity(root)):
            raise self._replaced("source", self._source_path, "is not the directory it was")

    def must_be_destination(self, root: int) -> None:
        """Raises RootReplaced if the open destination is not the one that was followed until now."""
        if self.destination is not None and not self.destination.same(identity(root)):
            raise self._replaced("destination", self._destination_path, "is not the directory it was")

    def accept(self) -> None:
        """Whatever is there now is right."""
        self.source = self.destination = None
        self._mounts = {}

    def _check_mounts(self) -> bool:
        """Whether there are new ones; they are remembered. Raises RootReplaced for one that went."""
        if not self._look_for_mounts:
            return False
        now = mount_identities(self._source_path)
        for path, device in self._mounts.items():
            if now.get(path) != device:
                where = f"{self._source_path}/{path}"
                raise self._replaced("source", where, "was a mounted filesystem, and is not any more")
        new = now.keys() != self._mounts.keys()
        self._mounts = now
        return new

    def _now(self, path: str, role: str, name: str) -> Identity:
        try:
            return identity(path)
        except (FileNotFoundError, NotADirectoryError):
            hint = f"Bring it back: the watch goes on by itself. To give it up, stop the watch of {name}."
            raise RootError(f"the {role} {shown(path)} is gone", "no directory is there", hint) from None
        except OSError as error:
            raise from_oserror(error, f"cannot reach the {role} {shown(path)}") from None

    def _replaced(self, role: str, path: str, why: str) -> RootReplaced:
        hint = _ACCEPT.format(shown(self._destination_path))
        return RootReplaced(f"not following the {role}: {shown(path)} {why}", "nothing was touched", hint)
