"""The benchmark itself: it measures every case, judges by the limits, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUNNER = str(Path(__file__).parents[1] / "benchmarks" / "run.py")
# The case that takes least: an empty tree.
SMALLEST = ("--quick", "--case", "start")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the benchmark keeps what is temporary."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def started(tmp_path: Path, scratch: Path) -> Callable[..., subprocess.Popen[str]]:
    """Begin a benchmark whose results go to ``tmp_path``."""

    def start(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            (sys.executable, RUNNER, "--output", str(tmp_path), *options),
            env=os.environ | {"TMPDIR": str(scratch)},
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def bench(started: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> Callable[..., str]:
    """Run a benchmark to its end; the report."""

    def run(*options: str, status: int = 0) -> str:
        child = started(*options)
        _, told = child.communicate(timeout=300)
        assert child.returncode == status, told
        return (tmp_path / "benchmarks.md").read_text(encoding="utf-8")

    return run


def results(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "benchmarks" / "results.json").read_text("utf-8"))
    return found


def rewrite(tmp_path: Path, book: dict[str, Any]) -> None:
    (tmp_path / "benchmarks" / "results.json").write_text(json.dumps(book), encoding="utf-8")


def verdict(report: str, case: str, measure: str) -> list[str]:
    """The cells of a limit's row behind its name: target, measured, outcome, next."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if "|" in line]
    return next(cells[2:] for cells in rows if cells[:2] == [case, measure])


def test_every_case_runs_and_the_report_shows_all_of_them(
    bench: Callable[..., str], tmp_path: Path, scratch: Path
) -> None:
    report = bench("--quick")
    book = results(tmp_path)
    assert [name for name, found in book["results"].items() if found["failed"]] == []
    ran = {name for name, found in book["results"].items() if not found["skipped"]}
    unmountable = {"ext4", "btrfs", "xfs"} if os.geteuid() else set()
    assert ran | unmountable == book["results"].keys()
    assert "**FAILED**" not in report
    assert "not run" not in report
    assert "not judged" in report
    assert "÷ rsync -a --delay-updates" in report
    assert [*scratch.iterdir()] == []
    drawn = sorted(path.name for path in (tmp_path / "benchmarks").glob("*.svg"))
    pictures = [f"![{name}](benchmarks/{name}.svg)" in report for name in ("growth", "phases", "ratios")]
    assert ("No plots" in report, pictures, drawn) in (
        (True, [False] * 3, []),
        (False, [True] * 3, ["growth.svg", "phases.svg", "ratios.svg"]),
    )
    pages = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    bench("--render-only")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == pages


def test_a_run_of_one_case_leaves_what_this_machine_found_in_others(
    bench: Callable[..., str], tmp_path: Path
) -> None:
    bench(*SMALLEST)
    book = results(tmp_path)
    book["results"]["flat"] = book["results"]["start"] | {"about": "Kept.", "when": "then"}
    rewrite(tmp_path, book)
    assert "Kept." in bench(*SMALLEST)
    assert list(results(tmp_path)["results"]) == ["flat", "start"]
    assert results(tmp_path)["results"]["flat"] == book["results"]["flat"]
    book["machine"]["cores"] = "4711"
    rewrite(tmp_path, book)
    assert "Kept." not in bench(*SMALLEST)
    assert list(results(tmp_path)["results"]) == ["start"]


def test_what_is_missed_is_said_as_plainly_as_what_is_met(bench: Callable[..., str], tmp_path: Path) -> None:
    empty = {"rounds": 3, "when": "then", "load": "0.00", "version": "atomsync 1.0"}
    timing = {"cpu": [1.0] * 3, "largest": [1 << 20] * 3, "together": [0] * 3}
    part = {"entries": 0, "watched": False, "floor": 0, "title": "first push"}
    part["timings"] = [
        timing | {"name": "atomsync push", "seconds": [1.2, 1.3, 1.1]},
        timing | {"name": "cp -a", "seconds": [1.0, 1.0, 1.0]},
    ]
    measures = {"÷ rsync -a": [0.6, 0.5, 0.9], "÷ cp -a": [1.2, 1.3, 1.1], "mixed window": [1.0, 30.0, 2.0]}
    found = {
        "first": empty | {"parts": [part], "measures": measures},
        "ext4": empty | {"skipped": "mounting needs root"},
        "window": empty | {"failed": "the trees differ"},
    }
    (tmp_path / "benchmarks").mkdir()
    rewrite(tmp_path, {"schema": 1, "scale": 1.0, "machine": {"cores": "2"}, "results": found})
    report = bench("--render-only", status=1)
    first = "First push, tmpfs"
    assert verdict(report, first, "÷ rsync -a") == [
        "≤ 0.65 ×",
        "0.60 × (0.50–0.90)",
        "met",
        "≤ 0.5 ×, not yet",
    ]
    assert verdict(report, first, "÷ cp -a")[2:] == ["**missed**", "≤ 0.8 ×, not yet"]
    assert verdict(report, first, "mixed window") == ["≤ 20 ms", "2.0 ms (1.0–30.0)", "met", ""]
    assert verdict(report, "First push, ext4, full durability", "÷ rsync -a --fsync")[2] == "skipped"
    of_rsync = "mixed window ÷ that of rsync -a --delay-updates"
    assert verdict(report, "Mixed window, tmpfs", of_rsync)[2] == "**failed**"
    assert verdict(report, "Large files, tmpfs", "÷ cp -a")[2] == "not run"
    assert "In 1 of 1 comparisons the peer took less time." in report
    assert "**Failed: the trees differ**" in report


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_mount_and_no_file(
    number: signal.Signals, started: Callable[..., subprocess.Popen[str]], scratch: Path
) -> None:
    child = started("--quick", "--case", "ext4", "--rounds", "500")
    assert child.stderr
    lines = iter(child.stderr)
    if os.geteuid() == 0:
        next(line for line in lines if "round" in line)
        assert str(scratch) in Path(f"/proc/{child.pid}/mountinfo").read_text()
    else:
        next(line for line in lines if "ext4" in line)
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode in (128 + number, -number)
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()
    assert not _backed_by(scratch)
    left = [path for path in scratch.rglob("*") if not path.is_dir()]
    assert left == []
    if number == signal.SIGTERM:
        assert [*scratch.iterdir()] == []


def _backed_by(place: Path) -> bool:
    """Whether a loop device still has a file below ``place``; the kernel may take a moment to let it go."""
    deadline = time.monotonic() + 10
    while found := any(
        str(place) in path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")
    ):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return found
