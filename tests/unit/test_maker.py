"""Stores, makers and the two context managers: what each promises at the end of its block."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atomsync
from atomsync.errors import NoSpace, PendingRollback, StoreLocked, UnitStateError, UsageError
from atomsync.store.history import read_journal
from atomsync.store.progress import Progress
from atomsync.testing import Dir, File, VerbFailed
from atomsync.unit.maker import UnitMaker, unit_maker
from atomsync.unit.work import UnitOfWork
from tests.store.world import World, opened

Make = Callable[..., World]
BASE = Dir({"file": File(b"content")})

COMMITTING: dict[str, Callable[[World], Any]] = {
    "store.begin()": lambda world: world.store().begin(),
    "maker.begin()": lambda world: unit_maker(world.store()).begin(),
    "maker().begin()": lambda world: unit_maker(world.store())().begin(),
    "unit.begin()": lambda world: UnitOfWork(world.store()).begin(),
}
CLOSING: dict[str, Callable[[World], Any]] = {
    "UnitOfWork(store)": lambda world: UnitOfWork(world.store()),
    "maker()": lambda world: unit_maker(world.store())(),
}
committing = pytest.mark.parametrize("begin", [*COMMITTING.values()], ids=[*COMMITTING])
closing = pytest.mark.parametrize("begin", [*CLOSING.values()], ids=[*CLOSING])
both = pytest.mark.parametrize(
    "begin", [*COMMITTING.values(), *CLOSING.values()], ids=[*COMMITTING, *CLOSING]
)


def nothing_is_left(world: World) -> None:
    assert world.control_names("pending") == world.control_names("history") == []
    assert "unit" not in world.control_names()


def full(index: int, verb: str, names: tuple[str, ...]) -> None:
    if verb == "mkdir":
        raise VerbFailed(errno.ENOSPC)


# -- the two promises


@committing
def test_begin_commits_at_the_end_of_its_block(make: Make, begin: Callable[[World], Any]) -> None:
    world = make(BASE)
    with begin(world) as unit:
        assert isinstance(unit, UnitOfWork)
        unit.write("new", b"x")
        assert world.tree() == BASE
    assert unit.state == "committed"
    assert world.tree() == Dir({**BASE.names, "new": File(b"x")})


@closing
def test_a_unit_by_itself_only_closes_at_the_end_of_its_block(
    make: Make, begin: Callable[[World], Any]
) -> None:
    world = make(BASE)
    with begin(world) as unit:
        unit.write("new", b"x")
        unit.flush()
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    nothing_is_left(world)
    with begin(world) as unit:
        unit.write("new", b"x")
        unit.commit()
    assert unit.state == "committed"
    assert world.content("new") == b"x"


@both
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_rolls_back_and_comes_out_as_it_was(
    make: Make, begin: Callable[[World], Any], error: type[BaseException]
) -> None:
    world = make(BASE)
    cause = error()
    with pytest.raises(error) as failure, begin(world) as unit:  # noqa: PT012
        unit.write("new", b"x")
        unit.flush()
        raise cause
    assert failure.value is cause
    assert not hasattr(cause, "__notes__")
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    nothing_is_left(world)


@committing
def test_a_failed_flush_that_was_swallowed_is_not_taken_for_a_success(
    simulate: Make, begin: Callable[[World], Any]
) -> None:
    world = simulate(BASE)
    with pytest.raises(PendingRollback), begin(world) as unit:  # noqa: PT012
        unit.write("new", b"x")
        unit.mkdir("made")
        world.sim.hook = full
        with pytest.raises(NoSpace):
            unit.flush()
        world.sim.hook = None
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    nothing_is_left(world)
    assert world.sim.open_descriptors == 0


@closing
def test_a_unit_that_only_closes_has_nothing_to_say_of_a_swallowed_failure(
    simulate: Make, begin: Callable[[World], Any]
) -> None:
    world = simulate(BASE)
    with begin(world) as unit:
        unit.write("new", b"x")
        unit.mkdir("made")
        world.sim.hook = full
        with pytest.raises(NoSpace):
            unit.flush()
        world.sim.hook = None
    assert unit.state == "rolled back"
    assert world.tree() == BASE
    nothing_is_left(world)


@committing
def test_a_commit_that_failed_and_was_swallowed_is_not_taken_for_a_success(
    make: Make, begin: Callable[[World], Any]
) -> None:
    world = make(BASE)
    with pytest.raises(PendingRollback), begin(world) as unit:  # noqa: PT012
        unit.write("file", b"mine")
        world.save("file", b"theirs")
        with pytest.raises(atomsync.AtomSyncError):
            unit.commit()
    assert world.content("file") == b"theirs"
    assert unit.state == "rolled back"


@both
def test_a_unit_that_was_ended_inside_is_left_alone(make: Make, begin: Callable[[World], Any]) -> None:
    world = make(BASE)
    with begin(world) as unit:
        unit.write("good", b"x")
        receipt = unit.commit()
    with begin(world) as unit:
        unit.write("bad", b"x")
        unit.rollback()
    with begin(world) as unit:
        unit.write("bad", b"x")
        unit.close()
    assert world.tree() == Dir({**BASE.names, "good": File(b"x")})
    assert world.control_names("history") == [receipt.unit_id]


@both
def test_a_prepared_unit_rests_at_the_end_of_its_block(make: Make, begin: Callable[[World], Any]) -> None:
    world = make(BASE)
    with begin(world) as unit:
        unit.write("new", b"x")
        resting = unit.prepare("somebody else")
    assert unit.state == "prepared"
    assert [found.id for found in world.store().prepared()] == [resting.id]
    assert world.tree() == BASE
    world.store().commit_prepared(resting.id)
    assert world.content("new") == b"x"


@both
def test_a_block_in_which_nothing_is_done_touches_nothing(make: Make, begin: Callable[[World], Any]) -> None:
    world = make(BASE)
    before = world.tree(), world.control_tree()
    with begin(world):
        pass
    assert (world.tree(), world.control_tree()) == before


@both
def test_a_unit_that_has_ended_cannot_be_entered_again(make: Make, begin: Callable[[World], Any]) -> None:
    world = make(BASE)
    with begin(world) as unit:
        unit.write("new", b"x")
    with pytest.raises(UnitStateError, match="Begin a new unit"), unit:
        pytest.fail("it was entered")
    with pytest.raises(UnitStateError), unit.begin():
        pytest.fail("it was begun")


def test_a_store_that_is_not_to_be_had_leaves_the_unit_as_it_was(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"x")
    with opened(world), pytest.raises(StoreLocked):
        unit.commit()
    assert unit.state == "pending"
    assert unit.new == {"new"}
    unit.commit()
    assert world.content("new") == b"x"


def test_a_store_that_stays_locked_to_the_end_of_the_block_rolls_back(make: Make) -> None:
    world = make(BASE)
    with opened(world), pytest.raises(StoreLocked), world.begin() as unit:
        unit.write("new", b"x")
    assert unit.state == "rolled back"
    assert world.tree() == BASE


# -- the maker


def messages(world: World) -> list[str]:
    with opened(world) as control:
        return [read_journal(control, "history", unit_id).header.message for unit_id in ids(world)]


def ids(world: World) -> list[str]:
    return world.control_names("history")


def test_a_maker_gives_its_units_its_message_unless_they_have_their_own(make: Make) -> None:
    world = make(BASE)
    maker = unit_maker(world.store(), message="default")
    for number, message in enumerate([None, "own", ""]):
        with maker.begin(message=message) as unit:
            unit.write(f"begin-{number}", b"x")
        unit = maker(message=message)
        unit.write(f"call-{number}", b"x")
        unit.commit()
    assert messages(world)[-5:] == ["default", "own", "own", "", ""]


def test_a_unit_without_a_message_has_an_empty_one(make: Make) -> None:
    world = make(BASE)
    with unit_maker(world.store()).begin() as unit:
        unit.write("a", b"x")
    with world.store().begin(message="spring") as unit:
        unit.write("b", b"x")
    assert messages(world) == ["", "spring"]


class Heard(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self.phases.append(name)


def test_a_maker_gives_its_units_its_progress_unless_they_have_their_own(make: Make) -> None:
    world = make(BASE)
    default, own = Heard(), Heard()
    maker = unit_maker(world.store(), progress=default)
    with maker.begin() as unit:
        unit.write("a", b"x")
    assert default.phases == ["stage", "seal", "commit"]
    default.phases.clear()
    with maker.begin(progress=own) as unit:
        unit.write("b", b"x")
    assert default.phases == []
    assert own.phases == ["stage", "seal", "commit"]


def test_each_call_of_a_maker_is_a_unit_of_its_own(make: Make) -> None:
    world = make(BASE)
    maker = unit_maker(world.store())
    assert isinstance(maker, UnitMaker)
    one, two = maker(), maker()
    one.write("one", b"1")
    two.write("two", b"2")
    assert one.new == {"one"}
    two.rollback()
    one.commit()
    assert world.tree() == Dir({**BASE.names, "one": File(b"1")})


def test_a_maker_and_its_words_are_where_the_documents_say() -> None:
    assert atomsync.unit_maker is unit_maker
    assert atomsync.UnitMaker is UnitMaker
    assert atomsync.UnitOfWork is UnitOfWork


# -- the store


def test_a_store_opens_nothing_before_it_is_used(tmp_path: Path) -> None:
    store = atomsync.open_store(tmp_path / "dst")
    assert not (tmp_path / "dst").exists()
    unit_maker(store)()
    store.begin()
    with store.begin():
        pass
    assert not (tmp_path / "dst").exists()
    with store.begin() as unit:
        unit.write("new", b"x")
    assert (tmp_path / "dst" / "new").read_bytes() == b"x"


@pytest.mark.parametrize("kind", [str, Path, os.fspath])
def test_a_store_takes_any_kind_of_path(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    with atomsync.open_store(kind(tmp_path / "dst")).begin() as unit:
        unit.write(Path("new"), b"x")
        unit.mkdir(Path("made") / "deep", parents=True)
        unit.move(Path("new"), Path("made") / "deep" / "moved")
        assert unit.read(Path("made/deep/moved")) == b"x"
        assert unit.listdir(Path("made")) == ["deep"]
        assert unit.listdir(Path()) == ["made"]
    assert (tmp_path / "dst/made/deep/moved").read_bytes() == b"x"


@pytest.mark.parametrize("options", [{"durability": "some"}, {"verify": "no"}, {"keep": -1}, {"timeout": -1}])
def test_an_option_that_means_nothing_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot open a store"):
        atomsync.open_store(tmp_path, **options)


def test_a_rolled_back_first_unit_leaves_no_directory_behind(tmp_path: Path) -> None:
    unit = UnitOfWork(atomsync.open_store(tmp_path / "dst"))
    unit.write("new", b"x")
    unit.flush()
    unit.rollback()
    assert not (tmp_path / "dst").exists()
