"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from atomsync.daemon.notify import Notifier


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    path = f"/tmp/atomsync-notify-{os.getpid()}-{time.monotonic_ns()}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(path)
    os.rename(path, tmp_path / "notify")
    listening.settimeout(20)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return listening


def text(listening: socket.socket) -> str:
    return listening.recv(4096).decode()


def test_readiness_life_and_end_are_told(heard: socket.socket) -> None:
    notifier = Notifier()
    notifier.ready()
    assert text(heard) == "READY=1"
    notifier.alive()
    assert text(heard) == "WATCHDOG=1"
    notifier.stopping()
    assert text(heard) == "STOPPING=1"


def test_a_reload_tells_the_time_systemd_compares_with_its_own(heard: socket.socket) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier().reloading()
    first, second = text(heard).split("\n")
    assert first == "RELOADING=1"
    name, _, stamp = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(stamp) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_is_told_when_it_changes(heard: socket.socket) -> None:
    notifier = Notifier()
    for each in ("1 watching", "1 watching", "1 retrying"):
        notifier.status(each)
    notifier.ready()
    assert [text(heard) for _ in range(3)] == ["STATUS=1 watching", "STATUS=1 retrying", "READY=1"]


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"atomsync-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        Notifier().ready()
        assert text(listening) == "READY=1"


@pytest.mark.parametrize(
    ("limit", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", None),
        (None, None, None),
        ("soon", None, None),
        ("0", None, None),
    ],
)
def test_signs_of_life_are_due_at_half_of_the_limit_if_it_is_meant_for_us(
    limit: str | None,
    pid: str | None,
    expected: float | None,
    heard: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("WATCHDOG_USEC", limit),
        ("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid),
    ):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert Notifier().watchdog_s == expected


def test_no_process_started_later_can_speak_in_our_name(heard: socket.socket) -> None:
    Notifier()
    assert "NOTIFY_SOCKET" not in os.environ


@pytest.mark.parametrize("address", ["", "/none/there", "@nobody-listens", "x" * 300])
def test_nobody_who_listens_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier()
    notifier.ready()
    notifier.status("1 watching")


def test_a_reader_that_does_not_read_holds_up_nobody(heard: socket.socket) -> None:
    notifier = Notifier()
    began = time.monotonic()
    for _ in range(5000):
        notifier.alive()
    assert time.monotonic() - began < 10
