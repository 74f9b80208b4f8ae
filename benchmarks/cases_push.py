"""Cases in which one tree is pushed: for the first time, with nothing to do, with a little to do."""

from __future__ import annotations

import random

import mounts
import trees
from bench import Bench, afresh, anew, changing, checked, fill, observed
from contenders import FEW, OURS, Contender
from pairs import alternate
from results import Result, windows


def first(bench: Bench, result: Result) -> None:
    """Into nothing, everything in memory: the cost of the program itself."""
    source, tools = bench.tree.path, bench.tools
    bench.copies(bench.tree, 1.2)
    result.about = (
        f"{bench.tree}. Source and destination in memory; the destination is removed before each run."
    )
    with bench.space() as space:
        target = space / "target"
        peers = (
            tools.rsync(source, target),
            tools.cp(source, target),
            tools.rclone(source, target),
            tools.unison(source, target, at_most=FEW),
        )
        contenders = tools.present(tools.atomsync(source, target), peers, result.notes)
        check = checked(source, target, result.notes)
        runs = alternate(contenders, bench.rounds, before=afresh(bench.tree.footprint), after=check)
    result.book("first push", runs)
    result.measures["mixed window"] = windows(runs[OURS])


def unchanged(bench: Bench, result: Result) -> None:
    """Nothing to do: the cost of finding that out."""
    source, tools = bench.tree.path, bench.tools
    bench.copies(bench.tree, 4.2)
    result.about = f"{bench.tree}. Each command has a destination of its own, complete since its first push."
    with bench.space() as space:
        own = space / "atomsync"
        peers = (
            tools.rsync(source, space / "rsync"),
            tools.rclone(source, space / "rclone"),
            tools.unison(source, space / "unison"),
        )
        contenders = tools.present(tools.atomsync(source, own), peers, result.notes)
        fill(contenders)
        runs = alternate(contenders, bench.rounds, after=checked(source, own, result.notes))
    result.book("no change", runs)


def durable(bench: Bench, result: Result) -> None:
    """Into nothing on a disk, and only done when a power cut cannot take it back."""
    source, tools = bench.tree.path, bench.tools
    with mounts.disk("ext4", max(4 * mounts.GIB, 3 * bench.tree.footprint)) as (disk, below):
        result.about = (
            f"{bench.tree}. Source in memory, destination on ext4 on a loop device over a sparse image on"
            f" {below}. Before each run the destination is removed and the filesystem written out."
        )
        if below == "tmpfs":
            result.notes.append("The image itself lies in memory: here a flush costs next to nothing.")
        target = disk / "target"
        peers = (tools.rsync_then_sync(source, target), tools.rsync(source, target, "--fsync"))
        contenders = tools.present(tools.atomsync(source, target), peers, result.notes)
        check = checked(source, target, result.notes)
        runs = alternate(contenders, bench.rounds, before=anew, after=check)
    result.book("first push, ext4", runs)
    result.notes.append(
        "“rsync -a, then sync” flushes once, at the end: a power cut before that may take any of the files."
    )


def changed(bench: Bench, result: Result) -> None:
    """One file in a hundred is new: the everyday push."""
    source, tools, dice = bench.tree.path, bench.tools, random.Random(1)
    bench.copies(bench.tree, 2.3)
    result.about = (
        f"{bench.tree}. Before each round other files, one in a hundred, are changed in the source; each"
        " command has a destination of its own and meets the same changes."
    )

    def change(number: int, contender: Contender) -> None:
        trees.change(dice.sample(files, max(1, len(files) // 100)), number)

    with bench.space() as space:
        own = space / "atomsync"
        peers = (tools.rsync(source, space / "rsync", "--delay-updates"),)
        contenders = tools.present(tools.atomsync(source, own), peers, result.notes)
        fill(contenders)
        files = trees.regular_files(source)
        check = checked(source, own, result.notes)
        runs = alternate(contenders, bench.rounds, before=changing(OURS, change), after=check)
    result.book("1 % changed", runs)


def memory(bench: Bench, result: Result) -> None:
    """The peak of the whole process tree, sampled, with the kernel's own figure beside it."""
    source, tools = bench.tree.path, bench.tools
    bench.copies(bench.tree, 2.2)
    result.about = f"{bench.tree}. Everything in memory."
    with bench.space() as space:
        own = space / "atomsync"
        peers = (tools.rsync(source, space / "rsync"),)
        contenders = tools.present(tools.atomsync(source, own), peers, result.notes)
        fill(contenders)  # the bytecode, the caches
        result.watched("first push", observed(contenders, before=anew))
        result.watched("no change", observed(contenders))
