"""Contenders that take turns in one run, and what their turns say about each other.

Two benchmarks run one after the other compare two states of the machine. Taking turns, A B C A B C …,
whatever disturbs the machine meets all of them, and a ratio is formed within a round, never across.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from contenders import Contender
from measure import Run, run

WARM_UP = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of ``values``, which are at least one."""
        return cls(median(values), min(values), max(values))

    def text(self, form: str) -> tuple[str, str]:
        """The median and the range, each value written with ``form``."""
        return format(self.median, form), f"{self.low:{form}}–{self.high:{form}}"


Turn = Callable[[int, Contender], None]
Finished = Callable[[int, Contender, Run], None]


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    before: Turn | None = None,
    after: Finished | None = None,
    watch: bool = False,
) -> dict[str, list[Run]]:
    """One warm-up round and ``rounds`` that count, everybody once in each; the runs by contender.

    ``before`` and ``after`` see each turn, the warm-up included, and are not timed. Who takes part in fewer
    rounds is in the first ones.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            if number > (contender.at_most or rounds):
                continue
            if before:
                before(number, contender)
            finished = run(contender.argv, watch=watch)
            label = f"round {number}/{rounds}" if number != WARM_UP else "warm-up"
            print(f"  {label:12}{contender.name:36}{finished.seconds:9.3f} s", file=sys.stderr, flush=True)
            if after:
                after(number, contender, finished)
            if number != WARM_UP:
                runs[contender.name].append(finished)
    return runs


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours ÷ theirs, round by round; they may have left early."""
    return [our / their for our, their in zip(ours, theirs)]
