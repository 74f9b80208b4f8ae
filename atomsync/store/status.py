"""How a store stands: looked at without its lock, and without changing anything."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from atomsync.errors import JournalError
from atomsync.store.abandoned import has_abandoned
from atomsync.store.commit import counts
from atomsync.store.control import CONFLICTS, GIVEN_UP, HISTORY, PREPARED, UNIT, Control
from atomsync.store.history import name_of_commit, read_journal, units
from atomsync.store.prepared import PreparedUnit, prepared_units

RESTING, COMMITTED, ROLLED_BACK, FORGOTTEN = "resting", "committed", "rolled back", "forgotten"
BEING_STAGED = "a unit that was still being staged; recovery will discard it"


class UnitSummary(NamedTuple):
    """A finished unit, as ``status`` shows it."""

    unit_id: str
    made_ns: int
    created: int
    updated: int
    removed: int


class Status(NamedTuple):
    """``last`` is the newest finished unit; ``unfinished`` says what is left of a crash, "" if nothing;
    ``holder`` names who has the lock, "" if nobody; ``conflicts`` are units that left foreign objects;
    ``prepared`` are those that rest."""

    exists: bool
    last: UnitSummary | None
    unfinished: str
    holder: str
    conflicts: tuple[str, ...]
    prepared: tuple[PreparedUnit, ...] = ()


NOTHING = Status(False, None, "", "", ())


def status_of(control: Control) -> Status:
    control.claim(make=False)
    holder = control.holder()
    unfinished = "" if holder else _unfinished(control)
    if unfinished:  # or has somebody begun a commit since we asked?
        holder = control.holder()
    conflicts, prepared = tuple(control.names(CONFLICTS)), tuple(prepared_units(control))
    return Status(True, _summary(control), "" if holder else unfinished, holder, conflicts, prepared)


def fate_of(control: Control, unit_id: str, keep: int) -> str:
    """RESTING, COMMITTED, ROLLED_BACK or FORGOTTEN, where ``keep`` units are kept."""
    known = units(control)
    if unit_id in control.names(PREPARED):
        return RESTING
    if unit_id in known or unit_id == _unit_at_hand(control):
        return COMMITTED
    whole = len(known) < keep and not control.has(GIVEN_UP)
    if not known:
        return ROLLED_BACK if whole else FORGOTTEN
    # What was given up was committed before all that is known; and named before it was committed.
    oldest = min(known) if whole else name_of_commit(control, known[0])
    return ROLLED_BACK if unit_id > oldest else FORGOTTEN


def coordinators_of(control: Control) -> frozenset[str]:
    """Of the prepared units in the history."""
    found = set()
    for unit_id in units(control):
        with contextlib.suppress(JournalError, FileNotFoundError):
            found.add(read_journal(control, HISTORY, unit_id).header.coordinator or "")
    return frozenset(found - {""})


def _unit_at_hand(control: Control) -> str:
    """The id of the unit whose commit was begun, "" if none was."""
    try:
        return read_journal(control, UNIT).header.id
    except (FileNotFoundError, JournalError):
        return ""


def _summary(control: Control) -> UnitSummary | None:
    for unit_id in reversed(units(control)):
        try:
            journal = read_journal(control, HISTORY, unit_id)
        except (JournalError, FileNotFoundError):
            continue
        return UnitSummary(unit_id, journal.header.made_ns, *counts(journal.steps))
    return None


def _unfinished(control: Control) -> str:
    if not control.has(UNIT):
        return BEING_STAGED if has_abandoned(control) else ""
    try:
        journal = read_journal(control, UNIT)
    except FileNotFoundError:
        return BEING_STAGED
    except JournalError as error:
        return f"a unit whose journal cannot be trusted: {error.why}"
    if journal.committed:
        return f"unit {journal.header.id}, committed; recovery will clean up"
    if journal.header.coordinator is not None:
        return f"unit {journal.header.id}, prepared and decided; recovery will finish its commit"
    return f"unit {journal.header.id}, cut during its commit; recovery will roll it back"
