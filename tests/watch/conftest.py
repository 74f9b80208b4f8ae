"""Watchers of real directories, and mounts to watch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.watch.inotify import InotifyWatcher
from tests.watch.listener import Listener


@pytest.fixture
def mount(needs_root: None) -> Iterator[Callable[..., Path]]:
    """Mounts a filesystem (a type of the kernel's, or "bind") for the time of the test."""
    done: list[Path] = []

    def put(kind: str, point: Path, options: str = "", source: Path | str = "none") -> Path:
        point.mkdir(parents=True, exist_ok=True)
        how = ["--bind"] if kind == "bind" else ["-t", kind, "-o", options or "rw"]
        result = subprocess.run(["mount", *how, source, point], check=False, capture_output=True, text=True)
        if result.returncode != 0:
            pytest.skip(f"cannot mount {kind}: {result.stderr.strip()}")
        done.append(point)
        return point

    yield put
    for point in reversed(done):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


@pytest.fixture
def watch() -> Iterator[Callable[..., tuple[InotifyWatcher, Listener]]]:
    """Starts a watcher of a directory, and one who listens to it."""
    started: list[tuple[InotifyWatcher, Listener]] = []

    def start(root: Path, **options: Any) -> tuple[InotifyWatcher, Listener]:
        listener = Listener(root)
        watcher = InotifyWatcher(str(root), listener.hear, **options)
        started.append((watcher, listener))
        watcher.start()
        return watcher, listener

    yield start
    for watcher, listener in started:
        listener.gate.set()
        watcher.stop()
