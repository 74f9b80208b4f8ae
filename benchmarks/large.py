"""One file of 1 GiB, 1 MiB of it changed in place: atomsync beside rsync, on btrfs and xfs. Needs root.

``python benchmarks/large.py [btrfs|xfs ...]`` prints a table for docs/fidelity.md: the time, and what the
filesystem (``df``) holds more than before, history included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIB, MIB = 1 << 30, 1 << 20
RUNS = 5
RSYNC = ["rsync", "-a", "--inplace", "--no-whole-file"]
ATOMSYNC = [sys.executable, "-m", "atomsync", "push", "-q"]


@contextmanager
def mounted(kind: str, where: Path) -> Iterator[Path]:
    image, point = where / f"{kind}.image", where / kind
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(5 * GIB)
    subprocess.run([f"mkfs.{kind}", "-q", "-f", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)
        image.unlink()


def used(point: Path) -> int:
    subprocess.run(["sync", "-f", point], check=True)
    found = os.statvfs(point)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def timed(line: list[str], src: Path, dst: Path) -> tuple[float, int]:
    """Seconds until it is on the medium, bytes newly allocated."""
    before = used(dst)
    for path in (src / "f", dst / "f"):
        if path.exists():  # as it would be a day later: not in the cache
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    subprocess.run([*line, f"{src}/", f"{dst}/"], check=True)
    subprocess.run(["sync", "-f", dst], check=True)
    return time.perf_counter() - started, used(dst) - before


def change(path: Path, seed: int) -> None:
    with path.open("r+b") as file:
        file.seek(seed * 100 * MIB + 12_345)
        file.write(os.urandom(MIB))


def compared(kind: str, outside: Path, point: Path) -> None:
    """Print a row for each tool: the best time of ``RUNS``, and the most that one of them took."""
    found: dict[str, list[tuple[float, int]]] = {}
    places = [(ATOMSYNC, point / "a"), (RSYNC, point / "r")]
    for line, dst in places:
        dst.mkdir()
        timed(line, outside, dst)
    for seed in range(1, RUNS + 1):
        change(outside / "f", seed)
        for line, dst in places:
            found.setdefault("rsync" if line is RSYNC else "atomsync", []).append(timed(line, outside, dst))
    inside = point / "src"
    inside.mkdir()
    subprocess.run(["cp", "--reflink=always", point / "a" / "f", inside / "f"], check=True)
    for name, line in (("c", ATOMSYNC), ("d", ["rsync", "-a"])):
        dst = point / name
        dst.mkdir()
        told = "rsync -a" if line[0] == "rsync" else "atomsync"
        found[f"{told}, first push within the filesystem"] = [timed(line, inside, dst)]
    for told, runs in found.items():
        seconds, size = min(run[0] for run in runs), max(run[1] for run in runs)
        print(f"| {kind} | {told} | {seconds:.2f} s | {size / MIB:,.1f} MiB |", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name) / "src"
        outside.mkdir()
        with (outside / "f").open("wb") as file:
            for _ in range(1024):
                file.write(os.urandom(MIB))
        for kind in sys.argv[1:] or ["btrfs", "xfs"]:
            with mounted(kind, Path(name)) as point:
                compared(kind, outside, point)


if __name__ == "__main__":
    main()
