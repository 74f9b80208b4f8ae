"""Cases with large files: several new ones, and one of which little has changed."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import mounts
import trees
from bench import Bench, afresh, anew, changing, checked, fill
from contenders import OURS, Contender
from measure import BenchError, Run, quietly
from pairs import WARM_UP, Spread, alternate
from results import Result, Table

MIB = 1 << 20
FILE = "large-0"
# Where atomsync begins to write only what differs.
LEAST = 16 * MIB


def large(bench: Bench, result: Result) -> None:
    """Four new files: what a byte costs."""
    count, size = 4, bench.scaled(mounts.GIB, LEAST)
    bench.rests_on(2 * count * size + 100 * MIB, 0)
    with bench.space() as space:
        source, target = space / "source", space / "target"
        tree = trees.made("large", source, count, size, "Random bytes")
        result.about = f"{tree}. All in memory; the destination is removed before each run."
        tools = bench.tools
        peers = (tools.rsync(source, target), tools.cp(source, target))
        contenders = tools.present(tools.atomsync(source, target), peers, result.notes)
        check = checked(source, target, result.notes)
        runs = alternate(contenders, bench.rounds, before=afresh(tree.footprint), after=check)
    result.book(f"{count} × {size / mounts.GIB:.3g} GiB", runs)


def inplace(filesystem: str, bench: Bench, result: Result) -> None:
    """One file, 1 MiB of it changed in place, on a filesystem with reflinks; then a first push within it."""
    size = bench.scaled(mounts.GIB, LEAST)
    bench.rests_on(size, 1)
    with mounts.disk(filesystem, max(mounts.GIB, 6 * size)) as (disk, below), bench.space() as space:
        tools, source, inside, own = bench.tools, space / "source", disk / "inside", disk / "atomsync"
        trees.made("large", source, 1, size, "")
        result.about = (
            f"One file of {size / mounts.GIB:.3g} GiB in memory, another MiB of it changed in place before"
            f" each round. Each command has a destination of its own on {filesystem} on a loop device over a"
            f" sparse image on {below}, written out and not in its page cache. atomsync keeps the version it"
            " replaces; rsync writes over it. Then the file lies on that filesystem, too, is changed there,"
            " and not in the page cache either; and its first push goes to another directory there. “Newly"
            " allocated” is what the filesystem holds more after the push (`df`), history included."
        )
        peers = (tools.rsync(source, disk / "rsync", "--inplace", "--no-whole-file"),)
        contenders = tools.present(tools.atomsync(source, own), peers, result.notes)
        fill(contenders)
        held = _Held(disk)
        check = checked(source, own, result.notes)

        def turns(file: Path, where: str) -> dict[str, list[Run]]:
            change = changing(OURS, partial(_change, file))

            def before(number: int, contender: Contender) -> None:
                change(number, contender)
                held.before(contender.makes[0] / FILE, *([file] if where else []))

            def after(number: int, contender: Contender, finished: Run) -> None:
                held.after(number, contender.name + where)
                check(number, contender, finished)

            return alternate(contenders, bench.rounds, before=before, after=after)

        result.book(f"1 MiB in place, {filesystem}", turns(source / FILE, ""))
        kept = sum(path.stat().st_size == size for path in (own / trees.CONTROL).rglob("*"))
        if not kept:
            raise BenchError("atomsync's history has no earlier version of the file")
        result.notes.append(f"atomsync's history held {kept} earlier versions of the file at the end.")

        inside.mkdir()
        quietly("cp", "-a", "--reflink=always", str(own / FILE), str(inside / FILE))
        near = disk / "near"
        peers = (tools.rsync(inside, disk / "rsync-near", "--inplace", "--no-whole-file"),)
        contenders = tools.present(tools.atomsync(inside, near), peers, [])
        fill(contenders)
        check = checked(inside, near, result.notes)
        runs = turns(inside / FILE, f", within {filesystem}")
        result.book(f"1 MiB in place, within {filesystem}", runs, key="source there, too")

        peers = (tools.rsync(inside, disk / "copy"),)
        contenders = tools.present(tools.atomsync(inside, disk / "clone"), peers, [])

        def before_first(number: int, contender: Contender) -> None:
            anew(number, contender)
            held.before(inside / FILE)

        def after_first(number: int, contender: Contender, finished: Run) -> None:
            held.after(number, f"{contender.name}, first push within {filesystem}")

        runs = alternate(contenders, bench.rounds, before=before_first, after=after_first)
        result.book(f"first push within {filesystem}", runs, key="within")
    result.tables.append(held.table())


class _Held:
    """What a filesystem holds more after each turn than before it."""

    def __init__(self, disk: Path) -> None:
        self._disk, self._held = disk, 0
        self._grown: dict[str, list[float]] = {}

    def before(self, *files: Path) -> None:
        """Write everything out, and take ``files`` from the page cache, as it would be a day later."""
        self._held = mounts.used(self._disk)
        for file in files:
            with file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def after(self, number: int, name: str) -> None:
        if number != WARM_UP:
            self._grown.setdefault(name, []).append((mounts.used(self._disk) - self._held) / MIB)

    def table(self) -> Table:
        rows = [[name, *Spread.of(values).text(",.1f")] for name, values in self._grown.items()]
        return Table(["command", "newly allocated, MiB", "min–max"], rows)


def _change(file: Path, number: int, contender: Contender) -> None:
    dice = random.Random(number)
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(dice.randrange(size - MIB))
        stream.write(dice.randbytes(MIB))
