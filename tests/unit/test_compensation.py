"""Compensations: called when a unit is rolled back, newest first, each once, whatever the others raise."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable

import pytest

from atomsync.errors import AtomSyncError, CompensationFailed, NoSpace, StaleEntry, UnitStateError
from atomsync.testing import Dir, File, VerbFailed
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
BASE = Dir({"file": File(b"content")})


class Calls(list[str]):
    """What was called, in order."""

    def noting(self, name: str, error: BaseException | None = None) -> Callable[[], None]:
        def call() -> None:
            self.append(name)
            if error is not None:
                raise error

        return call


def test_they_are_called_newest_first_with_their_arguments(make: Make) -> None:
    called: list[tuple[object, ...]] = []
    unit = make(BASE).unit()
    unit.on_rollback(lambda *args, **kwargs: called.append((*args, kwargs)), 1, 2, key="value")
    unit.write("new", b"x")
    unit.on_rollback(lambda: called.append(()))
    unit.flush()
    unit.on_rollback(called.append, (3,))
    assert called == []
    unit.rollback()
    assert called == [(3,), (), (1, 2, {"key": "value"})]


def test_a_compensation_may_take_any_keyword(make: Make) -> None:
    called: list[object] = []
    unit = make(BASE).unit()
    unit.on_rollback(lambda self, call: called.append((self, call)), self=1, call=2)
    unit.rollback()
    assert called == [(1, 2)]


@pytest.mark.parametrize("ends", [[UnitOfWork.rollback, UnitOfWork.close], [UnitOfWork.close] * 3])
def test_each_is_called_exactly_once_however_often_the_unit_is_ended(
    make: Make, ends: list[Callable[[UnitOfWork], None]]
) -> None:
    calls = Calls()
    unit = make(BASE).unit()
    unit.on_rollback(calls.noting("one"))
    for end in ends:
        end(unit)
    assert calls == ["one"]


def test_one_that_failed_is_not_called_again(make: Make) -> None:
    calls = Calls()
    unit = make(BASE).unit()
    unit.on_rollback(calls.noting("one", OSError("no")))
    with pytest.raises(CompensationFailed):
        unit.rollback()
    assert unit.state == "rolled back"
    unit.rollback()
    unit.close()
    assert calls == ["one"]


def test_none_is_called_after_a_commit(make: Make) -> None:
    calls = Calls()
    world = make(BASE)
    with world.begin() as unit:
        unit.on_rollback(calls.noting("one"))
        with unit.begin_nested():
            unit.on_rollback(calls.noting("two"))
        unit.write("new", b"x")
    unit.rollback()
    unit.close()
    assert calls == []
    empty = world.unit()
    empty.on_rollback(calls.noting("of an empty unit"))
    empty.commit()
    empty.close()
    assert calls == []


def test_none_can_be_registered_with_a_unit_that_has_ended(make: Make) -> None:
    unit = make(BASE).unit()
    unit.rollback()
    with pytest.raises(UnitStateError):
        unit.on_rollback(print)


def test_errors_are_collected_and_keep_no_other_from_being_called(make: Make) -> None:
    calls = Calls()
    world = make(BASE)
    first, third = ValueError("first"), OSError(errno.EIO, "third")
    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(calls.noting("first", first))
    unit.on_rollback(calls.noting("second"))
    unit.on_rollback(calls.noting("third", third))
    with pytest.raises(CompensationFailed) as failure:
        unit.rollback()
    assert calls == ["third", "second", "first"]
    assert failure.value.errors == (third, first)
    assert failure.value.exit_status == 71
    assert "ValueError: first" in str(failure.value)
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    assert world.control_names("pending") == []


def test_the_unit_is_rolled_back_before_they_are_called(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"x")
    unit.flush()
    seen: list[object] = []
    unit.on_rollback(lambda: seen.extend([unit.state, unit.new, world.control_names("pending")]))
    unit.on_rollback(lambda: world.store().recover())  # nothing of the store is held any more
    unit.rollback()
    assert seen == ["rolled back", frozenset(), []]


def test_a_new_unit_can_be_begun_in_one(make: Make) -> None:
    world = make(BASE)

    def note_it() -> None:
        with world.begin() as other:
            other.write("log", b"rolled back")

    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(note_it)
    unit.rollback()
    assert world.content("log") == b"rolled back"


# -- the first cause


def test_what_fails_is_noted_on_the_exception_that_was_first(make: Make) -> None:
    calls = Calls()
    with pytest.raises(KeyError, match="cause") as failure, make(BASE).begin() as unit:  # noqa: PT012
        unit.on_rollback(calls.noting("called"))
        unit.on_rollback(calls.noting("failed", OSError("the server is gone")))
        raise KeyError("cause")
    assert calls == ["failed", "called"]
    (note,) = failure.value.__notes__
    assert "OSError: the server is gone" in note


def test_a_failed_commit_is_the_cause_whatever_compensations_raise(make: Make) -> None:
    world = make(BASE)
    calls = Calls()
    with pytest.raises(StaleEntry) as failure, world.begin() as unit:  # noqa: PT012
        unit.write("file", b"mine")
        unit.on_rollback(calls.noting("one", ValueError("bad")))
        world.save("file", b"theirs")
    assert calls == ["one"]
    assert "ValueError: bad" in "".join(failure.value.__notes__)


def test_an_exception_in_the_block_of_a_savepoint_carries_the_notes_of_both(make: Make) -> None:
    calls = Calls()
    with pytest.raises(KeyError) as failure, make(BASE).begin() as unit:  # noqa: PT012
        unit.on_rollback(calls.noting("outer", OSError("outer")))
        with unit.begin_nested():
            unit.on_rollback(calls.noting("inner", OSError("inner")))
            raise KeyError
    assert calls == ["inner", "outer"]
    inner, outer = failure.value.__notes__
    assert "OSError: inner" in inner
    assert "OSError: outer" in outer


# -- Ctrl-C


def test_a_keyboard_interrupt_in_one_goes_through_when_all_were_called(make: Make) -> None:
    calls = Calls()
    unit = make(BASE).unit()
    unit.on_rollback(calls.noting("one"))
    unit.on_rollback(calls.noting("two", KeyboardInterrupt()))
    unit.on_rollback(calls.noting("three", ValueError()))
    with pytest.raises(KeyboardInterrupt):
        unit.rollback()
    assert calls == ["three", "two", "one"]
    assert unit.state == "rolled back"


def test_a_keyboard_interrupt_in_one_of_a_savepoint_leaves_the_unit_usable(make: Make) -> None:
    world = make(BASE)
    calls = Calls()
    unit = world.unit()
    unit.on_rollback(calls.noting("outer"))
    unit.write("kept", b"x")
    savepoint = unit.begin_nested()
    unit.write("gone", b"x")
    unit.on_rollback(calls.noting("one"))
    unit.on_rollback(calls.noting("two", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        savepoint.rollback()
    assert calls == ["two", "one"]
    assert unit.state == "pending"
    unit.commit()
    assert world.tree() == Dir({**BASE.names, "kept": File(b"x")})
    assert calls == ["two", "one"]


def test_a_keyboard_interrupt_in_the_block_rolls_back_and_compensates(make: Make) -> None:
    world = make(BASE)
    calls = Calls()
    with pytest.raises(KeyboardInterrupt), world.begin() as unit:  # noqa: PT012
        unit.write("new", b"x")
        unit.on_rollback(calls.noting("one"))
        raise KeyboardInterrupt
    assert calls == ["one"]
    assert world.tree() == BASE
    assert world.control_names("pending") == []


# -- scope


def test_those_of_a_released_savepoint_go_with_what_it_is_in(make: Make) -> None:
    calls = Calls()
    unit = make(BASE).unit()
    unit.on_rollback(calls.noting("unit"))
    outer = unit.begin_nested()
    unit.on_rollback(calls.noting("outer"))
    with unit.begin_nested():
        unit.on_rollback(calls.noting("inner"))
    outer.rollback()
    assert calls == ["inner", "outer"]
    unit.rollback()
    assert calls == ["inner", "outer", "unit"]


def test_the_rollback_of_the_unit_calls_those_of_open_savepoints_too(make: Make) -> None:
    calls = Calls()
    unit = make(BASE).unit()
    for name in ("unit", "outer", "inner"):
        unit.on_rollback(calls.noting(name))
        unit.begin_nested()
    unit.rollback()
    assert calls == ["inner", "outer", "unit"]


def test_a_failed_flush_calls_none_before_the_rollback(simulate: Make) -> None:
    world = simulate(BASE)
    calls = Calls()
    unit = world.unit()
    unit.mkdir("made")
    unit.on_rollback(calls.noting("one"))

    def full(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "mkdir":
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = full
    with pytest.raises(NoSpace):
        unit.flush()
    world.sim.hook = None
    assert calls == []
    unit.rollback()
    assert calls == ["one"]


def test_those_of_a_savepoint_are_called_though_the_disk_fails_its_rollback(simulate: Make) -> None:
    world = simulate(BASE)
    calls = Calls()
    unit = world.unit()
    unit.write("file", b"outer")
    unit.flush()
    savepoint = unit.begin_nested()
    unit.on_rollback(calls.noting("one"))
    unit.write("file", b"inner")
    unit.write("new", b"inner")

    def broken(index: int, verb: str, names: tuple[str, ...]) -> None:
        raise VerbFailed(errno.EIO)

    world.sim.hook = broken
    with pytest.raises(AtomSyncError):
        savepoint.rollback()
    world.sim.hook = None
    assert calls == ["one"]
    assert not savepoint.is_active
    unit.rollback()
    assert calls == ["one"]
    assert world.tree() == BASE


# -- prepared


def test_a_prepared_unit_that_rests_calls_none_until_it_is_decided(make: Make) -> None:
    world = make(BASE)
    calls = Calls()
    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(calls.noting("one"))
    unit.prepare()
    assert calls == []
    unit.rollback()
    assert calls == ["one"]
    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(calls.noting("two"))
    unit.prepare()
    unit.commit()
    unit.close()
    assert calls == ["one"]


def test_a_unit_prepared_and_rolled_back_by_another_compensates_when_it_is_closed(make: Make) -> None:
    world = make(BASE)
    calls = Calls()
    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(calls.noting("one"))
    resting = unit.prepare()
    world.store().rollback_prepared(resting.id)
    unit.close()
    assert calls == ["one"]
    unit.close()
    assert calls == ["one"]


# -- in doubt


def test_none_is_called_while_the_commit_is_in_doubt(simulate: Make) -> None:
    """Perhaps recovery finds it committed: then the work outside must stay."""
    world = simulate(BASE)
    calls = Calls()
    unit = world.unit()
    unit.write("new", b"x")
    unit.on_rollback(calls.noting("one"))

    def late(index: int, verb: str, names: tuple[str, ...]) -> None:
        if "new" in names:  # the swap has been: from here on the disk is dead
            world.sim.hook = dead

    def dead(index: int, verb: str, names: tuple[str, ...]) -> None:
        raise VerbFailed(errno.EIO)

    world.sim.hook = late
    with pytest.raises(AtomSyncError) as failure:
        unit.commit()
    world.sim.hook = None
    assert failure.value.code == "in-doubt"
    unit.rollback()
    assert calls == []


def test_a_unit_that_one_of_a_savepoint_ends_does_not_come_back_to_life(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("kept", b"x")
    savepoint = unit.begin_nested()
    unit.on_rollback(unit.rollback)
    with contextlib.suppress(CompensationFailed):  # it may be refused
        savepoint.rollback()
    if unit.state == "pending":
        unit.commit()
        assert world.content("kept") == b"x"
    else:
        assert unit.state == "rolled back"
        assert world.tree() == BASE
