"""One path's kind, mode, size, mtime, owner, link target, identity and digest.

A named tuple, because a scan makes one for every path: the first eight fields are what a user sees of
it, so two entries look the same when ``a[:SEEN] == b[:SEEN]``; the rest tells which inode it is. All of
them but the extended attributes come with an lstat: ``a[:PLAIN]``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
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
_DEVICES = {stat.S_IFCHR, stat.S_IFBLK}


class Entry(NamedTuple):
    """``size`` in bytes (0 unless a file); ``mode`` the lower 12 bits; times in ns since the epoch.
    ``target`` is the text of a symbolic link; of a special file it says what that is (see ``node_of``).

    ``xattrs`` is a text (see ``xattrs``), "" if nobody asked. ``generation`` is 0 and ``digest``
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


_made = tuple.__new__


def entry_of(found: Stat, target: str = "", generation: int = 0) -> Entry:
    """The entry of an lstat result; ``target`` is the text of a symbolic link."""
    mode = found.st_mode
    kind = _KINDS.get(mode >> 12, OTHER)
    if kind is OTHER:
        target = _node_text(found)
    # Past Entry's own __new__, which costs more than all the rest: every path of a tree comes by here.
    return _made(
        Entry,
        (
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
            generation,
            "",
        ),
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
    try:
        found = disk.lstat(at, name)
        target = disk.readlink(at, name) if stat.S_ISLNK(found.st_mode) else ""
        return entry_of(found, target, disk.generation(at, name))
    except FileNotFoundError:
        return None


def look_deep_all(disk: Disk, at: int, names: Iterable[str]) -> list[Entry | None]:
    """``look_deep`` at each name in one directory."""
    found: list[Entry | None] = []
    for name, looked in zip(names := list(names), disk.deep_lstats(at, names)):
        if looked is not None and stat.S_ISLNK(looked[0].st_mode):
            found.append(look_deep(disk, at, name))  # with its text
        else:
            found.append(looked and entry_of(looked[0], "", looked[1]))
    return found


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


def _node_text(found: Stat) -> str:
    name = special_name(found.st_mode)
    if stat.S_IFMT(found.st_mode) not in _DEVICES:
        return name
    return f"{name} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def node_of(target: str) -> tuple[int, int]:
    """What ``Disk.node`` wants, of a special file's text, such as "FIFO" or "block device 8:1"."""
    for kind, name in _SPECIAL.items():
        if target == name:
            return kind, 0
        if kind in _DEVICES and target.startswith(name + " "):
            major, _, minor = target[len(name) :].partition(":")
            return kind, os.makedev(int(major), int(minor))
    raise ValueError(target)


def is_device(entry: Entry) -> bool:
    """Whether this is a device node: only root may make them."""
    return entry.kind == OTHER and ":" in entry.target


def special_name(mode: int) -> str:
    return _SPECIAL.get(stat.S_IFMT(mode), "special file")
