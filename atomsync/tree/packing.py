"""A directory of the source read into a folder of a graft, and looked at again when all is staged.

Hot loops, run here or in a second process: they see plain tuples, and nothing is made for an entry but its
record. What a listing would do with an entry (``scan``, ``entry``, ``diff.Ownership``) is done in place.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.tree.diff import SETGID, SETUID, Ownership
from atomsync.tree.entry import DIR, FILE, LINK, entry_of
from atomsync.tree.graft import Folder, Record, folder_of, unpacked
from atomsync.tree.path import is_reserved

_FORMAT, _DIR, _FILE, _LINK = 0o170000, 0o040000, 0o100000, 0o120000
_GONE = (errno.ENOENT, errno.EINVAL)
_MOVED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


class Head(NamedTuple):
    """A directory before it is read: its path, and what it shall be at the destination. One that is not to be
    entered is taken for empty."""

    path: str
    mode: int
    mtime_ns: int
    uid: int
    gid: int
    enter: bool = True


class Read(NamedTuple):
    """A directory that was read: its folder, the directories in it, and the names that are left out, each
    with the reason."""

    folder: Folder
    below: tuple[Head, ...]
    left_out: tuple[tuple[str, str], ...]


def read(source: Cursor, head: Head, ownership: Ownership, device: int = 0) -> Read:
    """Read a directory. ``device``: those on another one are not to be entered. Raises OSError."""
    disk, fd = source.disk, source.at(head.path) if head.enter else -1
    everybody, me, groups, step_ns = ownership
    records: list[Record] = []
    below: list[Head] = []
    left_out: list[tuple[str, str]] = []
    prefix = head.path + "/"
    # Each name once: tmpfs tells one twice that was replaced meanwhile.
    for name, found in dict(disk.scandir(fd)).items() if head.enter else ():
        bits = found.st_mode
        form, mode = bits & _FORMAT, bits & 0o7777
        uid, gid = found.st_uid, found.st_gid
        mtime_ns, ctime_ns = found.st_mtime_ns, found.st_ctime_ns
        kind, size, target = FILE, 0, ""
        if name[0] == "." and is_reserved(name):
            left_out.append((prefix + name, "reserved name"))
            continue
        if not everybody:
            wanted_uid, wanted_gid = me, gid if gid in groups else -1
            if form != _DIR:
                mode &= ~((SETUID if wanted_uid != uid else 0) | (SETGID if wanted_gid != gid else 0))
            uid, gid = wanted_uid, wanted_gid
        if step_ns != 1:
            mtime_ns -= mtime_ns % step_ns
        if form == _FILE:
            size = found.st_size
        elif form == _DIR:
            kind = DIR
            enter = not device or found.st_dev == device
            below.append(Head(prefix + name, mode, mtime_ns, uid, gid, enter))
        elif form == _LINK:
            kind = LINK
            try:
                target = disk.readlink(fd, name)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue  # gone, or no longer a link: the next look sees what it is then
        else:
            left_out.append((prefix + name, entry_of(found).target.rstrip("0123456789: ")))
            continue
        records.append(
            (name, kind, mode, size, mtime_ns, uid, gid, target, found.st_ino, found.st_dev, ctime_ns)
        )
    records.sort()
    return Read(folder_of(*head[:5], records), tuple(below), tuple(left_out))


def moved(source: Cursor, path: str, records: bytes) -> list[str]:
    """The names of a folder that are not what they were when it was read: by kind, size, inode and ctime.
    Raises OSError."""
    found = []
    names = unpacked(records)
    if not names:
        return []  # it may be one that is not to be entered; its own time is in the folder above
    try:
        fd = source.at(path)
    except OSError as error:
        if error.errno in _MOVED:
            return [record[0] for record in names]
        raise
    lstat = source.disk.lstat
    for name, kind, _, size, _, _, _, _, ino, _, ctime_ns in names:
        try:
            now = lstat(fd, name)
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            found.append(name)
            continue
        form = now.st_mode & _FORMAT
        if (
            now.st_ino != ino
            or now.st_ctime_ns != ctime_ns
            or (form != _FILE or now.st_size != size if kind == FILE else form == _FILE)
        ):
            found.append(name)
    return found
