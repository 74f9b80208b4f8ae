"""A directory for trying things out, where the store is or would be; nothing of it stays.

Where the store stages units it is one of the stages: locked by us while we live, and so waste that the next
recovery deletes if we are killed.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from atomsync.fs.disk import Disk
from atomsync.store.control import PENDING, Control
from atomsync.store.removal import remove_tree

_TRIES = 10  # a recovery may take the new directory for waste before it is locked


@contextlib.contextmanager
def scratch(disk: Disk, at: int, control: Control | None, name: str) -> Iterator[int]:
    """The descriptor of a new empty directory in ``control``, or, if there is none, as ``name-...`` in the
    directory ``at``. Raises OSError if none can be made."""
    with contextlib.ExitStack() as opened:
        if control is not None:
            name = name.lstrip(".")
            below = (PENDING,) if control.has(PENDING) else ()
            at = opened.enter_context(control.opened(*below))
        before = disk.fstat(at).st_mtime_ns
        name, fd = _made(disk, at, name)
        try:
            yield fd
        finally:
            disk.close(fd)
            remove_tree(disk, at, name)
            with contextlib.suppress(PermissionError):  # somebody else's directory, in which we may write
                disk.set_meta(at, -1, -1, None, before)


def _made(disk: Disk, at: int, name: str) -> tuple[str, int]:
    for left in reversed(range(_TRIES)):
        name_here = f"{name}-{secrets.token_hex(4)}"
        disk.mkdir(at, name_here)
        try:
            fd = disk.open_dir(at, name_here)
        except FileNotFoundError:
            if not left:
                raise
            continue
        try:
            locked = disk.try_lock(fd)
        except OSError:  # no directory can be locked here
            locked = True
        if locked:
            return name_here, fd
        disk.close(fd)
    raise FileNotFoundError(name)
