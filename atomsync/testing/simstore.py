"""A store in memory, for the tests of programs that use one: ``simulated_store``.

It is a ``Store`` like any other; only its disk is ``SimDisk``. That disk may be used from several threads,
one call at a time, and ``UnitOfWork.put`` reads ordinary files: an upload lies where the web server put it.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
from collections.abc import Callable, Collection
from typing import Any, TypedDict, Unpack

from atomsync.errors import UsageError, from_oserror
from atomsync.fs.disk import Disk, Space
from atomsync.fs.posix import PosixDisk
from atomsync.store.options import FULL, KEEP_UNITS, READBACK
from atomsync.store.prepared import Resolver
from atomsync.testing.effects import ROOT
from atomsync.testing.faults import Hook
from atomsync.testing.medium import Medium
from atomsync.testing.simdisk import Profile, SimDisk
from atomsync.testing.trees import Dir, build
from atomsync.tree.path import CONTROL_NAME
from atomsync.unit.store import TIMEOUT_S, Store, open_store

_PATH = "/simulated"
_FIRST_FD = 1 << 30  # above every descriptor of the operating system
_LOOKING = ("open_dir", "open_file", "scandir", "lstat", "fstat", "readlink", "pread", "close")


class Traits(TypedDict, total=False):
    """What a simulated disk can do; see ``SimDisk``, which has the defaults."""

    exchange: bool
    rename_new: bool
    link: bool
    syncfs_trusted: bool
    generations: bool
    name_max: int


class SimulatedStore(Store):
    """A store that is the root of a simulated disk. Its path leads there and nowhere else."""

    disk: SimDisk

    def is_there(self) -> bool:
        return True

    def mounts(self) -> Collection[str]:
        return ()

    def copies_for_a_link(self) -> bool:
        return False

    def _make_root(self) -> bool:
        return False


def simulated_store(
    tree: Dir | None = None,
    *,
    profile: Profile = "weak",
    durability: str = FULL,
    verify: str = READBACK,
    keep: int = KEEP_UNITS,
    timeout: float = TIMEOUT_S,
    resolver: Resolver | None = None,
    capacity: int | None = None,
    **traits: Unpack[Traits],
) -> SimulatedStore:
    """A store that holds ``tree``, in memory; all of it is on the medium, so it survives a power cut.

    ``profile``: "weak", of what was not synced any part survives a power cut; "ordered", as on a journaling
    filesystem. ``capacity``: how many bytes all files together may hold, those of the history included; then
    the disk is full. ``traits``: what the disk can do. The others are those of ``open_store``; ``timeout`` is
    in seconds. Raises UsageError for a value that means nothing, and if ``tree`` holds a control directory: a
    store makes its own; NoSpace if ``tree`` is larger than ``capacity``.
    """
    options = open_store(
        _PATH, durability=durability, verify=verify, keep=keep, timeout=timeout, resolver=resolver
    ).options
    if tree is not None and CONTROL_NAME in tree.names:
        raise UsageError("cannot make a simulated store", f"{CONTROL_NAME} is not for a tree to hold")
    disk = _StoreDisk(profile, **traits)
    disk.capacity = capacity
    try:
        build(disk, disk.open_root(_PATH), tree or Dir({}))
    except OSError as error:
        raise from_oserror(error, "cannot make a simulated store") from None
    disk = disk.crash(range(len(disk.pending)))
    return SimulatedStore(_PATH, options, disk)


class _StoreDisk(SimDisk):
    """A simulated disk for several threads, beside a real one of which only files are read."""

    capacity: int | None = None  # in bytes

    def _boot(self, medium: Medium, hook: Hook | None = None) -> None:
        super()._boot(medium, hook)
        self._next_fd = _FIRST_FD
        self._lock = threading.RLock()
        self._real = PosixDisk()

    def open_root(self, path: str) -> int:
        return self._opened(ROOT, path, False) if path == _PATH else self._real.open_root(path)

    def space(self, fd: int) -> Space:
        found = super().space(fd)
        return found if self.capacity is None else found._replace(bytes_free=max(self._free(), 0))

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.capacity is not None and self._free() < offset + len(data) - self.fstat(fd).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, data, offset)

    def _free(self) -> int:
        assert self.capacity is not None
        return self.capacity - sum(len(inode.data) for inode in self.state.values())


def _shared(name: str) -> Callable[..., Any]:
    """A verb of ``_StoreDisk``: one at a time; a descriptor of the operating system leads to it."""
    verb = getattr(_StoreDisk, name)
    real = getattr(PosixDisk, name) if name in _LOOKING else None

    @functools.wraps(verb)
    def guarded(self: _StoreDisk, *args: Any, **named: Any) -> Any:
        if real is not None and args[0] < _FIRST_FD:
            return getattr(self._real, name)(*args, **named)
        with self._lock:
            return verb(self, *args, **named)

    return guarded


for _name in [*vars(Disk), "copy", "crash"]:
    if not _name.startswith("_"):
        setattr(_StoreDisk, _name, _shared(_name))
