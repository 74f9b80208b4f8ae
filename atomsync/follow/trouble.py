"""What is wrong with a watch, and when it tries again. Pure: the time comes in.

Nothing ends a watch but its user: a batch that failed is pending again, and is tried again, later each
time. What only somebody else can bring back (a root, a filesystem) is looked for each second.
"""

from __future__ import annotations

from atomsync.errors import (
    AfterFailed,
    AtomSyncError,
    CheckFailed,
    GuardTripped,
    HeldByPrepared,
    RootError,
    RootReplaced,
    RootsOverlap,
    StoreLocked,
)

FIRST_S = 1.0
LONGEST_S = 60.0
UNDONE_S = 3600.0  # each try is seen by everybody, and takes the place of two units in the history
LOCKED_LONGEST_S = 2.0  # another process at work on the store is soon done

GONE = (RootError, RootReplaced, RootsOverlap)


class Trouble:
    """``why`` is "" while all is well. ``next_try_s`` and ``now_s`` are on one clock. ``paused``: waiting
    for somebody to bring back, or to accept, what ``why`` tells of. ``errors`` counts what was news."""

    def __init__(self) -> None:
        self.why = self.last_error = ""
        self.paused = False
        self.next_try_s: float | None = None
        self.errors = 0
        self._tries = 0
        self._met: tuple[type[AtomSyncError], str] | None = None
        self._heals_by_hints = False

    def meet(self, error: AtomSyncError, now_s: float, *, at_once: bool = False) -> tuple[float, bool]:
        """Book an error; returns in how many seconds to try again, and whether it is news. ``at_once``:
        its cause was set aside."""
        met = (type(error), error.what)  # the rest may hold numbers that are others each time
        news = met != self._met
        if news:
            self._met, self._tries = met, 0
            self.errors += 1
        after_s = min(LONGEST_S, FIRST_S * 2 ** min(self._tries, 10))
        self._tries += 1
        if isinstance(error, GONE):
            after_s = FIRST_S
        elif at_once:
            after_s = 0.0
        elif isinstance(error, AfterFailed):
            after_s = UNDONE_S
        elif isinstance(error, (StoreLocked, HeldByPrepared)):
            after_s = min(after_s, LOCKED_LONGEST_S)
        self.why = self.last_error = str(error)
        self.paused = isinstance(error, (*GONE, GuardTripped))
        self.next_try_s = now_s + after_s
        self._heals_by_hints = isinstance(error, (GuardTripped, CheckFailed, AfterFailed))
        return after_s, news

    def heard(self, try_s: float) -> None:
        """The source changes: what a guard or a hook refused may be right at ``try_s``."""
        if self._heals_by_hints and self.next_try_s is not None:
            self.next_try_s = min(self.next_try_s, try_s)

    def hurry(self) -> None:
        """Try again now."""
        if self.next_try_s is not None:
            self.next_try_s = 0.0

    def over(self) -> None:
        """All is well."""
        self.why, self.paused, self.next_try_s = "", False, None
        self._tries, self._met, self._heals_by_hints = 0, None, False
