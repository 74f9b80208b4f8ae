"""Who wants to hear of a unit's life: listeners, kept by a store (for all its units) or by a maker.

    before_flush(unit)          something is pending and about to be staged
    after_flush(unit, staged)   staged: tuple[StagedFile, ...]
    before_commit(unit)         ahead of a commit or a prepare; raise to veto it
    after_seal(unit, sealed)    staged, verified, journaled, and nothing of it visible yet; raise to veto it
    after_commit(unit, receipt)
    after_rollback(unit)
    after_recover(store, recovery)   a store's only: something was recovered

What a listener raises before the commit fails the unit, as in SQLAlchemy. Behind it nothing can: what
``after_commit`` raises becomes a warning in the receipt, and what ``after_rollback`` raises is collected
with the errors of compensations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from atomsync.errors import UsageError

BEFORE_FLUSH, AFTER_FLUSH = "before_flush", "after_flush"
BEFORE_COMMIT, AFTER_SEAL, AFTER_COMMIT = "before_commit", "after_seal", "after_commit"
AFTER_ROLLBACK, AFTER_RECOVER = "after_rollback", "after_recover"
EVENTS = BEFORE_FLUSH, AFTER_FLUSH, BEFORE_COMMIT, AFTER_SEAL, AFTER_COMMIT, AFTER_ROLLBACK, AFTER_RECOVER

Listener = TypeVar("Listener", bound=Callable[..., object])


class Listeners:
    """A mix-in with one list for each event."""

    events: ClassVar[tuple[str, ...]] = EVENTS

    def __init__(self) -> None:
        self._listeners: dict[str, tuple[Callable[..., object], ...]] = {}

    def listens_for(self, event: str) -> Callable[[Listener], Listener]:
        """A decorator: the function is called at every ``event``, in the order they were registered."""
        if event not in self.events:
            raise UsageError(f"cannot listen for {event!r} here", f"the events are {', '.join(self.events)}")

        def register(listener: Listener) -> Listener:
            self._listeners[event] = (*self._listeners.get(event, ()), listener)
            return listener

        return register

    def listeners(self, event: str) -> tuple[Callable[..., Any], ...]:
        return self._listeners.get(event, ())
