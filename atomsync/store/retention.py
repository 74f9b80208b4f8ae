"""What of the history is given up, and when: always the unit that was committed first.

The newest ``keep`` units stay, as long as the versions they displaced occupy no more than ``keep_bytes``.
One more reason is a new unit that would not fit on the disk. A process that still had a displaced file
open may have written to it since: such a file is moved to ``conflicts/`` instead of being deleted.
"""

from __future__ import annotations

import contextlib
import stat
from collections import Counter
from collections.abc import Collection, MutableMapping
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import DiskError, JournalError
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.step import Step
from atomsync.store.conflicts import keep_aside
from atomsync.store.control import GIVEN_UP, HISTORY, MANIFEST, RETIRED, SLOTS, Control
from atomsync.store.history import read_journal, units
from atomsync.store.removal import left_if_in_use, remove_tree
from atomsync.store.rows import Rows
from atomsync.tree.path import joined, shown

if TYPE_CHECKING:
    from atomsync.store.leaving import Leaving

_BLOCK_BYTES = 512  # what st_blocks counts


class Usage(NamedTuple):
    """What would be free if a unit were given up: of files only those that have no name elsewhere."""

    bytes: int = 0
    inodes: int = 0


class Collected(NamedTuple):
    """What was given up: the units, and the bytes that their versions occupied; ``left`` is how many units
    stay."""

    units: tuple[str, ...]
    bytes: int
    left: int
    warnings: tuple[str, ...]


Known = MutableMapping[str, Usage]
"""Unit → what it was found to occupy."""


def foreseen(control: Control, keep: int) -> str | None:
    """The first unit of those that ``prune`` gives up when one more is committed. Needs the lock until then,
    and no other limit."""
    kept = units(control)
    return kept[0] if len(kept) >= max(keep, 1) else None


def prune(
    control: Control, keep: int, keep_bytes: int | None, known: Known, leaving: Leaving | None = None
) -> tuple[list[str], list[str]]:
    """Give up what is beyond the limits, first committed first; returns the ids and warnings."""
    kept = units(control)
    count = max(len(kept) - keep, 0)
    if keep_bytes is not None:
        while count < len(kept) and sum(usage(control, id, known).bytes for id in kept[count:]) > keep_bytes:
            count += 1
    gone = _followed(control, kept[:count])
    return gone, give_up(control, gone, leaving)


def _followed(control: Control, unit_ids: list[str]) -> list[str]:
    """Those of them that may go. From its journal the manifest learns of a unit that it could not be told of,
    being locked, or the disk full: until then that unit stays, and so do those behind it."""
    if not control.has(MANIFEST):
        return unit_ids
    with contextlib.suppress(DiskError), Rows(control) as rows:
        for at, unit_id in enumerate(unit_ids):
            if not rows.follows([unit_id]) and _can_be_followed(control, unit_id):
                return unit_ids[:at]
        return unit_ids
    return []


def _can_be_followed(control: Control, unit_id: str) -> bool:
    try:
        read_journal(control, HISTORY, unit_id)
    except (JournalError, FileNotFoundError):
        return False
    return True


def oldest_for(control: Control, wanted: Usage, known: Known, needed: Collection[str] = ()) -> list[str]:
    """The units to give up, first committed first, for ``wanted`` to become free; none if even all would not
    do, or if one of the ``needed`` ones would be among them."""
    found, freed, inodes = [], 0, 0
    for unit_id in units(control):
        if unit_id in needed:
            break
        found.append(unit_id)
        one = usage(control, unit_id, known)
        freed, inodes = freed + one.bytes, inodes + one.inodes
        if freed >= wanted.bytes and inodes >= wanted.inodes:
            return found if _followed(control, found) == found else []
    return []


def give_up(control: Control, unit_ids: Collection[str], leaving: Leaving | None = None) -> list[str]:
    """Delete these units of the history; returns warnings about late writers. ``leaving``: the one of which
    the journal was read ahead. Needs the lock."""
    warnings = []
    if unit_ids and not control.has(GIVEN_UP):
        with control.opened(GIVEN_UP, make=True):  # first: that nothing was ever given up must never be a lie
            control.disk.fsync(control.fd)
    if unit_ids:
        from atomsync.store.leaving import delete
    for unit_id in unit_ids:
        ahead = leaving if leaving is not None and leaving.unit_id == unit_id else None
        rescued, plain = _rescue_late_writes(control, unit_id, ahead)
        warnings += rescued
        with control.opened(HISTORY) as history, control.opened(RETIRED, make=True) as retired:
            control.disk.replace(history, unit_id, retired, unit_id)
        with control.opened(RETIRED, unit_id, SLOTS) as slots:
            delete(control.disk, slots, plain, ahead)
    return warnings + empty_retired(control)


def empty_retired(control: Control) -> list[str]:
    """Delete what may be deleted; returns warnings about the rest, which waits there for the next time."""
    warnings = []
    with control.opened(RETIRED, make=True) as retired:
        for name, _ in control.disk.scandir(retired):
            try:
                with left_if_in_use():
                    remove_tree(control.disk, retired, name)
            except PermissionError as error:  # an immutable file came with its directory
                why = f"{shown(str(error.filename))}: {error.strerror}"
                warnings.append(f"{RETIRED}/{name} is waste that cannot be deleted ({why})")
    return warnings


def usage(control: Control, unit_id: str, known: Known) -> Usage:
    """What the versions that a unit displaced occupy."""
    if unit_id not in known:
        found = Usage()
        try:
            with control.opened(HISTORY, unit_id, SLOTS) as slots:
                found = _occupied(control.disk, slots)
        except FileNotFoundError:
            pass
        known[unit_id] = found
    return known[unit_id]


def _occupied(disk: Disk, top: int) -> Usage:
    blocks = inodes = 0
    names: Counter[int] = Counter()
    with Cursor(disk, top) as cursor:
        pending = [""]
        while pending:
            path = pending.pop()
            for name, found in disk.scandir(cursor.at(path)):
                is_dir = stat.S_ISDIR(found.st_mode)
                names[found.st_ino] += not is_dir and found.st_nlink > 1
                if is_dir or found.st_nlink == 1 or found.st_nlink == names[found.st_ino]:
                    blocks += found.st_blocks
                    inodes += 1
                if is_dir:
                    pending.append(joined(path, name))
    return Usage(blocks * _BLOCK_BYTES, inodes)


def _rescue_late_writes(
    control: Control, unit_id: str, leaving: Leaving | None = None
) -> tuple[list[str], list[str]]:
    """Warnings, and which slots are left with files that may be deleted, as far as that is known."""
    from atomsync.store.late import displaced_by, looked_at

    looked = leaving.looked() if leaving is not None else None
    with control.opened(HISTORY, unit_id, SLOTS) as slots:
        if looked is None:
            steps: tuple[Step, ...] = ()
            if control.disk.scandir(slots):  # else it displaced nothing, as a first push of many files
                try:
                    steps = read_journal(control, HISTORY, unit_id).steps
                except (JournalError, FileNotFoundError) as error:
                    told = f"history/{unit_id} has no journal to read ({error})"
                    return [f"{told}; its late writes were not looked for"], []
            looked = looked_at(control.disk, slots, displaced_by(steps))
        why = f"its old version was changed after unit {unit_id} displaced it"
        aside = [keep_aside(control, slots, slot, unit_id, path, why) for slot, path in looked.late]
    return [str(conflict) for conflict in aside], looked.plain
