"""Taking a prepared unit forward, by identity: its commit, and the same again after a crash in its midst.

Once another party has said "commit", there is no way back, whatever somebody did to the destination while
the unit rested. So where ``commit`` would give up, this goes on: what another writer saved is moved to
``conflicts/`` and reported. As in ``undo``, it asks which object is where and nothing else, so it is
right after any crash, and doing it twice does nothing the second time.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence

from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.conflicts import Conflict, keep_aside
from atomsync.store.control import Control
from atomsync.store.dressing import change_attributes
from atomsync.store.opening import make_writable, restore_modes
from atomsync.store.seal import look_at
from atomsync.store.swapping import move, settle, swap
from atomsync.store.undo import between, decided_anew, keep_stranded, same_subtree, set_seen
from atomsync.tree.entry import DIR, OPEN_BITS, PLAIN, Entry, is_closed, look_deep, same_object, untouched

NOTHING, MOVE_IN, SWAP, MOVE_OUT, LEAVE = "nothing", "move in", "swap", "move out", "leave"
DROP_SLOT, DROP_PATH = "drop the slot's name", "drop the path's name"


def decide(step: Step, at_path: Entry | None, in_slot: Entry | None) -> str:
    """What doing this swap takes, given what is in its two places now. Pure."""
    if at_path is not None and in_slot is not None and same_object(at_path, in_slot):
        return DROP_PATH if step.kind == REMOVE else DROP_SLOT  # one rename became durable by half
    if step.kind == REMOVE:
        if in_slot is not None or at_path is None:
            return NOTHING  # done already, or somebody else did it
        return MOVE_OUT if step.old is not None and same_object(step.old, at_path) else LEAVE
    if in_slot is None or step.new is None or not same_object(step.new, in_slot):
        return NOTHING  # done already
    return MOVE_IN if at_path is None else SWAP


def roll_forward(
    control: Control, slots: int, unit_id: str, steps: Sequence[Step]
) -> tuple[list[Conflict], float]:
    """Do whatever of ``steps`` has not taken place; returns what was in the way, and the mixed window in ms.

    OSError leaves it resumable.
    """
    conflicts: list[Conflict] = []
    control.tree.close()  # walk anew: much may have happened since
    make_writable(control, slots, steps)
    swaps = [step for step in steps if step.kind != META]
    started = time.perf_counter_ns()
    for step in swaps:
        conflicts += decided_anew(control, functools.partial(_swap, control, slots, unit_id, step))
    for step in steps:
        if step.kind == META and step.new is not None and step.old is not None:
            conflicts += _set_meta(control, step, step.old, step.new)
    window_ms = (time.perf_counter_ns() - started) / 1e6
    restore_modes(control, slots, steps, lenient=True)
    for step in swaps:
        conflicts += _keep_foreign(control, slots, unit_id, step)
    return conflicts, window_ms


def _swap(control: Control, slots: int, unit_id: str, step: Step) -> list[Conflict]:
    disk, able, new = control.disk, control.capabilities, step.new
    try:
        at, name = control.tree.split(step.path)
    except (FileNotFoundError, NotADirectoryError):
        if step.kind != REMOVE and look_deep(disk, slots, step.slot) is not None:
            why = "the directory it belongs to is gone"
            return [keep_aside(control, slots, step.slot, unit_id, step.path, why)]
        return []
    settle(disk, able, slots, step.slot, at, name)
    conflicts = keep_stranded(control, slots, unit_id, step)
    at_path = look_deep(disk, at, name)
    action = decide(step, at_path, look_deep(disk, slots, step.slot))
    if action == MOVE_IN:
        move(disk, able, slots, step.slot, at, name)
    elif action == SWAP:
        swap(disk, able, slots, step.slot, at, name)
    elif action == MOVE_OUT:
        move(disk, able, at, name, slots, step.slot)
    elif action == DROP_SLOT:
        disk.unlink(slots, step.slot)
    elif action == DROP_PATH:
        disk.unlink(at, name)
    elif action == LEAVE:
        why = "it should go, but another version was saved there; left so"
        conflicts.append(Conflict(step.path, step.path, why))
    if new is not None and new.kind == DIR:  # XFS stamps a directory that is exchanged
        now = look_deep(disk, at, name)
        if now is not None and same_object(new, now) and action != NOTHING:
            disk.set_meta_at(at, name, -1, -1, None, new.mtime_ns, new.ino)
    return conflicts


def _set_meta(control: Control, step: Step, old: Entry, new: Entry) -> Iterator[Conflict]:
    now = look_at(control.tree, step.path)
    if now is not None and is_closed(old) and now.mode == old.mode | OPEN_BITS:
        now = now._replace(mode=old.mode)  # it was us who opened it, for the swaps
    if now is not None and same_object(old, now) and between(old, now, new):
        if new.xattrs:
            change_attributes(control, step.path, new, old.ino)
        if now[:PLAIN] != new[:PLAIN] or new.xattrs:
            set_seen(control, step.path, new, old.ino)
    else:
        yield Conflict(step.path, step.path, "it was changed by someone else; left so")


def _keep_foreign(control: Control, slots: int, unit_id: str, step: Step) -> Iterator[Conflict]:
    """Compare and swap, as in ``commit``; but what came out unexpected is kept, and nothing given up."""
    found, old = look_deep(control.disk, slots, step.slot), step.old
    if found is None:
        return
    if old is not None and old.kind == DIR == found.kind:
        as_expected = same_object(old, found) and same_subtree(
            control.disk, slots, step.slot, step.path, step.displaced, inodes=True
        )
    else:
        as_expected = old is not None and untouched(old, found)
    if not as_expected:
        why = "another version was saved at its path"
        yield keep_aside(control, slots, step.slot, unit_id, step.path, why)
