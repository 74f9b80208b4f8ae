"""Synthetic trees, made as a process of its own: ``made.py KIND PLACE COUNT BYTES``, see `KINDS`.

A process, so that its memory is not the runner's, and so that a kill of its group ends its helpers too.
The same arguments make the same tree, whatever the number of processors.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

PER_DIRECTORY = 100
BRANCHES, BRANCH_LEVELS = 2, 5
MIB = 1 << 20


def small(place: str, count: int, size: int) -> None:
    """``count`` files of up to ``size`` bytes, a hundred in a directory."""
    os.mkdir(place)
    starts = range(0, count, PER_DIRECTORY)
    ends = (min(count, start + PER_DIRECTORY) for start in starts)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_folder, repeat(place), starts, ends, repeat(size), chunksize=50))


def flat(place: str, count: int, size: int) -> None:
    """``count`` files of up to ``size`` bytes, all in one directory."""
    os.mkdir(place)
    _fill(place, range(count), size)


def large(place: str, count: int, size: int) -> None:
    """``count`` files of ``size`` bytes that nothing compresses and in which no block comes twice."""
    os.mkdir(place)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_large, repeat(place), range(count), repeat(size)))


def deep(place: str, count: int, size: int) -> None:
    """``count`` directories inside each other, with two branches at each; a file in every directory."""
    os.mkdir(place)
    level = place
    for number in range(count):
        level = f"{level}/d{number:03}"
        os.mkdir(level)
        _fill(level, (number,), size)
        for branch in range(BRANCHES):
            twig = level
            for step in range(BRANCH_LEVELS):
                twig = f"{twig}/{'ab'[branch]}{step}"
                os.mkdir(twig)
                _fill(twig, (number + step,), size)


KINDS: dict[str, Callable[[str, int, int], None]] = {
    "small": small,
    "flat": flat,
    "large": large,
    "deep": deep,
}


def _folder(place: str, start: int, end: int, size: int) -> None:
    folder = f"{place}/part-{start // PER_DIRECTORY:05}"
    os.mkdir(folder)
    os.symlink("file-000", f"{folder}/first")
    _fill(folder, range(start, end), size)


def _fill(folder: str, numbers: range | tuple[int, ...], size: int) -> None:
    """Files of 0 to ``size`` bytes; relative to a descriptor, since the path may be long."""
    dice = random.Random(f"{numbers[0]} {len(numbers)}")
    content = dice.randbytes(2 * size)
    directory = os.open(folder, os.O_RDONLY)
    for number in numbers:
        begin = dice.randrange(size + 1)
        name = f"file-{number % PER_DIRECTORY if len(numbers) <= PER_DIRECTORY else number:03}"
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
        os.write(file, content[begin : begin + dice.randrange(size + 1)])
        os.close(file)
    os.close(directory)


def _large(place: str, number: int, size: int) -> None:
    dice = random.Random(number)
    with open(f"{place}/large-{number}", "xb", buffering=0) as file:
        for start in range(0, size, MIB):
            file.write(dice.randbytes(min(MIB, size - start)))


if __name__ == "__main__":
    KINDS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
