"""What of the history stays, in which order it goes, and what is never lost with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import NoSpace, RootError, UsageError
from atomsync.fs.posix import PosixDisk
from atomsync.store.decision import COMMIT, commit_name, read_decision, write_decision
from atomsync.store.retention import Usage, oldest_for
from atomsync.store.status import COMMITTED, FORGOTTEN, ROLLED_BACK
from atomsync.store.telling import PastUnit
from atomsync.sync.push import Report, push
from atomsync.testing import Dir, File, every_crash
from atomsync.unit.store import open_store
from tests.store.world import World, opened

Make = Callable[..., World]
BLOCK = 4096


def write(world: World, data: bytes, path: str = "f", **options: Any) -> str:
    with world.begin(**options) as unit:
        unit.write(path, data)
    return world.store().history()[0].unit_id


def prepare(world: World, path: str) -> str:
    unit = world.unit()
    unit.write(path, b"prepared")
    found = unit.prepare("a ledger")
    unit.close()
    return found.id


def ids(world: World) -> list[str]:
    """The first first."""
    return [unit.unit_id for unit in reversed(world.store().history())]


# -- the order of the commits


def test_the_last_unit_is_the_one_that_was_committed_last(make: Make) -> None:
    world = make()
    resting = prepare(world, "p")
    other = write(world, b"1")
    world.store().commit_prepared(resting)
    assert ids(world) == [other, resting]
    status = world.store().status()
    assert status.last is not None
    assert status.last.unit_id == resting
    after = write(world, b"2")
    assert ids(world) == [other, resting, after]
    assert after > other


def test_what_was_committed_first_is_given_up_first(make: Make) -> None:
    world = make()
    resting = prepare(world, "p")
    others = [write(world, b"%d" % number) for number in range(3)]
    world.store(keep=2).commit_prepared(resting)
    assert ids(world) == [others[-1], resting]
    last = write(world, b"x", keep=2)
    assert ids(world) == [resting, last]


def test_a_unit_is_later_than_the_commit_of_a_prepared_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock stands still, or goes back."""
    world = make()
    resting = prepare(world, "p")
    write(world, b"1")
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    world.store().commit_prepared(resting)
    assert ids(world)[-1] == resting
    last = write(world, b"2")
    assert ids(world)[-1] == last


def test_a_commit_that_was_cut_keeps_its_place(simulate: Make) -> None:
    world = simulate()
    resting = prepare(world, "p")
    other = write(world, b"1")
    for trial in every_crash(world.store(), lambda here: here.commit_prepared(resting), reboots=2):
        left = world.on(trial.store.disk)
        left.recover(resolver=lambda unit: True)
        after = write(left, b"2")
        assert ids(left) == [other, resting, after], trial[:3]


def test_a_decision_without_a_time_is_read_as_ever(make: Make) -> None:
    world = make()
    resting = prepare(world, "p")
    other = write(world, b"1")
    with opened(world) as control, control.opened("prepared", resting) as unit:
        write_decision(control, unit, resting, COMMIT, durable=True)
        assert read_decision(control, unit, resting) == COMMIT
        assert commit_name(control, unit, resting) == ""
    world.recover()
    assert sorted(ids(world)) == [resting, other]


@pytest.mark.parametrize(
    "at", ["x", "20240101-000000-00", "99999999-999999-999", "../../etc", "20240101-000000-000 x"]
)
def test_a_decision_with_a_bent_time_decides_nothing(make: Make, at: str) -> None:
    world = make()
    resting = prepare(world, "p")
    with opened(world) as control, control.opened("prepared", resting) as unit:
        write_decision(control, unit, resting, COMMIT, durable=True, at=at)
        assert read_decision(control, unit, resting) is None
        assert commit_name(control, unit, resting) == ""


def test_the_fate_of_a_unit_is_only_told_if_it_is_certain(make: Make) -> None:
    world = make()
    early, late = prepare(world, "p"), prepare(world, "q")
    world.store().rollback_prepared(late)
    world.store().commit_prepared(early)  # committed behind the other's time
    assert world.store().fate(late) == ROLLED_BACK
    assert world.store().fate(early) == COMMITTED
    lost = prepare(world, "r")
    world.store().commit_prepared(lost)
    world.store().gc(keep=0)
    for unit_id in (early, late, lost):
        assert world.store().fate(unit_id) == FORGOTTEN
    write(world, b"1")
    assert world.store().fate(lost) == FORGOTTEN
    resting = prepare(world, "s")
    world.store().rollback_prepared(resting)
    assert world.store().fate(resting) == ROLLED_BACK


# -- how much


def test_the_oldest_go_until_the_versions_that_stay_are_few_enough(make: Make) -> None:
    world = make(Dir({"f": File(bytes(BLOCK))}))
    made = [write(world, bytes([number]) * BLOCK) for number in (1, 2, 3)]
    assert [unit.bytes_kept for unit in world.store().history()] == [BLOCK] * 3
    made.append(write(world, b"4" * BLOCK, keep_bytes=2 * BLOCK))
    assert ids(world) == made[2:]
    made.append(write(world, b"5" * BLOCK, keep_bytes=2 * BLOCK, keep=1))
    assert ids(world) == made[-1:]


def test_a_unit_that_displaced_more_than_may_be_kept_says_so(make: Make) -> None:
    world = make(Dir({"f": File(bytes(3 * BLOCK))}))
    with world.unit(keep_bytes=BLOCK) as unit:
        unit.write("f", b"1")
        receipt = unit.commit()
    assert receipt.warnings == ("what it displaced is more than may be kept: it cannot be undone",)
    assert ids(world) == []
    assert world.content("f") == b"1"


def test_a_file_that_has_another_name_occupies_nothing(make: Make) -> None:
    world = make(Dir({"f": File(bytes(BLOCK))}))
    with world.place("f") as (at, name):
        world.disk.link(at, name, at, "g")
    write(world, b"1", keep_bytes=0)
    assert [unit.bytes_kept for unit in world.store().history()] == [0]


def test_a_file_that_went_with_all_its_names_is_counted_once(tmp_path: Path) -> None:
    world = World.made(PosixDisk(), str(tmp_path), Dir({"one": File(b"x" * 100_000)}))
    for name in ("two", "three"):
        os.link(tmp_path / "dst/one", tmp_path / f"dst/{name}")
    with world.begin() as unit:
        unit.remove("one")
        unit.remove("two")
    assert world.store().history()[0].bytes_kept == 0
    (tmp_path / "dst/three").unlink()
    assert 100_000 <= world.store().history()[0].bytes_kept < 200_000
    assert world.store().gc(keep_bytes=99_999).bytes >= 100_000


@pytest.mark.parametrize("limit", [{"keep": -1}, {"keep_bytes": -1}])
def test_a_limit_below_nothing_is_refused(tmp_path: Path, limit: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        open_store(tmp_path, **limit)  # type: ignore[arg-type]


def test_gc_gives_up_what_it_is_told_to_and_says_what_that_was(make: Make) -> None:
    world = make(Dir({"f": File(bytes(BLOCK))}))
    made = [write(world, bytes([number]) * BLOCK) for number in (1, 2, 3)]
    store, tree = world.store(), world.tree()
    assert store.gc() == ((), 0, 3, ())
    assert store.gc(keep=2) == ((made[0],), BLOCK, 2, ())
    assert store.gc(keep_bytes=BLOCK) == ((made[1],), BLOCK, 1, ())
    assert store.gc(keep=0) == ((made[2],), BLOCK, 0, ())
    assert world.tree() == tree
    assert world.control_names("retired") == []


def test_gc_makes_nothing_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    assert open_store(tmp_path / "dst").gc(keep=0) == ((), 0, 0, ())
    assert [*(tmp_path / "dst").iterdir()] == []
    with pytest.raises(RootError):
        open_store(tmp_path / "none").gc()


def test_gc_saves_what_a_late_writer_wrote(make: Make) -> None:
    world = make(Dir({"f": File(b"0"), "d": Dir({"x": File(b"0"), "y": File(b"0")})}))
    with world.begin() as unit:
        unit.write("f", b"1")
        unit.remove("d")
    (unit_id,) = ids(world)
    slots = f".atomsync/history/{unit_id}/slots"
    for slot in world.control_names("history", unit_id, "slots"):
        with world.place(f"{slots}/{slot}") as (at, name):
            is_dir = world.disk.lstat(at, name).st_mode & 0o170000 == 0o040000
        world.write_into(f"{slots}/{slot}/x" if is_dir else f"{slots}/{slot}", b"late!")
    found = world.store().gc(keep=0)
    assert len(found.warnings) == 2
    assert b"late!" in world.all_contents()


def test_a_directory_of_which_a_part_went_back_is_no_late_write(make: Make) -> None:
    world = make(Dir({"d": Dir({"x": File(b"0"), "e": Dir({"y": File(b"1")})})}))
    with world.begin() as unit:
        unit.remove("d")
    with world.begin() as unit:
        unit.write("f", b"1")
    world.store().restore("@")
    with world.begin() as unit:
        unit.mkdir("other")
    world.store().restore("@~2", ["d"])
    removed = ids(world)[0]
    world.store().undo(removed)
    assert world.content("d/e/y") == b"1"
    world.write_into("d/x", b"and goes on")
    assert world.store().gc(keep=0).warnings == ()
    assert world.content("d/x") == b"and goes on"
    assert world.control_names("conflicts") == []


# -- where there is no room


class Small:
    """A destination on a small filesystem, four sevenths full: a file, and three old versions of it."""

    def __init__(self, root: Path) -> None:
        self.src, self.dst = root / "src", root / "dst"
        self.src.mkdir()
        self.dst.mkdir()
        self.size = free(root) // 7 // BLOCK * BLOCK
        for number in range(4):
            self.push(f=number)
        self.units = [unit.unit_id for unit in reversed(self.history())]
        assert len(self.units) == 4

    def push(self, size: int = 0, **files: int) -> Report:
        for name, number in files.items():
            (self.src / name).unlink(missing_ok=True)
            (self.src / name).write_bytes(bytes([65 + number]) * (size or self.size))
        report = push(self.src, self.dst, keep=10)
        for name in files:
            (self.src / name).unlink()
        return report

    def history(self) -> tuple[PastUnit, ...]:
        return open_store(self.dst).history()


def free(root: Path) -> int:
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


@pytest.fixture(params=["tmpfs", "ext4", "btrfs"])
def small(request: pytest.FixtureRequest, small_fs: Any, tmp_path: Path) -> Small:
    root = small_fs(request.param, {"btrfs": 160}.get(request.param, 48))
    found = Small(root)
    source = tmp_path / "src"  # from now on: it takes no room there
    source.mkdir()
    found.src = source
    return found


def test_a_unit_that_does_not_fit_pushes_the_oldest_out_but_no_more_than_needed(small: Small) -> None:
    room = free(small.dst)
    receipt = small.push(room + small.size // 2, g=7).receipt
    assert receipt is not None
    first, second, *rest = small.units  # the first displaced nothing, the second a whole file
    told = f"the oldest of the history were given up, for its space was needed: {first}, {second}"
    assert receipt.warnings == (told,)
    assert [unit.unit_id for unit in reversed(small.history())] == [*rest, receipt.unit_id]
    assert (small.dst / "g").stat().st_size == room + small.size // 2


def test_where_even_all_of_it_would_not_do_nothing_is_given_up(small: Small) -> None:
    with pytest.raises(NoSpace):
        small.push(free(small.dst) + 4 * small.size, g=7)
    assert [unit.unit_id for unit in reversed(small.history())] == small.units


def test_what_a_restore_puts_back_is_not_given_up_to_make_room_for_it(make: Make) -> None:
    world = make(Dir({"f": File(bytes(BLOCK))}))
    one, two, three = [write(world, bytes([number]) * BLOCK) for number in (1, 2, 3)]
    with opened(world) as control:
        for needed, wanted, found in (
            ([], BLOCK, [one]),
            ([], BLOCK + 1, [one, two]),
            ([], 3 * BLOCK, [one, two, three]),
            ([], 3 * BLOCK + 1, []),
            ([three], 2 * BLOCK, [one, two]),
            ([two], 2 * BLOCK, []),
            ([one], 1, []),
        ):
            assert oldest_for(control, Usage(wanted), {}, needed) == found
