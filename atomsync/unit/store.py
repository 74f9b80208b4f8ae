"""The store with its units: what a program that embeds atomsync opens."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from atomsync.errors import UsageError
from atomsync.fs.disk import Disk
from atomsync.store.barrier import FULL, NONE
from atomsync.store.options import KEEP_UNITS, Options
from atomsync.store.prepared import Resolver
from atomsync.store.progress import Progress
from atomsync.store.recovery import Recovery
from atomsync.store.seal import MEDIA, READBACK
from atomsync.store.store import BaseStore
from atomsync.unit.events import AFTER_RECOVER, Listeners
from atomsync.unit.work import UnitOfWork

TIMEOUT_S = 30.0


class Store(BaseStore, Listeners):
    """A directory that changes only by whole units. It need not exist yet; its parent must.

    Cheap to make, holds nothing open; threads may share it. Its listeners hear of all its units.
    """

    def __init__(self, path: str, options: Options | None = None, disk: Disk | None = None) -> None:
        BaseStore.__init__(self, path, options, disk)
        Listeners.__init__(self)

    def begin(
        self, *, message: str = "", progress: Progress | None = None
    ) -> AbstractContextManager[UnitOfWork]:
        """A unit that commits on a clean exit of the ``with`` block, and rolls back on an exception."""
        return UnitOfWork(self, message=message, progress=progress).begin()

    def recovered(self, found: Recovery) -> None:
        for listener in self.listeners(AFTER_RECOVER):
            listener(self, found)


def open_store(
    path: str | os.PathLike[str],
    *,
    durability: str = FULL,
    verify: str = READBACK,
    keep: int = KEEP_UNITS,
    state_dir: str | os.PathLike[str] | None = None,
    timeout: float = TIMEOUT_S,
    resolver: Resolver | None = None,
    disk: Disk | None = None,
) -> Store:
    """A store on directory ``path``; see ``Options`` for the rest. Nothing is opened before it is used.

    ``timeout``: how many seconds a unit waits for another's commit before it raises StoreLocked. Raises
    UsageError for a value that means nothing.
    """
    for option, word, words in (
        ("durability", durability, (FULL, NONE)),
        ("verify", verify, (READBACK, MEDIA)),
    ):
        if word not in words:
            raise UsageError(f"cannot open a store with {option}={word!r}", f"it is one of {words}")
    if keep < 0 or timeout < 0:
        raise UsageError("cannot open a store", "keep and timeout are not to be negative")
    where = None if state_dir is None else _from_here(state_dir)
    return Store(_from_here(path), Options(durability, verify, keep, where, timeout, resolver), disk)


def _from_here(path: str | os.PathLike[str]) -> str:
    """The same place after a later chdir. Nothing is folded: the system says what ``link/..`` means."""
    return os.path.join(os.getcwd(), os.fspath(path)) if os.fspath(path) else ""
