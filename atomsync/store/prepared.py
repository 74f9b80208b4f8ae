"""Prepared units: sealed, and resting until another party has decided (two-phase commit).

A unit rests as ``prepared/<unit id>/`` with its journal and its stage, all of it durable, and the paths it
would change are held: another unit that would touch them is refused. A decision to commit is written into
that directory and synced before anything is swapped; from then on there is only forward (``forward``).

The process that prepared a unit keeps its directory locked. Once it is gone, recovery asks the store's
resolver; without one the unit is presumed aborted, unless it names a coordinator: then it rests on until
somebody who can ask that one comes along.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from atomsync.errors import HeldByPrepared, InDoubt, JournalError, ResolverFailed
from atomsync.plan.step import META, Step
from atomsync.store.abandoned import try_lock
from atomsync.store.barrier import swaps_are_durable
from atomsync.store.commit import counts
from atomsync.store.conflicts import Conflict
from atomsync.store.control import JOURNAL, PREPARED, SLOTS, UNIT, Control
from atomsync.store.decision import COMMIT, read_decision, write_decision
from atomsync.store.forward import roll_forward
from atomsync.store.history import new_id, read_journal, retire_to_history
from atomsync.store.journal import Header, Journal
from atomsync.store.options import FULL, NONE
from atomsync.store.removal import remove_tree
from atomsync.tree.path import ancestors, shown


class PreparedUnit(NamedTuple):
    """A unit that rests sealed. ``coordinator`` says who decides, "" if it is whoever prepared it;
    ``live``: the process that prepared it still holds it. ``made_ns``: when it was prepared."""

    id: str
    coordinator: str
    message: str
    made_ns: int
    created: int
    updated: int
    removed: int
    live: bool

    @classmethod
    def of(cls, header: Header, steps: tuple[Step, ...], *, live: bool) -> PreparedUnit:
        coordinator = header.coordinator or ""
        return cls(header.id, coordinator, header.message, header.made_ns, *counts(steps), live)


class Settled(NamedTuple):
    """A prepared unit that recovery decided about, or whose decision it carried out."""

    unit_id: str
    committed: bool


Resolver = Callable[[PreparedUnit], bool | None]
"""Told of a prepared unit whose process is gone: True to commit it, False to roll it back, None to let it
rest. It is called under the store's lock: it must not use the same store."""


def prepared_units(control: Control) -> list[PreparedUnit]:
    """Those that rest, oldest first. Only looks."""
    found = []
    for unit_id in control.names(PREPARED):
        try:
            journal = _journal(control, unit_id)
            with control.opened(PREPARED, unit_id) as unit:
                live = not try_lock(control.disk, unit, alone=True)
        except FileNotFoundError:
            continue  # decided meanwhile
        found.append(PreparedUnit.of(*journal[:2], live=live))
    return found


class Held(NamedTuple):
    """The paths a prepared unit holds: those it swaps, those of which it changes mode or time, and what is
    above any of them; and who decides."""

    coordinator: str
    swapped: frozenset[str]
    changed: frozenset[str]
    above: frozenset[str]

    def holds(self, step: Step) -> bool:
        path = step.path
        if path in self.changed or not self.swapped.isdisjoint([path, *ancestors(path)]):
            return True
        return step.kind != META and path in self.above


def some_are_undecided(control: Control, known: dict[str, Held], *, asked: bool) -> bool:
    """Whether recovery would have something to do; ``asked``: it has a resolver to ask. Only looks."""
    return any(not _rests(control, unit_id, known, asked=asked) for unit_id in control.names(PREPARED))


def _rests(control: Control, unit_id: str, known: dict[str, Held], *, asked: bool) -> bool:
    with contextlib.suppress(FileNotFoundError), control.opened(PREPARED, unit_id) as unit:
        if not try_lock(control.disk, unit, alone=True):
            return True
        if not control.has(PREPARED, unit_id, JOURNAL) or read_decision(control, unit, unit_id) == COMMIT:
            return False
        return not asked and bool(_held(control, unit_id, known).coordinator)
    return True


def check_not_held(
    control: Control, steps: Iterable[Step], known: dict[str, Held], *, dry: bool = False
) -> None:
    """HeldByPrepared if ``steps`` would touch what a prepared unit is to change, or where it is to do so.

    ``known`` keeps what was read of their journals, which never change. A ``dry`` run passes over those that
    a real one would give up first.
    """
    names = control.names(PREPARED)
    for forgotten in known.keys() - names:
        known.pop(forgotten, None)
    if dry:
        names = [unit_id for unit_id in names if _rests(control, unit_id, known, asked=False)]
    if not names:
        return
    mine = [step for step in steps if step.kind != META or step.new is not None]
    for unit_id in names:
        try:
            held = _held(control, unit_id, known)
        except FileNotFoundError:
            continue  # a rollback that was cut: it is decided
        paths = [step.path for step in mine if held.holds(step)]
        if paths:
            error = HeldByPrepared(
                f"cannot change {shown(paths[0])}",
                f"prepared unit {unit_id} is to change it, or something in or above it",
                "Decide about that one first: atomsync recover --commit "
                f"{unit_id} {shown(control.where)}, or --rollback",
            )
            error.path, error.also = paths[0], tuple(paths[1:])
            raise error


def _held(control: Control, unit_id: str, known: dict[str, Held]) -> Held:
    if unit_id in known:
        return known[unit_id]
    journal = _journal(control, unit_id)
    swapped, changed = set(), set()
    for step in journal.steps:
        if step.kind != META:
            swapped.add(step.path)
        elif step.new is not None:
            changed.add(step.path)
    above = {parent for path in swapped | changed for parent in ancestors(path)}
    coordinator = journal.header.coordinator or ""
    known[unit_id] = Held(coordinator, frozenset(swapped), frozenset(changed), frozenset(above))
    return known[unit_id]


def check_prepared(control: Control, unit_id: str) -> None:
    """JournalError if a prepared unit is not what it says: then it is not for us to delete."""
    with contextlib.suppress(FileNotFoundError):
        _journal(control, unit_id)


def _journal(control: Control, unit_id: str) -> Journal:
    journal = read_journal(control, PREPARED, unit_id)
    if journal.header.id != unit_id or journal.header.coordinator is None:
        raise JournalError(
            f"cannot trust prepared unit {shown(unit_id)} in {shown(control.where)}",
            f"its journal is that of unit {journal.header.id}",
            "Nothing was touched. docs/recovery.md says how to look at it and what to do.",
        )
    return journal


def settle_prepared(
    control: Control, resolver: Resolver | None, *, but: str = ""
) -> tuple[list[Settled], list[Conflict]]:
    """Decide about units whose process is gone, and finish what was decided; ``but`` is left as it is."""
    settled: list[Settled] = []
    conflicts: list[Conflict] = []
    for unit_id in control.names(PREPARED):
        with control.opened(PREPARED, unit_id) as unit:
            verdict = _verdict(control, unit, unit_id, resolver, asked=unit_id != but)
        if verdict is not None:
            if verdict:
                conflicts += commit_prepared(control, unit_id, durability=FULL)[0]
            else:
                discard_prepared(control, unit_id, durability=FULL)
            settled.append(Settled(unit_id, verdict))
    return settled, conflicts


def _verdict(
    control: Control, unit: int, unit_id: str, resolver: Resolver | None, *, asked: bool
) -> bool | None:
    if not control.has(PREPARED, unit_id, JOURNAL):
        return False if try_lock(control.disk, unit, alone=True) else None  # a rollback that was cut
    if read_decision(control, unit, unit_id) == COMMIT:
        return True
    if not asked or not try_lock(control.disk, unit, alone=True):
        return None
    journal = _journal(control, unit_id)
    if resolver is not None:
        try:
            return resolver(PreparedUnit.of(*journal[:2], live=False))
        except OSError as error:  # not to be taken for one of this disk's
            raise ResolverFailed(
                f"cannot decide about prepared unit {unit_id}", f"the resolver failed: {error!r}"
            ) from error
    return None if journal.header.coordinator else False


def commit_prepared(
    control: Control, unit_id: str, *, durability: str
) -> tuple[list[Conflict], float, Journal]:
    """Take a prepared unit to its end: ``(what was in the way, mixed window in ms, its journal)``.

    Once the decision is durable an OSError means InDoubt: recovery goes on from there. Needs the lock.
    """
    journal = _journal(control, unit_id)
    with control.opened(PREPARED, unit_id) as unit:
        # Afresh also where one can be read: the sync of that one may have failed.
        now = new_id(control, time.time_ns())
        write_decision(control, unit, unit_id, COMMIT, durable=durability != NONE, at=now)
    try:
        with control.opened(PREPARED) as prepared:
            control.disk.replace(prepared, unit_id, control.fd, UNIT)
        with control.opened(UNIT, SLOTS) as slots:
            conflicts, window_ms = roll_forward(control, slots, unit_id, journal.steps)
            swaps_are_durable(control, slots, journal.steps, durability)
        retire_to_history(control, unit_id)
    except OSError as error:
        raise InDoubt(
            f"prepared unit {unit_id} is decided, but its commit stopped half way",
            error.strerror or str(error),
            f"Every path is whole. When the cause is mended run: atomsync recover {shown(control.where)}",
        ) from None
    return conflicts, window_ms, journal


def discard_prepared(control: Control, unit_id: str, *, durability: str) -> None:
    """Roll a prepared unit back: nothing of it was ever visible. Without its journal it means nothing."""
    with control.opened(PREPARED) as prepared:
        with control.opened(PREPARED, unit_id) as unit:
            with contextlib.suppress(FileNotFoundError):
                control.disk.unlink(unit, JOURNAL)
            if durability != NONE:
                control.disk.fsync(unit)
        remove_tree(control.disk, prepared, unit_id)
