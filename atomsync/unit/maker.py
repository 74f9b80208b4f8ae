"""A maker of units with the same store, defaults and listeners (SQLAlchemy's sessionmaker)."""

from __future__ import annotations

from contextlib import AbstractContextManager

from atomsync.store.progress import Progress
from atomsync.store.store import BaseStore
from atomsync.unit.events import AFTER_RECOVER, EVENTS, Listeners
from atomsync.unit.work import UnitOfWork


class UnitMaker(Listeners):
    """Call it for a ``UnitOfWork``; ``begin`` gives one that commits. Listeners hear of its units only."""

    events = tuple(event for event in EVENTS if event != AFTER_RECOVER)  # that is for a store to tell

    def __init__(self, store: BaseStore, *, message: str = "", progress: Progress | None = None) -> None:
        super().__init__()
        self.store, self.message, self.progress = store, message, progress

    def __call__(self, *, message: str | None = None, progress: Progress | None = None) -> UnitOfWork:
        return UnitOfWork(
            self.store,
            message=self.message if message is None else message,
            progress=progress or self.progress,
            listeners=[self],
        )

    def begin(
        self, *, message: str | None = None, progress: Progress | None = None
    ) -> AbstractContextManager[UnitOfWork]:
        """A unit that commits on a clean exit of the ``with`` block, and rolls back on an exception."""
        return self(message=message, progress=progress).begin()


def unit_maker(store: BaseStore, *, message: str = "", progress: Progress | None = None) -> UnitMaker:
    """A maker of units on ``store``. ``message`` and ``progress`` are what its units have by default."""
    return UnitMaker(store, message=message, progress=progress)
