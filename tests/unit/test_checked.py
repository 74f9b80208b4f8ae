"""Texts, modes and paths are checked where they come in; an interrupt leaves a unit as it says it is."""

# ruff: noqa: PT012 -- where an exception comes from is said by its type

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import RootError, RootsOverlap, StaleEntry, UsageError
from atomsync.store.manifest import Manifest
from atomsync.store.recovery import CLEAN, FINISHED
from atomsync.store.session import Session
from atomsync.store.status import FORGOTTEN, NOTHING
from atomsync.sync.push import push
from atomsync.testing import Dir, File, SimDisk
from atomsync.tree.entry import FILE, Entry
from atomsync.unit import state
from atomsync.unit.expected import ABSENT
from atomsync.unit.maker import unit_maker
from atomsync.unit.store import Store, open_store
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
Step = Callable[[UnitOfWork, int], object]
T = 1_600_000_000_000_000_000
BASE = Dir({"file": File(b"old", 0o644, T + 1), "dir": Dir({}, 0o755, T + 2)}, mtime_ns=T + 3)
OTHER_USER = 12345
TOO_LONG = "x" * (2 << 20)


# -- the cost of a verb


def work_of(call: Callable[[], object]) -> int:
    """How many steps a call takes, of Python and calls of what is not: the same on any machine."""
    steps = 0

    def count(frame: Any, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(count)
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return steps


def cost(path: Path, number: int, step: Step, first: Step | None = None) -> int:
    """Of ``step`` for each of so many, after ``first`` for each."""
    path.mkdir()
    unit = UnitOfWork(open_store(path, durability="none"))
    with unit:
        unit.mkdir("few")
        for at in range(number if first else 0):
            assert first is not None
            first(unit, at)
        if first:
            unit.flush()
        found = work_of(lambda: [step(unit, at) for at in range(number)])
        unit.rollback()
    return found


def in_a_savepoint(unit: UnitOfWork, at: int) -> None:
    with unit.begin_nested():
        unit.write(f"f{at}", b"x")


def taken_back(unit: UnitOfWork, at: int) -> None:
    savepoint = unit.begin_nested()
    unit.write(f"f{at}", b"x")
    savepoint.rollback()


def listed(unit: UnitOfWork, at: int) -> None:
    unit.symlink(f"l{at}", "x")
    unit.listdir("few")


def write(unit: UnitOfWork, at: int) -> None:
    unit.write(f"f{at}", b"%d" % at)


def link(unit: UnitOfWork, at: int) -> None:
    unit.symlink(f"l{at}", "x")


VERBS = [
    pytest.param(link, None, id="symlink"),
    pytest.param(write, None, id="write"),
    pytest.param(lambda unit, at: unit.mkdir(f"d{at}"), None, id="mkdir"),
    pytest.param(lambda unit, at: unit.remove(f"l{at}"), link, id="remove"),
    pytest.param(lambda unit, at: unit.move(f"l{at}", f"m{at}"), link, id="move"),
    pytest.param(listed, None, id="listdir"),
    pytest.param(in_a_savepoint, None, id="savepoint"),
    pytest.param(taken_back, write, id="savepoint taken back"),
    pytest.param(lambda unit, at: unit.read(f"f{at}"), write, id="read"),
]


@pytest.mark.parametrize(("step", "first"), VERBS)
def test_a_verb_costs_the_same_however_much_is_pending(
    tmp_path: Path, step: Step, first: Step | None
) -> None:
    few, many = (cost(tmp_path / str(number), number, step, first) for number in (60, 480))
    assert many < 8 * few * 1.5  # eight times as many; all looked at each time would be 64


# -- a path means what the system says


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Any) -> Path:
    """Where ``link/..`` is not the directory that ``link`` is in: it is ``far``."""
    plant(
        tmp_path,
        {
            "far/deep": None,
            "far/D": None,
            "far/file": b"far",
            "D/precious": b"precious",
            "S/a": b"hello",
            "file": b"near",
            "link": "far/deep",
            "elsewhere": None,
        },
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if name != ".atomsync")


def test_a_push_goes_where_the_system_says_that_the_path_leads(away: Path) -> None:
    would = push("S", "link/../D", delete=True, dry_run=True)
    done = push("S", "link/../D", delete=True)
    assert would.changes
    assert [change.path for change in would.changes] == [change.path for change in done.changes]
    assert (names(away / "D"), names(away / "far/D")) == (["precious"], ["a"])
    assert not (away / "D" / ".atomsync").exists()


def test_a_push_into_its_own_source_is_refused_by_whatever_way_it_is_named(away: Path) -> None:
    (away / "inside").symlink_to("S/deep")
    (away / "S/deep").mkdir()
    with pytest.raises(RootsOverlap):
        push("S", "inside/../../S", delete=True)
    assert names(away / "S") == ["a", "deep"]


def test_a_store_is_where_the_system_says_also_after_a_chdir(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("link/../D")
    monkeypatch.chdir(away / "elsewhere")
    with store.begin() as unit:
        unit.write("new", b"new")
    assert (names(away / "D"), names(away / "far/D")) == (["precious"], ["new"])
    assert store.status().last is not None


def test_a_state_directory_is_where_the_system_says_also_after_a_chdir(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("D", state_dir="link/../state")
    monkeypatch.chdir(away / "elsewhere")
    with store.begin() as unit:
        unit.write("new", b"new")
    assert (away / "far/state").is_dir()
    assert not (away / "state").exists()
    assert names(away / "D") == ["new", "precious"]


def test_a_file_that_is_put_is_the_one_the_system_means(away: Path) -> None:
    with open_store("D").begin() as unit:
        unit.put("put", "link/../file")
        unit.put("near", "file")
    assert ((away / "D/put").read_bytes(), (away / "D/near").read_bytes()) == (b"far", b"near")


# -- bits that lend rights


def owned(world: World, path: str, mode: int, uid: int, gid: int) -> None:
    with world.place(path) as (at, name):
        world.disk.set_meta_at(at, name, uid, gid, None, None)
        world.disk.set_meta_at(at, name, -1, -1, mode, None)


def mode_of(world: World, path: str) -> int:
    found = world.entry(path)
    assert found is not None
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    return found.mode


LENDING = [
    # is the owner, is the group ours; what is left of 06755
    (True, True, 0o6755),
    (False, True, 0o2755),
    (True, False, 0o4755),
    (False, False, 0o755),
]


@pytest.mark.parametrize(("own", "group", "left"), LENDING)
def test_what_is_made_of_somebody_elses_file_lends_nobody_our_rights(
    simulate: Make, own: bool, group: bool, left: int
) -> None:
    world = simulate(Dir({"file": File(b"old"), "there": File(b"there"), "opened": File(b"opened")}))
    uid = os.geteuid() if own else OTHER_USER
    gid = os.getegid() if group else OTHER_USER
    for path in ("file", "there", "opened"):
        owned(world, path, 0o6755, uid, gid)
    with world.begin() as unit:
        unit.put("put", f"{world.dst}/file")
        unit.write("there", b"new")
        with unit.open("opened") as file:
            file.write(b"new")
    assert [mode_of(world, path) for path in ("put", "there", "opened")] == [left] * 3


def test_what_is_put_over_somebody_elses_file_has_the_mode_of_its_source(simulate: Make) -> None:
    world = simulate(Dir({"mine": File(b"mine", 0o700), "there": File(b"there")}))
    owned(world, "there", 0o6777, OTHER_USER, OTHER_USER)
    with world.begin() as unit:
        unit.put("there", f"{world.dst}/mine")
    assert mode_of(world, "there") == 0o700


def test_bits_that_are_asked_for_are_given(simulate: Make) -> None:
    world = simulate(Dir({"there": File(b"there")}))
    owned(world, "there", 0o6777, OTHER_USER, OTHER_USER)
    with world.begin() as unit:
        unit.write("there", b"new", mode=0o4750)
        with unit.open("made", permissions=0o2750) as file:
            file.write(b"made")
    assert (mode_of(world, "there"), mode_of(world, "made")) == (0o4750, 0o2750)


@pytest.mark.usefixtures("needs_root")
def test_no_upload_becomes_a_program_of_roots(public_dir: Path) -> None:
    upload, store = public_dir / "upload", public_dir / "store"
    store.mkdir()
    for path in (upload, store / "there"):
        path.write_bytes(b"evil")
        os.chown(path, OTHER_USER, OTHER_USER)
        path.chmod(0o6755)
    with open_store(store).begin() as unit:
        unit.put("put", upload)
        unit.write("there", b"new")
    assert [(store / name).stat().st_mode & 0o7777 for name in ("put", "there")] == [0o755, 0o755]
    assert [(store / name).stat().st_uid for name in ("put", "there")] == [0, 0]


# -- a verb that refuses has done nothing

REFUSED: dict[str, Callable[[UnitOfWork], object]] = {
    "a directory whose digest is expected": lambda unit: unit.mkdir("p/q/r", parents=True, expected="0" * 32),
    "a directory below a file": lambda unit: unit.mkdir("file/q/r", parents=True),
    "a directory with another mode": lambda unit: unit.mkdir("p/q", parents=True, mode=-1),
    "a directory that must not exist": lambda unit: unit.mkdir("dir", parents=True, expected=ABSENT),
    "a link without a text": lambda unit: unit.symlink("made", ""),
    "a link to a NUL": lambda unit: unit.symlink("made", "a\0b"),
    "a file whose name has a NUL": lambda unit: unit.write("a\0b", b""),
    "a source with a NUL": lambda unit: unit.put("made", "evil\0"),
    "no source": lambda unit: unit.put("made", ""),
    "the mode of open": lambda unit: unit.write("made", b"", mode="w"),  # type: ignore[arg-type]
    "a mode below zero": lambda unit: unit.write("made", b"", mode=-1),
    "a mode that is too large": lambda unit: unit.write("made", b"", mode=0o10000),
    "permissions that are a text": lambda unit: unit.open("made", permissions="rw"),  # type: ignore[call-overload]
    "a mode for chmod below zero": lambda unit: unit.chmod("file", -1),
    "a mode for chmod that is none": lambda unit: unit.chmod("file", 0.5),  # type: ignore[arg-type]
    "a new path outside": lambda unit: unit.register_new("../victim", ENTRY),
    "a changed path outside": lambda unit: unit.register_dirty("../victim", ENTRY, ENTRY),
    "a removed path outside": lambda unit: unit.register_removed("../victim", ENTRY),
    "a path that goes up and down": lambda unit: unit.register_removed("dir/../file", ENTRY),
    "an absolute path": lambda unit: unit.register_removed("/etc/victim", ENTRY),
    "our own directory": lambda unit: unit.register_removed(".atomsync/history", ENTRY),
}
ENTRY = Entry(FILE, 0o644, 3, T, 0, 0, "", ino=1)


@pytest.mark.parametrize("deed", REFUSED.values(), ids=REFUSED.keys())
def test_a_verb_that_refuses_has_done_nothing_and_the_unit_goes_on(
    make: Make, deed: Callable[[UnitOfWork], object]
) -> None:
    world = make(BASE)
    with world.begin() as unit:
        with pytest.raises((UsageError, StaleEntry)):
            deed(unit)
        assert not unit.new | unit.dirty | unit.removed
        unit.write("other", b"other")
    assert world.tree(directory_times=False).names.keys() == {"file", "dir", "other"}
    assert world.content("file") == b"old"


def test_a_refused_path_is_told_without_a_way_that_cannot_help(make: Make) -> None:
    world = make(BASE)
    with world.unit() as unit:
        with pytest.raises(UsageError) as below_a_file:
            unit.write("file/below", b"x")
        with pytest.raises(UsageError) as below_nothing:
            unit.write("none/below", b"x")
    assert "mkdir" not in below_a_file.value.hint
    assert "mkdir" in below_nothing.value.hint


# -- texts that go into the journal

NO_TEXTS = {
    "a number": 5,
    "a truth": True,
    "bytes": b"x",
    "a list": ["x"],
    "a lone surrogate": "\ud800",
    "too long": TOO_LONG,
}


def check_sound(world: World) -> None:
    assert world.recover().action == CLEAN
    assert world.store().prepared() == ()
    with world.begin() as unit:
        unit.write("file", b"newer")
    assert world.content("file") == b"newer"


@pytest.mark.parametrize("text", [None, *NO_TEXTS.values()], ids=["nothing", *NO_TEXTS.keys()])
def test_what_is_no_text_is_refused_as_a_coordinator_and_the_unit_goes_on(make: Make, text: Any) -> None:
    world = make(BASE)
    with world.unit() as unit:
        unit.write("file", b"new")
        called: list[str] = []
        unit.on_rollback(called.append, "called")
        with pytest.raises(UsageError, match="coordinator"):
            unit.prepare(text)
        assert (unit.state, unit.dirty, called) == (state.PENDING, {"file"}, [])
        assert world.content("file") == b"old"
        unit.commit()
    assert world.content("file") == b"new"
    check_sound(world)


@pytest.mark.parametrize("text", [None, *NO_TEXTS.values()], ids=["nothing", *NO_TEXTS.keys()])
def test_what_is_no_text_is_refused_as_a_message(make: Make, text: Any) -> None:
    world = make(BASE)
    with pytest.raises(UsageError, match="message"):
        world.store().begin(message=text).__enter__()
    with pytest.raises(UsageError, match="message"):
        UnitOfWork(world.store(), message=text)
    check_sound(world)


@pytest.mark.parametrize("text", ["", "ü\n\t", "\udcff", "\x01" * (1 << 16)], ids=["", "ü", "a byte", "long"])
def test_every_text_that_is_taken_can_be_read_again(make: Make, text: str) -> None:
    world = make(BASE)
    with UnitOfWork(world.store(), message=text) as unit:
        unit.write("file", b"new")
        resting = unit.prepare(text)
    assert world.store().prepared() == (resting._replace(live=False),)
    assert (resting.message, resting.coordinator) == (text, text)
    world.store().commit_prepared(resting.id)
    assert world.store().status().last is not None
    check_sound(world)


def test_a_maker_takes_no_message_for_the_usual_one(make: Make) -> None:
    world = make(BASE)
    with unit_maker(world.store())(message=None) as unit:
        assert unit.message == ""


# -- interrupted behind the commit point, and before it


class Outcome:
    def __init__(self, world: World, unit: UnitOfWork, called: list[str]) -> None:
        self.state, self.called = unit.state, bool(called)
        world.recover()
        self.content = world.content("file")


def interrupted(world: World, interrupt: Callable[[SimDisk, int], None], at: int) -> Outcome | None:
    """How a unit ended that was interrupted there; None if it had ended by then."""
    after = world.on(world.sim.copy())
    called: list[str] = []
    try:
        with after.unit() as unit:
            unit.write("file", b"new")
            unit.write("made", b"made")
            unit.on_rollback(called.append, "called")
            unit.flush()
            interrupt(after.sim, at)
            unit.commit()
    except KeyboardInterrupt:
        after.sim.hook = None
        return Outcome(after, unit, called)
    return None


def before_a_call(disk: SimDisk, at: int) -> None:
    first = len(disk.log)

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index == first + at:
            raise KeyboardInterrupt

    disk.hook = hook


def behind_a_sync(disk: SimDisk, at: int) -> None:
    syncs: Iterator[int] = iter(range(1_000_000))

    def behind(sync: Callable[[int], None]) -> Callable[[int], None]:
        def verb(fd: int) -> None:
            sync(fd)
            if next(syncs) == at:
                raise KeyboardInterrupt

        return verb

    for name in ("fsync", "syncfs"):
        setattr(disk, name, behind(getattr(disk, name)))


TAKEN_BACK, IN_DOUBT = (state.ROLLED_BACK, True), (state.ROLLED_BACK, False)
COMMITTED = (state.COMMITTED, False)


@pytest.mark.parametrize(
    ("interrupt", "ends"),
    [(before_a_call, [TAKEN_BACK, IN_DOUBT, COMMITTED]), (behind_a_sync, [TAKEN_BACK, IN_DOUBT])],
    ids=["before a call", "behind a sync"],
)
def test_an_interrupted_commit_is_what_its_unit_says_it_is_wherever_it_comes(
    simulate: Make, interrupt: Callable[[SimDisk, int], None], ends: list[tuple[str, bool]]
) -> None:
    world = simulate(BASE)
    with world.begin() as unit:  # what a first unit makes is there
        unit.write("other", b"other")
    seen = []
    at = 0
    while (found := interrupted(world, interrupt, at)) is not None:
        at += 1
        seen.append((found.state, found.called))
        if found.state == state.COMMITTED:
            assert (found.content, found.called) == (b"new", False)
        elif found.called:
            assert (found.state, found.content) == (state.ROLLED_BACK, b"old")
    assert seen == sorted(seen, key=ends.index)
    assert set(seen) == set(ends)
    assert seen.count(IN_DOUBT) <= 2  # only from the first byte of the record that decides to its sync


def raising(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["manifest", "prune", "retire"])
@pytest.mark.parametrize("exclusive", [False, True])
def test_an_interrupt_while_it_tidies_up_leaves_the_unit_committed(
    make: Make, monkeypatch: pytest.MonkeyPatch, where: str, exclusive: bool
) -> None:
    world = make(BASE)
    called: list[str] = []
    place, name = {
        "manifest": (Manifest, "apply"),
        "prune": ("atomsync.store.session", "prune"),
        "retire": (Session, "_retire"),
    }[where]
    with pytest.raises(KeyboardInterrupt), UnitOfWork(world.store(), exclusive=exclusive) as unit:
        unit.write("file", b"new")
        unit.on_rollback(called.append, "called")
        with monkeypatch.context() as patched:
            target = place if not isinstance(place, str) else sys.modules[place]
            patched.setattr(target, name, raising)
            unit.commit()
    assert (unit.state, called) == (state.COMMITTED, [])
    assert world.content("file") == b"new"
    assert world.recover().action == (FINISHED if where == "retire" else CLEAN)
    check_sound(world)


def test_an_interrupt_before_the_commit_point_takes_all_of_it_back(make: Make) -> None:
    world = make(BASE)
    called: list[str] = []
    store = world.store()

    @store.listens_for("before_commit")
    def interrupt(unit: UnitOfWork) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), UnitOfWork(store) as unit:
        unit.write("file", b"new")
        unit.on_rollback(called.append, "called")
        unit.commit()
    assert (unit.state, called) == (state.ROLLED_BACK, ["called"])
    assert world.content("file") == b"old"
    check_sound(world)


# -- a store that is not there

LOOKS: dict[str, tuple[Callable[[Store], object], object]] = {
    "status": (Store.status, NOTHING),
    "prepared": (Store.prepared, ()),
    "coordinators": (Store.coordinators, frozenset()),
    "fate": (lambda store: store.fate("20260101-000000-000"), FORGOTTEN),
    "recover": (lambda store: store.recover().action, CLEAN),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_store_that_is_not_there_yet_is_an_empty_one(tmp_path: Path, look: str) -> None:
    ask, nothing = LOOKS[look]
    assert ask(open_store(tmp_path / "none")) == nothing
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "what",
    [
        "a file",
        "a link to nothing",
    ],
)
def test_what_is_no_directory_is_no_store(tmp_path: Path, plant: Any, look: str, what: str) -> None:
    plant(tmp_path, {"it": b"x" if what == "a file" else "nowhere"})
    with pytest.raises(RootError) as refused:
        LOOKS[look][0](open_store(tmp_path / "it"))
    assert refused.value.exit_status == 3
    assert os.listdir(tmp_path) == ["it"]


def test_a_first_unit_that_was_killed_before_its_decision_holds_nobody_up(tmp_path: Path) -> None:
    """Where another store decides, and that one is made by its first decision."""
    decisions = open_store(tmp_path / "decisions")

    def resolver(prepared: Any) -> bool:
        decisions.recover()
        return decisions.status().exists

    site = open_store(tmp_path / "site", resolver=resolver)
    unit = UnitOfWork(site)
    unit.write("a", b"first")
    unit.prepare("decisions")
    unit.close()
    assert len(site.recover().settled) == 1
    with site.begin() as another:
        another.write("a", b"second")
    assert (tmp_path / "site/a").read_bytes() == b"second"
