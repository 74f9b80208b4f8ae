"""What SRC and DST stood on when the watch began, to be known again before every unit.

A name can come to lead elsewhere: a disk is unmounted and its empty mount point shows, a directory is
replaced. To follow that would remove or fill what nobody meant. So both roots, and the mount points
in SRC, must be what they were; only a source that was made anew in the same place counts as SRC again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from atomsync.errors import RootError, RootReplaced, from_oserror
from atomsync.fs.identity import Filesystem, Identity, identity
from atomsync.fs.mounts import Mount, below, mounts
from atomsync.tree.path import ancestors, shown
from atomsync.watch.filesystems import why_silent

_SOURCE, _DESTINATION = "source", "destination"


class Ground:
    """``source`` and ``destination`` are what was found first, None before."""

    def __init__(
        self,
        source: str,
        destination: str,
        *,
        one_file_system: bool,
        excludes: Callable[[str], bool] | None = None,
    ) -> None:
        self._paths = {_SOURCE: source, _DESTINATION: destination}
        self._one_file_system, self._excludes = one_file_system, excludes
        self.source: Identity | None = None
        self.destination: Identity | None = None
        self._mounts: dict[str, Filesystem] = {}
        self._table: tuple[Mount, ...] | None = None  # of the last check
        self.lost_source = False  # the last complaint was about the source
        self.is_other_source = False  # another directory by the same name, of which no unit was made yet

    def settle_on_source(self) -> int:
        """Take SRC for what it is now, if it may be; returns its st_dev. Raises RootError, RootReplaced."""
        self._table = table = mounts()
        now = self._now(_SOURCE, table)
        if self.source is not None and not self.source.filesystem.same(now.filesystem):
            raise self._replaced(_SOURCE, "is on another filesystem than before")
        if self.source is not None and not self.source.same(now):
            self.is_other_source = True
        self.source = now
        self._check_mounts(table)
        self.lost_source = False
        return now.filesystem.device

    def check(self) -> str:
        """Why the source must be covered anew, "" if it need not. Raises RootError, RootReplaced."""
        why = ""
        self._table = table = mounts()
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
        """Raises RootReplaced if the open source is not the one that is covered."""
        if self.source is not None and not self.source.same(identity(root, self._table)):
            raise self._replaced(_SOURCE, "is not the directory it was")

    def must_be_destination(self, root: int, *, fresh: bool) -> None:
        """Raises RootReplaced if the open destination is not the one that was followed until now, or is
        ``fresh``, without a trace of us: then it is not either."""
        if self.destination is None:
            return
        if fresh or not self.destination.same(identity(root, self._table)):
            raise self._replaced(_DESTINATION, "is not the directory it was")

    def accept(self) -> None:
        """Whatever is there now is right."""
        self.source = self.destination = None
        self._mounts = {}
        self.is_other_source = False

    def _check_mounts(self, table: Iterable[Mount]) -> bool:
        """Whether there are new ones; they are remembered. Raises RootReplaced for one that went."""
        source = self._paths[_SOURCE]
        found = below(source, table).items()
        now = {path: mount for path, mount in found if not is_outside(path, self._excludes)}
        if self._one_file_system:  # they are out of scope; what was beneath one that went is in it
            gone = self._mounts.keys() - now.keys()
            self._mounts = {path: _seen(source, path, mount) for path, mount in now.items()}
            return bool(gone)
        for path, filesystem in self._mounts.items():
            again = now.get(path)
            if again is None or not _seen(source, path, again).same(filesystem):
                raise self._replaced(_SOURCE, "was a mounted filesystem, and is not that one any more", path)
        new = now.keys() - self._mounts.keys()
        self._mounts |= {path: _seen(source, path, now[path]) for path in new}
        return bool(new)

    def _now(self, role: str, table: Iterable[Mount]) -> Identity:
        path = self._paths[role]
        self.lost_source = role == _SOURCE
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
        self.lost_source = role == _SOURCE
        path = self._paths[role] + (f"/{below_it}" if below_it else "")
        hint = (
            f"Bring it back, or accept what is there now: atomsync resume {shown(self._paths[_DESTINATION])}"
        )
        return RootReplaced(f"not following the {role}", f"{shown(path)} {why}", hint)


def is_outside(path: str, excludes: Callable[[str], bool] | None) -> bool:
    """Whether a directory, or one above it, is excluded."""
    return excludes is not None and any(excludes(above) for above in (path, *ancestors(path)))


def _seen(source: str, path: str, mount: Mount) -> Filesystem:
    """A server that does not answer must not hold us up: what may be on one is known by its device alone."""
    number = 0 if why_silent(mount) else os.statvfs(os.path.join(source, path)).f_fsid
    return Filesystem(mount.device, number, mount.point, mount.root, mount.fs_type)
