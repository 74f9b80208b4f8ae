"""The crash model: the product's own store on the simulated disk, cut and broken wherever it can be.

Each function takes a world before a push (see ``plans``) and an ``Outcome``. It runs the push once, keeps
a copy of the disk before every verb, and judges what crashes and faults make of these copies.

What ``Trial.judge`` asks of each of them:

I1 before recovery every path is complete, old or new      I2 afterwards the tree is old or new
I3 the tree is new if success was said before              I4 a second recovery finds nothing to do
I5 in the old tree no inode is gone or another             I6 no unfinished unit, no litter, no conflicts
I8 the lock is free: the second recovery takes it
"""

from __future__ import annotations

import contextlib
import errno
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from atomsync.errors import AtomSyncError, InDoubt, JournalError
from atomsync.store.recovery import CLEAN, DISCARDED, FINISHED, ROLLED_BACK
from atomsync.testing import SimDisk, fail_at, fail_sync_at, kill_at
from atomsync.testing.effects import DIRECTORY, ROOT
from atomsync.testing.faults import Killed
from tests.proof.figures import Outcome
from tests.proof.judge import CONTROL, Seen, Tree, torn, verdict
from tests.store.world import World

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
BOTH, NEW = ("old", "new"), ("new",)
_MEANS = {DISCARDED: "old", ROLLED_BACK: "old", FINISHED: "new"}
_IN_PARTS = {"write": (1, 20), "set_meta": (1, 2), "set_meta_at": (1, 2)}  # verb → what may be done of it
_SYNCS = ("fsync", "syncfs")


class _Enough(BaseException):
    """A violation was found and one is enough. Not an ``Exception``: those are judged."""


Layer = Callable[..., None]
Act = Callable[[World], object]


def layer(function: Layer) -> Layer:
    @functools.wraps(function)
    def stopping(world: World, outcome: Outcome, **options: Any) -> None:
        with contextlib.suppress(_Enough):
            function(Trial(world, outcome), **options)

    return stopping


# -- crashes


@layer
def power_cuts(trial: Trial, *, exhaustive: int, samples: int, seed: int = 0) -> None:
    """The power fails before any verb of a push, and after the last.

    Where at most ``exhaustive`` subsets of the pending effects can survive, every one is judged, once
    (not again before later verbs); a thousand at most while there is no journal, and so nothing visible.
    Everywhere ``samples`` of ``crash_states`` are, which also tear writes.
    """
    rng = random.Random(seed)
    before: tuple[object, ...] = ()
    for moment in trial.moments:
        disk, pending = moment.disk, moment.disk.pending
        known = len(before) if pending[: len(before)] == before else 0
        most = exhaustive if _journal(trial.world, disk) else min(exhaustive, 1 << 10)
        for states in (disk.every_crash_state(known, most), disk.crash_states(rng, samples)):
            trial.judge_cuts(disk, states, moment.where, moment.allowed)
        before = pending


@layer
def success_survives(trial: Trial, *, samples: int, seed: int = 0) -> None:
    """After a push said success, whatever is still pending may be lost: the tree is new, and every inode
    of the old one is in the history."""
    last = trial.moments[-1]
    for keep, lost in last.disk.crash_states(random.Random(seed), samples):
        disk, where = last.disk.crash(keep, lost), f"cut {last.where}, left {sorted(keep)}"
        trial.judge(disk, where, NEW, kept=BOTH)


@layer
def kills(trial: Trial) -> None:
    """The process is killed before any verb, between two system calls of one, in the middle of a write."""
    for moment in trial.moments:
        trial.judge(moment.disk.copy(), moment.where, moment.allowed)
    for index, moment in enumerate(trial.moments):
        for done in _IN_PARTS.get(moment.verb, ()):
            disk = trial.world.sim.copy()
            disk.hook = kill_at(index, done)
            try:
                trial.act(trial.world.on(disk))
            except Killed:
                trial.judge(disk.copy(), f"{done} in: {moment.where}")


@layer
def kills_then_power_cut(trial: Trial, *, samples: int, seed: int = 0) -> None:
    """The process is killed, recovery runs on what the page cache shows, and then the power fails:
    what recovery made of it must stay."""
    rng = random.Random(seed)
    for moment in trial.moments:
        disk = moment.disk.copy()
        found = trial.judge(disk, moment.where, moment.allowed)
        trial.judge_cuts(disk, disk.crash_states(rng, samples), f"recovered {moment.where}", found)


@layer
def double_crashes(trial: Trial, *, every: int, samples: int, seed: int = 0) -> None:
    """Killed or cut before every ``every``-th verb; recovery is killed and cut before each of its own."""
    rng = random.Random(seed)
    for moment in trial.moments[seed % every :: every] + trial.moments[-2:]:
        cuts = [moment.disk.crash(*choice) for choice in moment.disk.crash_states(rng, samples)]
        for start in [moment.disk.copy(), *cuts]:
            for inside in trial.record(start, World.recover):
                where = f"{moment.where}; in recovery {inside.where}"
                trial.judge(inside.disk.copy(), where, moment.allowed)
                states = inside.disk.crash_states(rng, samples)
                trial.judge_cuts(inside.disk, states, where, moment.allowed)


# -- faults


@layer
def failed_syncs(trial: Trial, *, every: int, samples: int, seed: int = 0) -> None:
    """One fsync or syncfs fails, its pages count as clean and are lost: in a push, then in a recovery.

    Afterwards the power fails at once; or recovery runs on the page cache, and then the power fails.
    """
    rng = random.Random(seed)

    def judge_both(disk: SimDisk, where: str, allowed: Sequence[str]) -> None:
        trial.judge_cuts(disk, disk.crash_states(rng, samples), where, allowed)
        after = disk.copy()
        found = trial.judge(after, where, allowed)
        trial.judge_cuts(after, after.crash_states(rng, samples), f"recovered {where}", found)

    starts = [moment.disk for moment in trial.moments[seed % every :: every]]
    for read_only in (False, True):
        for nth, disk, error in trial.with_failing_syncs(trial.world.sim, trial.act, read_only):
            judge_both(disk, f"sync {nth} of the push failed", BOTH if error else NEW)
            starts.append(disk)
    for start in starts:
        for nth, disk, _ in trial.with_failing_syncs(start, World.recover, False):
            judge_both(disk, f"sync {nth} of the recovery failed", BOTH)


@layer
def errors(trial: Trial, *, every: int, numbers: Sequence[int] = ERRNOS) -> None:
    """A verb of the push fails, once or from then on: the error is told in our own words, and the tree
    is old at once, new if the push went through all the same, and either if the error says so."""
    for index, moment in enumerate(trial.moments[:-1]):
        if index % every:
            continue
        for number in numbers:
            for sticky in (False, True):
                for done in (0, *_IN_PARTS.get(moment.verb, ())[:1]):
                    disk = trial.world.sim.copy()
                    disk.hook = fail_at(index, number, sticky, done)
                    where = f"{errno.errorcode[number]}{' for ever' * sticky} {moment.where}"
                    error = trial.attempt(trial.act, disk, where)
                    allowed = BOTH if error else NEW
                    if not sticky and not isinstance(error, InDoubt):
                        trial.judge_tree(disk, where, ("old",) if error else NEW)
                    trial.judge(disk.copy(), where, allowed)
                    for keep in ((), range(len(disk.pending))):
                        trial.judge(disk.crash(keep), f"{where}, then a cut", allowed)


@layer
def errors_in_recovery(trial: Trial, *, every: int, numbers: Sequence[int] = ERRNOS, seed: int = 0) -> None:
    """A verb of a recovery fails, once or from then on: told in our own words, and mended by the next."""
    for moment in trial.moments[seed % every :: every]:
        for index, inside in enumerate(trial.record(moment.disk, World.recover)[:-1]):
            for number in numbers:
                for sticky in (False, True):
                    for done in (0, *_IN_PARTS.get(inside.verb, ())[:1]):
                        disk = moment.disk.copy()
                        disk.hook = fail_at(index, number, sticky, done)
                        where = f"{moment.where}; {errno.errorcode[number]} in recovery {inside.where}"
                        trial.attempt(World.recover, disk, where)
                        trial.judge(disk.copy(), where, moment.allowed)


@layer
def bit_flips(trial: Trial, *, every: int, seed: int = 0) -> None:
    """One bit of the journal of a unit turned over on the medium: in the middle of the swaps, and after
    the commit point. Recovery refuses and touches nothing, or it is right all the same."""
    cut = [m for m in trial.moments if _journal(trial.world, m.disk) and m.verb in ("exchange", "rename_new")]
    whole = [m for m in trial.moments if _journal(trial.world, m.disk)]
    for moment in (cut[len(cut) // 2], whole[-1]):
        start = moment.disk.crash(range(len(moment.disk.pending)))
        serial = _journal(trial.world, start)
        for bit in range(seed % every, 8 * len(start.state[serial].data), every):
            disk = start.copy()
            disk.rot(serial, bit)
            trial.judge_rotten(disk, f"bit {bit} of the journal, {moment.where}")


def judge_around(trial: Trial, rng: random.Random, *, moments: int, samples: int) -> None:
    """A little of everything at a few random moments: a kill, cuts, a crash within the recovery, a cut
    after it; and that success survives."""
    last = trial.moments[-1]
    trial.judge_cuts(last.disk, last.disk.crash_states(rng, samples), last.where, last.allowed)
    for moment in rng.sample(trial.moments, min(moments, len(trial.moments))):
        disk = moment.disk.copy()
        found = trial.judge(disk, moment.where, moment.allowed)
        trial.judge_cuts(disk, disk.crash_states(rng, samples), f"recovered {moment.where}", found)
        choice = rng.choice([*moment.disk.crash_states(rng, 20)])
        for start in (moment.disk, moment.disk.crash(*choice)):
            trial.judge(start.copy(), moment.where, moment.allowed)
            inside = rng.choice(trial.record(start, World.recover))
            where = f"{moment.where}; in recovery {inside.where}"
            trial.judge(inside.disk.copy(), where, moment.allowed)
            trial.judge_cuts(inside.disk, inside.disk.crash_states(rng, samples), where, moment.allowed)


# -- within


class _Moment(NamedTuple):
    verb: str
    where: str
    disk: SimDisk
    allowed: Sequence[str]


class Trial:
    """One unit, a push if nothing else is said, its moments, and the judge of all that may come of it."""

    def __init__(self, world: World, outcome: Outcome, act: Act = World.push) -> None:
        self.world, self.outcome, self.act = world, outcome, act
        self.old = look(world)
        self.moments = self.record(world.sim, act)
        done = world.on(self.moments[-1].disk)
        self.new = look(done)
        if act is World.push and done.tree(owners=True) != world.tree("src", owners=True):
            self.judged("failed", "the push made something else than the source holds")

    def record(self, start: SimDisk, act: Act) -> list[_Moment]:
        """The disk before each verb of ``act``, and after the last; ``start`` stays as it is."""
        disk = start.copy()
        found: list[_Moment] = []

        def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
            where = f"before {index}: {verb} {' '.join(names)}"
            found.append(_Moment(verb, where, disk.copy(), BOTH))

        disk.hook = hook
        error = self.attempt(act, disk, "on a healthy disk")
        if error is not None:
            self.judged("failed", f"{error} on a healthy disk")
        succeeded = act is self.act and error is None
        return [*found, _Moment("", "after the last verb", disk.copy(), NEW if succeeded else BOTH)]

    def attempt(self, act: Act, disk: SimDisk, where: str) -> Exception | None:
        """The error ``act`` ended with; one that is not the product's own is a violation."""
        try:
            act(self.world.on(disk))
        except AtomSyncError as error:
            return error
        except Exception as error:
            self.judged("raw", f"{error!r} came through ({where})")
            return error
        return None

    def with_failing_syncs(
        self, start: SimDisk, act: Act, read_only: bool
    ) -> Iterator[tuple[int, SimDisk, Exception | None]]:
        """``(n, the disk afterwards, the error)`` for each sync that ``act`` makes."""
        probe = start.copy()
        self.attempt(act, probe, "on a healthy disk")
        for nth in range(sum(verb in _SYNCS for verb, *_ in probe.log)):
            disk = start.copy()
            disk.hook = fail_sync_at(nth, read_only)
            error = self.attempt(act, disk, f"sync {nth} failed")
            disk.hook = None
            yield nth, disk, error

    def judge_cuts(self, disk: SimDisk, states: Any, where: str, allowed: Sequence[str]) -> None:
        for keep, lost in states:
            self.judge(disk.crash(keep, lost), f"cut {where}, left {sorted(keep)} {dict(lost)}", allowed)

    def judge(
        self, disk: SimDisk, where: str, allowed: Sequence[str] = BOTH, kept: Sequence[str] = ("old",)
    ) -> Sequence[str]:
        """Recover this disk, which was found after a crash; returns what may be found there from now on.

        ``kept``: when the tree is one of these, every inode of the old one must still be on the disk.
        """
        after = self.world.on(disk)
        wrong = self._torn(look(after))
        try:
            action, conflicts = after.recover()[0::3]
            now = look(after)
            what, more = verdict(now, self.old, self.new)
            wrong += more + self._left(disk) + (self._gone(disk) if what in kept else [])
            if what not in allowed and self.old != self.new:
                wrong.append(f"I3: {what}, where only {allowed} may be")
            if _MEANS.get(action, what) != what and self.old != self.new:
                wrong.append(f"recovery said {action!r}, the tree is {what}")
            if conflicts:
                wrong.append(f"I6: a conflict with nobody: {conflicts}")
            if after.recover().action != CLEAN or look(after) != now:
                wrong.append("I4: the second recovery found something to do")
        except Exception as error:
            what = "refused"
            wrong.append(f"recovery failed: {error!r}")
        self.judged(what, *[f"{said} ({where})" for said in wrong])
        return (what,) if what in BOTH else BOTH

    def judge_tree(self, disk: SimDisk, where: str, allowed: Sequence[str]) -> None:
        """No crash came: the tree must be right without a recovery."""
        what, wrong = verdict(look(self.world.on(disk)), self.old, self.new)
        if what not in allowed and self.old != self.new:
            wrong.append(f"{what} without a recovery, where only {allowed} may be")
        self.judged(what, *[f"{said} ({where})" for said in wrong])

    def judge_rotten(self, disk: SimDisk, where: str) -> None:
        """Recovery may refuse this disk's journal, and then touches nothing but the lock."""
        after = self.world.on(disk.copy())
        try:
            after.recover()
        except JournalError:
            lock = _at(disk.state, f"{self.world.dst}/{CONTROL}/lock")
            same = {**after.sim.state, lock: disk.state[lock]} == disk.state
            self.judged("refused", *[] if same else [f"a refused unit was touched ({where})"])
        except Exception as error:
            self.judged("refused", f"{error!r} came through ({where})")
        else:
            self.judge(disk, where)

    def _torn(self, now: Tree) -> list[str]:
        found = torn(now, self.old, self.new)
        if not self.world.sim.exchanges_names:  # a directory that gives way is then missing for one call
            found = [said for said in found if "missing" not in said]
        return found

    def _left(self, disk: SimDisk) -> list[str]:
        state = disk.state
        control = state[_at(state, f"{self.world.dst}/{CONTROL}")].names
        found = ["I6: an unfinished unit is left"] if "unit" in control else []
        found += [
            f"I6: {name}/ is not empty"
            for name in ("retired", "conflicts", "probe")
            if name in control and state[control[name]].names
        ]
        return found

    def _gone(self, disk: SimDisk) -> list[str]:
        gone = [path for path, seen in self.old.items() if seen.ino not in disk.state]
        return [f"I5: the inode that was at {path!r} is gone" for path in gone[:3]]

    def judged(self, what: str, *wrong: str) -> None:
        self.outcome.judged(what, *wrong)
        if self.outcome.done:
            raise _Enough


def look(world: World) -> Tree:
    """The tree at the destination, as ``judge.look`` sees a real one; ``ino`` is the serial."""
    state = world.sim.state
    first: dict[int, str] = {}
    found: dict[str, Seen] = {}
    pending = [("", _at(state, world.dst))]
    while pending:
        path, serial = pending.pop()
        kind, _, mode, uid, gid, mtime_ns, _, _, data, names, _, links, _ = state[serial]
        linked = first.setdefault(serial, path) if links > 1 and kind != DIRECTORY else path
        found[path] = Seen(kind, data, mode, uid, gid, mtime_ns, linked, serial)
        below = sorted(names.items(), reverse=True)
        pending += [(f"{path}/{name}" if path else name, at) for name, at in below if path or name != CONTROL]
    return found


def _at(state: Any, path: str) -> int:
    """The serial of what is at a path."""
    serial = ROOT
    for name in filter(None, path.split("/")):
        serial = state[serial].names[name]
    return serial


def _journal(world: World, disk: SimDisk) -> int:
    """The serial of the journal of the unit at hand, 0 if it has none."""
    try:
        return _at(disk.state, f"{world.dst}/{CONTROL}/unit/journal")
    except KeyError:
        return 0
