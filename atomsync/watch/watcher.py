"""What every watcher offers. One is used for one attachment: what breaks is replaced by a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from atomsync.watch.hint import Hint

Hear = Callable[[Hint], None]  # called from the watcher's own thread


class Uncovered(NamedTuple):
    """A directory from which, with all below it, no events come; ``why`` is for a person."""

    path: str
    why: str


class Watcher(Protocol):
    """``broken`` says why this watcher must be replaced ("" while it need not be): the queue overflowed,
    the root was moved or unmounted, its thread died. ``overflowed`` tells whether the queue did."""

    ordered: bool  # whether ``barrier`` can ever be True

    def start(self) -> None:
        """Cover the tree: when it returns, every later change is heard. OSError if there is no tree."""

    def stop(self) -> None:
        """Never fails; nothing is heard any more."""

    @property
    def broken(self) -> str: ...
    @property
    def overflowed(self) -> bool: ...
    @property
    def directories(self) -> int:
        """How many directories are covered."""

    @property
    def uncovered(self) -> tuple[Uncovered, ...]:
        """The topmost directories that are not."""

    def retry(self) -> None:
        """Try once more to cover what is uncovered; what succeeds is hinted at with its whole tree."""

    def barrier(self, timeout_s: float) -> bool:
        """True when every change made before this call has been heard: an event of our own came through
        the same queue. False if it did not come in time, or if this watcher has no such order."""
