"""What a process that goes on, and all below it, costs so far; from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_REST_S = 0.02


class Memory(NamedTuple):
    """Of a process and all below it, in bytes, each process by itself: what they share counts for each."""

    resident: int  # VmRSS
    peak: int  # VmHWM


def cpu_s(pid: int) -> float:
    """User and system seconds so far, those of descendants that have ended included.

    The kernel says it in ticks of 10 ms, which it takes from exact sums: nothing is sampled.
    """
    ticks = 0
    for process in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def memory(pid: int) -> Memory:
    """What it has resident now, and what it had at most."""
    resident = peak = 0
    for process in _family(pid):
        with contextlib.suppress(OSError):
            for line in Path("/proc", str(process), "status").read_text().splitlines():
                name, _, value = line.partition(":")
                resident += int(value.split()[0]) * 1024 if name == "VmRSS" else 0
                peak += int(value.split()[0]) * 1024 if name == "VmHWM" else 0
    return Memory(resident, peak)


def rests(pid: int, within_s: float) -> bool:
    """Wait until nothing of it runs, waits for a disk, or used a processor in the last 20 ms."""
    deadline = time.monotonic() + within_s
    before, _ = _run_ns(pid)
    while time.monotonic() < deadline:
        time.sleep(_REST_S)
        used, at_work = _run_ns(pid)
        if used == before and not at_work:
            return True
        before = used
    return False


def _run_ns(pid: int) -> tuple[int, bool]:
    """Exact nanoseconds on a processor, of the threads there are now; and whether one of them is at work."""
    total, at_work = 0, False
    for process in _family(pid):
        with contextlib.suppress(OSError):
            for task in Path("/proc", str(process), "task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
                at_work |= (task / "stat").read_text().rpartition(")")[2].split()[0] in "RD"
    return total, at_work


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path("/proc", str(pid), "task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))
