"""The way to a directory: component by component from an open root, never through a symbolic link.

A cursor remembers the descriptors on the way to where it stands, so a walk in sorted order opens each
directory once. It never builds a path for the system, so depth is not bounded by PATH_MAX; it keeps
at most ``open_max`` descriptors, so depth is not bounded by RLIMIT_NOFILE either. An ancestor whose
descriptor was given up is reached again by ``..`` and must then be the directory it was before.
"""

from __future__ import annotations

import errno

from atomsync.fs.disk import Disk

_GIVEN_UP = -1


class Cursor:
    """A place below ``root`` (an open directory descriptor, which the cursor does not close)."""

    def __init__(self, disk: Disk, root: int, open_max: int = 96) -> None:
        self.disk, self.root = disk, root
        self._open_max = open_max
        self._path = ""
        self._names: list[str] = []
        self._fds: list[int] = [root]
        self._identities: dict[int, tuple[int, int]] = {}  # depth → (dev, ino) of a given-up one
        self._oldest = 1  # the shallowest depth that may still be open

    def at(self, path: str) -> int:
        """The descriptor of directory ``path`` (relative, ``""`` for the root), valid until the next call.

        Raises OSError: ENOENT, ENOTDIR or ELOOP where a component is missing or a link, ESTALE where
        an ancestor was moved away under us.
        """
        if path == self._path:
            return self._fds[-1]
        names = path.split("/") if path else []
        same = 0
        for here, there in zip(self._names, names):
            if here != there:
                break
            same += 1
        self._path = "\0"  # not a path: if we fail on the way, no later call may match it
        self._climb(same)
        for name in names[same:]:
            fd = self.disk.open_dir(self._fds[-1], name)
            self._names.append(name)
            self._fds.append(fd)
            if len(self._fds) - self._oldest > self._open_max:
                self._give_up_oldest()
        self._path = path
        return self._fds[-1]

    def split(self, path: str) -> tuple[int, str]:
        """``(descriptor of the parent, last name)`` of a path that is not the root."""
        parent, _, name = path.rpartition("/")
        return self.at(parent), name

    def close(self) -> None:
        """Close every descriptor but the root's. The cursor then stands at the root."""
        for fd in self._fds[1:]:
            if fd != _GIVEN_UP:
                self.disk.close(fd)
        self._path, self._names, self._fds = "", [], [self.root]
        self._identities.clear()
        self._oldest = 1

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _climb(self, depth: int) -> None:
        while len(self._names) > depth:
            here = len(self._names)
            if self._fds[here - 1] == _GIVEN_UP:
                self._fds[here - 1] = self._reopen_parent(here)
            self.disk.close(self._fds.pop())
            self._names.pop()
        self._oldest = min(self._oldest, depth + 1)

    def _reopen_parent(self, here: int) -> int:
        fd = self.disk.open_dir(self._fds[here], "..")
        found = self.disk.fstat(fd)
        if (found.st_dev, found.st_ino) != self._identities.pop(here - 1):
            self.disk.close(fd)
            where = "/".join(self._names[:here])
            self.close()
            raise OSError(errno.ESTALE, "a directory was moved away meanwhile", where)
        self._oldest = here - 1
        return fd

    def _give_up_oldest(self) -> None:
        found = self.disk.fstat(self._fds[self._oldest])
        self._identities[self._oldest] = (found.st_dev, found.st_ino)
        self.disk.close(self._fds[self._oldest])
        self._fds[self._oldest] = _GIVEN_UP
        self._oldest += 1
