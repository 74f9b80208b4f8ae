"""How long each phase took; everything else is passed on to whoever listens."""

from __future__ import annotations

import time

from atomsync.fs.meter import METER
from atomsync.store.progress import Progress

SCAN, STAGE, VERIFY, BARRIERS, HOOK, COMMIT = "scan", "stage", "verify", "barriers", "hook", "commit"
_ORDER = (SCAN, STAGE, VERIFY, BARRIERS, HOOK, COMMIT)
_PART_OF = {"check": VERIFY, "seal": COMMIT}


class Phases(Progress):
    """A phase ends where the next begins; the first, a scan, begins with us, for the store is opened for it.

    Barriers, and reading back, happen within other phases: what this thread spends on them (``fs.meter``) is
    taken from there. So the phases add up to the whole. Where other processes stage too, the share of
    ``verify`` in the time of staging is that of this one.
    """

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._ns: dict[str, int] = {}
        self._name = SCAN
        self._began = self._started = time.perf_counter_ns()
        self._barriers, self._readback = METER.barriers_ns, METER.readback_ns
        self.advance = inner.advance  # type: ignore[method-assign]  # called for each file
        self.check = inner.check  # type: ignore[method-assign]
        self.curious = inner.curious
        self.unchanged = inner.unchanged  # type: ignore[method-assign]
        self.excluded = inner.excluded  # type: ignore[method-assign]

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self.finish()
        self._name = _PART_OF.get(name, name)
        self._inner.phase(name, files, size)

    def finish(self) -> None:
        now, barriers, readback = time.perf_counter_ns(), METER.barriers_ns, METER.readback_ns
        waited, read = barriers - self._barriers, readback - self._readback
        for name, took in (
            (self._name, now - self._started - waited - read),
            (BARRIERS, waited),
            (VERIFY, read),
        ):
            if took:
                self._ns[name] = self._ns.get(name, 0) + took
        self._started, self._barriers, self._readback = now, barriers, readback

    @property
    def ms(self) -> dict[str, float]:
        """Each phase there was, with its milliseconds so far, in the order in which they come."""
        return {name: self._ns[name] / 1e6 for name in _ORDER if name in self._ns}

    @property
    def seconds(self) -> float:
        """From the beginning to the last ``finish``: what the phases add up to."""
        return (self._started - self._began) / 1e9
