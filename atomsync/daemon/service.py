"""All pairs of one process: signals become wishes, and the main thread waits for them and fulfils them.

It waits at a socket. A lock would not do: the kernel may hand a signal to any thread, and then nothing
interrupts the main one, in which Python runs the handlers. The wake-up descriptor does.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from atomsync.daemon import metrics
from atomsync.daemon.keeper import Keeper
from atomsync.daemon.notify import Notifier
from atomsync.daemon.pair import Pair
from atomsync.errors import AtomSyncError, Interrupted
from atomsync.follow.watching import WatchStatus

STOP_S = 30.0  # within which a stop must be done; docs/watch.md promises it
_JOIN_S = 0.1
_READY_S = 0.1  # between two looks whether every pair has settled

_ASKING = [signal.SIGUSR2, *([signal.SIGINFO] if hasattr(signal, "SIGINFO") else [])]

Tell = Callable[..., None]  # (pair, event, **fields); the pair is None for what concerns all


class Service:
    """Follows ``pairs`` until it is stopped.

    ``read`` gives the pairs anew on SIGHUP. With it, a pair that cannot start is tried again while the
    others go on; without it, what a pair raises at its start ends the service, and SIGHUP stops it.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        tell: Tell,
        metrics_address: tuple[str, int] | None = None,
        *,
        read: Callable[[], Sequence[Pair]] | None = None,
    ) -> None:
        self._tell, self._read, self._address = tell, read, metrics_address
        self._stopped_by = ""
        self._reload_wished = self._sync_wished = self._asked = False
        self._waiting, self._waking = socket.socketpair()
        self._waking.setblocking(False)
        self._keepers = [self._keeper(pair) for pair in pairs]
        self._leaving: list[Keeper] = []  # that a reload has stopped, and that take long
        self._notifier = Notifier()

    # -- verbs of any thread, and of signal handlers
    def stop(self, why: str) -> None:
        self._stopped_by = why
        self._wake()

    def reload(self) -> None:
        self._reload_wished = True
        self._wake()

    def sync_now(self) -> None:
        self._sync_wished = True
        self._wake()

    def ask(self) -> None:
        """Tell "progress" of every pair: its ``status`` and what is ``done`` of its unit."""
        self._asked = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: then it wakes anyhow
            self._waking.send(b"\0")

    # -- the main thread
    def run(self) -> None:
        """Until ``stop``. Raises what a pair would not start with; Interrupted if one did not end in time."""
        with self._signals(), contextlib.ExitStack() as stack:
            if self._address is not None:
                url = stack.enter_context(metrics.served(self._address, self._statuses))
                self._tell(None, "metrics", url=url)
            for keeper in self._keepers:
                keeper.start()
            try:
                self._serve()
            finally:
                self._end()

    def _serve(self) -> None:
        ready, beat_s = False, time.monotonic()
        every_s = self._notifier.watchdog_s
        while not self._stopped_by:
            self._check()
            if not ready and all(keeper.settled for keeper in self._keepers):
                ready = True
                self._notifier.ready()
            self._notifier.status(self._summary())
            if every_s is not None and time.monotonic() >= beat_s:
                if all(keeper.lively for keeper in self._keepers):
                    self._notifier.alive()
                beat_s = time.monotonic() + every_s
            waits = [] if ready else [_READY_S]
            if every_s is not None:
                waits.append(max(0.0, beat_s - time.monotonic()))
            self._wait(min(waits, default=None))
            if self._reload_wished:
                self._reload_wished = False
                self._reload()
            if self._sync_wished:
                self._sync_wished = False
                for keeper in self._keepers:
                    keeper.sync_now()
            if self._asked:
                self._asked = False
                for keeper in self._keepers:
                    self._tell(keeper.pair, "progress", status=keeper.status(), done=keeper.progress())

    def _wait(self, timeout_s: float | None) -> None:
        self._waiting.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self._waiting.recv(4096)

    def _check(self) -> None:
        for keeper in self._keepers:
            if not keeper.alive:
                raise keeper.failed or AtomSyncError(
                    "internal error", f"the thread of {keeper.pair.destination} has died"
                )

    def _reload(self) -> None:
        assert self._read is not None
        self._notifier.reloading()
        try:
            wanted = list(self._read())
        except AtomSyncError as error:
            self._tell(None, "reload-failed", error=error)
        else:
            gone = [keeper for keeper in self._keepers if keeper.pair not in wanted]
            kept = [keeper for keeper in self._keepers if keeper.pair in wanted]
            known = [keeper.pair for keeper in kept]
            self._leaving += self._stop(gone, "the config file has it otherwise, or no longer")
            if self._stopped_by:
                return
            new = [self._keeper(pair) for pair in wanted if pair not in known]
            self._keepers = kept + new
            for keeper in new:
                keeper.start()
            self._tell(None, "reloaded", kept=len(kept), started=len(new), stopped=len(gone))
        self._notifier.ready()

    def _end(self) -> None:
        self._notifier.stopping()
        late = self._stop([*self._keepers, *self._leaving], self._stopped_by or "the service ended")
        if late:
            raise Interrupted(
                f"{len(late)} of the watches did not end within {STOP_S:g} s",
                ", ".join(keeper.pair.destination for keeper in late),
                "Their units are cut where they are; the next command on those destinations recovers.",
            )

    def _stop(self, keepers: Sequence[Keeper], why: str) -> list[Keeper]:
        """Stop these and wait for it; returns those that did not end in time. A stop of all goes first."""
        for keeper in keepers:
            keeper.stop(why)
        deadline, ending = time.monotonic() + STOP_S, bool(self._stopped_by)
        left = list(keepers)
        while left and time.monotonic() < deadline and bool(self._stopped_by) == ending:
            left = [keeper for keeper in left if not keeper.join(_JOIN_S)]
        return left

    def _keeper(self, pair: Pair) -> Keeper:
        return Keeper(pair, self._tell, self._wake, lasting=self._read is not None)

    def _statuses(self) -> list[WatchStatus]:
        return [keeper.status() for keeper in self._keepers]

    def _summary(self) -> str:
        states = [status.state for status in self._statuses()]
        return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handlers only set an attribute and send a byte: both may interrupt anything."""

        def heard(number: int, _frame: object) -> None:
            if number == signal.SIGUSR1:
                self.sync_now()
            elif number in _ASKING:
                self.ask()
            elif number == signal.SIGHUP and self._read is not None:
                self.reload()
            else:
                self.stop(signal.Signals(number).name)

        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, *_ASKING]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # under nohup
            numbers.remove(signal.SIGHUP)
        before = {number: signal.signal(number, heard) for number in numbers}
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
