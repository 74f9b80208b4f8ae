"""One path's kind, mode, size, mtime, owner, link target, identity and digest.

A named tuple, because a scan makes one for every path: the first eight fields are what a user sees of
it, so two entries look the same when ``a[:SEEN] == b[:SEEN]``; the rest tells which inode it is. All of
them but the extended attributes come with an lstat: ``a[:PLAIN]``.
"""

from __future__ import annotations

import stat
from typing import NamedTuple, TypeGuard

from atomsync.fs.disk import Disk, Stat

FILE, DIR, LINK, OTHER = "file", "dir", "link", "other"
PLAIN, SEEN = 7, 8
SHARED = "shared"
"""The digest of a second name of a file, until it is known which file that is."""
OPEN_BITS = 0o300  # what its owner needs to change the names in a directory

_KINDS = {stat.S_IFREG >> 12: FILE, stat.S_IFDIR >> 12: DIR, stat.S_IFLNK >> 12: LINK}
_SPECIAL = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class Entry(NamedTuple):
    """``size`` in bytes (0 unless a file); ``mode`` the lower 12 bits; times in ns since the epoch.

    ``xattrs`` is a text (see ``attributes``), "" if nobody asked. ``generation`` is 0 and ``digest``
    (hexadecimal xxh3-128) is "" where unknown.
    """

    kind: str
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    target: str
    xattrs: str = ""
    ino: int = 0
    dev: int = 0
    ctime_ns: int = 0
    generation: int = 0
    digest: str = ""


def entry_of(found: Stat, target: str = "") -> Entry:
    """The entry of an lstat result; ``target`` is the text of a symbolic link."""
    mode = found.st_mode
    kind = _KINDS.get(mode >> 12, OTHER)
    return Entry(
        kind,
        mode & 0o7777,
        found.st_size if kind is FILE else 0,
        found.st_mtime_ns,
        found.st_uid,
        found.st_gid,
        target,
        "",
        found.st_ino,
        found.st_dev,
        found.st_ctime_ns,
    )


def look(disk: Disk, at: int, name: str) -> Entry | None:
    """What is at a name now, or None if nothing is."""
    try:
        found = disk.lstat(at, name)
        link = stat.S_ISLNK(found.st_mode)
        return entry_of(found, disk.readlink(at, name) if link else "")
    except FileNotFoundError:
        return None


def look_deep(disk: Disk, at: int, name: str) -> Entry | None:
    """``look``, with the inode's generation: what recovery needs to know an object again."""
    found = look(disk, at, name)
    if found is None:
        return None
    try:
        return found._replace(generation=disk.generation(at, name))
    except FileNotFoundError:
        return None


def same_object(one: Entry, other: Entry) -> bool:
    """The same inode, not a later one that got its number. Survives a rename and a reboot."""
    return (
        one.kind == other.kind
        and one.ino == other.ino
        and (one.generation == other.generation or not one.generation or not other.generation)
    )


def untouched(expected: Entry, found: Entry) -> bool:
    """The same inode with the content, mode, owner and times it had. ctime is left out: a rename changes it.

    A directory's mtime counts too: it changes when a name in it does.
    """
    return same_object(expected, found) and expected[:PLAIN] == found[:PLAIN]


def is_closed(entry: Entry | None) -> TypeGuard[Entry]:
    """Whether this is a directory whose owner may not change the names in it."""
    return entry is not None and entry.kind == DIR and entry.mode & OPEN_BITS != OPEN_BITS


def special_name(mode: int) -> str:
    return _SPECIAL.get(stat.S_IFMT(mode), "special file")
