"""Another process creates files as fast as it can: when are they all there?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import trees
import watch_processes
from measure import BenchError
from watch_bench import PER_DIRECTORY, Bench, present
from watch_followers import Atomsync, Follower, Loop, Lsyncd
from watch_report import Part

_WRITER = str(Path(__file__).with_name("watch_writer.py"))
_BOUND_S = 60.0
_REST_S = 15.0
_LOOK_S = 0.25


def storm(bench: Bench) -> Iterator[Part]:
    """Another process creates files as fast as it can."""
    count = bench.scale.storm_files
    part = Part(
        "Storm",
        f"Another process creates {count:,} files of 1 KiB in {count // PER_DIRECTORY:,} new directories,"
        " tmpfs. The time from its start until all of them are at the target, looked at every"
        f" {_LOOK_S * 1e3:.0f} ms; after that `diff -r` compares. Who is not done within {_BOUND_S:.0f} s is"
        " not waited for. Medians and ranges.",
        ("command", "storms", "writer s", "equal after s", "min–max", "CPU s", "units", "overflows"),
    )
    with bench.space() as space:
        for kind in (Atomsync, Lsyncd, Loop):
            runs = []
            follower = kind(space / "source", space / "target", space / "room")
            if not present(part, follower):
                continue
            for _ in range(1 if kind is Loop else bench.scale.storms):
                runs.append(_storm(follower, count, part))
                for path in (follower.source, follower.target, follower.room):
                    trees.remove(path)
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
            if not follower.rests(_REST_S):
                part.notes.append(f"{follower.name}: still at work {_REST_S:.0f} s after all were there.")
            _compare(follower, part)
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


def _compare(follower: Follower, part: Part) -> None:
    """What a peer gets wrong is a result; what we get wrong is a failure."""
    ends = (str(follower.source), str(follower.target))
    found = subprocess.run(("diff", "-rq", f"--exclude={trees.CONTROL}", "--", *ends), capture_output=True)
    if found.returncode:
        wrong = f"{follower.name}: `diff` found {len(found.stdout.splitlines()):,} differences."
        if isinstance(follower, Atomsync):
            raise BenchError(wrong)
        part.notes.append(wrong)
