"""The simulated store: for a program it is a store like any other, and what befalls it can be chosen."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atomsync import ABSENT, ANY, Receipt, Store, UnitOfWork, digest, open_store
from atomsync.errors import AtomSyncError, HeldByPrepared, NoSpace, StaleEntry, StoreLocked, UsageError
from atomsync.testing import (
    Dir,
    File,
    Killed,
    Link,
    Profile,
    SimulatedStore,
    Tree,
    build,
    crash_at,
    every_crash,
    every_failure,
    every_reboot,
    fault_point,
    faults,
    rebooted,
    restarted,
    simulated_store,
    tree_of,
)

T = 1_600_000_000_000_000_000
BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir({"inner": File(b"inner", 0o644, T + 3), "deep": Dir({"leaf": File(b"leaf")}, 0o750)}),
        "link": Link("file", T + 4),
        "dirlink": Link("dir"),
    }
)
OLD, NEW = Dir({"a": File(b"one")}), Dir({"a": File(b"two"), "d": Dir({"b": File(b"three")})})


def change(store: Store) -> None:
    """From ``OLD`` to ``NEW``."""
    with store.begin() as unit:
        unit.write("a", b"two")
        unit.mkdir("d")
        unit.write("d/b", b"three")


def real_store(where: Path, tree: Dir) -> Store:
    os.mkdir(where)
    store = open_store(where)
    at = store.disk.open_root(store.path)
    build(store.disk, at, tree)
    store.disk.close(at)
    return store


# -- the same verbs give the same on the simulated disk and on the real one


def everything_new(store: Store, given: Path) -> object:
    with store.begin() as unit:
        unit.write("new", "text", mode=0o600)
        with unit.open("lines", "w") as lines:
            lines.write("é\n")
        unit.put("given", given)
        unit.mkdir("a/b/c", parents=True)
        unit.symlink("a/b/l", "../../file")
        return sorted(unit.new), unit.flush()


def everything_changed(store: Store, given: Path) -> object:
    with store.begin() as unit:
        unit.write("file", b"v2", expected=digest(b"content"))
        unit.put("other", given)
        unit.chmod("dir/inner", 0o600)
        unit.utime("dir/deep/leaf", T + 9)
        unit.symlink("link", "other")
        return sorted(unit.dirty)


def everything_removed(store: Store, given: Path) -> object:
    with store.begin() as unit:
        for name in unit.listdir():
            unit.remove(name)
        return sorted(unit.removed)


def moved(store: Store, given: Path) -> object:
    with store.begin() as unit:
        unit.move("dir", "elsewhere")
        unit.move("file", "elsewhere/file")
        unit.move("link", "other")
        return [*unit.walk()], unit.read("elsewhere/file"), unit.exists("dir/inner")


def read_only(store: Store, given: Path) -> object:
    with UnitOfWork(store) as unit:
        with unit.open("file", "rb") as file:
            first = file.read(3)
        return unit.read("dir/inner"), unit.digest("file"), unit.listdir("dir"), first, [*unit.walk("dir")]


def rolled_back_in_part(store: Store, given: Path) -> object:
    with store.begin() as unit:
        unit.write("kept", b"1")
        savepoint = unit.begin_nested()
        unit.remove("dir")
        savepoint.rollback()
        return sorted(unit.new | unit.removed)


def prepared_and_committed(store: Store, given: Path) -> object:
    with UnitOfWork(store) as unit:
        unit.write("file", b"v2")
        resting = unit.prepare("a database")
        before = without_clock(tree_of(store))
        with pytest.raises(HeldByPrepared), store.begin() as another:
            another.write("file", b"v3")
        return before, resting[1:3], resting[4:], plain(store.commit_prepared(resting.id))


def prepared_and_rolled_back(store: Store, given: Path) -> object:
    with UnitOfWork(store) as unit:
        unit.remove("dir")
        resting = unit.prepare()
        store.rollback_prepared(resting.id)
        return store.prepared(), store.fate(resting.id)


def two_units_at_once(store: Store, given: Path) -> object:
    with UnitOfWork(store) as slow, UnitOfWork(store) as quick:
        slow.write("file", slow.read("file") + b" and more")
        quick.write("file", b"first")
        receipt = quick.commit()
        with pytest.raises(StaleEntry) as caught:
            slow.commit()
        return plain(receipt), caught.value.what, caught.value.why


def whatever_is_there(store: Store, given: Path) -> object:
    with UnitOfWork(store) as unit:
        unit.write("file", b"forced", expected=ANY)
        change(store)
        return plain(unit.commit())


def nothing_at_all(store: Store, given: Path) -> object:
    with UnitOfWork(store) as unit:
        return unit.commit()._replace(swap_class="")


def a_veto(store: Store, given: Path) -> object:
    @store.listens_for("before_commit")
    def refuse(unit: UnitOfWork) -> None:
        raise LookupError("no")

    change(store)
    return None


def refused(verb: str, *args: object, **options: object) -> Callable[[Store, Path], object]:
    def act(store: Store, given: Path) -> object:
        with UnitOfWork(store) as unit:
            return getattr(unit, verb)(*args, **options)

    act.__name__ = f"{verb} {args} {options}"[:60]
    return act


ACTS: list[Callable[[Store, Path], object]] = [
    everything_new,
    everything_changed,
    everything_removed,
    moved,
    read_only,
    rolled_back_in_part,
    prepared_and_committed,
    prepared_and_rolled_back,
    two_units_at_once,
    whatever_is_there,
    nothing_at_all,
    a_veto,
    refused("write", "../out", b""),
    refused("write", "/etc/passwd", b""),
    refused("write", ".atomsync/lock", b""),
    refused("write", "dirlink/through", b""),
    refused("write", "no/such/place", b""),
    refused("write", "file/below", b""),
    refused("write", "file", b"", expected=ABSENT),
    refused("write", "file", b"", expected=digest(b"another")),
    refused("open", "file", "xb"),
    refused("open", "file", "a"),
    refused("read", "dir"),
    refused("read", "missing"),
    refused("mkdir", "dir"),
    refused("remove", "missing"),
    refused("move", "dir", "dir/deep/in"),
    refused("move", "file", "dir"),
    refused("chmod", "link", 0o600),
    refused("put", "here", "/no/such/file"),
    refused("listdir", "file"),
]


def plain(receipt: Receipt) -> Receipt:
    """Without what the clock and the filesystem make different."""
    return receipt._replace(unit_id="", window_ms=0.0, swap_class="")


def without_clock(tree: Tree) -> Tree:
    """Without the times that no program has set."""
    if isinstance(tree, Dir):
        return replace(tree, names={name: without_clock(child) for name, child in tree.names.items()})
    if isinstance(tree, File | Link) and (tree.mtime_ns or 0) > T + 100:
        return replace(tree, mtime_ns=None)
    return tree


def outcome(store: Store, act: Callable[[Store, Path], object], given: Path) -> tuple[object, ...]:
    """All that a program sees: what was returned or raised, the receipts, the tree, what is left of it."""
    receipts: list[Receipt] = []
    store.listens_for("after_commit")(lambda unit, receipt: receipts.append(plain(receipt)))
    try:
        told: object = act(store, given)
    except (AtomSyncError, LookupError) as error:
        told = type(error), str(error).replace(store.path, "STORE")
    with contextlib.suppress(AtomSyncError):
        last = store.status().last
        return told, receipts, without_clock(tree_of(store)), last and last[2:], store.recover().action
    raise AssertionError("the store cannot be looked at")


@pytest.mark.parametrize("profile", ["weak", "ordered"])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_a_program_cannot_tell_the_simulated_store_from_a_real_one(
    act: Callable[[Store, Path], object], profile: Profile, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"given")
    os.chmod(given, 0o755)
    os.utime(given, ns=(T, T))

    real = outcome(real_store(tmp_path / "real", BASE), act, given)

    assert outcome(simulated_store(BASE, profile=profile), act, given) == real


def test_a_commit_of_everything_gives_the_tree_that_the_literal_says(tmp_path: Path) -> None:
    for store in (simulated_store(OLD), real_store(tmp_path / "real", OLD)):
        change(store)
        assert tree_of(store) == NEW
        assert tree_of(store) != OLD


def test_the_mode_of_a_stores_own_directory_is_not_compared(tmp_path: Path) -> None:
    store = real_store(tmp_path / "real", OLD)
    os.chmod(tmp_path / "real", 0o700)
    assert tree_of(store) == OLD
    assert repr(tree_of(simulated_store())) == "Dir({}, mode=None)"


# -- in memory


def test_the_store_holds_the_tree_with_modes_times_and_links() -> None:
    found = tree_of(simulated_store(BASE))
    assert found == BASE
    assert found.names["file"] == File(b"content", 0o640, T + 1)
    assert found.names["file"] != File(b"content", 0o640, T)


def test_without_a_tree_the_store_is_empty() -> None:
    assert tree_of(simulated_store(), control=True) == Dir({})


def test_its_path_leads_nowhere_on_the_real_disk() -> None:
    store = simulated_store(OLD)
    change(store)
    assert not os.path.lexists(store.path)


def test_the_machines_own_mount_points_are_none_of_its_business() -> None:
    store = simulated_store(Dir({"dev": File(b"no device")}))
    with store.begin() as unit:
        unit.remove("dev")
        unit.mkdir("proc/sys", parents=True)
    assert tree_of(store) == Dir({"proc": Dir({"sys": Dir({})})})


_NO_DISK = """
import sys
from atomsync.testing import *
def change(store):
    with store.begin() as unit:
        unit.write("a", b"two")
change(simulated_store())  # now everything is imported
seen = []
def hook(event, args):
    if event.startswith(("open", "os.", "shutil.")):
        seen.append((event, args))
sys.addaudithook(hook)
store = simulated_store(Dir({"a": File(b"one")}))
change(store)
restarted(store).recover()
assert tree_of(store) == Dir({"a": File(b"two")})
assert not seen, seen
open(sys.executable, "rb").close()
assert seen
"""


def test_a_unit_on_it_touches_no_real_file() -> None:
    subprocess.run([sys.executable, "-c", _NO_DISK], check=True, timeout=60)


def test_put_reads_ordinary_files(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"sent by a browser")
    store = simulated_store()
    with store.begin() as unit:
        unit.put("kept", tmp_path / "upload")
    assert tree_of(store).names["kept"] == File(b"sent by a browser", None)
    assert store.disk.open_descriptors == 0


def test_a_tree_with_a_control_directory_and_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="atomsync"):
        simulated_store(Dir({".atomsync": Dir({})}))
    with pytest.raises(UsageError, match="durability"):
        simulated_store(durability="half")


def test_what_the_disk_lacks_can_be_chosen() -> None:
    store = simulated_store(OLD, exchange=False)
    with store.begin() as unit:
        unit.write("a", b"two")
        assert unit.commit().swap_class != "exchange"
    assert tree_of(store) == Dir({"a": File(b"two")})


def test_a_disk_may_be_full_when_its_files_hold_so_many_bytes() -> None:
    store = simulated_store(Dir({"kept": File(b"." * 1000)}), capacity=100_000)
    with pytest.raises(NoSpace), store.begin() as unit:
        unit.write("large", b"." * 100_000)
    assert tree_of(store, control=True) == Dir({"kept": File(b"." * 1000)})
    with store.begin() as unit:
        unit.write("large", b"." * 90_000)
    assert tree_of(store).names["large"] == File(b"." * 90_000)
    after = rebooted(store)
    with pytest.raises(NoSpace), after.begin() as unit:
        unit.write("small", b"." * 10_000)
    with pytest.raises(NoSpace):
        simulated_store(Dir({"large": File(b"1234")}), capacity=3)


def test_units_in_many_threads_may_share_it() -> None:
    store = simulated_store(timeout=60)
    failed: list[BaseException] = []
    together = threading.Barrier(8)

    def work(name: str) -> None:
        try:
            together.wait(60)
            for at in range(5):
                with store.begin() as unit:
                    unit.write(f"{name}-{at}", name.encode())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert tree_of(store) == Dir({f"t{n}-{at}": File(f"t{n}".encode()) for n in range(8) for at in range(5)})


def test_one_call_of_the_disk_ends_before_that_of_another_thread_begins() -> None:
    store = simulated_store(OLD)
    at = store.disk.open_root(store.path)
    within, looked = threading.Event(), threading.Event()
    between: list[bool] = []

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        within.set()
        between.append(looked.wait(0.2))

    def look() -> None:
        within.wait(60)
        store.disk.lstat(at, "a")
        looked.set()

    other = threading.Thread(target=look)
    other.start()
    store.disk.hook = hook
    store.disk.mkdir(at, "made")
    other.join(60)
    assert looked.is_set()
    assert between == [False]


# -- a new process, and a power cut


def test_all_of_the_tree_survives_a_power_cut_from_the_start() -> None:
    store = simulated_store(BASE)
    assert tree_of(rebooted(store)) == BASE
    assert [tree_of(found) for found in every_reboot(store)] == [BASE]


def test_what_was_committed_survives_a_power_cut_and_with_less_durability_may_not() -> None:
    for durability, survives in (("full", {True}), ("none", {True, False})):
        store = simulated_store(OLD, durability=durability)
        change(store)
        found = set()
        for after in every_reboot(store):
            with contextlib.suppress(AtomSyncError):
                after.recover()
            found.add(tree_of(after) == NEW)
        assert found == survives, durability


def test_a_new_process_finds_what_the_killed_one_did_but_not_its_locks() -> None:
    store = simulated_store(OLD, timeout=0)
    with UnitOfWork(store, exclusive=True) as unit:
        unit.write("a", b"two")
        unit.flush()
        with pytest.raises(StoreLocked):
            change(store)
        after = restarted(store)
        assert after.status().unfinished
        change(after)
        assert tree_of(after) == NEW
    assert tree_of(store) == OLD


def test_a_prepared_unit_is_decided_by_the_resolver_of_the_next_process() -> None:
    asked = []

    def resolver(unit: object) -> bool:
        asked.append(unit)
        return True

    store = simulated_store(OLD, resolver=resolver)
    with UnitOfWork(store) as unit:
        unit.write("a", b"two")
        resting = unit.prepare()
        for after in (restarted(store), rebooted(store), *every_reboot(store)):
            (settled,) = after.recover().settled
            assert settled == (resting.id, True)
            assert tree_of(after) == Dir({"a": File(b"two")})
        store.rollback_prepared(resting.id)
    assert asked
    assert tree_of(store) == OLD


def test_a_real_store_has_no_power_to_cut(tmp_path: Path) -> None:
    store = real_store(tmp_path / "real", OLD)
    for verb in (
        rebooted,
        lambda store: next(every_reboot(store)),
        lambda store: next(every_crash(store, change)),
    ):
        with pytest.raises(TypeError, match="simulated"):
            verb(store)


# -- every crash, every failure


@pytest.mark.parametrize("profile", ["weak", "ordered"])
def test_after_every_crash_the_store_is_old_or_new(profile: Profile) -> None:
    store = simulated_store(OLD, profile=profile)
    found = []
    for trial in every_crash(store, change):
        trial.store.recover()
        tree = tree_of(trial.store)
        assert tree in (OLD, NEW), trial
        assert trial.call or tree == NEW, "success was reported"
        found.append((trial.how, tree == NEW))
    assert {("killed", False), ("killed", True), ("power cut", False), ("power cut", True)} < {*found}
    assert ("done", True) in found
    assert tree_of(store) == OLD


def test_every_crash_ends_the_work_before_each_of_its_calls_in_turn() -> None:
    store = simulated_store(OLD)
    killed = [trial.call[:1] for trial in every_crash(store, change, reboots=0)]
    change(store)
    assert killed == [*(call[:1] for call in store.disk.log), ()]


def test_every_crash_shows_a_program_that_tells_another_store_too_early() -> None:
    elsewhere: set[str] = set()

    def too_early(store: SimulatedStore) -> None:
        elsewhere.clear()
        elsewhere.add("order")
        change(store)

    def too_late(store: SimulatedStore) -> None:
        elsewhere.clear()
        change(store)
        fault_point(store, "about to tell")
        elsewhere.add("order")

    def in_two_phases(store: SimulatedStore) -> None:
        elsewhere.clear()
        with UnitOfWork(store) as unit:
            unit.write("a", b"two")
            resting = unit.prepare("orders")
            fault_point(store, "about to tell")
            elsewhere.add(resting.id)
            unit.commit()

    store = simulated_store(OLD, resolver=lambda unit: unit.id in elsewhere)
    wrong = {}
    for work in (too_early, too_late, in_two_phases):
        wrong[work] = set()
        for trial in every_crash(store, work):
            trial.store.recover()
            if (tree_of(trial.store) == OLD) == bool(elsewhere):
                wrong[work].add(bool(elsewhere))
    assert wrong == {too_early: {True}, too_late: {False}, in_two_phases: set()}


def test_after_every_failure_the_store_is_old_or_new_and_an_error_says_so() -> None:
    store = simulated_store(OLD)
    seen = set()
    for trial in every_failure(store, change):
        trial.store.recover()
        tree = tree_of(trial.store)
        assert tree in (OLD, NEW), trial
        assert trial.raised is not None or tree == NEW, trial
        assert (trial.how == "done") == (trial.call == ())
        seen.add((trial.how, type(trial.raised)))
    assert ("failed", NoSpace) in seen
    assert ("done", type(None)) in seen
    assert tree_of(store) == OLD


def test_after_a_disk_that_stayed_full_the_store_can_be_used_again() -> None:
    for trial in every_failure(simulated_store(OLD), change, again=True):
        assert (trial.raised is None) == (trial.how == "done") or tree_of(trial.store) == NEW, trial
        with trial.store.begin() as unit:
            unit.write("a", b"three", expected=ANY)
        assert tree_of(trial.store).names["a"] == File(b"three")


def test_a_sync_that_fails_with_eio_loses_what_it_should_have_written_here_too() -> None:
    """A work that syncs again and believes it is found out."""

    def trusting(store: SimulatedStore) -> None:
        disk = store.disk
        at = disk.open_root(store.path)
        fd = disk.create(at, "new")
        disk.write(fd, b"bytes", 0)
        for fd_to_sync in (fd, at):
            with contextlib.suppress(OSError):
                disk.fsync(fd_to_sync)
            disk.fsync(fd_to_sync)

    found = set()
    for trial in every_failure(simulated_store(), trusting, errno.EIO):
        if trial.raised is None:
            names = tree_of(rebooted(trial.store)).names
            found.add((trial.call[:2], names["new"] == File(b"bytes", None)))
    assert found >= {(("fsync", "new"), False), ((), True)}


def test_what_the_work_raises_by_itself_is_not_hidden() -> None:
    def wrong(store: SimulatedStore) -> None:
        change(store)
        raise ZeroDivisionError

    for every in (every_crash, every_failure):
        with pytest.raises(ZeroDivisionError):
            for _ in every(simulated_store(OLD), wrong):
                pass


def test_the_disk_of_a_killed_process_can_be_looked_at_and_nothing_else() -> None:
    store = simulated_store(OLD)
    with pytest.raises(Killed), faults(store, crash_at("sync")):
        change(store)
    assert tree_of(store) == OLD
    with pytest.raises((AtomSyncError, OSError), match="restarted"):
        change(store)
    change(restarted(store))
