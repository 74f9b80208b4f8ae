"""Two directories that are probably alike, seen to be so without an entry for any name in them.

The hottest loop of a push without changes: two scandirs, and for each pair of names the numbers of two
lstats. It says only "alike", with the directories below, or "look properly". So it is plainer than the rest,
and it imports little: the second process (``fs.second``) runs it too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Stat
from atomsync.tree.path import is_reserved

if TYPE_CHECKING:
    from collections.abc import Collection

    from atomsync.fs.second_main import Context

_TYPE, _FILE, _DIR, _LINK = 0o170000, 0o100000, 0o040000, 0o120000

Listed = list[tuple[str, Stat]]
Below = list[tuple[str, Stat, Stat, bool]]
"""Directories that both sides have: the name, both lstats, and whether mode, time and owner are the same."""


class Glance:
    """``listed`` is what the last ``at`` has read: the destination's names and the source's."""

    def __init__(
        self, source: Cursor, destination: Cursor, but: Collection[str], device: int, *, exact: bool
    ) -> None:
        """To be looked at properly are the directories ``but``, those in which one is on another ``device``
        (unless that is 0), and with ``exact`` those in which the destination has more names."""
        self._source, self._destination = source, destination
        self._but, self._device, self._exact = but, device, exact
        self.listed: tuple[Listed, Listed] | None = None

    def at(self, path: str) -> tuple[int, Below] | None:
        """How many names directory ``path`` of the source has, and which of them are directories, if all of
        them are the same at the destination, as far as lstat and readlink show; else None. Raises OSError."""
        self.listed = None
        if path in self._but:
            return None
        to, destination = self._destination.disk, self._destination.at(path)
        there = to.scandir(destination)
        disk, source = self._source.disk, self._source.at(path)
        here = disk.scandir(source)
        self.listed = there, here
        if self._exact and len(here) != len(there):
            return None
        have = dict(there)
        below: Below = []
        for name, new in here:
            old = have.get(name)
            if old is None:
                return None
            mode = new.st_mode
            same = (
                new.st_mtime_ns == old.st_mtime_ns
                and mode == old.st_mode
                and new.st_uid == old.st_uid
                and new.st_gid == old.st_gid
            )
            kind = mode & _TYPE
            if kind == _FILE:
                if not same or new.st_size != old.st_size:
                    return None
            elif kind == _DIR:
                if old.st_mode & _TYPE != _DIR or (self._device and new.st_dev != self._device):
                    return None
                below.append((name, new, old, same))
            elif kind != _LINK or not same or disk.readlink(source, name) != to.readlink(destination, name):
                return None
            if name[0] == "." and is_reserved(name):
                return None
        return len(here), below


# -- in the second process

Plain = tuple[Any, ...]


def begin(context: Context, but: list[str], device: int, exact: bool, remember: bool) -> None:
    """The rules for ``walk``. ``remember``: every directory that was alike is to be told, with its entry."""
    glance = Glance(
        context.cursor("source"), context.cursor("destination"), frozenset(but), device, exact=exact
    )
    context.kept["glance"] = glance, remember


def walk(
    context: Context, pairs: list[Plain], most: int
) -> tuple[int, int, list[Plain], list[Plain], list[Plain]]:
    """Glance at these directories and what is below, until ``most`` names were seen.

    ``pairs`` are (path, both entries, whether they are the same). Returns how many names were seen in
    directories that are alike, how many of them are no directories; then pairs: those to be told, those to be
    looked at properly, and those not reached.
    """
    glance, remember = context.kept["glance"]
    seen = others = 0
    told: list[Plain] = []
    proper: list[Plain] = []
    pending: list[Plain] = pairs[::-1]
    while pending and seen < most:
        pair = pending.pop()
        path = pair[0]
        found = None
        with contextlib.suppress(OSError):
            found = glance.at(path)
        if found is None:
            proper.append(_plain(pair))
            continue
        count, below = found
        seen += count
        others += count - len(below)
        if remember or not pair[3]:
            told.append(_plain(pair))
        else:
            others += 1
        if below:
            below.sort(reverse=True)
            pending += [(f"{path}/{name}", new, old, same) for name, new, old, same in below]
    return seen, others, told, proper, [_plain(pair) for pair in reversed(pending)]


def _plain(pair: Plain) -> Plain:
    from atomsync.tree.entry import entry_of

    path, new, old, same = pair
    if type(new) is tuple:
        return pair
    return path, tuple(entry_of(new)), tuple(entry_of(old)), same
