"""For how long a reader can see new files beside old ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import mounts
import trees
from bench import Bench, checked, fill
from contenders import OURS, Contender
from measure import Run
from pairs import WARM_UP, Spread, alternate, ratios
from results import Result, Table, windows

FILES = 20_000


def window(where: str, bench: Bench, result: Result) -> None:
    """All files replaced: the time from the first that is new to the last that is old."""
    count = bench.scaled(FILES)
    bench.rests_on(8 * count * 4096, 8 * count)
    result.about = (
        f"{count:,} small files, all of them replaced in each round. The window is the time from the first"
        " file swapped in to the last: as atomsync reports it (`window_ms`), and, from outside, the time"
        " between the first and the last ctime in the destination, since a rename sets the ctime. A ctime is"
        " as coarse as the kernel's clock tick, a few milliseconds. What is staged in a directory and enters"
        " with it has the ctime of its staging, so for atomsync the second figure is an upper bound."
    )
    spreads: dict[str, list[float]] = {}

    def before(number: int, contender: Contender) -> None:
        if contender.name == OURS:
            trees.change(files, number)
        mounts.settle(ground)

    def note(number: int, contender: Contender, finished: Run) -> None:
        check(number, contender, finished)
        if number != WARM_UP:
            spreads.setdefault(contender.name, []).append(trees.ctime_spread(contender.makes[0]))

    with bench.space() as space, _ground(where, space) as (ground, told):
        result.about += told
        source, own = space / "source", ground / "atomsync"
        trees.made("small", source, count, 4096, "")
        peer = bench.tools.rsync(source, ground / "rsync", "--delay-updates")
        contenders = bench.tools.present(bench.tools.atomsync(source, own), (peer,), result.notes)
        check = checked(source, own, result.notes)
        fill(contenders)
        files = trees.regular_files(source)
        runs = alternate(contenders, bench.rounds, before=before, after=note)
    what = f"{count:,}" if bench.scale == 1 else "all"
    result.book(f"{what} replaced, {where}", runs)
    reported = windows(runs[OURS])
    rows = [[f"{OURS}, its own report", *Spread.of(reported).text(",.1f")]]
    rows += [[f"{name}, ctime spread", *Spread.of(values).text(",.1f")] for name, values in spreads.items()]
    result.tables.append(Table(["window", "ms", "min–max"], rows))
    result.measures["mixed window"] = reported
    if not all(spreads.get(peer.name, ())):
        result.notes.append(f"{peer.name} was done within one tick of the clock: no ratio.")
    elif peer.name in spreads:
        result.measures[f"mixed window ÷ that of {peer.name}"] = ratios(reported, spreads[peer.name])


@contextlib.contextmanager
def _ground(where: str, space: Path) -> Iterator[tuple[Path, str]]:
    """Where the destinations are, and what the report says of it."""
    if where == "tmpfs":
        yield space, " Source and destination are in memory."
        return
    with mounts.directory(2 * mounts.GIB) as (ground, found):
        yield ground, f" The source is in memory, the destination on the machine's own disk ({found})."
