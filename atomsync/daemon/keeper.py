"""One pair kept going in a thread of its own: whatever ends its follower is told, and it is started again."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from atomsync.daemon.endpoint import Endpoint
from atomsync.daemon.pair import Pair
from atomsync.errors import AtomSyncError, TimedOut, UsageError, from_oserror
from atomsync.follow.watching import RETRYING, STARTING, SYNCING, WATCHING, Flushed, WatchStatus
from atomsync.store.progress import Done
from atomsync.tree.path import shown

_FIRST_S, _LAST_S = 1.0, 60.0  # pauses before a new start
_HEALTHY_S = 60.0  # who ran this long before trouble starts again at the shortest pause
SILENT_S = 300.0  # a loop that shows no sign of life for this long outside a unit is dead
_SLICE_S = 5.0  # of a flush, before it is asked whether the asker still listens; doubled each time

Tell = Callable[..., None]  # (pair, event, **fields)


class Keeper:
    """``tell`` and ``woken`` are called from this pair's thread; every other verb is for any thread.

    Without ``lasting``, an error with which the follower refuses to start is left in ``failed``, and ends it.
    """

    def __init__(self, pair: Pair, tell: Tell, woken: Callable[[], None], *, lasting: bool) -> None:
        self.pair = pair
        self.failed: AtomSyncError | None = None
        self._tell_of, self._woken, self._lasting = tell, woken, lasting
        self._ended = False
        self._over, self._hurry = threading.Event(), threading.Event()
        self._paused, self._why = False, ""
        self._trouble: AtomSyncError | None = None
        self._restarts, self._next_s = 0, 0.0
        self._follower = pair.follower(self._tell, lasting=lasting)
        self._thread = threading.Thread(target=self._run, name=f"watch {pair.destination}", daemon=True)

    # -- verbs of other threads
    def start(self) -> None:
        self._thread.start()

    def stop(self, why: str) -> None:
        self._why = why
        self._over.set()
        self._hurry.set()
        self._follower.stop(why)

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def sync_now(self) -> None:
        self._follower.sync_now()

    def progress(self) -> Done:
        """Of the unit that is being made, or was last."""
        return self._follower.progress()

    def status(self) -> WatchStatus:
        found, trouble = self._follower.status(), self._trouble
        found = found._replace(errors=found.errors + self._restarts)
        if trouble is None:
            return found
        wait_s = max(0.0, self._next_s - time.monotonic())
        return found._replace(state=RETRYING, why=str(trouble), last_error=str(trouble), next_try_s=wait_s)

    @property
    def alive(self) -> bool:
        """False once its thread has ended, or does nothing more."""
        return self._thread.is_alive() and not self._ended

    @property
    def lively(self) -> bool:
        """Whether its loop moves, as far as can be told: a slow disk may keep a unit busy for any time."""
        idle = self.status().state == WATCHING
        return self.alive and not (idle and time.monotonic() - self._follower.beat_s > SILENT_S)

    @property
    def settled(self) -> bool:
        """Whether the first unit is behind it, or what is in its way has been told."""
        return self.status().state not in (STARTING, SYNCING)

    def answer(self, request: Mapping[str, Any], listens: Callable[[], bool]) -> Mapping[str, Any]:
        """To a question that came through the control socket."""
        verb = request["verb"]
        if verb == "status":
            found = self.status()
            return {**found._asdict(), "coverage": found.coverage._asdict()}
        if verb == "flush":
            return self._flush(request.get("timeout_s"), listens)._asdict()
        if verb == "pause":
            self._paused = True
            self._follower.pause()
            return {"state": self.status().state}
        if verb == "resume":
            self._paused = False
            self._hurry.set()
            self._follower.resume()
            return {"state": self.status().state}
        raise UsageError("cannot answer", f"there is no verb {shown(verb)}")

    def _flush(self, timeout_s: object, listens: Callable[[], bool]) -> Flushed:
        """In slices that grow, so that one whose asker has gone away ends, and any other gets its time."""
        if timeout_s is not None and (isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float)):
            raise UsageError("cannot flush", "timeout_s is no number of seconds")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        slice_s = _SLICE_S
        while True:
            trouble = self._trouble
            if trouble is not None:
                return Flushed(False, "", str(trouble), trouble.exit_status)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = self._follower.flush(slice_s if left is None else min(slice_s, left))
            if found.committed or found.exit_status != TimedOut.exit_status:
                return found
            if (left is not None and left <= slice_s) or not listens():
                return found._replace(why=f"it took longer than {timeout_s} s")
            slice_s *= 2

    # -- the thread of this pair
    def _run(self) -> None:
        pause_s = _FIRST_S
        try:
            with ExitStack() as stack:
                door = None
                while not self._over.is_set():
                    began_s = time.monotonic()
                    try:
                        if door is None:
                            door = stack.enter_context(Endpoint(self.pair.destination, self.answer))
                        self._follow()
                        continue
                    except AtomSyncError as error:
                        trouble, final = error, not (self._lasting or self._restarts)
                    except Exception as error:
                        trouble, final = _bug(error), False
                    if final:
                        self.failed = trouble
                        return
                    if time.monotonic() - began_s > _HEALTHY_S:
                        pause_s = _FIRST_S
                    self._wait(trouble, pause_s)
                    pause_s = min(2 * pause_s, _LAST_S)
        finally:
            self._ended = True
            self._woken()

    def _follow(self) -> None:
        try:
            self._follower.run()
        except OSError as error:
            raise from_oserror(error, f"cannot watch {shown(self.pair.source)}") from None
        if not self._over.is_set():
            raise AtomSyncError("internal error", "the follower ended by itself")

    def _wait(self, trouble: AtomSyncError, pause_s: float) -> None:
        """Say what happened, and make a new follower when it is time."""
        self._restarts += 1
        self._next_s = time.monotonic() + pause_s
        self._trouble = trouble
        self._hurry.clear()
        self._tell("retrying", error=trouble, next_try_s=pause_s)
        if not self._over.is_set():
            self._hurry.wait(pause_s)
        if self._over.is_set():
            self._tell("stopped", why=self._why)
            return
        self._follower = self.pair.follower(self._tell, lasting=True)
        if self._paused:
            self._follower.pause()
        self._trouble = None

    def _tell(self, event: str, **fields: object) -> None:
        self._tell_of(self.pair, event, **fields)
        self._woken()


def _bug(error: Exception) -> AtomSyncError:
    if os.environ.get("ATOMSYNC_DEBUG"):
        traceback.print_exception(error)
    return AtomSyncError(
        "internal error",
        f"{type(error).__name__}: {error}",
        "This is a bug in atomsync; please report it. ATOMSYNC_DEBUG=1 shows where it happened.",
    )
