"""SIGINT and SIGTERM as a wish: work goes on to the next point at which stopping is free."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import TypeVar

from atomsync.store.progress import Progress

_P = TypeVar("_P", bound=Progress)


@contextlib.contextmanager
def stopping(progress: _P) -> Iterator[_P]:
    """For the time of a ``with``, these signals set ``progress.stopping``; it is closed at the end."""

    def stop(number: int, _frame: object) -> None:
        progress.stopping = signal.Signals(number).name

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield progress
    finally:
        progress.close()
        for number, handler in before.items():
            signal.signal(number, handler)
