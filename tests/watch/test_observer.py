"""The watcher for other platforms, with what watchdog has for this one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atomsync.errors import UsageError
from atomsync.watch.hint import TREE, Hint
from atomsync.watch.inotify import InotifyWatcher
from atomsync.watch.observer import ObserverWatcher, watcher_for

Plant = Callable[..., Path]
Watched = tuple[ObserverWatcher, list[Hint]]


def until(condition: Callable[[], object], within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"f": b"1", "d/g": b"1", ".atomsync/x": b"1"})


@pytest.fixture
def watched(src: Path) -> Iterator[Watched]:
    heard: list[Hint] = []
    watcher = ObserverWatcher(str(src), heard.append)
    watcher.start()
    yield watcher, heard
    watcher.stop()


def shell(commands: str, where: Path) -> None:
    subprocess.run(["sh", "-ec", commands], cwd=where, check=True)


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ("echo 2 > f", Hint("f", writing=False)),
        ("echo 2 > d/new", Hint("d/new", writing=False)),
        ("chmod 600 f", Hint("f")),
        ("rm f", Hint("f")),
        ("mv f d/f", Hint("d/f", moved_from="f", writing=False)),
        ("mkdir new", Hint("new", TREE)),
        ("mv d new", Hint("new", TREE, "d")),
    ],
)
def test_a_change_is_told(commands: str, expected: Hint, src: Path, watched: Watched) -> None:
    _, heard = watched
    shell(commands, src)
    until(lambda: expected in heard)


def test_reading_and_our_own_names_are_not_told(src: Path, watched: Watched) -> None:
    _, heard = watched
    shell("cat f d/g; ls -R; touch .atomsync/x .atomsync/y; echo 2 > d/last", src)
    until(lambda: Hint("d/last", writing=False) in heard)
    assert {hint.path for hint in heard} <= {"d/last", "d"}


def test_it_has_no_order_to_prove_anything_by(watched: Watched) -> None:
    watcher, _ = watched
    assert not watcher.ordered
    assert not watcher.barrier(1)


def test_a_root_that_is_replaced_breaks_it(src: Path, tmp_path: Path, watched: Watched) -> None:
    watcher, _ = watched
    assert watcher.broken == ""
    shell("mv src other; mkdir src", tmp_path)
    until(lambda: watcher.broken)


def test_a_listener_that_fails_breaks_it(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hear(hint: Hint) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    watcher = ObserverWatcher(str(src), hear)
    watcher.start()
    try:
        shell("touch f", src)
        until(lambda: watcher.broken == "a thread that reads its events has ended")
    finally:
        watcher.stop()


def test_without_a_root_it_does_not_start(tmp_path: Path) -> None:
    watcher = ObserverWatcher(str(tmp_path / "missing"), lambda hint: None)
    with pytest.raises(FileNotFoundError):
        watcher.start()
    watcher.stop()


def test_nothing_is_heard_after_it_has_stopped(src: Path, watched: Watched) -> None:
    watcher, heard = watched
    threads = threading.active_count()
    watcher.stop()
    shell("touch f", src)
    watcher.stop()
    assert heard == []
    assert watcher.broken == ""
    assert threading.active_count() < threads


@pytest.mark.skipif(sys.platform != "linux", reason="what is chosen on Linux")
def test_on_linux_inotify_is_chosen(src: Path) -> None:
    assert isinstance(watcher_for(str(src), lambda hint: None), InotifyWatcher)


def test_without_watchdog_the_error_says_how_to_get_it(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "atomsync.watch.inotify")
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify_c", None)
    with pytest.raises(UsageError) as error:
        watcher_for(str(src), lambda hint: None)
    assert "pip install" in error.value.hint
    assert "--poll" in error.value.hint
