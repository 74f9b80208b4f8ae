"""The cases. Each takes a `Bench` and fills its section of the report."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mounts
import trees
from measure import ENVIRONMENT, BenchError, Run, quietly
from pairs import WARM_UP, Contender, Finished, Spread, Tools, Turn, alternate, ratios
from report import Section, process_peak, timing


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases share: the tools, the tree in memory, and room beside it on the same tmpfs."""

    tools: Tools
    tree: trees.Tree
    room: Path
    rounds: int
    small_files: int

    @contextlib.contextmanager
    def space(self) -> Iterator[Path]:
        """An empty directory on the tmpfs; gone afterwards, so that cases do not add up in memory."""
        path = self.room / "case"
        path.mkdir()
        try:
            yield path
        finally:
            remove(path)


def first_push(bench: Bench, section: Section) -> None:
    """Into nothing, everything in memory: the cost of the program itself."""
    section.about = (
        f"{bench.tree}. Source and destination in memory; the destination is removed before each run."
    )
    source, tools = bench.tree.path, bench.tools
    with bench.space() as space:
        target = space / "target"
        candidates = [
            tools.rsync(source, target),
            tools.cp(source, target),
            tools.rclone(source, target),
        ]
        contenders = _present(section, tools, tools.atomsync(source, target), candidates)
        runs = alternate(
            contenders, bench.rounds, before=_emptied(target), after=_checked(section, source, target)
        )
    timing(section, runs, held_against="rsync -a")


def unchanged(bench: Bench, section: Section) -> None:
    """Nothing to do: the cost of finding that out."""
    section.about = f"{bench.tree}. Each command has a destination of its own, complete since its first push."
    source, tools = bench.tree.path, bench.tools
    with bench.space() as space:
        own = space / "atomsync"
        contenders = _present(
            section, tools, tools.atomsync(source, own), [tools.rsync(source, space / "rsync")]
        )
        _fill(contenders)
        runs = alternate(contenders, bench.rounds, after=_checked(section, source, own))
    timing(section, runs, held_against="rsync -a")


def durable(bench: Bench, section: Section) -> None:
    """Into nothing on a disk, and only done when a power cut cannot take it back."""
    source, tools = bench.tree.path, bench.tools
    with mounts.ext4(max(4 * mounts.GIB, 3 * bench.tree.footprint)) as (disk, below):
        section.about = (
            f"{bench.tree}. Source in memory, destination on ext4 on a loop device over a sparse image on"
            f" {below}. Before each run the destination is removed and the filesystem written out."
        )
        if below == "tmpfs":
            section.notes.append("The image itself lies in memory: here a flush costs next to nothing.")
        target = disk / "target"
        candidates = [tools.rsync(source, target, "--fsync"), tools.rsync_then_sync(source, target)]
        contenders = _present(section, tools, tools.atomsync(source, target), candidates)
        runs = alternate(
            contenders, bench.rounds, before=_emptied(target), after=_checked(section, source, target)
        )
    timing(section, runs, held_against="rsync -a --fsync")
    section.notes.append(
        "“rsync -a, then sync” flushes once, at the end: a power cut before that may take any of the files."
    )


def changed(bench: Bench, section: Section) -> None:
    """One file in a hundred is new: the everyday push."""
    section.about = (
        f"{bench.tree}. Before each round other files, one in a hundred, are changed in the source; each"
        " command has a destination of its own and meets the same changes."
    )
    source, tools, dice = bench.tree.path, bench.tools, random.Random(1)

    def changes(number: int, contender: Contender) -> None:
        if contender is contenders[0]:
            trees.change(dice.sample(files, max(1, len(files) // 100)), number)

    with bench.space() as space:
        own = space / "atomsync"
        peer = tools.rsync(source, space / "rsync", "--delay-updates")
        contenders = _present(section, tools, tools.atomsync(source, own), [peer])
        _fill(contenders)
        files = trees.regular_files(source)
        runs = alternate(contenders, bench.rounds, before=changes, after=_checked(section, source, own))
    timing(section, runs, held_against=peer.name)


def memory(bench: Bench, section: Section) -> None:
    """The peak of the whole process tree, sampled, with the kernel's own figure beside it."""
    section.about = (
        f"{bench.tree}. “All processes” is the highest sampled sum over the process tree (PSS: shared pages"
        " count once); “largest process” is the kernel's exact peak RSS of one process. The maximum over"
        " the rounds; the greater of the two is held against the target."
    )
    section.header = ("command", "push", "all processes", "largest process")
    source, tools = bench.tree.path, bench.tools
    with bench.space() as space:
        target = space / "atomsync"
        other = space / "rsync"
        contenders = _present(section, tools, tools.atomsync(source, target), [tools.rsync(source, other)])

        def empty(number: int, contender: Contender) -> None:
            remove(Path(contender.argv[-1]))

        check = _checked(section, source, target)
        pushes = {
            "first": alternate(contenders, bench.rounds, before=empty, after=check, watch=True),
            "no change": alternate(contenders, bench.rounds, watch=True),
        }
    worst = 0
    for push, runs in pushes.items():
        for name, turns in runs.items():
            together = max(run.together for run in turns)
            largest = max(run.largest for run in turns)
            section.rows.append((name, push, f"{together / 1e6:.0f} MB", process_peak(largest)))
            if name == contenders[0].name:
                worst = max(worst, together, largest)
    section.value = worst
    section.measured = f"{worst / 1e6:.0f} MB for {bench.tree.files:,} files"


def window(bench: Bench, section: Section) -> None:
    """For how long a reader can see new files beside old ones."""
    section.about = (
        f"{bench.small_files:,} small files, all of them replaced in each round. The window is the time from"
        " the first file swapped in to the last: as atomsync reports it (`window_ms`), and for both by one"
        " measure from outside, the time between the first and the last ctime in the destination. A ctime is"
        " as coarse as the kernel's clock tick, a few milliseconds."
    )
    section.header = ("window", "ms", "min–max")
    tools = bench.tools
    reported: list[float] = []
    spreads: dict[str, list[float]] = {}

    def changes(number: int, contender: Contender) -> None:
        if contender is contenders[0]:
            trees.change(files, number)

    def note(number: int, contender: Contender, run: Run) -> None:
        check(number, contender, run)
        if number == WARM_UP:
            return
        spreads.setdefault(contender.name, []).append(trees.ctime_spread(Path(contender.argv[-1])))
        if contender is contenders[0]:
            reported.append(_window_of(run.output))

    with bench.space() as space:
        source, own = space / "source", space / "atomsync"
        trees.synthetic(source, bench.small_files, 4096)
        peer = tools.rsync(source, space / "rsync", "--delay-updates")
        contenders = _present(section, tools, tools.atomsync(source, own, "--json"), [peer])
        check = _checked(section, source, own)
        _fill(contenders)
        files = trees.regular_files(source)
        alternate(contenders, bench.rounds, before=changes, after=note)
    section.rows.append(("atomsync push, its own report", *Spread.of(reported).text(",.1f")))
    for name, values in spreads.items():
        section.rows.append((f"{name}, ctime spread", *Spread.of(values).text(",.1f")))
    section.value = Spread.of(reported).median
    section.measured = f"{section.value:,.1f} ms"
    if peer.name in spreads:
        section.measured += f", rsync {Spread.of(spreads[peer.name]).median:,.1f} ms"
        for title, ours in (("own report", reported), ("ctime spread", spreads[contenders[0].name])):
            middle, around = ratios(ours, spreads[peer.name]).text(".3f")
            section.notes.append(f"atomsync's {title} ÷ rsync's ctime spread: {middle} ({around}).")


@dataclass(frozen=True, slots=True)
class Case:
    """A case with its place in the report, and the limit that was set for it before it was measured."""

    title: str
    measure: Callable[[Bench, Section], None]
    target: str = ""
    limit: float = 0.0


CASES = {
    "first": Case("First push, tmpfs", first_push, "first push ≤ 1.2 × rsync -a", 1.2),
    "unchanged": Case("Second push without changes, tmpfs", unchanged, "no change ≤ 2.5 × rsync -a", 2.5),
    "ext4": Case("First push, ext4, full durability", durable, "ext4 full ≤ 0.5 × rsync -a --fsync", 0.5),
    "changed": Case("1 % of the files changed, tmpfs", changed),
    "memory": Case("Peak memory, tmpfs", memory, "memory ≤ 150 MB for 50,000 files", 150e6),
    "window": Case("Mixed window, tmpfs", window),
}


def remove(path: Path) -> None:
    """Remove a tree; with rm, which is faster than we are."""
    quietly("rm", "-rf", "--", str(path))


def _present(section: Section, tools: Tools, own: Contender, peers: Sequence[Contender]) -> list[Contender]:
    """Ours and the peers this machine has; the section says who is missing."""
    reasons = {peer.name: tools.lacking(peer.name) for peer in peers}
    section.notes += [reason for reason in reasons.values() if reason]
    return [own, *(peer for peer in peers if not reasons[peer.name])]


def _fill(contenders: Sequence[Contender]) -> None:
    """The first push of each, untimed."""
    for contender in contenders:
        quietly(*contender.argv)


def _emptied(target: Path) -> Turn:
    def before(number: int, contender: Contender) -> None:
        remove(target)
        mounts.settle(target.parent)

    return before


def _checked(section: Section, source: Path, target: Path) -> Finished:
    """Compare the trees once, after the warm-up of atomsync: a fast push of the wrong bytes is no push."""

    def after(number: int, contender: Contender, run: Run) -> None:
        if number != WARM_UP or not contender.name.startswith("atomsync"):
            return
        command = ("diff", "-r", "--no-dereference", "--", str(source), str(target))
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", env=ENVIRONMENT)
        expected = f"Only in {target}: {trees.CONTROL}"
        differences = [line for line in (found.stdout + found.stderr).splitlines() if line != expected]
        if differences:
            raise BenchError(f"after atomsync the trees differ, {len(differences)} lines: {differences[0]}")
        section.notes.append("`diff -r --no-dereference` found the pushed tree equal to the source.")

    return after


def _window_of(output: str) -> float:
    """``window_ms`` of the receipt among the JSON lines."""
    for line in output.splitlines():
        record = json.loads(line)
        if record.get("event") == "receipt":
            return float(record["window_ms"])
    raise BenchError("atomsync --json printed no receipt")
