"""Out of its meaning by one rename, then deleted piece by piece: whatever is cut in between is only waste."""

from __future__ import annotations

import errno
from itertools import count

from atomsync.store.control import JOURNAL, RETIRED, VIEW, Control
from atomsync.store.removal import IN_USE, left_if_in_use, remove_tree


def retire_as_waste(control: Control, name: str) -> None:
    """Move ``name`` out of its meaning by one rename, then delete it piece by piece."""
    try:
        with control.opened(RETIRED, make=True) as retired:
            taken = {found for found, _ in control.disk.scandir(retired)}
            waste = next(found for number in count() if (found := f"{number}-{name}") not in taken)
            control.disk.replace(control.fd, name, retired, waste)
            remove_tree(control.disk, retired, waste)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _delete_in_place(control, name)


def remove_view(control: Control) -> None:
    """Delete the view, if there is one. To one who was left behind by a check, and still adds to it, it is
    left as waste."""
    try:
        remove_tree(control.disk, control.fd, VIEW)
    except OSError as error:
        if error.errno not in IN_USE:
            raise
        with left_if_in_use():
            retire_as_waste(control, VIEW)


def _delete_in_place(control: Control, name: str) -> None:
    """On a disk too full for a rename. Without its journal, durably, a unit means nothing any more."""
    with control.opened(name) as unit:
        if control.has(name, JOURNAL):
            control.disk.unlink(unit, JOURNAL)
            control.disk.fsync(unit)
    remove_tree(control.disk, control.fd, name)
