"""What the results say about the limits, and about who was faster: the same for the report and the plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cases import CASES
from limits import Limit
from pairs import Spread, ratios
from results import Result


class Verdict(NamedTuple):
    """One limit and what came of it, in words; ``after`` is where we want to be next, if anywhere."""

    title: str
    measure: str
    target: str
    measured: str
    outcome: str
    after: str


class Pair(NamedTuple):
    """Ours ÷ a peer's wall time in one part of a case, over its rounds."""

    case: str
    part: str
    entries: int
    peer: str
    ratio: Spread


def verdicts(results: Mapping[str, Result], *, judged: bool) -> Iterator[Verdict]:
    """One for each limit of each case, also of those that did not run."""
    for name, case in CASES.items():
        for limit in case.limits:
            result = results.get(name)
            values = result.measures.get(limit.measure) if result else None
            measured, outcome, after = "–", _without_value(result), ""
            if limit.wanted is not None:
                after = limit.text(limit.wanted)
            if values:
                spread = Spread.of(values)
                measured = f"{limit.written(spread.median)} {limit.unit}"
                if len(values) > 1:
                    measured += f" ({limit.written(spread.low)}–{limit.written(spread.high)})"
                outcome = _judged(limit, spread.median) if judged else "not judged"
                if judged and limit.wanted is not None:
                    after += ", reached" if spread.median <= limit.wanted else ", not yet"
            yield Verdict(case.title, limit.measure, limit.text(limit.most), measured, outcome, after)


def pairs(results: Mapping[str, Result]) -> Iterator[Pair]:
    """Every comparison of times, in the order of the cases; the bare interpreter is no peer."""
    for name in CASES:
        if name == "start":
            continue
        result = results.get(name)
        for part in result.parts if result else ():
            ours, *peers = part.timings
            for peer in () if part.watched else peers:
                ratio = Spread.of(ratios(ours.seconds, peer.seconds))
                yield Pair(name, part.title, part.entries, peer.name, ratio)


def _judged(limit: Limit, value: float) -> str:
    return "met" if value <= limit.most else "**missed**"


def _without_value(result: Result | None) -> str:
    if result is None:
        return "not run"
    if result.failed:
        return "**failed**"
    return "skipped" if result.skipped else "not measured"
