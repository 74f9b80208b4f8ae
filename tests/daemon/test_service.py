"""Several pairs that really follow, in one process: steered by signals, seen through their sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from atomsync.daemon import keeper as keeper_module
from atomsync.daemon.client import ask
from atomsync.daemon.endpoint import Endpoint
from atomsync.daemon.keeper import Keeper
from atomsync.daemon.pair import Pair
from atomsync.errors import NotWatched
from atomsync.follow.follower import Follower
from atomsync.follow.watching import WatchOptions

Wait = Callable[..., Any]
Plant = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("runtime")


def state(dst: Path) -> str:
    """Of the watch of ``dst``; "" if there is none."""
    try:
        return str(ask(str(dst), "status")["state"])
    except NotWatched:
        return ""


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def config(tmp_path: Path, *pairs: Mapping[str, object], daemon: str = "") -> Path:
    path = tmp_path / "atomsync.toml"
    tables = [daemon]
    for pair in pairs:
        lines = [f"{name} = {json.dumps(value)}" for name, value in pair.items()]
        tables.append("\n".join(["[[sync]]", *lines, ""]))
    path.write_text("\n".join(tables))
    return path


@pytest.fixture
def trees(tmp_path: Path, plant: Plant) -> list[dict[str, str]]:
    """Three sources and their destinations, not there yet."""
    for name in "abc":
        plant(tmp_path / f"src-{name}", {"file": name.encode()})
    return [{"source": f"src-{name}", "destination": f"dst-{name}"} for name in "abc"]


class Told:
    """The lines of a command with ``--json``, as they come."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process, self._path = process, path

    @property
    def lines(self) -> list[dict[str, Any]]:
        text = self._path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def of(self, event: str, **fields: object) -> list[dict[str, Any]]:
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]


@pytest.fixture
def watch(atomsync: Any, tmp_path: Path) -> Iterator[Callable[..., Told]]:
    """Start a watch; what is still running at the end is ended."""
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> Told:
            path = tmp_path / f"told-{time.monotonic_ns()}"
            file = stack.enter_context(path.open("w"))
            return Told(atomsync.start("watch", *words, "--json", stdout=file), path)

        yield start


def stop(told: Told, number: int = signal.SIGTERM) -> int:
    told.process.send_signal(number)
    return told.process.wait(30)


# -- several pairs
def test_each_pair_of_a_config_is_followed(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch("--config", config(tmp_path, *trees))
    for name in "abc":
        wait_until(lambda name=name: content(tmp_path / f"dst-{name}" / "file") == name.encode())
        (tmp_path / f"src-{name}" / "file").write_bytes(b"new")
    for name in "abc":
        wait_until(lambda name=name: content(tmp_path / f"dst-{name}" / "file") == b"new")
        assert told.of("receipt", destination=str(tmp_path / f"dst-{name}"))
    assert stop(told) == 0
    assert len(told.of("watch-stopped", why="SIGTERM")) == 3
    assert [state(tmp_path / f"dst-{name}") for name in "abc"] == ["", "", ""]


def test_a_pair_in_trouble_is_shown_and_tried_again_while_the_others_go_on(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    (tmp_path / "dst-b").write_bytes(b"no directory")
    told = watch("--config", config(tmp_path, *trees))
    wait_until(lambda: content(tmp_path / "dst-c" / "file") == b"c")
    wait_until(lambda: state(tmp_path / "dst-b") in ("retrying", "paused"))
    assert "not a directory" in ask(str(tmp_path / "dst-b"), "status")["why"].lower()
    assert told.process.poll() is None
    (tmp_path / "dst-b").unlink()
    wait_until(lambda: content(tmp_path / "dst-b" / "file") == b"b")
    wait_until(lambda: state(tmp_path / "dst-b") == "watching")
    assert stop(told) == 0


def test_a_pair_whose_destination_another_watches_is_tried_again_until_it_is_free(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    with Endpoint(str(tmp_path / "dst-b"), lambda request, listens: {"state": "mine"}):
        told = watch("--config", config(tmp_path, *trees))
        wait_until(lambda: told.of("watch-retrying", code="locked"))
        wait_until(lambda: content(tmp_path / "dst-a" / "file") == b"a")
        assert state(tmp_path / "dst-b") == "mine"
        assert not (tmp_path / "dst-b").exists()
    wait_until(lambda: content(tmp_path / "dst-b" / "file") == b"b")
    assert stop(told) == 0


# -- signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_also_while_everything_changes(
    number: int, watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch(tmp_path / "src-a", tmp_path / "dst-a", "--settle", "0")
    wait_until(lambda: content(tmp_path / "dst-a" / "file") == b"a")
    for number_of_file in range(300):
        (tmp_path / "src-a" / f"more {number_of_file}").write_bytes(b"x" * 1000)
    began = time.monotonic()
    told.process.send_signal(number)
    told.process.send_signal(number)
    assert told.process.wait(30) == 0
    assert time.monotonic() - began < 30
    assert told.of("watch-stopped")


def test_a_hangup_ends_a_watch_that_has_no_config(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch(tmp_path / "src-a", tmp_path / "dst-a")
    wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    assert stop(told, signal.SIGHUP) == 0


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(
    atomsync: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    process = atomsync.start("watch", tmp_path / "src-a", tmp_path / "dst-a", under=["nohup"])
    wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    process.send_signal(signal.SIGHUP)
    (tmp_path / "src-a" / "later").write_bytes(b"x")
    wait_until(lambda: content(tmp_path / "dst-a" / "later") == b"x")
    process.terminate()
    assert process.wait(30) == 0


def test_sync_now_looks_at_once(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch(tmp_path / "src-a", tmp_path / "dst-a", "--poll=1h")
    wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    (tmp_path / "src-a" / "later").write_bytes(b"x")
    told.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: content(tmp_path / "dst-a" / "later") == b"x")
    assert stop(told) == 0


# -- reload
def test_a_reload_starts_what_is_new_ends_what_is_gone_and_leaves_the_rest_alone(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    a, b, c = trees
    told = watch("--config", config(tmp_path, a, b))
    wait_until(lambda: [state(tmp_path / f"dst-{name}") for name in "ab"] == ["watching"] * 2)
    since = ask(str(tmp_path / "dst-a"), "status")["since_ns"]
    config(tmp_path, a, c)
    told.process.send_signal(signal.SIGHUP)
    wait_until(lambda: state(tmp_path / "dst-c") == "watching")
    assert state(tmp_path / "dst-b") == ""
    assert ask(str(tmp_path / "dst-a"), "status")["since_ns"] == since
    (found,) = wait_until(lambda: told.of("watch-reloaded"))
    assert (found["kept"], found["started"], found["stopped"]) == (1, 1, 1)
    assert stop(told) == 0


def test_a_reload_gives_a_pair_its_new_options(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch("--config", config(tmp_path, trees[0]))
    wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    (tmp_path / "dst-a" / "foreign").write_bytes(b"")
    config(tmp_path, trees[0] | {"delete": True})
    told.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not (tmp_path / "dst-a" / "foreign").exists())
    assert stop(told) == 0


def test_a_config_that_is_wrong_is_told_and_the_old_one_goes_on(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    path = config(tmp_path, trees[0])
    told = watch("--config", path)
    wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    path.write_text("delte = 1")
    told.process.send_signal(signal.SIGHUP)
    (found,) = wait_until(lambda: told.of("watch-reload-failed"))
    assert (found["code"], found["exit_status"]) == ("usage", 1)
    assert "delte" in found["why"]
    (tmp_path / "src-a" / "later").write_bytes(b"x")
    wait_until(lambda: content(tmp_path / "dst-a" / "later") == b"x")
    assert stop(told) == 0


# -- what never ends silently
def test_a_follower_that_dies_of_a_bug_is_told_and_started_again(
    tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_FIRST_S", 0.3)
    told: list[tuple[str, dict[str, Any]]] = []

    def tell(_pair: Pair, event: str, **fields: Any) -> None:
        told.append((event, fields))
        if event == "started" and len(told) == 1:
            raise ZeroDivisionError("a bug")

    pair = Pair(str(tmp_path / "src-a"), str(tmp_path / "dst-a"))
    keeper = Keeper(pair, tell, lambda: None, lasting=False)
    keeper.start()
    try:
        wait_until(lambda: state(tmp_path / "dst-a") == "retrying")
        found = ask(str(tmp_path / "dst-a"), "status")
        assert "ZeroDivisionError: a bug" in found["why"]
        assert found["errors"] == 1
        assert ask(str(tmp_path / "dst-a"), "flush")["committed"] is False
        wait_until(lambda: content(tmp_path / "dst-a" / "file") == b"a")
        wait_until(lambda: state(tmp_path / "dst-a") == "watching")
        assert keeper.lively
        assert keeper.settled
        (error,) = [fields["error"] for event, fields in told if event == "retrying"]
        assert error.exit_status == 70
    finally:
        keeper.stop("the test is over")
        assert keeper.join(30)


def test_a_pause_outlives_a_follower(
    tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_FIRST_S", 0.01)
    events: list[str] = []

    def tell(_pair: Pair, event: str, **_fields: Any) -> None:
        events.append(event)
        if event == "paused" and events.count("paused") == 1:
            raise ZeroDivisionError("a bug")

    keeper = Keeper(Pair(str(tmp_path / "src-a"), str(tmp_path / "dst-a")), tell, lambda: None, lasting=True)
    keeper.start()
    try:
        wait_until(lambda: state(tmp_path / "dst-a") == "watching")
        ask(str(tmp_path / "dst-a"), "pause")
        wait_until(lambda: events.count("started") == 2)
        wait_until(lambda: state(tmp_path / "dst-a") == "paused")
        ask(str(tmp_path / "dst-a"), "resume")
        wait_until(lambda: state(tmp_path / "dst-a") == "watching")
    finally:
        keeper.stop("the test is over")
        assert keeper.join(30)


def test_a_loop_that_has_stopped_shows_no_sign_of_life(
    tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, over = [], []

    def tell(_pair: Pair, event: str, **_fields: Any) -> None:
        if event == "resumed":
            stuck.append(event)
            wait_until(lambda: over)

    keeper = Keeper(Pair(str(tmp_path / "src-a"), str(tmp_path / "dst-a")), tell, lambda: None, lasting=False)
    keeper.start()
    try:
        wait_until(lambda: state(tmp_path / "dst-a") == "watching")
        assert keeper.lively
        ask(str(tmp_path / "dst-a"), "pause")
        wait_until(lambda: state(tmp_path / "dst-a") == "paused")
        wait_until(lambda: ask(str(tmp_path / "dst-a"), "resume") and stuck)
        monkeypatch.setattr(keeper_module, "SILENT_S", 0.05)
        wait_until(lambda: not keeper.lively)
    finally:
        over.append(True)
        keeper.stop("the test is over")
        assert keeper.join(30)
    assert not keeper.lively


# -- flush
def test_a_flush_whose_asker_has_gone_does_not_wait_for_ever(
    tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_SLICE_S", 0.05)
    pair = Pair(
        str(tmp_path / "src-a"), str(tmp_path / "dst-a"), options=WatchOptions(settle_s=60, max_wait_s=60)
    )
    keeper = Keeper(pair, lambda *_told, **_fields: None, lambda: None, lasting=False)
    try:
        began = time.monotonic()
        found = keeper.answer(
            {"verb": "flush"}, lambda: False
        )  # it has not been started: nothing is committed
        assert found["committed"] is False
        assert time.monotonic() - began < 5
        asked = []
        found = keeper.answer({"verb": "flush", "timeout_s": 0.3}, lambda: bool(asked.append(1)) or True)
        assert (found["exit_status"], found["why"]) == (30, "it took longer than 0.3 s")
        assert 1 <= len(asked) <= 3, "the slices grow"
    finally:
        keeper.stop("the test is over")


# -- systemd and Prometheus
def test_systemd_hears_of_readiness_life_reload_and_end(
    watch: Any,
    tmp_path: Path,
    trees: list[dict[str, str]],
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    name = f"atomsync-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(20)

        def until(line: str) -> None:
            while line not in heard[-1:]:
                heard.append(listening.recv(4096).decode().split("\n")[0])

        (tmp_path / "dst-b").write_bytes(b"in the way: told, so it holds up nobody")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        told = watch("--config", config(tmp_path, *trees[:2]))
        until("READY=1")
        assert content(tmp_path / "dst-a" / "file") == b"a", "ready means caught up"
        for _ in range(3):
            until("WATCHDOG=1")
            heard.append("")
        told.process.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        told.process.terminate()
        until("STOPPING=1")
        assert told.process.wait(30) == 0
    assert any(line.startswith("STATUS=1 ") and "1 watching" in line for line in heard)


def test_metrics_are_served_while_it_runs(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    told = watch("--config", config(tmp_path, *trees[:2], daemon="[daemon]\nmetrics = 0\n"))
    (found,) = wait_until(lambda: told.of("watch-metrics"))
    wait_until(lambda: [state(tmp_path / f"dst-{name}") for name in "ab"] == ["watching"] * 2)
    with urllib.request.urlopen(found["url"], timeout=20) as answer:
        text = answer.read().decode()
    for name in "ab":
        labels = f'destination="{tmp_path}/dst-{name}",source="{tmp_path}/src-{name}"'
        assert f"atomsync_units_total{{{labels}}} 1.0" in text
    assert stop(told) == 0


def test_the_beat_of_a_follower_is_a_monotonic_time(tmp_path: Path) -> None:
    follower = Follower(str(tmp_path), str(tmp_path / "dst"), WatchOptions(), lambda *_told, **_fields: None)
    assert abs(time.monotonic() - follower.beat_s) < 5


def test_a_pair_that_waits_to_try_again_ends_at_once(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    with Endpoint(str(tmp_path / "dst-a"), lambda request, listens: {"state": "mine"}):
        told = watch("--config", config(tmp_path, trees[0]))
        wait_until(lambda: len(told.of("watch-retrying", code="locked")) >= 2)
        began = time.monotonic()
        assert stop(told) == 0
        assert time.monotonic() - began < 10
    assert told.of("watch-stopped", why="SIGTERM")


def test_a_signal_that_another_thread_received_is_heard(
    watch: Any, tmp_path: Path, trees: list[dict[str, str]], wait_until: Wait
) -> None:
    """The kernel hands a signal to any thread that runs first after a stop, so not always to the main one."""
    for _ in range(3):
        told = watch(tmp_path / "src-a", tmp_path / "dst-a")
        wait_until(lambda: state(tmp_path / "dst-a") == "watching")
        told.process.send_signal(signal.SIGSTOP)
        told.process.send_signal(signal.SIGTERM)
        told.process.send_signal(signal.SIGCONT)
        assert told.process.wait(30) == 0
