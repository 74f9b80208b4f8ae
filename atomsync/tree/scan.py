"""Directories read into entries.

This is a hot loop: a push without changes is little else. One scandir and one lstat a name, no path
joins, one tuple an entry.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterable, Iterator

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk, Stat
from atomsync.tree.entry import DIR, Entry, entry_of
from atomsync.tree.path import joined

_LINK = stat.S_IFLNK


def listing(disk: Disk, fd: int, several: set[str] | None = None) -> dict[str, Entry]:
    """Every name in an open directory with its entry. Special files are there as kind ``other``.
    ``several`` gets the names of files that have others too."""
    return entries(disk, fd, disk.scandir(fd), several)


def entries(
    disk: Disk, fd: int, listed: Iterable[tuple[str, Stat]], several: set[str] | None = None
) -> dict[str, Entry]:
    """``listing``, of what a scandir of the directory has just found."""
    found = {}
    for name, status in listed:
        if status.st_mode & 0o170000 == _LINK:
            try:
                found[name] = entry_of(status, disk.readlink(fd, name))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
                continue  # gone, or no longer a link: the next look sees what it is then
        else:
            found[name] = entry_of(status)
            if several is not None and status.st_nlink > 1:
                several.add(name)
    return found


def subtree(cursor: Cursor, top: str) -> Iterator[tuple[str, Entry]]:
    """Every path strictly below directory ``top`` with its entry, parents before children."""
    pending = [top]
    while pending:
        directory = pending.pop()
        below = []
        for name, entry in sorted(listing(cursor.disk, cursor.at(directory)).items()):
            path = joined(directory, name)
            yield path, entry
            if entry.kind == DIR:
                below.append(path)
        pending.extend(reversed(below))
