"""What every verb of a unit goes through: its state allows it, and nobody else is in another."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

from atomsync.errors import UnitStateError
from atomsync.unit import state
from atomsync.unit.events import AFTER_SEAL, BEFORE_COMMIT
from atomsync.unit.state import CHANGE, CLOSE, COMMIT, FLUSH, NEST, PENDING, PREPARE, ROLLBACK
from atomsync.unit.turn import Turn

_ENDS = {PREPARE, COMMIT, ROLLBACK, CLOSE}
_FLUSHES = frozenset({FLUSH})
# While listeners of an event are told, and whatever ends the unit besides. What is sealed changes no more.
_REFUSED = {BEFORE_COMMIT: frozenset[str](), AFTER_SEAL: frozenset({FLUSH, CHANGE, NEST})}


class Guarded:
    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._state = PENDING
        self._flushed = False  # nothing was changed since the last flush
        self._telling = ""  # the event that listeners are being told of

    @contextlib.contextmanager
    def _alone(self, verb: str) -> Iterator[None]:
        """One thread at a time, in the process that began, and if the state allows it."""
        self._turn.check_process()
        if not self._turn.busy.acquire(blocking=False):
            raise UnitStateError(
                f"cannot {verb} this unit of work", "another thread is using it", "Use one unit a thread."
            )
        try:
            state.after(self._state, verb)
            if self._telling and (verb in _ENDS or verb in _REFUSED.get(self._telling, _FLUSHES)):
                why = f"its {self._telling} listeners are being told"
                raise UnitStateError(
                    f"cannot {verb} this unit of work", why, "Raise an exception to stop it."
                )
            if verb == CHANGE:
                self._flushed = False
            opened = self._turn.opened
            if opened is not None and not opened.control.locked:
                opened.control.tree.close()  # others commit meanwhile: it may stand where nothing is any more
            yield
        finally:
            self._turn.busy.release()


G = TypeVar("G", bound=Guarded)
P = ParamSpec("P")
R = TypeVar("R")


def verb(name: str) -> Callable[[Callable[Concatenate[G, P], R]], Callable[Concatenate[G, P], R]]:
    """A method that is the verb ``name`` in the unit's table of life."""

    def decorate(method: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
        @functools.wraps(method)
        def guarded(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with self._alone(name):
                return method(self, *args, **kwargs)

        return guarded

    return decorate
