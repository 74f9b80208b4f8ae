"""(5-7) The commit: swaps, a check of what came out, barriers, and one small record that decides.

Swap first, check after: looking before a rename and then renaming lost 2 to 12 of a hundred racing
saves when it was measured; swapping and then looking at what came out lost none, because nothing is
overwritten. The checks come when all swaps are done, so that the mixed window holds swaps only.
"""

from __future__ import annotations

import contextlib
import errno
import stat
import time
from typing import NamedTuple

from atomsync.errors import AtomSyncError, Drift, InDoubt, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.change import Change
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store.barrier import swaps_are_durable
from atomsync.store.control import JOURNAL, UNIT, Control
from atomsync.store.decision import ABORT, write_decision
from atomsync.store.dressing import attributes_of, change_attributes
from atomsync.store.drift import drifted
from atomsync.store.opening import make_writable, restore_modes
from atomsync.store.options import NONE
from atomsync.store.seal import SealedUnit, check_content, look_at
from atomsync.store.staging import Stage
from atomsync.store.undo import roll_back, same_subtree, set_seen
from atomsync.store.waste import retire_as_waste
from atomsync.store.window import runs_of, swap_run
from atomsync.tree.entry import DIR, FILE, Entry, is_closed, look, same_object, untouched
from atomsync.tree.path import shown
from atomsync.tree.xattrs import attributes_at, decode

_GONE = "what was displaced is gone"
_DRIFT = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.ESTALE}


class Receipt(NamedTuple):
    """What a commit gives back. Counts are entries, below directories too; ``bytes`` were staged.

    ``window_ms`` is the mixed window: from the first swap to the last, in milliseconds.
    ``swap_class`` is ``exchange``, or the weaker way this filesystem forced (see ``swapping``).
    """

    unit_id: str
    created: int
    updated: int
    removed: int
    bytes: int
    window_ms: float
    swap_class: str
    durability: str
    warnings: tuple[str, ...] = ()


def commit(control: Control, stage: Stage, sealed: SealedUnit) -> tuple[str, float]:
    """Take a sealed unit to its commit point; returns the swap class and the mixed window in ms.

    Raises StaleEntry (another writer was there first; rolled back), DiskError and its kin (rolled back),
    InDoubt (only recovery may decide). Whatever it raises, nothing of another writer is lost.
    """
    steps = sealed.steps
    control.tree.close()  # walk anew, as seal did
    try:
        window_ms = _swap_all(control, stage.slots, steps)
        _check_displaced(control, stage.slots, steps)
        _make_durable(control, stage, sealed)
    except BaseException as error:
        _take_back(control, stage, sealed, error)
        raise
    _write_commit(control, stage, sealed)
    return control.capabilities.swap_class, window_ms


def _make_durable(control: Control, stage: Stage, sealed: SealedUnit) -> None:
    try:
        swaps_are_durable(control, stage.slots, sealed.steps, sealed.durability)
    except OSError as error:
        raise from_oserror(error, f"cannot make unit {sealed.header.id} durable") from None


def _swap_all(control: Control, slots: int, steps: tuple[Step, ...]) -> float:
    able, tree = control.capabilities, control.tree
    try:
        make_writable(control, slots, steps)
    except OSError as error:
        raise from_oserror(error, f"cannot make a directory writable: {shown(str(error.filename))}") from None
    runs = runs_of(steps)
    started = time.perf_counter_ns()
    for run in runs:
        names = iter(run.names)
        try:
            if run.kind != META:
                swap_run(tree, able, slots, run, names)
                continue
            for step in run.steps:
                if step.new is not None:
                    _set_meta(control, step, step.new)
        except OSError as error:
            path = run.path_at(names)
            if error.errno in _DRIFT:
                raise drifted(path, error.strerror or "") from None
            raise from_oserror(error, f"cannot change {shown(path)}") from None
    window_ms = (time.perf_counter_ns() - started) / 1e6
    restore_modes(control, slots, steps)
    return window_ms


def _set_meta(control: Control, step: Step, new: Entry) -> None:
    """RACE: a change of attributes in the instant between this look and the call is lost."""
    now = look_at(control.tree, step.path)
    old = step.old
    if now is None or old is None or not same_object(old, now):
        raise drifted(step.path)
    if old.kind == DIR:  # its time moved with the names in it, and we may have opened it for the swaps
        same = (now.uid, now.gid) == (old.uid, old.gid) and (now.mode == old.mode or is_closed(old))
    else:
        same = untouched(old, now)
    if not same:
        raise drifted(step.path)
    if new.xattrs and new.xattrs != old.xattrs:
        if attributes_of(control, step.path, old.xattrs) != old.xattrs:
            raise drifted(step.path, "its extended attributes were changed")
        change_attributes(control, step.path, new, old.ino)
    set_seen(control, step.path, new, old.ino)


def _check_displaced(control: Control, slots: int, steps: tuple[Step, ...]) -> None:
    """Compare and swap, second half: what came out must be what the plan expected."""
    for step in steps:
        old = step.old
        if old is None or step.kind not in (REPLACE, REMOVE):
            continue
        if old.kind == FILE and not old.xattrs and not old.digest:  # nearly all: nothing is made for these
            if not _is_untouched_file(control.disk, slots, step, old):
                raise drifted(step.path)
            continue
        found = look(control.disk, slots, step.slot)
        if found is None:
            raise drifted(step.path, _GONE)
        # XFS stamps a directory that is exchanged with something else: its own time proves nothing,
        # and what is in it is compared anyway.
        if old.kind == DIR:
            found = found._replace(mtime_ns=old.mtime_ns)
        if not untouched(old, found):
            raise drifted(step.path)
        if old.xattrs and attributes_at(control.disk, slots, step.slot, decode(old.xattrs)[0]) != old.xattrs:
            raise drifted(step.path, "its extended attributes were changed")
        check_content(control.disk, slots, step.slot, step.path, old)
        if old.kind == DIR and not same_subtree(
            control.disk, slots, step.slot, step.path, step.displaced, inodes=True
        ):
            raise drifted(step.path, "its content changed after it was planned for")
        if step.displaced and any(entry.digest for _, entry in step.displaced):
            with Cursor(control.disk, slots) as cursor:
                for path, entry in step.displaced:
                    if entry.digest:
                        location = step.slot + path[len(step.path) :]
                        check_content(control.disk, *cursor.split(location), path, entry)


def _is_untouched_file(disk: Disk, slots: int, step: Step, old: Entry) -> bool:
    """``untouched``, of what was displaced by ``step``."""
    try:
        found = disk.lstat(slots, step.slot)
    except FileNotFoundError:
        raise drifted(step.path, _GONE) from None
    return (
        found.st_ino == old.ino
        and found.st_mode == stat.S_IFREG | old.mode
        and found.st_size == old.size
        and found.st_mtime_ns == old.mtime_ns
        and found.st_uid == old.uid
        and found.st_gid == old.gid
    )


def _take_back(control: Control, stage: Stage, sealed: SealedUnit, cause: BaseException) -> None:
    """Roll back in this process. If that fails the unit stays, and recovery takes it up."""
    try:
        conflicts = roll_back(control, stage.slots, sealed.header.id, sealed.steps)
        swaps_are_durable(control, stage.slots, sealed.steps, sealed.durability)
        write_decision(control, stage.unit, sealed.header.id, ABORT, durable=sealed.durability != NONE)
        stage.close()
        retire_as_waste(control, UNIT)
    except (OSError, AtomSyncError) as error:
        raise InDoubt(
            f"a commit failed ({cause}), and so did taking it back",
            (isinstance(error, OSError) and error.strerror) or str(error),
            f"Every path is whole. When the cause is mended run: atomsync recover {shown(control.where)}",
        ) from cause
    if conflicts and isinstance(cause, Drift):
        cause.hint += "".join(f"\n  {conflict}" for conflict in conflicts)


def _write_commit(control: Control, stage: Stage, sealed: SealedUnit) -> None:
    """(7) From the first byte on we are in doubt: an error leaves everything to recovery."""
    disk, control.deciding = control.disk, True
    try:
        fd = disk.open_lock(stage.unit, JOURNAL)
        try:
            disk.write(fd, sealed.commit_record, sealed.commit_at)
            if sealed.durability != NONE:
                disk.fsync(fd)
        finally:
            with contextlib.suppress(OSError):
                disk.close(fd)
    except OSError as error:
        raise InDoubt(
            f"the commit of unit {sealed.header.id} could not be made durable",
            error.strerror or str(error),
            f"Mend the disk, then run: atomsync recover {shown(control.where)}",
        ) from None


def counts(steps: tuple[Step, ...]) -> tuple[int, int, int]:
    """``(created, updated, removed)`` entries; a directory of which only the time moved is not news."""
    created = updated = removed = 0
    for step in steps:
        if step.kind == META:
            updated += step.new is not None and Change(step.path, step.old, step.new).visible
            continue
        created += (step.kind == CREATE) + len(step.inside)
        removed += (step.kind == REMOVE) + len(step.displaced)
        updated += step.kind == REPLACE
    return created, updated, removed
