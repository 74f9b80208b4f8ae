"""How much longer a push takes, told from what it has done so far. Pure: who asks brings the time.

Staging is measured in a work of its own, in which a file has a price and a byte has one: ten thousand small
files and one large one take their time in different ways. How long that work takes *here* (the pace) shows
while it is done; before, as far as the scan can tell. What comes behind the stage is work of the same kind: a
second look at each source, the journal, the manifest. Barriers are not: they wait for a medium.
"""

from __future__ import annotations

from typing import NamedTuple

# Seconds. Only their ratios matter, but for the barriers.
_SCAN_FILE_S = 21e-6
_STAGE_FILE_S, _STAGE_BYTE_S = 40e-6, 0.7e-9
_BEHIND_FILE_S = {"check": 12e-6, "seal": 5e-6, "commit": 1e-6}
_BARRIER_FILE_S, _BARRIER_BYTE_S = 7e-6, 1.05e-9
_BARRIER = "seal"  # B1 has nearly all of it
_GUESSED = 0.3  # what share of the stage's work the scan's guess of the pace is worth: a stage starts slowly
_OVERDUE = 0.1  # what is left of a phase that takes longer than was expected of it


class _Begun(NamedTuple):
    name: str
    files: int
    size: int
    at_s: float

    @property
    def work(self) -> float:
        return _work(self.files, self.size)


class Estimate:
    """Times in seconds, from any one beginning; sizes in bytes. ``durable``: there are barriers to await."""

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._now = _Begun("", 0, 0, 0.0)
        self._staged: _Begun | None = None
        self._moved_s = 0.0
        self._pace = 1.0

    def begin(self, name: str, files: int, size: int, at_s: float, done_files: int = 0) -> None:
        """A phase begins, with so much to do (0: not known); the one that ends has done ``done_files``."""
        before, took_s = self._now, at_s - self._now.at_s
        self._now, self._moved_s = _Begun(name, files, size, at_s), at_s
        if before is self._staged and before.work:
            self._pace = took_s / before.work
        elif before.name == "scan" and done_files:
            # The root of it: what delays a scan (a cold cache, another process) need not delay the stage.
            self._pace = (took_s / (done_files * _SCAN_FILE_S)) ** 0.5
        if name == "stage":
            self._staged = self._now
        elif name == "scan":  # perhaps once more: the source has changed
            self._staged = None

    def left_s(self, files: int, size: int, at_s: float) -> float | None:
        """How much longer it takes, with so much of the phase done; None if nobody can tell yet."""
        if self._now.work:
            return self._left_by_pace(_work(files, size), at_s)
        if self._staged is None or self._now.name not in _BEHIND_FILE_S:
            return None
        name, took_s = self._now.name, at_s - self._now.at_s
        expected_s = self._expected_s(name, self._pace)
        return max(expected_s - took_s, _OVERDUE * expected_s) + self._behind_s(self._pace, name)

    def _left_by_pace(self, done: float, at_s: float) -> float | None:
        work = self._now.work
        done = min(done, work)
        if not done:  # what comes first (the plan, the directories) tells nothing of the pace
            self._moved_s = at_s
        took_s = at_s - self._moved_s
        if self._now is not self._staged:
            return took_s / done * (work - done) if done else None
        guessed = _GUESSED * work
        pace = (took_s + self._pace * guessed) / (done + guessed)
        return pace * (work - done) + self._behind_s(pace)

    def _behind_s(self, pace: float, name: str = "") -> float:
        """What comes behind phase ``name``, or behind the stage."""
        names = list(_BEHIND_FILE_S)
        behind = names[names.index(name) + 1 :] if name else names
        return sum(self._expected_s(each, pace) for each in behind)

    def _expected_s(self, name: str, pace: float) -> float:
        assert self._staged is not None
        _, files, size, _ = self._staged
        expected_s = pace * files * _BEHIND_FILE_S[name]
        if name == _BARRIER and self._durable:
            expected_s += files * _BARRIER_FILE_S + size * _BARRIER_BYTE_S
        return expected_s


def _work(files: int, size: int) -> float:
    return files * _STAGE_FILE_S + size * _STAGE_BYTE_S
