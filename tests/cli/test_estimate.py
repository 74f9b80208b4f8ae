"""How much longer a push takes, as the bar tells it.

``traces/`` has what real first pushes of 50,000 files (830 MB) told of themselves, and when: on a machine
with two processors, idle or not. The estimate is asked as a bar asks it, ten times a second; so nothing here
depends on the clock of the machine that runs the test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.cli.bar import BarProgress, has_barriers
from atomsync.cli.estimate import Estimate
from atomsync.cli.render_progress import left

TRACES = sorted((Path(__file__).parent / "traces").glob("*.json"))
HONEST = 0.20


def told(trace: dict[str, Any]) -> Iterator[tuple[float, float | None]]:
    """What a bar tells of the push at each tenth of a second: ``(now_s, left_s)``."""
    estimate = Estimate(durable=trace["durable"])
    events = [*trace["told"], [trace["seconds"], None, 0, 0]]
    files = size = 0
    now_s = 0.0
    for at_s, name, some_files, some_size in events:
        while now_s < at_s:
            yield now_s, estimate.left_s(files, size, now_s)
            now_s += 0.1
        if name is not None:
            estimate.begin(name, some_files, some_size, at_s, files)
            files = size = 0
        else:
            files, size = some_files, some_size


def at(trace: dict[str, Any], share: float) -> float:
    """How long the bar tells that all of it takes, when so much of the time is over."""
    now_s, left_s = next(each for each in told(trace) if each[0] >= share * trace["seconds"])
    assert left_s is not None, "nothing was told"
    return now_s + left_s


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_time_that_is_told_is_honest(path: Path, share: float) -> None:
    trace = json.loads(path.read_text())
    assert at(trace, share) == pytest.approx(trace["seconds"], rel=HONEST)


def test_there_are_traces_with_and_without_barriers() -> None:
    assert {json.loads(path.read_text())["durable"] for path in TRACES} == {True, False}


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_longer_it_goes_on_the_surer_it_gets(path: Path) -> None:
    trace = json.loads(path.read_text())
    for now_s, left_s in told(trace):
        if now_s > 0.5 * trace["seconds"]:
            assert left_s is not None
            assert now_s + left_s == pytest.approx(trace["seconds"], rel=0.15)


def test_a_scan_does_not_know_how_much_there_is() -> None:
    estimate = Estimate()
    assert estimate.left_s(0, 0, 0.0) is None
    estimate.begin("scan", 0, 0, 0.1)
    assert estimate.left_s(1000, 0, 0.5) is None


def test_a_file_costs_and_a_byte_costs() -> None:
    """Half the bytes are no half of the work where they are in one of many files."""

    def halfway(files: int, size: int) -> float:
        estimate = Estimate(durable=False)
        estimate.begin("stage", 10_001, 1 << 30, 0.0)
        estimate.left_s(0, 0, 0.0)
        left_s = estimate.left_s(files, size, 1.0)
        assert left_s is not None
        return left_s

    small_ones, large_one = halfway(10_000, 100), halfway(1, 1 << 30)
    assert 0.4 < large_one / small_ones < 2.5
    assert halfway(10_000, 1 << 29) < min(small_ones, large_one)


def test_barriers_are_reckoned_with_where_there_are_any() -> None:
    def behind(*, durable: bool) -> float:
        estimate = Estimate(durable=durable)
        estimate.begin("stage", 1000, 1 << 30, 0.0)
        estimate.begin("seal", 0, 0, 2.0)
        left_s = estimate.left_s(0, 0, 2.0)
        assert left_s is not None
        return left_s

    assert behind(durable=True) > behind(durable=False) + 1.0


def test_what_takes_longer_than_expected_is_never_done_before_it_is() -> None:
    estimate = Estimate()
    estimate.begin("stage", 1000, 1 << 20, 0.0)
    estimate.begin("commit", 0, 0, 0.1)
    late = estimate.left_s(0, 0, 3600.0)
    assert late is not None
    assert late > 0


def test_a_source_that_is_scanned_again_is_a_new_beginning() -> None:
    estimate = Estimate()
    estimate.begin("stage", 1000, 1 << 20, 0.0)
    estimate.begin("check", 0, 0, 1.0)
    assert estimate.left_s(0, 0, 1.0) is not None
    estimate.begin("scan", 0, 0, 1.5)
    assert estimate.left_s(10, 0, 1.6) is None


def test_other_work_whose_size_is_known_goes_on_at_its_own_pace() -> None:
    estimate = Estimate()
    estimate.begin("verify", 100, 1 << 30, 10.0)  # of ``atomsync verify``: nothing was staged
    assert estimate.left_s(0, 0, 11.0) is None
    assert estimate.left_s(25, 1 << 28, 14.0) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.2, "about 1 s left"),
        (59.4, "about 59 s left"),
        (90.0, "about 2 min left"),
        (5400.0, "about 1.5 h left"),
    ],
)
def test_it_is_told_no_finer_than_it_is_known(seconds: float | None, words: str) -> None:
    assert left(seconds) == words


def test_memory_has_no_barriers_and_nobody_waits_for_what_was_waived(tmp_path: Path, small_fs: Any) -> None:
    there = small_fs("tmpfs")
    assert not has_barriers(str(there), "full")
    assert not has_barriers(str(there / "to be made"), "full")
    disk = small_fs("ext4")
    assert has_barriers(str(disk), "full")
    assert not has_barriers(str(disk), "none")
    assert has_barriers(str(tmp_path / "none" / "at" / "all"), "full")


def test_a_terminal_is_told_how_much_longer_it_takes(
    atomsync: Any, tmp_path: Path, plant: Callable[..., Path]
) -> None:
    src = plant(tmp_path / "src", {f"d{n % 40}/f{n}": b"x" * 2000 for n in range(4000)})
    ours, theirs = os.openpty()
    line = atomsync.line("push", src, tmp_path / "dst")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(line, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0, shown
    assert re.search(r"of 4,000 files · .* about \d+ s left", shown.decode(errors="replace"))


def test_a_bar_may_be_asked_while_a_phase_begins() -> None:
    """It is drawn by another thread, which an error would end."""
    bar, raised, ended = BarProgress(), [], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                bar.left_s()
            except Exception as error:
                raised.append(error)

    thread, interval = threading.Thread(target=ask), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(400):
            for name, files in (("scan", 0), ("stage", 5), ("check", 0), ("scan", 0), ("stage", 0)):
                bar.phase(name, files)
                bar.advance(1)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
        bar.close()
    assert not raised
