"""Prepared units on the simulated disk, cut and broken wherever they can be: two phases, one outcome.

Each layer takes a world before a push (see ``plans``). It prepares that push as a unit, lets one ``Act``
decide about it, keeps a copy of the disk before every verb, and judges what crashes and faults make of them.

What ``Trial.judge`` asks of each, after a recovery that has nobody to ask:

P1 before recovery every path is complete, old or new       P2 afterwards the tree is old or new
P3 the unit rests (then the tree is old, and either decision still takes it to exactly new, or exactly
   old), or it is decided; and where only some of that may be, it is one of those
P4 a second recovery finds nothing to do                     P5 no inode of the old tree is gone
P6 of a decided unit nothing is left but its history: no unit, no stage, no litter, no conflicts
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from atomsync.errors import AtomSyncError, UsageError
from atomsync.store.copying import Source
from atomsync.store.prepared import PreparedUnit
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN
from atomsync.store.status import COMMITTED, FORGOTTEN, ROLLED_BACK
from atomsync.sync.compare import Comparer
from atomsync.testing import Dir, File, HookedDisk, Killed, SimDisk, fail_at, fail_sync_at, kill_at
from atomsync.unit.work import UnitOfWork
from tests.proof import judge
from tests.proof.figures import Outcome
from tests.proof.judge import Tree, torn, verdict
from tests.proof.model import look
from tests.proof.plans import T
from tests.store.world import RULES, World

OLD, NEW, RESTS = "old", "new", "rests"
SOMEBODY = "the ledger"  # who is to be asked about a unit
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS)
_IN_PARTS = {"write": (1, 20), "set_meta": (1, 2), "set_meta_at": (1, 2)}  # verb → what may be done of it
_LITTER = ("pending", "prepared", "retired", "conflicts", "probe")
_THROUGH = 42
Deed = Callable[[World, str], object]


class Act(NamedTuple):
    """A way to decide: ``meant`` is where it leads, ``cut`` what may be found when it did not come to its
    end. ``coordinator``: whom the unit names."""

    name: str
    deed: Deed
    meant: str
    cut: Sequence[str]
    coordinator: str = SOMEBODY


def _roll_back(world: World, unit_id: str) -> None:
    world.store().rollback_prepared(unit_id)


COMMIT = Act("commit", lambda world, unit_id: world.store().commit_prepared(unit_id), NEW, (RESTS, NEW))
ROLL_BACK = Act("roll back", _roll_back, OLD, (RESTS, OLD))
TOLD_TO_COMMIT = Act(
    "told to commit", lambda world, _: world.recover(resolver=lambda _: True), NEW, (RESTS, NEW)
)
TOLD_TO_ROLL_BACK = Act(
    "told to roll back", lambda world, _: world.recover(resolver=lambda _: False), OLD, (RESTS, OLD)
)
PRESUMED = Act("presumed aborted", lambda world, _: world.recover(), OLD, (OLD,), coordinator="")
ACTS = {act.name: act for act in (COMMIT, ROLL_BACK, TOLD_TO_COMMIT, TOLD_TO_ROLL_BACK, PRESUMED)}


def prepare(world: World, coordinator: str = SOMEBODY, **options: Any) -> tuple[UnitOfWork, PreparedUnit]:
    """Prepare a unit that would make the destination hold the source. It lives until it is closed."""
    with world.root(world.src) as at:
        origin = Source(world.disk, at)
        unit = UnitOfWork(world.store(**options), source=origin)
        try:
            tree = unit.session.control.tree
            unit._register_all(Comparer(origin.cursor, tree, RULES, {}, 0, Progress()).run().changes)
            return unit, unit.prepare(coordinator)
        except BaseException:
            with contextlib.suppress(AtomSyncError, OSError):
                unit.rollback()
            raise
        finally:
            origin.cursor.close()


# -- layers


def cuts_of_prepare(trial: Trial, *, every: int, samples: int, seed: int = 0) -> None:
    """Killed, and cut, before verbs of ``prepare``, and behind the last: before it returned nothing is to be
    seen of the unit, and without a coordinator nothing is left of it; from then on it is there."""
    rng = random.Random(seed)
    for moment in trial.preparing[seed % every :: every] + trial.preparing[-1:]:
        trial.judge(moment.disk.copy(), moment.where, moment.allowed)
        for keep, lost in moment.disk.crash_states(rng, samples):
            disk, where = moment.disk.crash(keep, lost), f"cut {moment.where}, left {sorted(keep)}"
            # Before prepare returned the stage need not be whole: nobody may say commit yet.
            trial.judge(
                disk, where, moment.allowed, decisions=(COMMIT, ROLL_BACK) if moment.done else (ROLL_BACK,)
            )


def kills_in_parts(trial: Trial, act: Act, *, every: int) -> None:
    """Killed in the middle of a write, or between two system calls of one verb."""
    for index, moment in enumerate(trial.moments(act)):
        for done in _IN_PARTS.get(moment.verb, ())[: 2 if index % every == 0 else 0]:
            disk = trial.rested.copy()
            disk.hook = kill_at(index, done)
            with contextlib.suppress(Killed):
                act.deed(trial.world.on(disk), trial.id)
            trial.judge(disk.copy(), f"{done} in: {moment.where}", act.cut)


def cuts_of(trial: Trial, act: Act, *, every: int, samples: int, seed: int = 0) -> None:
    """Killed, and cut, before verbs of a decision, and behind the last. Once a cut that loses all it can ends
    as it was meant, no later crash may end otherwise."""
    rng = random.Random(seed)
    decided = False
    for moment in trial.moments(act)[seed % every :: every] + trial.moments(act)[-1:]:
        decided = (
            trial.judge(moment.disk.crash(), f"all lost, {moment.where}", moment.allowed) == act.meant
            or decided
        )
        allowed = (act.meant,) if decided else moment.allowed
        after = moment.disk.copy()
        trial.judge(after, moment.where, allowed)
        for keep, lost in moment.disk.crash_states(rng, samples):
            trial.judge(moment.disk.crash(keep, lost), f"cut {moment.where}, left {sorted(keep)}", allowed)


def double_crashes(trial: Trial, act: Act, *, every: int, inner: int, samples: int, seed: int = 0) -> None:
    """Killed or cut before verbs of a decision; the recovery is killed and cut before verbs of its own, and
    the power fails behind its end."""
    rng = random.Random(seed)
    for moment in trial.moments(act)[seed % every :: every] + trial.moments(act)[-2:]:
        cuts = [moment.disk.crash(*choice) for choice in moment.disk.crash_states(rng, samples)]
        for start in [moment.disk.copy(), *cuts]:
            found = trial.judge(start.copy(), moment.where, moment.allowed)
            recovering = trial.record(start, lambda world: world.recover(), (), ())
            for inside in recovering[rng.randrange(inner) :: inner] + recovering[-1:]:
                where = f"{moment.where}; in recovery {inside.where}"
                # What only the page cache held may be lost until the recovery has come to its end.
                is_sure = inside.done or not start.pending
                allowed = (found,) if is_sure and found != RESTS else moment.allowed
                trial.judge(inside.disk.copy(), where, allowed)
                for keep, lost in inside.disk.crash_states(rng, samples):
                    trial.judge(inside.disk.crash(keep, lost), f"{where}, cut, left {sorted(keep)}", allowed)


def errors_of_prepare(trial: Trial, *, every: int, numbers: Sequence[int] = ERRNOS) -> None:
    """A verb of ``prepare`` fails, once or from then on: told in our own words, and nothing rests."""
    for index, moment in enumerate(trial.preparing[:-1]):
        if index % every:
            continue
        for number in numbers:
            for sticky in (False, True):
                disk = trial.world.sim.copy()
                disk.hook = fail_at(index, number, sticky)
                where = f"{errno.errorcode[number]}{' for ever' * sticky} {moment.where}"
                unit: list[UnitOfWork] = []
                error = trial.attempt(
                    lambda world, unit=unit: unit.append(prepare(world, trial.coordinator)[0]), disk, where
                )
                disk.hook = None
                # What could not even be taken away may rest; its coordinator was never told of it.
                failed = (OLD, RESTS) if sticky else (OLD,)
                trial.judge(disk.copy(), where, failed if error else trial.resting)
                for keep in ((), range(len(disk.pending))):
                    kept = failed if keep else (OLD, RESTS)
                    trial.judge(
                        disk.crash(keep),
                        f"{where}, then a cut",
                        kept if error else trial.resting,
                        decisions=(ROLL_BACK,) if error else (COMMIT, ROLL_BACK),
                    )
                for left in unit:
                    left.close()


def errors_of(trial: Trial, act: Act, *, every: int, numbers: Sequence[int] = ERRNOS) -> None:
    """A verb of a decision fails, once or from then on: told in our own words; the same process, one that
    comes after it, and one after a power cut, can carry out the same decision."""
    for index, moment in enumerate(trial.moments(act)[:-1]):
        if index % every:
            continue
        for number in numbers:
            for sticky in (False, True):
                for done in (0, *_IN_PARTS.get(moment.verb, ())[:1]):
                    disk = trial.rested.copy()
                    disk.hook = fail_at(index, number, sticky, done)
                    where = f"{errno.errorcode[number]}{' for ever' * sticky} {moment.where}"
                    trial.judge_failure(act, disk, where)


def failed_syncs_of(trial: Trial, act: Act, *, samples: int, seed: int = 0) -> None:
    """One fsync or syncfs of a decision fails and its pages are lost; then the power fails at once, or
    behind a recovery that ran on the page cache, or behind the same decision said again."""
    rng = random.Random(seed)
    syncs = sum(moment.verb in ("fsync", "syncfs") for moment in trial.moments(act))
    for nth in range(syncs):
        disk = trial.rested.copy()
        disk.hook = fail_sync_at(nth)
        where = f"sync {nth} failed"
        error = trial.attempt(lambda world: act.deed(world, trial.id), disk, where)
        disk.hook = None
        allowed = act.cut if error else (act.meant,)
        recovered, again = disk.copy(), disk.copy()
        found = trial.judge(recovered, where, allowed)
        with contextlib.suppress(UsageError):
            act.deed(trial.world.on(again), trial.id)
        starts = [(disk, where, allowed), (again, f"{where}, said again", (act.meant,))]
        if found in (OLD, NEW):
            starts.append((recovered, f"{where}, recovered", (found,)))
        for start, what, may_be in starts:
            for keep, lost in start.crash_states(rng, samples):
                trial.judge(start.crash(keep, lost), f"{what}, cut, left {sorted(keep)}", may_be)


def decided_around(trial: Trial, act: Act, rng: random.Random, *, moments: int, samples: int) -> None:
    """A little of everything at a few random moments of a decision: a kill, cuts, a crash of the recovery."""
    last = trial.moments(act)[-1]
    for moment in [last, *rng.sample(trial.moments(act), min(moments, len(trial.moments(act))))]:
        trial.judge(moment.disk.copy(), moment.where, moment.allowed)
        for keep, lost in moment.disk.crash_states(rng, samples):
            start, where = moment.disk.crash(keep, lost), f"cut {moment.where}, left {sorted(keep)}"
            found = trial.judge(start.copy(), where, moment.allowed)
            inside = rng.choice(trial.record(start, lambda world: world.recover(), (), ()))
            allowed = (found,) if found in (OLD, NEW) else moment.allowed
            trial.judge(inside.disk.copy(), f"{where}; in recovery {inside.where}", allowed)
            trial.judge(inside.disk.crash(), f"{where}; in recovery, all lost, {inside.where}", allowed)


def kills_without_durability(trial: Trial, act: Act) -> None:
    """Without barriers a power cut is not survived, but a kill before any verb is."""
    for moment in trial.record(
        trial.rested, lambda world: _without_barriers(world, act, trial.id), act.cut, (act.meant,)
    ):
        trial.judge(moment.disk.copy(), moment.where, moment.allowed)


def _without_barriers(world: World, act: Act, unit_id: str) -> object:
    store = world.store(durability="none")
    return store.commit_prepared(unit_id) if act.meant == NEW else store.rollback_prepared(unit_id)


EDITED = Dir(
    {
        "replaced": File(b"old"),
        "dir": Dir({"kept": File(b"kept")}),
        "gone": File(b"gone"),
        "meta": File(b"meta", 0o600, T),
    }
)
FORWARD = Dir(
    {
        "replaced": File(b"new"),
        "made": File(b"made"),
        "made-dir": Dir({"inside": File(b"inside")}),
        "meta": File(b"meta", 0o640, T),
    }
)
THEIRS = {b"theirs %d" % number for number in range(6)}


def edited(world: World) -> World:
    """``EDITED``, at which a unit that makes it ``FORWARD`` rests, and somebody has been at every path of it;
    all of that on the medium."""
    prepare(world)[0].close()
    world.save("replaced", b"theirs 0")
    world.create("made", b"theirs 1")
    with world.place("made-dir") as (at, name):
        world.disk.mkdir(at, name)
    world.create("made-dir/in the way", b"theirs 2")
    world.create("dir/added", b"theirs 3")
    world.save("gone", b"theirs 4")
    world.save("meta", b"theirs 5")
    return world.on(world.sim.crash(range(len(world.sim.pending))))


def cuts_where_others_were(
    world: World, outcome: Outcome, *, every: int, samples: int, inner: int, seed: int = 0
) -> None:
    """Killed and cut in the commit of a unit whose paths others have taken meanwhile, and in the recovery of
    that: the new versions are there, and nothing of theirs is lost."""
    rng = random.Random(seed)
    for disk, where in _crashes(edited(world), _decide_all, every, samples, rng):
        _judge_kept(world.on(disk.copy()), outcome, where)
        for again, inside in _crashes(world.on(disk), _decide_all, inner, 1, rng):
            _judge_kept(world.on(again), outcome, f"{where}; in recovery {inside}")


def _decide_all(world: World) -> None:
    world.recover(resolver=lambda _: True)


def _crashes(
    world: World, deed: Callable[[World], object], every: int, samples: int, rng: random.Random
) -> Iterator[tuple[SimDisk, str]]:
    """The disk after a kill, and some power cuts, before verbs of ``deed`` and behind the last."""
    found: list[tuple[SimDisk, str]] = []
    disk = world.sim.copy()
    disk.hook = lambda index, verb, names: found.append((disk.copy(), f"{index}: {verb} {' '.join(names)}"))
    deed(world.on(disk))
    for left, where in [*found[rng.randrange(every) :: every], (disk.copy(), "the end")]:
        yield left.copy(), f"before {where}"
        for keep, lost in left.crash_states(rng, samples):
            yield left.crash(keep, lost), f"cut before {where}, left {sorted(keep)}"


def _judge_kept(after: World, outcome: Outcome, where: str) -> None:
    wrong = []
    try:
        _decide_all(after)
        wrong += [f"{data!r} is lost" for data in THEIRS - after.all_contents()]
        now = {
            path: after.entry(path) and after.content(path) for path in ("replaced", "made", "gone", "meta")
        }
        if now != {"replaced": b"new", "made": b"made", "gone": b"theirs 4", "meta": b"theirs 5"}:
            wrong.append(f"not as it should be: {now}")
        if after.entry("dir") is not None or after.content("made-dir/inside") != b"inside":
            wrong.append("a directory is not as it should be")
        again = after.recover()
        if again.action != CLEAN or again.settled or after.control_names("prepared"):
            wrong.append(f"the second recovery found something to do: {again}")
    except Exception as error:
        wrong.append(f"recovery failed: {error!r}")
    outcome.judged("kept", *[f"{said} ({where})" for said in wrong])


# -- within


class _Moment(NamedTuple):
    verb: str
    where: str
    disk: SimDisk
    allowed: Sequence[str]
    done: bool = False


class Trial:
    """One prepared unit, and the judge of all that may come of it."""

    def __init__(self, world: World, outcome: Outcome, coordinator: str = SOMEBODY) -> None:
        self.world, self.outcome, self.coordinator = world, outcome, coordinator
        self.old = look(world)
        self.resting: Sequence[str] = (RESTS,) if coordinator else (OLD,)
        unfinished = (OLD, RESTS) if coordinator else (OLD,)
        self.preparing = self.record(world.sim, self._prepared, unfinished, self.resting)
        self.rested = self.preparing[-1].disk
        (resting,) = world.on(self.rested.copy()).store().prepared()
        self.id = resting.id
        done = world.on(self.rested.copy())
        done.store().commit_prepared(self.id)
        self.new = look(done)
        self._moments: dict[str, list[_Moment]] = {}
        if done.tree(owners=True) != world.tree("src", owners=True):
            self.judged("failed", "the unit made something else than the source holds")

    def _prepared(self, world: World) -> UnitOfWork:
        return prepare(world, self.coordinator)[0]

    def moments(self, act: Act) -> list[_Moment]:
        if act.name not in self._moments:
            deed: Callable[[World], object] = lambda world: act.deed(world, self.id)  # noqa: E731
            self._moments[act.name] = self.record(self.rested, deed, act.cut, (act.meant,))
        return self._moments[act.name]

    def record(
        self, start: SimDisk, deed: Callable[[World], object], cut: Sequence[str], done: Sequence[str]
    ) -> list[_Moment]:
        """The disk before each verb of ``deed``, and after the last; ``start`` stays as it is."""
        disk = start.copy()
        found: list[_Moment] = []

        def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
            found.append(_Moment(verb, f"before {index}: {verb} {' '.join(names)}", disk.copy(), cut))

        disk.hook = hook
        left = deed(self.world.on(disk))
        found.append(_Moment("", "after the last verb", disk.copy(), done, True))
        disk.hook = None
        if isinstance(left, UnitOfWork):
            left.close()
        return found

    def attempt(self, deed: Callable[[World], object], disk: SimDisk, where: str) -> Exception | None:
        """The error it ended with; one that is not the product's own is a violation."""
        try:
            deed(self.world.on(disk))
        except AtomSyncError as error:
            return error
        except Exception as error:
            self.judged("raw", f"{error!r} came through ({where})")
            return error
        return None

    def judge_failure(self, act: Act, disk: SimDisk, where: str) -> None:
        error = self.attempt(lambda world: act.deed(world, self.id), disk, where)
        disk.hook = None
        allowed = act.cut if error else (act.meant,)
        self.judge(disk.copy(), where, allowed)
        for keep in ((), range(len(disk.pending))):
            self.judge(disk.crash(keep), f"{where}, then a cut", allowed)
        try:
            with contextlib.suppress(UsageError):  # of a unit that is gone, to which it was said before
                act.deed(self.world.on(disk), self.id)
        except Exception as again:
            self.judged("failed", f"said again: {again!r} ({where})")
        else:
            self.judge(disk, f"{where}, said again", (act.meant,))

    def judge(
        self,
        disk: SimDisk,
        where: str,
        allowed: Sequence[str],
        decisions: Sequence[Act] = (COMMIT, ROLL_BACK),
    ) -> str:
        """Recover this disk, which was found after a crash; returns whether it is old, new, or rests."""
        after = self.world.on(disk)
        wrong = self._torn(look(after))
        what = "refused"
        try:
            conflicts = after.recover().conflicts
            now = look(after)
            what, more = verdict(now, self.old, self.new)
            wrong += more
            listed = [unit.id for unit in after.store().prepared()]
            if listed and what == OLD:
                what = RESTS
            elif listed:
                wrong.append(f"P3: {listed} rests, and the tree is {what}")
            if what not in allowed:
                wrong.append(f"P3: {what}, where only {allowed} may be")
            if conflicts:
                wrong.append(f"P6: a conflict with nobody: {conflicts}")
            again = after.recover()
            if again.action != CLEAN or again.settled or look(after) != now:
                wrong.append(f"P4: the second recovery found something to do: {again}")
            wrong += self._gone(disk)
            if what == RESTS:
                wrong += [said for act in decisions for said in self._decided(disk.copy(), act, listed[0])]
            else:
                wrong += self._left(after)
        except Exception as error:
            wrong.append(f"recovery failed: {error!r}")
        self.judged(what, *[f"{said} ({where})" for said in wrong])
        return what

    def _decided(self, disk: SimDisk, act: Act, unit_id: str) -> Iterator[str]:
        """What is wrong when a unit that rests is decided about now."""
        after = self.world.on(disk)
        try:
            act.deed(after, unit_id)
        except Exception as error:
            yield f"P3: {act.name} of a unit that rests: {error!r}"
            return
        what, wrong = verdict(look(after), self.old, self.new)
        yield from wrong
        if what != act.meant:
            yield f"P3: {act.name} of a unit that rests made it {what}"
        fates = (COMMITTED,) if act.meant == NEW else (ROLLED_BACK, FORGOTTEN)
        if (fate := after.store().fate(unit_id)) not in fates:
            yield f"P3: {act.name} of a unit that rests, and its fate is {fate}"
        again = after.recover()
        if again.action != CLEAN or again.settled:
            yield f"P4: {act.name} left something to recover: {again}"
        yield from self._left(after)
        yield from self._gone(disk)

    def _torn(self, now: Tree) -> list[str]:
        found = torn(now, self.old, self.new)
        if not self.world.sim.exchanges_names:  # a directory that gives way is then missing for one call
            found = [said for said in found if "missing" not in said]
        return found

    def _left(self, after: World) -> list[str]:
        found = ["P6: an unfinished unit is left"] if "unit" in after.control_names() else []
        return found + [f"P6: {name}/ is not empty" for name in _LITTER if after.control_names(name)]

    def _gone(self, disk: SimDisk) -> list[str]:
        gone = [path for path, seen in self.old.items() if seen.ino not in disk.state]
        return [f"P5: the inode that was at {path!r} is gone" for path in gone[:3]]

    def judged(self, what: str, *wrong: str) -> None:
        self.outcome.judged(what, *wrong)


# -- on a real disk


class Cut(NamedTuple):
    """How a child ended that prepared a unit and decided to commit it: whether it was ``killed`` or came
    through, and whether ``prepare`` had returned by then."""

    killed: bool
    prepared: bool


def killed_for_real(world: World, at: int) -> Cut:
    """In a child on the real disk: prepare, commit; SIGKILL before verb ``at``."""

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index == at:
            os.kill(os.getpid(), signal.SIGKILL)

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            here = world.on(HookedDisk(hook))
            _, resting = prepare(here)
            os.write(writing, resting.id.encode())
            here.store().commit_prepared(resting.id)
            os._exit(_THROUGH)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        said = os.read(reading, 100)
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (_THROUGH, -signal.SIGKILL), f"exit status {status}, killed at verb {at}"
    return Cut(status != _THROUGH, bool(said))


def judge_for_real(outcome: Outcome, world: World, cut: Cut, old: Tree, answer: bool, where: str) -> None:
    """Recover with a resolver that gives this answer, and judge with what shares no code with the product."""
    new = judge.look(world.src)
    asked: list[PreparedUnit] = []

    def resolver(unit: PreparedUnit) -> bool:
        asked.append(unit)
        return answer

    wrong = torn(judge.look(world.dst), old, new)
    found = world.recover(resolver=resolver)
    what, more = verdict(judge.look(world.dst), old, new)
    wrong += more + judge.left_behind(world.dst)
    wrong += [f"P6: {name}/ is not empty" for name in ("pending", "prepared") if world.control_names(name)]
    if any(unit.live or unit.coordinator != SOMEBODY for unit in asked):
        wrong.append(f"the resolver was asked about {asked}")
    if asked and what != (NEW if answer else OLD):
        wrong.append(f"P3: the resolver said {answer}, the tree is {what}")
    if not asked and what != (NEW if cut.prepared else OLD):
        wrong.append(f"P3: nobody was asked, prepared: {cut.prepared}, the tree is {what}")
    if found.conflicts or world.recover(resolver=resolver).action != CLEAN:
        wrong.append(f"P4: {found}, and a second recovery found something to do")
    outcome.judged(what, *[f"{said} ({where})" for said in wrong])
