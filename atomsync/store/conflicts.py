"""Objects that must not be destroyed: kept in ``conflicts/<unit id>/``, durably, and reported."""

from __future__ import annotations

from typing import NamedTuple

from atomsync.store.control import CONFLICTS, Control
from atomsync.store.swapping import move
from atomsync.tree.path import shown


class Conflict(NamedTuple):
    """An object of another writer (or an old version with no way back), and where it is kept."""

    path: str
    kept: str
    why: str

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.why}; kept as {self.kept}"


def keep_aside(control: Control, slots: int, slot: str, unit_id: str, path: str, why: str) -> Conflict:
    """Move what is in a slot to the conflicts. The way there is on the medium before it goes,
    and it is when this returns: the slots go next."""
    disk = control.disk
    with control.opened(CONFLICTS, unit_id, make=True) as kept:
        with control.opened(CONFLICTS) as conflicts:
            disk.fsync(conflicts)
        disk.fsync(control.fd)
        disk.fsync(slots)  # the swap that brought it there, before the slot gives up the name
        move(disk, control.capabilities, slots, slot, kept, slot)
        disk.fsync(kept)
    return Conflict(path, f"{CONFLICTS}/{unit_id}/{slot}", why)
