"""(5, 6) Barriers: what must be on the medium before the next thing may happen.

One syncfs each, whatever the unit's size, where the filesystem's syncfs is to be trusted. It flushes
everybody's writes, so a small unit syncs its own files and directories one by one instead, as does a
filesystem whose syncfs we do not know. ``--durability none`` leaves the barriers out: a killed
process is then still safe, a power cut is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from atomsync.fs.cursor import Cursor
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.control import PENDING, PREPARED, Control
from atomsync.store.options import NONE
from atomsync.tree.entry import DIR, FILE, LINK, OTHER, look_deep, same_object
from atomsync.tree.path import parent_of

_SMALL_UNIT_MAX = 8
_UNOPENED = {LINK, OTHER}  # a symbolic link cannot be, and opening a device may do anything


def staged_is_durable(
    control: Control, unit: int, slots: int, steps: Iterable[Step], durability: str
) -> None:
    """B1: the staged bytes, their names, and the journal. Before it no visible name may change."""
    if durability == NONE:
        return
    steps = list(steps)
    if _by_syncfs(control, steps):
        control.disk.syncfs(control.fd)
        return
    with Cursor(control.disk, slots) as cursor:
        for step in steps:
            if step.kind in (META, REMOVE) or step.new is None:
                continue
            skip = len(step.path)
            members = [(step.slot, step.new)]
            members += [(step.slot + path[skip:], entry) for path, entry in step.inside]
            for location, entry in reversed(members):
                if entry.kind == DIR:
                    control.disk.fsync(cursor.at(location))
                elif entry.kind == FILE:
                    _fsync_file(cursor, location)
    for fd in (slots, unit):
        control.disk.fsync(fd)
    for name in (PENDING, PREPARED):
        with contextlib.suppress(FileNotFoundError), control.opened(name) as fd:
            control.disk.fsync(fd)
    for fd in (control.fd, control.root):
        control.disk.fsync(fd)


def swaps_are_durable(control: Control, slots: int, steps: Iterable[Step], durability: str) -> None:
    """B2: the swaps and the metadata, done or undone. No decision may become durable before them."""
    if durability == NONE:
        return
    steps = list(steps)
    if _by_syncfs(control, steps):
        control.disk.syncfs(control.fd)
        return
    tree = control.tree
    for step in steps:
        if step.kind == META and step.old is not None and step.old.kind == FILE:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                now = look_deep(tree.disk, *tree.split(step.path))
                if now is not None and same_object(step.old, now):  # else another writer's, of any kind
                    _fsync_file(tree, step.path)
    directories = {step.path for step in steps if step.kind == META and step.old and step.old.kind == DIR}
    for path in sorted(directories | {parent_of(step.path) for step in steps if step.path}):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another writer's doing
            control.disk.fsync(tree.at(path))
    control.disk.fsync(slots)


def _by_syncfs(control: Control, steps: list[Step]) -> bool:
    if not control.capabilities.syncfs:
        return False
    size = 0
    for step in steps:
        size += step.kind != META and 1 + len(step.inside)
        if size > _SMALL_UNIT_MAX or _UNOPENED & {step.new and step.new.kind, step.old and step.old.kind}:
            return True  # what cannot be opened is synced by nothing else
    return any(entry.kind in _UNOPENED for step in steps for _, entry in step.inside)


def _fsync_file(cursor: Cursor, location: str) -> None:
    at, name = cursor.split(location)
    try:
        fd = cursor.disk.open_file(at, name)
    except PermissionError:  # ours, but not for us to read: then all of the filesystem
        cursor.disk.syncfs(at)
        return
    try:
        cursor.disk.fsync(fd)
    finally:
        cursor.disk.close(fd)
