"""The walk of a comparison in which most is alike: a glance at each pair of directories, and the comparison
proper only for what that leaves. From some size on a second process glances too, from the other end of what
is to be done.

It finds what a comparison without glances finds, for a glance judges nothing but what is plainly the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from atomsync.fs.disk import Stat
from atomsync.fs.sharing import Portions, shared
from atomsync.tree.entry import Entry, entry_of
from atomsync.tree.glance import LARGE_DIRECTORY_BYTES, Found, Glance, Plain, Rest
from atomsync.tree.path import joined, parent_of

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task
    from atomsync.sync.compare import Comparer

WORTH_NAMES = 2_000
"""After so many names there are likely to be enough for a second process to earn its start."""
_BATCH_NAMES, _BATCH_PAIRS = 800, 64  # some milliseconds of it
_AHEAD = 2  # batches it has in hand, so that it need not wait for us
_BEGIN, _WALK, _SOME = (f"atomsync.tree.glance:{what}" for what in ("begin", "walk", "some"))

# A directory on both sides (or only in the source): path, what is there, and whether that is known to be the
# same. What a glance found is left as it came from the system: hardly any of it is ever asked for.
_Seen = Entry | Stat
_Pair = tuple[str, _Seen, _Seen | None, bool]
_Found = tuple[int, list[_Pair], Rest, Rest]


def may_glance(comparer: Comparer) -> bool:
    """Whether no rule asks for more than a glance sees."""
    rules = comparer.rules
    more = rules.filters.active or rules.checksum or rules.attributes or rules.hard_links
    less = rules.skipped or rules.rest_ns or rules.ownership.time_step_ns != 1 or comparer.progress.curious
    return not more and not less and comparer.destination is not None


class Glancing:
    """``asked`` says whether a second process was wanted; then changes come in any order."""

    def __init__(self, comparer: Comparer, device: int, second: Callable[[], Second | None]) -> None:
        self._comparer, self._start = comparer, second
        rules = comparer.rules
        but = {path.rpartition("/")[0] for path in comparer.racy}
        if rules.touch:
            but.add(parent_of(rules.touch))
        self._but = frozenset(but)
        self._device = device if rules.one_file_system else 0
        self._more = rules.delete
        assert comparer.destination is not None
        self._glance = Glance(comparer.source, comparer.destination, self._but, self._device, more=self._more)
        self.asked = False
        self._second: Second | None = None
        self._given: deque[tuple[list[Plain], Task]] = deque()
        self._proper: list[Plain] = []
        self._seen = 0

    def walk(self, new: Entry, old: Entry) -> None:
        """Everything. Raises as ``Comparer.run``."""
        pending: list[_Pair] = [("", new, old, False)]
        due = WORTH_NAMES
        try:
            while pending or self._given or self._proper:
                self._comparer.progress.check()
                if self._seen >= due or not pending:
                    self._share(pending)
                    due = self._seen + _BATCH_NAMES // 4
                if self._proper:
                    path, there, here, _ = self._proper.pop()
                    pairs = self._comparer._directory(path, Entry._make(there), Entry._make(here))
                    pending += [(below, there, here, False) for below, there, here in reversed(pairs)]
                elif pending:
                    pending += reversed(self._at(*pending.pop()))
        finally:
            if self._second is not None:
                self._second.drop("source", "destination")

    def _at(self, path: str, new: _Seen, old: _Seen | None, same: bool) -> list[_Pair]:
        """Compare one directory; returns those below it."""
        if old is None:
            self._comparer._walk(path, _entry(new), None)
            return []
        found: _Found | Found | None = None
        try:
            if self._is_large(path, new):
                found = self._in_portions(path)
            if found is None:
                found = self._glance.at(path)
        except OSError:  # whatever it is, the comparison proper meets it too
            found = None
        if found is None:
            pairs = self._comparer._directory(path, _entry(new), _entry(old))
            return [(below, there, here, False) for below, there, here in pairs]
        alike, below, want, have = found
        self._seen += alike
        self._comparer._unchanged += alike - len(below)
        self._comparer.progress.advance(alike)
        both: list[_Pair] = [(joined(path, name), there, here, equal) for name, there, here, equal in below]
        fresh: list[_Pair] = []
        for pair in self._note(path, new, old, same, want, have):
            (fresh if pair[2] is None else both).append(pair)
        if len(both) > 1:
            both.sort(key=_path)
        return fresh + both

    def _note(self, path: str, new: _Seen, old: _Seen, same: bool, want: Rest, have: Rest) -> list[_Pair]:
        """What a glance left to be judged: some names of a directory, and the directory itself. Returns the
        directories among these names."""
        comparer = self._comparer
        if want or have:
            pairs = comparer._names(path, _entry(new), _entry(old), want, have)
            return [(below, there, here, False) for below, there, here in pairs]
        if comparer.rules.delete:
            comparer.result.scanned.append((path, _entry(new)))
        if same:
            comparer._unchanged += 1
        else:
            comparer._directory_metadata(path, _entry(new), _entry(old), touched=False)
        return []

    # -- in two processes
    def _is_large(self, path: str, new: _Seen) -> bool:
        """Whether a directory is likely to have thousands of names."""
        if path == "":
            source = self._comparer.source
            return source.disk.fstat(source.root).st_size >= LARGE_DIRECTORY_BYTES
        return not isinstance(new, Entry) and new.st_size >= LARGE_DIRECTORY_BYTES

    def _in_portions(self, path: str) -> _Found | None:
        """``Glance.at``, of one directory by both processes; None: it is none of those that can be shared."""
        if self.asked and self._second is None:
            return None
        listed = self._glance.names(path)
        if listed is None or len(listed[0]) < WORTH_NAMES:
            return None
        if not self.asked:
            self.asked = True
            self._begin()
        names, want, have = listed
        alike = 0
        below: list[_Pair] = []

        def here(portion: list[str]) -> Found:
            return self._glance.some(path, portion)

        def ask(second: Second, portion: list[str]) -> Task:
            return second.ask(_SOME, path, portion)

        portions = Portions(names[at : at + _BATCH_NAMES] for at in range(0, len(names), _BATCH_NAMES))
        for _, found in shared(portions, here, ask, lambda: self._second, self._comparer.progress.check):
            alike += found[0]
            below += [(name, *map(_seen, both), same) for name, *both, same in found[1]]
            want.update(_made_rest(found[2]))
            have.update(_made_rest(found[3]))
        return alike, below, want, have

    def _share(self, pending: list[_Pair]) -> None:
        """Take in what the second process found, and see to it that it has something to do."""
        if not self.asked:
            if self._seen < WORTH_NAMES or len(pending) < 2:
                return
            self.asked = True
            self._begin()
        second = self._second
        if second is None:
            return
        if self._given and not pending and not self._proper:
            second.wait(self._given[0][1], self._comparer.progress.check)
        else:
            second.look()
        while self._given and self._given[0][1].answered:
            self._take(self._given.popleft()[1], pending)
        if not second.alive:
            for pairs, _ in self._given:
                pending[0:0] = [_made(pair) for pair in pairs]
            self._given.clear()
            self._second = None
            return
        while len(self._given) < _AHEAD and len(pending) > 1:
            count = min(_BATCH_PAIRS, len(pending) // 2)
            pairs = [_plain(pair) for pair in pending[:count] if pair[2] is not None]
            pending[:count] = [pair for pair in pending[:count] if pair[2] is None]
            if not pairs:
                break
            self._given.append((pairs, second.ask(_WALK, pairs[::-1], _BATCH_NAMES)))

    def _begin(self) -> None:
        self._second = second = self._start()
        if second is not None:
            comparer = self._comparer
            assert comparer.destination is not None
            second.give(source=comparer.source.root, destination=comparer.destination.root)
            second.ask(_BEGIN, sorted(self._but), self._device, self._more, comparer.rules.delete)

    def _take(self, task: Task, pending: list[_Pair]) -> None:
        seen, done, told, proper, left = task.result()
        self._seen += seen
        self._comparer._unchanged += done
        self._comparer.progress.advance(seen)
        for pair, want, have in told:
            pending += self._note(*_made(pair), _made_rest(want), _made_rest(have))
        self._proper += proper
        pending[0:0] = [_made(pair) for pair in reversed(left)]


def _entry(seen: _Seen) -> Entry:
    return seen if isinstance(seen, Entry) else entry_of(seen)


def _plain(pair: _Pair) -> Plain:
    path, new, old, same = pair
    assert old is not None
    return path, tuple(_entry(new)), tuple(_entry(old)), same


def _made(pair: Plain) -> tuple[str, Entry, Entry, bool]:
    path, new, old, same = pair
    return path, Entry._make(new), Entry._make(old), same


def _seen(seen: Any) -> _Seen:
    """What came from the second process as a plain tuple, or is ours."""
    return Entry._make(seen) if type(seen) is tuple else seen


def _made_rest(rest: dict[str, Plain]) -> Rest:
    return {name: Entry._make(entry) for name, entry in rest.items()}


def _path(pair: _Pair) -> str:
    return pair[0]
