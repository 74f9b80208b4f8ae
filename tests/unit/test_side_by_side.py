"""Many units on one store: pending side by side, committed one by one, never in each other's way."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store
from atomsync.errors import AtomSyncError, RootError, StaleEntry, StoreLocked, UnitStateError
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.store.recovery import CLEAN
from atomsync.unit.work import UnitOfWork
from tests.proof.figures import scaled

Act = Callable[[], object]
WaitUntil = Callable[..., Any]
VERBS = sorted(name for name in vars(Disk) if not name.startswith("_"))
PATIENCE_S = 20
# Between any two of these calls lies an instant of its own: what another does there, the second may see.
INSTANTS = (
    *("open_root", "open_dir", "open_lock", "scandir", "lstat"),
    *("mkdir", "create", "unlink", "rmdir", "replace", "try_lock", "unlock"),
)


class At(PosixDisk):
    """The real disk; once, at the ``nth`` of the calls that ``which`` picks, something happens before it."""

    def __init__(
        self,
        act: Act,
        which: Callable[..., bool] = lambda verb, *names: True,
        *,
        nth: int = 1,
        behind: bool = False,
    ) -> None:
        super().__init__()
        self.act, self.which, self.left, self.behind = act, which, nth, behind
        for verb in VERBS:
            setattr(self, verb, self._hooked(verb, getattr(self, verb)))

    @property
    def has_happened(self) -> bool:
        return self.left <= 0

    def _hooked(self, verb: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            mine = self.left > 0 and self.which(verb, *arguments)
            self.left -= mine
            now = mine and self.left == 0
            if now and not self.behind:
                self.act()
            found = real(*arguments, **options)
            if now and self.behind:
                self.act()
            return found

        return call


class Halt:
    """Where another thread is to stand still until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE_S), "nobody told it to go on"


def swap_of(name: str) -> Callable[..., bool]:
    """The call that makes ``name`` visible."""
    return lambda verb, *arguments: verb in ("rename_new", "exchange") and arguments[3] == name


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """A store with one file and one finished unit."""
    path = tmp_path / "dst"
    path.mkdir()
    with open_store(path).begin() as unit:
        unit.write("old", b"old")
    return path


def stages(dst: Path) -> list[str]:
    pending = dst / ".atomsync" / "pending"
    return sorted(os.listdir(pending)) if pending.exists() else []


def files(dst: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dst.iterdir() if path.is_file()}


@contextlib.contextmanager
def in_its_commit(dst: Path, name: str = "slow") -> Iterator[None]:
    """For the time of a ``with`` another unit stands in the midst of its commit, the store's lock in hand."""
    halt = Halt()
    unit = UnitOfWork(open_store(dst, disk=At(halt, swap_of(name))))
    unit.write(name, b"slow")
    with ThreadPoolExecutor(1) as pool:
        commit = pool.submit(unit.commit)
        assert halt.reached.wait(PATIENCE_S)
        try:
            yield
        finally:
            halt.go_on.set()
            commit.result(PATIENCE_S)


# -- pending at once
def test_units_of_many_threads_are_pending_at_once_and_all_are_committed(dst: Path) -> None:
    store, all_pending, number = open_store(dst), threading.Barrier(8), 8

    def work(at: int) -> str:
        with store.begin() as unit:
            unit.write(f"f{at}", b"%d" % at)
            unit.flush()
            all_pending.wait(PATIENCE_S)
            assert len(stages(dst)) == number
            all_pending.wait(PATIENCE_S)
            return unit.commit().unit_id

    with ThreadPoolExecutor(number) as pool:
        ids = [*pool.map(work, range(number))]
    assert files(dst) == {"old": b"old", **{f"f{at}": b"%d" % at for at in range(number)}}
    assert len({*ids}) == number
    assert stages(dst) == []


def test_units_of_many_processes_are_pending_at_once_and_all_are_committed(
    dst: Path, wait_until: WaitUntil
) -> None:
    store, number = open_store(dst), 4
    held, go = os.pipe()
    pids = []
    for at in range(number):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.close(go)
                with store.begin() as unit:
                    unit.write(f"f{at}", b"%d" % at)
                    unit.flush()
                    os.read(held, 1)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(held)
    try:
        wait_until(lambda: len(stages(dst)) == number)
        assert files(dst) == {"old": b"old"}
    finally:
        os.close(go)
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * number
    assert files(dst) == {"old": b"old", **{f"f{at}": b"%d" % at for at in range(number)}}
    assert stages(dst) == []


def test_units_may_be_nested_in_one_thread_and_know_nothing_of_each_other(dst: Path) -> None:
    store = open_store(dst)
    with store.begin() as outer:
        outer.write("outer", b"1")
        with store.begin() as inner:
            inner.write("inner", b"2")
            assert (outer.new, inner.new) == ({"outer"}, {"inner"})
            assert not inner.exists("outer")
        assert outer.exists("inner")
        with pytest.raises(KeyError), store.begin() as inner:  # noqa: PT012
            inner.write("given up", b"3")
            raise KeyError
        assert files(dst) == {"old": b"old", "inner": b"2"}
    assert files(dst) == {"old": b"old", "inner": b"2", "outer": b"1"}


def test_of_two_units_that_change_one_path_the_first_to_commit_wins_and_the_other_is_told(dst: Path) -> None:
    store = open_store(dst)
    first, second = UnitOfWork(store), UnitOfWork(store)
    first.write("old", b"of the first")
    second.write("old", b"of the second")
    second.write("other", b"of the second")
    second.flush()
    first.commit()
    with pytest.raises(StaleEntry, match="old"):
        second.commit()
    second.rollback()
    assert files(dst) == {"old": b"of the first"}
    assert stages(dst) == []
    with store.begin() as again:
        again.write("old", again.read("old") + b", then of the second")
    assert files(dst) == {"old": b"of the first, then of the second"}


def test_what_others_commit_meanwhile_in_the_same_directory_is_kept(dst: Path) -> None:
    store = open_store(dst)
    with store.begin() as unit:
        unit.mkdir("dir")
        unit.write("dir/there", b"0")
    first, second = UnitOfWork(store), UnitOfWork(store)
    first.write("dir/first", b"1")
    second.write("dir/second", b"2")
    second.chmod("dir/there", 0o600)
    first.commit()
    second.commit()
    assert files(dst / "dir") == {"there": b"0", "first": b"1", "second": b"2"}


# -- the lock
def test_a_commit_waits_for_anothers(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    unit.write("patient", b"2")
    with ThreadPoolExecutor(1) as pool:
        with in_its_commit(dst):
            commit = pool.submit(unit.commit)
            with pytest.raises(TimeoutError):
                commit.result(0.2)
            assert files(dst) == {"old": b"old"}
        assert commit.result(PATIENCE_S).created == 1
    assert files(dst) == {"old": b"old", "slow": b"slow", "patient": b"2"}


def test_the_timeout_over_a_unit_is_refused_with_the_name_of_the_holder_and_stays_pending(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst, timeout=0.3))
    unit.write("refused", b"kept")
    evidence = unit.flush()
    with in_its_commit(dst):
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreLocked, match=rf"process {os.getpid()} .* since \d{{4}}-"):
                unit.commit()
            assert 0.3 <= time.monotonic() - began < 0.3 + 2
            assert unit.state == "pending"
        assert unit.read("refused") == b"kept"
        assert unit.flush() == evidence
    unit.write("more", b"more")
    assert unit.commit().created == 2
    assert files(dst) == {"old": b"old", "slow": b"slow", "refused": b"kept", "more": b"more"}


def test_the_holder_in_another_process_is_the_one_that_is_named(dst: Path) -> None:
    told, tell = os.pipe()
    held, go = os.pipe()
    holder = os.fork()
    if not holder:
        try:
            os.close(go)
            with open_store(dst).session():
                os.write(tell, b"x")
                os.read(held, 1)
        finally:
            os._exit(0)
    os.close(held)
    try:
        assert os.read(told, 1) == b"x"
        unit = UnitOfWork(open_store(dst, timeout=0))
        unit.write("new", b"1")
        with pytest.raises(StoreLocked) as refused:
            unit.commit()
        named = re.search(r"process (\d+) ", str(refused.value))
        assert named is not None
        assert int(named[1]) == holder
        assert open_store(dst).status().holder.startswith(f"process {holder} ")
    finally:
        for fd in (go, told, tell):
            os.close(fd)
        os.waitpid(holder, 0)
    assert unit.commit().created == 1


def test_the_end_of_a_with_block_that_cannot_have_the_lock_rolls_back(dst: Path) -> None:
    called: list[str] = []
    with contextlib.ExitStack() as other:
        with pytest.raises(StoreLocked), open_store(dst, timeout=0).begin() as unit:  # noqa: PT012
            unit.write("refused", b"1")
            unit.on_rollback(called.append, "taken back")
            other.enter_context(in_its_commit(dst))
        assert files(dst) == {"old": b"old"}
    assert (unit.state, called) == ("rolled back", ["taken back"])
    assert files(dst) == {"old": b"old", "slow": b"slow"}
    assert stages(dst) == []


def test_while_another_commits_a_unit_goes_on_staging_and_may_be_rolled_back(dst: Path) -> None:
    store = open_store(dst, timeout=0)
    kept, given_up = UnitOfWork(store), UnitOfWork(store)
    for unit in (kept, given_up):
        unit.write("before", b"1")
    with in_its_commit(dst):
        kept.write("during", b"2")
        kept.remove("old")
        assert [staged.path for staged in kept.flush()] == ["before", "during"]
        given_up.rollback()
        assert len(stages(dst)) == 1
    kept.commit()
    assert files(dst) == {"slow": b"slow", "before": b"1", "during": b"2"}


def test_a_unit_that_begins_while_another_commits_waits_and_then_sees_all_of_it(dst: Path) -> None:
    """What is visible by then may yet be taken back."""
    store = open_store(dst)
    with ThreadPoolExecutor(1) as pool:
        with in_its_commit(dst):
            with pytest.raises(StoreLocked, match=f"process {os.getpid()} "):
                UnitOfWork(open_store(dst, timeout=0)).listdir()
            unit = UnitOfWork(store)
            names = pool.submit(unit.listdir)
            with pytest.raises(TimeoutError):
                names.result(0.1)
        assert names.result(PATIENCE_S) == ["old", "slow"]
    unit.rollback()


# -- one unit, two threads
CALLS: list[tuple[str, Callable[[UnitOfWork], object]]] = [
    ("write", lambda unit: unit.write("x", b"")),
    ("open", lambda unit: unit.open("x")),
    ("open to read", lambda unit: unit.open("old", "rb")),
    ("put", lambda unit: unit.put("x", "/etc/passwd")),
    ("mkdir", lambda unit: unit.mkdir("x")),
    ("symlink", lambda unit: unit.symlink("x", "y")),
    ("remove", lambda unit: unit.remove("old")),
    ("move", lambda unit: unit.move("old", "x")),
    ("chmod", lambda unit: unit.chmod("old", 0o600)),
    ("utime", lambda unit: unit.utime("old")),
    ("read", lambda unit: unit.read("old")),
    ("exists", lambda unit: unit.exists("old")),
    ("digest", lambda unit: unit.digest("old")),
    ("listdir", lambda unit: unit.listdir()),
    ("walk", lambda unit: next(unit.walk())),
    ("on_rollback", lambda unit: unit.on_rollback(print)),
    ("expunge_all", lambda unit: unit.expunge_all()),
    ("flush", lambda unit: unit.flush()),
    ("begin_nested", lambda unit: unit.begin_nested()),
    ("prepare", lambda unit: unit.prepare()),
    ("commit", lambda unit: unit.commit()),
    ("rollback", lambda unit: unit.rollback()),
    ("close", lambda unit: unit.close()),
    ("begin", lambda unit: unit.begin().__enter__()),
    ("with", lambda unit: unit.__enter__()),
]


@pytest.mark.parametrize(("verb", "call"), CALLS, ids=[verb for verb, _ in CALLS])
def test_a_unit_that_one_thread_uses_is_refused_to_another(
    verb: str, call: Callable[[UnitOfWork], object], dst: Path
) -> None:
    halt = Halt()
    unit = UnitOfWork(open_store(dst, disk=At(halt, lambda verb, *arguments: verb == "write")))
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(unit.write, "mine", b"1")
        assert halt.reached.wait(PATIENCE_S)
        try:
            with pytest.raises(UnitStateError, match="another thread"):
                call(unit)
        finally:
            halt.go_on.set()
        write.result(PATIENCE_S)
    assert (unit.new, unit.removed, unit.state) == ({"mine"}, set(), "pending")
    unit.commit()
    assert files(dst) == {"old": b"old", "mine": b"1"}


def test_a_savepoint_is_refused_to_another_thread_with_its_unit(dst: Path) -> None:
    halt = Halt()
    unit = UnitOfWork(open_store(dst, disk=At(halt, lambda verb, *arguments: verb == "write")))
    savepoint = unit.begin_nested()
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(unit.write, "mine", b"1")
        assert halt.reached.wait(PATIENCE_S)
        for end in (savepoint.commit, savepoint.rollback):
            with pytest.raises(UnitStateError, match="another thread"):
                end()
        halt.go_on.set()
        write.result(PATIENCE_S)
    savepoint.rollback()
    assert unit.new == set()
    unit.rollback()


# -- units begun by listeners
@pytest.mark.parametrize("event", ["before_flush", "after_flush", "before_commit", "after_commit"])
def test_a_listener_may_commit_a_unit_of_its_own_on_the_same_store(event: str, dst: Path) -> None:
    store = open_store(dst, timeout=0)
    heard: list[str] = []

    @store.listens_for(event)
    def listener(unit: UnitOfWork, *about: object) -> None:
        if unit.message == "of the listener":
            return
        heard.append(event)
        with store.begin(message="of the listener") as own:
            own.write(f"log{len(heard)}", event.encode())

    with store.begin() as unit:
        unit.write("new", b"1")
    assert heard == [event]
    assert files(dst) == {"old": b"old", "new": b"1", "log1": event.encode()}


def test_a_listener_of_a_rollback_may_commit_a_unit_of_its_own(dst: Path) -> None:
    store = open_store(dst, timeout=0)

    @store.listens_for("after_rollback")
    def listener(unit: UnitOfWork) -> None:
        with store.begin() as own:
            own.write("log", b"rolled back")

    unit = UnitOfWork(store)
    unit.write("new", b"1")
    unit.rollback()
    assert files(dst) == {"old": b"old", "log": b"rolled back"}


def left_by_the_dead(dst: Path) -> None:
    """The stage of a process that is gone."""
    pid = os.fork()
    if not pid:
        try:
            unit = UnitOfWork(open_store(dst))
            unit.write("never", b"seen")
            unit.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_a_listener_of_a_recovery_may_commit_a_unit_of_its_own(dst: Path) -> None:
    store = open_store(dst, timeout=0)

    @store.listens_for("after_recover")
    def listener(store: Any, found: Any) -> None:
        with store.begin() as own:
            own.write("log", found.action.encode())

    left_by_the_dead(dst)
    with store.begin() as unit:
        unit.write("new", b"1")
    assert files(dst) == {"old": b"old", "new": b"1", "log": b"discarded"}


# -- dead stages and living ones
def test_the_stage_of_a_dead_process_goes_with_the_next_commit_and_those_of_the_living_stay(
    dst: Path,
) -> None:
    living = UnitOfWork(open_store(dst))
    living.write("living", b"1")
    left_by_the_dead(dst)
    assert len(stages(dst)) == 2
    assert "recovery" in open_store(dst).status().unfinished
    with open_store(dst).begin() as unit:
        unit.write("next", b"2")
    assert len(stages(dst)) == 1
    living.commit()
    assert files(dst) == {"old": b"old", "next": b"2", "living": b"1"}
    assert open_store(dst).recover().action == CLEAN


def test_the_recovery_that_finds_only_living_stages_does_nothing(dst: Path) -> None:
    living = UnitOfWork(open_store(dst))
    living.write("living", b"1")
    assert open_store(dst).status().unfinished == ""
    assert open_store(dst).recover().action == CLEAN
    living.commit()


# -- two stores
def test_two_stores_on_one_path_are_one_store_and_on_two_paths_two(dst: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dst)
    (tmp_path / "other").mkdir()
    same, by_link, other = (open_store(tmp_path / name, timeout=0) for name in ("dst", "link", "other"))
    units = [UnitOfWork(store) for store in (same, by_link, other)]
    for number, unit in enumerate(units):
        unit.write(f"f{number}", b"")
    assert len(stages(dst)) == 2
    with same.session():
        with pytest.raises(StoreLocked):
            units[1].commit()
        units[2].commit()
    units[1].commit()
    units[0].commit()
    assert files(dst) == {"old": b"old", "f0": b"", "f1": b""}
    assert files(tmp_path / "other") == {"f2": b""}


def test_listeners_and_options_of_a_store_are_its_own(dst: Path) -> None:
    heard: list[str] = []
    deaf, hearing = open_store(dst, keep=1), open_store(dst, keep=9)

    @hearing.listens_for("after_commit")
    def listener(unit: UnitOfWork, receipt: object) -> None:
        heard.append(unit.message)

    for number in range(3):
        with hearing.begin(message=f"heard {number}") as unit:
            unit.write("f", b"%d" % number)
    assert len(os.listdir(dst / ".atomsync" / "history")) == 4
    with deaf.begin(message="unheard") as unit:
        unit.write("f", b"")
    assert heard == ["heard 0", "heard 1", "heard 2"]
    assert len(os.listdir(dst / ".atomsync" / "history")) == 1


# -- every instant of a store that comes and goes
class Place:
    """A destination that is made anew for every instant that is tried."""

    def __init__(self, base: Path, *, exists: bool, state: bool) -> None:
        self.base, self.exists = base, exists
        self.dst, self.state_dir = base / "dst", base / "state" if state else None

    def fresh(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        self.base.mkdir()
        if self.exists:
            self.dst.mkdir()

    def unit(self, disk: PosixDisk | None = None) -> UnitOfWork:
        options = {"timeout": 0, "durability": "none", "state_dir": self.state_dir}
        return UnitOfWork(open_store(self.dst, disk=disk, **options))

    def committed(self, name: str) -> None:
        unit = self.unit()
        unit.write(name, b"")
        unit.commit()


@pytest.fixture
def nobody_signs_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds a lock without a name is looked at ten times; here he stands still in this very thread."""
    monkeypatch.setattr("atomsync.store.lock._LOOK_S", 0.0)


@pytest.fixture(params=["exists", "missing", "exists, state-dir", "missing, state-dir"])
def place(request: pytest.FixtureRequest, tmp_path: Path, nobody_signs_later: None) -> Place:
    kind: str = request.param
    return Place(tmp_path / "base", exists=kind.startswith("exists"), state="state" in kind)


def instants(act: Act, step: int = 1) -> Iterator[At]:
    """Disks on which ``act`` happens before the first call, before the second, … up to the last."""
    for nth in count(1, step):
        disk = At(act, lambda verb, *arguments: verb in INSTANTS, nth=nth)
        yield disk
        if not disk.has_happened:
            assert nth > 10, "nothing was tried"
            return


def test_whenever_a_unit_begins_while_another_unmakes_the_store_it_can_commit(
    place: Place,
) -> None:
    got_in = 0
    second: UnitOfWork | None = None

    def begin() -> None:
        nonlocal second
        second = place.unit()
        try:
            second.write("second", b"2")
        except StoreLocked:
            second = None  # it is held at this instant: who waits comes later

    for disk in instants(begin):
        place.fresh()
        second = None
        first = place.unit(disk)
        try:
            first.write("first", b"1")
        except StoreLocked:
            assert disk.has_happened
        first.rollback()
        if second is not None:
            second.commit()
            assert files(place.dst) == {"second": b"2"}, f"instant {disk.left}"
            got_in += 1
        place.committed("after")
        assert (place.dst / "after").exists()
        assert stages(place.dst) == []
    assert got_in > 3


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_whenever_another_comes_and_goes_while_a_unit_begins_and_commits_it_does_commit(
    end: str, place: Place
) -> None:
    came = 0

    def come_and_go() -> None:
        nonlocal came
        other = place.unit()
        with contextlib.suppress(StoreLocked):
            other.write("other", b"2")
            getattr(other, end)()
            came += 1
        other.rollback()

    for disk in instants(come_and_go, scaled(3, 1)):
        place.fresh()
        unit = place.unit(disk)
        for _ in range(3):  # the other may hold the lock for good only within its own call
            try:
                unit.write("unit", b"1")
                unit.commit()
                break
            except StoreLocked:
                continue
        expected = {"unit": b"1"}
        found = files(place.dst)
        found.pop("other", None)
        assert found == expected
        assert stages(place.dst) == []
    assert came > 3


def test_whenever_stages_change_hands_while_a_store_is_recovered_the_living_are_left_alone(
    tmp_path: Path,
) -> None:
    """One unit ends and another begins, which gets the name that its stage had."""
    place = Place(tmp_path / "base", exists=True, state=False)
    old = new = UnitOfWork(open_store(tmp_path))

    def change_hands() -> None:
        nonlocal new
        old.rollback()
        new = place.unit()
        try:
            new.write("new", b"1")
        except StoreLocked:
            new.rollback()

    met = 0
    for disk in instants(change_hands):
        place.fresh()
        place.committed("base")
        old = place.unit()
        old.write("old", b"0")
        new = old
        try:
            open_store(place.dst, disk=disk, timeout=0).recover()
        finally:
            if new is not old and new.state == "pending":
                met += 1
                new.commit()
                assert (place.dst / "new").exists()
        old.rollback()
    assert met > 3


def test_a_rollback_takes_no_destination_away_in_which_others_have_committed(tmp_path: Path) -> None:
    place = Place(tmp_path / "base", exists=False, state=True)
    place.fresh()
    first = place.unit()
    first.write("first", b"1")
    place.committed("other")
    removing = place.unit()
    removing.remove("other")
    removing.commit()
    first.rollback()
    assert place.dst.is_dir()


def test_a_first_unit_that_is_rolled_back_leaves_its_state_directory_to_the_next(tmp_path: Path) -> None:
    place = Place(tmp_path / "base", exists=False, state=True)
    place.fresh()
    (tmp_path / "base" / "state").mkdir(0o700)
    first = place.unit()
    first.write("first", b"1")
    inode = os.open(place.dst, os.O_RDONLY)  # so that its number is not given again
    try:
        first.rollback()
        place.committed("next")
    finally:
        os.close(inode)
    assert files(place.dst) == {"next": b""}


@pytest.mark.parametrize("look", ["status", "prepared", "recover"])
@pytest.mark.parametrize("exists", [True, False])
def test_whenever_a_store_is_looked_at_while_it_is_unmade_the_look_is_no_error(
    exists: bool, look: str, tmp_path: Path, nobody_signs_later: None
) -> None:
    place = Place(tmp_path / "base", exists=exists, state=False)
    for nth in count(1):
        place.fresh()
        unit = place.unit()
        unit.write("never", b"seen")
        disk = At(unit.rollback, lambda verb, *arguments: verb in INSTANTS, nth=nth)
        with contextlib.suppress(StoreLocked, RootError):
            getattr(open_store(place.dst, disk=disk, timeout=0), look)()
        unit.rollback()
        if not disk.has_happened:
            break
    assert nth > 3


def test_a_status_does_not_take_a_commit_that_begins_meanwhile_for_a_crash(dst: Path) -> None:
    with contextlib.ExitStack() as other:
        disk = At(lambda: other.enter_context(in_its_commit(dst)), lambda verb, *arguments: verb == "scandir")
        found = open_store(dst, disk=disk).status()
        assert disk.has_happened
    assert found.unfinished == ""


def test_a_lock_that_cannot_be_tried_for_an_error_gives_nobodys_stage_away(dst: Path) -> None:
    """Only a filesystem without locks for directories says nothing of their owners; this one has them."""
    living = UnitOfWork(open_store(dst))
    living.write("living", b"1")
    inode = (dst / ".atomsync" / "pending" / "0").stat().st_ino

    def fail() -> None:
        raise OSError(5, os.strerror(5))

    def stage_of_the_living(verb: str, *arguments: Any) -> bool:
        return verb == "try_lock" and os.fstat(arguments[0]).st_ino == inode

    disk = At(fail, stage_of_the_living)
    with contextlib.suppress(AtomSyncError), open_store(dst, disk=disk).begin() as unit:
        unit.write("next", b"2")
    assert disk.has_happened
    living.commit()
    assert (dst / "living").read_bytes() == b"1"
