"""What the second process does while a unit is sealed and committed: as if it had been done behind that."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.errors import CheckFailed
from atomsync.fs.posix import PosixDisk
from atomsync.plan.plan import Plan
from atomsync.plan.step import CREATE, META, REMOVE, Step
from atomsync.store import ahead, leaving, retention, session
from atomsync.store.copying import Source
from atomsync.store.session import Session
from atomsync.sync import settle
from atomsync.unit.store import open_store
from tests.sync.test_grafting import random_tree
from tests.tree.entries import file

SECOND_NS = 10**9


@pytest.fixture(autouse=True)
def small_units_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WORTH_NAMES", 0)
    monkeypatch.setattr(leaving, "_PORTION_NAMES", 3)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each unit left to be followed behind its commit."""
    found = []
    real = ahead.Ahead.finish

    def finish(self: ahead.Ahead, steps: tuple[Step, ...], checked_ns: int) -> tuple[Step, ...]:
        rest = real(self, steps, checked_ns)
        found.append(len(rest))
        return rest

    monkeypatch.setattr(ahead.Ahead, "finish", finish)
    return found


def rows(dst: Path) -> list[Any]:
    """All of the manifest, also which files are racy."""
    with sqlite3.connect(dst / ".atomsync" / "manifest.sqlite") as db:
        tables = ("entries", "units", "facts WHERE name = 'since_ns'", "roots")
        return [row for table in tables for row in db.execute(f"SELECT * FROM {table} ORDER BY 1")]


def rows_by_the_journals(dst: Path, to: Path) -> list[Any]:
    """The slow twin: a manifest that follows the units of the history one behind the other."""
    shutil.copytree(dst / ".atomsync", to / ".atomsync", symlinks=True)
    (to / ".atomsync" / "manifest.sqlite").unlink()
    with open_store(to).session() as visit:
        assert not visit.manifest.is_new
    return rows(to)


def change(root: Path, seed: int) -> None:
    """Every kind of step: in place, of attributes, new and gone, and each kind in the place of another."""
    dice = random.Random(seed)
    paths = sorted(path for path in root.rglob("*") if not path.is_symlink() and not path.is_fifo())
    for path in dice.sample(paths, len(paths) // 2):
        if not path.exists():
            continue
        what = dice.randrange(12)
        if path.is_dir():
            if what == 0:
                path.chmod(0o755)
                shutil.rmtree(path)
                path.write_bytes(b"was a directory")
            elif what < 4:
                path.chmod(dice.choice([0o755, 0o700]))
        elif what == 0:
            path.unlink()
        elif what == 1:
            path.unlink()
            path.mkdir()
            (path / "inside").write_bytes(dice.randbytes(10))
        elif what == 2:
            path.unlink()
            path.symlink_to("elsewhere")
        elif what < 5:
            path.chmod(dice.choice([0o600, 0o640]))
        else:
            path.chmod(0o644)
            path.write_bytes(dice.randbytes(dice.choice([1, 200])))


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_ahead_is_what_the_journals_say_row_by_row(
    seed: int, tmp_path: Path, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst, twin = tmp_path / "src", tmp_path / "dst", tmp_path / "twin"
    twin.mkdir()
    random_tree(src, seed)
    if seed % 2:  # a shared clock that ticked since: what was young as it was written ahead is so no more
        real = Session.write_ahead
        early = 5 * SECOND_NS
        monkeypatch.setattr(
            Session, "write_ahead", lambda self, plan, checked_ns: real(self, plan, checked_ns - early)
        )
    push(src, dst, keep=9)
    for number in range(3):
        change(src, 10 * seed + number)
        push(src, dst, keep=9, max_delete="100%", delete=True)
    assert left == [0] * 4
    assert rows(dst) == rows_by_the_journals(dst, twin)


def test_files_that_were_changed_within_a_tick_are_racy_also_ahead(
    plant: Callable[..., Path], tmp_path: Path, left: list[int]
) -> None:
    src, dst, twin = plant(tmp_path / "src", {"a": b"1", "b": b"2"}), tmp_path / "dst", tmp_path / "twin"
    twin.mkdir()
    push(src, dst)
    for name in "ab":
        (src / name).write_bytes(b"other")
    os.utime(src / "a", ns=(4 * 10**18, 4 * 10**18))
    os.utime(src / "b", ns=(10**18, 10**18))
    push(src, dst)
    assert left == [0, 0]
    racy = {row[0]: row[-1] for row in rows(dst) if len(row) == 10}
    assert racy == {b"a": 1, b"b": 0}
    assert rows(dst) == rows_by_the_journals(dst, twin)


def test_steps_of_which_the_stage_came_out_otherwise_are_followed_behind_the_commit() -> None:
    new = file(1)
    planned = (Step(CREATE, "a", None, new), Step(CREATE, "b", None, new), Step(REMOVE, "c", new, None))
    there = new._replace(uid=new.uid + 1)
    sealed = (planned[0], planned[1]._replace(new=there), planned[2], Step(META, "", new, None))
    assert ahead._otherwise(planned, sealed) == (sealed[1],)
    young = Step(META, "d", new, new._replace(digest="00" * 16))
    assert ahead._otherwise([young], (young,)) == (young,)


def test_a_clock_that_is_put_back_leaves_all_to_be_followed_behind_the_commit(
    plant: Callable[..., Path], tmp_path: Path, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst, twin = plant(tmp_path / "src", {"a": b"1", "b": b"2"}), tmp_path / "dst", tmp_path / "twin"
    twin.mkdir()
    real = Session.write_ahead
    monkeypatch.setattr(
        Session, "write_ahead", lambda self, plan, checked_ns: real(self, plan, checked_ns + SECOND_NS)
    )
    push(src, dst)
    assert left == [3]  # the root is one
    assert rows(dst) == rows_by_the_journals(dst, twin)


def replaced(plant: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A source of which every file was replaced since it was pushed."""
    src = plant(tmp_path / "src", dict.fromkeys("abcdefgh", b"1"))
    push(src, tmp_path / "dst", keep=1)
    plant(src, dict.fromkeys("abcdefgh", b"second"))
    return src, tmp_path / "dst"


def test_a_unit_that_is_refused_behind_its_seal_leaves_the_manifest_as_it_was(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src, dst = replaced(plant, tmp_path)
    before = rows(dst)
    with pytest.raises(CheckFailed):
        push(src, dst, keep=1, check="exit 1")
    assert rows(dst) == before
    assert {path.read_bytes() for path in dst.glob("[a-h]")} == {b"1"}
    push(src, dst, keep=1)
    assert rows(dst) != before


def test_a_unit_that_is_staged_once_more_is_written_ahead_once_more(
    plant: Callable[..., Path], tmp_path: Path, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst, twin = *replaced(plant, tmp_path), tmp_path / "twin"
    twin.mkdir()
    real, begun = settle._moved, []
    monkeypatch.setattr(ahead, "_portions", lambda *a, real=ahead._portions: begun.append(1) or real(*a))

    def moved(*args: Any) -> Any:
        if len(begun) == 1:
            second = args[0].second(PosixDisk())
            while not second.idle:  # else it is closed, and there is none for the second time
                time.sleep(0.01)
            (src / "a").write_bytes(b"the third")
        return real(*args)

    monkeypatch.setattr(settle, "_moved", moved)
    push(src, dst, keep=9)
    assert len(begun) == 2
    assert left == [0, 0]
    assert (dst / "a").read_bytes() == b"the third"
    assert rows(dst) == rows_by_the_journals(dst, twin)


def test_what_was_written_ahead_of_another_plan_is_not_used(
    plant: Callable[..., Path], tmp_path: Path, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst, twin = *replaced(plant, tmp_path), tmp_path / "twin"
    twin.mkdir()
    left.clear()
    real = Session.write_ahead
    monkeypatch.setattr(
        Session, "write_ahead", lambda self, plan, checked_ns: real(self, Plan(*plan), checked_ns)
    )
    push(src, dst, keep=9)
    assert left == []
    assert rows(dst) == rows_by_the_journals(dst, twin)


# -- what is given up


@pytest.fixture(params=["both", "alone", *range(12)], ids=str)
def helped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the second process, without one, and with one that is killed at the n-th thing it is asked."""
    if request.param == "alone":
        monkeypatch.setattr(Source, "second", lambda source, target: None)
    if isinstance(request.param, int):
        from atomsync.fs.second import Second

        asked = []
        real = Second.ask

        def ask(self: Second, work: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(work)
            task = real(self, work, *args, **kwargs)
            if len(asked) == request.param + 1:
                self.close()
            return task

        monkeypatch.setattr(Second, "ask", ask)


def units(dst: Path) -> list[str]:
    return sorted(path.name for path in (dst / ".atomsync" / "history").iterdir())


@pytest.mark.usefixtures("helped")
def test_the_oldest_goes_and_what_was_written_to_it_late_is_kept_aside(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src = plant(tmp_path / "src", {"a": b"1", "b": b"1", "c": b"1", "d/x": b"1", "e/y": b"1", "f": "a"})
    dst = tmp_path / "dst"
    push(src, dst, keep=1)
    with (dst / "b").open("ab") as late, (dst / "d" / "x").open("ab") as inside:
        for path in (src / "d", src / "e"):
            shutil.rmtree(path)
        (src / "f").unlink()
        plant(src, {"a": b"second", "b": b"second", "c": b"second", "f": "c"})
        push(src, dst, keep=1, delete=True, max_delete="100%")
        (given_up,) = units(dst)
        late.write(b" and late")
        inside.write(b" and late")
        late.flush()
        inside.flush()
        plant(src, {"a": b"the third", "b": b"the third", "g": b"new"})
        receipt = push(src, dst, keep=1).receipt
    assert receipt is not None
    assert units(dst) == [receipt.unit_id]
    assert (dst / ".atomsync" / "given-up").exists()
    why = f"its old version was changed after unit {given_up} displaced it; kept as conflicts/{given_up}/"
    assert [warning.rstrip("0123456789") for warning in receipt.warnings] == [f"b: {why}", f"d: {why}"]
    kept = [path for path in (dst / ".atomsync" / "conflicts").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in kept) == [b"1 and late"] * 2
    assert [*(dst / ".atomsync" / "retired").iterdir()] == []


@pytest.mark.usefixtures("helped")
def test_the_manifest_follows_whatever_becomes_of_the_second_process(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src, dst = replaced(plant, tmp_path)
    push(src, dst, keep=1)
    twin = tmp_path / "twin"
    push(src, twin)
    entries = [[row[:4] for row in rows(each) if len(row) == 10] for each in (dst, twin)]
    assert entries[0] == entries[1]
    plant(src, dict.fromkeys("abcdefgh", b"the third"))
    push(src, dst, keep=1)
    assert [row[3] for row in rows(dst) if len(row) == 10] == [9] * 8
    assert push(src, dst, keep=1).unchanged == 8


def test_nothing_of_the_oldest_is_deleted_before_the_commit_point(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src, dst = replaced(plant, tmp_path)
    push(src, dst, keep=1)
    (oldest,) = units(dst)
    before = sorted(path for path in (dst / ".atomsync" / "history" / oldest).rglob("*"))
    plant(src, dict.fromkeys("abcdefgh", b"the third"))
    with pytest.raises(CheckFailed):
        push(src, dst, keep=1, check="exit 1")
    assert sorted((dst / ".atomsync" / "history" / oldest).rglob("*")) == before
    assert len(before) == 2 + 8


def test_the_second_process_looks_and_deletes_its_share(
    plant: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_here(*args: Any) -> Any:
        raise AssertionError("the second process was asked for nothing")

    monkeypatch.setattr(retention, "read_journal", not_here)
    src, dst = replaced(plant, tmp_path)
    push(src, dst, keep=1)
    plant(src, dict.fromkeys("abcdefgh", b"the third"))
    deleted = []
    monkeypatch.setattr(leaving, "_delete", lambda *a, real=leaving._delete: deleted.append(a[2]) or real(*a))
    receipt = push(src, dst, keep=1).receipt
    assert receipt is not None
    assert receipt.warnings == ()
    assert 0 < len(deleted) < 3
    assert units(dst) == [receipt.unit_id]


@pytest.mark.usefixtures("helped")
def test_of_a_unit_without_a_journal_late_writes_are_said_not_to_have_been_looked_for(
    plant: Callable[..., Path], tmp_path: Path
) -> None:
    src, dst = replaced(plant, tmp_path)
    push(src, dst, keep=1)
    (oldest,) = units(dst)
    (dst / ".atomsync" / "history" / oldest / "journal").write_bytes(b"not a journal")
    plant(src, dict.fromkeys("abcdefgh", b"the third"))
    receipt = push(src, dst, keep=1).receipt
    assert receipt is not None
    (warning,) = receipt.warnings
    assert "its late writes were not looked for" in warning
    assert units(dst) == [receipt.unit_id]


def test_files_that_cannot_be_deleted_are_left_to_who_deletes_the_whole(tmp_path: Path) -> None:
    disk = PosixDisk()
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "directory").mkdir()
    at = disk.open_root(str(tmp_path))
    try:
        leaving.delete(disk, at, ["a", "directory", "missing", "b"])
    finally:
        disk.close(at)
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
