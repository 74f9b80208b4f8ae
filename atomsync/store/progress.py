"""What a long operation tells whoever started it, and asks of them: may I go on?"""

from __future__ import annotations

from atomsync.errors import Interrupted


class Progress:
    """Says nothing and never stops; subclasses draw a bar, and set ``stopping`` from a signal handler.

    ``phase`` names what begins (scan, stage, check, seal, hook, commit) with its expected size, ``advance``
    counts what is done of it. ``check`` raises Interrupted where stopping is still free of cost: before
    the seal, and while a command of the operator checks what is sealed. Behind that nobody asks.
    """

    stopping: str = ""

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        """``size`` in bytes."""

    def advance(self, files: int = 0, size: int = 0) -> None:
        """``size`` in bytes."""

    def close(self) -> None:
        """The operation is over, well or badly."""

    def check(self) -> None:
        if self.stopping:
            raise Interrupted(
                f"stopped by {self.stopping}", "the unit was rolled back, the destination is unchanged"
            )
