"""Any sequence of verbs, with flushes in between, leaves what a plain dictionary says it should."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from atomsync.errors import UsageError
from atomsync.testing import Dir, File, Link, SimDisk, Tree
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

# path → ("dir", mode), ("link", target) or ("file", data, mode)
Model = dict[str, tuple[Any, ...]]
Verb = tuple[Any, ...]


class Refused(Exception):
    pass


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def below(model: Model, path: str) -> list[str]:
    return [other for other in model if other.startswith(path + "/")]


def is_dir(model: Model, path: str) -> bool:
    return path == "" or (path in model and model[path][0] == "dir")


def drop(model: Model, path: str) -> None:
    for other in [path, *below(model, path)]:
        model.pop(other, None)


def apply(model: Model, verb: Verb) -> None:
    """What ``verb`` does to the model; raises Refused before it changes anything."""
    name, path, *rest = verb
    present = model.get(path)
    if name in ("write", "symlink", "mkdir") and not is_dir(model, parent(path)):
        raise Refused
    if name == "write":
        mode = present[2] if present and present[0] == "file" else 0o644
        drop(model, path)
        model[path] = ("file", rest[0], mode)
    elif name == "symlink":
        drop(model, path)
        model[path] = ("link", rest[0])
    elif name == "mkdir":
        if present:
            raise Refused
        model[path] = ("dir", rest[0])
    elif name == "remove":
        if not present:
            raise Refused
        drop(model, path)
    elif name == "chmod":
        if not present or present[0] == "link":
            raise Refused
        model[path] = (*present[:-1], rest[0])
    elif name == "move":
        (to,) = rest
        there = model.get(to)
        if not present or not is_dir(model, parent(to)) or to == path or to.startswith(path + "/"):
            raise Refused
        if there and "dir" in (present[0], there[0]):
            raise Refused
        moved = {to + other[len(path) :]: model[other] for other in [path, *below(model, path)]}
        drop(model, path)
        model.update(moved)


def act(unit: UnitOfWork, verb: Verb) -> None:
    name, path, *rest = verb
    if name == "mkdir":
        unit.mkdir(path, mode=rest[0])
    else:
        getattr(unit, name)(path, *rest)


def tree(model: Model, top: str = "") -> Dir:
    names: dict[str, Tree] = {}
    for path, (kind, *rest) in model.items():
        if parent(path) != top:
            continue
        name = path.rpartition("/")[2]
        if kind == "dir":
            names[name] = tree(model, path)
        elif kind == "link":
            names[name] = Link(rest[0])
        else:
            names[name] = File(rest[0], rest[1])
    mode = model[top][1] if top else 0o755
    return Dir(names, mode)


paths = st.sampled_from(["a", "a", "b", "a/a", "a/b", "b/a", "a/a/a"])
data = st.sampled_from([b"", b"1", b"two"])
modes = st.sampled_from([0o600, 0o700, 0o755])
verbs = st.one_of(
    st.tuples(st.just("write"), paths, data),
    st.tuples(st.just("symlink"), paths, st.sampled_from(["a", "../x"])),
    st.tuples(st.just("mkdir"), paths, modes),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("move"), paths, paths),
    st.tuples(st.just("flush")),
)
several = st.lists(verbs, min_size=4, max_size=14)
FULL: list[Verb] = [
    ("mkdir", "a", 0o700),
    ("write", "a/a", b"1"),
    ("mkdir", "a/b", 0o755),
    ("write", "b", b"two"),
]
simple = st.lists(verbs.filter(lambda verb: verb[0] in ("write", "symlink", "mkdir")), max_size=8) | st.just(
    FULL
)


def built(some: list[Verb]) -> Model:
    model: Model = {}
    for verb in some:
        try:
            apply(model, verb)
        except Refused:
            continue
    return model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    os.mkdir(path / "dst")
    return path


def run(base: Path, start: list[Verb], doing: list[Verb]) -> tuple[World, UnitOfWork, Model, Model]:
    before = built(start)
    world = World.made(SimDisk("weak"), str(base), tree(before))
    after = dict(before)
    unit = world.unit()
    for verb in doing:
        if verb == ("flush",):
            unit.flush()
            continue
        try:
            apply(after, verb)
        except Refused:
            with pytest.raises(UsageError):
                act(unit, verb)
        else:
            act(unit, verb)
        assert world.tree(directory_times=False) == tree(before)
    return world, unit, before, after


slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@example(start=FULL, doing=[("chmod", "b", 0o600), ("move", "b", "a/a/a"), ("move", "b", "a/b/a")])
@example(start=FULL, doing=[("write", "b", b""), ("flush",), ("chmod", "b", 0o700)])
@example(start=FULL, doing=[("write", "a", b""), ("flush",), ("move", "a", "b")])
@example(start=FULL, doing=[("write", "a/a", b""), ("flush",), ("remove", "b"), ("move", "a", "b")])
@given(start=simple, doing=several)
def test_a_commit_makes_what_the_verbs_said(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, _, after = run(base, start, doing)
    unit.commit()
    assert world.tree(directory_times=False) == tree(after)
    assert "unit" not in world.control_names()
    assert world.sim.open_descriptors == 0


@slow
@given(start=simple, doing=several)
def test_the_three_sets_tell_what_a_commit_would_do(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    _, unit, before, after = run(base, start, doing)
    assert unit.new == after.keys() - before.keys()
    assert unit.removed == before.keys() - after.keys()
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    assert changed <= unit.dirty <= before.keys() & after.keys()
    unit.rollback()


@slow
@given(start=simple, doing=several)
def test_a_rollback_leaves_what_was_there(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, before, _ = run(base, start, doing)
    times = world.tree()
    unit.rollback()
    assert world.tree() == times
    assert world.tree(directory_times=False) == tree(before)
    assert "unit" not in world.control_names()
    assert world.control_names("history") == []
    assert world.sim.open_descriptors == 0
