"""``atomsync selftest``: a verdict on the filesystem at hand, and no trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_bad_input import fill

NOBODY = 65534
Unchanged = Callable[..., Any]

# The real command on a disk that cannot do, or does wrongly, what the text after it says.
_BROKEN = """
import os, sys, time
from atomsync.fs.posix import PosixDisk
{patch}
from atomsync.cli import main
main()
"""
_NO_EXCHANGE = """
def exchange(self, at, name, to, other):
    raise OSError(22, os.strerror(22))
PosixDisk.exchange = exchange
"""
_TORN_EXCHANGE = """
def exchange(self, at, name, to, other):  # what it does is right, but a path is missing meanwhile
    os.rename(other, name + ".aside", src_dir_fd=to, dst_dir_fd=at)
    time.sleep(0.001)
    os.rename(name, other, src_dir_fd=at, dst_dir_fd=to)
    os.rename(name + ".aside", name, src_dir_fd=at, dst_dir_fd=at)
PosixDisk.exchange = exchange
"""


def broken(patch: str, *words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", _BROKEN.format(patch=patch), "selftest", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def dst(plant: Callable[..., Path]) -> Iterator[Path]:
    """In memory, if there is such a place: every push syncs the filesystem, and a disk has other users."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as base:
        os.chmod(base, 0o755)
        yield plant(Path(base) / "dst", {"kept": b"kept", "d/kept": b"kept", ".atomsync/kept": b"kept"})


def test_a_good_filesystem_gets_a_good_verdict_and_keeps_no_trace(
    atomsync: Any, dst: Path, unchanged: Unchanged
) -> None:
    with unchanged(dst, control=True, ctime=False):
        done = atomsync("selftest", "--seconds", 0.3, dst)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.startswith(f"selftest in {dst}/.atomsync-selftest-")
    assert "for about 0.3 s" in first
    assert "  exchange two names        yes" in lines
    assert all(line.endswith("· 0 violations") for line in lines if "violations" in line)
    assert "swap class exchange, the full guarantee" in lines[-2]
    assert "not tried: power cuts" in lines[-1]


def test_anybody_may_try_where_they_may_write_and_a_program_reads_the_same_verdict(
    atomsync: Any, dst: Path
) -> None:
    dst.chmod(0o777)
    done = atomsync("selftest", "--json", "--seconds", 0.3, dst, user=NOBODY)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["schema"], said["event"], said["holds"], said["weaker"]) == (1, "selftest", True, [])
    kills = said["checks"][-1]
    assert kills["name"] == "kills"
    assert 4 <= kills["tried"] <= kills["points"]
    assert sum(kills["outcomes"].values()) == kills["tried"]
    assert kills["outcomes"]["old"] > 0
    assert sorted(os.listdir(dst)) == [".atomsync", "d", "kept"]


def test_a_weaker_filesystem_is_told_what_is_weaker(dst: Path) -> None:
    done = broken(_NO_EXCHANGE, "--seconds", 0.3, dst)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  exchange two names        no" in done.stdout.splitlines()
    assert "swap class link+replace, a weaker guarantee" in done.stdout
    assert "another writer's save" in done.stdout


def test_a_broken_promise_is_seen(dst: Path, unchanged: Unchanged) -> None:
    with unchanged(dst, control=True, ctime=False):
        done = broken(_TORN_EXCHANGE, "--seconds", 0.3, dst)
    assert done.returncode == 43, done.stdout + done.stderr
    assert "violation: a reader: " in done.stdout
    assert "do not use them together" in done.stdout
    assert "every promise held" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_without_a_trace(
    number: int, atomsync: Any, dst: Path, unchanged: Unchanged, wait_until: Callable[..., Any]
) -> None:
    with unchanged(dst, control=True, ctime=False):
        process = atomsync.start("selftest", "--seconds", 60, dst)
        wait_until(lambda: any(dst.glob(".atomsync-selftest-*/dst/.atomsync/history/*")))
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 20
    assert error.splitlines() == [
        f"atomsync: stopped by {signal.Signals(number).name}: the scratch directory was removed"
    ]


# -- what is no place for a test
@pytest.mark.parametrize("kind", ["nothing", "a file", "a dangling link"])
def test_a_destination_that_is_no_directory(kind: str, atomsync: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    if kind == "a file":
        path.write_bytes(b"")
    elif kind == "a dangling link":
        path.symlink_to("nowhere")
    done = atomsync("selftest", path)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"cannot test {path}: " in done.stderr


def test_a_destination_we_may_not_write(atomsync: Any, public_dir: Path) -> None:
    done = atomsync("selftest", public_dir, user=NOBODY)
    assert (done.returncode, done.stdout) == (13, "")
    assert "Permission denied" in done.stderr


def test_a_read_only_filesystem(atomsync: Any, small_fs: Any) -> None:
    point = small_fs("tmpfs")
    small_fs.remount(point, "ro")
    done = atomsync("selftest", point)
    assert (done.returncode, done.stdout) == (13, "")
    assert "mounted read-only" in done.stderr


def test_a_full_filesystem(atomsync: Any, small_fs: Any) -> None:
    point = small_fs("tmpfs", 1)
    fill(point / "filler")
    done = atomsync("selftest", "--json", point)
    assert done.returncode == 44
    assert json.loads(done.stdout)["code"] == "space"
    assert os.listdir(point) == ["filler"]
