"""Taking a sealed unit back, by identity.

``decide`` is pure: from which object is at the path and which is in the slot, it tells what to do.
It asks nothing about progress, so it is right after any crash, in any order of what became durable,
and doing it twice does nothing the second time. An object that is neither the old nor the new
one belongs to another writer: it is never overwritten and never deleted, and what cannot go back to
its path is moved to ``conflicts/`` and reported.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable, Sequence

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.step import CREATE, META, REMOVE, Step
from atomsync.store.conflicts import Conflict, keep_aside
from atomsync.store.control import Control
from atomsync.store.dressing import restore_attributes
from atomsync.store.opening import make_writable
from atomsync.store.seal import look_at
from atomsync.store.swapping import ASIDE, move, settle, swap
from atomsync.tree.diff import SETGID, SETUID
from atomsync.tree.entry import (
    DIR,
    FILE,
    LINK,
    PLAIN,
    Entry,
    is_closed,
    look,
    look_deep,
    same_object,
    untouched,
)
from atomsync.tree.path import joined
from atomsync.tree.scan import subtree

_SLOTS_MODE, _BEGUN = 0o700, 0o1000

NOTHING, TAKE_OUT, SWAP_BACK, PUT_BACK, DROP_NAME, KEEP = (
    "nothing",
    "take out",
    "swap back",
    "put back",
    "drop name",
    "keep",
)


def decide(step: Step, at_path: Entry | None, in_slot: Entry | None) -> str:
    """What undoing this swap takes, given what is in its two places now."""
    new_at_path = _is_new(step, at_path)
    if step.kind == CREATE:
        return TAKE_OUT if new_at_path else NOTHING
    if in_slot is None:
        return NOTHING  # never applied, or undone already
    if at_path is not None and same_object(at_path, in_slot):
        return DROP_NAME  # one rename became durable by half: both names, one inode
    if step.kind == REMOVE:
        return PUT_BACK if at_path is None else KEEP
    if _is_new(step, in_slot):
        return NOTHING  # never applied, or undone already
    if new_at_path:
        return SWAP_BACK
    return PUT_BACK if at_path is None else KEEP


def roll_back(control: Control, slots: int, unit_id: str, steps: Sequence[Step]) -> list[Conflict]:
    """Undo whatever of ``steps`` took place. Needs no space but for names; OSError leaves it resumable."""
    conflicts: list[Conflict] = []
    make_writable(control, slots, steps)
    begun = _had_begun(control, slots, steps)
    for step in reversed(steps):
        if step.kind != META:
            undo = functools.partial(_undo_swap, control, slots, unit_id, step, begun)
            conflicts += decided_anew(control, undo)
    for step in reversed(steps):
        if step.old is not None and (step.kind == META or step.old.kind == DIR):
            conflicts += _undo_meta(control, step)
    if begun:  # from here on the slots may be deleted piece by piece, and mean nothing
        control.disk.set_meta(slots, -1, -1, _SLOTS_MODE, None)
    return conflicts


def _had_begun(control: Control, slots: int, steps: Sequence[Step]) -> bool:
    """Whether any swap took place; remembered in a bit of the slots' mode, which needs no space.

    Then the stage was durable (B1), so a new object in its slot that is not as it was staged was edited
    while it was visible. Without the bit, a rollback cut behind its last swap would not know that.
    """
    disk = control.disk
    if disk.fstat(slots).st_mode & _BEGUN:
        return True
    if not any(_took_place(control, slots, step) for step in steps if step.kind != META):
        return False
    disk.set_meta(slots, -1, -1, _SLOTS_MODE | _BEGUN, None)
    disk.fsync(slots)
    return True


def _took_place(control: Control, slots: int, step: Step) -> bool:
    if step.kind == REMOVE:
        return look(control.disk, slots, step.slot) is not None
    return _is_new(step, look_at(control.tree, step.path))


_RACED = {errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_RACES_MAX = 20


def decided_anew(control: Control, attempt: Callable[[], list[Conflict]]) -> list[Conflict]:
    """``attempt`` looks, and then acts; where another writer came in between, it looks again. Raises OSError
    for one who goes on and on."""
    for left in reversed(range(_RACES_MAX)):
        try:
            return attempt()
        except OSError as error:
            if error.errno not in _RACED or not left:
                raise
            control.tree.close()
    raise AssertionError("the last attempt returns or raises")


def _undo_swap(control: Control, slots: int, unit_id: str, step: Step, begun: bool) -> list[Conflict]:
    disk, able = control.disk, control.capabilities
    try:
        at, name = control.tree.split(step.path)
    except (FileNotFoundError, NotADirectoryError):
        return _kept(control, slots, unit_id, step, "the directory it belongs to is gone")
    settle(disk, able, slots, step.slot, at, name)
    stranded = keep_stranded(control, slots, unit_id, step)
    at_path = look_deep(disk, at, name)
    in_slot = look_deep(disk, slots, step.slot)
    action = decide(step, at_path, in_slot)
    if action == TAKE_OUT and in_slot is None:
        move(disk, able, at, name, slots, step.slot)
    elif action == TAKE_OUT:
        if step.new is not None and step.new.kind != DIR:  # one inode, both names: see DROP_NAME
            disk.unlink(at, name)
    elif action == SWAP_BACK:
        swap(disk, able, slots, step.slot, at, name)
    elif action == PUT_BACK:
        move(disk, able, slots, step.slot, at, name)
    elif action == DROP_NAME:
        if in_slot is not None and in_slot.kind != DIR:
            disk.unlink(slots, step.slot)
    elif action == KEEP:
        return stranded + _kept(control, slots, unit_id, step, "another version was saved at its path")
    undone = begun and action == NOTHING and _is_new(step, in_slot)
    if (undone or action in (TAKE_OUT, SWAP_BACK)) and not _pristine(disk, slots, step):
        return stranded + _kept(control, slots, unit_id, step, "it was edited after it was put there")
    return stranded


def keep_stranded(control: Control, slots: int, unit_id: str, step: Step) -> list[Conflict]:
    """The old version that a weaker swap had taken aside when it was cut, and whose path another writer has
    filled since: it has no way back."""
    aside = step.slot + ASIDE
    if look(control.disk, slots, aside) is None:
        return []
    why = "another version was saved at its path"
    return [keep_aside(control, slots, aside, unit_id, step.path, why)]


def _is_new(step: Step, found: Entry | None) -> bool:
    return found is not None and step.new is not None and same_object(step.new, found)


def _pristine(disk: Disk, slots: int, step: Step) -> bool:
    """Whether the new object, back in its slot, is still exactly what was staged."""
    now = look_deep(disk, slots, step.slot)
    if now is None or step.new is None or not same_object(step.new, now):
        return False
    if now.kind != DIR:
        return _content(now) == _content(step.new)
    return same_subtree(disk, slots, step.slot, step.path, step.inside, inodes=False)


def same_subtree(
    disk: Disk,
    at: int,
    name: str,
    path: str,
    expected: Iterable[tuple[str, Entry]],
    *,
    inodes: bool,
) -> bool:
    """Whether directory ``name`` holds exactly ``expected`` (full paths below ``path``).

    Compared are kind, mode, size, times, owner and target; with ``inodes`` the inodes as well.
    """
    wanted = dict(expected)
    seen = 0
    top = disk.open_dir(at, name)
    try:
        with Cursor(disk, top) as cursor:
            for below, entry in subtree(cursor, ""):
                want = wanted.get(joined(path, below))
                if want is None or want.kind != entry.kind:
                    return False
                if inodes and not untouched(want, entry):
                    return False
                if entry.kind != DIR and _content(want) != _content(entry):
                    return False
                seen += 1
    finally:
        disk.close(top)
    return seen == len(wanted)


def _content(entry: Entry) -> tuple[int, int, str]:
    """What an edit would change. Not a link's own time: it cannot be synced without syncfs."""
    return entry.size, entry.mtime_ns if entry.kind == FILE else 0, entry.target


def _undo_meta(control: Control, step: Step) -> list[Conflict]:
    old = step.old
    assert old is not None
    now = look_at(control.tree, step.path)
    if now is None or not same_object(old, now):
        return []
    new = step.new if step.new is not None and step.kind == META else old
    if new.xattrs != old.xattrs:
        restore_attributes(control, step.path, old, new, now.ino)
        now = look_at(control.tree, step.path)  # an ACL that goes takes its bits of the mode along
        if now is None:
            return []
    if now[:PLAIN] == old[:PLAIN]:
        return []
    if not between(old, now, new) and not is_closed(old):
        # Someone else's doing, and theirs it stays; but the time of a directory we moved ourselves.
        if now.kind != DIR:
            return [Conflict(step.path, step.path, "it was changed by someone else; left so")]
        old = old._replace(mode=now.mode, uid=now.uid, gid=now.gid)
    try:
        set_seen(control, step.path, old, now.ino)
    except PermissionError:
        if step.new is not None:
            raise  # what we could set, we can set back; the time of somebody else's directory we cannot
    return []


def between(old: Entry, now: Entry, new: Entry) -> bool:
    """Whether ``now`` is what a change from ``old`` to ``new`` leaves, cut between any two of its calls.

    Owner, mode and time are set one after the other, and a chown clears the bits that lend rights.
    """
    modes = {old.mode, new.mode, old.mode & ~(SETUID | SETGID)}
    if old.xattrs != new.xattrs:  # an ACL brings its part of the mode along
        modes |= {old.mode & ~0o777 | new.mode & 0o777, new.mode & ~0o777 | old.mode & 0o777}
    times = {old.mtime_ns, new.mtime_ns}
    return (
        now.mode in modes
        and now.uid in (old.uid, new.uid)
        and now.gid in (old.gid, new.gid)
        and (now.kind == DIR or (now.size == old.size and now.mtime_ns in times))
    )


def set_seen(control: Control, path: str, entry: Entry, ino: int) -> None:
    """Owner, mode and mtime of ``entry``, given to inode ``ino`` at ``path``; ESTALE if it is another."""
    mode = None if entry.kind == LINK else entry.mode
    if path:
        at, name = control.tree.split(path)
        control.disk.set_meta_at(at, name, entry.uid, entry.gid, mode, entry.mtime_ns, ino)
    else:
        control.disk.set_meta(control.root, entry.uid, entry.gid, mode, entry.mtime_ns)


def _kept(control: Control, slots: int, unit_id: str, step: Step, why: str) -> list[Conflict]:
    if look(control.disk, slots, step.slot) is None:
        return []
    return [keep_aside(control, slots, step.slot, unit_id, step.path, why)]
