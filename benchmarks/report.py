"""The Markdown report: what was measured, against which target, on what machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from measure import Run, own_peak
from pairs import Spread, Tools, ratios


@dataclass(slots=True)
class Section:
    """One case in the report.

    ``value`` is what is held against ``limit``, ``measured`` the same for people; both are left alone
    when the case was skipped, failed, or lacked the peer.
    """

    title: str
    target: str = ""
    limit: float = 0.0
    about: str = ""
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    value: float | None = None
    measured: str = ""
    failed: bool = False

    def outcome(self, *, smoke: bool) -> str:
        """What came of it, in a word; a smoke test judges nothing."""
        if self.failed:
            return "**FAILED**"
        if self.value is None:
            return "not measured"
        if not self.target:
            return "no target"
        if smoke:
            return "not judged"
        return "met" if self.value <= self.limit else "**MISSED**"

    def markdown(self) -> list[str]:
        """The section in lines."""
        lines = [f"## {self.title}", ""]
        if self.about:
            lines += [self.about, ""]
        if self.rows:
            lines += [*table(self.header, self.rows), ""]
        if self.notes:
            lines += [*(f"- {note}" for note in self.notes), ""]
        return lines


def timing(section: Section, runs: dict[str, list[Run]], *, held_against: str) -> None:
    """Fill ``section`` with times; the first contender is ours, a ratio is ours ÷ the row's."""
    section.header = ("command", "wall s", "min–max", "ratio", "min–max", "CPU s", "largest process")
    ours = [run.seconds for run in next(iter(runs.values()))]
    for position, (name, turns) in enumerate(runs.items()):
        seconds = [run.seconds for run in turns]
        ratio = ratios(ours, seconds)
        wall = Spread.of(seconds).text(".3f")
        cpu, _ = Spread.of([run.cpu for run in turns]).text(".2f")
        peak = process_peak(max(run.largest for run in turns))
        section.rows.append((name, *wall, *(ratio.text(".2f") if position else ("", "")), cpu, peak))
        if name == held_against:
            section.value = ratio.median
            section.measured = "{} × ({})".format(*ratio.text(".2f"))


def process_peak(size: int) -> str:
    """A peak the kernel reported; one not above the runner's own is known as an upper bound only."""
    return f"{'≤ ' if size <= own_peak() else ''}{size / 1e6:.0f} MB"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, padded so that it reads as plain text too; the first column is words."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (width - 1) + ":") if column else "-" * width for column, width in enumerate(widths)]
    return [line(header), line(rule), *map(line, rows)]


def environment(tools: Tools) -> list[tuple[str, str]]:
    """What a reader needs to place the figures; neither the host's name nor its paths."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("CPU", _first("/proc/cpuinfo", "model name")),
        ("cores", str(os.cpu_count())),
        ("memory", f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.1f} GB"),
        ("load before (1, 5, 15 min)", load),
        ("Python", platform.python_version()),
        *((program, tools.version(program)) for program in ("atomsync", "rsync", "cp", "rclone")),
    ]


def markdown(
    facts: Sequence[tuple[str, str]], sections: Sequence[Section], rounds: int, *, smoke: bool
) -> str:
    """The whole report."""
    lines = ["# atomsync benchmark", ""]
    if smoke:
        lines += ["**Smoke test on a small synthetic tree: the figures say nothing about the targets.**", ""]
    results = [
        (part.title, part.target or "none set", part.measured or "–", part.outcome(smoke=smoke))
        for part in sections
    ]
    lines += ["## Result", "", *table(("case", "target", "measured", "outcome"), results), ""]
    lines += ["## Environment", "", *table(("", ""), facts), ""]
    lines += [
        f"Each case: one warm-up round, then {rounds} rounds in which the commands take turns. Wall and CPU"
        " seconds are medians; a ratio is formed within each round, shown are the median and the range of"
        " the ratios, atomsync ÷ the row's command: below 1 atomsync is faster. CPU seconds are those of the"
        " process and all it started, without what the kernel does on threads of its own. “Largest process”"
        " is the peak RSS of the largest single process, the maximum over the rounds; “≤” marks what is too"
        " small for the runner to tell.",
        "",
    ]
    for section in sections:
        lines += section.markdown()
    return "\n".join(lines).rstrip() + "\n"


def _first(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"
