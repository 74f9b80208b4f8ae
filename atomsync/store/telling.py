"""What the history tells: its units, and what one of them changed. Only looks, and takes no lock.

A unit that is given up meanwhile is left out; a version that went back since, or is gone, has no digest.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeGuard

import xxhash

from atomsync.plan.change import Change
from atomsync.plan.step import META
from atomsync.store.commit import counts
from atomsync.store.control import Control
from atomsync.store.history import name_of_commit
from atomsync.store.journal import Journal
from atomsync.store.kept import KeptObjects
from atomsync.store.letting_go import RESTORES, UNDOES
from atomsync.store.progress import Progress
from atomsync.store.retention import Known, usage
from atomsync.store.seal import look_at
from atomsync.store.unit_id import time_of_unit
from atomsync.store.versions import Kept, Past, fold
from atomsync.tree.entry import FILE, Entry, same_object

DIFF_MAX_BYTES = 1 << 18  # of each side
_PAIRS_MAX = 10_000_000  # of equal lines: seconds of work for difflib


class PastUnit(NamedTuple):
    """A finished unit. ``committed_ns``: when, in ns since the epoch; ``who``: "user@host", "" if it does not
    say. ``bytes_kept``: what the versions it displaced occupy; those of files with other names count nothing.
    ``undoes``: the unit it took back, ``restores`` the one it went back to; "" for others."""

    unit_id: str
    committed_ns: int
    who: str
    message: str
    created: int
    updated: int
    removed: int
    bytes_kept: int
    undoes: str = ""
    restores: str = ""


class PastChange(NamedTuple):
    """One path of a finished unit. Digests are of files: ``new_digest`` as it was committed, ``old_digest``
    of the version that is kept, "" if it is not any more. ``old`` and ``new`` are both contents, where they
    were asked for, are at hand, and are not larger than ``DIFF_MAX_BYTES``; ``note`` says why one is not."""

    change: Change
    old_digest: str = ""
    new_digest: str = ""
    old: bytes | None = None
    new: bytes | None = None
    note: str = ""


def told(control: Control, journal: Journal, known: Known) -> PastUnit:
    header, steps, _ = journal
    about = header.about
    return PastUnit(
        header.id,
        time_of_unit(name_of_commit(control, header.id)),
        _text(about, "who"),
        header.message,
        *counts(steps),
        usage(control, header.id, known).bytes,
        _text(about, UNDOES),
        _text(about, RESTORES),
    )


def _text(about: Mapping[str, object], name: str) -> str:
    found = about.get(name)
    return found if isinstance(found, str) else ""


def changes_told(
    control: Control, journals: Sequence[Journal], at: int, *, contents: bool = False
) -> Iterator[PastChange]:
    """What unit number ``at`` of ``journals``, which are in the order of their commits, changed, by path."""
    later = fold(reversed(journals[at + 1 :])) if contents else {}
    with KeptObjects(control) as objects:
        for change, kept in sorted(_changes(journals[at])):
            if change.visible:
                yield _Told(control, objects, change, kept, later).run(contents=contents)


def _changes(journal: Journal) -> Iterator[tuple[Change, Kept | None]]:
    for step in journal.steps:
        if step.kind == META:
            if step.new is not None:
                yield Change(step.path, step.old, step.new, content=False), None
            continue
        skip = len(step.path)
        kept = {path: Kept(journal.header.id, step.slot + path[skip:]) for path, _ in step.displaced}
        inside = dict(step.inside)
        yield Change(step.path, step.old, step.new), Kept(journal.header.id, step.slot) if step.old else None
        for path, entry in step.displaced:
            yield Change(path, entry, inside.pop(path, None)), kept[path]
        for path, entry in inside.items():
            yield Change(path, None, entry), None


class _Told:
    def __init__(
        self,
        control: Control,
        objects: KeptObjects,
        change: Change,
        kept: Kept | None,
        later: Mapping[str, Past],
    ) -> None:
        self._control, self._objects = control, objects
        self._change, self._kept, self._later = change, kept, later

    def run(self, *, contents: bool) -> PastChange:
        change = self._change
        found = PastChange(change, self._old_digest(), change.new.digest if _is_file(change.new) else "")
        if not contents or not change.content or not (_is_file(change.old) or _is_file(change.new)):
            return found
        old, new = b"", b""
        if _is_file(change.old):
            if change.old.size > DIFF_MAX_BYTES:
                return found._replace(note="too large to compare")
            if not found.old_digest or self._kept is None:
                return found._replace(note="the old version is not kept any more")
            old = self._read(*self._objects.split(self._kept))
        if _is_file(change.new):
            if change.new.size > DIFF_MAX_BYTES:
                return found._replace(note="too large to compare")
            made = self._made(change.new)
            if made is None:
                return found._replace(note="the new version is not at hand any more")
            new = made
        if b"\0" in old or b"\0" in new:
            return found._replace(note="binary")
        if _pairs(old, new) > _PAIRS_MAX:
            return found._replace(note="too many lines that repeat to compare")
        return found._replace(old=old, new=new)

    def _old_digest(self) -> str:
        old, kept = self._change.old, self._kept
        if kept is None or not _is_file(old):
            return ""
        with contextlib.suppress(OSError):
            there = self._objects.look(kept)
            if there is not None and same_object(old, there) and _alike(old, there):
                return self._objects.digest(kept, Progress())
        return ""

    def _made(self, new: Entry) -> bytes | None:
        """The content that the unit put there: at its path still, or displaced by a later unit."""
        path = self._change.path
        now = look_at(self._control.tree, path)
        if now is not None and _is_file(now) and _alike(new, now):
            data = self._read(*self._control.tree.split(path))
            if _digest(data) == new.digest:
                return data
        for went, kept in self._later[path].displaced if path in self._later else ():
            there = self._objects.look(kept) if _alike(new, went) else None
            if there is not None and _is_file(there) and _alike(new, there):
                data = self._read(*self._objects.split(kept))
                if _digest(data) == new.digest:
                    return data
        return None

    def _read(self, at: int, name: str) -> bytes:
        disk = self._control.disk
        fd = disk.open_file(at, name)
        try:
            data = b""
            while len(data) <= DIFF_MAX_BYTES and (part := disk.pread(fd, DIFF_MAX_BYTES + 1, len(data))):
                data += part
            return data
        finally:
            disk.close(fd)


def _is_file(entry: Entry | None) -> TypeGuard[Entry]:
    return entry is not None and entry.kind == FILE


def _alike(one: Entry, other: Entry) -> bool:
    return (one.kind, one.size, one.mtime_ns) == (other.kind, other.size, other.mtime_ns)


def _pairs(old: bytes, new: bytes) -> int:
    """How many pairs of equal lines difflib would look at; it passes over those that are more than one in a
    hundred."""
    ours, theirs = Counter(old.split(b"\n")), Counter(new.split(b"\n"))
    popular = theirs.total() // 100 + 1
    return sum(count * theirs[line] for line, count in ours.items() if theirs[line] <= popular)


def _digest(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)
