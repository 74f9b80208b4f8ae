"""Two processes look at what one would, in the order of the steps, whatever becomes of either."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.errors import Interrupted, StaleEntry
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.fs.second import Second
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store import looks as module
from atomsync.store import session
from atomsync.store.journal import decode
from atomsync.store.looks import looks
from atomsync.tree.entry import DIR, Entry, entry_of, look_deep

Found = list[tuple[Step, Entry | None, Entry | None]]
KINDS = (CREATE, REPLACE, REMOVE, META)
FILES = 2_000


def nothing() -> None:
    pass


@pytest.fixture
def second() -> Iterator[Second]:
    found = Second()
    yield found
    found.close()


class Place:
    """A destination and slots, of random files and links, with steps that ask for them and for more."""

    def __init__(self, seed: int, where: Path) -> None:
        dice = random.Random(seed)
        self.disk = PosixDisk()
        self.dst, self.stage = where / "dst", where / "slots"
        directories = [f"d{number}" for number in range(dice.randint(1, 6))]
        for directory in directories:
            (self.dst / directory).mkdir(parents=True)
        self.stage.mkdir()
        self.steps = [Step(META, "", None, None)]
        for directory in [*directories, "gone", ""]:
            for number in range(dice.choice([1, 3, 300])):
                name = dice.choice(["é", "\udcff", "b"]) + str(number)
                path = f"{directory}/{name}" if directory else name
                slot = str(len(self.steps))
                self.steps.append(Step(dice.choice(KINDS), path, None, None, slot=slot))
                if directory != "gone" and dice.random() < 0.8:
                    self._put(dice, self.dst / path)
                if dice.random() < 0.9:
                    self._put(dice, self.stage / slot)

    def _put(self, dice: random.Random, path: Path) -> None:
        if dice.random() < 0.2:
            path.symlink_to(dice.choice(["x", "y\udcff"]))
        else:
            path.write_bytes(b"x" * dice.randrange(9))

    def looked(self, second: Second | None, check: Callable[[], object] = nothing) -> Found:
        tree, slots = self.disk.open_root(str(self.dst)), self.disk.open_root(str(self.stage))
        try:
            with Cursor(self.disk, tree) as cursor:
                return [*looks(cursor, slots, self.steps, second, check)]
        finally:
            self.disk.close(tree)
            self.disk.close(slots)

    def one_by_one(self) -> Found:
        """The slow twin."""
        found: Found = []
        slots = self.disk.open_root(str(self.stage))
        for step in self.steps:
            parent, _, name = step.path.rpartition("/")
            now = entry_of(os.stat(self.dst))
            if step.path:
                try:
                    at = self.disk.open_root(str(self.dst / parent))
                except FileNotFoundError:
                    looked = None
                else:
                    looked = look_deep(self.disk, at, name)
                    self.disk.close(at)
                found.append((step, looked, self._staged(slots, step)))
            else:
                found.append((step, now, None))
        self.disk.close(slots)
        return found

    def _staged(self, slots: int, step: Step) -> Entry | None:
        return look_deep(self.disk, slots, step.slot) if step.kind in (CREATE, REPLACE) else None


@pytest.mark.parametrize("seed", range(12))
def test_two_processes_find_what_one_finds_and_what_single_looks_find(
    seed: int, tmp_path: Path, second: Second
) -> None:
    place = Place(seed, tmp_path)
    alone, shared, singly = place.looked(None), place.looked(second), place.one_by_one()
    assert alone == singly
    assert shared == singly
    assert all(type(entry) in (Entry, type(None)) for _, *entries in shared for entry in entries)


def test_the_second_process_has_its_share(
    tmp_path: Path, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION_STEPS", 4)
    place, asked = Place(1, tmp_path), []
    ask = second.ask
    monkeypatch.setattr(second, "ask", lambda *arguments: (asked.append(arguments), ask(*arguments))[1])
    assert place.looked(second) == place.one_by_one()
    assert asked


def test_what_it_had_in_hand_when_it_died_is_looked_at_here(
    tmp_path: Path, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION_STEPS", 4)
    place, ask = Place(2, tmp_path), second.ask

    def dying(*arguments: Any) -> Any:
        task = ask("time:sleep", *arguments[1:])  # no task of ours: it ends there, unanswered
        second.close()
        return task

    monkeypatch.setattr(second, "ask", dying)
    assert place.looked(second) == place.one_by_one()


def test_one_that_is_at_something_else_is_not_asked(
    tmp_path: Path, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Second, "idle", False)
    monkeypatch.setattr(second, "ask", pytest.fail)
    place = Place(3, tmp_path)
    assert place.looked(second) == place.one_by_one()


def test_who_stops_in_the_midst_leaves_nobody_at_work(
    tmp_path: Path, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION_STEPS", 4)
    left = [2]  # how many are asked for depends on who is faster

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise Interrupted("stopped", "by the test")

    with pytest.raises(Interrupted):
        Place(4, tmp_path).looked(second, check)
    assert not second.alive


# -- in a push


@pytest.fixture
def pushed(tmp_path: Path) -> Path:
    """A destination, every file of which another source replaces: the source is beside it."""
    _write(tmp_path / "src", b"old")
    push(tmp_path / "src", tmp_path / "dst")
    _write(tmp_path / "src", b"newer")
    return tmp_path / "dst"


def _write(source: Path, data: bytes) -> None:
    for number in range(FILES):
        path = source / f"d{number // 100}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number + data)


def journal_of(dst: Path) -> list[tuple[object, ...]]:
    """What was sealed last, but for what no other destination has: inodes, and their times of change."""
    control = dst / ".atomsync"
    newest = max((control / "history").iterdir(), key=lambda unit: unit.name)
    steps = decode((newest / "journal").read_bytes()).steps
    assert all(step.new is None or step.kind == META or step.new.generation for step in steps)
    return [(step.kind, step.path, step.slot, _plain(step.old), _plain(step.new)) for step in steps]


def _plain(entry: Entry | None) -> object:
    if entry is None or entry.kind == DIR:
        return entry and entry.kind
    return entry._replace(ino=0, dev=0, ctime_ns=0, generation=0)


def test_with_and_without_a_second_process_the_same_is_sealed(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Callable[..., None]
) -> None:
    shutil.copytree(pushed, tmp_path / "one", ignore=shutil.ignore_patterns(".atomsync"))
    push(tmp_path / "src", pushed)
    monkeypatch.setattr(session, "WORTH_STEPS", FILES * 2)
    push(tmp_path / "src", tmp_path / "one")
    assert sorted(journal_of(pushed), key=str) == sorted(journal_of(tmp_path / "one"), key=str)
    assert_same_tree(tmp_path / "src", pushed)
    assert_same_tree(tmp_path / "src", tmp_path / "one")


@pytest.mark.parametrize("number", [0, FILES // 2, FILES - 1])
def test_drift_is_refused_whoever_looks(
    number: int, pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION_STEPS", 8)
    path = f"d{number // 100}/f{number}"
    real = session.seal

    def saved_before(*arguments: Any, **options: Any) -> Any:
        assert options["second"] is not None or len(os.sched_getaffinity(0)) == 1
        (pushed / path).write_bytes(b"somebody's")
        return real(*arguments, **options)

    monkeypatch.setattr(session, "seal", saved_before)
    with pytest.raises(StaleEntry) as caught:
        push(tmp_path / "src", pushed)
    assert path in str(caught.value)
    assert (pushed / path).read_bytes() == b"somebody's"
    left = [file.read_bytes() for file in sorted(pushed.glob("d*/f*")) if file != pushed / path]
    assert len(left) == FILES - 1
    assert all(data.endswith(b"old") for data in left)
    assert not [*(pushed / ".atomsync" / "pending").iterdir()]
