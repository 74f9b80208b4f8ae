"""Prepared units: they rest, they hold their paths, and somebody decides about each of them, once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import (
    AtomSyncError,
    CompensationFailed,
    HeldByPrepared,
    InDoubt,
    JournalError,
    ResolverFailed,
    StaleEntry,
    StoreLocked,
    UnitStateError,
    UsageError,
)
from atomsync.fs.posix import PosixDisk
from atomsync.store.journal import Header, decode
from atomsync.store.prepared import PreparedUnit, Settled
from atomsync.store.recovery import CLEAN, FINISHED
from atomsync.store.status import COMMITTED, FORGOTTEN, RESTING, ROLLED_BACK
from atomsync.testing import Dir, File, SimDisk, VerbFailed
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from tests.store.encoded import encode
from tests.store.test_journal import HEADER, STEPS, frame, written
from tests.store.world import World

Make = Callable[..., World]
Do = Callable[[UnitOfWork], object]
T = 1_600_000_000_000_000_000
LEDGER = "the ledger"
BASE = Dir(
    {
        "file": File(b"old", 0o644, T + 1),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 2), "deep": Dir({"leaf": File(b"leaf", 0o644, T)})}),
        "other": File(b"other", 0o600, T + 3),
    }
)


def write_new(unit: UnitOfWork) -> None:
    unit.write("file", b"new")


def prepared(world: World, do: Do = write_new, coordinator: str = LEDGER, **options: Any) -> PreparedUnit:
    """A unit that rests; its process is gone."""
    unit = world.unit(**options)
    do(unit)
    found = unit.prepare(coordinator)
    unit.close()
    return found


def ids(world: World) -> list[str]:
    return [unit.id for unit in world.store().prepared()]


@contextlib.contextmanager
def in_a_child(deed: Callable[[], str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """What ``deed`` returned in a child that lives on, and a way to end it (as the ``with`` does too)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, deed().encode() or b"-")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    alive = True

    def end() -> None:
        nonlocal alive
        if alive:
            alive = False
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    try:
        yield os.read(reading, 1000).decode(), end
    finally:
        os.close(reading)
        end()


# -- two phases


def test_nothing_of_a_prepared_unit_is_visible_and_then_all_of_it(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    assert world.tree() == BASE
    assert world.control_names("pending") == []
    receipt = world.store().commit_prepared(resting.id)
    assert (receipt.unit_id, receipt.created, receipt.updated, receipt.removed) == (resting.id, 0, 1, 0)
    assert receipt.bytes == 3
    assert world.content("file") == b"new"
    assert ids(world) == []


def test_nothing_of_a_unit_that_is_rolled_back_is_left(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    world.store().rollback_prepared(resting.id)
    assert world.tree() == BASE
    assert (world.control_names("prepared"), world.control_names("history")) == ([], [])
    assert world.recover().action == CLEAN


def test_what_rests_is_listed_with_all_that_is_known_of_it(make: Make) -> None:
    world = make(BASE)
    unit = UnitOfWork(world.store(), message="rotate the keys")
    unit.write("made", b"made")
    unit.write("file", b"new")
    unit.remove("dir")
    resting = unit.prepare(LEDGER)
    assert resting[1:3] == (LEDGER, "rotate the keys")
    assert resting[4:] == (1, 1, 4, True)
    assert world.store().prepared() == (resting,)
    assert world.store().status().prepared == (resting,)
    unit.close()
    assert world.store().prepared() == (resting._replace(live=False),)
    assert world.store().status().unfinished == ""


def test_a_store_that_is_not_there_has_nothing_prepared(tmp_path: Path) -> None:
    assert open_store(tmp_path / "none").prepared() == ()
    assert open_store(tmp_path).prepared() == ()
    assert [*tmp_path.iterdir()] == []


def test_a_unit_with_nothing_pending_cannot_be_prepared_but_goes_on(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with pytest.raises(UsageError, match="cannot prepare"):
        unit.prepare()
    unit.write("file", b"new")
    unit.prepare()
    unit.commit()
    assert world.content("file") == b"new"


def test_the_coordinators_name_comes_back_whatever_it_is(make: Make) -> None:
    world = make(BASE)
    name = 'postgres://h/db?x="ü\n" \U0001f600'
    assert world.store().prepared() == ()
    prepared(world, coordinator=name)
    assert world.store().prepared()[0].coordinator == name


# -- what is said twice, or of what is not there


def test_a_commit_that_is_said_again_gives_the_same_receipt_and_does_nothing(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world, lambda unit: (unit.write("file", b"new"), unit.remove("dir")))
    first = world.store().commit_prepared(resting.id)
    world.save("file", b"later")
    again = world.store().commit_prepared(resting.id)
    assert again._replace(window_ms=first.window_ms) == first
    assert world.content("file") == b"later"


def test_what_is_committed_cannot_be_rolled_back_nor_the_other_way_round(make: Make) -> None:
    world = make(BASE)
    one = prepared(world)
    world.store().commit_prepared(one.id)
    with pytest.raises(UsageError, match="roll back"):
        world.store().rollback_prepared(one.id)
    other = prepared(world, lambda unit: unit.write("other", b"new"))
    world.store().rollback_prepared(other.id)
    with pytest.raises(UsageError, match="commit"):
        world.store().commit_prepared(other.id)
    assert (world.content("file"), world.content("other")) == (b"new", b"other")


NO_IDS = [
    "",
    ".",
    "..",
    "../prepared",
    "../history",
    "../../file",
    "20240101-000000-000",
    "20240101-000000-000/",
    "20240101-000000-000/../x",
    "prepared",
    "journal",
    "\0",
    "ü",
    "x" * 5000,
]


@pytest.mark.parametrize("unit_id", NO_IDS)
@pytest.mark.parametrize("verb", ["commit_prepared", "rollback_prepared"])
def test_what_names_no_prepared_unit_is_refused(make: Make, verb: str, unit_id: str) -> None:
    world = make(BASE)
    resting = prepared(world)
    with pytest.raises(UsageError):
        getattr(world.store(), verb)(unit_id)
    assert world.tree() == BASE
    assert ids(world) == [resting.id]


def test_a_way_to_a_prepared_unit_is_not_its_name(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    for unit_id in (f"../prepared/{resting.id}", f"./{resting.id}", f"{resting.id}/", f"{resting.id}/slots"):
        for verb in (world.store().commit_prepared, world.store().rollback_prepared):
            with pytest.raises(UsageError):
                verb(unit_id)
    assert world.tree() == BASE
    assert ids(world) == [resting.id]


@pytest.mark.parametrize("verb", ["commit_prepared", "rollback_prepared"])
def test_a_store_that_is_not_there_has_no_unit_to_decide_about(tmp_path: Path, verb: str) -> None:
    for where in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError):
            getattr(open_store(where), verb)("20240101-000000-000")
    assert [*tmp_path.iterdir()] == []


def test_its_fate_is_told(make: Make) -> None:
    world = make(BASE)
    first = prepared(world)
    assert world.store().fate(first.id) == RESTING
    world.store().commit_prepared(first.id)
    assert world.store().fate(first.id) == COMMITTED
    second = prepared(world)
    world.store().rollback_prepared(second.id)
    assert world.store().fate(second.id) == ROLLED_BACK
    assert world.store().fate("20240101-000000-000") == FORGOTTEN


# -- who lives, and who is gone


def test_a_prepared_unit_of_this_process_is_never_presumed_aborted(make: Make) -> None:
    world = make(BASE, Dir({**BASE.names, "made": File(b"made", 0o644, T)}))
    unit = world.unit()
    write_new(unit)
    resting = unit.prepare()
    asked: list[PreparedUnit] = []
    assert world.recover(resolver=asked.append).settled == ()
    with world.begin(resolver=asked.append) as another:
        another.write("other", b"other", mode=0o600)
    world.push(resolver=asked.append)
    assert world.content("made") == b"made"
    assert asked == []
    assert ids(world) == [resting.id]


def test_a_prepared_unit_whose_process_is_gone_is_presumed_aborted(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world, coordinator="")
    found = world.recover()
    assert (found.action, found.settled) == (CLEAN, (Settled(resting.id, False),))
    assert ids(world) == []
    assert world.tree() == BASE
    assert world.recover().settled == ()


def test_the_next_unit_presumes_it_aborted_too_and_listeners_hear_of_it(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world, coordinator="")
    store = world.store()
    heard: list[tuple[Settled, ...]] = []
    store.listens_for("after_recover")(lambda _, recovery: heard.append(recovery.settled))
    with store.begin() as unit:
        unit.write("file", b"another")
    assert heard == [(Settled(resting.id, False),)]
    assert world.content("file") == b"another"


def test_one_that_names_a_coordinator_rests_on(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    assert world.recover().settled == ()
    with world.begin() as unit:
        unit.write("made", b"made")
    assert ids(world) == [resting.id]
    world.store().commit_prepared(resting.id)
    assert world.content("file") == b"new"


@pytest.mark.parametrize("coordinator", ["", LEDGER])
def test_a_unit_of_another_process_rests_while_that_one_lives(tmp_path: Path, coordinator: str) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE)
    kept: list[UnitOfWork] = []

    def deed() -> str:
        kept.append(world.unit())
        write_new(kept[0])
        return kept[0].prepare(coordinator).id

    with in_a_child(deed) as (unit_id, end):
        asked: list[PreparedUnit] = []
        for _ in range(2):
            assert world.recover(resolver=asked.append).settled == ()
            with world.begin() as unit:
                unit.write("other", b"another")
        (resting,) = world.store().prepared()
        assert (resting.id, resting.live, asked) == (unit_id, True, [])
        end()
        (resting,) = world.store().prepared()
        assert not resting.live
        settled = world.recover().settled
        assert settled == (() if coordinator else (Settled(unit_id, False),))
    assert world.content("file") == b"old"


def test_a_child_of_the_process_that_prepared_it_does_not_keep_it_alive(tmp_path: Path) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE)
    unit = world.unit()
    write_new(unit)
    resting = unit.prepare()
    with in_a_child(lambda: "born"):
        unit.close()
        assert world.recover().settled == (Settled(resting.id, False),)


@pytest.mark.parametrize("verb", ["commit_prepared", "rollback_prepared"])
def test_another_process_may_decide_while_the_first_one_lives(tmp_path: Path, verb: str) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE)
    unit = world.unit()
    write_new(unit)
    undone: list[str] = []
    unit.on_rollback(undone.append, "undone")
    resting = unit.prepare()
    with in_a_child(lambda: str(getattr(world.store(), verb)(resting.id))):
        pass
    assert ids(world) == []
    if verb == "commit_prepared":
        receipt = unit.commit()
        assert (receipt.unit_id, receipt.updated, undone) == (resting.id, 1, [])
        assert world.content("file") == b"new"
    else:
        with pytest.raises(UsageError):
            unit.commit()
        unit.close()
        assert undone == ["undone"]
        assert unit.state == "rolled back"
        assert world.content("file") == b"old"


# -- the resolver


@pytest.mark.parametrize("coordinator", ["", LEDGER])
@pytest.mark.parametrize(
    ("answer", "content", "settled"), [(True, b"new", True), (False, b"old", False), (None, b"old", None)]
)
def test_the_resolver_decides_about_units_whose_process_is_gone(
    make: Make, coordinator: str, answer: bool | None, content: bytes, settled: bool | None
) -> None:
    world = make(BASE)
    resting = prepared(world, coordinator=coordinator)
    asked: list[PreparedUnit] = []

    def resolver(unit: PreparedUnit) -> bool | None:
        asked.append(unit)
        return answer

    found = world.recover(resolver=resolver)
    assert asked == [resting._replace(live=False)]
    assert found.settled == (() if settled is None else (Settled(resting.id, settled),))
    assert world.content("file") == content
    assert ids(world) == ([resting.id] if settled is None else [])


def test_the_resolver_is_asked_about_each_by_every_unit_until_it_knows(make: Make) -> None:
    world = make(BASE)
    one = prepared(world)
    two = prepared(world, lambda unit: unit.write("other", b"new"), coordinator="")
    asked: list[str] = []

    def resolver(unit: PreparedUnit) -> bool | None:
        asked.append(unit.id)
        return None if len(asked) < 3 else unit.id == two.id

    world.recover(resolver=resolver)
    assert asked == [one.id, two.id]
    with world.begin(resolver=resolver) as unit:
        unit.write("made", b"made")
    assert {*asked} == {one.id, two.id}
    assert ids(world) == []
    assert (world.content("file"), world.content("other")) == (b"old", b"new")


def test_a_resolver_that_raises_is_heard_and_the_unit_rests(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)

    def resolver(unit: PreparedUnit) -> bool:
        raise ConnectionError("the ledger does not answer")

    with pytest.raises(ResolverFailed, match="the ledger does not answer") as refusal:
        world.recover(resolver=resolver)
    assert isinstance(refusal.value.__cause__, ConnectionError)
    with pytest.raises(ResolverFailed), world.begin(resolver=resolver) as unit:
        unit.write("other", b"another")
    assert world.store().status().holder == ""
    assert ids(world) == [resting.id]
    assert world.content("other") == b"other"
    world.store().commit_prepared(resting.id)
    assert world.content("file") == b"new"


def test_the_resolver_is_not_asked_about_the_unit_that_is_decided_about(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    asked: list[PreparedUnit] = []
    world.store(resolver=asked.append).commit_prepared(resting.id)
    assert asked == []
    assert world.content("file") == b"new"


# -- the unit's own verbs


def test_a_prepared_unit_commits_and_its_compensations_are_not_called(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    write_new(unit)
    undone: list[int] = []
    unit.on_rollback(undone.append, 1)
    resting = unit.prepare()
    assert unit.state == "prepared"
    assert unit.commit().unit_id == resting.id
    assert unit.state == "committed"
    unit.close()
    assert undone == []
    assert world.content("file") == b"new"


def test_a_prepared_unit_rolls_back_and_its_compensations_are_called_in_reverse(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    write_new(unit)
    undone: list[int] = []
    for number in (1, 2):
        unit.on_rollback(undone.append, number)
    unit.on_rollback(lambda: 1 / 0)
    unit.prepare(LEDGER)
    with pytest.raises(CompensationFailed):
        unit.rollback()
    unit.rollback()
    unit.close()
    assert undone == [2, 1]
    assert (unit.state, ids(world), world.tree()) == ("rolled back", [], BASE)


def test_a_prepared_unit_that_is_closed_rests_and_nothing_is_taken_back(make: Make) -> None:
    world = make(BASE)
    undone: list[int] = []
    with world.unit() as unit:
        write_new(unit)
        unit.on_rollback(undone.append, 1)
        resting = unit.prepare(LEDGER)
    assert (unit.state, undone, ids(world)) == ("prepared", [], [resting.id])
    unit.close()
    assert undone == []


def test_an_exception_behind_prepare_leaves_it_resting(make: Make) -> None:
    world = make(BASE)
    with pytest.raises(KeyError), world.begin() as unit:  # noqa: PT012
        write_new(unit)
        resting = unit.prepare(LEDGER)
        raise KeyError
    assert ids(world) == [resting.id]


def test_a_block_that_prepares_does_not_commit(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        write_new(unit)
        resting = unit.prepare(LEDGER)
    assert ids(world) == [resting.id]
    assert world.content("file") == b"old"


@pytest.mark.parametrize("elsewhere", ["commit_prepared", "rollback_prepared"])
def test_closing_a_unit_that_was_decided_about_elsewhere_takes_back_what_goes_with_it(
    make: Make, elsewhere: str
) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("other", b"newer")
    unit = world.unit()
    write_new(unit)
    undone: list[int] = []
    unit.on_rollback(undone.append, 1)
    resting = unit.prepare()
    getattr(world.store(), elsewhere)(resting.id)
    unit.close()
    assert undone == ([1] if elsewhere == "rollback_prepared" else [])


def test_a_unit_that_was_committed_elsewhere_long_ago_is_not_taken_for_rolled_back(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    write_new(unit)
    undone: list[int] = []
    unit.on_rollback(undone.append, 1)
    resting = unit.prepare()
    world.store().commit_prepared(resting.id)
    for number in range(3):
        with world.begin(keep=1) as another:
            another.write("made", b"%d" % number)
    assert resting.id not in world.control_names("history")
    unit.close()
    assert undone == []


@pytest.mark.parametrize("verb", ["write", "read", "flush", "begin_nested", "prepare"])
def test_a_prepared_unit_takes_no_more_changes(make: Make, verb: str) -> None:
    unit = make(BASE).unit()
    write_new(unit)
    unit.prepare()
    arguments = {"write": ("file", b"x"), "read": ("file",)}.get(verb, ())
    with pytest.raises(UnitStateError, match="prepared"):
        getattr(unit, verb)(*arguments)
    unit.rollback()


def test_a_listener_may_veto_a_prepare(make: Make) -> None:
    world = make(BASE)
    store = world.store()

    @store.listens_for("before_commit")
    def veto(unit: UnitOfWork) -> None:
        raise PermissionError("not on a Friday")

    unit = UnitOfWork(store)
    write_new(unit)
    with pytest.raises(PermissionError):
        unit.prepare()
    unit.rollback()
    assert ids(world) == []


# -- what is held

HELD = [
    # what rests, what another unit would do, whether that is refused
    ("write file", "write file", True),
    ("write file", "remove file", True),
    ("write file", "chmod file", True),
    ("chmod file", "chmod file", True),
    ("chmod file", "write file", True),
    ("remove file", "write file", True),
    ("write made", "write made", True),
    ("write made", "mkdir made", True),
    ("write dir/deep/leaf", "remove dir", True),
    ("write dir/deep/leaf", "move dir", True),
    ("chmod dir/deep/leaf", "remove dir", True),
    ("write dir/made", "remove dir", True),
    ("remove dir", "write dir/inner", True),
    ("remove dir", "write dir/made", True),
    ("remove dir", "chmod dir/deep/leaf", True),
    ("remove dir", "chmod dir", True),
    ("chmod dir", "remove dir", True),
    ("chmod dir", "chmod dir", True),
    ("write dir/made", "write dir/other", False),
    ("write dir/made", "chmod dir", False),
    ("chmod dir", "write dir/made", False),
    ("chmod dir", "chmod dir/inner", False),
    ("write file", "write other", False),
    ("write made", "write made-too", False),
    ("remove dir", "write dir-too", False),
    ("write dir/deep/made", "remove dir/inner", False),
]


def do(unit: UnitOfWork, said: str, data: bytes = b"x") -> None:
    verb, path = said.split()
    arguments: dict[str, tuple[object, ...]] = {"write": (data,), "chmod": (0o700,), "move": ("moved",)}
    getattr(unit, verb)(path, *arguments.get(verb, ()))


@pytest.mark.parametrize(("resting", "wanted", "held"), HELD)
@pytest.mark.parametrize("way", ["commit", "prepare"])
def test_a_prepared_unit_holds_its_paths_and_leaves_all_others_free(
    simulate: Make, way: str, resting: str, wanted: str, held: bool
) -> None:
    world = simulate(BASE)
    one = prepared(world, lambda unit: do(unit, resting))
    unit = world.unit()
    do(unit, wanted)
    if held:
        with pytest.raises(HeldByPrepared, match="prepared unit") as refused:
            getattr(unit, way)()
        assert refused.value.exit_status == 49
        assert one.id in str(refused.value)
        unit.rollback()
        assert world.tree() == BASE
        assert ids(world) == [one.id]
    else:
        getattr(unit, way)()
        unit.close()
    assert world.store().commit_prepared(one.id).warnings == ()
    if held:  # and now it is free
        with contextlib.suppress(UsageError), world.begin() as unit:
            do(unit, wanted, b"y")


def test_a_unit_that_was_refused_goes_through_when_the_other_is_rolled_back(make: Make) -> None:
    world = make(BASE)
    one = prepared(world)
    unit = world.unit()
    unit.write("file", b"mine")
    with pytest.raises(HeldByPrepared):
        unit.commit()
    unit.rollback()
    world.store().rollback_prepared(one.id)
    with world.begin() as unit:
        unit.write("file", b"mine")
    assert world.content("file") == b"mine"


def test_a_push_is_refused_too(make: Make) -> None:
    world = make(BASE, Dir({"file": File(b"pushed")}))
    one = prepared(world)
    with pytest.raises(HeldByPrepared):
        world.push()
    assert world.tree() == BASE
    world.store().rollback_prepared(one.id)
    world.push()
    assert world.content("file") == b"pushed"


def test_the_command_ends_with_its_own_status_and_names_the_unit(tmp_path: Path, atomsync: Any) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE, Dir({"file": File(b"pushed")}))
    one = prepared(world)
    done = atomsync("push", world.src, world.dst)
    assert done.returncode == 49
    assert one.id in done.stderr
    assert world.content("file") == b"old"


@pytest.mark.parametrize("first", [0, 1])
def test_two_units_rest_side_by_side_and_are_decided_in_any_order(make: Make, first: int) -> None:
    world = make(BASE)
    both = [prepared(world), prepared(world, lambda unit: unit.write("other", b"newer"))]
    assert ids(world) == [unit.id for unit in both]
    assert both[0].id < both[1].id
    world.store().commit_prepared(both[first].id)
    assert ids(world) == [both[1 - first].id]
    world.store().commit_prepared(both[1 - first].id)
    assert (world.content("file"), world.content("other")) == (b"new", b"newer")


def test_of_two_units_one_may_be_committed_and_one_rolled_back(make: Make) -> None:
    world = make(BASE)
    one, two = prepared(world), prepared(world, lambda unit: unit.write("other", b"new"))
    world.store().rollback_prepared(one.id)
    world.store().commit_prepared(two.id)
    assert (world.content("file"), world.content("other")) == (b"old", b"new")


def test_a_rollback_that_stopped_half_way_holds_nobody_up(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    write_new(unit)
    unit.prepare(LEDGER)
    stopped = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal stopped
        if verb == "rmdir" and not stopped:
            stopped = True
            raise VerbFailed(errno.EIO)

    world.sim.hook = hook
    with pytest.raises(AtomSyncError):
        unit.rollback()
    assert stopped
    world.sim.hook = None
    with world.begin() as another:
        another.write("other", b"another")
    assert world.content("other") == b"another"
    unit.rollback()
    assert world.control_names("prepared") == []


# -- on the way to prepare, and behind it


def test_a_prepare_that_finds_a_foreign_change_is_refused_and_nothing_rests(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    write_new(unit)
    unit.flush()
    world.save("file", b"theirs")
    with pytest.raises(StaleEntry):
        unit.prepare(LEDGER)
    unit.rollback()
    assert ids(world) == []
    assert world.content("file") == b"theirs"
    assert world.control_names("pending") == []


@pytest.mark.parametrize("verb", ["prepare", "commit_prepared", "rollback_prepared"])
def test_while_the_store_is_locked_nothing_is_decided_and_all_may_be_tried_again(
    make: Make, verb: str
) -> None:
    world = make(BASE)
    unit = world.unit()
    write_new(unit)
    unit.flush()
    if verb == "prepare":
        deed: Callable[[], object] = unit.prepare
    else:
        resting = unit.prepare(LEDGER)
        deed = lambda: getattr(world.store(), verb)(resting.id)  # noqa: E731
    with world.store().session(), pytest.raises(StoreLocked):
        deed()
    assert unit.state == ("pending" if verb == "prepare" else "prepared")
    assert world.content("file") == b"old"
    deed()
    assert world.content("file") == (b"new" if verb == "commit_prepared" else b"old")
    assert len(ids(world)) == (verb == "prepare")
    unit.close()


def test_a_unit_that_had_the_store_for_itself_lets_go_of_it_when_it_is_prepared(make: Make) -> None:
    world = make(BASE)
    unit = UnitOfWork(world.store(), exclusive=True)
    write_new(unit)
    unit.prepare(LEDGER)
    with world.begin() as another:
        another.write("other", b"newer")
    unit.commit()
    assert (world.content("file"), world.content("other")) == (b"new", b"newer")


def test_no_descriptor_stays_open_behind_a_decision(simulate: Make) -> None:
    for decide in (UnitOfWork.commit, UnitOfWork.rollback, UnitOfWork.close):
        world = simulate(BASE)
        unit = world.unit()
        write_new(unit)
        unit.prepare(LEDGER)
        assert world.sim.open_descriptors == 1  # the lock that tells that somebody cares for it
        decide(unit)
        assert world.sim.open_descriptors == 0


@pytest.mark.parametrize("decision", ["commit", "rollback"])
def test_a_store_that_was_made_for_a_prepared_unit_stays_and_serves(tmp_path: Path, decision: str) -> None:
    store = open_store(tmp_path / "dst")
    unit = UnitOfWork(store)
    unit.write("file", b"new")
    resting = unit.prepare(LEDGER)
    unit.close()
    assert [unit.id for unit in open_store(tmp_path / "dst").prepared()] == [resting.id]
    getattr(store, f"{decision}_prepared")(resting.id)
    names = [".atomsync", "file"] if decision == "commit" else [".atomsync"]
    assert sorted(os.listdir(tmp_path / "dst")) == names
    with store.begin() as another:
        another.write("file", b"again")
    assert (tmp_path / "dst" / "file").read_bytes() == b"again"


def test_a_prepared_unit_rests_in_its_state_directory(tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    store = open_store(tmp_path / "dst", state_dir=tmp_path / "state")
    unit = UnitOfWork(store)
    unit.write("file", b"new")
    resting = unit.prepare(LEDGER)
    unit.close()
    assert open_store(tmp_path / "dst").prepared() == ()
    assert [unit.id for unit in store.prepared()] == [resting.id]
    store.commit_prepared(resting.id)
    assert os.listdir(tmp_path / "dst") == ["file"]


def test_a_commit_that_was_cut_is_finished_while_another_unit_rests(simulate: Make) -> None:
    world = simulate(BASE)
    one = prepared(world)
    two = prepared(world, lambda unit: (unit.write("other", b"newer"), unit.remove("dir")))
    cut: list[SimDisk] = []
    disk = world.sim.copy()
    disk.hook = lambda *_: cut.append(disk.copy())
    world.on(disk).store().commit_prepared(two.id)
    finished = 0
    for left in cut:
        after = world.on(left)
        found = after.recover()
        finished += found.action == FINISHED or Settled(two.id, True) in found.settled
        assert after.content("file") == b"old"
        assert one.id in ids(after)
        after.store().commit_prepared(two.id)
        after.store().rollback_prepared(one.id)
        assert (after.content("file"), after.content("other")) == (b"old", b"newer")
        assert ids(after) == []
    assert 0 < finished < len(cut)


def test_status_says_what_a_cut_commit_of_a_prepared_unit_needs(simulate: Make) -> None:
    world = simulate(BASE)
    resting = prepared(world)
    cut: list[SimDisk] = []
    disk = world.sim.copy()
    disk.hook = lambda *_: cut.append(disk.copy())
    world.on(disk).store().commit_prepared(resting.id)
    said = {world.on(left).store().status().unfinished for left in cut}
    assert said == {"", f"unit {resting.id}, prepared and decided; recovery will finish its commit"}


# -- at the same time


def test_of_two_who_decide_otherwise_at_the_same_moment_one_prevails(tmp_path: Path) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE)
    store = world.store(timeout=20)
    together = threading.Barrier(2)

    def decided(verb: str, unit_id: str) -> bool:
        together.wait()
        try:
            getattr(store, verb)(unit_id)
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(20):
            before, after = world.content("file"), b"%d" % number
            resting = prepared(world, lambda unit, data=after: unit.write("file", data))
            verbs = ("commit_prepared", "rollback_prepared")
            committed, rolled_back = pool.map(decided, verbs, [resting.id] * 2)
            assert committed != rolled_back
            assert world.content("file") == (after if committed else before)
            assert ids(world) == []


def test_threads_prepare_and_decide_side_by_side(tmp_path: Path) -> None:
    store = open_store(tmp_path, keep=100)

    def work(who: int) -> list[str]:
        found = []
        for number in range(4):
            unit = UnitOfWork(store)
            unit.write(f"{who}-{number}", b"%d" % who)
            found.append(unit.prepare(LEDGER if number % 2 else "").id)
            (unit.rollback if number == 3 else unit.commit)()
        return found

    with ThreadPoolExecutor(4) as pool:
        made = [unit_id for found in pool.map(work, range(4)) for unit_id in found]
    assert len({*made}) == 16
    assert sorted(os.listdir(tmp_path)) == [
        ".atomsync",
        *(f"{who}-{n}" for who in range(4) for n in range(3)),
    ]
    assert store.prepared() == ()
    assert store.recover().settled == ()


# -- behind the commit


def test_the_manifest_knows_what_a_prepared_unit_brought(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.write("other", b"newer")
    resting = prepared(world)
    digest = resting and decoded(world, resting.id)
    world.store().commit_prepared(resting.id)
    with world.store().session() as session:
        assert session.manifest.digest("file") == digest != ""


def decoded(world: World, unit_id: str) -> str:
    journal = world.control_tree("prepared", unit_id).names["journal"]
    assert isinstance(journal, File)
    (step,) = [step for step in decode(journal.data).steps if step.path == "file"]
    assert step.new is not None
    return step.new.digest


def test_the_history_keeps_what_a_prepared_unit_displaced(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world, lambda unit: (unit.write("file", b"new"), unit.remove("dir")))
    inodes = [entry.ino for path in ("file", "dir") if (entry := world.entry(path))]
    world.store().commit_prepared(resting.id)
    slots = world.control_tree("history", resting.id, "slots")
    assert File(b"old", 0o644, T + 1) in slots.names.values()
    with world.place(f".atomsync/history/{resting.id}/slots/0") as (at, _):
        assert sorted(found.st_ino for _, found in world.disk.scandir(at)) == sorted(inodes)


@pytest.mark.parametrize("keep", [0, 2])
def test_units_that_were_prepared_are_given_up_like_any_others(make: Make, keep: int) -> None:
    world = make(BASE)
    made = []
    for number in range(4):
        resting = prepared(world, lambda unit, data=b"%d" % number: unit.write("file", data), keep=keep)
        world.store(keep=keep).commit_prepared(resting.id)
        made.append(resting.id)
    assert world.control_names("history") == made[len(made) - keep :]


def test_a_unit_that_rested_for_long_is_in_the_history_when_it_is_committed(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    for number in range(3):
        with world.begin(keep=2) as another:
            another.write("other", b"%d" % number)
    store = world.store(keep=2)
    receipt = store.commit_prepared(resting.id)
    assert resting.id in world.control_names("history")
    assert store.commit_prepared(resting.id)[:4] == receipt[:4]
    assert b"old" in world.all_contents()


def test_what_was_kept_aside_is_reported_also_when_the_commit_is_said_twice(simulate: Make) -> None:
    world = simulate(BASE)
    resting = prepared(world)
    world.save("file", b"theirs")

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb == "exchange" and "file" in names:
            raise VerbFailed(errno.EIO)

    world.sim.hook = hook
    with pytest.raises(InDoubt):
        world.store().commit_prepared(resting.id)
    world.sim.hook = None
    (warning,) = world.store().commit_prepared(resting.id).warnings
    assert f"conflicts/{resting.id}/" in warning
    assert world.content("file") == b"new"


# -- a journal that cannot be trusted


def journals() -> dict[str, bytes]:
    """What no crash can have left: the digest of each record is right, and what it says is not."""
    step = (2, STEPS[0]._replace(inside=(), displaced=()))
    inside = (3, STEPS[0].inside)
    whole = [step, inside, (5, 1)]
    return {
        "PREPARED holds a number": written((7, 1), *whole),
        "PREPARED holds nothing": written((7, None), *whole),
        "PREPARED holds a list": written((7, ["x"]), *whole),
        "PREPARED holds no text the system knows": written((7, "\ud800"), *whole),
        "PREPARED twice": written((7, "x"), (7, "x"), *whole),
        "PREPARED behind a step": written(step, inside, (7, "x"), (5, 1)),
        "PREPARED behind END": written(*whole, (7, "x"), rest=b""),
        "PREPARED before BEGIN": frame(0, 7, "x") + written(*whole),
        "PREPARED is no JSON": written((7, b"{"), *whole),
        "PREPARED without the rest": written((7, "x"), rest=b""),
    }


@pytest.mark.parametrize("name", journals())
def test_a_malformed_journal_of_a_prepared_unit_is_refused(name: str) -> None:
    with pytest.raises(JournalError):
        decode(journals()[name])


@pytest.mark.parametrize("coordinator", ["", LEDGER, "ü\n", "\udcff"])
def test_a_journal_tells_who_decides(coordinator: str) -> None:
    header = HEADER._replace(coordinator=coordinator)
    data, at, record = encode(header, STEPS)
    assert decode(bytes(data)).header.coordinator == coordinator
    assert decode(bytes(data[:at]) + record + bytes(len(data) - at - len(record))).committed
    assert decode(bytes(encode(HEADER, STEPS)[0])).header.coordinator is None


def test_the_record_that_tells_it_is_written_as_the_format_says() -> None:
    found = decode(written((7, LEDGER), (2, STEPS[2]), (5, 1)))
    assert found.header == Header(*found.header[:5], coordinator=LEDGER)
    data = bytes(encode(HEADER._replace(coordinator=LEDGER), STEPS[2:3])[0])
    assert frame(1, 7, json.dumps(LEDGER).encode()) in data


def spoil(world: World, unit_id: str, bit: int) -> None:
    path = f".atomsync/prepared/{unit_id}/journal"
    data = bytearray(world.content(path))
    data[bit // 8] ^= 1 << bit % 8
    world.write_into(path, bytes(data))


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6])
def test_a_store_with_a_spoiled_journal_of_a_prepared_unit_is_refused_and_not_touched(
    tmp_path: Path, unchanged: Any, where: float
) -> None:
    world = World.made(PosixDisk(), str(tmp_path), BASE)
    resting = prepared(world, coordinator="")
    size = len(world.content(f".atomsync/prepared/{resting.id}/journal"))
    spoil(world, resting.id, int(where * size) * 8 + 3)
    store = world.store(resolver=lambda _: True)
    deeds: list[Callable[[], object]] = [
        store.recover,
        lambda: store.commit_prepared(resting.id),
        lambda: store.rollback_prepared(resting.id),
        lambda: UnitOfWork(store).write("other", b"x"),
    ]
    for deed in deeds:
        with unchanged(Path(world.dst) / ".atomsync" / "prepared", control=True):
            with pytest.raises(JournalError) as refused:
                deed()
            assert refused.value.exit_status == 46
    assert world.tree() == BASE


# -- all that is held is named, and whose journal it is


def test_all_the_paths_that_a_prepared_unit_holds_are_named(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world, lambda unit: (unit.write("file", b"new"), unit.write("dir/inner", b"new")))

    def do(*deeds: Do) -> None:
        with world.begin() as another:
            for deed in deeds:
                deed(another)

    def refused(*deeds: Do) -> HeldByPrepared:
        with pytest.raises(HeldByPrepared) as held:
            do(*deeds)
        return held.value

    error = refused(
        lambda unit: unit.write("other", b"free"),
        lambda unit: unit.write("file", b"another"),
        lambda unit: unit.write("dir/inner", b"another"),
    )
    assert {error.path, *error.also} == {"file", "dir/inner"}
    assert error.exit_status == 49
    assert resting.id in str(error)
    assert world.dst in error.hint
    error = refused(lambda unit: unit.remove("dir"))  # above it
    assert (error.path, error.also) == ("dir", ())
    assert world.tree().names.keys() == BASE.names.keys()


def test_what_is_beside_the_paths_that_are_held_is_free(make: Make) -> None:
    world = make(BASE)
    prepared(world, lambda unit: unit.write("dir/inner", b"new"))
    with world.begin() as another:
        another.write("dir/beside", b"free")
        another.write("other", b"free")
        another.chmod("dir", 0o700)
    assert world.content("dir/beside") == b"free"


def test_a_unit_that_was_given_another_name_by_hand_is_not_trusted(make: Make) -> None:
    world = make(BASE)
    resting = prepared(world)
    other = f"{resting.id[:-3]}{(int(resting.id[-3:]) + 1) % 1000:03}"
    with world.place(f".atomsync/prepared/{resting.id}") as (at, name):
        world.disk.rename_new(at, name, at, other)
    store = world.store(resolver=lambda _: True)
    for deed in (store.prepared, store.recover, lambda: store.commit_prepared(other)):
        with pytest.raises(JournalError) as refused:
            deed()
        assert refused.value.exit_status == 46
    assert world.content("file") == b"old"
    assert world.control_names("prepared") == [other]
