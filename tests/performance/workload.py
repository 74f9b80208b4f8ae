"""What is counted: the pushes of two trees, and a loop of plain Python to compare other interpreters by.

Run under callgrind, which writes what it counted at every call of getppid. What lies between two MARKs has
a name, told on standard output in the order of the dumps.

    python workload.py DIRECTORY
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

from atomsync.sync.push import push

SIZES = 100, 400
LOOP, LOOPS = "loop", 5_000
FIRST, UNCHANGED, REPLACED = "first push", "without changes", "replaced"
_PER_DIRECTORY = 50
_OLD_S = 1_600_000_000
_TICK_S = 0.05  # files younger than a tick of the clock are read twice


def main(room: Path) -> None:
    gc.disable()  # else it depends on the push before in which of them the heap is looked through
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # no helper: it would be another process
    _cases(room, 10)  # so that everything is loaded
    for size in SIZES:
        _cases(room, size)
    _counted(f"{LOOP} {LOOPS}", _loop)


def _cases(room: Path, size: int) -> None:
    source, target = room / f"source-{size}", room / f"target-{size}"

    def pushed() -> None:
        push(source, target, durability="none")

    _write(source, size, 1)
    _counted(f"{FIRST} {size}", pushed)
    _counted(f"{UNCHANGED} {size}", pushed)
    _write(source, size, 2)
    _counted(f"{REPLACED} {size}", pushed)


def _write(source: Path, size: int, generation: int) -> None:
    for number in range(size):
        file = source / f"part-{number // _PER_DIRECTORY:04}" / f"file-{number % _PER_DIRECTORY:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%04d %d\n" % (number, generation) * 64)
        os.utime(file, (_OLD_S + generation, _OLD_S + generation))
    time.sleep(_TICK_S)


def _loop() -> None:
    """The kinds of work the hot loops do: calls, small tuples, dictionaries, texts."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for number in range(LOOPS):
        path = f"part-{number % 50}/file-{number % 1000}"
        name = path.rpartition("/")[2]
        known = found.get(path)
        found[path] = _sum(known, name, number)


def _sum(known: tuple[str, int, bytes] | None, name: str, number: int) -> tuple[str, int, bytes]:
    return name, number if known is None else known[1] + number, os.fsencode(name)


def _counted(name: str, work: object) -> None:
    assert callable(work)
    os.getppid()  # MARK
    work()
    os.getppid()  # MARK
    print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
