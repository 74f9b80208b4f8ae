"""Listeners: who is told of a unit's life, when, in which order, and what it means if one raises."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from atomsync.errors import (
    AtomSyncError,
    CompensationFailed,
    PendingRollback,
    StaleEntry,
    UnitStateError,
    UsageError,
)
from atomsync.testing import Dir, File, VerbFailed
from atomsync.testing.faults import Killed
from atomsync.unit.events import EVENTS
from atomsync.unit.expected import digest
from atomsync.unit.maker import UnitMaker
from atomsync.unit.store import Store
from atomsync.unit.work import StagedFile, UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
BASE = Dir({"file": File(b"content")})
UNIT_EVENTS = [event for event in EVENTS if event != "after_recover"]


def noting(into: list[str], *kept: tuple[str, Any]) -> None:
    """Note every event of a unit, by the name of whom it was told to."""
    for name, listeners in kept:
        for event in UNIT_EVENTS:

            def listener(*about: object, said: str = f"{name} {event}") -> None:
                into.append(said)

            listeners.listens_for(event)(listener)


def begun(world: World) -> tuple[Store, UnitMaker, list[str]]:
    told: list[str] = []
    store = world.store()
    maker = UnitMaker(store)
    noting(told, ("store", store), ("maker", maker))
    return store, maker, told


# -- order


def test_the_store_hears_before_the_maker_and_each_in_the_order_of_events(make: Make) -> None:
    _, maker, told = begun(make(BASE))
    with maker.begin() as unit:
        unit.write("new", b"x")
        assert told == []
    assert told == [
        f"{who} {event}"
        for event in ("before_commit", "before_flush", "after_flush", "after_seal", "after_commit")
        for who in ("store", "maker")
    ]


def test_listeners_of_one_event_are_called_in_the_order_they_came(make: Make) -> None:
    store = make(BASE).store()
    told: list[int] = []
    for number in range(5):
        store.listens_for("after_commit")(lambda unit, receipt, number=number: told.append(number))
    with store.begin() as unit:
        unit.write("new", b"x")
    assert told == [0, 1, 2, 3, 4]


def test_a_maker_hears_of_its_own_units_only(make: Make) -> None:
    world = make(BASE)
    store, maker, told = begun(world)
    with store.begin() as unit:
        unit.write("a", b"x")
    assert told
    assert not any(said.startswith("maker") for said in told)
    with UnitMaker(store).begin() as unit:
        unit.write("b", b"x")
    assert not any(said.startswith("maker") for said in told)
    with maker.begin() as unit:
        unit.write("c", b"x")
    assert "maker after_commit" in told


def test_another_store_on_the_same_directory_hears_nothing(make: Make) -> None:
    world = make(BASE)
    _, _, told = begun(world)
    with world.begin() as unit:
        unit.write("new", b"x")
    assert told == []


def test_a_listener_added_while_a_unit_is_pending_is_told_too(make: Make) -> None:
    store = make(BASE).store()
    told: list[object] = []
    with store.begin() as unit:
        unit.write("new", b"x")
        store.listens_for("after_commit")(lambda unit, receipt: told.append(receipt))
    assert len(told) == 1


def test_the_decorator_gives_the_function_back_and_knows_its_events(make: Make) -> None:
    store = make(BASE).store()

    def listener(unit: UnitOfWork) -> None: ...

    assert store.listens_for("before_flush")(listener) is listener
    for event in ("", "before_rollback", "after_flush ", "BEFORE_FLUSH"):
        with pytest.raises(UsageError, match="cannot listen"):
            store.listens_for(event)


# -- what they are told


def test_after_flush_is_told_the_evidence_and_after_commit_the_receipt(make: Make) -> None:
    store = make(BASE).store()
    told: list[Any] = []
    store.listens_for("after_flush")(lambda unit, staged: told.append((unit, staged)))
    store.listens_for("after_commit")(lambda unit, receipt: told.append((unit, receipt)))
    unit = UnitOfWork(store)
    unit.write("new", b"x")
    receipt = unit.commit()
    assert told == [(unit, (StagedFile("new", digest(b"x"), 1),)), (unit, receipt)]


def test_the_state_is_what_the_event_says(make: Make) -> None:
    world = make(BASE)
    store = world.store()
    states: dict[str, tuple[str, bool]] = {}
    for event in UNIT_EVENTS:
        store.listens_for(event)(
            lambda unit, *about, event=event: states.update({event: (unit.state, "new" in seen(world))})
        )
    with store.begin() as unit:
        unit.write("new", b"x")
    UnitOfWork(store).rollback()
    assert states == {
        "before_commit": ("pending", False),
        "before_flush": ("pending", False),
        "after_flush": ("pending", False),
        "after_seal": ("pending", False),
        "after_commit": ("committed", True),
        "after_rollback": ("rolled back", True),
    }


def seen(world: World) -> set[str]:
    return set(world.tree().names)


def test_a_flush_or_commit_of_nothing_is_told_to_nobody_who_listens_for_flushes(make: Make) -> None:
    store, _, told = begun(make(BASE))
    unit = UnitOfWork(store)
    unit.flush()
    assert told == []
    unit.commit()
    assert told == ["store before_commit", "store after_commit"]


def test_what_was_flushed_already_is_not_flushed_again(make: Make) -> None:
    store, _, told = begun(make(BASE))
    unit = UnitOfWork(store)
    unit.write("new", b"x")
    unit.flush()
    unit.commit()
    assert told == [
        "store before_flush",
        "store after_flush",
        "store before_commit",
        "store after_seal",
        "store after_commit",
    ]


def test_the_rollback_of_a_savepoint_is_not_that_of_the_unit(make: Make) -> None:
    store, _, told = begun(make(BASE))
    unit = UnitOfWork(store)
    unit.begin_nested().rollback()
    assert told == []
    unit.rollback()
    unit.rollback()
    unit.close()
    assert told == ["store after_rollback"]


def test_a_prepare_is_told_as_a_commit_is_before_it_and_the_commit_after_it(make: Make) -> None:
    store, _, told = begun(make(BASE))
    unit = UnitOfWork(store)
    unit.write("new", b"x")
    unit.prepare()
    assert told == [
        "store before_commit",
        "store before_flush",
        "store after_flush",
        "store after_seal",
    ]
    told.clear()
    unit.commit()
    assert told == ["store after_commit"]


# -- they may change the unit


def test_before_commit_may_add_to_the_unit(make: Make) -> None:
    world = make(BASE)
    store = world.store()
    store.listens_for("before_commit")(lambda unit: unit.write("index", ",".join(sorted(unit.new))))
    for flush in (False, True):
        unit = UnitOfWork(store)
        unit.write(f"new-{flush}", b"x")
        if flush:
            unit.flush()
        unit.commit()
        assert world.content("index") == f"new-{flush}".encode()


def test_before_flush_may_add_to_the_unit(make: Make) -> None:
    world = make(BASE)
    store = world.store()
    store.listens_for("before_flush")(lambda unit: unit.write("stamp", b"x"))
    with store.begin() as unit:
        unit.write("new", b"x")
        assert {staged.path for staged in unit.flush()} == {"new", "stamp"}
    assert {"new", "stamp"} <= seen(world)


@pytest.mark.parametrize("flush", [False, True])
def test_what_after_flush_adds_is_committed_too(make: Make, flush: bool) -> None:
    world = make(BASE)
    store = world.store()

    @store.listens_for("after_flush")
    def add_sums(unit: UnitOfWork, staged: tuple[StagedFile, ...]) -> None:
        if not unit.exists("sums"):
            unit.write("sums", "".join(f"{found.digest}  {found.path}\n" for found in staged))

    with store.begin() as unit:
        unit.write("new", b"x")
        if flush:
            unit.flush()
    assert world.content("sums") == f"{digest(b'x')}  new\n".encode()


def test_a_listener_that_never_stops_adding_is_told_so_and_nothing_is_committed(make: Make) -> None:
    world = make(BASE)
    store = world.store()
    count = iter(range(10_000))
    store.listens_for("after_flush")(lambda unit, staged: unit.write("count", str(next(count))))
    with pytest.raises(AtomSyncError), store.begin() as unit:
        unit.write("new", b"x")
    assert world.tree() == BASE
    assert next(count) < 2000


# -- veto


@pytest.mark.parametrize("event", ["before_commit", "before_flush", "after_flush"])
@pytest.mark.parametrize("on", ["store", "maker"])
def test_what_one_raises_before_the_commit_stops_it_and_rolls_back(make: Make, on: str, event: str) -> None:
    world = make(BASE)
    store, maker, told = begun(world)

    def veto(*about: object) -> None:
        raise KeyError("veto")

    (store if on == "store" else maker).listens_for(event)(veto)
    with pytest.raises(KeyError, match="veto"), maker.begin() as unit:
        unit.write("new", b"x")
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    assert world.control_names("pending") == []
    assert told[-2:] == ["store after_rollback", "maker after_rollback"]
    assert not any("after_commit" in said for said in told)


def test_behind_a_veto_nobody_else_is_asked(make: Make) -> None:
    store = make(BASE).store()
    told: list[str] = []

    @store.listens_for("before_commit")
    def veto(unit: UnitOfWork) -> None:
        raise KeyError

    store.listens_for("before_commit")(lambda unit: told.append("asked"))
    unit = UnitOfWork(store)
    unit.write("new", b"x")
    with pytest.raises(KeyError):
        unit.commit()
    assert told == []
    with pytest.raises(PendingRollback):
        unit.commit()
    unit.rollback()


def test_a_veto_of_a_prepare_leaves_nothing_prepared(make: Make) -> None:
    world = make(BASE)
    store = world.store()

    @store.listens_for("before_commit")
    def veto(unit: UnitOfWork) -> None:
        raise KeyError

    unit = UnitOfWork(store)
    unit.write("new", b"x")
    with pytest.raises(KeyError):
        unit.prepare()
    unit.rollback()
    assert store.prepared() == ()


def test_a_veto_inside_a_savepoint_needs_only_its_rollback(make: Make) -> None:
    world = make(BASE)
    store = world.store()

    @store.listens_for("before_flush")
    def veto(unit: UnitOfWork) -> None:
        if "bad" in unit.new:
            raise KeyError("veto")

    with store.begin() as unit:
        unit.write("good", b"x")
        with pytest.raises(KeyError, match="veto"), unit.begin_nested():  # noqa: PT012
            unit.write("bad", b"x")
            unit.flush()
    assert "good" in seen(world)
    assert "bad" not in seen(world)


@pytest.mark.parametrize("event", ["before_commit", "before_flush", "after_flush"])
@pytest.mark.parametrize("verb", ["commit", "rollback", "close", "prepare"])
@pytest.mark.parametrize("flushed", [False, True])
def test_a_listener_cannot_end_the_unit_it_is_told_about(
    make: Make, event: str, verb: str, flushed: bool
) -> None:
    world = make(BASE)
    store = world.store()
    unit = UnitOfWork(store)
    unit.write("new", b"x")
    if flushed:
        unit.flush()
        unit.write("more", b"x")
    store.listens_for(event)(lambda unit, *about: getattr(unit, verb)())
    with pytest.raises(UnitStateError, match=verb):
        unit.commit()
    unit.rollback()
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    assert world.control_names("pending") == world.control_names("history") == []


# -- behind the commit


def test_what_after_commit_raises_becomes_a_warning_in_the_receipt(make: Make) -> None:
    world = make(BASE)
    store, maker, told = begun(world)

    @store.listens_for("after_commit")
    def fails(unit: UnitOfWork, receipt: object) -> None:
        raise KeyError("cache")

    told.clear()
    unit = maker()
    unit.write("new", b"x")
    receipt = unit.commit()
    (warning,) = receipt.warnings
    assert "committed" in warning
    assert "KeyError('cache')" in warning
    assert unit.state == "committed"
    assert told[-1] == "maker after_commit"  # the others are told nevertheless
    assert "new" in seen(world)


def test_after_commit_may_begin_another_unit(make: Make) -> None:
    world = make(BASE)
    store = world.store()

    @store.listens_for("after_commit")
    def count(unit: UnitOfWork, receipt: object) -> None:
        if unit.message != "count":
            with UnitOfWork(store, message="count").begin() as other:
                other.write("count", b"1")

    with store.begin() as unit:
        unit.write("new", b"x")
        receipt = unit.commit()
    assert receipt.warnings == ()
    assert {"new", "count"} <= seen(world)


def test_what_after_rollback_raises_is_collected_with_the_compensations(make: Make) -> None:
    world = make(BASE)
    store = world.store()
    first, second = KeyError("listener"), ValueError("compensation")
    told: list[str] = []

    def throw(error: Exception) -> None:
        raise error

    store.listens_for("after_rollback")(lambda unit: throw(first))
    store.listens_for("after_rollback")(lambda unit: told.append("told"))
    unit = UnitOfWork(store)
    unit.on_rollback(throw, second)
    with pytest.raises(CompensationFailed) as failure:
        unit.rollback()
    assert failure.value.errors == (second, first)
    assert told == ["told"]


def test_a_failed_commit_is_told_as_a_rollback_once_it_is_one(make: Make) -> None:
    world = make(BASE)
    store, _, told = begun(world)
    unit = UnitOfWork(store)
    unit.write("file", b"mine")
    world.save("file", b"theirs")
    with pytest.raises(StaleEntry):
        unit.commit()
    assert "store after_rollback" not in told
    unit.rollback()
    assert told[-1] == "store after_rollback"
    assert "store after_commit" not in told


# -- recovery


def killed_in_its_commit(world: World) -> World:
    """The same world after the process was killed between the swap of "new" and what comes behind it."""
    unit = world.unit()
    unit.write("new", b"x")
    swapped = False

    def killed(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal swapped
        if swapped:
            raise Killed
        swapped = "new" in names

    world.sim.hook = killed
    with pytest.raises(Killed):
        unit.commit()
    world.sim.hook = None
    return world.on(world.sim.copy())


def test_after_recover_is_told_what_was_recovered(simulate: Make) -> None:
    world = simulate(BASE)

    after = killed_in_its_commit(world)
    told: list[Any] = []
    store = after.store()
    store.listens_for("after_recover")(lambda *about: told.append(about))
    found = store.recover()
    assert told == [(store, found)]
    assert store.recover().action == "clean"
    assert len(told) == 1
    assert after.tree() == BASE


def test_after_recover_is_told_where_a_unit_recovers_first(simulate: Make) -> None:
    world = simulate(BASE)

    after = killed_in_its_commit(world)
    told: list[Any] = []
    store = after.store()
    store.listens_for("after_recover")(lambda store, recovery: told.append(recovery.action))
    with store.begin() as unit:
        unit.write("again", b"x")
    assert len(told) == 1
    assert after.content("again") == b"x"


def test_a_clean_store_is_not_recovered(make: Make) -> None:
    store = make(BASE).store()
    store.listens_for("after_recover")(lambda *about: pytest.fail("nothing was"))
    store.recover()
    with store.begin() as unit:
        unit.write("new", b"x")


def test_a_maker_hears_nothing_of_recoveries_and_says_so(make: Make) -> None:
    maker = UnitMaker(make(BASE).store())
    with pytest.raises(UsageError):
        maker.listens_for("after_recover")


def test_a_listener_is_told_of_a_rollback_after_a_failed_flush(simulate: Make) -> None:
    world = simulate(BASE)
    store, _, told = begun(world)

    def full(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "mkdir":
            raise VerbFailed(errno.ENOSPC)

    with pytest.raises(AtomSyncError), store.begin() as unit:  # noqa: PT012
        unit.mkdir("made")
        unit.exists("file")  # the stage is made with the first verb
        world.sim.hook = full
        try:
            unit.flush()
        finally:
            world.sim.hook = None
    assert told == ["store before_flush", "store after_rollback"]
