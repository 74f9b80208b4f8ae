"""What this filesystem can do, found by trying it, not by its name.

An exchange that lies is known: a FUSE library returned 0 and performed a plain rename, which destroys
a file. So the probe swaps two files and reads both back.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from atomsync.fs.disk import Disk

_ODD_TIME_NS = 1_000_000_001_234_567_891
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EMLINK}


class Capabilities(NamedTuple):
    """``exchange``: two names swap in one step. ``rename_new``: renaming refuses an existing name.
    ``link``: hard links. ``syncfs``: one call makes everything durable, and tells errors.
    ``time_step_ns``: an mtime is kept as a multiple of this (ext4 with small inodes: a second)."""

    exchange: bool
    rename_new: bool
    link: bool
    syncfs: bool
    time_step_ns: int = 1

    @property
    def swap_class(self) -> str:
        """How a replacement is made: ``exchange``, or the weaker ``link+replace`` or ``replace``."""
        if self.exchange:
            return "exchange"
        return "link+replace" if self.link else "replace"


def probe(disk: Disk, at: int) -> Capabilities:
    """Try everything in the empty directory ``at``, which the caller then deletes with what is in it."""
    _put(disk, at)
    exchange = _tried(lambda: disk.exchange(at, "a", at, "b")) and (
        _content(disk, at, "a") == b"second" and _content(disk, at, "b") == b"first"
    )
    if not exchange:  # it may have lost one of them
        _put(disk, at)
    rename_new = _refuses_existing(disk, at) and _tried(lambda: disk.rename_new(at, "a", at, "c"))
    link = _tried(lambda: disk.link(at, "b", at, "d"))
    return Capabilities(exchange, rename_new, link, disk.syncfs_trusted(at), _time_step(disk, at))


def has_reflinks(disk: Disk, at: int) -> bool:
    """Whether files can share blocks, tried in a directory in which ``probe`` was. Apart from it, since it
    makes the filesystem write: for whoever wants to know, not for every unit."""
    _put(disk, at)
    source, fd = disk.open_file(at, "b"), disk.open_lock(at, "reflink")
    try:
        return _tried(lambda: disk.clone(fd, source)) and disk.pread(fd, 64, 0) == disk.pread(source, 64, 0)
    finally:
        disk.close(fd)
        disk.close(source)


def _put(disk: Disk, at: int) -> None:
    for name, content in (("a", b"first"), ("b", b"second")):
        try:
            fd = disk.create(at, name)
        except FileExistsError:
            continue
        try:
            disk.write(fd, content, 0)
        finally:
            disk.close(fd)


def _time_step(disk: Disk, at: int) -> int:
    disk.set_meta_at(at, "b", -1, -1, None, _ODD_TIME_NS)
    kept = disk.lstat(at, "b").st_mtime_ns
    steps = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)
    return next((step for step in steps if kept == _ODD_TIME_NS - _ODD_TIME_NS % step), 1)


def _tried(verb: Callable[[], object]) -> bool:
    try:
        verb()
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _refuses_existing(disk: Disk, at: int) -> bool:
    try:
        disk.rename_new(at, "a", at, "b")
    except OSError as error:
        if error.errno == errno.EEXIST:
            return True
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return False


def _content(disk: Disk, at: int, name: str) -> bytes:
    try:
        fd = disk.open_file(at, name)
    except FileNotFoundError:
        return b""
    try:
        return disk.pread(fd, 64, 0)
    finally:
        disk.close(fd)
