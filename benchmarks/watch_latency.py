"""Latency beside the peers; and with the same trees what it costs to do nothing, and to start."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from statistics import median

import mounts
import watch_processes
from pairs import Spread
from watch_bench import PER_DIRECTORY, Bench, Scale, contenders, files
from watch_changes import Changes
from watch_followers import Atomsync, Follower, Loop, Lsyncd
from watch_report import Judged, Part, percentile


def in_memory(bench: Bench) -> Iterator[Part]:
    """Latency, and with the same trees what it costs to do nothing and to start."""
    with bench.space() as space, contenders(space, bench.scale.files) as followers:
        yield _latency(followers, bench.scale, "tmpfs")
        for follower in followers:
            if follower.name not in ("atomsync watch", "lsyncd, delay 1"):
                follower.stop()
        resident = [follower for follower in followers if follower.running]
        yield _idle(resident, bench.scale)
        yield _starts(resident, bench.scale)


def on_disk(bench: Bench) -> Iterator[Part]:
    """Latency where a flush costs something."""
    with (
        mounts.disk("ext4", 16 * mounts.GIB) as (disk, below),
        contenders(disk, bench.scale.files) as followers,
    ):
        part = _latency(followers, bench.scale, "ext4")
        part.about += f" The ext4 is on a loop device over a sparse image on {below}."
        yield part


def _latency(followers: Sequence[Follower], scale: Scale, filesystem: str) -> Part:
    part = Part(
        f"Latency, {filesystem}",
        f"From close(2) to visible at the target, on {filesystem}: {scale.files:,} files of 1 to 4 KB in"
        f" {scale.files // PER_DIRECTORY:,} directories. One random file at a time, by turns rewritten in"
        " place and written anew and renamed over. Each contender has a source and a target of its own, all"
        " are running, and they take turns, each change when the one before is visible and its"
        " follower at rest. Slow ones take part in fewer rounds.",
        ("command", "changes", "median ms", "p90", "p99", "max", "CPU ms per change"),
    )
    changes = [Changes(follower, files(follower.source)) for follower in followers]
    found: dict[str, list[float]] = {follower.name: [] for follower in followers}
    used = dict.fromkeys(found, 0.0)
    for number in range(scale.changes):
        for each in changes:
            name = each.follower.name
            if number % _every(each.follower) == 0:
                before = watch_processes.cpu_s(each.follower.pid)
                found[name].append(each.change_one() * 1e3)
                used[name] += watch_processes.cpu_s(each.follower.pid) - before
    for name, values in found.items():
        figures = [median(values), *(percentile(values, share) for share in (0.9, 0.99, 1))]
        cpu = f"{used[name] / len(values) * 1e3:.1f}"
        part.rows.append((name, str(len(values)), *(f"{value:,.1f}" for value in figures), cpu))
    for follower in followers:
        if isinstance(follower, Atomsync):
            _judge(part, follower.name, found[follower.name])
    for kind in (Lsyncd, Loop):
        if not any(isinstance(follower, kind) for follower in followers):
            part.notes.append(f"{kind.__name__}: skipped, its program is not installed.")
    return part


def _judge(part: Part, name: str, values: Sequence[float]) -> None:
    settle = 20 if "--settle" in name else 100
    for what, value, more in (("median", median(values), 15), ("p99", percentile(values, 0.99), 60)):
        limit = settle + more
        part.judged.append(Judged(f"{name}: {what} ≤ {limit} ms", f"{value:.1f} ms", value, limit))


def _every(follower: Follower) -> int:
    return 12 if isinstance(follower, Lsyncd) else 3 if isinstance(follower, Loop) else 1


def _idle(followers: Sequence[Follower], scale: Scale) -> Part:
    part = Part(
        "Idle CPU",
        f"{scale.idle_s:.0f} s in which nothing changes, {scale.files:,} files, tmpfs; user and system time.",
        ("command", "CPU ms", "share of a core"),
    )
    before = [watch_processes.cpu_s(follower.pid) for follower in followers]
    time.sleep(scale.idle_s)
    for follower, then in zip(followers, before, strict=True):
        used = watch_processes.cpu_s(follower.pid) - then
        share = used / scale.idle_s * 100
        part.rows.append((follower.name, f"{used * 1e3:.0f}", f"{share:.2f} %"))
        if isinstance(follower, Atomsync):
            part.judged.append(Judged("≤ 0.2 % of a core", f"{share:.2f} %", share, 0.2))
    return part


def _starts(followers: Sequence[Follower], scale: Scale) -> Part:
    part = Part(
        "Start with nothing to do",
        f"From exec until it watches and has found {scale.files:,} files to be equal, tmpfs; {scale.starts}"
        " starts in which they take turns. atomsync says so as it does to systemd (READY=1),"
        " lsyncd in its log.",
        ("command", "median s", "min–max"),
    )
    seconds: dict[str, list[float]] = {follower.name: [] for follower in followers}
    for follower in followers:
        follower.stop()
    for _ in range(scale.starts):
        for follower in followers:
            seconds[follower.name].append(follower.start())
            follower.stop()
    part.rows += [(name, *Spread.of(values).text(".2f")) for name, values in seconds.items()]
    return part
