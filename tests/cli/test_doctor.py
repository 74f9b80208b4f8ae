"""``atomsync doctor``: what it says of real filesystems is so, and nothing of its trying stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOBODY, _tool

Plant = Callable[..., Path]
MIB = 1 << 20


def examined(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["schema"], found["event"]) == (1, "doctor")
    assert found["exit_status"] == done.returncode
    assert found["works"] == (done.returncode == 0)
    return found


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in found["findings"]}


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    (tmp_path / "dst").mkdir()
    return tmp_path / "dst"


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"12345", "d/b": b"678", "d/link": "../a", "e": None})


# -- real filesystems, and judges of them
@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_what_it_finds_is_what_the_tools_of_the_system_find(
    kind: str, atomsync: Any, small_fs: Any, unchanged: Any
) -> None:
    where = small_fs(kind, {"xfs": 320, "btrfs": 128}.get(kind, 16))
    with unchanged(where, control=True, ctime=False):
        found = by_name(examined(atomsync("doctor", "--json", where)))
    assert found["filesystem"]["value"] == kind
    assert str(where) in found["filesystem"]["text"]
    (where / "one").write_bytes(b"x" * MIB)
    line = [_tool("cp"), "--reflink=always", where / "one", where / "two"]
    clones = subprocess.run(line, check=False, capture_output=True).returncode == 0
    assert found["reflinks"]["value"] == clones == (kind in ("xfs", "btrfs"))
    line = [_tool("setfacl"), "-m", "u:4711:r", where / "one"]
    assert found["acls"]["value"] == (subprocess.run(line, check=False, capture_output=True).returncode == 0)
    os.setxattr(where / "one", "user.of.mine", b"1")
    assert found["xattrs"]["value"] is True
    (where / "link").hardlink_to(where / "one")
    for name in ("hard-links", "symlinks", "rename", "locks", "sparse", "syncfs"):
        assert found[name]["value"] is True, name
    assert found["exchange"]["value"] == "exchange"
    assert found["names"]["value"] == "exact"
    assert found["longest-name"]["value"] == os.statvfs(where).f_namemax
    free = os.statvfs(where).f_bavail * os.statvfs(where).f_frsize
    assert abs(found["space"]["value"] - free) < 4 * MIB
    assert found["kernel"]["value"] == f"Linux {os.uname().release}"


@pytest.mark.root
@pytest.mark.parametrize(
    ("option", "status", "modes"),
    [("umask=000", 48, False), ("umask=077", 0, False), ("permissions", 0, True)],
)
def test_a_disk_that_keeps_no_modes_is_judged_as_a_push_would_find_it(
    option: str, status: int, modes: bool, ntfs: Callable[..., Path], atomsync: Any, src: Path
) -> None:
    dst = ntfs("-o", option) / "dst"
    found = examined(atomsync("doctor", "--json", dst))
    assert (found["exit_status"], by_name(found)["modes"]["value"]) == (status, modes)
    done = atomsync("push", src, dst)
    assert done.returncode == status
    assert ("umask=077" in done.stderr) == (status != 0)
    if modes:
        assert atomsync("push", src, dst).stdout.startswith("nothing to do")


def test_times_in_whole_seconds_are_noticed(atomsync: Any, small_fs: Any) -> None:
    found = by_name(examined(atomsync("doctor", "--json", small_fs("ext4-seconds"))))
    assert (found["times"]["level"], found["times"]["value"]) == ("note", 10**9)
    assert "1 s" in found["times"]["text"]


@pytest.mark.root
def test_mount_points_in_the_destination_and_in_the_source_are_named(
    atomsync: Any, small_fs: Any, src: Path, dst: Path
) -> None:
    (dst / "inner").mkdir()
    small_fs.tmpfs(dst / "inner")
    small_fs.tmpfs(src / "e")
    found = by_name(examined(atomsync("doctor", "--json", src, dst)))
    assert (found["mounts"]["level"], found["mounts"]["value"]) == ("limit", 1)
    assert "inner" in found["mounts"]["text"]
    assert "--exclude" in found["mounts"]["hint"]
    assert (found["source-mounts"]["level"], found["source-mounts"]["value"]) == ("note", 1)


@pytest.mark.root
def test_a_read_only_filesystem_fails_as_a_push_would(atomsync: Any, small_fs: Any, src: Path) -> None:
    where = small_fs("tmpfs")
    (where / "dst").mkdir()
    small_fs.remount(where, "ro")
    done = atomsync("doctor", src, where / "dst")
    assert done.returncode == atomsync("push", src, where / "dst").returncode == 13
    assert re.search(r"^fail  writable +the filesystem is mounted read-only", done.stdout, re.M)
    assert done.stdout.splitlines()[-1].startswith("verdict: a push cannot work here: ")


@pytest.mark.root
def test_a_source_larger_than_the_room_at_the_destination_is_a_limit(
    atomsync: Any, small_fs: Any, src: Path
) -> None:
    with (src / "large").open("wb") as file:
        file.truncate(40 * MIB)
    found = by_name(examined(atomsync("doctor", "--json", src, small_fs("tmpfs", 16))))
    assert found["space"]["level"] == "limit"
    assert "41.9 MB" in found["space"]["text"]


# -- the destination
def test_a_good_place_gets_a_good_verdict_and_keeps_no_trace(
    atomsync: Any, src: Path, dst: Path, unchanged: Any
) -> None:
    with unchanged(dst, control=True, ctime=False), unchanged(src):
        done = atomsync("doctor", src, dst)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    assert all(re.match(r"(ok|note|limit|fail) +[a-z-]+ +\S|                    \S", line) for line in lines)
    assert last.startswith("verdict: a push works here")
    assert re.search(
        r"^ok    source .* the same filesystem as DST; 2 files, 2 directories, 8 B$", done.stdout, re.M
    )
    assert re.search(r"^ok    watch +3 directories of [\d,]+ allowed", done.stdout, re.M)


def test_in_a_store_it_is_tried_there_and_the_store_stays_as_it_was(
    atomsync: Any, src: Path, dst: Path, snapshot: Any, strace: Any, tmp_path: Path
) -> None:
    atomsync("push", src, dst)
    (src / "a").write_bytes(b"other")
    atomsync("push", src, dst)
    before = snapshot(dst, control=True, ctime=False)
    log = tmp_path / "log"
    found = by_name(
        examined(atomsync("doctor", "--json", dst, under=strace("-e", "trace=mkdirat,mkdir", log=log)))
    )
    assert snapshot(dst, control=True, ctime=False) == before
    assert not re.search(r'mkdirat\([^)]*"\.atomsync-doctor', log.read_text())
    assert "atomsync-doctor-" in log.read_text()
    assert "2 units kept" in found["store"]["text"]
    history = [path for path in (dst / ".atomsync" / "history").rglob("*") if path.is_file()]
    assert found["store"]["value"] == sum(path.stat().st_size for path in history) > 5
    assert found["unfinished"]["value"] is False


def test_what_a_kill_leaves_in_a_store_is_waste_that_the_next_push_deletes(
    atomsync: Any, src: Path, dst: Path, strace: Any, snapshot: Any
) -> None:
    atomsync("push", src, dst)
    kept = snapshot(dst, ctime=False)
    done = atomsync("doctor", dst, under=strace("-e", "trace=flock", "-e", "inject=flock:signal=KILL:when=2"))
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert any(name.startswith("atomsync-doctor-") for name in os.listdir(dst / ".atomsync" / "pending"))
    assert snapshot(dst, ctime=False) == kept
    assert atomsync("push", src, dst).returncode == 0
    assert os.listdir(dst / ".atomsync" / "pending") == []


def test_an_unfinished_unit_is_named_and_not_recovered(
    atomsync: Any, src: Path, dst: Path, strace: Any, snapshot: Any
) -> None:
    kill = strace("-e", "trace=syncfs,fsync", "-e", "inject=syncfs,fsync:signal=KILL:when=1")
    atomsync("push", src, dst)
    (src / "a").write_bytes(b"other")
    atomsync("push", src, dst, under=kill)
    before = snapshot(dst, control=True, ctime=False)
    found = by_name(examined(atomsync("doctor", "--json", dst)))
    assert found["unfinished"]["level"] == "note"
    assert "recovery will" in found["unfinished"]["text"]
    assert snapshot(dst, control=True, ctime=False) == before


def test_a_journal_that_cannot_be_trusted_is_what_a_push_would_end_with(
    atomsync: Any, src: Path, dst: Path
) -> None:
    atomsync("push", src, dst)
    (dst / ".atomsync" / "unit").mkdir()
    (dst / ".atomsync" / "unit" / "journal").write_bytes(b"nonsense" * 100)
    assert examined(atomsync("doctor", "--json", dst))["exit_status"] == 46


def test_a_control_directory_that_others_may_use_is_what_a_push_would_end_with(
    atomsync: Any, src: Path, dst: Path
) -> None:
    atomsync("push", src, dst)
    (dst / ".atomsync").chmod(0o777)
    found = examined(atomsync("doctor", "--json", dst))
    assert found["exit_status"] == 48
    assert "chmod 0700" in by_name(found)["writable"]["hint"]


def test_a_state_directory_is_looked_at_instead(atomsync: Any, src: Path, dst: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    atomsync("push", "--state-dir", state, src, dst)
    found = by_name(examined(atomsync("doctor", "--json", "--state-dir", state, dst)))
    assert "1 unit kept" in found["store"]["text"]
    assert "none yet" in by_name(examined(atomsync("doctor", "--json", dst)))["store"]["text"]
    (tmp_path / "two").mkdir()
    assert atomsync("doctor", "--state-dir", state, tmp_path / "two").returncode == 1


def test_a_destination_that_is_not_there_yet_is_judged_by_the_directory_above_it(
    atomsync: Any, tmp_path: Path
) -> None:
    done = atomsync("doctor", tmp_path / "new")
    assert done.returncode == 0
    assert "DST does not exist yet" in done.stdout
    assert os.listdir(tmp_path) == []
    assert atomsync("doctor", tmp_path / "no" / "such").returncode == 3


def test_who_may_not_write_there_is_told(atomsync: Any, public_dir: Path) -> None:
    (public_dir / "dst").mkdir(mode=0o755)
    done = atomsync("doctor", public_dir / "dst", user=NOBODY)
    assert done.returncode == 13
    assert "Permission denied" in done.stdout


# -- the source
def test_what_a_destination_would_not_take_of_the_source_is_named(
    atomsync: Any, public_dir: Path, plant: Plant
) -> None:
    src, dst = plant(public_dir / "src", {"a": b"", "closed/b": b"", "secret": b""}), public_dir / "dst"
    dst.mkdir()
    dst.chmod(0o777)
    os.mkfifo(src / "pipe")
    (src / "secret").chmod(0)
    (src / "closed").chmod(0)
    found = by_name(examined(atomsync("doctor", "--json", src, dst, user=NOBODY)))
    assert (found["unreadable"]["level"], found["unreadable"]["value"]) == ("limit", 2)
    assert (
        "(closed, secret)" in found["unreadable"]["text"] or "(secret, closed)" in found["unreadable"]["text"]
    )
    assert (found["special"]["level"], found["special"]["value"]) == ("note", 1)
    assert "pipe (FIFO)" in found["special"]["text"]


def test_a_source_that_gives_no_events_is_said_to_be_polled(atomsync: Any, dst: Path) -> None:
    found = by_name(examined(atomsync("doctor", "--json", "/proc/self/fdinfo", dst)))
    assert found["watch-events"]["level"] == "limit"
    assert "proc gives no events" in found["watch-events"]["text"]


# -- the call
@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 1),
        ([""], 3),
        (["file"], 3),
        (["none", "dst"], 3),
        (["file", "dst"], 3),
        (["dst", "dst"], 4),
        (["dst", "dst/inner"], 4),
        (["src", "dst", "more"], 1),
    ],
)
def test_a_wrong_call_is_told_in_words(
    words: list[str], status: int, atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    (tmp_path / "file").touch()
    done = atomsync("doctor", *words)
    assert done.returncode == status
    assert done.stderr.startswith("atomsync: ")


def test_a_signal_stops_it_and_nothing_stays(atomsync: Any, tmp_path: Path, dst: Path, strace: Any) -> None:
    src = tmp_path / "many"
    for number in range(40):
        (src / f"d{number}").mkdir(parents=True)
    stop = strace("-e", "trace=fsetxattr", "-e", "inject=fsetxattr:signal=TERM:when=1")
    done = atomsync("doctor", src, dst, under=stop)
    assert done.returncode == 20
    assert os.listdir(dst) == []
