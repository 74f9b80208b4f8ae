"""(1) The way into a store: its control directory is found or made, and trusted only if it is ours alone.

Anyone who could plant this directory could make us rename and delete at will. So it must be a
directory, owned by us, open to nobody else, and on the destination's device.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from atomsync.errors import AtomSyncError, UsageError, from_oserror
from atomsync.fs.disk import Disk
from atomsync.store.control import (
    Control,
    lock_root,
    open_to_others,
    restore_time,
    take_away,
    untrusted,
    vanished,
)
from atomsync.tree.path import CONTROL_NAME, shown


def open_control(
    disk: Disk, path: str, state_dir: str | None = None, *, make: bool = True, at: str = ""
) -> Control | None:
    """Open destination ``path`` and its control directory; ``at`` another path, if that leads to it now.

    Where there is none yet, it is made, or None returned if not ``make``. Raises ControlUntrusted,
    UsageError (a state directory on another filesystem), AccessError; FileNotFoundError if what was there
    is not any more: somebody who made it is taking it away again.
    """
    at = at or path
    root = _opening(lambda: disk.open_root(at), at)
    control = None
    try:
        locked = make and lock_root(disk, root, path, state_dir)
        before = disk.fstat(root)
        made = make and _made(disk, root, at, state_dir)
        try:
            if made and state_dir is None:
                restore_time(disk, root, before.st_mtime_ns)
            fd = _open_control_fd(disk, root, at, state_dir)
            if fd is None and make:
                raise vanished(path)
        except (AtomSyncError, OSError):
            if made and state_dir is None:
                take_away(disk, root, before.st_mtime_ns)
            raise
        if fd is None:
            return None
        control = Control(disk, root, fd, path, state_dir, at)
        control.root_locked = locked
        if made:  # only by its descriptor: whoever owns the directory above may have exchanged the name
            control.made_ns = before.st_mtime_ns
            if disk.scandir(fd):  # another is in it already, or it is another one: then not ours to unmake
                control.made_ns = None
        _check_trust(disk, root, fd, state_dir or f"{at}/{CONTROL_NAME}")
        if control.made_ns is not None:
            disk.set_meta(fd, -1, -1, 0o700, None)  # not the setgid bit of a parent
        return control
    except BaseException as error:
        if control is not None:
            control.unmake()
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise from_oserror(error, f"cannot open {shown(at)}") from None
        raise
    finally:
        if control is None:
            disk.close(root)


def _made(disk: Disk, root: int, path: str, state_dir: str | None) -> bool:
    """Make the control directory; False if there was something by its name."""
    try:
        if state_dir is not None:
            os.mkdir(state_dir, 0o700)
        else:
            disk.mkdir(root, CONTROL_NAME)
    except FileExistsError:
        return False
    except OSError as error:
        if isinstance(error, FileNotFoundError) and state_dir is None:
            raise vanished(path) from None
        where = shown(state_dir or f"{path}/{CONTROL_NAME}")
        raise from_oserror(error, f"cannot make {where}") from None
    return True


def _open_control_fd(disk: Disk, root: int, path: str, state_dir: str | None) -> int | None:
    try:
        return disk.open_dir(root, CONTROL_NAME) if state_dir is None else disk.open_root(state_dir)
    except FileNotFoundError:
        return None
    except OSError as error:
        where = shown(state_dir or f"{path}/{CONTROL_NAME}")
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise from_oserror(error, f"cannot open {where}") from None
        raise untrusted(where, error.strerror or str(error)) from None


def _check_trust(disk: Disk, root: int, fd: int, where: str) -> None:
    found = disk.fstat(fd)
    if found.st_uid != os.geteuid():
        raise untrusted(where, f"it belongs to user {found.st_uid}, we are {os.geteuid()}")
    if found.st_mode & 0o077:
        raise open_to_others(where, found.st_mode)
    if found.st_dev != disk.fstat(root).st_dev:
        raise UsageError(
            f"cannot keep the state in {shown(where)}",
            "it is not on the destination's filesystem, and renames do not cross filesystems",
            "Choose another --state-dir.",
        )


def _opening(verb: Callable[[], int], path: str) -> int:
    try:
        return verb()
    except FileNotFoundError:
        raise vanished(path) from None
    except OSError as error:
        raise from_oserror(error, f"cannot open {shown(path)}") from None
