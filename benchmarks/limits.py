"""What a case was meant to reach: limits that were set before anything was measured."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """The ``measure`` of a result may be ``most`` of ``unit``; ``wanted`` is where we want to be next."""

    measure: str
    most: float
    unit: str = "×"
    wanted: float | None = None

    def text(self, bound: float) -> str:
        """A bound in words; the measure says of what."""
        return f"≤ {bound:g} {self.unit}"

    def written(self, value: float) -> str:
        """A measured value, as exact as its unit deserves."""
        return f"{value:,.{_DIGITS[self.unit]}f}"


_DIGITS = {"×": 2, "ms": 1, "MB": 0}
