"""A follower at work in a thread of its own, and what it tells."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atomsync import Report
from atomsync.errors import AtomSyncError
from atomsync.follow.follower import Follower
from atomsync.follow.watching import Flushed, WatchOptions, WatchStatus

Visible = list[tuple[str, str]]  # (created, updated or removed; path), sorted

# Quick to decide; what a power cut would leave is for other tests.
# The sources of these tests lose most of what they hold, now and then.
QUICK = WatchOptions(settle_s=0.05, max_wait_s=0.5, durability="none", max_delete="100%")


class Following:
    """Runs from its making until ``stop``. ``told``: all that the follower told, in order; ``error``:
    what ended ``run``, if not ``stop``."""

    def __init__(self, source: Path, destination: Path, options: WatchOptions, *, lasting: bool) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.error: BaseException | None = None
        self.follower = Follower(str(source), str(destination), options, self._tell, lasting=lasting)
        self._thread = threading.Thread(target=self._run, name="following")
        self._thread.start()

    @property
    def status(self) -> WatchStatus:
        return self.follower.status()

    def settled(self, timeout_s: float = 20) -> Flushed:
        """When it returns, what SRC held at this call is committed."""
        self.wait_until(lambda: self.told)  # until then there is nobody to answer
        flushed = self.follower.flush(timeout_s)
        assert flushed.committed, flushed
        return flushed

    def wait_for(self, event: str, *, after: int = 0, timeout_s: float = 20) -> dict[str, Any]:
        """The fields of the first ``event`` in ``told[after:]``, which may yet have to come."""
        self.wait_until(lambda: self._told(event, after), timeout_s)
        return self._told(event, after)[0]

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.error is None, f"{self.error!r}"
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {self.told[-5:]} {self.status}"
            time.sleep(0.002)

    def reports(self) -> list[Report]:
        """Of every unit, in order."""
        reports: list[Report] = [fields["report"] for fields in self._told("synced", 0)]
        return [report for report in reports if report.receipt and report.receipt.unit_id]

    def units(self) -> list[Visible]:
        """What a user saw change in each unit; [] for one that only kept the books of directories' times."""
        return [_visible(report) for report in self.reports()]

    def changes(self) -> Visible:
        """Of all units, one after the other."""
        return [change for unit in self.units() for change in unit]

    def stop(self, timeout_s: float = 20) -> None:
        self.follower.stop("the end of the test")
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"still running after {timeout_s} s: {self.status}"
        assert self.error is None or isinstance(self.error, AtomSyncError), f"{self.error!r}"

    def _run(self) -> None:
        try:
            self.follower.run()
        except BaseException as error:  # the test's thread shall see it
            self.error = error

    def _tell(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    def _told(self, event: str, after: int) -> list[dict[str, Any]]:
        return [fields for name, fields in self.told[after:] if name == event]


def _visible(report: Report) -> Visible:
    """The changes of one unit, but for the times of directories."""
    return sorted(
        ("created" if change.old is None else "removed" if change.new is None else "updated", change.path)
        for change in report.changes
        if change.visible
    )


def names(root: Path) -> list[str]:
    """What a destination holds, but for what is ours."""
    return sorted(name for name in os.listdir(root) if name != ".atomsync")


def arrives(watch: Following, path: Path, data: bytes, timeout_s: float = 20) -> None:
    watch.wait_until(lambda: path.exists() and path.read_bytes() == data, timeout_s)
