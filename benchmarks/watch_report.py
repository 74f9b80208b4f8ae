"""The report of the watch benchmark: what was measured, against which targets, beside whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tables import table


@dataclass(frozen=True, slots=True)
class Judged:
    """A value and the limit that was set for it before it was measured."""

    target: str
    measured: str
    value: float
    limit: float

    @property
    def outcome(self) -> str:
        """In a word."""
        return "met" if self.value <= self.limit else "**MISSED**"


@dataclass(slots=True)
class Part:
    """One case in the report."""

    title: str
    about: str = ""
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    failed: bool = False

    def markdown(self) -> list[str]:
        """The part in lines."""
        lines = [f"## {self.title}", "", *([self.about, ""] if self.about else [])]
        if self.rows:
            lines += [*table(self.header, self.rows), ""]
        if self.notes:
            lines += [*(f"- {note}" for note in self.notes), ""]
        return lines


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that ``share`` of ``values`` do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def markdown(facts: Sequence[tuple[str, str]], parts: Sequence[Part], *, quick: bool) -> str:
    """The whole report."""
    lines = ["# atomsync watch benchmark", ""]
    if quick:
        lines += ["**Smoke test on small trees: the figures say nothing about the targets.**", ""]
    results = []
    for part in parts:
        results += [(part.title, "", "", "**FAILED**")] if part.failed else []
        for found in part.judged:
            results.append(
                (part.title, found.target, found.measured, "not judged" if quick else found.outcome)
            )
    lines += ["## Result", "", *table(("case", "target", "measured", "outcome"), results), ""]
    lines += ["## Environment", "", *table(("", ""), facts), ""]
    lines += [
        "How it is measured: [benchmarks/README.md](../benchmarks/README.md#atomsync-watch). The peers are"
        " timed at what they do, which is less: neither waits for the disk, neither holds back a file that is"
        " still being written, and neither makes a batch visible as a whole.",
        "",
    ]
    for part in parts:
        lines += part.markdown()
    return "\n".join(lines).rstrip() + "\n"
