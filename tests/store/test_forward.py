"""Taking a prepared unit forward: a pure table, the same again after a crash, and no loss of others' work."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync.errors import StaleEntry
from atomsync.plan.step import CREATE, REMOVE, REPLACE, Step
from atomsync.store.commit import Receipt
from atomsync.store.control import PREPARED, SLOTS
from atomsync.store.forward import (
    DROP_PATH,
    DROP_SLOT,
    LEAVE,
    MOVE_IN,
    MOVE_OUT,
    NOTHING,
    SWAP,
    decide,
    roll_forward,
)
from atomsync.store.history import read_journal
from atomsync.store.recovery import CLEAN
from atomsync.testing import Dir, File, Link, SimDisk, VerbFailed
from atomsync.tree.entry import DIR, FILE, Entry
from atomsync.unit.work import UnitOfWork
from tests.store.world import World, opened

Make = Callable[..., World]
Do = Callable[[UnitOfWork], object]
Edit = Callable[[World], object]

T = 1_600_000_000_000_000_000
BASE = Dir(
    {
        "file": File(b"old", 0o644, T + 1),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 2)}, 0o755, T + 3),
        "link": Link("file", T + 4),
        "other": File(b"other", 0o600, T + 5),
    },
    mtime_ns=T + 6,
)

OLD = Entry(FILE, 0o644, 3, T, 0, 0, "", ino=1, generation=11)
FRESH = Entry(FILE, 0o600, 5, T, 0, 0, "", ino=2, generation=12)
FOREIGN = Entry(FILE, 0o644, 7, T, 0, 0, "", ino=3, generation=13)
STRANGER = Entry(FILE, 0o644, 9, T, 0, 0, "", ino=4, generation=14)
CREATED = Step(CREATE, "x", None, FRESH, slot="0")
REPLACED = Step(REPLACE, "x", OLD, FRESH, slot="0")
REMOVED = Step(REMOVE, "x", OLD, None, slot="0")

TABLE = [
    # the step, what is at its path, what is in its slot, what that takes
    (CREATED, None, FRESH, MOVE_IN),
    (CREATED, FOREIGN, FRESH, SWAP),
    (CREATED, FRESH, None, NOTHING),
    (CREATED, FRESH, FOREIGN, NOTHING),
    (CREATED, None, None, NOTHING),
    (CREATED, FOREIGN, None, NOTHING),
    (CREATED, None, FOREIGN, NOTHING),
    (CREATED, FOREIGN, STRANGER, NOTHING),
    (REPLACED, OLD, FRESH, SWAP),
    (REPLACED, None, FRESH, MOVE_IN),
    (REPLACED, FOREIGN, FRESH, SWAP),
    (REPLACED, FRESH, OLD, NOTHING),
    (REPLACED, FRESH, FOREIGN, NOTHING),
    (REPLACED, FRESH, None, NOTHING),
    (REPLACED, FOREIGN, OLD, NOTHING),
    (REPLACED, None, OLD, NOTHING),
    (REPLACED, OLD, None, NOTHING),
    (REPLACED, None, None, NOTHING),
    (REPLACED, FOREIGN, None, NOTHING),
    (REPLACED, OLD, FOREIGN, NOTHING),
    (REPLACED, FOREIGN, STRANGER, NOTHING),
    (REPLACED, None, FOREIGN, NOTHING),
    (REMOVED, OLD, None, MOVE_OUT),
    (REMOVED, FOREIGN, None, LEAVE),
    (REMOVED, None, None, NOTHING),
    (REMOVED, None, OLD, NOTHING),
    (REMOVED, FOREIGN, OLD, NOTHING),
    (REMOVED, FOREIGN, STRANGER, NOTHING),
    (REMOVED, None, FOREIGN, NOTHING),
    # one object in both places: of a rename only the new name became durable
    (CREATED, FRESH, FRESH, DROP_SLOT),
    (REPLACED, FRESH, FRESH, DROP_SLOT),
    (REMOVED, OLD, OLD, DROP_PATH),
]


@pytest.mark.parametrize(("step", "at_path", "in_slot", "action"), TABLE)
def test_what_a_swap_still_takes_is_decided_by_the_objects_in_its_two_places(
    step: Step, at_path: Entry | None, in_slot: Entry | None, action: str
) -> None:
    assert decide(step, at_path, in_slot) == action


@pytest.mark.parametrize(("step", "at_path", "in_slot", "action"), TABLE)
def test_once_it_is_done_nothing_is_left_to_do(
    step: Step, at_path: Entry | None, in_slot: Entry | None, action: str
) -> None:
    if action == MOVE_IN:
        at_path, in_slot = in_slot, None
    elif action == SWAP:
        at_path, in_slot = in_slot, at_path
    elif action == MOVE_OUT:
        at_path, in_slot = None, at_path
    elif action == DROP_SLOT:
        in_slot = None
    elif action == DROP_PATH:
        at_path = None
    assert decide(step, at_path, in_slot) == (LEAVE if action == LEAVE else NOTHING)


def test_an_inode_with_a_number_used_before_is_another_object() -> None:
    later = OLD._replace(generation=99)
    assert decide(REMOVED, later, None) == LEAVE
    assert decide(REPLACED, OLD, FRESH._replace(generation=99)) == NOTHING


def test_where_there_are_no_generations_the_number_must_do() -> None:
    assert decide(REMOVED, OLD._replace(generation=0), None) == MOVE_OUT
    assert decide(REMOVED, OLD._replace(generation=0, kind=DIR), None) == LEAVE


# -- on disks


def prepared(world: World, do: Do) -> str:
    """The id of a unit that rests; its process is gone."""
    unit = world.unit()
    do(unit)
    found = unit.prepare("the ledger")
    unit.close()
    return found.id


def everything(unit: UnitOfWork) -> None:
    unit.write("file", b"new")
    unit.write("made", b"made")
    unit.mkdir("made-dir")
    unit.write("made-dir/inside", b"inside")
    unit.remove("dir")
    unit.symlink("link", "made")
    unit.chmod("other", 0o640)


def test_it_brings_about_exactly_what_the_unit_says(make: Make) -> None:
    world = make(BASE)
    receipt = world.store().commit_prepared(prepared(world, everything))
    assert receipt[1:4] == (3, 3, 2)
    assert receipt.warnings == ()
    assert [world.content(path) for path in ("file", "made", "made-dir/inside")] == [
        b"new",
        b"made",
        b"inside",
    ]
    assert sorted(world.tree().names) == ["file", "link", "made", "made-dir", "other"]
    link, other = world.entry("link"), world.entry("other")
    assert link is not None
    assert other is not None
    assert (link.target, other.mode) == ("made", 0o640)


def test_doing_it_twice_is_doing_it_once(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, everything)
    with opened(world) as control:
        steps = read_journal(control, PREPARED, unit_id).steps
        with control.opened(PREPARED, unit_id, SLOTS) as slots:
            assert roll_forward(control, slots, unit_id, steps)[0] == []
            once, displaced = world.tree(), world.control_tree(PREPARED, unit_id, SLOTS)
            if isinstance(world.disk, SimDisk):
                world.disk.log.clear()
            assert roll_forward(control, slots, unit_id, steps)[0] == []
            assert world.tree() == once
            assert world.control_tree(PREPARED, unit_id, SLOTS) == displaced
            if isinstance(world.disk, SimDisk):
                assert world.disk.log == []


# -- what others did while the unit rested


def save(path: str, data: bytes) -> Edit:
    return lambda world: world.save(path, data)


def new_directory(path: str) -> Edit:
    def edit(world: World) -> None:
        with world.place(path) as (at, name):
            world.disk.mkdir(at, name)
        world.create(f"{path}/theirs", b"theirs")

    return edit


def replaced_by_directory(path: str) -> Edit:
    def edit(world: World) -> None:
        world.unlink(path)
        new_directory(path)(world)

    return edit


def check_kept(world: World, do: Do, edit: Edit, *paths: str) -> Receipt:
    """Commit what ``do`` prepared after ``edit``; these paths are reported, and no byte of theirs is gone."""
    unit_id = prepared(world, do)
    edit(world)
    receipt = world.store().commit_prepared(unit_id)
    assert [warning.partition(":")[0].strip("'\"") for warning in receipt.warnings] == list(paths)
    assert b"theirs" in world.all_contents()
    assert world.control_names("history") == [unit_id]
    assert world.control_names("prepared") == []
    again = world.recover()
    assert (again.action, again.settled) == (CLEAN, ())
    assert world.store().commit_prepared(unit_id)[:4] == receipt[:4]
    return receipt


def kept_aside(world: World) -> list[str]:
    return [
        name for unit in world.control_names("conflicts") for name in world.control_names("conflicts", unit)
    ]


def test_a_file_somebody_made_at_a_created_path_is_kept_aside(make: Make) -> None:
    world = make(BASE)
    receipt = check_kept(
        world, lambda unit: unit.write("made", b"made"), lambda world: world.create("made", b"theirs"), "made"
    )
    assert world.content("made") == b"made"
    assert kept_aside(world) == ["0"]
    assert f"conflicts/{receipt.unit_id}/0" in receipt.warnings[0]


def test_a_directory_somebody_made_at_a_created_path_is_kept_aside(make: Make) -> None:
    world = make(BASE)
    check_kept(world, lambda unit: unit.write("made", b"made"), new_directory("made"), "made")
    assert world.content("made") == b"made"
    assert kept_aside(world) == ["0"]


@pytest.mark.parametrize(
    "edit",
    [
        save("file", b"theirs"),
        lambda world: world.write_into("file", b"theirs"),
        replaced_by_directory("file"),
    ],
    ids=["saved", "written into", "a directory now"],
)
def test_an_edit_of_a_file_that_is_replaced_is_kept_aside(make: Make, edit: Edit) -> None:
    world = make(BASE)
    check_kept(world, lambda unit: unit.write("file", b"new"), edit, "file")
    assert world.content("file") == b"new"
    assert kept_aside(world) == ["0"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda world: world.create("dir/added", b"theirs"),
        save("dir/inner", b"theirs"),
        lambda world: world.write_into("dir/inner", b"theirs"),
    ],
    ids=["added", "saved", "written into"],
)
@pytest.mark.parametrize(
    "do", [lambda unit: unit.remove("dir"), lambda unit: (unit.remove("dir"), unit.write("dir", b"new"))]
)
def test_a_removed_directory_in_which_somebody_worked_is_kept_aside_whole(
    make: Make, do: Do, edit: Edit
) -> None:
    world = make(BASE)
    check_kept(world, do, edit, "dir")
    (kept,) = world.control_names("conflicts")
    assert "inner" in world.control_names("conflicts", kept, "0")


def test_another_version_at_a_path_that_should_go_stays_there(make: Make) -> None:
    world = make(BASE)
    check_kept(world, lambda unit: unit.remove("file"), save("file", b"theirs"), "file")
    assert world.content("file") == b"theirs"
    assert kept_aside(world) == []


def test_what_somebody_removed_meanwhile_is_made_all_the_same(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: (unit.write("file", b"new"), unit.remove("other")))
    world.unlink("file")
    world.unlink("other")
    assert world.store().commit_prepared(unit_id).warnings == ()
    assert world.content("file") == b"new"
    assert world.entry("other") is None


def test_what_belongs_into_a_directory_that_is_gone_is_kept_aside(make: Make) -> None:
    world = make(BASE)

    def edit(world: World) -> None:
        world.rename("dir", "elsewhere")
        world.create("elsewhere/more", b"theirs")

    check_kept(world, lambda unit: unit.write("dir/made", b"made"), edit, "dir/made")
    assert sorted(dict(world.tree().names)) == ["elsewhere", "file", "link", "other"]
    assert b"made" in world.all_contents()
    assert kept_aside(world) == ["0"]


def test_nothing_goes_through_a_link_in_the_place_of_a_directory(make: Make) -> None:
    world = make(Dir({**BASE.names, "outside": Dir({"theirs": File(b"theirs")})}))

    def edit(world: World) -> None:
        world.rename("dir", "elsewhere")
        world.symlink("dir", "outside")

    do: Do = lambda unit: (unit.write("dir/made", b"made"), unit.remove("dir/inner"))  # noqa: E731
    check_kept(world, do, edit, "dir/made")
    assert world.entry("outside/made") is None
    assert world.content("elsewhere/inner") == b"inner"


@pytest.mark.parametrize(
    ("edit", "content", "mode"),
    [
        (save("other", b"theirs"), b"theirs", 0o644),
        (lambda world: world.write_into("other", b"theirs"), b"theirs", 0o600),
    ],
    ids=["saved", "written into"],
)
def test_attributes_of_a_file_somebody_changed_are_left_as_they_are(
    make: Make, edit: Edit, content: bytes, mode: int
) -> None:
    world = make(BASE)
    check_kept(world, lambda unit: unit.chmod("other", 0o640), edit, "other")
    found = world.entry("other")
    assert found is not None
    assert (world.content("other"), found.mode) == (content, mode)


def test_attributes_that_somebody_else_has_set_meanwhile_are_left_so(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: unit.chmod("other", 0o640))
    world.chmod("other", 0o700)
    (warning,) = world.store().commit_prepared(unit_id).warnings
    assert "other" in warning
    assert world.tree().names["other"] == File(b"other", 0o700, T + 5)


def test_attributes_of_what_is_gone_are_reported(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: unit.chmod("other", 0o640))
    world.unlink("other")
    (warning,) = world.store().commit_prepared(unit_id).warnings
    assert "other" in warning
    assert world.entry("other") is None


def test_names_made_in_a_directory_whose_mode_changes_are_no_conflict(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: unit.chmod("dir", 0o700))
    world.create("dir/added", b"theirs")
    assert world.store().commit_prepared(unit_id).warnings == ()
    found = world.entry("dir")
    assert found is not None
    assert found.mode == 0o700


def busy(unit: UnitOfWork) -> None:
    everything(unit)
    unit.mkdir("late")


def edits(world: World) -> None:
    world.create("made", b"theirs 1")
    world.save("file", b"theirs 2")
    world.create("dir/added", b"theirs 3")
    new_directory("late")(world)
    world.save("other", b"theirs 4")


@pytest.mark.parametrize("traits", [{}, {"exchange": False}, {"exchange": False, "link": False}])
def test_what_others_did_is_kept_wherever_the_commit_is_killed(
    simulate: Make, traits: dict[str, bool]
) -> None:
    world = simulate(BASE, **traits)
    unit_id = prepared(world, busy)
    edits(world)
    killed: list[SimDisk] = []
    disk = world.sim.copy()
    disk.hook = lambda *_: killed.append(disk.copy())
    world.on(disk).store().commit_prepared(unit_id)
    for left in [*killed, disk.copy()]:
        after = world.on(left)
        after.recover(resolver=lambda _: True)
        assert after.all_contents() >= {b"theirs", *(b"theirs %d" % n for n in range(1, 5))}
        assert [after.content(path) for path in ("made", "file", "other")] == [b"made", b"new", b"theirs 4"]
        assert after.entry("dir") is None
        assert after.recover().action == CLEAN
        assert after.control_names("prepared") == []
        assert "unit" not in after.control_names()


@pytest.mark.parametrize("traits", [{"exchange": False}, {"exchange": False, "link": False}])
def test_a_save_between_the_calls_of_a_weaker_swap_does_not_stop_recovery(
    simulate: Make, traits: dict[str, bool]
) -> None:
    world = simulate(BASE, **traits)
    unit_id = prepared(world, lambda unit: unit.write("file", b"new"))
    cut: list[SimDisk] = []
    disk = world.sim.copy()
    disk.hook = lambda *_: cut.append(disk.copy())
    world.on(disk).store().commit_prepared(unit_id)
    inside = 0
    for left in cut:
        after = world.on(left)
        there = after.entry("file") and after.content("file")
        if there == b"new":
            continue  # it is done: whoever saves now replaces the new version, as anybody may
        inside += there is None or "0.old" in after.control_names("unit", "slots")
        (after.save if there else after.create)("file", b"theirs")
        after.recover(resolver=lambda _: True)
        assert after.all_contents() >= {b"theirs", b"new"}
        assert after.content("file") == b"new"
        assert after.recover().action == CLEAN
    assert inside


# -- directories without the write bit, of who is not root

CLOSED = Dir({"closed": Dir({"a": File(b"a", 0o644, T + 1)}, 0o555, T + 2)}, mtime_ns=T + 3)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated disks belong to whoever asks, so who that is may be told."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def moved_away(world: World) -> None:
    world.rename("closed", "elsewhere")


def another_instead(world: World) -> None:
    moved_away(world)
    new_directory("closed")(world)


@pytest.mark.usefixtures("nobody")
def test_the_time_of_a_closed_directory_is_set_also_for_who_is_not_root(simulate: Make) -> None:
    world = simulate(CLOSED)

    def do(unit: UnitOfWork) -> None:
        unit.write("closed/b", b"b")
        unit.utime("closed", T + 50)

    receipt = world.store().commit_prepared(prepared(world, do))
    assert receipt.warnings == ()
    found = world.entry("closed")
    assert found is not None
    assert (found.mode, found.mtime_ns) == (0o555, T + 50)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("edit", [moved_away, another_instead])
def test_a_closed_directory_that_somebody_moved_does_not_stop_the_commit(simulate: Make, edit: Edit) -> None:
    world = simulate(CLOSED)
    unit_id = prepared(world, lambda unit: (unit.write("closed/b", b"b"), unit.write("c", b"c")))
    edit(world)
    world.store().commit_prepared(unit_id)
    assert world.content("c") == b"c"
    assert b"b" in world.all_contents()
    assert world.recover().action == CLEAN


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    "edit", [lambda world: world.write_into("closed/a", b"theirs"), moved_away, another_instead]
)
@pytest.mark.parametrize(
    "do",
    [lambda unit: unit.remove("closed"), lambda unit: (unit.remove("closed"), unit.write("closed", b"b"))],
)
def test_a_closed_directory_that_should_go_and_was_changed_does_not_stop_the_commit(
    simulate: Make, do: Do, edit: Edit
) -> None:
    world = simulate(CLOSED)
    unit_id = prepared(world, do)
    edit(world)
    before = world.all_contents()
    world.store().commit_prepared(unit_id)
    assert world.all_contents() >= before & {b"a", b"theirs"}
    assert world.recover().action == CLEAN


# -- a rename of which only half became durable


def test_a_file_in_both_places_is_one_file_and_no_conflict(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: unit.write("made", b"made"))
    with opened(world) as control, control.opened(PREPARED, unit_id, SLOTS) as slots:
        world.disk.link(slots, "0", control.root, "made")
    assert world.store().commit_prepared(unit_id).warnings == ()
    assert world.content("made") == b"made"
    assert world.control_names("conflicts") == []


def test_a_removed_file_that_is_in_both_places_goes(make: Make) -> None:
    world = make(BASE)
    unit_id = prepared(world, lambda unit: unit.remove("file"))
    with opened(world) as control, control.opened(PREPARED, unit_id, SLOTS) as slots:
        world.disk.link(control.root, "file", slots, "0")
    world.store().commit_prepared(unit_id)
    assert world.entry("file") is None
    assert world.control_names("history", unit_id, "slots") == ["0"]


def test_a_unit_without_a_coordinator_is_taken_forward_from_its_midst(tmp_path: Path, make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    everything(unit)
    resting = unit.prepare()
    with opened(world) as control, control.opened(PREPARED, resting.id, SLOTS) as slots:
        roll_forward(control, slots, resting.id, read_journal(control, PREPARED, resting.id).steps[:2])
    receipt = unit.commit()
    assert receipt.warnings == ()
    assert world.content("made-dir/inside") == b"inside"
    assert world.entry("dir") is None


# -- somebody acts between a look and the call that it was for

NAMING = {"rename_new", "exchange", "replace", "link"}


class Racer:
    """Acts on the disk right before calls that name ``path``: before the ``first``, and so often."""

    def __init__(self, world: World, path: str, *acts: Callable[[World], object], first: int = 1) -> None:
        self._world, self._name, self._acts = world, path.rpartition("/")[2], iter(acts)
        self._left, self._acting = first, False
        self.acted = 0

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> None:
        if self._acting or verb not in NAMING or self._name not in names:
            return
        self._left -= 1
        act = next(self._acts, None) if self._left <= 0 else None
        if act is not None:
            self._acting = True
            act(self._world)
            self._acting = False
            self.acted += 1


def create(path: str) -> Edit:
    return lambda world: world.create(path, b"theirs")


def unlink(path: str) -> Edit:
    return lambda world: world.unlink(path)


def rmdir(path: str) -> Edit:
    def edit(world: World) -> None:
        with world.place(path) as (at, name):
            world.disk.rmdir(at, name)

    return edit


RACES: list[tuple[Do, str, list[Edit], bytes | None]] = [
    # what is prepared, the path that somebody is at, what they do, what is there in the end
    (lambda unit: unit.write("made", b"new"), "made", [create("made")], b"new"),
    (lambda unit: unit.write("made", b"new"), "made", [create("made"), unlink("made")] * 4, b"new"),
    (lambda unit: unit.write("file", b"new"), "file", [unlink("file")], b"new"),
    (lambda unit: unit.write("file", b"new"), "file", [unlink("file"), create("file")] * 4, b"new"),
    (lambda unit: unit.remove("file"), "file", [unlink("file")], None),
    (lambda unit: unit.write("void/made", b"new"), "void/made", [rmdir("void")], None),
]


@pytest.mark.parametrize("traits", [{}, {"exchange": False}, {"exchange": False, "link": False}])
@pytest.mark.parametrize(("do", "path", "acts", "left"), RACES)
def test_a_writer_between_a_look_and_its_call_does_not_stop_a_commit(
    simulate: Make, traits: dict[str, bool], do: Do, path: str, acts: list[Edit], left: bytes | None
) -> None:
    world = simulate(Dir({**BASE.names, "void": Dir({})}), **traits)
    unit_id = prepared(world, do)
    world.sim.hook = racer = Racer(world, path, *acts)
    world.store().commit_prepared(unit_id)
    world.sim.hook = None
    assert racer.acted
    if path == "void/made":
        assert world.entry("void") is None
        assert b"new" in world.all_contents()  # kept aside
    else:
        assert (world.entry(path) and world.content(path)) == left
    assert (world.recover().action, world.control_names("prepared")) == (CLEAN, [])


TAKEN_BACK: list[tuple[Do, str, Edit, set[bytes]]] = [
    # what is committed, the path that somebody is at while it is taken back, what they do, what must be left
    (lambda unit: unit.remove("file"), "file", create("file"), {b"old", b"theirs"}),
    (lambda unit: unit.write("file", b"new"), "file", unlink("file"), {b"old"}),
    (lambda unit: unit.write("made", b"new"), "made", unlink("made"), set()),
]


@pytest.mark.parametrize(("do", "path", "act", "left"), TAKEN_BACK)
def test_a_writer_between_a_look_and_its_call_does_not_stop_a_rollback(
    simulate: Make, do: Do, path: str, act: Edit, left: set[bytes]
) -> None:
    world = simulate(BASE)
    called: list[str] = []
    unit = world.unit()
    do(unit)
    unit.write("other", b"new")
    unit.on_rollback(called.append, "called")
    drift = Racer(world, "other", lambda world: world.save("other", b"saved"))  # so all is taken back
    racer = Racer(world, path, act, first=2)  # the first call is that of the commit itself
    world.sim.hook = lambda *call: (drift(*call), racer(*call))[-1]
    with pytest.raises(StaleEntry):
        unit.commit()
    world.sim.hook = None
    unit.rollback()
    assert (racer.acted, called) == (1, ["called"])
    assert world.all_contents() >= {b"saved", *left}
    assert world.content("other") == b"saved"
    assert world.recover().action == CLEAN


def test_what_is_to_be_linked_and_is_gone_for_a_moment_is_drift_and_no_disk_error(simulate: Make) -> None:
    world = simulate(BASE)
    unit = world.unit()
    unit.move("file", "moved")
    struck = 0

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal struck
        if verb == "link" and not struck:
            struck += 1
            raise VerbFailed(errno.ENOENT)

    world.sim.hook = hook
    with pytest.raises(StaleEntry):
        unit.flush()
    unit.rollback()
    assert struck == 1
    assert world.content("file") == b"old"
