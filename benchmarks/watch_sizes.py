"""What one changed file costs in trees of all sizes, and what the largest takes of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import watch_processes
from watch_bench import PER_DIRECTORY, Bench, files, present, tree
from watch_changes import Changes
from watch_followers import Atomsync, Follower, Lsyncd
from watch_report import Judged, Part

_BLOCK = 25
_FIRST = 10


def by_size(bench: Bench) -> Iterator[Part]:
    """What one changed file costs in trees of all sizes, and what the largest takes of memory."""
    scale = bench.scale
    cost = Part(
        "CPU per one-file batch",
        f"{scale.batches} changes of one file each, in blocks of {_BLOCK} in which the trees take turns,"
        f" after {_FIRST} that count for themselves: with them the unit of the first push leaves the history;"
        f" {PER_DIRECTORY} files to a directory, tmpfs. User and system time of the process and all it"
        " started, divided by the changes. Instructions are not counted: virtual machines seldom offer"
        " the counters.",
        ("files", "CPU ms per batch", "ratio to the smallest", f"CPU ms per batch of the first {_FIRST}"),
    )
    memory = Part(
        "Resident memory",
        f"{scale.sizes[-1]:,} files in {scale.sizes[-1] // PER_DIRECTORY:,} directories, tmpfs."
        " The sums over the process and those below it at that moment, of VmRSS and of the peak VmHWM.",
        ("command", "when", "resident", "peak"),
    )
    with bench.space() as space, contextlib.ExitStack() as stack:
        followers = []
        for size in scale.sizes:
            source = tree(space / f"source-{size}", size)
            follower = Atomsync(source, space / f"target-{size}", space / f"room-{size}")
            stack.callback(follower.stop)
            follower.start()
            followers.append(follower)
        largest = followers[-1]
        peer = Lsyncd(largest.source, space / "target-peer", space / "room-peer")
        _book_memory(memory, largest, "after the first push")
        largest.stop()
        largest.start()
        _book_memory(memory, largest, "after a start with nothing to do")
        changes = [Changes(follower, files(follower.source)) for follower in followers]
        first = [_cpu_s(each, _FIRST) for each in changes]
        used = [0.0] * len(changes)
        for _ in range(scale.batches // _BLOCK):
            for number, each in enumerate(changes):
                used[number] += _cpu_s(each, _BLOCK)
        _book_memory(memory, largest, f"after {_FIRST + scale.batches} more batches")
        largest.stop()
        for number, what in enumerate(("first push: peak", "a start: peak", "after its batches: peak")):
            _, _, _, peak = memory.rows[number]
            memory.judged.append(Judged(f"{what} ≤ 150 MB", peak, float(peak.split()[0]), 150))
        if present(memory, peer):
            stack.callback(peer.stop)
            peer.start()
            _book_memory(memory, peer, "after the start")
            few = Changes(peer, files(peer.source))
            for _ in range(10):
                few.change_one()
            _book_memory(memory, peer, "after 10 more batches")
    done = scale.batches // _BLOCK * _BLOCK
    for size, seconds, before in zip(scale.sizes, used, first, strict=True):
        each_ms = (f"{seconds / done * 1e3:.1f}", f"{before / _FIRST * 1e3:.1f}")
        cost.rows.append((f"{size:,}", each_ms[0], f"{seconds / used[0]:.2f}", each_ms[1]))
    ratio = max(used) / min(used)
    cost.judged.append(Judged("within 1.3 ×", f"{ratio:.2f} ×", ratio, 1.3))
    yield cost
    yield memory


def _cpu_s(changes: Changes, count: int) -> float:
    """Of the follower, over ``count`` changes."""
    before = watch_processes.cpu_s(changes.follower.pid)
    for _ in range(count):
        changes.change_one()
    return watch_processes.cpu_s(changes.follower.pid) - before


def _book_memory(part: Part, follower: Follower, when: str) -> None:
    found = watch_processes.memory(follower.pid)
    part.rows.append((follower.name, when, *(f"{value / 1e6:.0f} MB" for value in found)))
