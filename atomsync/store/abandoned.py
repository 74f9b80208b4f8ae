"""Which stages nobody holds any more: each is a directory that its process keeps locked, so without a lock it
was left by one that died.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from atomsync.fs.disk import Disk
from atomsync.store.control import PENDING, Control
from atomsync.store.removal import remove_tree

NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""What flock says of a directory on a filesystem that locks none."""


def try_lock(disk: Disk, unit: int, *, alone: bool) -> bool:
    """Take the lock of a unit's directory; where directories have none (NFS), whoever holds the store's lock
    (``alone``) is alone with all of them. Raises OSError for anybody else there, and for other errors."""
    try:
        return disk.try_lock(unit)
    except OSError as error:
        if alone and error.errno in NO_LOCKS:
            return True
        raise


def discard_abandoned(control: Control) -> bool:
    """Delete the stages nobody holds any more; whether there were any. Needs the store's lock."""
    found = False
    for name in control.names(PENDING):
        with _abandoned(control, name) as abandoned:
            if abandoned:
                with control.opened(PENDING) as pending:
                    remove_tree(control.disk, pending, name)
                found = True
    return found


def has_abandoned(control: Control) -> bool:
    """Whether there is a stage that nobody holds. Only looks."""
    for name in control.names(PENDING):
        with _abandoned(control, name) as abandoned:
            if abandoned:
                return True
    return False


@contextlib.contextmanager
def _abandoned(control: Control, name: str) -> Iterator[bool]:
    """Whether nobody holds this stage; if so, it is locked in here. An error says nothing about its owner."""
    disk = control.disk
    with contextlib.ExitStack() as opened:
        try:
            unit = opened.enter_context(control.opened(PENDING, name))
            pending = opened.enter_context(control.opened(PENDING))
            found = try_lock(disk, unit, alone=True)
            found = found and disk.lstat(pending, name).st_ino == disk.fstat(unit).st_ino
        except OSError:  # its process has just deleted it, most likely
            found = False
        yield found  # with its name still: another may have got it meanwhile
