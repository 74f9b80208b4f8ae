"""The store with its units: what a program that embeds atomsync opens."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from atomsync.errors import UsageError
from atomsync.fs.disk import Disk
from atomsync.store.commit import Receipt
from atomsync.store.options import FULL, KEEP_UNITS, MEDIA, NONE, READBACK, Options
from atomsync.store.prepared import Resolver
from atomsync.store.progress import Progress
from atomsync.store.recovery import Recovery
from atomsync.store.store import BaseStore
from atomsync.unit.events import AFTER_RECOVER, Listeners
from atomsync.unit.work import UnitOfWork

if TYPE_CHECKING:
    from datetime import datetime

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

    def undo(self, unit: str = "@", *, force: bool = False, message: str = "") -> Receipt:
        """Take a unit back, by a unit of its own, which can be undone itself. ``unit``: its id, or what it
        begins with, or "@" for the last one, "@~1" for the one before.

        Raises GuardTripped if others have changed the same paths since, unless ``force``: then what they made
        of them is in the history. Raises VersionGone if the history does not have an old version any more.
        """
        from atomsync.unit.reverting import receipt_of, undo

        return receipt_of(undo(self, unit, force=force, message=message))

    def restore(
        self, to: str | datetime, paths: Iterable[str | os.PathLike[str]] = (), *, message: str = ""
    ) -> Receipt:
        """Back to what was there after unit ``to``, or at that time: everything, or only at ``paths`` and
        below them. By a unit of its own, which can be undone.

        Raises UsageError if the history does not go back that far; VersionGone as ``undo`` does.
        """
        from atomsync.unit.reverting import receipt_of, restore

        return receipt_of(restore(self, to, [os.fspath(path) for path in paths], message=message))

    def recovered(self, found: Recovery) -> None:
        for listener in self.listeners(AFTER_RECOVER):
            listener(self, found)


def open_store(
    path: str | os.PathLike[str],
    *,
    durability: str = FULL,
    verify: str = READBACK,
    keep: int = KEEP_UNITS,
    keep_bytes: int | None = None,
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
    if keep < 0 or timeout < 0 or (keep_bytes or 0) < 0:
        raise UsageError("cannot open a store", "keep, keep_bytes and timeout are not to be negative")
    where = None if state_dir is None else _from_here(state_dir)
    options = Options(durability, verify, keep, where, timeout, resolver, keep_bytes)
    return Store(_from_here(path), options, disk)


def _from_here(path: str | os.PathLike[str]) -> str:
    """The same place after a later chdir. Nothing is folded: the system says what ``link/..`` means."""
    return os.path.join(os.getcwd(), os.fspath(path)) if os.fspath(path) else ""
