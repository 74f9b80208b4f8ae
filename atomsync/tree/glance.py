"""Two directories that are probably alike, seen to be so without an entry for any name in them.

The hottest loop of a push without changes: two scandirs, and for each pair of names the numbers of two
lstats. What is not plainly the same it leaves to a comparison proper, so it decides nothing. It is plainer
than the rest of the house, and imports little: the second process (``fs.second``) runs it too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk, Stat
from atomsync.tree.path import is_reserved
from atomsync.tree.scan import entries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from atomsync.fs.second_main import Context
    from atomsync.tree.entry import Entry

LARGE_DIRECTORY_BYTES = 128 << 10
"""What a directory itself takes, from some thousands of names on."""
_MOST = 0.9  # of the names, from which on both sides have most
_TYPE, _FILE, _DIR, _LINK = 0o170000, 0o100000, 0o040000, 0o120000

Below = list[tuple[str, Stat, Stat, bool]]
"""Directories that both sides have: the name, both lstats, and whether mode, time and owner are the same."""
Rest = dict[str, "Entry"]
Found = tuple[int, Below, Rest, Rest]


class Glance:
    """At directories of two trees, but never at those in ``but``."""

    def __init__(
        self, source: Cursor, destination: Cursor, but: Collection[str], device: int, *, more: bool
    ) -> None:
        """A directory of the source on another ``device`` (unless that is 0) is left to the comparison
        proper, and with ``more`` so are names that only the destination has."""
        self._source, self._destination = source, destination
        self._but, self._device, self._more = but, device, more

    def at(self, path: str) -> Found | None:
        """How many names of directory ``path`` are the same on both sides, as far as lstat and readlink show,
        or are directories; these directories; and of the rest what the source has, and the destination.
        None: to be compared properly as a whole. Raises OSError."""
        if path in self._but:
            return None
        destination = self._destination.at(path)
        have = dict(self._destination.disk.scandir(destination))
        source = self._source.at(path)
        listed = self._source.disk.scandir(source)
        found = self._judged(source, destination, listed, have)
        if (found[2] or found[3]) and len(dict(listed)) != len(listed):
            return None  # tmpfs tells a name twice that was replaced meanwhile
        return found

    def names(self, path: str) -> tuple[list[str], Rest, Rest] | None:
        """Of a directory: the names that both sides have, for ``some``; and, as ``at``, what only one of them
        has. None where that is too much: to be looked ``at``. Raises OSError."""
        if path in self._but:
            return None
        source, destination = self._source.at(path), self._destination.at(path)
        disk, to = self._source.disk, self._destination.disk
        listed, there = [*dict.fromkeys(disk.names(source))], to.names(destination)  # one may be told twice
        known = set(there)
        both = [name for name in listed if name in known]
        if len(both) < _MOST * max(len(listed), len(there)):
            return None
        known = set(both)
        new = _lstats(disk, source, (name for name in listed if name not in known))
        old = _lstats(to, destination, (name for name in there if self._more and name not in known))
        return both, entries(disk, source, new), entries(to, destination, old)

    def some(self, path: str, names: Sequence[str]) -> Found:
        """``at``, of these names, which both sides have. Raises OSError."""
        destination, source = self._destination.at(path), self._source.at(path)
        to, disk = self._destination.disk, self._source.disk
        have = dict(_lstats(to, destination, names))
        return self._judged(source, destination, [*_lstats(disk, source, names)], have)

    def _judged(
        self, source: int, destination: int, listed: list[tuple[str, Stat]], have: dict[str, Stat]
    ) -> Found:
        to, disk = self._destination.disk, self._source.disk
        alike, below = 0, []
        want_rest, have_rest = [], []
        for name, new in listed:
            old = have.pop(name, None)
            if old is not None:
                mode = new.st_mode
                same = (
                    new.st_mtime_ns == old.st_mtime_ns
                    and mode == old.st_mode
                    and new.st_uid == old.st_uid
                    and new.st_gid == old.st_gid
                )
                kind = mode & _TYPE
                if name[0] == "." and is_reserved(name):
                    pass
                elif kind == _FILE:
                    if same and new.st_size == old.st_size:
                        alike += 1
                        continue
                elif kind == _DIR:
                    if old.st_mode & _TYPE == _DIR and self._device in (0, new.st_dev):
                        below.append((name, new, old, same))
                        continue
                elif kind == _LINK and same and disk.readlink(source, name) == to.readlink(destination, name):
                    alike += 1
                    continue
                have_rest.append((name, old))
            want_rest.append((name, new))
        if self._more:
            have_rest += have.items()
        if not want_rest and not have_rest:
            return alike + len(below), below, {}, {}
        want = entries(disk, source, want_rest)
        return alike + len(below), below, want, entries(to, destination, have_rest)


def _lstats(disk: Disk, at: int, names: Iterable[str]) -> Iterator[tuple[str, Stat]]:
    """As a scandir, which leaves out what vanishes meanwhile."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            yield name, disk.lstat(at, name)


# -- in the second process

Plain = tuple[Any, ...]
_REST_MAX = 100  # names of a directory; of one that has more it is cheaper to read it twice


def begin(context: Context, but: list[str], device: int, more: bool, remember: bool) -> None:
    """The rules for ``walk``. ``remember``: every directory is to be told, with its entry."""
    source, destination = context.cursor("source"), context.cursor("destination")
    context.kept["glance"] = Glance(source, destination, frozenset(but), device, more=more), remember


def walk(
    context: Context, pairs: list[Plain], most: int
) -> tuple[int, int, list[Plain], list[Plain], list[Plain]]:
    """Glance at these directories and what is below, until ``most`` names were seen to be alike.

    ``pairs`` are (path, both entries, whether they are the same). Returns how many names were alike, and how
    many of them and of the directories themselves are done with; then what is to be done with the others:
    (pair, rest of the source, rest of the destination); pairs to be compared properly; and pairs not reached.
    """
    glance, remember = context.kept["glance"]
    seen = done = 0
    told: list[Plain] = []
    proper: list[Plain] = []
    pending: list[Plain] = pairs[::-1]
    while pending and seen < most:
        pair = pending.pop()
        path = pair[0]
        try:
            found = glance.at(path)
        except OSError:  # whatever it is, the comparison proper meets it too
            found = None
        if found is None or len(found[2]) + len(found[3]) > _REST_MAX:
            proper.append(_plain(pair))
            continue
        alike, below, want, have = found
        seen += alike
        done += alike - len(below)
        if pair[3] and not (want or have or remember):
            done += 1
        else:
            told.append((_plain(pair), _plain_rest(want), _plain_rest(have)))
        if below:
            below.sort(reverse=True)
            pending += [(f"{path}/{name}", new, old, same) for name, new, old, same in below]
    return seen, done, told, proper, [_plain(pair) for pair in reversed(pending)]


def some(
    context: Context, path: str, names: list[str]
) -> tuple[int, list[Plain], dict[str, Plain], dict[str, Plain]]:
    """``Glance.some``."""
    from atomsync.tree.entry import entry_of

    alike, below, want, have = context.kept["glance"][0].some(path, names)
    pairs = [(name, tuple(entry_of(new)), tuple(entry_of(old)), same) for name, new, old, same in below]
    return alike, pairs, _plain_rest(want), _plain_rest(have)


def _plain(pair: Plain) -> Plain:
    from atomsync.tree.entry import entry_of

    path, new, old, same = pair
    return pair if type(new) is tuple else (path, tuple(entry_of(new)), tuple(entry_of(old)), same)


def _plain_rest(rest: Rest) -> dict[str, Plain]:
    return {name: tuple(entry) for name, entry in rest.items()}
