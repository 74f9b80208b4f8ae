"""The phases of a push: what each is made of, and that they add up to the whole."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.sync.phases import Phases

Plant = Callable[..., Path]
SLOW_S = 0.02


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"one", "d/b": b"two" * 1000, "d/c": b"three", "d/e/": None})


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    (tmp_path / "dst").mkdir()
    return tmp_path / "dst"


def slowed(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    """``os.<name>`` takes ``SLOW_S`` more from now on; it has as many members as there were calls."""
    calls: list[None] = []
    original = getattr(os, name)

    def slow(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        time.sleep(SLOW_S)
        return original(*arguments, **options)

    monkeypatch.setattr(os, name, slow)
    return calls


def test_the_phases_come_in_order_and_add_up_to_the_whole(src: Path, dst: Path) -> None:
    report = push(src, dst)
    assert list(report.phases_ms) == ["scan", "stage", "verify", "barriers", "commit"]
    assert sum(report.phases_ms.values()) == pytest.approx(report.seconds * 1000)
    again = push(src, dst)
    assert "commit" not in again.phases_ms
    assert sum(again.phases_ms.values()) == pytest.approx(again.seconds * 1000)


def test_a_dry_run_only_scans(src: Path, dst: Path) -> None:
    report = push(src, dst, dry_run=True)
    assert list(report.phases_ms) == ["scan"]
    assert report.phases_ms["scan"] == pytest.approx(report.seconds * 1000)


def test_what_barriers_take_is_theirs_wherever_they_are(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = slowed(monkeypatch, "fsync")
    report = push(src, dst)
    assert len(calls) > 5  # of a small unit: files, directories, the journal, the decision
    assert report.phases_ms["barriers"] >= len(calls) * SLOW_S * 1000
    assert sum(report.phases_ms.values()) == pytest.approx(report.seconds * 1000)


def test_without_durability_there_are_no_barriers(src: Path, dst: Path) -> None:
    assert "barriers" not in push(src, dst, durability="none").phases_ms


def test_reading_back_is_verifying(src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[None] = []

    def slow(fd: int, size: int, offset: int) -> bytes:
        reads.append(None)
        time.sleep(SLOW_S)
        return os.pread(fd, size, offset)

    monkeypatch.setattr(PosixDisk, "pread", staticmethod(slow))
    report = push(src, dst)
    files = 3
    assert len(reads) >= 2 * files  # each is read, and read back
    assert report.phases_ms["verify"] >= files * SLOW_S * 1000
    assert report.phases_ms["stage"] >= files * SLOW_S * 1000


def test_what_the_medium_gives_back_is_verified_too(
    src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PosixDisk.drop_cache

    def slow(disk: PosixDisk, fd: int) -> None:
        time.sleep(SLOW_S)
        original(disk, fd)

    monkeypatch.setattr(PosixDisk, "drop_cache", slow)
    assert push(src, dst, verify="media").phases_ms["verify"] >= 3 * SLOW_S * 1000


def test_a_check_is_a_phase_of_its_own(src: Path, dst: Path) -> None:
    report = push(src, dst, check=f"sleep {SLOW_S}")
    assert list(report.phases_ms) == ["scan", "stage", "verify", "barriers", "hook", "commit"]
    assert report.phases_ms["hook"] >= SLOW_S * 1000


def test_the_barriers_of_another_thread_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = slowed(monkeypatch, "fsync")
    phases = Phases(Progress())
    fd = os.open(tmp_path, os.O_RDONLY)
    other = threading.Thread(target=PosixDisk().fsync, args=(fd,))
    other.start()
    other.join()
    os.close(fd)
    phases.finish()
    assert len(calls) == 1
    assert list(phases.ms) == ["scan"]
