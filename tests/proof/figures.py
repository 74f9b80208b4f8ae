"""What a proof has judged, in numbers: printed at the end of a run, and kept by a full one."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

FULL = os.environ.get("PROOF") == "full"


def scaled(short: int, full: int) -> int:
    """How much of something: ``short`` inside ``make test``, ``full`` under ``make proof``."""
    return full if FULL else short


class Outcome:
    """What a layer judged: how many states, how many of them were what, and every violation in words.

    With ``first`` a layer stops at the first violation: enough to catch a mutant.
    """

    def __init__(self, *, first: bool = False) -> None:
        self.first = first
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def judged(self, what: str, *violations: str) -> None:
        """One more state, which was ``what`` ("old", "new", …), and what was wrong with it."""
        self.counts[what] += 1
        self.violations += violations

    @property
    def done(self) -> bool:
        """Nothing more need be looked at."""
        return self.first and bool(self.violations)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Figure(NamedTuple):
    layer: str
    case: str
    numbers: dict[str, int | float | str]


class Figures:
    """Every figure of a run. ``add`` also states the verdict, so that no layer can forget to."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def add(self, layer: str, case: str, outcome: Outcome | None = None, **more: int | float | str) -> None:
        """Record; with an ``outcome``, fail if it has a violation or judged nothing."""
        numbers: dict[str, int | float | str] = {}
        if outcome is not None:
            numbers = {"judged": outcome.total, **outcome.counts, "violations": len(outcome.violations)}
        self.all.append(Figure(layer, case, {**numbers, **more}))
        if outcome is not None:
            assert not outcome.violations, "\n".join(outcome.violations[:5])
            assert outcome.total > 0, "nothing was judged"
