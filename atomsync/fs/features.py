"""What else this filesystem can do, found by trying it: what atomsync can live without, but not as well.

``capabilities`` tries what a commit rests on; this is for whoever asks beforehand (``atomsync doctor``).
"""

from __future__ import annotations

import errno
import os
import stat
import statistics
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from atomsync.fs.disk import Disk

_BLOCK = 4096
_HOLE = 1 << 20
_TRIED_MOST, _TRIED_S = 15, 0.4  # of each sync
_UNSUPPORTED = {
    *(errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.EXDEV, errno.ENOLCK),
    *(errno.EACCES, errno.ENOTSUP),
}
# An access ACL (version 2): owner, a named user, group, mask, others; each a tag, permissions and an id.
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in (
        *((0x01, 6, 0xFFFFFFFF), (0x02, 4, 65534), (0x04, 4, 0xFFFFFFFF)),
        *((0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)),
    )
)


class Features(NamedTuple):
    """``modes``: the mode that a file is given is the one it has. ``reflink``: files can share blocks until
    one is written to. ``sparse``: holes take no space. ``locks``: directories can be locked. ``generations``:
    an inode is told from a later one of its number. ``fsync_s``, ``syncfs_s``: seconds, the median of some;
    None where syncfs is not to be trusted."""

    modes: bool
    symlinks: bool
    reflink: bool
    sparse: bool
    xattrs: bool
    acls: bool
    locks: bool
    generations: bool
    fsync_s: float
    syncfs_s: float | None


def probe_features(disk: Disk, at: int) -> Features:
    """Try everything in the empty directory ``at``, which the caller then deletes with what is in it.

    For about a second; a single sync may take longer where others have much to write.
    """
    disk.mkdir(at, "locked")
    directory = disk.open_dir(at, "locked")
    one, two = disk.create(at, "one"), disk.create(at, "two")
    try:
        disk.write(one, bytes(_BLOCK), 0)
        return Features(
            all(_keeps_mode(disk, two, mode) for mode in (0o751, 0o640)),
            _works(lambda: disk.symlink("one", at, "link")),
            _works(lambda: disk.clone(two, one)),
            _keeps_holes(disk, at),
            _works(lambda: os.setxattr(one, "user.atomsync", b"1")),
            _works(lambda: os.setxattr(one, "system.posix_acl_access", _ACL)),
            _works(lambda: disk.try_lock(directory)),
            bool(disk.generation(at, "one")),
            _median_s(lambda: _dirty(disk, two), lambda: disk.fsync(two)),
            _median_s(lambda: _dirty(disk, two), lambda: disk.syncfs(at))
            if disk.syncfs_trusted(at)
            else None,
        )
    finally:
        for fd in (directory, one, two):
            disk.close(fd)


def _works(verb: Callable[[], object]) -> bool:
    try:
        verb()
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    except AttributeError:  # not on this system
        return False
    return True


def _keeps_mode(disk: Disk, fd: int, mode: int) -> bool:
    if not _works(lambda: disk.set_meta(fd, -1, -1, mode, None)):
        return False
    return stat.S_IMODE(disk.fstat(fd).st_mode) == mode


def _keeps_holes(disk: Disk, at: int) -> bool:
    fd = disk.create(at, "sparse")
    try:
        disk.write(fd, b"end", _HOLE)
        disk.fsync(fd)  # some filesystems count blocks only when they have given them out
        return os.fstat(fd).st_blocks * 512 < _HOLE // 2
    finally:
        disk.close(fd)


def _dirty(disk: Disk, fd: int) -> None:
    disk.write(fd, os.urandom(16), 0)


def _median_s(before: Callable[[], object], verb: Callable[[], object]) -> float:
    took: list[float] = []
    until = time.perf_counter() + _TRIED_S
    while not took or (len(took) < _TRIED_MOST and time.perf_counter() < until):
        before()
        began = time.perf_counter()
        verb()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
