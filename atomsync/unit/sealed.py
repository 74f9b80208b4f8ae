"""A unit between its seal and its commit, as the listeners of ``after_seal`` see it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from atomsync.errors import UnitStateError
from atomsync.plan.change import Change
from atomsync.store.commit import counts
from atomsync.store.seal import SealedUnit
from atomsync.store.session import Session


class Sealed:
    """``id`` is the unit's. Valid for the time of the listener only."""

    def __init__(self, session: Session, sealed: SealedUnit, changes: Iterable[Change]) -> None:
        self.id = sealed.header.id
        self._session, self._sealed, self._changes = session, sealed, changes
        self.is_over = False

    @property
    def counts(self) -> tuple[int, int, int]:
        """Entries ``(created, updated, removed)``, as the receipt will have them."""
        return counts(self._sealed.steps)

    @property
    def changes(self) -> list[Change]:
        """Sorted by path."""
        return sorted(self._changes)

    def preview(self) -> AbstractContextManager[str]:
        """The tree as it will be, in a directory whose absolute path is given for the time of a ``with``.

        Only our own user may enter. What is in it is shared with the stage and the destination: it is for
        reading. Raises CheckFailed at the end if a staged file was changed, which fails the unit.
        """
        if self.is_over:
            raise UnitStateError(f"cannot show unit {self.id} as sealed", "its listeners are through")
        return self._session.preview(self._sealed)
