"""The Markdown report, made of results alone: what was measured, against which limits, on what machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from cases import CASES
from pairs import Spread, ratios
from results import Book, Part, Result
from tables import table
from verdicts import pairs, verdicts

HOW = (
    "Each case: one warm-up round, then rounds in which the commands take turns. Wall and CPU seconds are"
    " medians; a ratio is formed within each round, shown are the median and the range of the ratios,"
    " atomsync ÷ the row's command: below 1 atomsync is faster. A limit is held against the median. CPU"
    " seconds are those of the process and all it started, without what the kernel does on threads of its"
    " own. “Largest process” is the peak RSS of the largest single process, the maximum over the rounds; “≤”"
    " marks what is too small for the runner to tell. In every row atomsync reads back and verifies all it"
    " writes, keeps what it replaces, and returns only when a power cut could not take it back."
)
TIMES = ("command", "wall s", "min–max", "ratio", "min–max", "CPU s", "largest process")
MEMORY = ("command", "push", "all processes", "largest process")
SAMPLED = (
    "Memory, in runs of their own: “all processes” is the highest sampled sum over the process tree (PSS:"
    " shared pages count once), “largest process” the kernel's exact peak RSS of one; a peak is the greater."
)


def markdown(book: Book, plots: Sequence[Path], below: Path) -> str:
    """The whole report, which will lie in ``below``; ``plots`` are the pictures there are."""
    full = book.scale == 1
    lines = ["# Benchmarks", ""]
    if not full:
        lines += [f"**A test at {book.scale:g} of the size: the figures say nothing about the targets.**", ""]
    lines += ["## Targets", "", *_targets(book, judged=full), ""]
    if plots:
        lines += [*(f"![{plot.stem}]({plot.relative_to(below).as_posix()})" for plot in plots), ""]
    else:
        lines += ["No plots: matplotlib is not installed where this report was made.", ""]
    lines += ["## Slower than a peer", "", *_lost(book), ""]
    lines += ["## Machine", "", *table(("", ""), [*book.machine.items()]), "", HOW, ""]
    for name, case in CASES.items():
        lines += [f"## {case.title}", "", *_section(book.results.get(name))]
    return "\n".join(lines).rstrip() + "\n"


def _targets(book: Book, *, judged: bool) -> list[str]:
    found = [*verdicts(book.results, judged=judged)]
    met = sum(each.outcome == "met" for each in found)
    missed = sum(each.outcome == "**missed**" for each in found)
    count = f"{met} met, {missed} missed, {len(found) - met - missed} without a verdict."
    header = ("case", "measure", "target", "measured", "outcome", "next")
    return [count, "", *table(header, found)]


def _lost(book: Book) -> list[str]:
    """As plainly as what was won."""
    found = [*pairs(book.results)]
    lost = sorted((each for each in found if each.ratio.median > 1), key=lambda each: -each.ratio.median)
    rows = [(f"{each.peer}: {each.part}", *each.ratio.text(".2f")) for each in lost]
    count = f"In {len(lost)} of {len(found)} comparisons the peer took less time."
    return [count, "", *table(("peer, at what", "ratio", "min–max"), rows)] if rows else [count]


def _section(result: Result | None) -> Iterator[str]:
    if result is None:
        yield from ("Not run.", "")
        return
    yield from (result.about, "") if result.about else ()
    timed = [part for part in result.parts if not part.watched]
    for part in timed:
        if len(timed) > 1:
            yield from (f"### {part.title[0].upper()}{part.title[1:]}", "")
        yield from (*table(TIMES, [*_times(part, result.rounds)]), "")
    if sum(part.entries > 0 for part in timed) > 2:
        yield from ("### Cost per entry, in µs", "", *_per_entry(timed), "")
    for each in result.tables:
        yield from (*table(each.header, each.rows), "")
    if seen := [part for part in result.parts if part.watched]:
        yield from (SAMPLED, "", *table(MEMORY, [row for part in seen for row in _memory(part)]), "")
    endings = [f"**Failed: {result.failed}**"] if result.failed else []
    endings += [f"Skipped: {result.skipped}."] if result.skipped else []
    turns = "1 round" if result.rounds == 1 else f"{result.rounds} rounds"
    facts = f"{turns}, {result.when}, load before {result.load}, {result.version}."
    yield from (f"- {note}" for note in (*endings, *result.notes, facts))
    yield ""


def _times(part: Part, rounds: int) -> Iterator[tuple[str, ...]]:
    ours = part.timings[0]
    fullest = len(ours.seconds)
    for timing in part.timings:
        name = timing.name
        if len(timing.seconds) != rounds and (len(timing.seconds) != fullest or timing is ours):
            name += f" ({len(timing.seconds)} rounds)"
        ratio = ("", "")
        if timing is not ours:
            ratio = Spread.of(ratios(ours.seconds, timing.seconds)).text(".2f")
        wall = Spread.of(timing.seconds).text(".3f")
        cpu = f"{median(timing.cpu):.2f}"
        yield name, *wall, *ratio, cpu, _peak(max(timing.largest), part.floor)


def _per_entry(parts: Sequence[Part]) -> list[str]:
    """A row for each command and kind of push, a column for each size."""
    sizes = sorted({part.entries for part in parts})
    rows: dict[str, dict[int, str]] = {}
    for part in parts:
        kind = part.title.partition(",")[0]
        for timing in part.timings:
            cost = median(timing.seconds) / part.entries * 1e6
            rows.setdefault(f"{kind}: {timing.name}", {})[part.entries] = f"{cost:.1f}"
    header = ("", *(f"{size:,} entries" for size in sizes))
    return table(
        header, [(name, *(cells.get(size, "") for size in sizes)) for name, cells in sorted(rows.items())]
    )


def _memory(part: Part) -> Iterator[tuple[str, ...]]:
    for timing in part.timings:
        together = f"{max(timing.together) / 1e6:.0f} MB"
        yield timing.name, part.title, together, _peak(max(timing.largest), part.floor)


def _peak(size: int, floor: int) -> str:
    """A peak the kernel reported; one not above the runner's own is known as an upper bound only."""
    return f"{'≤ ' if size <= floor else ''}{size / 1e6:.0f} MB"
