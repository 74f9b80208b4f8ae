"""Savepoints: what was done inside one is undone by itself, or handed over; nothing of it stays behind."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atomsync.errors import (
    AtomSyncError,
    CompensationFailed,
    NoSpace,
    PendingRollback,
    StaleEntry,
    StoreLocked,
    UnitStateError,
    UsageError,
)
from atomsync.store.history import read_journal
from atomsync.testing import Dir, File, Link, VerbFailed
from atomsync.testing.faults import Hook, fail_at
from atomsync.unit.expected import ANY
from atomsync.unit.savepoint import Savepoint
from atomsync.unit.work import UnitOfWork
from tests.store.world import World, opened

Make = Callable[..., World]
Do = Callable[[UnitOfWork], object]
T = 1_600_000_000_000_000_000

BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 3), "deep": Dir({"leaf": File(b"leaf")}, 0o750)}),
        "empty": Dir({}),
        "link": Link("file", T + 4),
    }
)


def names(world: World) -> dict[str, Any]:
    return dict(world.tree().names)


def books(unit: UnitOfWork) -> tuple[frozenset[str], ...]:
    return unit.new, unit.dirty, unit.removed


def only_what_was_displaced_is_kept(world: World, unit_id: str) -> None:
    with opened(world) as control:
        steps = read_journal(control, "history", unit_id).steps
    displaced = {step.slot for step in steps if step.kind in ("replace", "remove")}
    assert set(world.control_names("history", unit_id, "slots")) == displaced
    assert world.control_names("pending") == world.control_names("retired") == []


def prepared(unit: UnitOfWork) -> None:
    """What is pending outside of every savepoint of these tests: of every kind something."""
    unit.write("new", b"outer")
    unit.write("file", b"outer")
    unit.mkdir("made", mode=0o700)
    unit.write("made/f", b"outer")
    unit.symlink("made/l", "f")
    unit.move("dir", "moved")
    unit.chmod("empty", 0o711)
    unit.utime("link", T + 50)


OUTER = Dir(
    {
        "new": File(b"outer"),
        "file": File(b"outer", 0o640),
        "other": BASE.names["other"],
        "made": Dir({"f": File(b"outer"), "l": Link("f")}, 0o700),
        "moved": BASE.names["dir"],
        "empty": Dir({}, 0o711),
        "link": Link("file", T + 50),
    }
)

# One thing that can be done inside, by its name; each to something that is pending outside, or not.
INSIDE: dict[str, Do] = {
    "write what is new outside": lambda unit: unit.write("new", b"inner"),
    "write what is dirty outside": lambda unit: unit.write("file", b"inner"),
    "write what is not pending": lambda unit: unit.write("other", b"inner"),
    "write something new": lambda unit: unit.write("fresh", b"inner"),
    "write into a new directory": lambda unit: unit.write("made/more", b"inner"),
    "write into a moved directory": lambda unit: unit.write("moved/inner", b"inner"),
    "write where a directory is": lambda unit: unit.write("made", b"inner"),
    "write where a directory was": lambda unit: unit.write("dir", b"inner"),
    "write whatever is there": lambda unit: unit.write("file", b"inner", expected=ANY),
    "stream": lambda unit: stream(unit, "made/f"),
    "put": lambda unit: unit.put("new", f"{unit.store.path}/other"),
    "mkdir": lambda unit: unit.mkdir("made/sub/sub", parents=True),
    "mkdir where one was": lambda unit: unit.mkdir("dir/again", parents=True),
    "symlink": lambda unit: unit.symlink("file", "new"),
    "symlink where a directory is": lambda unit: unit.symlink("moved", "new"),
    "remove what is new": lambda unit: unit.remove("new"),
    "remove what is dirty": lambda unit: unit.remove("file"),
    "remove a new directory": lambda unit: unit.remove("made"),
    "remove a moved directory": lambda unit: unit.remove("moved"),
    "remove a file of a moved directory": lambda unit: unit.remove("moved/deep/leaf"),
    "remove what is not pending": lambda unit: unit.remove("other"),
    "move what is new": lambda unit: unit.move("new", "away"),
    "move what is dirty": lambda unit: unit.move("file", "made/away"),
    "move what is not pending over what is": lambda unit: unit.move("other", "new"),
    "move a new directory": lambda unit: unit.move("made", "away"),
    "move a moved directory back": lambda unit: unit.move("moved", "dir"),
    "move a moved directory into a new one": lambda unit: unit.move("moved", "made/moved"),
    "chmod what is new": lambda unit: unit.chmod("new", 0o400),
    "chmod what is dirty": lambda unit: unit.chmod("file", 0o400),
    "chmod a file that was moved": lambda unit: unit.chmod("moved/inner", 0o400),
    "chmod a new directory": lambda unit: unit.chmod("made", 0o500),
    "chmod a directory": lambda unit: unit.chmod("empty", 0o700),
    "chmod what is not pending": lambda unit: unit.chmod("other", 0o400),
    "utime of a link": lambda unit: unit.utime("link", T + 99),
    "utime of a new link": lambda unit: unit.utime("made/l", T + 99),
    "utime of what is new": lambda unit: unit.utime("new", T + 99),
    "utime of a file that was moved": lambda unit: unit.utime("moved/deep/leaf", T + 99),
    "forget all": lambda unit: unit.expunge_all(),
}


def stream(unit: UnitOfWork, path: str) -> None:
    with unit.open(path) as file:
        file.write(b"inner")


def all_of_it(unit: UnitOfWork) -> None:
    """Nearly all of the above at once."""
    unit.write("new", b"inner")
    unit.move("made", "away")
    unit.write("away/f", b"inner")
    unit.remove("moved/deep")
    unit.chmod("moved/inner", 0o400)
    unit.move("file", "made")
    unit.symlink("file", "away")
    unit.write("fresh", b"inner")
    unit.utime("link", T + 99)
    unit.remove("other")


# -- rollback


@pytest.mark.parametrize("inner_flush", [False, True], ids=["not flushed", "flushed inside"])
@pytest.mark.parametrize("outer_flush", [False, True], ids=["pending outside", "flushed outside"])
@pytest.mark.parametrize("inside", [*INSIDE.values(), all_of_it], ids=[*INSIDE, "all of it"])
def test_a_rolled_back_savepoint_leaves_what_was_pending_before_it(
    simulate: Make, inside: Do, outer_flush: bool, inner_flush: bool
) -> None:
    world = simulate(BASE)
    unit = world.unit()
    prepared(unit)
    if outer_flush:
        evidence = unit.flush()
    before = books(unit)
    savepoint = unit.begin_nested()
    inside(unit)
    if inner_flush:
        unit.flush()
    savepoint.rollback()
    assert not savepoint.is_active
    assert books(unit) == before
    assert unit.read("new") == unit.read("file") == unit.read("made/f") == b"outer"
    if outer_flush:
        assert sorted(unit.flush()) == sorted(evidence)
    assert world.tree() == BASE
    receipt = unit.commit()
    assert world.tree() == OUTER
    only_what_was_displaced_is_kept(world, receipt.unit_id)
    assert world.sim.open_descriptors == 0


@pytest.mark.parametrize("inside", [*INSIDE.values(), all_of_it], ids=[*INSIDE, "all of it"])
def test_a_savepoint_in_a_unit_without_anything_else_takes_back_all_of_it(make: Make, inside: Do) -> None:
    world = make(OUTER)  # the same paths, on the disk: every verb finds what it needs
    unit = world.unit()
    savepoint = unit.begin_nested()
    inside(unit)
    unit.flush()
    savepoint.rollback()
    assert books(unit) == (set(), set(), set())
    assert unit.commit().unit_id == ""
    assert world.tree() == OUTER
    assert world.control_names("history") == world.control_names("pending") == []


def test_a_rolled_back_savepoint_leaves_nothing_of_itself_in_the_stage(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("kept", b"outer")
    before = world.control_names("pending", "0", "slots")
    with pytest.raises(KeyError), unit.begin_nested():  # noqa: PT012
        unit.write("a", b"inner")
        unit.write("kept", b"inner")
        unit.mkdir("d")
        unit.write("d/f", b"inner")
        raise KeyError
    assert world.control_names("pending", "0", "slots") == before
    unit.rollback()


# -- commit


@pytest.mark.parametrize("flushed", [(), ("outer",), ("inner",), ("outer", "inner"), ("inner", "after")])
def test_a_committed_savepoint_hands_its_books_to_what_it_is_in(make: Make, flushed: tuple[str, ...]) -> None:
    world = make(BASE)
    unit = world.unit()
    prepared(unit)
    if "outer" in flushed:
        unit.flush()
    with unit.begin_nested() as savepoint:
        all_of_it(unit)
        if "inner" in flushed:
            unit.flush()
    assert not savepoint.is_active
    if "after" in flushed:
        unit.flush()
    receipt = unit.commit()
    assert world.tree() == Dir(
        {
            "new": File(b"inner"),
            "away": Dir({"f": File(b"inner"), "l": Link("f")}, 0o700),
            "moved": Dir({"inner": File(b"inner", 0o400, T + 3)}),
            "made": File(b"outer", 0o640),
            "file": Link("away"),
            "fresh": File(b"inner"),
            "link": Link("file", T + 99),
            "empty": Dir({}, 0o711),
        }
    )
    only_what_was_displaced_is_kept(world, receipt.unit_id)


def test_what_an_inner_savepoint_handed_over_goes_with_the_outer_one(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("file", b"0")
    with pytest.raises(KeyError), unit.begin_nested():  # noqa: PT012
        unit.write("file", b"1")
        with unit.begin_nested():
            unit.write("file", b"2")
            unit.write("deepest", b"2")
            unit.flush()
        assert unit.read("file") == b"2"
        raise KeyError
    assert unit.read("file") == b"0"
    assert unit.new == set()
    unit.commit()
    assert world.tree() == Dir({**BASE.names, "file": File(b"0", 0o640)})


@pytest.mark.parametrize("undone", range(8))
def test_of_many_nested_savepoints_each_is_undone_to_its_own_beginning(make: Make, undone: int) -> None:
    world = make(BASE)
    unit = world.unit()
    savepoints = []
    for depth in range(8):
        savepoints.append(unit.begin_nested())
        unit.write("file", b"%d" % depth)
        unit.write(f"at-{depth}", b"x")
        if depth % 2:
            unit.flush()
    savepoints[undone].rollback()
    assert [savepoint.is_active for savepoint in savepoints] == [depth < undone for depth in range(8)]
    assert unit.new == {f"at-{depth}" for depth in range(undone)}
    assert unit.read("file") == (b"%d" % (undone - 1) if undone else b"content")
    for savepoint in reversed(savepoints[:undone]):
        savepoint.commit()
    unit.commit()
    assert {name for name in names(world) if name.startswith("at-")} == {f"at-{n}" for n in range(undone)}


def test_an_outer_savepoint_that_is_committed_takes_those_inside_along(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    outer = unit.begin_nested()
    unit.write("a", b"1")
    inner = unit.begin_nested()
    unit.write("b", b"2")
    outer.commit()
    assert not inner.is_active
    with pytest.raises(UnitStateError, match="has ended"):
        inner.rollback()
    unit.commit()
    assert {"a", "b"} <= names(world).keys()


# -- the unit ends while savepoints are open


@pytest.mark.parametrize("flushed", [False, True])
def test_the_commit_of_the_unit_takes_open_savepoints_along(make: Make, flushed: bool) -> None:
    world = make(BASE)
    unit = world.unit()
    prepared(unit)
    unit.begin_nested()
    unit.write("new", b"one")
    savepoint = unit.begin_nested()
    unit.write("made/more", b"two")
    if flushed:
        unit.flush()
    unit.commit()
    assert not savepoint.is_active
    assert names(world)["new"] == File(b"one")
    assert names(world)["made"].names["more"] == File(b"two")
    with pytest.raises(UnitStateError):
        savepoint.rollback()
    with pytest.raises(UnitStateError, match="committed"):
        unit.begin_nested()


@pytest.mark.parametrize("flushed", [False, True])
def test_the_commit_of_the_unit_keeps_nothing_of_what_an_open_savepoint_replaced(
    make: Make, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"never seen")
    unit.begin_nested()
    unit.write("new", b"last")
    if flushed:
        unit.flush()
    only_what_was_displaced_is_kept(world, unit.commit().unit_id)
    assert b"never seen" not in world.all_contents()


@pytest.mark.parametrize("end", [UnitOfWork.rollback, UnitOfWork.close])
def test_the_rollback_of_the_unit_ends_open_savepoints(make: Make, end: Callable[[UnitOfWork], None]) -> None:
    world = make(BASE)
    unit = world.unit()
    prepared(unit)
    savepoint = unit.begin_nested()
    all_of_it(unit)
    unit.flush()
    end(unit)
    assert not savepoint.is_active
    assert books(unit) == (set(), set(), set())
    assert world.tree() == BASE
    assert world.control_names("pending") == []
    for verb in (savepoint.commit, savepoint.rollback, savepoint.__enter__):
        with pytest.raises(UnitStateError, match="has ended"):
            verb()


def test_a_block_whose_unit_was_ended_inside_ends_quietly(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit, unit.begin_nested():
        unit.write("new", b"x")
        unit.commit()
    assert "new" in names(world)
    with world.begin() as unit, unit.begin_nested():
        unit.write("bad", b"x")
        unit.rollback()
    assert "bad" not in names(world)


def test_a_savepoint_ended_within_its_block_is_not_ended_twice(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("a", b"outer")
        with unit.begin_nested() as savepoint:
            unit.write("b", b"inner")
            savepoint.rollback()
            unit.write("c", b"outer again")
        with unit.begin_nested() as savepoint:
            unit.write("d", b"inner")
            savepoint.commit()
            unit.write("e", b"outer again")
    assert names(world).keys() - BASE.names.keys() == {"a", "c", "d", "e"}


# -- misuse


def test_a_savepoint_that_has_ended_can_do_nothing_more(make: Make) -> None:
    unit = make(BASE).unit()
    for end in (Savepoint.commit, Savepoint.rollback):
        savepoint = unit.begin_nested()
        end(savepoint)
        for verb in (savepoint.commit, savepoint.rollback, savepoint.__enter__):
            with pytest.raises(UnitStateError, match="has ended"):
                verb()
    unit.rollback()


def test_a_savepoint_of_a_failed_unit_cannot_be_begun(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.mkdir("made")
    world.sim.hook = full
    with pytest.raises(NoSpace):
        unit.flush()
    world.sim.hook = None
    with pytest.raises(PendingRollback):
        unit.begin_nested()
    unit.rollback()


def test_a_refused_verb_inside_does_not_fail_the_savepoint(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit, unit.begin_nested():
        unit.write("a", b"x")
        with pytest.raises(UsageError):
            unit.remove("none")
        unit.write("b", b"x")
    assert {"a", "b"} <= names(world).keys()


# -- a failed flush inside


def full(index: int, verb: str, names: tuple[str, ...]) -> None:
    if verb == "mkdir":
        raise VerbFailed(errno.ENOSPC)


def test_a_failed_flush_inside_needs_only_the_rollback_of_the_savepoint(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    prepared(unit)
    unit.flush()
    savepoint = unit.begin_nested()
    unit.mkdir("d")
    world.sim.hook = full
    with pytest.raises(NoSpace):
        unit.flush()
    world.sim.hook = None
    refused: list[Callable[[], object]] = [
        unit.flush,
        unit.commit,
        unit.begin_nested,
        savepoint.commit,
        lambda: unit.write("x", b"x"),
        lambda: unit.read("file"),
    ]
    for verb in refused:
        with pytest.raises(PendingRollback, match="savepoint"):
            verb()
    assert unit.state == "failed"
    savepoint.rollback()
    assert unit.state == "pending"
    unit.write("after", b"x")
    unit.commit()
    assert world.tree() == Dir({**OUTER.names, "after": File(b"x")})


def test_a_failed_flush_that_is_swallowed_inside_is_told_at_the_end_of_the_block(simulate: Make) -> None:
    world = simulate(BASE)
    with world.begin() as unit:
        unit.write("outer", b"x")
        with pytest.raises(PendingRollback), unit.begin_nested():  # noqa: PT012
            unit.mkdir("d")
            world.sim.hook = full
            with pytest.raises(NoSpace):
                unit.flush()
            world.sim.hook = None
        assert unit.state == "pending"  # and the savepoint is rolled back
        unit.write("after", b"x")
    assert names(world) == {**BASE.names, "outer": File(b"x"), "after": File(b"x")}


def test_a_failure_inside_two_savepoints_needs_the_rollback_of_the_inner_one_only(simulate: Make) -> None:
    world = simulate(BASE)
    with world.begin() as unit:
        unit.write("file", b"0")
        with unit.begin_nested():
            unit.write("file", b"1")
            unit.mkdir("one")
            unit.flush()
            with pytest.raises(NoSpace), unit.begin_nested():  # noqa: PT012
                unit.write("file", b"2")
                unit.move("one", "two")
                unit.mkdir("two/three")
                world.sim.hook = full
                try:
                    unit.flush()
                finally:
                    world.sim.hook = None
            assert unit.read("file") == b"1"
    assert names(world)["file"] == File(b"1", 0o640)
    assert names(world)["one"] == Dir({})
    assert "two" not in names(world)


def test_the_rollback_of_an_outer_savepoint_cures_a_failure_in_an_inner_one(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.write("kept", b"x")
    outer = unit.begin_nested()
    unit.write("a", b"x")
    unit.begin_nested()
    unit.mkdir("d")
    world.sim.hook = full
    with pytest.raises(NoSpace):
        unit.flush()
    world.sim.hook = None
    outer.rollback()
    unit.commit()
    assert names(world) == {**BASE.names, "kept": File(b"x")}


def _verbs_of_the_flush(world: World, outer_flush: bool) -> Iterator[int]:
    """How many verbs an inner flush takes, counted on a run in which all goes well."""
    unit = world.unit()
    prepared(unit)
    if outer_flush:
        unit.flush()
    with unit.begin_nested():
        all_of_it(unit)
        begun = len(world.sim.log)
        unit.flush()
        ended = len(world.sim.log)
    unit.rollback()
    yield from range(ended - begun)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("outer_flush", [False, True], ids=["pending outside", "flushed outside"])
def test_wherever_an_inner_flush_fails_the_outer_unit_goes_on_as_if_it_had_not_been(
    simulate: Make, outer_flush: bool, sticky: bool, number: int
) -> None:
    count = 0
    for nth in _verbs_of_the_flush(simulate(BASE), outer_flush):
        world = simulate(BASE)
        unit = world.unit()
        prepared(unit)
        if outer_flush:
            unit.flush()
        before = books(unit)
        with pytest.raises(AtomSyncError), unit.begin_nested():  # noqa: PT012
            all_of_it(unit)
            world.sim.hook = fail_at(len(world.sim.log) + nth, number, sticky)
            try:
                unit.flush()
            finally:
                world.sim.hook = None
        assert books(unit) == before
        assert world.tree() == BASE
        receipt = unit.commit()
        assert world.tree() == OUTER
        only_what_was_displaced_is_kept(world, receipt.unit_id)
        assert world.sim.open_descriptors == 0
        count += 1
    assert count > 10  # there was something to fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_wherever_a_verb_fails_inside_the_outer_unit_goes_on(simulate: Make, number: int) -> None:
    """As above, for the verbs themselves: those that write to the stage before any flush."""
    nth, finished = 0, False
    while not finished:
        world = simulate(BASE)
        unit = world.unit()
        prepared(unit)
        unit.flush()
        before = books(unit)
        hook: Hook = fail_at(len(world.sim.log) + nth, number)
        try:
            with unit.begin_nested() as savepoint:
                world.sim.hook = hook
                try:
                    all_of_it(unit)
                finally:
                    world.sim.hook = None
                finished = True
                savepoint.rollback()
        except AtomSyncError:
            pass
        assert books(unit) == before
        receipt = unit.commit()
        assert world.tree() == OUTER
        only_what_was_displaced_is_kept(world, receipt.unit_id)
        assert world.sim.open_descriptors == 0
        nth += 1
    assert nth > 3


def test_a_full_disk_does_not_keep_a_savepoint_from_being_rolled_back_twice(simulate: Make) -> None:
    """A rollback that fails itself is told, and the unit can still be rolled back."""
    world = simulate(BASE)
    unit = world.unit()
    prepared(unit)
    unit.flush()
    savepoint = unit.begin_nested()
    all_of_it(unit)
    world.sim.hook = fail_at(len(world.sim.log), errno.EIO, sticky=True)
    with pytest.raises(AtomSyncError):
        unit.flush()
    with pytest.raises(AtomSyncError):
        savepoint.rollback()
    world.sim.hook = None
    unit.rollback()
    assert world.tree() == BASE
    assert world.control_names("pending") == []
    assert world.sim.open_descriptors == 0


# -- with the rest


def test_what_was_read_inside_stays_read_after_the_rollback(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with pytest.raises(KeyError), unit.begin_nested():  # noqa: PT012
        text = unit.read("file")
        unit.write("file", b"inner")
        raise KeyError
    world.save("file", b"theirs")
    unit.write("file", text + b"!")  # built on what was read inside
    with pytest.raises(StaleEntry):
        unit.commit()
    unit.rollback()
    assert world.content("file") == b"theirs"


def test_the_permission_to_overwrite_whatever_is_there_goes_with_its_savepoint(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("file", b"mine")
    savepoint = unit.begin_nested()
    unit.write("file", b"inner", expected=ANY)
    savepoint.rollback()
    world.save("file", b"theirs")
    with pytest.raises(StaleEntry):
        unit.commit()
    unit.rollback()
    assert world.content("file") == b"theirs"


def test_the_permission_given_inside_is_handed_over(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("file", b"mine")
        with unit.begin_nested():
            unit.write("file", b"inner", expected=ANY)
        world.save("file", b"theirs")
    assert world.content("file") == b"inner"
    assert b"theirs" in world.all_contents()


def test_compensations_of_a_savepoint_are_called_with_it_and_the_others_are_not(make: Make) -> None:
    called: list[str] = []
    unit = make(BASE).unit()
    unit.on_rollback(called.append, "outer")
    with unit.begin_nested():
        unit.on_rollback(called.append, "handed over")
    savepoint = unit.begin_nested()
    unit.on_rollback(called.append, "one")
    unit.on_rollback(called.append, "two")
    savepoint.rollback()
    assert called == ["two", "one"]
    unit.rollback()
    assert called == ["two", "one", "handed over", "outer"]


def test_a_failing_compensation_does_not_keep_the_savepoint_from_being_undone(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("file", b"outer")
    savepoint = unit.begin_nested()
    unit.write("file", b"inner")
    unit.on_rollback(lambda: 1 / 0)
    with pytest.raises(CompensationFailed, match="ZeroDivisionError"):
        savepoint.rollback()
    assert unit.state == "pending"
    unit.commit()
    assert world.content("file") == b"outer"


def test_a_file_left_open_over_the_rollback_of_a_savepoint_can_still_be_finished(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with unit.open("streamed") as file:
        file.write(b"one ")
        with pytest.raises(KeyError), unit.begin_nested():  # noqa: PT012
            unit.write("inner", b"x")
            unit.flush()
            file.write(b"two ")
            raise KeyError
        file.write(b"three")
    unit.commit()
    assert names(world) == {**BASE.names, "streamed": File(b"one two three")}


def test_a_file_closed_inside_belongs_to_the_savepoint(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    file = unit.open("streamed")
    savepoint = unit.begin_nested()
    file.write(b"x")
    file.close()
    assert unit.new == {"streamed"}
    savepoint.rollback()
    assert unit.new == set()
    assert world.control_names("pending", "0", "slots") == []
    unit.rollback()


def test_a_commit_that_did_not_get_the_store_leaves_open_savepoints_open(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("kept", b"x")
    savepoint = unit.begin_nested()
    unit.write("inner", b"x")
    with opened(world), pytest.raises(StoreLocked):
        unit.commit()
    assert unit.state == "pending"
    savepoint.rollback()
    unit.commit()
    assert names(world) == {**BASE.names, "kept": File(b"x")}


def test_contents_forgotten_inside_come_back_with_the_permission_they_had(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"mine", expected=ANY)
    savepoint = unit.begin_nested()
    unit.expunge_all()
    savepoint.rollback()
    world.create("new", b"theirs")
    unit.commit()
    assert world.content("new") == b"mine"
    assert b"theirs" in world.all_contents()
