"""What all cases share: the tools, the real tree in memory, and room beside it on the same tmpfs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mounts
import trees
from contenders import OURS, Contender, Tools
from measure import ENVIRONMENT, BenchError, Run, Skipped, quietly, run
from pairs import WARM_UP, Finished, Turn

REAL_FILES = 50_000
# What the kernel needs for an inode and its name, beside the pages of the content.
INODE = 1200
_ZEROS = bytes(1 << 20)


@dataclass
class Bench:
    """``scale`` is 1 for the real thing; a smaller one makes all trees smaller, and the figures worthless."""

    tools: Tools
    room: Path
    rounds: int
    scale: float = 1.0
    chosen: Path | None = None

    def scaled(self, full: int, least: int = 1) -> int:
        """A number of files or bytes at this scale."""
        return max(least, int(full * self.scale))

    @cached_property
    def tree(self) -> trees.Tree:
        """The one given, or a real one of this machine; made once, and kept in memory."""
        place = self.room / "tree"
        if self.chosen:
            trees.copy([self.chosen.resolve()], place, None)
            return trees.measured(place, "A tree chosen with --tree")
        trees.copy(trees.default_roots(), place, self.scaled(REAL_FILES))
        return trees.measured(place, "A copy of the Python installation, filled up from /usr/share")

    def rests_on(self, size: int, entries: int) -> None:
        """Be `Skipped` unless memory has room for ``size`` bytes of content in ``entries`` entries."""
        needed = size + entries * (4096 + INODE)
        free = min(shutil.disk_usage(self.room).free, mounts.available_memory())
        if needed > free:
            raise Skipped(f"it takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")

    def copies(self, tree: trees.Tree, count: float) -> None:
        """Be `Skipped` unless memory has room for so many copies of ``tree``."""
        self.rests_on(int(count * tree.bytes), int(count * tree.entries))

    @contextlib.contextmanager
    def space(self) -> Iterator[Path]:
        """An empty directory on the tmpfs; gone afterwards, so that cases do not add up in memory."""
        path = self.room / "case"
        path.mkdir()
        try:
            yield path
        finally:
            trees.remove(path)


def anew(number: int, contender: Contender) -> None:
    """Before a first push: nothing is there, and nothing dirty is left."""
    trees.remove(*contender.makes)
    mounts.settle(contender.makes[0].parent)


def emptied(number: int, contender: Contender) -> None:
    """Before a first push into a directory that is there."""
    anew(number, contender)
    for place in contender.makes:
        place.mkdir()


def afresh(size: int) -> Turn:
    """`anew` on a tmpfs: and ``size`` bytes of memory were in use a moment ago.

    A hypervisor takes back what a guest leaves free for some seconds; whoever gets it next waits for it. That
    may double the time of a copy, and must not be a matter of whose turn it is.
    """

    def before(number: int, contender: Contender) -> None:
        anew(number, contender)
        spare = contender.makes[0].parent / "spare"
        with spare.open("wb", buffering=0) as file:
            for _ in range(0, size, len(_ZEROS)):
                file.write(_ZEROS)
        spare.unlink()

    return before


def fill(contenders: list[Contender]) -> None:
    """The first push of each, untimed."""
    for contender in contenders:
        quietly(*contender.argv)


def observed(contenders: list[Contender], before: Turn | None = None) -> dict[str, list[Run]]:
    """One run of each, for its memory only."""
    runs = {}
    for contender in contenders:
        if before:
            before(WARM_UP, contender)
        runs[contender.name] = [run(contender.argv, watch=True)]
    return runs


def checked(source: Path, target: Path, notes: list[str]) -> Finished:
    """Compare the trees once, after the warm-up of atomsync: a fast push of the wrong bytes is no push."""
    told = "`diff -r --no-dereference` found the pushed tree equal to the source."

    def after(number: int, contender: Contender, finished: Run) -> None:
        if number != WARM_UP or contender.name != OURS:
            return
        command = ("diff", "-r", "--no-dereference", "--", str(source), str(target))
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", env=ENVIRONMENT)
        expected = f"Only in {target}: {trees.CONTROL}"
        differences = [line for line in (found.stdout + found.stderr).splitlines() if line != expected]
        if differences:
            raise BenchError(f"after atomsync the trees differ, {len(differences)} lines: {differences[0]}")
        if told not in notes:
            notes.append(told)

    return after


def changing(ours: str, change: Turn) -> Turn:
    """``change`` is called once a round, before the turn of ``ours``, who is first: all meet the same."""

    def before(number: int, contender: Contender) -> None:
        if contender.name == ours:
            change(number, contender)

    return before
