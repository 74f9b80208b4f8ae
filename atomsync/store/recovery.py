"""(2) What a crash left: finished, undone, or refused.

It asks which object is where (``undo.decide``), writes its decision to a fresh synced file before it
destroys anything, and can itself be cut at any point: recovery of a recovery is just recovery.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from atomsync.errors import JournalError, from_oserror
from atomsync.plan.step import CREATE, REPLACE
from atomsync.store.abandoned import discard_abandoned
from atomsync.store.barrier import swaps_are_durable
from atomsync.store.conflicts import Conflict
from atomsync.store.control import JOURNAL, MAKING, PROBE, RETIRED, SLOTS, UNIT, Control
from atomsync.store.decision import ABORT, COMMIT, read_decision, write_decision
from atomsync.store.forward import roll_forward
from atomsync.store.history import read_journal, retire_to_history
from atomsync.store.journal import Journal
from atomsync.store.letting_go import let_go
from atomsync.store.options import FULL
from atomsync.store.prepared import Resolver, Settled, settle_prepared
from atomsync.store.removal import remove_tree
from atomsync.store.retention import empty_retired
from atomsync.store.seal import look_at
from atomsync.store.undo import roll_back
from atomsync.store.waste import remove_view, retire_as_waste
from atomsync.tree.entry import same_object
from atomsync.tree.path import shown

CLEAN, DISCARDED, ROLLED_BACK, FINISHED = "clean", "discarded", "rolled back", "finished"
UNFINISHED = "unfinished"


STAGED = "it was still being staged; nothing of it was visible"


class Recovery(NamedTuple):
    """What recovery found and did. ``action`` is one of the words above; a dry
    run does nothing, and only says UNFINISHED. ``settled`` are prepared units that came to an end with it."""

    action: str
    unit_id: str = ""
    why: str = ""
    conflicts: tuple[Conflict, ...] = ()
    settled: tuple[Settled, ...] = ()


def recover(control: Control, resolver: Resolver | None = None, *, but: str = "") -> Recovery:
    """Leave no unfinished unit, and no prepared one that can be decided about. Needs the lock.

    ``but`` is a prepared unit that the caller is about to decide about. Raises JournalError and touches
    nothing if in doubt, and whatever ``resolver`` raises.
    """
    if control.at == control.where and control.has(MAKING):  # else its maker is at work
        settle_in(control, durable=True)
    remove_tree(control.disk, control.fd, PROBE)
    remove_view(control)
    found = _recover(control)
    if discard_abandoned(control) and found.action == CLEAN:
        found = Recovery(DISCARDED, "", STAGED)
    settled, conflicts = settle_prepared(control, resolver, but=but)
    if control.names(RETIRED):
        empty_retired(control)
    return found._replace(settled=tuple(settled), conflicts=(*found.conflicts, *conflicts))


def settle_in(control: Control, *, durable: bool) -> None:
    """A destination that was made beside its place has its name for good; so its mark goes."""
    disk = control.disk
    if durable:
        try:
            above = disk.open_dir(control.root, "..")
        except PermissionError:  # it may not be read any more
            disk.syncfs(control.root)
        else:
            try:
                disk.fsync(above)
            finally:
                disk.close(above)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(control.fd, MAKING)


def _recover(control: Control) -> Recovery:
    if not control.has(UNIT):
        return Recovery(CLEAN)
    if not control.has(UNIT, JOURNAL):
        retire_as_waste(control, UNIT)
        return Recovery(DISCARDED, "", STAGED)
    try:
        journal = read_journal(control, UNIT)
    except JournalError as error:
        error.what = f"{error.what} in {shown(control.where)}"
        raise
    try:
        return _decide(control, journal)
    except OSError as error:
        told = from_oserror(error, f"cannot recover unit {journal.header.id}")
        told.hint = f"Mend the cause, then run: atomsync recover {shown(control.where)}"
        raise told from None


def _decide(control: Control, journal: Journal) -> Recovery:
    unit_id = journal.header.id
    conflicts: list[Conflict] = []
    with control.opened(UNIT) as unit:
        decision = read_decision(control, unit, unit_id)
        prepared = journal.header.coordinator is not None
        if not control.has(UNIT, SLOTS) and not (prepared and decision == COMMIT):
            _nothing_was_swapped(control, journal, decision)
            decision = decision or ABORT
        else:
            with control.opened(UNIT, SLOTS) as slots:
                decision = decision or (COMMIT if journal.committed else ABORT)
                if decision == ABORT:
                    conflicts = roll_back(control, slots, unit_id, journal.steps)
                elif prepared:  # it decides, so it comes first
                    write_decision(control, unit, unit_id, decision, durable=True)
                    conflicts, _ = roll_forward(control, slots, unit_id, journal.steps)
                swaps_are_durable(control, slots, journal.steps, FULL)
                # Afresh also where one can be read: the sync of that one may have failed.
                write_decision(control, unit, unit_id, decision, durable=True)
    if decision == COMMIT:
        let_go(control, journal.header, journal.steps)
        retire_to_history(control, unit_id)
        why = "it was committed; only cleaning up was left"
        if prepared:
            why = "it was prepared, and decided about; its commit was cut"
        return Recovery(FINISHED, unit_id, why, tuple(conflicts))
    retire_as_waste(control, UNIT)
    return Recovery(ROLLED_BACK, unit_id, "it was cut before its commit point", tuple(conflicts))


def _nothing_was_swapped(control: Control, journal: Journal, decision: str | None) -> None:
    """Slots are durable before the first swap and until a decision is. So without them either nothing
    was swapped yet, or all is decided; anything else is somebody's doing, and needs a person."""
    if decision is not None:
        return
    for step in journal.steps:
        now = look_at(control.tree, step.path) if step.kind in (CREATE, REPLACE) else None
        if journal.committed or (now is not None and step.new is not None and same_object(step.new, now)):
            raise JournalError(
                f"cannot recover unit {journal.header.id} in {shown(control.where)}",
                f"{shown(step.path)} was already swapped, but the old versions are gone from unit/slots",
                "Nothing was touched. docs/recovery.md says how to look at it and what to do.",
            )
