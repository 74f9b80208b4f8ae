"""Files that somebody writes to for long, or for ever: never torn, and nothing else waits for them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atomsync import push
from atomsync.follow.attachment import Attachment
from tests.follow.following import QUICK, Following
from tests.follow.reader import Reader

Follow = Callable[..., Following]
SameTree = Callable[..., None]

SETTLE_S, MAX_WAIT_S = QUICK.settle_s, QUICK.max_wait_s
PATIENCE_S = 2 * MAX_WAIT_S  # how long a file being written is held back at most
LINE = "a line of a log that is longer than one would think %08d\n"

# Appends lines, each in one write(2): LOG INTERVAL_S KEEP_OPEN; until its input ends.
_LOGGER = f"""
import itertools, os, select, sys
path, interval, keep_open = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "True"
fd = -1
for number in itertools.count():
    if fd < 0:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, ({LINE!r} % number).encode())
    if number == 0:
        print("logging", flush=True)
    if not keep_open:
        os.close(fd)
        fd = -1
    if select.select([sys.stdin], [], [], interval)[0]:
        break
"""


@contextlib.contextmanager
def logging_to(path: Path, interval_s: float, *, keep_open: bool) -> Iterator[None]:
    line = [sys.executable, "-c", _LOGGER, str(path), str(interval_s), str(keep_open)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as logger:
        assert logger.stdout is not None
        assert logger.stdout.readline()
        yield
        logger.communicate()


def _arrival_s(path: Path, copy: Path, text: str, wait_until: Callable[..., object]) -> float:
    path.write_text(text)
    began = time.monotonic()
    wait_until(lambda: copy.read_text() == text, 5)
    return time.monotonic() - began


@pytest.mark.parametrize("keep_open", [True, False], ids=["kept open", "reopened"])
@pytest.mark.parametrize("interval_s", [0.02, 0.001])
def test_a_log_written_for_ever_is_never_torn_and_holds_nothing_back(
    interval_s: float,
    keep_open: bool,
    src: Path,
    dst: Path,
    follow: Follow,
    assert_same_tree: SameTree,
    wait_until: Callable[..., object],
) -> None:
    (src / "beside").write_bytes(b"1")
    push(src, dst)
    watch = follow(src, dst)
    watch.settled()
    with Reader(dst, "log") as reader:
        with logging_to(src / "log", interval_s, keep_open=keep_open):
            took = [_arrival_s(src / "beside", dst / "beside", str(n), wait_until) for n in range(5)]
            assert sorted(took)[2] < SETTLE_S + 1
            if interval_s >= 0.02:
                for _ in range(2):
                    size = (dst / "log").stat().st_size if (dst / "log").exists() else 0
                    wait_until(lambda s=size: (dst / "log").exists() and (dst / "log").stat().st_size > s, 5)
        watch.wait_until(lambda: (dst / "log").exists())
        watch.wait_until(lambda: (dst / "log").read_bytes() == (src / "log").read_bytes())
    watch.settled()
    assert_same_tree(src, dst)
    whole = (src / "log").read_text()
    versions = reader.seen["log"]
    assert versions[0] is None
    assert None not in versions[1:]
    assert all(text and text.endswith("\n") and whole.startswith(text) for text in versions[1:])


def test_a_log_arrives_in_between_as_often_as_patience_allows(
    src: Path, dst: Path, follow: Follow, wait_until: Callable[..., object]
) -> None:
    watch = follow(src, dst)
    watch.settled()
    with logging_to(src / "log", 0.02, keep_open=True):
        wait_until(lambda: (dst / "log").exists(), PATIENCE_S + 2)
        began, sizes = time.monotonic(), {(dst / "log").stat().st_size}
        while time.monotonic() - began < 3 * PATIENCE_S:
            sizes.add((dst / "log").stat().st_size)
            time.sleep(0.01)
    assert 2 <= len(sizes) <= 3 * PATIENCE_S / MAX_WAIT_S + 1, sizes


def test_a_file_written_slowly_is_held_until_it_is_closed_and_the_rest_goes_on(
    src: Path, dst: Path, follow: Follow
) -> None:
    watch = follow(src, dst, max_wait_s=2.0)
    watch.settled()
    with Reader(dst, "slow") as reader:
        with (src / "slow").open("wb", buffering=0) as file:
            file.write(b"a" * 2000)
            (src / "first").touch()
            watch.wait_until(lambda: (dst / "first").exists(), SETTLE_S + 1)
            watch.wait_until(lambda: watch.status.held == ("slow",), 1)
            (src / "second").touch()
            watch.wait_until(lambda: (dst / "second").exists(), SETTLE_S + 1)
            assert not (dst / "slow").exists()
            file.write(b"b" * 3000)
        closed = time.monotonic()
        watch.wait_until(lambda: (dst / "slow").exists())
        assert time.monotonic() - closed < SETTLE_S + 1
    assert reader.seen == {"slow": [None, "a" * 2000 + "b" * 3000]}
    assert watch.status.held == ()


def test_an_open_file_that_rests_arrives_when_patience_ends(src: Path, dst: Path, follow: Follow) -> None:
    watch = follow(src, dst)
    watch.settled()
    with (src / "slow").open("wb", buffering=0) as file:
        file.write(b"a" * 2000)
        began = time.monotonic()
        watch.wait_until(lambda: (dst / "slow").exists(), PATIENCE_S + 2)
        assert time.monotonic() - began > PATIENCE_S * 0.9
        assert (dst / "slow").read_bytes() == b"a" * 2000
        file.write(b"b" * 3000)
    watch.wait_until(lambda: (dst / "slow").read_bytes() == b"a" * 2000 + b"b" * 3000)


def test_a_file_written_over_in_place_for_long_is_never_seen_half_new(
    src: Path, dst: Path, follow: Follow
) -> None:
    """Longer than patience, but it never stops for as long as it takes to copy it."""
    (src / "doc").write_bytes(b"o" * 40_000)
    push(src, dst)
    watch = follow(src, dst, settle_s=0.1, max_wait_s=3.0)
    watch.settled()
    with Reader(dst, "doc") as reader:
        with (src / "doc").open("r+b", buffering=0) as file:
            for _ in range(100):
                file.write(b"n" * 400)
                time.sleep(0.01)
        watch.wait_until(lambda: (dst / "doc").read_bytes() == b"n" * 40_000)
    assert reader.seen == {"doc": ["o" * 40_000, "n" * 40_000]}


def test_a_file_saved_again_and_again_is_never_taken_in_the_midst_of_a_save(
    src: Path, dst: Path, follow: Follow
) -> None:
    """It never rests, so it is taken when patience ends; but then when the save that goes on is over."""
    (src / "beside").touch()
    watch = follow(src, dst, max_wait_s=0.2)
    watch.settled()
    with Reader(dst, "doc") as reader:
        for number in range(30):
            with (src / "doc").open("wb", buffering=0) as file:
                for _ in range(3):
                    file.write(b"%03d\n" % number * 500)
                    time.sleep(0.02)
            time.sleep(0.01)
        watch.settled()
    versions = reader.seen["doc"][1:]
    assert {version and len(version) for version in versions} == {6000}
    assert len(versions) >= 3


def test_a_save_that_began_before_the_copy_and_ended_before_the_commit_is_not_taken_in_its_midst(
    src: Path, dst: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time at which everything has been heard nobody writes to it any more."""
    real = Attachment.prove
    ended: list[bool] = []

    def prove(self: Attachment, timeout_s: float) -> bool:
        if (src / "doc").exists() and not ended:
            (src / "doc").write_bytes(b"n" * 40_000)
            ended.append(True)
        return real(self, timeout_s)

    monkeypatch.setattr(Attachment, "prove", prove)
    watch = follow(src, dst)
    watch.settled()
    with Reader(dst, "doc") as reader:
        (src / "doc").write_bytes(b"")
        watch.wait_until(lambda: (dst / "doc").exists())
        watch.settled()
    assert reader.seen["doc"] == [None, "n" * 40_000]


def test_a_flush_takes_an_open_file_as_it_is(src: Path, dst: Path, follow: Follow) -> None:
    watch = follow(src, dst, max_wait_s=30.0)
    watch.settled()
    with (src / "slow").open("wb", buffering=0) as file:
        file.write(b"a" * 2000)
        watch.settled()
        assert (dst / "slow").read_bytes() == b"a" * 2000
