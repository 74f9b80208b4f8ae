"""A directory that only the source has enters as a graft; it is as if it had come entry by entry."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from atomsync import push
from atomsync.errors import AtomSyncError, CheckFailed, DigestMismatch
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.plan.step import Step
from atomsync.store import ahead, grafts, planting, session
from atomsync.store.copying import Source
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.sync import grafting, settle
from atomsync.sync.report import Report
from atomsync.sync.rules import Rules
from atomsync.tree import graft


def random_tree(root: Path, seed: int) -> None:
    """All that a tree can hold: links, holes, large files, odd names and modes."""
    dice = random.Random(seed)
    directories = [root]
    root.mkdir()
    for number in range(dice.randint(2, 40)):
        directory = dice.choice(directories) / f"d{number}"
        directory.mkdir()
        directories.append(directory)
    for number in range(dice.randint(5, 300)):
        name = dice.choice([f"f{number}", f"é{number}", os.fsdecode(b"\xff%d" % number), f"x\n{number}"])
        path = dice.choice(directories) / name
        what = dice.randrange(20)
        if what == 0:
            path.symlink_to(dice.choice(["nowhere", "../..", "f1"]))
        elif what == 1:
            with path.open("wb") as file:
                file.truncate(dice.randint(1, 3 << 20))
        elif what == 2:
            path.write_bytes(dice.randbytes((1 << 20) + dice.randint(-1, 5000)))
        elif what == 3:
            os.mkfifo(path)
        else:
            path.write_bytes(dice.randbytes(dice.choice([0, 1, 100, 5000])))
        if not path.is_symlink():
            path.chmod(dice.choice([0o644, 0o600, 0o444, 0o4755, 0o000]))
        moment = dice.randint(0, 2_000_000_000_000_000_000)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    for directory in reversed(directories):
        directory.chmod(dice.choice([0o755, 0o700, 0o555, 0o2775]))
        os.utime(directory, ns=(10**18 + dice.randint(0, 10**9), 10**18 + dice.randint(0, 10**9)))


def manifest(dst: Path) -> list[Any]:
    """What the store knows of the tree, but for which files are racy: that depends on the hour."""
    with sqlite3.connect(dst / ".atomsync" / "manifest.sqlite") as db:
        return db.execute(
            "SELECT path, kind, mode, size, mtime_ns, uid, gid, target, digest FROM entries ORDER BY path"
        ).fetchall()


def found(report: Report) -> tuple[Any, ...]:
    """What a report says that both ways must say alike."""
    receipt = report.receipt
    assert receipt is not None
    changes = sorted((change.path, change.new) for change in report.changes)
    return changes, report.left_out, receipt.created, receipt.bytes


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The slow twin: from now on no directory is taken for a graft."""
    return lambda: monkeypatch.setattr(Rules, "look_at_names", True)


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_with_and_without_grafts_the_same_tree_comes_to_be(
    seed: int,
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_by_one: Callable[[], None],
    assert_same_tree: Callable[..., None],
) -> None:
    src = tmp_path / "src"
    random_tree(src, seed)
    if processes == 2:
        monkeypatch.setattr(grafts, "WORTH_FILES", 0)
        monkeypatch.setattr(grafting, "WORTH_NAMES", 0)
        monkeypatch.setattr(session, "WORTH_NAMES", 0)
    else:
        monkeypatch.setattr(Source, "second", lambda source, target: None)
    fast = push(src, tmp_path / "fast")
    one_by_one()
    slow = push(src, tmp_path / "slow")
    assert_same_tree(tmp_path / "slow", tmp_path / "fast")
    assert found(fast) == found(slow)
    assert manifest(tmp_path / "fast") == manifest(tmp_path / "slow")


def test_it_is_grafts_that_a_first_push_makes(
    plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = []
    monkeypatch.setattr(grafts, "plant", lambda *args, real=grafts.plant: planted.append(args) or real(*args))
    src = plant(tmp_path / "src", {"a/b/c": b"1", "a/d": b"2", "e": b"3"})
    push(src, tmp_path / "dst")
    assert sorted(args[2] for args in planted) == ["a", "a/b"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_of_a_graft_that_is_written_over_behind_its_copy_comes_as_it_is_in_the_end(
    processes: int, plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its size nor its inode tells, and its mtime is put back: what is left is its ctime."""
    if processes == 2:
        monkeypatch.setattr(grafting, "WORTH_NAMES", 0)
    src = plant(tmp_path / "src", {"d/a": b"one", "d/b": b"two"})
    before = (src / "d" / "b").stat()
    real = grafts.planted

    def planted(*args: Any) -> Any:
        found = real(*args)
        (src / "d" / "b").write_bytes(b"TWO")
        os.utime(src / "d" / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
        return found

    time.sleep(0.05)  # else the file is young, and read once more anyway
    monkeypatch.setattr(grafts, "planted", planted)
    push(src, tmp_path / "dst")
    assert (tmp_path / "dst" / "d" / "b").read_bytes() == b"TWO"


def test_a_disk_that_does_not_keep_what_it_was_given_is_noticed_inside_of_a_graft(
    plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PosixDisk.write

    def write(self: PosixDisk, fd: int, data: bytes, offset: int) -> None:
        real(self, fd, data.replace(b"precious", b"preci0us"), offset)

    monkeypatch.setattr(PosixDisk, "write", write)
    src = plant(tmp_path / "src", {"d/a": b"1", "d/b": b"precious"})
    with pytest.raises(DigestMismatch, match="d/b"):
        push(src, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


def test_a_graft_takes_the_place_of_a_file(
    plant: Callable[..., Path], tmp_path: Path, assert_same_tree: Callable[..., None]
) -> None:
    src = plant(tmp_path / "src", {"a/b/c": b"1"})
    dst = plant(tmp_path / "dst", {"a": b"a file"})
    receipt = push(src, dst).receipt
    assert receipt is not None
    assert (receipt.created, receipt.updated) == (2, 1)
    assert_same_tree(src, dst)


def test_a_file_that_is_written_to_while_its_graft_is_staged_comes_as_it_is_in_the_end(
    plant: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    assert_same_tree: Callable[..., None],
) -> None:
    src = plant(tmp_path / "src", {"a/b/c": b"1", "a/b/d": b"2", "a/e": b"3"})
    for path in (src / "a" / "b" / "c", src / "a" / "b" / "d", src / "a" / "e"):
        os.utime(path, ns=(10**18, 10**18))
    real = grafting.moved_in_grafts

    def later(*args: Any) -> Any:
        if not (src / "a" / "b" / "new").exists():
            (src / "a" / "b" / "d").write_bytes(b"two")
            (src / "a" / "e").unlink()
            (src / "a" / "b" / "new").write_bytes(b"4")
        return real(*args)

    monkeypatch.setattr(grafting, "moved_in_grafts", later)
    push(src, tmp_path / "dst")
    assert_same_tree(src, tmp_path / "dst")
    with sqlite3.connect(tmp_path / "dst" / ".atomsync" / "manifest.sqlite") as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (5,)


def test_what_was_taken_away_at_the_destination_is_drift_also_inside_of_a_graft(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src = plant(tmp_path / "src", {"a/b/c": b"1", "e": b"2"})
    push(src, tmp_path / "dst")
    (tmp_path / "dst" / "a" / "b" / "c").unlink()
    (tmp_path / "dst" / "a" / "b").rmdir()
    (tmp_path / "dst" / "a").rmdir()
    report = push(src, tmp_path / "dst")
    assert [(drifted.path, drifted.why) for drifted in report.drifted] == [
        ("a", "removed"),
        ("a/b", "removed"),
        ("a/b/c", "removed"),
    ]


def test_a_directory_of_many_bytes_is_planted_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Callable[..., None]
) -> None:
    monkeypatch.setattr(grafts, "_PORTION_BYTES", 10)
    src = tmp_path / "src"
    (src / "a" / "sub").mkdir(parents=True)
    for number in range(20):
        (src / "a" / f"{number}").write_bytes(b"%d" % number * number)
    os.utime(src / "a", ns=(10**18, 10**18))
    planted = []
    monkeypatch.setattr(grafts, "plant", lambda *args, real=grafts.plant: planted.append(args) or real(*args))
    push(src, tmp_path / "dst")
    assert_same_tree(src, tmp_path / "dst")
    assert len([args for args in planted if args[2] == "a"]) > 10


def test_a_directory_of_many_names_is_planted_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Callable[..., None]
) -> None:
    monkeypatch.setattr(grafts, "_PORTION_NAMES", 7)
    src = tmp_path / "src"
    (src / "a" / "sub").mkdir(parents=True)
    for number in range(50):
        (src / "a" / f"{number}").write_bytes(b"%d" % number)
    os.utime(src / "a", ns=(10**18, 10**18))
    push(src, tmp_path / "dst")
    assert_same_tree(src, tmp_path / "dst")
    assert stat.S_IMODE((tmp_path / "dst" / "a").stat().st_mode) == stat.S_IMODE((src / "a").stat().st_mode)


@pytest.mark.parametrize("portion_names", [2, 100])
def test_each_file_is_told_once_as_staged_large_ones_too(
    portion_names: int, plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(Progress):
        phases: list[list[Any]]

        def phase(self, name: str, files: int = 0, size: int = 0) -> None:
            self.phases = [*getattr(self, "phases", []), [name, files, size, 0, 0]]

        def advance(self, files: int = 0, size: int = 0) -> None:
            self.phases[-1][3] += files
            self.phases[-1][4] += size

    monkeypatch.setattr(grafts, "_PORTION_NAMES", portion_names)
    counting = Counting()
    src = plant(
        tmp_path / "src", {"a/1": b"1", "a/2": b"2", "a/large": b"3" * (graft.LARGE_BYTES + 1), "a/z": b"4"}
    )
    push(src, tmp_path / "dst", progress=counting)
    told = next(told for name, *told in counting.phases if name == "stage")
    assert told == [4, graft.LARGE_BYTES + 4] * 2


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_second_process_that_dies_as_it_writes_the_manifest_leaves_nothing_out(
    when: str, plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WORTH_NAMES", 0)
    src = plant(tmp_path / "src", {f"d/{number}/{name}": b"1" for number in range(9) for name in "abc"})
    ends = []
    real = ahead.Ahead.finish

    def finish(self: ahead.Ahead, steps: tuple[Step, ...], checked_ns: int) -> tuple[Step, ...]:
        if when == "behind":
            self._second.wait(self._put, lambda: None)
        self._second.close()
        ends.append(real(self, steps, checked_ns) == steps)
        return steps

    monkeypatch.setattr(ahead.Ahead, "finish", finish)
    push(src, tmp_path / "dst")
    assert ends == [True]
    assert len(manifest(tmp_path / "dst")) == 1 + 9 + 27
    assert push(src, tmp_path / "dst").unchanged == 1 + 9 + 27


def test_a_unit_that_fails_behind_its_seal_leaves_nothing_in_the_manifest(
    plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WORTH_NAMES", 0)
    src = plant(tmp_path / "src", {f"d/{name}": b"1" for name in "abc"})
    with pytest.raises(CheckFailed):
        push(src, tmp_path / "dst", check="exit 1")
    (src / "d" / "a").write_bytes(b"other")
    push(src, tmp_path / "dst")
    digests = {path: row[-1] for path, *row in manifest(tmp_path / "dst")}
    assert digests[b"d/a"] == xxhash.xxh3_128_hexdigest(b"other")


def test_a_folder_may_be_planted_before_those_above_it_however_many_they_are(tmp_path: Path) -> None:
    disk, location = PosixDisk(), "/".join(["d"] * 1_500)
    slots = disk.open_root(str(tmp_path))
    try:
        with Cursor(disk, slots) as cursor, Cursor(disk, slots) as source:
            planting.plant(Source(disk, slots, source), cursor, "nothing", location, [], Progress())
            assert disk.scandir(cursor.at(location)) == []
    finally:
        remove_tree(disk, slots, "d")  # pytest could not
        disk.close(slots)


def test_of_a_folder_of_young_files_each_is_looked_up_at_no_more_than_its_own_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = []
    real = graft.unpacked
    monkeypatch.setattr(graft, "unpacked", lambda records: unpacked.append(1) or real(records))
    monkeypatch.setattr(settle, "may_be_racy", lambda stamp_ns, looked_ns: True)  # a clock of whole seconds
    (tmp_path / "src" / "d").mkdir(parents=True)
    for number in range(200):
        (tmp_path / "src" / "d" / str(number)).write_bytes(b"%d" % number)
    push(tmp_path / "src", tmp_path / "dst")
    assert 0 < len(unpacked) < 20


AS_NOBODY = """
    import os, sys
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
    from atomsync import push
    from atomsync.fs.second import Second
    from atomsync.store import grafts
    from atomsync.sync import settle
    {before}
    push("src", "dst")
    assert done, "it did not come to it"
"""
TORN = """
    done = []
    settle.may_be_racy = lambda stamp_ns, looked_ns: True
    real = settle.digest_of
    settle.digest_of = lambda *a: real(*a) if done else done.append(1) or "torn"
"""
DEAD = """
    import time
    done = []
    grafts.WORTH_FILES, grafts._PORTION_NAMES = 0, 4
    def look(second):
        if not done:
            time.sleep(0.3)  # for what it was asked
            done.append(1)
            second.close()
    Second.look = look
"""


@pytest.mark.parametrize("before", [TORN, DEAD], ids=["a file is torn", "the second process dies"])
def test_one_who_is_not_root_stages_again_in_directories_that_have_their_modes_already(
    before: str, public_dir: Path, plant: Callable[..., Path], needs_root: None
) -> None:
    src = plant(public_dir / "src", {f"a/{number}/{name}": b"1" for number in range(9) for name in "bcd"})
    for directory in (*src.rglob("[0-9]"), src / "a"):
        directory.chmod(0o555)
    (public_dir / "dst").mkdir()
    os.chown(public_dir / "dst", 65534, 65534)
    code = textwrap.dedent(AS_NOBODY.format(nobody=65534, before=before.strip()))
    done = subprocess.run([sys.executable, "-c", code], cwd=public_dir, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in (src / "a").rglob("*"):
        there = public_dir / "dst" / path.relative_to(src)
        assert there.stat().st_mode == path.stat().st_mode
        assert there.is_dir() or there.read_bytes() == b"1"


def test_two_directories_whose_names_the_destination_takes_for_one_are_not_made_one(
    ntfs: Callable[..., Path], plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "check_collapse", lambda steps, folding: None)  # it knows most, not all
    src = plant(tmp_path / "src", {"top/ÿ/1": b"1", "top/Ÿ/2": b"2"})
    dst = ntfs("-o", "ignore_case,permissions") / "dst"
    with pytest.raises(AtomSyncError, match="top/Ÿ"):
        push(src, dst)
    assert not (dst / "top").exists()


def test_a_second_round_writes_to_the_manifest_without_waiting_for_who_writes_ahead(
    plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WORTH_NAMES", 0)
    src, dst = plant(tmp_path / "src", {"racy": b"1"}), tmp_path / "dst"
    over_ns = time.time_ns() + 700_000_000 + 1
    os.utime(src / "racy", ns=(over_ns, over_ns))
    push(src, dst)
    plant(src, {"d/a": b"1", "d/b": b"2"})
    real = grafting.moved_in_grafts

    def later(*args: Any) -> Any:
        while time.time_ns() < over_ns + 50_000_000:
            time.sleep(0.01)
        (src / "d" / "a").write_bytes(b"one")
        return real(*args)

    monkeypatch.setattr(grafting, "moved_in_grafts", later)
    began = time.monotonic()
    push(src, dst)
    assert time.monotonic() - began < 4
    assert [path for path, *_ in manifest(dst)] == [b"d", b"d/a", b"d/b", b"racy"]
