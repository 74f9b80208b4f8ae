"""SIGINT, SIGTERM and SIGHUP as a wish: work goes on to the next point at which stopping is free.

SIGUSR2, and SIGINFO (Ctrl-T) where there is one, as a question: how far is it?
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TypeVar

from atomsync.cli.render_progress import line
from atomsync.store.progress import Counted, Progress

_P = TypeVar("_P", bound=Progress)
ASKING = [signal.SIGUSR2, *([signal.SIGINFO] if hasattr(signal, "SIGINFO") else [])]


@contextlib.contextmanager
def stopping(progress: _P) -> Iterator[_P]:
    """For the time of a ``with``, these signals set ``progress.stopping``; it is closed at the end."""

    def stop(number: int, _frame: object) -> None:
        progress.stopping = signal.Signals(number).name

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
        numbers.append(
            signal.SIGHUP
        )  # a hook has a session of its own, and hears of no terminal that is closed
    with answering(progress):
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield progress
        finally:
            progress.close()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def answering(progress: Progress) -> Iterator[None]:
    """For the time of a ``with``, who asks gets one line on stderr, written at once and whole."""

    def answer(_number: int, _frame: object) -> None:
        if isinstance(progress, Counted):
            wipe = "\r\x1b[2K" if progress.drawn else ""
            with contextlib.suppress(OSError):  # nobody hears it
                os.write(2, f"{wipe}atomsync: {line(progress.done)}\n".encode(errors="backslashreplace"))

    before = {number: signal.signal(number, answer) for number in ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def unmoved() -> None:
    """From now on a question that nobody answers does no harm: without a handler it would kill."""
    for number in ASKING:
        signal.signal(number, lambda _number, _frame: None)  # a handler, unlike SIG_IGN, is not inherited


def children_are_heard_of() -> None:
    """Whoever started us may ignore their end: then nobody could tell how a hook ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
