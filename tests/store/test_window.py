"""The mixed window: runs of renames do what one rename after the other did, and fail as it did."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync.errors import AtomSyncError, Drift
from atomsync.fs.posix import PosixDisk
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store.window import Run, runs_of
from atomsync.testing import Dir, File, Link, Tree, VerbFailed
from atomsync.tree.entry import DIR, FILE, Entry
from tests.store.world import NEW, OLD, World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000
FILE_ENTRY = Entry(FILE, 0o644, 1, T, 0, 0, "")
DIR_ENTRY = Entry(DIR, 0o755, 0, T, 0, 0, "")
NAMES = ["a", "b", "b.c", "b-", "\udcff", "é"]


class OneByOne(PosixDisk):
    """The slow twin: a rename is asked for each time anew. Counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.renames = 0

    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        self.renames += 1
        super().exchange(at, name, to, other)

    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        self.renames += 1
        super().rename_new(at, name, to, new_name)


def random_tree(dice: random.Random, depth: int = 3) -> Dir:
    names: dict[str, Tree] = {}
    for name in dice.sample(NAMES, dice.randint(1 if depth == 3 else 0, len(NAMES))):
        kind = dice.choice(["file"] * 4 + ["link", "dir", "dir"])
        mtime_ns = T + dice.randrange(4)
        if kind == "dir" and depth:
            below = random_tree(dice, depth - 1)
            names[name] = Dir(below.names, dice.choice([0o755, 0o700]), mtime_ns=mtime_ns)
        elif kind == "link":
            names[name] = Link(dice.choice("xy"), mtime_ns=mtime_ns)
        else:
            names[name] = File(dice.choice([b"", b"one", b"three"]), mtime_ns=mtime_ns)
    return Dir(names, mtime_ns=T)


@pytest.mark.parametrize("seed", range(25))
def test_runs_and_single_renames_give_the_same_tree_and_the_same_way_back(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    old, new = random_tree(dice), random_tree(dice)
    found = []
    for disk in (PosixDisk(), OneByOne()):
        base = tmp_path / type(disk).__name__
        base.mkdir()
        world = World.made(disk, str(base), old, new)
        receipt = world.push(durability="none")
        assert world.tree() == new
        found.append((receipt.created, receipt.updated, receipt.removed, receipt.bytes, receipt.swap_class))
        if old != new:
            world.store(durability="none").undo()
        assert world.tree() == old
        if isinstance(disk, OneByOne):
            assert old == new or disk.renames
    assert found[0] == found[1]


def test_steps_of_one_kind_in_one_directory_are_one_run() -> None:
    def step(kind: str, path: str, slot: str, new: Entry | None = FILE_ENTRY) -> Step:
        return Step(kind, path, None if kind == CREATE else FILE_ENTRY, new, slot=slot)

    steps = (
        step(CREATE, "a", "0"),
        step(CREATE, "\udcff", "1"),
        step(CREATE, "d/a", "2"),
        step(REPLACE, "d/b", "3"),
        step(REPLACE, "d/c", "4", DIR_ENTRY),
        step(REPLACE, "d/d", "5", DIR_ENTRY),
        step(REMOVE, "d/e", "6", None),
        step(META, "", ""),
        step(META, "d", ""),
    )
    assert runs_of(steps) == [
        Run(CREATE, "", steps[:2], ((b"0", b"a"), (b"1", b"\xff"))),
        Run(CREATE, "d", steps[2:3], ((b"2", b"a"),)),
        Run(REPLACE, "d", steps[3:4], ((b"3", b"b"),)),
        Run(REPLACE, "d", steps[4:5], ((b"4", b"c"),)),
        Run(REPLACE, "d", steps[5:6], ((b"5", b"d"),)),
        Run(REMOVE, "d", steps[6:7], ((b"e", b"6"),)),
        Run(META, "", steps[7:8], ()),
        Run(META, "", steps[8:9], ()),
    ]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("at", range(4))
def test_an_error_within_a_run_names_its_path_and_takes_all_back(
    at: int, exchange: bool, simulate: Make
) -> None:
    paths = ["p", "q", "d/r", "d/s"]  # no name that a store tries its filesystem with

    def tree(data: bytes) -> Dir:
        p, q, r, s = (File(data + path.encode(), mtime_ns=T) for path in paths)
        return Dir({"p": p, "q": q, "d": Dir({"r": r, "s": s}, mtime_ns=T)}, mtime_ns=T)

    world = simulate(tree(b"old "), tree(b"newer "), exchange=exchange)
    name, verb = paths[at].rpartition("/")[2], "exchange" if exchange else "link"

    def fail(index: int, called: str, names: tuple[str, ...]) -> None:
        if called == verb and name in names:
            world.sim.hook = None
            raise VerbFailed(errno.EIO)

    with world.pushing() as unit:
        unit.flush()
        world.sim.hook = fail
        with pytest.raises(AtomSyncError, match=f"^cannot change {paths[at]}: "):
            unit.commit()
    assert world.tree() == tree(b"old ")


def test_what_another_writer_took_from_the_midst_of_a_run_is_named(tmp_path: Path) -> None:
    old = Dir({name: File(name.encode(), mtime_ns=T) for name in "abcde"}, mtime_ns=T)
    new = Dir({name: File(b"newer", mtime_ns=T) for name in "abcde"}, mtime_ns=T)
    world = World.made(PosixDisk(), str(tmp_path), old, new)
    with world.sealed() as (session, sealed):
        os.unlink(f"{world.dst}/c")
        with pytest.raises(Drift, match="changed c at the destination"):
            session.commit(sealed)
    assert sorted(world.tree().names) == [*"abde"]
    assert {world.content(name) for name in "abde"} == {name.encode() for name in "abde"}


def test_every_kind_of_step_is_the_same_on_a_disk_that_is_asked_one_by_one(tmp_path: Path) -> None:
    for disk in (PosixDisk(), OneByOne()):
        base = tmp_path / type(disk).__name__
        base.mkdir()
        world = World.made(disk, str(base), OLD, NEW)
        world.push()
        assert world.tree() == NEW
