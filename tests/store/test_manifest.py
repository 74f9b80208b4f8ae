"""The manifest is derived: whatever happens to it, a push works, and nothing else is written into."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from atomsync import push
from atomsync.errors import DiskError
from atomsync.fs.posix import PosixDisk
from atomsync.store.control import HISTORY, MANIFEST
from atomsync.store.manifest import VERSION
from atomsync.unit.store import open_store

PAGE = 4096
Strace = Callable[..., list[str]]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.mkdir()
    (path / "a").write_bytes(b"1")
    return path


@pytest.fixture
def dst(tmp_path: Path, src: Path) -> Path:
    push(src, tmp_path / "dst")
    return tmp_path / "dst"


@pytest.fixture
def manifest(dst: Path) -> Path:
    return dst / ".atomsync" / MANIFEST


def digest(dst: Path, path: str = "a") -> str:
    with open_store(dst).session() as session:
        return session.manifest.digest(path)


def pushes(src: Path, dst: Path, content: bytes) -> bool:
    """Whether a change arrives, and the manifest knows it then."""
    (src / "a").write_bytes(content)
    former = digest(dst)
    push(src, dst, durability="none")
    return (dst / "a").read_bytes() == content and digest(dst) not in ("", former)


@pytest.mark.parametrize("damage", ["zeroed", "cut"])
def test_no_lost_page_stops_a_push(damage: str, src: Path, dst: Path, manifest: Path) -> None:
    whole = manifest.read_bytes()
    assert len(whole) >= 5 * PAGE
    for number, at in enumerate(range(0, len(whole), PAGE)):
        rest = bytes(PAGE) + whole[at + PAGE :] if damage == "zeroed" else whole[at : at + 100]
        manifest.write_bytes(whole[:at] + rest)
        assert pushes(src, dst, b"%d" % number * 3), f"page {number}"


def is_sound(manifest: Path) -> bool:
    db = sqlite3.connect(manifest)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return (version, db.execute("PRAGMA quick_check").fetchall()) == (VERSION, [("ok",)])
    finally:
        db.close()


def test_a_manifest_of_another_version_is_made_anew(src: Path, dst: Path, manifest: Path) -> None:
    db = sqlite3.connect(manifest)
    db.executescript("PRAGMA user_version = 99; DROP TABLE facts; UPDATE entries SET racy = 'x'")
    db.close()
    assert pushes(src, dst, b"22")
    assert is_sound(manifest)


def test_a_manifest_of_which_some_pages_are_of_the_unit_before_stops_no_push(
    src: Path, dst: Path, manifest: Path
) -> None:
    before = manifest.read_bytes()
    for number in range(300):
        (src / f"more {number}").write_bytes(b"")
    push(src, dst)
    after = manifest.read_bytes()
    for at in range(0, len(before), PAGE):
        manifest.write_bytes(after[:at] + before[at : at + PAGE] + after[at + PAGE :])
        push(src, dst, durability="none")


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "link to nothing", "fifo"])
def test_what_stands_in_its_place_is_not_written_into(
    kind: str, src: Path, dst: Path, manifest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (value)")
    db.close()
    before = other.read_bytes()
    manifest.unlink()
    if kind == "hard link":
        os.link(other, manifest)
    elif kind == "fifo":
        os.mkfifo(manifest)
    else:
        manifest.symlink_to(other if kind == "symbolic link" else tmp_path / "none")
    assert pushes(src, dst, b"22")
    assert other.read_bytes() == before
    assert manifest.is_file()
    assert not manifest.is_symlink()
    assert manifest.stat().st_nlink == 1
    assert not (tmp_path / "none").exists()


def test_a_process_killed_in_the_middle_of_a_transaction_costs_nothing(src: Path, dst: Path) -> None:
    names = [f"{number:060}" for number in range(300)]
    for name in names:
        (src / name).touch()
    push(src, dst)
    child = os.fork()
    if not child:
        try:
            with open_store(dst).session() as session:
                session.manifest._db.execute("PRAGMA cache_size = 1")  # so that pages go to the file early
                session.manifest._db.execute("UPDATE entries SET digest = 'half'")
                os._exit(42)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    with open_store(dst).session() as session:
        assert {session.manifest.digest(name) for name in names} == {xxhash.xxh3_128_hexdigest(b"")}


def test_it_is_synced_with_the_unit_and_not_where_nothing_is(
    src: Path, dst: Path, atomsync: Any, strace: Strace, tmp_path: Path
) -> None:
    """Its pages have no digests: in a power cut the id of a unit could else survive without its entries."""
    for durability in ("full", "none"):
        (src / "a").write_bytes(durability.encode())
        log = tmp_path / durability
        under = strace("-y", "-e", "trace=fsync,fdatasync", log=log)
        assert atomsync("push", "--durability", durability, src, dst, under=under).returncode == 0
        assert (f"{MANIFEST}>" in log.read_text()) is (durability == "full")


@pytest.mark.parametrize("when", ["2", "12", "1+"])
def test_an_error_of_its_disk_refuses_no_push(
    when: str, src: Path, dst: Path, manifest: Path, atomsync: Any, strace: Strace, tmp_path: Path
) -> None:
    (src / "a").write_bytes(b"22")
    log = tmp_path / "log"
    options = ["-P", str(manifest), "-e", "trace=pread64", "-e", f"inject=pread64:error=EIO:when={when}"]
    done = atomsync("push", src, dst, under=strace(*options, log=log))
    assert done.returncode == 0, done.stderr
    assert "INJECTED" in log.read_text()
    assert (dst / "a").read_bytes() == b"22"


def test_an_error_while_it_is_rebuilt_from_the_history_is_told(dst: Path, manifest: Path) -> None:
    class Dying(PosixDisk):
        def open_file(self, at: int, name: str) -> int:
            if name == "journal":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().open_file(at, name)

    manifest.unlink()
    with open_store(dst, disk=Dying()).session() as session, pytest.raises(DiskError):
        assert session.manifest
    shutil.rmtree(dst / ".atomsync" / HISTORY)
    assert digest(dst) == ""


@pytest.mark.parametrize("year", [-200, 2600])
def test_a_time_that_it_cannot_hold_stops_no_push_and_is_no_drift(year: int, small_fs: Any) -> None:
    point = small_fs("tmpfs", 16)  # ext4 has no such times
    src, dst = point / "src", point / "dst"
    src.mkdir()
    seconds = (year - 1970) * 31_556_952
    for content in (b"1", b"22", b"333"):
        (src / "a").write_bytes(content)
        os.utime(src / "a", (0, seconds))
        report = push(src, dst, on_drift="refuse", durability="none")
        assert report.receipt is not None
        assert report.receipt.warnings == ()
    assert (dst / "a").stat().st_mtime == seconds
    assert digest(dst)


def test_a_unit_that_it_was_not_told_of_is_not_given_up_before_it_is(
    src: Path, dst: Path, manifest: Path, history: Any
) -> None:
    """Else it would say for ever that somebody changed what that unit brought."""
    (src / "b").write_bytes(b"1")
    push(src, dst)
    first = len(history(dst))
    with contextlib.closing(sqlite3.connect(manifest, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchall()  # and so it cannot be written
        for name in ("a", "b"):
            (src / name).write_bytes(b"newer")
            push(src, dst, keep=1)
    assert len(history(dst)) == 2
    assert first == 2
    assert push(src, dst, on_drift="refuse", keep=1).receipt
    (src / "a").write_bytes(b"and newer")
    (src / "b").write_bytes(b"and newer")
    push(src, dst, on_drift="refuse", keep=1)
    assert len(history(dst)) == 1


def test_gc_lets_it_follow_what_a_crash_kept_from_it(
    src: Path, dst: Path, atomsync: Any, strace: Any
) -> None:
    (src / "a").write_bytes(b"newer")
    killed = strace("-P", str(dst / ".atomsync/history"), "-e", "inject=renameat:signal=KILL:when=1")
    assert atomsync("push", src, dst, under=killed).returncode < 0
    assert atomsync("gc", "--keep", "0", dst).returncode == 0
    (src / "a").write_bytes(b"newest")
    push(src, dst, on_drift="refuse")
