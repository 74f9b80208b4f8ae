"""Hints gathered until the source rests, or has waited long enough.

Pure: neither a clock nor the disk is looked at. Times are seconds of any clock that only goes forward.
A path is *fresh* until a batch that was due left it behind because it did not rest; from then on it is
*held*: it no longer counts for when the others are due, and goes when it rests or its patience ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from math import inf
from typing import NamedTuple

from atomsync.tree.path import upwards
from atomsync.watch.hint import ENTRY, NAMES, TREE, Hint
from atomsync.watch.moves import Moves, carried, covering

_SHOWN_MAX = 1_000
_ABOVE_ROOT = "/"  # where the root's own record is kept; no directory is called so


class Limits(NamedTuple):
    settle_s: float = 0.1  # a path rests when it was not hinted at for so long
    max_wait_s: float = 2.0  # greatest age of a batch
    paths_max: int = 50_000  # looks in a batch; twice as many hints are kept one by one
    fold_max: int = 1_000  # names hinted at in one directory, before a look at the directory replaces them
    directories_max: int = 20_000  # directories with hints, before a look everywhere replaces them


class Batch(NamedTuple):
    """``looks``: path → reach, none below one that is TREE. ``unannounced``: those only a rescan asked for.

    ``held``: what does not rest yet; the looks must leave it alone, wherever they meet it. ``moves``: new
    path → path before, for all below a directory too. ``since_s``: when the oldest of its hints was given.
    ``impatient``: those that are being written, and are to be tried all the same, for that never ends.
    """

    looks: Mapping[str, int]
    held: frozenset[str]
    moves: Mapping[str, str]
    unannounced: frozenset[str]
    since_s: float
    impatient: frozenset[str] = frozenset()


class _Record:
    """What is pending at one path. Its patience is counted from ``first_s`` or, while somebody writes, from
    when he began (``wrote_s``); its lag from ``since_s``."""

    __slots__ = ("announced", "first_s", "gone", "held", "last_s", "reach", "since_s", "writing", "wrote_s")

    def __init__(self, reach: int, announced: bool, now_s: float) -> None:
        self.reach = reach
        self.announced = announced
        self.writing = False
        self.since_s = self.first_s = self.wrote_s = self.last_s = now_s
        self.held = False
        self.gone = False  # taken, or folded into another

    def patient_from_s(self) -> float:
        return max(self.first_s, self.wrote_s) if self.writing else self.first_s

    def merge(self, other: _Record) -> None:
        """``other`` is known of here too; how far to look, the caller says."""
        self.announced |= other.announced
        self.since_s = min(self.since_s, other.since_s)
        self.first_s = min(self.first_s, other.first_s)
        self.last_s = max(self.last_s, other.last_s)

    def absorb(self, other: _Record) -> None:
        """``other``, a name in this directory, is known of here only."""
        other.gone = True
        self.merge(other)
        if other.reach > ENTRY:
            self.reach = TREE


class _Directory:
    """The records in one directory by their paths. While ``whole`` is pending, only those being written."""

    __slots__ = ("names", "whole")

    def __init__(self) -> None:
        self.names: dict[str, _Record] = {}
        self.whole: _Record | None = None


class Batcher:
    """Not thread-safe: its user holds a lock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._patience_s = 2 * limits.max_wait_s
        self._directories: dict[str, _Directory] = {}
        self._count = 0
        self._moves = Moves()
        self._given: dict[str, _Record] = {}  # of the last batch, what had been held
        # Bounds: what is fresh is due, and something held may rest, never before these say so.
        self._fresh_s = inf  # oldest first_s of what is fresh
        self._newest_s = -inf  # newest last_s of what is fresh
        self._release_s = inf
        self._oldest_s = inf

    def __len__(self) -> int:
        return self._count

    @property
    def oldest_s(self) -> float | None:
        """When the oldest pending hint was given."""
        return self._oldest_s if self._count else None

    @property
    def held(self) -> tuple[str, ...]:
        """What is held back, or a thousand of it."""
        return tuple(islice((path for path, record in self._records() if record.held), _SHOWN_MAX))

    def due_s(self) -> float | None:
        """When ``take`` may have something; None if nothing is pending."""
        return min(self._fresh_due_s(), self._release_s) if self._count else None

    # -- in
    def add(self, hint: Hint, now_s: float) -> None:
        """Called for every event there is: so it is flat, and touches nothing but the one record."""
        path, reach, moved_from, writing, announced = hint
        parent = path.rpartition("/")[0] if path else _ABOVE_ROOT
        directory = self._directories.get(parent) or self._open(parent, now_s)
        record = directory.names.get(path)
        if record is None or directory.whole is not None:
            record = self._find_or_make(parent, directory, hint, now_s)
        record.last_s = now_s
        if reach > record.reach:
            record.reach = reach
        if announced:
            record.announced = True
        if writing is not None and record is not directory.whole:
            if writing and not record.writing:
                record.wrote_s = now_s
            record.writing = writing
        if not record.held:
            self._newest_s = now_s
            if now_s < self._fresh_s:
                self._fresh_s = now_s
        elif writing is False:
            end_s = max(now_s, record.first_s + self._patience_s)
            self._release_s = min(self._release_s, now_s + self._limits.settle_s, end_s)
        if now_s < self._oldest_s:
            self._oldest_s = now_s
        if moved_from:
            self._move(hint, now_s)

    def add_at_once(self, hint: Hint, now_s: float) -> None:
        """A hint that is due now, and waits for nothing to rest."""
        self.add(hint, now_s)
        record = self._record_at(hint.path)
        if record is not None:
            record.first_s = record.last_s = now_s - max(self._patience_s, self._limits.settle_s)
            self._fresh_s = min(self._fresh_s, record.first_s)

    def put_back(self, batch: Batch, now_s: float) -> None:
        """Pending again, and as old as it was: what rested still rests, and may be due at once."""
        for path, reach in batch.looks.items():
            self._keep(path, _Record(reach, path not in batch.unannounced, batch.since_s))
        self._moves.put_back(batch.moves)

    def hold(self, paths: Iterable[str], now_s: float) -> None:
        """A look found these changing. Their patience runs on, or begins anew if it had ended."""
        for path in paths:
            record = _Record(ENTRY, True, now_s)
            given = self._given.get(path)
            if given is not None:
                record.since_s = given.since_s
                if given.first_s + self._patience_s > now_s:
                    record.first_s = given.first_s
            self._keep(path, record, held=True)

    # -- out
    def take(self, now_s: float, *, force: bool = False) -> Batch | None:
        """What rests, if that is due; or None. ``force``: all that is pending, and nothing is held."""
        due = force or self._fresh_due_s() <= now_s
        if not due and now_s < self._release_s:
            return None
        taken: dict[str, _Record] = {}
        waiting: set[str] = set()
        held: set[str] = set()  # of those, what must be left alone
        for path, record in self._records():
            rests = force or self._rests(record, now_s)
            if rests and (due or record.held):
                taken[path] = record
                continue
            waiting.add(path)
            if not rests:
                held.add(path)
        blocked = self._below(waiting) & taken.keys()
        for path in blocked:
            del taken[path]
        waiting |= blocked
        held |= blocked
        if len(taken) > self._limits.paths_max and not force:
            # In this order nothing is taken before the directories above it.
            taken = {path: taken[path] for path in sorted(taken)[: self._limits.paths_max]}
        absorbed = self._below({path for path, record in taken.items() if record.reach == TREE})
        since_s = min((record.since_s for record in taken.values()), default=inf)
        for path, record in self._records():
            if path in waiting:
                record.held |= due
                if path in held and path in absorbed:
                    # A look at a tree leaves this out, with all below it: that is to be made up for.
                    record.reach = TREE
                    record.since_s = min(record.since_s, since_s)
        for record in taken.values():
            record.gone = True
        self._tidy(blocked)
        if not taken:
            return None
        self._given = {path: record for path, record in taken.items() if record.held}
        looks = {path: record.reach for path, record in taken.items() if path not in absorbed}
        return Batch(
            looks,
            frozenset(held),
            self._moves.given(looks.get if self._count else None),
            frozenset(path for path in looks if not taken[path].announced),
            since_s,
            frozenset(path for path in looks if taken[path].writing),
        )

    def pending_from(self, paths: Collection[str]) -> dict[str, int]:
        """The looks pending where one of these, or what is above or below one, was moved to: path → reach."""
        looks = (covering(place, self._reach_at) for place in self._moves.places_of(paths))
        return {look: self._reach_at(look) or ENTRY for look in looks if look is not None}

    def is_written(self, path: str) -> bool:
        """Whether somebody was heard to write to ``path``, and not to close it."""
        record = self._record_at(path)
        return record is not None and record.writing

    def is_stirred(self, path: str) -> bool:
        """Whether anything is pending at ``path``, or where it may have been folded into what is above it."""
        if not self._count:
            return False
        directory = self._directories.get(_parent(path))
        if directory is not None and directory.whole is not None:
            return True
        return any(self._record_at(place) is not None for place in upwards(path))

    def is_announced(self, path: str) -> bool:
        """Whether an event told of ``path`` or of what is above or below it: one may go with the other."""
        above = (self._record_at(place) for place in upwards(path))
        if any(record is not None and record.announced for record in above):
            return True
        return any(
            record.announced
            for parent, directory in self._directories.items()
            if parent == path or parent.startswith(f"{path}/")
            for record in directory.names.values()
        )

    # -- records
    def _records(self) -> Iterator[tuple[str, _Record]]:
        for directory in self._directories.values():
            yield from directory.names.items()

    def _record_at(self, path: str) -> _Record | None:
        directory = self._directories.get(_parent(path))
        return directory.names.get(path) if directory else None

    def _reach_at(self, path: str) -> int | None:
        record = self._record_at(path)
        return record.reach if record else None

    def _open(self, parent: str, now_s: float) -> _Directory:
        many = len(self._directories) - (_ABOVE_ROOT in self._directories)
        if many >= self._limits.directories_max and parent != _ABOVE_ROOT:
            self._fold_everything(now_s)
        return self._directories.setdefault(parent, _Directory())

    def _find_or_make(self, parent: str, directory: _Directory, hint: Hint, now_s: float) -> _Record:
        """The record that shall know of ``hint``: its own one, or that of the directory it is folded into."""
        names = directory.names
        record = names.get(hint.path)
        if directory.whole is not None and directory.whole.gone:
            directory.whole = None
        if directory.whole is None:
            if record is not None:
                return record
            if not names or self._has_room(names):
                return self._make(names, hint, now_s)
            directory.whole = self._fold(parent, names, now_s)
        if record is not None:
            if hint.writing is not False:
                return record
            directory.whole.absorb(names.pop(hint.path))  # closed: its name need not be known any longer
            self._count -= 1
        elif hint.writing and self._has_room(names):
            return self._make(names, hint, now_s)
        if hint.reach > ENTRY:
            directory.whole.reach = TREE
        return directory.whole

    def _has_room(self, names: Mapping[str, _Record]) -> bool:
        return len(names) < self._limits.fold_max and self._count < 2 * self._limits.paths_max

    def _make(self, names: dict[str, _Record], hint: Hint, now_s: float) -> _Record:
        record = names[hint.path] = _Record(hint.reach, hint.announced, now_s)
        self._count += 1
        return record

    def _keep(self, path: str, record: _Record, *, held: bool = False) -> _Record:
        """``record`` from now on, or what is known of ``path`` already with this merged into it."""
        directory = self._directories.setdefault(_parent(path), _Directory())
        kept = directory.names.setdefault(path, record)
        if kept is record:
            self._count += 1
        else:
            kept.reach = max(kept.reach, record.reach)
            kept.merge(record)
        kept.held |= held
        self._oldest_s = min(self._oldest_s, kept.since_s)
        if kept.held:
            rests_s = kept.last_s + self._limits.settle_s
            self._release_s = min(self._release_s, rests_s, kept.patient_from_s() + self._patience_s)
        else:
            self._fresh_s = min(self._fresh_s, kept.first_s)
            self._newest_s = max(self._newest_s, kept.last_s)
        return kept

    def _fold(self, parent: str, names: dict[str, _Record], now_s: float) -> _Record:
        """One look at a directory instead of its names, except for those that may have to be held."""
        whole = _Record(NAMES, False, now_s)
        for path in [path for path, record in names.items() if not record.writing]:
            whole.absorb(names.pop(path))
            self._count -= 1
        return self._keep(parent, whole)

    def _fold_everything(self, now_s: float) -> None:
        writing = [(path, record) for path, record in self._records() if record.writing]
        spared = dict(writing[: min(self._limits.fold_max, self._limits.directories_max // 2)])
        whole = _Record(TREE, False, now_s)
        for path, record in self._records():
            if path not in spared:
                whole.absorb(record)
        self._directories.clear()
        self._count = 0
        for path, record in {**spared, "": whole}.items():
            self._keep(path, record)

    # -- time
    def _rests(self, record: _Record, now_s: float) -> bool:
        settled = not record.writing and record.last_s + self._limits.settle_s <= now_s
        return settled or record.patient_from_s() + self._patience_s <= now_s

    def _fresh_due_s(self) -> float:
        if self._fresh_s == inf:
            return inf
        wait_s = self._limits.max_wait_s
        if self._count >= self._limits.paths_max:
            wait_s = min(wait_s, self._limits.settle_s)
        return min(self._newest_s + self._limits.settle_s, self._fresh_s + wait_s)

    def _tidy(self, blocked: Collection[str]) -> None:
        """Forget what is gone, and reckon anew when what is left is due. A blocked path has no time of
        its own: it goes with the directory that it waits for."""
        self._count = 0
        self._oldest_s = self._fresh_s = end_s = inf
        self._newest_s = rest_s = -inf
        for parent, directory in list(self._directories.items()):
            if directory.whole is not None and directory.whole.gone:
                directory.whole = None
            directory.names = {path: record for path, record in directory.names.items() if not record.gone}
            if not directory.names and directory.whole is None:
                del self._directories[parent]
            self._count += len(directory.names)
            for path, record in directory.names.items():
                self._oldest_s = min(self._oldest_s, record.since_s)
                if not record.held:
                    self._fresh_s = min(self._fresh_s, record.first_s)
                    self._newest_s = max(self._newest_s, record.last_s)
                elif path not in blocked:
                    end_s = min(end_s, record.patient_from_s() + self._patience_s)
                    if not record.writing:
                        rest_s = max(rest_s, record.last_s + self._limits.settle_s)
        # All that may soon rest is waited for, so that it goes in one batch.
        self._release_s = min(end_s, rest_s) if rest_s > -inf else end_s

    def _below(self, paths: Collection[str]) -> set[str]:
        """What is pending strictly below one of these."""
        found: set[str] = set()
        for parent, directory in self._directories.items():
            if paths and parent != _ABOVE_ROOT and any(path in paths for path in upwards(parent)):
                found.update(directory.names)
        return found

    # -- moves
    def _move(self, hint: Hint, now_s: float) -> None:
        new, old = hint.path, hint.moved_from
        self._moves.note(old, new, is_dir=hint.reach > ENTRY)
        # Whoever writes to what was moved writes to it still.
        for path, record in self._at(old, below=hint.reach > ENTRY):
            if record.writing:
                self.add(Hint(path, ENTRY, "", False), now_s)
                if path != old or hint.writing is None:
                    self.add(Hint(carried(path, {old: new}), ENTRY, "", True), now_s)

    def _at(self, top: str, *, below: bool) -> list[tuple[str, _Record]]:
        directory = self._directories.get(_parent(top))
        found = [(top, directory.names[top])] if directory and top in directory.names else []
        if below:
            for parent, directory in self._directories.items():
                if parent == top or parent.startswith(top + "/"):
                    found += directory.names.items()
        return found


def _parent(path: str) -> str:
    return path.rpartition("/")[0] if path else _ABOVE_ROOT
