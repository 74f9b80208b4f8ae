"""What a long operation tells whoever started it, and asks of them: may I go on?"""

from __future__ import annotations

import time
from typing import NamedTuple

from atomsync.errors import Interrupted


class Progress:
    """Says nothing and never stops; subclasses draw a bar, and set ``stopping`` from a signal handler.

    ``phase`` names what begins (scan, stage, check, seal, hook, commit) with its expected size, ``advance``
    counts what is done of it. ``check`` raises Interrupted where stopping is still free of cost: before
    the seal, and while a command of the operator checks what is sealed. Behind that nobody asks.
    """

    stopping: str = ""
    curious = False
    """Whether ``unchanged`` and ``excluded`` are to be called, once for each path: many."""

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        """``size`` in bytes."""

    def advance(self, files: int = 0, size: int = 0) -> None:
        """``size`` in bytes."""

    def unchanged(self, path: str) -> None:
        """Of the destination nothing is to be done here."""

    def excluded(self, path: str) -> None:
        """A pattern leaves this path of the source out, and all below it."""

    def close(self) -> None:
        """The operation is over, well or badly."""

    def check(self) -> None:
        if self.stopping:
            raise Interrupted(
                f"stopped by {self.stopping}", "the unit was rolled back, the destination is unchanged"
            )


class Done(NamedTuple):
    """How far an operation is: what is done of its ``phase``, of how much (0: not known), and for how many
    ``seconds`` by now; ``phase_s`` of them in this phase. Sizes in bytes."""

    phase: str
    files: int
    of_files: int
    size: int
    of_size: int
    phase_s: float
    seconds: float

    @property
    def left_s(self) -> float | None:
        """How long this phase goes on at the pace it had so far; None if that cannot be told."""
        done, of = (self.size, self.of_size) if self.of_size else (self.files, self.of_files)
        share = done / of if of else 0.0
        return self.phase_s * (1 - share) / share if 0 < share <= 1 else None


UNCHANGED, EXCLUDED = "unchanged", "excluded"


class Counted(Progress):
    """Adds up what it is told, for whoever asks; from a signal handler too. If ``curious``, ``left`` has the
    paths that were left as they are, each with the reason (UNCHANGED or EXCLUDED). ``drawn``: it is shown on
    the last line of a terminal, which others must wipe before they write there."""

    drawn = False

    def __init__(self, *, curious: bool = False) -> None:
        self.curious = curious
        self.left: list[tuple[str, str]] = []
        self._began = self._phase_began = time.monotonic()
        self._name = "start"
        self._files = self._size = self._of_files = self._of_size = 0

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self._files = self._size = 0
        self._name, self._of_files, self._of_size = name, files, size
        self._phase_began = time.monotonic()
        if name == "scan":  # it may scan again
            self.left.clear()

    def unchanged(self, path: str) -> None:
        self.left.append((path, UNCHANGED))

    def excluded(self, path: str) -> None:
        self.left.append((path, EXCLUDED))

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._files += files
        self._size += size

    @property
    def done(self) -> Done:
        now = time.monotonic()
        return Done(
            self._name,
            self._files,
            self._of_files,
            self._size,
            self._of_size,
            now - self._phase_began,
            now - self._began,
        )
