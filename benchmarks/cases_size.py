"""Cases about the shape of a tree: how the cost grows with it, one directory with everything, a deep one."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

import trees
from bench import Bench, afresh, anew, checked, emptied, observed
from contenders import FEW, OURS
from pairs import alternate
from results import Result, windows

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
LEAST = 500
SLOW_FROM = 300_000
PUSHES = ("first push", "no change")
LARGEST = "largest tree"
SHARED = "The commands that find nothing to do look at one and the same destination, which atomsync pushed."


class Shape(NamedTuple):
    """The arguments of `trees.made`; ``name`` is what sets it off, if not the number of its entries."""

    kind: str
    number: int
    bytes: int
    name: str = ""


def growth(bench: Bench, result: Result) -> None:
    """From ten thousand small files to a million."""
    sizes = sorted({bench.scaled(size, LEAST) for size in SIZES})
    bench.rests_on(int(2.3 * 100 * sizes[-1]), int(2.4 * sizes[-1]))
    result.about = (
        f"{sizes[0]:,} to {sizes[-1]:,} files of 0 to 200 bytes, a hundred in a directory, in memory."
        f" {SHARED} A first push makes its destination; in an empty one that is there already it renames each"
        f" name of the source's root, of the largest tree {sizes[-1] // 100:,}."
    )
    if bench.rounds > FEW:
        result.notes.append(f"{FEW} rounds with {SLOW_FROM:,} files and more, {bench.rounds} with fewer.")
    for size in sizes:
        rounds = min(FEW, bench.rounds) if size >= SLOW_FROM else bench.rounds
        key = LARGEST if size == sizes[-1] else f"{size:,} files"
        _both(bench, result, Shape("small", size, 200), rounds, key)
    for title in PUSHES:
        costs = [
            median(part.timings[0].seconds) / part.entries
            for part in result.parts
            if part.entries and not part.watched and part.title.startswith(title)
        ]
        worst = max(later / earlier for place, earlier in enumerate(costs) for later in costs[place:])
        result.measures[f"{title}: growth of the cost per entry"] = [worst]


def flat(bench: Bench, result: Result) -> None:
    """One directory with everything."""
    count = bench.scaled(100_000)
    bench.rests_on(2 * count * 1000, 2 * count)
    result.about = f"{count:,} files of up to 1,000 bytes in one directory, in memory. {SHARED}"
    _both(bench, result, Shape("flat", count, 1000, "one directory"), bench.rounds)


def deep(bench: Bench, result: Result) -> None:
    """Directories in directories."""
    levels = bench.scaled(400)
    bench.rests_on(0, 2 * 22 * levels)
    result.about = (
        f"{levels} directories inside each other, at each two branches of five more, a file in every one, in"
        f" memory. {SHARED}"
    )
    result.rounds = min(FEW, bench.rounds)
    _both(bench, result, Shape("deep", levels, 1000, "deep tree"), result.rounds)


def _both(bench: Bench, result: Result, tree: Shape, rounds: int, key: str = "") -> None:
    """A first push and one without changes, the times and the memory of both."""
    tools, prefix = bench.tools, f"{key}, " if key else ""
    with bench.space() as space:
        source, target = space / "source", space / "target"
        made = trees.made(tree.kind, source, tree.number, tree.bytes, "")
        entries = made.entries
        ours, rsync = tools.atomsync(source, target), tools.rsync(source, target)
        notes: list[str] = []
        contenders = tools.present(ours, (rsync, tools.cp(source, target)), notes)
        before = afresh(made.footprint)
        runs = alternate(contenders, rounds, before=before, after=checked(source, target, notes))
        result.notes += [note for note in notes if note not in result.notes]
        first, unchanged = (f"{what}, {tree.name or f'{entries:,} entries'}" for what in PUSHES)
        result.book(first, runs, entries=entries, key=f"{prefix}first push")
        result.measures[f"{prefix}first push: mixed window"] = windows(runs[OURS])
        if key == LARGEST:
            runs = alternate([ours], min(FEW, rounds), before=emptied)
            result.measures[f"{prefix}push into an empty directory: mixed window"] = windows(runs[OURS])
        # Ours comes last, for its destination serves what follows.
        pair = [each for each in contenders if each.name in (ours.name, rsync.name)]
        seen = observed(pair[::-1], before=anew)
        seen = {each.name: seen[each.name] for each in pair}
        result.watched(first, seen, entries=entries, key=f"{prefix}first push")
        runs = alternate(pair, rounds)
        result.book(unchanged, runs, entries=entries, key=f"{prefix}no change")
        result.watched(unchanged, observed(pair), entries=entries, key=f"{prefix}no change")
