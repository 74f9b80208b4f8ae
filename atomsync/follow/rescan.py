"""The safety net: everything compared now and then, at low priority; what differs is hinted at.

It changes nothing and takes no lock; it may look into the midst of a unit. So its findings are hints
like any other, and only what a unit then really had to change counts as missed by the events.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from math import inf

from atomsync.errors import AtomSyncError, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.sync.compare import Comparer
from atomsync.sync.origin import opened_source
from atomsync.sync.rules import Rules
from atomsync.tree.path import shown

_NICE = 19
_PAUSE_MAX_S = 0.05
_ASK_S = 0.1


class Rescans:
    """One pass at a time, each ``every_s`` seconds after the one before; 0: never."""

    def __init__(self, source: str, destination: str, every_s: float) -> None:
        self._source, self._destination, self._every_s = source, destination, every_s
        self._at_s = time.monotonic() + every_s
        self._pass: _Pass | None = None

    @property
    def over(self) -> bool:
        """Whether a pass has ended and may be collected."""
        return self._pass is not None and not self._pass.is_alive()

    @property
    def next_s(self) -> float:
        """When to ask again (monotonic)."""
        if self._pass is not None:
            return time.monotonic() + _ASK_S
        return self._at_s if self._every_s else inf

    def start_if_due(self, rules: Rules) -> None:
        if self._pass is None and self._every_s and time.monotonic() >= self._at_s:
            self._pass = _Pass(self._source, self._destination, rules)
            self._pass.start()

    def collected(self) -> tuple[list[str], AtomSyncError | None]:
        """The paths that differ, and what cut the pass short."""
        done, self._pass = self._pass, None
        self._at_s = time.monotonic() + self._every_s
        return (done.found, done.error) if done is not None else ([], None)

    def stop(self) -> None:
        """What runs is given up; the next pass comes when it is due."""
        if self._pass is not None:
            self._pass.stop()
            self._pass.join()
            self._pass = None


class _Pass(threading.Thread):
    """When it is over, ``found`` are the paths that differ, and ``error`` what cut it short."""

    def __init__(self, source: str, destination: str, rules: Rules) -> None:
        super().__init__(name="atomsync-rescan", daemon=True)
        self._source, self._destination, self._rules = source, destination, rules
        self._progress = _Leisurely()
        self.found: list[str] = []
        self.error: AtomSyncError | None = None

    def stop(self) -> None:
        self._progress.stopping = "the end of the watch"

    def run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # a priority of its own: Linux only
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            self._compare()
        except AtomSyncError as error:
            self.error = error
        except OSError as error:
            self.error = from_oserror(error, f"cannot rescan {shown(self._source)}")

    def _compare(self) -> None:
        disk = PosixDisk()
        root = disk.open_root(self._destination)
        try:
            with opened_source(disk, self._source) as origin, Cursor(disk, root) as tree:
                rules, now = self._rules, time.time_ns()
                comparer = Comparer(origin.cursor, tree, rules, {}, now, self._progress)
                try:
                    comparer.run()
                finally:  # whatever cut it short: what it has seen by then is worth a look
                    self.found = [change.path for change in comparer.result.changes]
        finally:
            disk.close(root)


class _Leisurely(Progress):
    """Rests as long as it worked, so that a rescan takes half a core at most."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def check(self) -> None:
        super().check()
        worked = time.monotonic() - self._since
        if worked > _PAUSE_MAX_S / 10:
            time.sleep(min(worked, _PAUSE_MAX_S))
            self._since = time.monotonic()
