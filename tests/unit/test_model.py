"""Any sequence of verbs, with flushes and savepoints in between, leaves what a plain dictionary says."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from atomsync.errors import StaleEntry, UsageError
from atomsync.store.history import read_journal
from atomsync.testing import Dir, File, Link, SimDisk, Tree
from atomsync.unit.expected import ANY, digest
from atomsync.unit.savepoint import Savepoint
from atomsync.unit.work import UnitOfWork
from tests.store.world import World, opened

# path → ("dir", mtime, mode), ("link", mtime, target) or ("file", mtime, mode, data); an mtime of None: any
Model = dict[str, tuple[Any, ...]]
Verb = tuple[Any, ...]
T = 1_600_000_000_000_000_000
PATHS = ["a", "b", "a/a", "a/b", "b/a", "a/a/a"]


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
        model[path] = ("file", None, mode, rest[0])
    elif name == "symlink":
        drop(model, path)
        model[path] = ("link", None, rest[0])
    elif name == "mkdir":
        if present:
            raise Refused
        model[path] = ("dir", None, rest[0])
    elif name == "remove":
        if not present:
            raise Refused
        drop(model, path)
    elif name == "chmod":
        if not present or present[0] == "link":
            raise Refused
        model[path] = (*present[:2], rest[0], *present[3:])
    elif name == "utime":
        if not present:
            raise Refused
        model[path] = (present[0], rest[0], *present[2:])
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


def act(unit: UnitOfWork, verb: Verb, **more: Any) -> None:
    name, path, *rest = verb
    if name == "mkdir":
        unit.mkdir(path, mode=rest[0], **more)
    elif name == "move" and more:
        unit.move(path, *rest, expected_there=ANY, **more)
    else:
        getattr(unit, name)(path, *rest, **more)


def tree(model: Model, top: str = "") -> Dir:
    names: dict[str, Tree] = {}
    for path, (kind, mtime_ns, *rest) in model.items():
        if parent(path) != top:
            continue
        name = path.rpartition("/")[2]
        if kind == "dir":
            names[name] = tree(model, path)
        elif kind == "link":
            names[name] = Link(rest[0], mtime_ns)
        else:
            names[name] = File(rest[1], rest[0], mtime_ns)
    mtime_ns, mode = model[top][1:] if top else (None, 0o755)
    return Dir(names, mode, mtime_ns)


def children(model: Model, path: str) -> list[str]:
    return sorted(other.rpartition("/")[2] for other in model if parent(other) == path)


def check_seen(unit: UnitOfWork, model: Model, *, content: bool) -> None:
    """What the unit says will be there is what the model says; ``content``: files are read too."""
    walked: dict[str, tuple[list[str], list[str]]] = {}
    for path, directories, others in unit.walk():
        walked[path] = directories, others
    assert walked.keys() == {"", *(path for path in model if is_dir(model, path))}
    for path, (directories, others) in walked.items():
        assert unit.listdir(path) == sorted([*directories, *others]) == children(model, path)
        assert all(is_dir(model, f"{path}/{name}".lstrip("/")) for name in directories)
        assert not any(is_dir(model, f"{path}/{name}".lstrip("/")) for name in others)
    for path in PATHS:
        assert unit.exists(path) is (path in model)
        if not content:
            continue
        if path in model and model[path][0] == "file":
            assert unit.read(path) == model[path][3]
            assert unit.digest(path) == digest(model[path][3])
            with unit.open(path, "rb") as file:
                assert file.read() == model[path][3]
        else:
            with pytest.raises(UsageError):
                unit.read(path)


paths = st.sampled_from(["a", *PATHS])
data = st.sampled_from([b"", b"1", b"two"])
modes = st.sampled_from([0o600, 0o700, 0o755])
verbs = st.one_of(
    st.tuples(st.just("write"), paths, data),
    st.tuples(st.just("symlink"), paths, st.sampled_from(["a", "../x"])),
    st.tuples(st.just("mkdir"), paths, modes),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("utime"), paths, st.sampled_from([T + 1001, T + 1002])),
    st.tuples(st.just("move"), paths, paths),
    st.tuples(st.just("flush")),
)
several = st.lists(verbs, min_size=4, max_size=14)
savepoints = st.sampled_from([("begin",), ("begin",), ("release",), ("undo",)])
nested = st.lists(verbs | verbs | savepoints, min_size=6, max_size=18)
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
    for number, (path, (kind, _, *rest)) in enumerate(model.items()):
        model[path] = (kind, None if kind == "dir" else T + number, *rest)
    return model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    os.mkdir(path / "dst")
    return path


def run(
    base: Path, start: list[Verb], doing: list[Verb], *, seen: bool = False, read: bool = False
) -> tuple[World, UnitOfWork, Model, Model]:
    before = built(start)
    world = World.made(SimDisk("weak"), str(base), tree(before))
    after = dict(before)
    unit = world.unit()
    open_savepoints: list[tuple[Savepoint, Model]] = []
    for verb in doing:
        if verb == ("flush",):
            unit.flush()
        elif verb == ("begin",):
            open_savepoints.append((unit.begin_nested(), dict(after)))
        elif verb in (("release",), ("undo",)):
            if open_savepoints:
                savepoint, then = open_savepoints.pop()
                if verb == ("release",):
                    savepoint.commit()
                else:
                    savepoint.rollback()
                    after = then
        else:
            try:
                apply(after, verb)
            except Refused:
                with pytest.raises(UsageError):
                    act(unit, verb)
            else:
                act(unit, verb)
        if seen:
            check_seen(unit, after, content=read)
        assert world.tree(directory_times=False) == tree(before)
    return world, unit, before, after


def committed(world: World, unit: UnitOfWork, after: Model) -> None:
    """The commit makes ``after``, and keeps nothing but what it displaced."""
    receipt = unit.commit()
    assert world.tree() == tree(after)
    assert set(world.control_names()) - {"lock"} <= {"history", "manifest.sqlite", "pending", "retired"}
    assert world.control_names("pending") == world.control_names("retired") == []
    assert world.sim.open_descriptors == 0
    if receipt.unit_id:
        with opened(world) as control:
            steps = read_journal(control, "history", receipt.unit_id).steps
        displaced = {step.slot for step in steps if step.kind in ("replace", "remove")}
        assert set(world.control_names("history", receipt.unit_id, "slots")) == displaced


slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@example(start=FULL, doing=[("chmod", "b", 0o600), ("move", "b", "a/a/a"), ("move", "b", "a/b/a")])
@example(start=FULL, doing=[("write", "b", b""), ("flush",), ("chmod", "b", 0o700)])
@example(start=FULL, doing=[("write", "a", b""), ("flush",), ("move", "a", "b")])
@example(start=FULL, doing=[("write", "a/a", b""), ("flush",), ("remove", "b"), ("move", "a", "b")])
@given(start=simple, doing=several)
def test_a_commit_makes_what_the_verbs_said(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, _, after = run(base, start, doing)
    committed(world, unit, after)


@slow
@given(start=simple, doing=nested)
def test_a_commit_makes_what_savepoints_left(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, _, after = run(base, start, doing)
    committed(world, unit, after)


@slow
@given(start=simple, doing=nested)
def test_a_unit_sees_at_any_moment_what_it_will_make(
    base: Path, start: list[Verb], doing: list[Verb]
) -> None:
    world, unit, _, after = run(base, start, doing, seen=True)
    committed(world, unit, after)


@slow
@example(start=FULL, doing=[("begin",), ("write", "b", b""), ("write", "b", b"1"), ("undo",)])
@given(start=simple, doing=nested)
def test_a_unit_reads_what_it_wrote_and_commits_it(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, _, after = run(base, start, doing, seen=True, read=True)
    committed(world, unit, after)


@slow
@given(start=simple, doing=nested)
def test_the_three_sets_tell_what_a_commit_would_do(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    _, unit, before, after = run(base, start, doing)
    assert unit.new == after.keys() - before.keys()
    assert unit.removed == before.keys() - after.keys()
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    assert changed <= unit.dirty <= before.keys() & after.keys()
    unit.rollback()


@slow
@given(start=simple, doing=nested)
def test_a_rollback_leaves_what_was_there(base: Path, start: list[Verb], doing: list[Verb]) -> None:
    world, unit, before, _ = run(base, start, doing, seen=True, read=True)
    times = world.tree()
    unit.rollback()
    assert world.tree() == times
    assert world.tree(directory_times=False) == tree(before)
    assert "unit" not in world.control_names()
    assert world.control_names("history") == world.control_names("pending") == []
    assert world.sim.open_descriptors == 0


foreign = st.one_of(
    st.tuples(st.just("save"), paths),
    st.tuples(st.just("into"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("rename"), paths, paths | st.just("z")),
    st.tuples(st.just("link"), paths),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("twin"), paths, paths | st.just("z")),
)
forcing = st.tuples(verbs | verbs | savepoints, st.booleans())


def meddle(world: World, number: int, edit: Verb) -> None:
    """What another program may do; where it cannot be done, nothing is."""
    name, path, *rest = edit
    theirs = b"theirs %d" % number
    with contextlib.suppress(OSError):
        if name == "save":
            world.save(path, theirs)
        elif name == "into":
            world.write_into(path, theirs)
        elif name == "unlink":
            world.unlink(path)
        elif name == "rename":
            world.rename(path, rest[0])
        elif name == "link":
            world.symlink(path, "../src")
        elif name == "chmod":
            world.chmod(path, rest[0])
        else:
            with world.place(path) as (at, leaf), world.place(rest[0]) as (to, other):
                world.disk.link(at, leaf, to, other)


@slow
@example(
    start=FULL,
    doing=[(("write", "a", b""), False), (("remove", "a"), False)],
    edits=[("save", "a"), ("rename", "a", "z")],
    split=True,
)
@given(
    start=simple,
    doing=st.lists(forcing, max_size=8),
    edits=st.lists(foreign, max_size=4),
    split=st.booleans(),
)
def test_whatever_others_do_meanwhile_nothing_of_theirs_is_lost(
    base: Path, start: list[Verb], doing: list[tuple[Verb, bool]], edits: list[Verb], split: bool
) -> None:
    """The commit makes all of the unit visible or is stale; what others wrote is there or in the history."""
    world = World.made(SimDisk("weak"), str(base), tree(built(start)), Dir({"canary": File(b"canary")}))
    outside = world.tree("src")
    unit = world.unit()
    savepoint: Savepoint | None = None
    there: Dir | None = None
    try:
        for number, (verb, forced) in enumerate(doing):
            if split and number < len(edits):
                meddle(world, number, edits[number])
            if verb == ("flush",):
                unit.flush()
            elif verb == ("begin",):
                savepoint = unit.begin_nested()
            elif verb in (("release",), ("undo",)):
                if savepoint is not None and savepoint.is_active:
                    savepoint.commit() if verb == ("release",) else savepoint.rollback()
            else:
                with contextlib.suppress(UsageError):
                    act(unit, verb, **({"expected": ANY} if forced else {}))
        if not split:
            for number, edit in enumerate(edits):
                meddle(world, number, edit)
        there, contents = world.tree(), world.all_contents()
        unit.commit()
    except StaleEntry:
        assert there is None or world.tree() == there
        there = world.tree()
        unit.rollback()
        assert world.tree() == there
        assert world.control_names("conflicts") == []
    else:
        theirs = {content for content in contents if content.startswith(b"theirs")}
        assert theirs <= world.all_contents()
    assert world.tree("src") == outside
    assert world.control_names("pending") == world.control_names("retired") == []
    assert "unit" not in world.control_names()
    assert world.sim.open_descriptors == 0
