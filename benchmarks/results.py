"""What was measured, as plain data: kept as JSON, so that a report can be made again without measuring."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from contenders import OURS
from machine import now
from measure import BenchError, Run, own_peak
from pairs import ratios

SCHEMA = 1


@dataclass(slots=True)
class Timing:
    """The runs of one command, a value for each round: seconds, CPU seconds, bytes (see `measure.Run`)."""

    name: str
    seconds: list[float]
    cpu: list[float]
    largest: list[int]
    together: list[int]


@dataclass(slots=True)
class Part:
    """Commands that took turns at one thing, ours first.

    ``entries`` is the size of the tree where the growth with it is of interest, otherwise 0; ``watched``
    runs are good for memory only; ``floor`` is the runner's own peak, below which none can be told.
    """

    title: str
    timings: list[Timing]
    entries: int = 0
    watched: bool = False
    floor: int = 0


@dataclass(slots=True)
class Table:
    """Figures of another kind than times, ready to be printed."""

    header: list[str]
    rows: list[list[str]]


@dataclass(slots=True)
class Result:
    """One case. ``measures`` is what limits look at; ``phases`` are milliseconds in the push of that name."""

    about: str = ""
    rounds: int = 0
    when: str = ""
    load: str = ""
    version: str = ""
    parts: list[Part] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    measures: dict[str, list[float]] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    failed: str = ""

    def book(self, title: str, runs: dict[str, list[Run]], *, entries: int = 0, key: str = "") -> Part:
        """Keep the times of a part; each ratio becomes the measure ``[key: ]÷ peer``, ours come first."""
        part = Part(title, [_timing(name, turns) for name, turns in runs.items()], entries, False, own_peak())
        self.parts.append(part)
        ours, *peers = part.timings
        for peer in peers:
            self.measures[f"{key}: ÷ {peer.name}" if key else f"÷ {peer.name}"] = ratios(
                ours.seconds, peer.seconds
            )
        if ours.name == OURS:
            receipts = [receipt(run.output) for run in next(iter(runs.values()))]
            names = dict.fromkeys(name for each in receipts for name in each["phases_ms"])
            self.phases[title] = {
                name: median(each["phases_ms"].get(name, 0.0) for each in receipts) for name in names
            }
        return part

    def watched(self, title: str, runs: dict[str, list[Run]], *, entries: int = 0, key: str = "") -> None:
        """Keep the memory of watched runs; ours becomes the measure ``key or title: peak memory``, in MB."""
        part = Part(title, [_timing(name, turns) for name, turns in runs.items()], entries, True, own_peak())
        self.parts.append(part)
        ours = part.timings[0]
        self.measures[f"{key or title}: peak memory"] = [max(*ours.largest, *ours.together) / 1e6]


def receipt(output: str) -> dict[str, Any]:
    """The receipt among the JSON lines of a push."""
    for line in output.splitlines():
        record = json.loads(line)
        if isinstance(record, dict) and record.get("event") == "receipt":
            return record
    raise BenchError("atomsync --json printed no receipt")


def windows(runs: list[Run]) -> list[float]:
    """The mixed windows of pushes, by their receipts, in ms."""
    return [float(receipt(run.output)["window_ms"]) for run in runs]


def begun(rounds: int, version: str) -> Result:
    """An empty result that says when it began, and what else the machine did then."""
    return Result(rounds=rounds, when=now(), load=f"{os.getloadavg()[0]:.2f}", version=version)


@dataclass(slots=True)
class Book:
    """All results so far: of one machine, and of one scale."""

    scale: float
    machine: dict[str, str]
    results: dict[str, Result] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write all of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema": SCHEMA} | asdict(self), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Book:
        """What ``save`` wrote; a `BenchError` when it is something else."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept.pop("schema") != SCHEMA:
                raise BenchError(f"{path} was written by another version of the benchmark")
            kept["results"] = {name: _result(each) for name, each in kept["results"].items()}
            return cls(**kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{path} holds no results: {error}") from error


def _result(kept: dict[str, Any]) -> Result:
    parts = [
        Part(**each | {"timings": [Timing(**one) for one in each["timings"]]})
        for each in kept.get("parts", ())
    ]
    return Result(**kept | {"parts": parts, "tables": [Table(**each) for each in kept.get("tables", ())]})


def _timing(name: str, turns: list[Run]) -> Timing:
    return Timing(
        name,
        [round(run.seconds, 6) for run in turns],
        [round(run.cpu, 6) for run in turns],
        [run.largest for run in turns],
        [run.together for run in turns],
    )
