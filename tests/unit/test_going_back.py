"""Any units, taken back in any way: every state that the history has comes back, to the nanosecond."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import GuardTripped
from atomsync.testing import Dir, File, Link, SimDisk, build
from tests.store.world import T, World

Make = Callable[..., World]
NAMES = ["a", "b", "c", "d"]
SEEDS = [*range(5), 13, 14, 23]


def some_tree(rng: random.Random, depth: int = 0) -> Dir:
    names: dict[str, Any] = {}
    for name in NAMES:
        kind = rng.randrange(6 if depth < 3 else 4)
        when = T + rng.randrange(8)
        if kind == 1:
            names[name] = File(b"%d" % rng.randrange(4), rng.choice((0o600, 0o644)), mtime_ns=when)
        elif kind == 2:
            names[name] = Link(rng.choice("xy"), mtime_ns=when)
        elif kind >= 4:
            names[name] = some_tree(rng, depth + 1)
    return Dir(names, rng.choice((0o700, 0o755)), mtime_ns=T + rng.randrange(8))


@pytest.fixture
def world_with(tmp_path: Path) -> Make:
    """A destination that holds this tree, on a simulated disk."""

    def made(tree: Dir) -> World:
        (tmp_path / "dst").mkdir()  # a store asks the system itself whether its root exists
        return World.made(SimDisk("weak"), str(tmp_path), tree)

    return made


def replace_source(world: World, tree: Dir) -> None:
    from atomsync.store.removal import remove_tree

    with world.root(world.base) as at:
        remove_tree(world.disk, at, "src")
        world.disk.mkdir(at, "src")
    with world.root(world.src) as at:
        build(world.disk, at, tree)


def push(world: World, tree: Dir) -> str:
    replace_source(world, tree)
    return world.push(keep=100).unit_id


@pytest.mark.parametrize("seed", SEEDS)
def test_every_state_comes_back_from_any_other(world_with: Make, seed: int) -> None:
    rng = random.Random(seed)
    world = world_with(some_tree(rng))
    states: dict[str, Dir] = {}
    for _ in range(5):
        if unit_id := push(world, some_tree(rng)):
            states[unit_id] = world.tree()
    store = world.store(keep=100)
    for _ in range(8):
        wanted = rng.choice([*states])
        if unit_id := store.restore(wanted).unit_id:
            states[unit_id] = world.tree()
        assert world.tree() == states[wanted], f"restore to {wanted}"
        if rng.random() < 0.4:
            before = [*states.values()][-2]
            last = store.history()[0].unit_id
            if last == [*states][-1]:
                states[store.undo().unit_id] = before
                assert world.tree() == before, f"undo of {last}"
    for wanted, state in states.items():
        store.restore(wanted)
        assert world.tree() == state, f"at last restore to {wanted}"


@pytest.mark.parametrize("seed", SEEDS)
def test_units_undone_one_by_one_lead_back_to_where_all_began(world_with: Make, seed: int) -> None:
    rng = random.Random(1000 + seed)
    world = world_with(some_tree(rng))
    states = [world.tree()]
    made = []
    for _ in range(5):
        if unit_id := push(world, some_tree(rng)):
            made.append(unit_id)
            states.append(world.tree())
    for unit_id in reversed(made):
        states.pop()
        world.store(keep=100).undo(unit_id, force=True)  # later ones that were undone leave nothing behind
        assert world.tree() == states[-1], unit_id


@pytest.mark.parametrize("seed", SEEDS)
def test_one_of_many_is_refused_or_leaves_the_others_as_they_are(world_with: Make, seed: int) -> None:
    """What is undone by force is what the unit changed; nothing else moves but what stands in its way."""
    rng = random.Random(2000 + seed)
    world = world_with(some_tree(rng))
    made = [unit_id for _ in range(4) if (unit_id := push(world, some_tree(rng)))]
    before = world.tree()
    for unit_id in rng.sample(made, len(made)):
        store = world.store(keep=100)
        try:
            receipt = store.undo(unit_id)
        except GuardTripped:
            assert world.tree() == before
            receipt = store.undo(unit_id, force=True)
        if receipt.unit_id:
            after = world.tree()
            store.undo(receipt.unit_id)
            assert world.tree() == before, f"undo of the undo of {unit_id}"
            store.undo()
            assert world.tree() == after, f"redo of the undo of {unit_id}"
            store.undo()
