"""Directories without their owner's write bit, opened for the time of the swaps.

Renaming changes the directory it happens in, and a directory that moves changes itself (its ``..``).
Root may do both whatever the mode; anybody else needs the write bit for a moment, as rsync does. The
journal knows the right modes: ``restore_modes`` sets them after the swaps, a rollback sets the old ones.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence

from atomsync.plan.step import META, Step
from atomsync.store.control import Control
from atomsync.store.seal import look_at
from atomsync.tree.entry import OPEN_BITS, is_closed, look
from atomsync.tree.path import parent_of

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


def make_writable(control: Control, slots: int, steps: Sequence[Step]) -> None:
    """Open what the swaps of ``steps``, or their undoing, must change; wherever it is now."""
    if os.geteuid() == 0:
        return
    for step in _closed(steps):
        now = look_at(control.tree, step.path)
        if is_closed(now):
            _set_mode(control, step.path, now.mode | OPEN_BITS, now.ino)
        if step.kind != META:
            now = look(control.disk, slots, step.slot)
            if is_closed(now):
                control.disk.set_meta_at(slots, step.slot, -1, -1, now.mode | OPEN_BITS, None, now.ino)


def restore_modes(control: Control, slots: int, steps: Sequence[Step], *, lenient: bool = False) -> None:
    """After the swaps: each of them gets the mode it should have, at its path or in its slot.

    ``lenient``: what another writer has moved away meanwhile is none of ours any more.
    """
    if os.geteuid() == 0:
        return
    for step in _closed(steps):
        at_path = step.old if step.kind == META and step.new is None else step.new
        if is_closed(at_path):
            inode = step.old if step.kind == META else step.new
            with _gone_is_fine(lenient):
                _set_mode(control, step.path, at_path.mode, inode.ino if inode else 0)
        if step.kind != META and is_closed(step.old):
            with _gone_is_fine(lenient):
                control.disk.set_meta_at(slots, step.slot, -1, -1, step.old.mode, None, step.old.ino)


@contextlib.contextmanager
def _gone_is_fine(lenient: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not lenient or error.errno not in _GONE:
            raise


def _closed(steps: Sequence[Step]) -> list[Step]:
    parents = {parent_of(step.path) for step in steps if step.kind != META}
    return [
        step
        for step in steps
        if (step.kind != META or step.path in parents) and (is_closed(step.old) or is_closed(step.new))
    ]


def _set_mode(control: Control, path: str, mode: int, ino: int) -> None:
    if path:
        at, name = control.tree.split(path)
        control.disk.set_meta_at(at, name, -1, -1, mode, None, ino)
    else:
        control.disk.set_meta(control.root, -1, -1, mode, None)
