"""``watch``: DST follows SRC, batch by batch.

One thread a pair. The watcher's own thread only puts hints into the batcher and wakes this one, which
waits for the next of: a batch that is due, a poll, a rescan, a retry, a look at the ground. It watches
before it looks, so what changes during a look is heard, and looked at again.

    attach ─▶ wait ─▶ batch ─▶ look, stage, commit ─▶ wait ...
      ▲         │ the watcher broke        │ trouble: the batch goes back
      └─────────┘                          └─▶ wait, longer each time
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from atomsync.errors import (
    AtomSyncError,
    ControlUntrusted,
    Interrupted,
    RootsOverlap,
    SourceUnstable,
    UsageError,
    from_oserror,
)
from atomsync.follow.attachment import excluder
from atomsync.follow.carry import Carrier
from atomsync.follow.desk import BY_HAND, BY_HAND_FLUSHED, STOPPED_FLUSHED, Desk
from atomsync.follow.ground import Ground
from atomsync.follow.rescan import Rescans
from atomsync.follow.trouble import GONE
from atomsync.follow.watching import (
    STARTING,
    STOPPED,
    SYNCING,
    WATCHING,
    Flushed,
    WatchOptions,
)
from atomsync.store.recovery import CLEAN
from atomsync.sync.compare import Comparison
from atomsync.sync.report import Report
from atomsync.sync.roots import check_overlap, check_roots
from atomsync.sync.settle import FAIL, Heard
from atomsync.tree.path import ancestors, shown
from atomsync.watch.batching import Batch
from atomsync.watch.hint import EVERYWHERE, TREE, Hint

_TICK_S = 1.0  # how often the ground is looked at when nothing happens
_PROVE_S = 60.0  # how often an event of our own is sent through the watcher
_BARRIER_S = 10.0
_CATCH_UP_S = 1.0
_FLUSH_TRIES = 20
_SHOWN_MAX = 10
_FATAL_AT_START = (UsageError, RootsOverlap, ControlUntrusted)

Tell = Callable[..., None]


class Follower(Desk):
    """Follows one pair until ``stop``. ``run`` belongs to one thread; the verbs of the desk to any.

    ``tell(event, **fields)`` hears what happens, in this pair's thread: "started", "synced" (``report``,
    ``lag_s``: the age of its oldest hint; the first time also if there was nothing to do), "retrying"
    (``error``, ``next_try_s``, ``news``: not told before), "paused" (``why``), "resumed", "coverage"
    (``coverage``, ``why``), "held" (``paths``), "set-aside" (``path``, ``why``), "missed" (``paths``),
    "after-failed" (``error``), "stopped" (``why``).
    With ``lasting`` a source that is missing at the start is waited for.
    """

    def __init__(
        self, source: str, destination: str, options: WatchOptions, tell: Tell, *, lasting: bool = False
    ) -> None:
        super().__init__(source, destination, options)
        self._tell, self._lasting = tell, lasting
        self._ground = Ground(
            source,
            destination,
            one_file_system=options.one_file_system,
            excludes=excluder(options.filters),
        )
        self._carrier = Carrier(source, destination, options, self._ground, self._heard_since, self._progress)
        self._rescans = Rescans(source, destination, options.rescan_s)
        self._caught_up = self._told_trouble = False
        self._reattach = ""  # why a new watcher is needed
        self._told_moving: set[str] = set()
        self._told_aside: dict[str, str] = {}
        self._told_gaps: tuple[str, ...] = ()
        now = time.monotonic()
        self._poll_at_s = self._tick_at_s = now
        self._prove_at_s = now + _PROVE_S

    def run(self) -> None:
        """Until ``stop``. Raises AtomSyncError for what is wrong from the start: roots, overlap, rights."""
        self._is_idle = False
        try:
            if not (self._lasting and not os.path.isdir(self.source)):
                check_roots(self.source, self.destination, self.options.state_dir)
            self._tell("started")
            while not self._progress.stopping:
                try:
                    self._turn()
                except Interrupted:  # to stop, or to pause
                    continue
                except AtomSyncError as error:
                    if not self._caught_up and isinstance(error, _FATAL_AT_START):
                        raise
                    self._meet(error)
                except OSError as error:
                    self._meet(from_oserror(error, f"cannot follow {shown(self.source)}"))
        finally:
            self._end()

    def _turn(self) -> None:
        """One round: wait until something is to be done, mend what must be, and do it."""
        self._wait()
        if self._progress.stopping:
            return
        now = time.monotonic()
        with self._changed:
            accept, self._accept = self._accept, False
            look_now, self._look_now = self._look_now, False
            if accept or look_now:
                self._trouble.hurry()
                self._set_aside.clear()
            too_early = now < (self._trouble.next_try_s or 0)
        if accept:
            self._ground.accept()
            self._carrier.accept()
            self._reattach = "resumed by hand"
        self._tell_of_a_pause()
        if not (self._user_paused or too_early):
            self._mend()
            if now >= self._tick_at_s:
                self._tick(now)
                self._mend()
            self._commit_what_is_due(look_now)
        if self._flushes:
            self._answer_flushes()

    def _wait(self) -> None:
        with self._changed:
            while not (self._progress.stopping or self._flushes or self._accept or self._look_now):
                self._progress.beat_s = now = time.monotonic()
                at = self._wake_at_s(now)
                if at <= now:
                    return
                self._changed.wait(at - now)

    def _wake_at_s(self, now: float) -> float:
        if self._user_paused != self._told_pause:
            return now
        if self._user_paused:
            return now + _TICK_S
        if self._trouble.next_try_s is not None and self._trouble.next_try_s > now:
            return min(self._trouble.next_try_s, now + _TICK_S)
        if self._reattach or not self._caught_up:
            return now
        due = self._batcher.due_s()
        return self._tick_at_s if due is None else min(due, self._tick_at_s)

    def _mend(self) -> None:
        """See that the source is covered by a watcher that works."""
        why = self._reattach or self._attachment.broken
        if not why and self._attachment.attached:
            return
        self._rescans.stop()
        self._reattach = why or "nothing is covered yet"  # until all of this went well
        self._ground.check()  # while DST is gone, there is no need to walk SRC
        device = self._ground.settle_on_source()
        check_overlap(self.source, self.destination, self.options.state_dir)  # SRC may lead elsewhere now
        try:
            self._attachment.attach(device, self._progress.check)
        except AtomSyncError:
            self._ground.check()  # if it has gone meanwhile, that is what is to be said
            raise
        self._reattach = self._ground.check()  # it may have been replaced while the watcher walked it
        with self._changed:
            self._set_aside.clear()
        self._hear(EVERYWHERE)
        self._tell_of_coverage(why)

    def _tick(self, now: float) -> None:
        """What is to be done now and then, whether or not anything changes."""
        self._reattach = self._reattach or self._ground.check()
        every_s = self._attachment.poll_every_s()
        if every_s is not None and now >= self._poll_at_s:
            self._poll_at_s = now + every_s
            self._attachment.poll()
            self._tell_of_coverage("")
        if self._attachment.provable and now >= self._prove_at_s:
            self._prove_at_s = now + _PROVE_S
            if not self._attachment.prove(_BARRIER_S) and self._attachment.complete:
                self._reattach = self._reattach or "an event of our own did not come through in time"
        if self._rescans.over:
            self._collect_rescan()
        elif self._caught_up:
            self._rescans.start_if_due(self._carrier.rules(self._set_aside))
        at = [now + _TICK_S, self._rescans.next_s]
        if every_s is not None:
            at.append(self._poll_at_s)
        self._tick_at_s = min(at)

    def _commit_what_is_due(self, look_now: bool) -> None:
        with self._changed:
            now = time.monotonic()
            if look_now or not self._caught_up:
                self._batcher.add_at_once(EVERYWHERE, now)
            batch = self._batcher.take(now)
            idle = batch is None and not len(self._batcher)
        if batch is not None:
            self._sync(batch)
        elif idle and self._trouble.next_try_s is not None:
            self._all_is_well()  # what failed needs no batch to be tried again: the ground, the watcher

    # -- one unit
    def _sync(self, batch: Batch, *, resting: bool = True) -> Report:
        """Commit what a batch points to. Raises AtomSyncError, and then the batch is pending again."""
        with self._changed:
            self._state = SYNCING if self._caught_up else STARTING
            self._batch_since_s = batch.since_s
        try:
            self._progress.check()
            report = self._carrier.carry(batch, self._set_aside, resting=resting)
            if report.failed is not None and report.failed.undone:
                self._book(batch, report)
                raise report.failed  # DST is not as SRC is: as if the unit had been refused
        except BaseException:
            with self._changed:
                self._batcher.put_back(batch, time.monotonic())
                self._state = WATCHING if self._caught_up else STARTING
            raise
        finally:
            with self._changed:
                self._batch_since_s = None
                self._changed.notify_all()
        self._all_is_well()
        self._book(batch, report)
        self._caught_up = True
        return report

    def _heard_since(self, batch: Batch, found: Comparison) -> Heard:
        """Asked before a commit, when all is staged: so what happened until now must have been heard."""
        gone = [change.path for change in found.changes if change.new is None]
        come = [change.path for change in found.changes if change.content and change.new is not None]
        if gone or come:
            self._attachment.prove(_CATCH_UP_S)
        with self._changed:
            rested = [path for path in come if path not in batch.impatient]
            written = frozenset(path for path in rested if self._batcher.is_written(path))
            stirred = frozenset(path for path in rested if self._batcher.is_stirred(path)) - written
            return Heard(self._batcher.pending_from(gone) if gone else {}, written, stirred)

    def _book(self, batch: Batch, report: Report) -> None:
        now = time.monotonic()
        receipt = report.receipt
        assert receipt is not None
        moving = set(report.skipped)
        changed = {change.path for change in report.changes if change.visible}
        missed = self._missed(changed & batch.unannounced, batch, report)
        with self._changed:
            self._batcher.hold([*report.restless, *moving], now)
            if report.left:
                left = batch._replace(looks=report.left, held=frozenset(), moves={})
                self._batcher.put_back(left, now)
            if receipt.unit_id:
                self._units += 1
                self._bytes += receipt.bytes
                self._last_unit, self._last_ns = receipt.unit_id, time.time_ns()
            self._attachment.missed += len(missed)
        if receipt.unit_id or report.recovery.action != CLEAN or not self._caught_up:
            self._tell("synced", report=report, lag_s=now - batch.since_s)
        if report.failed is not None and not report.failed.undone:
            self._tell("after-failed", error=report.failed)
        if missed:
            self._tell("missed", paths=missed)
        if moving - self._told_moving:
            self._tell("held", paths=sorted(moving))
        self._told_moving = moving

    def _missed(self, paths: set[str], batch: Batch, report: Report) -> list[str]:
        """Of the changes that only a rescan found, those of which no event tells by now either: not of
        themselves, and not of a directory that took them along when it came or went."""
        if not paths:
            return []
        told = batch.looks.keys() - batch.unannounced
        tops = {change.path for change in report.changes if change.content and change.path in told}
        self._attachment.prove(_BARRIER_S)
        with self._changed:
            return sorted(
                path
                for path in paths
                if tops.isdisjoint(ancestors(path)) and not self._batcher.is_announced(path)
            )

    # -- trouble
    def _meet(self, error: AtomSyncError) -> bool:
        """Nothing is lost: the batch is pending again, and is tried again; returns whether at once."""
        aside = self._put_aside(error)
        if isinstance(error, GONE):
            if self._ground.lost_source:
                self._reattach = self._reattach or error.what
            self._hear(EVERYWHERE)  # whatever comes back may be different
        with self._changed:
            self._lost_source = self._ground.lost_source
            after_s, news = self._trouble.meet(error, time.monotonic(), at_once=aside)
        if self._trouble.paused and news:
            self._tell("paused", why=str(error))
        elif not self._trouble.paused and after_s:
            self._tell("retrying", error=error, next_try_s=after_s, news=news)
        self._told_trouble = self._told_trouble or self._trouble.paused or after_s > 0
        return aside

    def _put_aside(self, error: AtomSyncError) -> bool:
        """Whether the others can go on without the one path at fault, which is new."""
        path = error.path
        if self.options.on_unstable == FAIL or not path or path in self._set_aside:
            return False
        for each in dict.fromkeys((path, *error.also)):
            why = str(error) if each == path else f"as {shown(path)}: {error.why}"
            with self._changed:
                self._set_aside[each] = why
            if self._told_aside.get(each) != why:
                self._told_aside[each] = why
                self._tell("set-aside", path=each, why=why)
        return True

    def _take_up_again(self) -> None:
        """What was set aside gets another chance."""
        with self._changed:
            aside, self._set_aside = self._set_aside, {}
        for path in aside:
            self._hear(Hint(path, TREE))

    def _all_is_well(self) -> None:
        with self._changed:
            self._state = WATCHING
            self._trouble.over()
            self._told_aside = {
                path: why for path, why in self._told_aside.items() if path in self._set_aside
            }
        if self._told_trouble:
            self._told_trouble = False
            self._tell("resumed")

    def _tell_of_coverage(self, why: str) -> None:
        coverage = self._attachment.coverage()
        if why or coverage.gaps != self._told_gaps:
            self._told_gaps = coverage.gaps
            self._tell("coverage", coverage=coverage, why=why)

    def _tell_of_a_pause(self) -> None:
        if self._user_paused != self._told_pause:
            if self._user_paused:
                self._rescans.stop()  # who pauses may want to unmount
            with self._changed:
                self._told_pause = self._user_paused
                self._changed.notify_all()
            if self._told_pause:
                self._tell("paused", why=BY_HAND)
            else:
                self._tell("resumed")

    # -- flush
    def _answer_flushes(self) -> None:
        with self._changed:
            wishes, self._flushes = self._flushes, []
        outcome = STOPPED_FLUSHED
        try:
            outcome = self._flushed()
        finally:
            for wish in wishes:
                wish.answer(outcome)

    def _flushed(self) -> Flushed:
        """Look at all that was hinted at, whether or not it rests, until nothing of it is left over."""
        self._take_up_again()
        unstable: list[str] = []
        tries = 0
        while tries < _FLUSH_TRIES:
            try:
                if self._user_paused:
                    return BY_HAND_FLUSHED
                self._reattach = self._reattach or self._ground.check()
                self._mend()
                if not self._attachment.prove(_BARRIER_S):
                    self._hear(EVERYWHERE)
                with self._changed:
                    batch = self._batcher.take(time.monotonic(), force=True)
                if batch is None:
                    break
                report = self._sync(batch, resting=False)
            except Interrupted:
                if self._progress.stopping:
                    raise
                return BY_HAND_FLUSHED
            except AtomSyncError as error:
                if self._meet(error):
                    continue
                return Flushed(False, "", str(error), error.exit_status)
            unstable = sorted(report.skipped)
            if not unstable and not report.left:
                break
            if unstable:
                tries += 1
                self._pause_s(_TICK_S / 10 * min(tries, 10))
        left = unstable or sorted(self._set_aside)
        if left:
            some = ", ".join(shown(path) for path in left[:_SHOWN_MAX])
            return Flushed(False, self._last_unit, f"not committed: {some}", SourceUnstable.exit_status)
        return Flushed(True, self._last_unit, "", 0)

    def _pause_s(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._progress.stopping or self._user_paused, seconds)
        self._progress.check()

    def _collect_rescan(self) -> None:
        """A rescan is over: what it found is hinted at; what a unit then has to change was missed."""
        found, error = self._rescans.collected()
        self._attachment.prove(_BARRIER_S)  # what events tell of by now was not missed
        with self._changed:
            self._attachment.rescans += 1
        self._take_up_again()
        for path in found:
            self._hear(Hint(path, announced=False))
        if error is not None:
            self._tell("retrying", error=error, next_try_s=self.options.rescan_s, news=True)

    def _end(self) -> None:
        self._rescans.stop()
        self._attachment.detach()
        with self._changed:
            self._state, self._is_idle = STOPPED, True
            self._changed.notify_all()
            wishes, self._flushes = self._flushes, []
        for wish in wishes:
            wish.answer(STOPPED_FLUSHED)
        if self._progress.stopping:
            self._tell("stopped", why=self._progress.stopping)
