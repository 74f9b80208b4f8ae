"""Two ways to trade a slot for a path: in one step, or as near to it as the filesystem allows.

With RENAME_EXCHANGE a path is never missing and what was there is never overwritten. Where there is
none, a hard link keeps the old file while a rename replaces it: the path is never missing, but
another writer's save between the two calls would be lost (``link+replace``). Without links, or for
directories, the path is missing for the time of one call (``replace``). The receipt names the class.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from atomsync.fs.capabilities import Capabilities
from atomsync.fs.disk import Disk
from atomsync.tree.entry import DIR, look, same_object

ASIDE = ".old"


def swap(disk: Disk, able: Capabilities, slots: int, slot: str, at: int, name: str) -> None:
    """What is in the slot and what is at the name trade places."""
    if able.exchange:
        disk.exchange(slots, slot, at, name)
        return
    aside = slot + ASIDE
    here = look(disk, at, name)
    there = look(disk, slots, slot)
    if here is None or there is None:
        raise FileNotFoundError(errno.ENOENT, "nothing to swap", name)
    if able.link and DIR not in (here.kind, there.kind):
        disk.link(at, name, slots, aside)
        disk.fsync(slots)  # the old version must have its second name before it loses the first
        disk.replace(slots, slot, at, name)
    else:
        move(disk, able, at, name, slots, aside)
        disk.fsync(slots)
        disk.fsync(at)
        move(disk, able, slots, slot, at, name)
    disk.fsync(at)  # what was in the slot must have its new name before another takes the old one
    move(disk, able, slots, aside, slots, slot)


def swap_all(
    disk: Disk, able: Capabilities, slots: int, at: int, names: Iterable[tuple[bytes, bytes]]
) -> None:
    """``swap`` for each pair of a slot and a name in ``at``, one after the other. What fails has taken its
    pair from ``names``, and no other behind it."""
    if able.exchange:
        disk.exchange_all(slots, at, names)
        return
    for slot, name in names:
        swap(disk, able, slots, os.fsdecode(slot), at, os.fsdecode(name))


def settle(disk: Disk, able: Capabilities, slots: int, slot: str, at: int, name: str) -> None:
    """Finish or take back what a crash inside a weaker ``swap`` left between its calls."""
    aside = slot + ASIDE
    kept = look(disk, slots, aside)
    if kept is None:
        return
    if look(disk, slots, slot) is None:
        move(disk, able, slots, aside, slots, slot)
    elif (here := look(disk, at, name)) is None:
        move(disk, able, slots, aside, at, name)
    elif same_object(here, kept):
        disk.unlink(slots, aside)


def move(disk: Disk, able: Capabilities, at: int, name: str, to: int, new_name: str) -> None:
    """Rename to a name that must not exist."""
    if able.rename_new:
        disk.rename_new(at, name, to, new_name)
        return
    # RACE: between the look and the rename another writer may make new_name; it would be replaced.
    if look(disk, to, new_name) is not None:
        raise FileExistsError(errno.EEXIST, "a name that must not exist does", new_name)
    disk.replace(at, name, to, new_name)


def move_all(disk: Disk, able: Capabilities, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
    """``move`` for each pair of names, as ``swap_all``."""
    if able.rename_new:
        disk.rename_all_new(at, to, names)
        return
    for name, new_name in names:
        move(disk, able, at, os.fsdecode(name), to, os.fsdecode(new_name))
