"""The half of a follower that other threads see: what they may ask of it, and how it stands.

All of it is guarded by one condition, which the pair's own thread waits on.
"""

from __future__ import annotations

import os
import threading
import time

from atomsync.errors import Interrupted, RootReplaced, TimedOut
from atomsync.follow.attachment import Attachment
from atomsync.follow.trouble import Trouble
from atomsync.follow.watching import (
    PAUSED,
    RETRYING,
    STARTING,
    STOPPED,
    Coverage,
    Flushed,
    WatchOptions,
    WatchStatus,
)
from atomsync.store.progress import Counted, Done
from atomsync.watch.batching import Batcher, Limits
from atomsync.watch.hint import TREE, Hint

BY_HAND = "paused by hand; to go on: atomsync resume DST"
BY_HAND_FLUSHED = Flushed(False, "", BY_HAND, RootReplaced.exit_status)
STOPPED_FLUSHED = Flushed(False, "", "the watch was stopped", Interrupted.exit_status)


class Desk:
    """Its verbs may be called from any thread."""

    def __init__(self, source: str, destination: str, options: WatchOptions) -> None:
        self.source, self.destination, self.options = source, destination, options
        self._changed = threading.Condition()  # re-entrant
        self._batcher = Batcher(Limits(options.settle_s, options.max_wait_s, options.batch_paths))
        self._attachment = Attachment(source, self._hear, options)
        self._progress = Beating()
        self._trouble = Trouble()
        # wishes
        self._flushes: list[Flush] = []
        self._look_now = self._accept = self._user_paused = False
        # how it stands
        self._state = STARTING
        self._batch_since_s: float | None = None  # of the unit at work
        self._lost_source = False
        self._told_pause = False  # its own thread knows, and does nothing any more
        self._is_idle = True  # its own thread does not run
        self._set_aside: dict[str, str] = {}
        self._since_ns = time.time_ns()
        self._units = self._bytes = self._last_ns = 0
        self._last_unit = ""

    def stop(self, why: str) -> None:
        """``run`` returns soon: a unit is rolled back before its seal, finished behind it. May be called
        from a signal handler."""
        self._progress.stopping = why
        with self._changed:
            self._changed.notify_all()

    def sync_now(self) -> None:
        """Look everywhere, at once."""
        with self._changed:
            self._look_now = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Commit nothing until ``resume``: a unit at work is rolled back before its seal, finished behind it,
        and this waits for that. Hints are gathered all the same."""
        with self._changed:
            self._user_paused = self._progress.pausing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._told_pause or not self._user_paused or self._is_idle)

    def resume(self) -> None:
        """Go on, and try again at once. If it was not paused by hand, but waits for SRC or DST to be what
        they were, they are from now on what their names lead to."""
        with self._changed:
            self._accept = self._accept or (self._trouble.paused and not self._user_paused)
            self._user_paused = self._progress.pausing = False
            self._trouble.hurry()
            self._changed.notify_all()

    def flush(self, timeout_s: float | None) -> Flushed:
        """Block until what SRC holds now is committed, or it is known why it is not."""
        wish = Flush()
        with self._changed:
            if self._state == STOPPED:
                return STOPPED_FLUSHED
            self._flushes.append(wish)
            self._changed.notify_all()
        if wish.done.wait(timeout_s):
            return wish.outcome
        return Flushed(
            False, "", f"not everything was committed within {timeout_s:g} s", TimedOut.exit_status
        )

    @property
    def beat_s(self) -> float:
        """When this pair's thread last showed that it lives (monotonic)."""
        return self._progress.beat_s

    def progress(self) -> Done:
        """Of the unit that is being made, or was last."""
        return self._progress.done

    def status(self) -> WatchStatus:
        now = time.monotonic()
        with self._changed:
            state, why = self._state, self._trouble.why
            if why:
                state = PAUSED if self._trouble.paused else RETRYING
            if self._user_paused:
                state, why = PAUSED, BY_HAND
            waiting = [at for at in (self._batcher.oldest_s, self._batch_since_s) if at is not None]
            next_try_s = self._trouble.next_try_s
            return WatchStatus(
                STOPPED if self._state == STOPPED else state,
                why,
                self.source,
                self.destination,
                os.getpid(),
                self._since_ns,
                self._coverage(),
                self._units,
                self._bytes,
                self._last_unit,
                self._last_ns,
                max(0.0, now - min(waiting)) if waiting else 0.0,
                len(self._batcher),
                self._batcher.held,
                dict(self._set_aside),
                self._trouble.errors,
                self._trouble.last_error,
                None if next_try_s is None else max(0.0, next_try_s - now),
            )

    def _coverage(self) -> Coverage:
        """What the watcher covers is nothing, if it is not SRC."""
        found = self._attachment.coverage()
        if not self._trouble.paused or not self._lost_source:
            return found
        return found._replace(complete=False, gaps=(self._trouble.why.splitlines()[0], *found.gaps))

    def _hear(self, hint: Hint) -> None:
        now = time.monotonic()
        with self._changed:
            before = self._batcher.due_s()
            self._batcher.add(hint, now)
            if self._set_aside and hint.path:  # it changed, or a directory above it did
                top = f"{hint.path}/"
                for path in [path for path in self._set_aside if f"{path}/".startswith(top)]:
                    del self._set_aside[path]
                    self._batcher.add(Hint(path, TREE), now)
            self._trouble.heard(now + self.options.settle_s)
            after = self._batcher.due_s()
            if before is None or (after is not None and after < before):
                self._changed.notify_all()


class Flush:
    """The wish of a thread that waits; answered once, though it may have gone."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome = STOPPED_FLUSHED

    def answer(self, outcome: Flushed) -> None:
        self.outcome = outcome
        self.done.set()


class Beating(Counted):
    """Notes when it was last heard of; stops for a pause, too."""

    def __init__(self) -> None:
        super().__init__()
        self.beat_s = time.monotonic()
        self.pausing = False

    def check(self) -> None:
        self.beat_s = time.monotonic()
        super().check()
        if self.pausing:
            raise Interrupted("paused", "the unit was rolled back, the destination is unchanged")
