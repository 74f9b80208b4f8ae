"""What the cases of the watch benchmark share: how much is measured, room, trees and contenders."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import trees
from measure import quietly
from watch_followers import Atomsync, Follower, Loop, Lsyncd
from watch_report import Part
from watch_writer import PER_DIRECTORY


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    files: int = 50_000
    changes: int = 300
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    batches: int = 100
    idle_s: float = 60.0
    storm_files: int = 20_000
    storms: int = 3
    starts: int = 5


QUICK = Scale(2_000, 30, (200, 1_000, 5_000), 25, 15.0, 2_000, 1, 3)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases share: how much, and room on a tmpfs."""

    scale: Scale
    room: Path

    @contextlib.contextmanager
    def space(self) -> Iterator[Path]:
        """An empty directory on the tmpfs; gone afterwards, so that cases do not add up in memory."""
        path = self.room / "case"
        path.mkdir()
        try:
            yield path
        finally:
            trees.remove(path)


@contextlib.contextmanager
def contenders(space: Path, files: int) -> Iterator[list[Follower]]:
    """Ours in three ways and the peers that are installed, running, each on a copy of one tree."""
    recipes: list[Callable[[Path, Path, Path], Follower]] = [
        Atomsync,
        lambda *paths: Atomsync(*paths, "--durability", "none"),
        lambda *paths: Atomsync(*paths, "--settle", "20ms"),
        Lsyncd,
        Loop,
    ]
    first = tree(space / "source-0", files)
    with contextlib.ExitStack() as stack:
        followers = []
        for number, recipe in enumerate(recipes):
            source = space / f"source-{number}"
            follower = recipe(source, space / f"target-{number}", space / f"room-{number}")
            if follower.lacking():
                continue
            if source != first:
                quietly("cp", "-a", "--", str(first), str(source))
            stack.callback(follower.stop)
            followers.append(follower)
        with ThreadPoolExecutor() as pool:  # the first push of each is not what is measured
            list(pool.map(lambda follower: follower.start(), followers))
        for follower in followers:
            follower.rests()
        yield followers


def tree(path: Path, files: int) -> Path:
    """``files`` small files, twenty in a directory, fifty of these in a directory."""
    content = random.Random(files).randbytes(8192)
    for number in range(files):
        folder = number // PER_DIRECTORY
        home = path / f"part-{folder // 50:02}" / f"of-{folder % 50:02}"
        if number % PER_DIRECTORY == 0:
            home.mkdir(parents=True)
        start, size = number % 4096, 1024 + number % 3072
        (home / f"file-{number % PER_DIRECTORY:02}").write_bytes(content[start : start + size])
    return path


def files(path: Path) -> list[str]:
    """Relative to ``path``."""
    return [os.path.relpath(file, path) for file in trees.regular_files(path)]


def present(part: Part, follower: Follower) -> bool:
    """Whether it can take part; the report says so if not."""
    lacking = follower.lacking()
    if lacking:
        part.notes.append(f"{follower.name}: skipped, {lacking} is not installed.")
    return not lacking
