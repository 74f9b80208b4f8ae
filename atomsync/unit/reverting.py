"""Undo and restore: a unit like any other, that gives paths what they held before.

It has the store for itself from its first look, so no other unit comes between. What it displaces is in
the history, as ever: so it can be undone itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from atomsync.errors import GuardTripped, UsageError
from atomsync.plan.change import Change
from atomsync.store.commit import Receipt
from atomsync.store.control import Control
from atomsync.store.history import name_of_commit, units
from atomsync.store.kept import check_read, journals
from atomsync.store.letting_go import RESTORES, UNDOES
from atomsync.store.naming import unit_named
from atomsync.store.progress import Progress
from atomsync.store.reversal import Reversal, reversal
from atomsync.store.seal import look_at
from atomsync.store.store import BaseStore
from atomsync.store.unit_id import time_of_unit
from atomsync.store.versions import Past, fold
from atomsync.tree.path import ancestors, parse, shown
from atomsync.unit.work import UnitOfWork

_LISTED_MAX = 10


class Reverted(NamedTuple):
    """What an undo or a restore did, or would do: then ``receipt`` is None. ``unit_id`` is the unit that was
    undone, or to which it went back; ``lost`` is what others had changed since."""

    receipt: Receipt | None
    unit_id: str
    changes: tuple[Change, ...]
    lost: tuple[str, ...]


class _Wanted(NamedTuple):
    """What units did to the paths that go back, what later ones did, and all that is known."""

    about: Mapping[str, str]
    pasts: Mapping[str, Past]
    later: Mapping[str, Past]
    known: Mapping[str, Past]


def undo(
    store: BaseStore,
    word: str = "@",
    *,
    force: bool = False,
    message: str = "",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Reverted:
    """Take one unit back. Raises GuardTripped if others changed the same paths since, unless ``force``: then
    the history has what they made of them. Raises VersionGone, and what a unit raises."""
    with _begun(store, message, dry_run, progress) as (control, unit):
        unit_id = unit_named(word, units(control))
        found = journals(control)
        check_read(found, [unit_id])
        at = [journal.header.id for journal in found].index(unit_id)
        later = fold(reversed(found[at + 1 :]))
        wanted = _Wanted({UNDOES: unit_id}, fold([found[at]]), later, later)
        plan = reversal(control, *wanted[1:], found, progress or Progress())
        if plan.lost and not force:
            raise _others_were_here(unit_id, plan.lost)
        return _reverted(unit, unit_id, wanted, plan)


def restore(
    store: BaseStore,
    to: str | datetime,
    paths: Collection[str] = (),
    *,
    message: str = "",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Reverted:
    """Take everything back that units did behind unit ``to``, or after that time; with ``paths`` only there
    and below. What others did to these paths is displaced, and in the history.

    Raises UsageError if the history does not go back that far, VersionGone, and what a unit raises.
    """
    tops = {parse(path) for path in paths}
    with _begun(store, message, dry_run, progress) as (control, unit):
        ids = units(control)
        count = _count_until(control, to, ids)
        unit_id, behind = ids[count - 1], ids[count:]
        found = journals(control)
        check_read(found, behind)
        known = fold(reversed(found[len(found) - len(behind) :]))
        pasts = {path: past for path, past in known.items() if not tops or _is_at_or_below(path, tops)}
        told = fold(reversed(found)) if tops else {}
        for top in sorted(tops):
            _check_known(control, top, told)
        wanted = _Wanted({RESTORES: unit_id}, pasts, {}, known)
        return _reverted(unit, unit_id, wanted, reversal(control, *wanted[1:], found, progress or Progress()))


def receipt_of(found: Reverted) -> Receipt:
    """Of one that was no dry run."""
    assert found.receipt is not None
    return found.receipt


@contextlib.contextmanager
def _begun(
    store: BaseStore, message: str, dry_run: bool, progress: Progress | None
) -> Iterator[tuple[Control, UnitOfWork | None]]:
    """The store, ours alone, with a unit; or, to look at only, as it is."""
    with store.looking() as control:
        if control is None:
            raise UsageError("cannot take anything back", f"{shown(store.path)} has no history")
        if dry_run:
            yield control, None
            return
    with UnitOfWork(store, message=message, progress=progress, exclusive=True) as unit:
        yield unit.session.control, unit


def _reverted(unit: UnitOfWork | None, unit_id: str, wanted: _Wanted, plan: Reversal) -> Reverted:
    receipt = None
    if unit is not None:
        unit.about = {**unit.about, **wanted.about}
        for change in plan.changes:
            content = (
                unit._copied(change.path) if change.path in plan.copied else plan.contents.get(change.path)
            )
            unit.register(change, content)
        receipt = unit.commit()
    return Reverted(receipt, unit_id, tuple(sorted(plan.changes)), plan.lost)


def _count_until(control: Control, to: str | datetime, ids: list[str]) -> int:
    """How many units were committed until then."""
    if isinstance(to, str):
        return ids.index(unit_named(to, ids)) + 1
    until_ns = int(to.timestamp() * 1000) * 1_000_000
    if until_ns > time.time_ns():
        raise UsageError(f"cannot go back to {to.astimezone():%Y-%m-%d %H:%M:%S}", "it is still to come")
    count = sum(time_of_unit(name_of_commit(control, unit_id)) <= until_ns for unit_id in ids)
    if not count:
        when = f"{to.astimezone():%Y-%m-%d %H:%M:%S}"
        why = f"the history goes back to unit {ids[0]}, which is later" if ids else "the history is empty"
        raise UsageError(
            f"cannot go back to {when}",
            why,
            "Keep more of it: --keep N, --keep-bytes SIZE, of push and watch.",
        )
    return count


def _check_known(control: Control, top: str, told: Collection[str]) -> None:
    """Nothing to do is no answer to a name that was misspelt."""
    if any(_is_at_or_below(path, (top,)) for path in told) or look_at(control.tree, top) is not None:
        return
    raise UsageError(
        f"cannot restore {shown(top)}",
        "it is not there, and no unit of the history ever changed it",
        "Paths are relative to DST.",
    )


def _is_at_or_below(path: str, tops: Collection[str]) -> bool:
    return path in tops or any(above in tops for above in ancestors(path))


def _others_were_here(unit_id: str, lost: tuple[str, ...]) -> GuardTripped:
    first = ", ".join(lost[:_LISTED_MAX])
    more = f" and {len(lost) - _LISTED_MAX:,} more" if len(lost) > _LISTED_MAX else ""
    return GuardTripped(
        f"cannot undo unit {unit_id}",
        f"{'1 path was' if len(lost) == 1 else f'{len(lost):,} paths were'} changed since: {first}{more}",
        "To undo it all the same: --force. What was made of them since is in the history then.",
    )
