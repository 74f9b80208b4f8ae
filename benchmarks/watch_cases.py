"""The cases of the watch benchmark. Each yields parts of the report as they are finished."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import mounts
import trees
import watch_processes
from cases import remove
from measure import BenchError, quietly
from pairs import Spread
from watch_changes import Changes
from watch_followers import Atomsync, Follower, Loop, Lsyncd
from watch_report import Judged, Part, percentile

_WRITER = str(Path(__file__).with_name("watch_writer.py"))
_PER_DIRECTORY = 20
_BOUND_S = 60.0
_LOOK_S = 0.25
_BLOCK = 25


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


QUICK = Scale(2_000, 30, (200, 1_000, 5_000), _BLOCK, 15.0, 2_000, 1, 3)


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
            remove(path)


def in_memory(bench: Bench) -> Iterator[Part]:
    """Latency, and with the same trees what it costs to do nothing and to start."""
    with bench.space() as space, _followers(space, bench.scale.files) as followers:
        yield _latency(followers, bench.scale, "tmpfs")
        for follower in followers:
            if follower.name not in ("atomsync watch", "lsyncd, delay 1"):
                follower.stop()
        resident = [follower for follower in followers if follower.running]
        yield _idle(resident, bench.scale)
        yield _starts(resident, bench.scale)


def on_disk(bench: Bench) -> Iterator[Part]:
    """Latency where a flush costs something."""
    with mounts.ext4(16 * mounts.GIB) as (disk, below), _followers(disk, bench.scale.files) as followers:
        part = _latency(followers, bench.scale, "ext4")
        part.about += f" The ext4 is on a loop device over a sparse image on {below}."
        yield part


def by_size(bench: Bench) -> Iterator[Part]:
    """What one changed file costs in trees of all sizes, and what the largest takes of memory."""
    scale = bench.scale
    cost = Part(
        "CPU per one-file batch",
        f"{scale.batches} changes of one file each, in blocks of {_BLOCK} in which the trees take turns;"
        f" {_PER_DIRECTORY} files to a directory, tmpfs. User and system time of the process and all it"
        " started, divided by the changes. The kernel offers no instruction counts on every machine, so"
        " none are given.",
        ("files", "CPU ms per batch", "ratio to the smallest"),
    )
    memory = Part(
        "Resident memory",
        f"{scale.sizes[-1]:,} files in {scale.sizes[-1] // _PER_DIRECTORY:,} directories, tmpfs."
        " The sums over the process and those below it at that moment, of VmRSS and of the peak VmHWM.",
        ("command", "when", "resident", "peak"),
    )
    with bench.space() as space, contextlib.ExitStack() as stack:
        followers = []
        for size in scale.sizes:
            source = _tree(space / f"source-{size}", size)
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
        changes = [Changes(follower, _files(follower.source)) for follower in followers]
        used = [0.0] * len(changes)
        for _ in range(scale.batches // _BLOCK):
            for number, each in enumerate(changes):
                before = watch_processes.cpu_s(each.follower.pid)
                for _ in range(_BLOCK):
                    each.change_one()
                used[number] += watch_processes.cpu_s(each.follower.pid) - before
        _book_memory(memory, largest, f"after {scale.batches} more batches")
        largest.stop()
        peak = max(float(row[-1].split()[0]) for row in memory.rows)
        memory.judged.append(Judged("peak ≤ 150 MB", f"{peak:.0f} MB", peak, 150))
        if _present(memory, peer):
            stack.callback(peer.stop)
            peer.start()
            _book_memory(memory, peer, "after the start")
            few = Changes(peer, _files(peer.source))
            for _ in range(10):
                few.change_one()
            _book_memory(memory, peer, "after 10 more batches")
    done = scale.batches // _BLOCK * _BLOCK
    for size, seconds in zip(scale.sizes, used, strict=True):
        cost.rows.append((f"{size:,}", f"{seconds / done * 1e3:.1f}", f"{seconds / used[0]:.2f}"))
    ratio = max(used) / min(used)
    cost.judged.append(Judged("within 1.3 ×", f"{ratio:.2f} ×", ratio, 1.3))
    yield cost
    yield memory


def storm(bench: Bench) -> Iterator[Part]:
    """Another process creates files as fast as it can."""
    count = bench.scale.storm_files
    part = Part(
        "Storm",
        f"Another process creates {count:,} files of 1 KiB in {count // _PER_DIRECTORY:,} new directories,"
        " tmpfs. The time from its start until all of them are at the target, looked at every"
        f" {_LOOK_S * 1e3:.0f} ms; after that `diff -r` compares. Who is not done within {_BOUND_S:.0f} s is"
        " not waited for. Medians and ranges.",
        ("command", "storms", "writer s", "equal after s", "min–max", "CPU s", "units", "overflows"),
    )
    with bench.space() as space:
        for kind in (Atomsync, Lsyncd, Loop):
            runs = []
            follower = kind(space / "source", space / "target", space / "room")
            if not _present(part, follower):
                continue
            for _ in range(1 if kind is Loop else bench.scale.storms):
                runs.append(_storm(follower, count, part))
                for path in (follower.source, follower.target, follower.room):
                    remove(path)
            writer, seconds, cpu = (median(run[column] for run in runs) for column in range(3))
            low, high = min(run[1] for run in runs), max(run[1] for run in runs)
            bounded = "> " if high >= _BOUND_S else ""
            units, overflows = max(run[3] for run in runs), max(run[4] for run in runs)
            known = (str(units), str(overflows)) if kind is Atomsync else ("", "")
            part.rows.append(
                (
                    follower.name,
                    str(len(runs)),
                    f"{writer:.1f}",
                    f"{bounded}{seconds:.1f}",
                    f"{low:.1f}–{high:.1f}",
                    f"{cpu:.1f}",
                    *known,
                )
            )
    yield part


CASES: dict[str, Callable[[Bench], Iterator[Part]]] = {
    "memory": in_memory,
    "ext4": on_disk,
    "sizes": by_size,
    "storm": storm,
}


def _latency(followers: Sequence[Follower], scale: Scale, filesystem: str) -> Part:
    part = Part(
        f"Latency, {filesystem}",
        f"From close(2) to visible at the target, on {filesystem}: {scale.files:,} files of 1 to 4 KB in"
        f" {scale.files // _PER_DIRECTORY:,} directories. One random file at a time, by turns rewritten in"
        " place and written anew and renamed over. Each contender has a source and a target of its own, all"
        " are running, and they take turns, each change when the one before is visible and its"
        " follower at rest. Slow ones take part in fewer rounds.",
        ("command", "changes", "median ms", "p90", "p99", "max", "CPU ms per change"),
    )
    changes = [Changes(follower, _files(follower.source)) for follower in followers]
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
        cpu = f"{used[name] / len(values) * 1e3:.0f}"
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
    return 10 if isinstance(follower, Lsyncd) else 3 if isinstance(follower, Loop) else 1


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
        " lsyncd in its log,",
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


def _storm(follower: Follower, count: int, part: Part) -> tuple[float, float, float, int, int]:
    """Seconds of the writer, seconds until equal, CPU seconds of the follower; units and overflows."""
    follower.source.mkdir()
    (follower.source / "first").write_bytes(b"first")
    follower.start()
    try:
        before = watch_processes.cpu_s(follower.pid)
        units = _counted(follower)[0]
        began = time.monotonic()
        writer = subprocess.Popen([sys.executable, _WRITER, str(follower.source), str(count)])
        wrote = arrived = 0.0
        while not arrived and time.monotonic() - began < _BOUND_S:
            time.sleep(_LOOK_S)
            if not wrote and writer.poll() is not None:
                wrote = time.monotonic() - began
            if wrote and _visible(follower.target) > count:
                arrived = time.monotonic() - began
        if arrived:
            follower.rest()
            _check_equal(follower)
        else:
            writer.kill()
            writer.wait()
            part.notes.append(
                f"{follower.name}: {_visible(follower.target):,} files were there after {_BOUND_S:.0f} s."
            )
        used = watch_processes.cpu_s(follower.pid) - before
        now, overflows = _counted(follower)
    finally:
        follower.stop()
    return wrote or _BOUND_S, arrived or _BOUND_S, used, now - units, overflows


def _counted(follower: Follower) -> tuple[int, int]:
    """Units and overflows so far; nobody else counts them."""
    if not isinstance(follower, Atomsync):
        return 0, 0
    found = follower.status()
    return int(found["units"]), int(found["coverage"]["overflows"])


def _visible(target: Path) -> int:
    """Files under their names; rsync writes to hidden ones first."""
    return sum(not os.path.basename(file).startswith(".") for file in trees.regular_files(target))


def _check_equal(follower: Follower) -> None:
    ends = (str(follower.source), str(follower.target))
    found = subprocess.run(("diff", "-rq", f"--exclude={trees.CONTROL}", "--", *ends), capture_output=True)
    if found.returncode:
        raise BenchError(f"after the storm {follower.name} left {len(found.stdout.splitlines())} differences")


def _book_memory(part: Part, follower: Follower, when: str) -> None:
    found = watch_processes.memory(follower.pid)
    part.rows.append((follower.name, when, *(f"{value / 1e6:.0f} MB" for value in found)))


def _present(part: Part, follower: Follower) -> bool:
    lacking = follower.lacking()
    if lacking:
        part.notes.append(f"{follower.name}: skipped, {lacking} is not installed.")
    return not lacking


@contextlib.contextmanager
def _followers(space: Path, files: int) -> Iterator[list[Follower]]:
    """All contenders, running, each on a copy of one tree."""
    recipes: list[Callable[[Path, Path, Path], Follower]] = [
        Atomsync,
        lambda *paths: Atomsync(*paths, "--durability", "none"),
        lambda *paths: Atomsync(*paths, "--settle", "20ms"),
        Lsyncd,
        Loop,
    ]
    first = _tree(space / "source-0", files)
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
            follower.start()
            followers.append(follower)
        for follower in followers:
            follower.rest()
        yield followers


def _tree(path: Path, files: int) -> Path:
    """``files`` small files, twenty in a directory, fifty of these in a directory."""
    content = random.Random(files).randbytes(8192)
    for number in range(files):
        folder = number // _PER_DIRECTORY
        home = path / f"part-{folder // 50:02}" / f"of-{folder % 50:02}"
        if number % _PER_DIRECTORY == 0:
            home.mkdir(parents=True)
        start, size = number % 4096, 1024 + number % 3072
        (home / f"file-{number % _PER_DIRECTORY:02}").write_bytes(content[start : start + size])
    return path


def _files(path: Path) -> list[str]:
    """Relative to ``path``."""
    return [os.path.relpath(file, path) for file in trees.regular_files(path)]
