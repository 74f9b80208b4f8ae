"""Who waits for whom: for a commit, which is brief, and never for a unit that only rests."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import HeldByPrepared, StoreLocked
from atomsync.follow.trouble import LOCKED_LONGEST_S, Trouble
from atomsync.fs.posix import PosixDisk
from atomsync.store import lock
from atomsync.store.access import open_control
from atomsync.store.control import Control
from atomsync.sync.push import push
from atomsync.testing import Dir, File, HookedDisk
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000
BASE = Dir({"file": File(b"old", 0o644, T + 1), "other": File(b"other", 0o644, T + 2)}, mtime_ns=T + 3)
PATIENCE_S = 20


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.made(PosixDisk(), str(tmp_path), BASE, Dir({"file": File(b"pushed")}))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once somebody has found the store locked, and looked who has it."""
    event, look = threading.Event(), lock._signature

    def seen(text: bytes) -> Any:
        if text:
            event.set()
        return look(text)

    monkeypatch.setattr(lock, "_signature", seen)
    return event


class Held:
    """The store's lock, as a commit has it (``brief``), or a push."""

    def __init__(self, world: World, *, brief: bool) -> None:
        control = open_control(world.disk, world.dst)
        assert control is not None
        self.control: Control = control
        self.control.lock(brief=brief)

    def __enter__(self) -> Control:
        return self.control

    def __exit__(self, *_: object) -> None:
        self.control.close()


# -- a push, and who was there before it


def test_a_push_beside_a_unit_in_its_commit_waits_for_it(
    world: World, pool: ThreadPoolExecutor, met: threading.Event
) -> None:
    swapping, go_on = threading.Event(), threading.Event()

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb in ("exchange", "rename_new", "replace") and "other" in names:
            swapping.set()
            assert go_on.wait(PATIENCE_S)

    def commit() -> None:
        with open_store(world.dst, disk=HookedDisk(hook)).begin() as unit:
            unit.write("other", b"unit")

    committing = pool.submit(commit)
    assert swapping.wait(PATIENCE_S)
    pushing = pool.submit(push, world.src, world.dst)
    assert met.wait(PATIENCE_S)
    go_on.set()
    committing.result(PATIENCE_S)
    receipt = pushing.result(PATIENCE_S).receipt
    assert receipt is not None
    assert receipt.updated == 1
    assert (world.content("file"), world.content("other")) == (b"pushed", b"unit")


def test_a_push_beside_a_push_is_refused_at_once_and_names_it(
    world: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_BRIEF_S", 3600.0)  # so long it would wait, if it did
    with UnitOfWork(world.store(), exclusive=True) as unit:
        unit.write("other", b"long")
        refused = pool.submit(push, world.src, world.dst).exception(PATIENCE_S)
        unit.commit()
    assert isinstance(refused, StoreLocked)
    assert f"process {os.getpid()} " in refused.why
    assert (world.content("file"), world.content("other")) == (b"old", b"long")


def test_nobody_waits_for_ever_for_one_who_said_to_be_brief(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_BRIEF_S", 0.05)
    with Held(world, brief=True), pytest.raises(StoreLocked) as refused:
        push(world.src, world.dst)
    assert f"process {os.getpid()} " in refused.value.why
    assert world.content("file") == b"old"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"brief": true}',
        '{"brief": true, "pid": 4194305}',
        '{"brief": true, "pid": "x"}',
        '["brief"]',
    ],
)
def test_only_one_who_lives_and_said_to_be_brief_is_waited_for(
    world: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(lock, "_BRIEF_S", 3600.0)
    with Held(world, brief=True):
        Path(world.dst, ".atomsync/lock").write_text(text)  # as one has left it who died; the lock is not its
        refused = pool.submit(push, world.src, world.dst).exception(PATIENCE_S)
    assert isinstance(refused, StoreLocked)


def test_a_unit_waits_no_longer_for_a_commit_than_its_timeout(
    world: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_BRIEF_S", 1.0)
    with UnitOfWork(world.store(timeout=0.01)) as unit:
        unit.write("file", b"new")
        with Held(world, brief=True):
            began = time.monotonic()
            with pytest.raises(StoreLocked):
                unit.commit()
            assert time.monotonic() - began < 0.9


# -- beside a unit that rests


def resting(world: World, path: str = "file", **options: Any) -> UnitOfWork:
    """Prepared, and its process lives."""
    unit = world.unit(**options)
    unit.write(path, b"resting")
    unit.prepare("the ledger")
    return unit


def test_beside_a_unit_that_rests_others_work_while_the_store_is_locked(make: Make) -> None:
    world = make(BASE)
    with contextlib.closing(resting(world)), UnitOfWork(world.store()) as another:
        with world.store().session():
            assert another.read("other") == b"other"
            assert another.listdir() == ["file", "other"]
            another.write("other", b"another")
            another.flush()
        another.commit()
    assert (world.content("file"), world.content("other")) == (b"old", b"another")


def test_beside_a_unit_whose_process_is_gone_the_first_verb_decides_about_it(make: Make) -> None:
    world = make(BASE)
    resting(world).close()
    decided = world.store(resolver=lambda _: True)
    with UnitOfWork(decided) as another:
        assert another.read("file") == b"resting"


class Reads:
    """How often each journal was read of units that rest."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journals: Counter[int] = Counter()
        disk, opened = world.disk, world.disk.open_file

        def open_file(at: int, name: str) -> int:
            fd = opened(at, name)
            if name == "journal":
                self.journals[disk.fstat(fd).st_ino] += 1
            return fd

        monkeypatch.setattr(disk, "open_file", open_file)

    def of(self, world: World, unit_id: str) -> int:
        with world.place(f".atomsync/prepared/{unit_id}/journal") as (at, name):
            return self.journals[world.disk.lstat(at, name).st_ino]


def test_the_journal_of_a_unit_that_rests_is_read_once_by_a_store_however_much_it_commits(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(BASE)
    units = [resting(world), resting(world, "made")]
    reads, store = Reads(world, monkeypatch), world.store()
    for number in range(5):
        with store.begin() as another:
            another.read("other")
            another.write("other", b"%d" % number)
    assert [reads.of(world, unit._prepared.id) for unit in units if unit._prepared] == [1, 1]
    with world.unit() as another:
        another.read("other")
        another.write("other", b"rolled back")
    assert [reads.of(world, unit._prepared.id) for unit in units if unit._prepared] == [1, 1]
    for unit in units:
        unit.close()


def test_what_was_read_once_holds_until_it_is_decided(make: Make) -> None:
    world, store = (made := make(BASE)), made.store()
    unit = resting(world)
    for _ in range(3):
        with pytest.raises(HeldByPrepared), store.begin() as another:
            another.write("file", b"another")
    unit.rollback()
    with store.begin() as another:
        another.write("file", b"another")
    assert world.content("file") == b"another"


def test_what_was_read_of_units_that_are_decided_is_forgotten(make: Make) -> None:
    world, store = (made := make(BASE)), made.store()
    for number in range(5):
        unit = resting(world)
        with store.begin() as another:
            another.write("other", b"%d" % number)
        unit.rollback()
    with store.begin() as another:
        another.write("other", b"none rests")
    assert len(store.held) <= 1


# -- a watch


def test_a_watch_looks_again_soon_whether_a_unit_still_rests() -> None:
    trouble, now_s, waits = Trouble(), 100.0, []
    for _ in range(100):
        waits.append(trouble.meet(HeldByPrepared("a prepared unit is to change it"), now_s)[0])
        now_s += waits[-1]
    assert max(waits) == LOCKED_LONGEST_S == 2.0
    assert not trouble.paused
