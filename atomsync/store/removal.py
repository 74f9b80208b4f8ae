"""Deleting a tree of our own, whatever its modes and however deep."""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Iterator

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk

IN_USE = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}


@contextlib.contextmanager
def left_if_in_use() -> Iterator[None]:
    """For the time of a ``with``: what another process adds to, or takes from, as it is deleted, stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in IN_USE:
            raise


def remove_tree(disk: Disk, at: int, name: str) -> None:
    """Delete ``name`` in ``at`` and all below it, if it exists; opens directories whatever their mode."""
    try:
        disk.unlink(at, name)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    top = _open_to_empty(disk, at, name)
    try:
        with Cursor(disk, top) as cursor:
            pending = [""]
            while pending:
                path = pending[-1]
                here = cursor.at(path)
                before = len(pending)
                for child, status in disk.scandir(here):
                    if stat.S_ISDIR(status.st_mode):
                        disk.close(_open_to_empty(disk, here, child))
                        pending.append(f"{path}/{child}" if path else child)
                    else:
                        disk.unlink(here, child)
                if len(pending) == before:
                    pending.pop()
                    if path:
                        parent, child = cursor.split(path)
                        disk.rmdir(parent, child)
    finally:
        disk.close(top)
    disk.rmdir(at, name)


def _open_to_empty(disk: Disk, at: int, name: str) -> int:
    try:
        fd = disk.open_dir(at, name)
    except PermissionError:
        disk.set_meta_at(at, name, -1, -1, 0o700, None)
        return disk.open_dir(at, name)
    try:
        if disk.fstat(fd).st_mode & 0o700 != 0o700:
            disk.set_meta(fd, -1, -1, 0o700, None)
    except BaseException:
        disk.close(fd)
        raise
    return fd
