"""Faults by meaning: they strike where they were asked for, on simulated and on real stores."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync import Store, UnitOfWork, open_store
from atomsync.errors import AtomSyncError, DiskError, NoSpace
from atomsync.fs.posix import PosixDisk
from atomsync.testing import (
    Dir,
    File,
    HookedDisk,
    Killed,
    NeverStruck,
    SimDisk,
    VerbFailed,
    crash_at,
    fail,
    fail_at,
    fault_point,
    faults,
    restarted,
    simulated_store,
    tree_of,
)
from atomsync.testing.faults import CHANGE, POINT, WORDS, Script

Make = Callable[[], Store]
OLD = Dir({"a": File(b"old"), "b": File(b"old")})
NEW = Dir({"a": File(b"new"), "b": File(b"new")})


@pytest.fixture(params=["weak", "ordered", "real", "hooked"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a store that holds ``OLD``."""

    def made() -> Store:
        if request.param in ("weak", "ordered"):
            return simulated_store(OLD, profile=request.param)
        disk = HookedDisk() if request.param == "hooked" else None
        store = open_store(tmp_path / "store", disk=disk, timeout=0)
        with store.begin() as unit:
            unit.write("a", b"old")
            unit.write("b", b"old")
        return store

    return made


def change(store: Store) -> None:
    """From ``OLD`` to ``NEW``."""
    with store.begin() as unit:
        unit.write("a", b"new")
        unit.write("b", b"new")


def met(script: Script, *calls: tuple[str, ...]) -> list[str]:
    """What each call is met with."""
    found = []
    for index, (verb, *names) in enumerate(calls):
        try:
            script(index, verb, tuple(names))
            found.append("")
        except Killed:
            found.append("killed")
        except OSError as error:
            found.append(errno.errorcode[error.errno or 0])
    return found


# -- which calls


def test_every_call_that_changes_a_disk_has_its_word() -> None:
    hooked = {name for name in vars(HookedDisk) if not name.startswith("_")} | {"open_lock"}
    words = [call for word, calls in WORDS.items() if word != POINT for call in calls]
    assert sorted(words) == sorted(hooked)


def test_the_nth_of_its_kind_fails_and_no_other() -> None:
    script = Script([fail("rename", errno.EIO, nth=2)])
    calls = [("replace", "x"), ("write", "x"), ("exchange", "x", "y"), ("rename_new", "x")]
    assert met(script, *calls) == ["", "", "EIO", ""]
    script.check()


def test_again_means_all_later_ones_of_the_kind() -> None:
    script = Script([fail("write", nth=2, again=True)])
    assert met(script, ("write",), ("truncate",), ("mkdir",), ("write",)) == ["", "ENOSPC", "", "ENOSPC"]


def test_only_calls_with_the_name_count() -> None:
    script = Script([fail("rename", name="b", nth=2)])
    assert met(script, ("exchange", "0", "b"), ("exchange", "1", "a"), ("exchange", "b", "2")) == [
        "",
        "",
        "ENOSPC",
    ]


def test_change_is_any_call_but_no_point_and_one_call_can_be_named() -> None:
    assert met(Script([fail(CHANGE)]), ("point", "p"), ("rmdir", "d")) == ["", "ENOSPC"]
    assert met(Script([fail("rmdir")]), ("unlink", "d"), ("rmdir", "d")) == ["", "ENOSPC"]


def test_after_a_crash_a_process_does_nothing_more() -> None:
    script = Script([crash_at("sync"), fail("write", errno.EIO)])
    assert met(script, ("fsync",), ("write",), ("mkdir",)) == ["killed", "killed", "killed"]


def test_what_a_store_tries_out_on_its_filesystem_does_not_count() -> None:
    script = Script([fail("rename", name="a"), fail("mkdir")])
    probe = [
        ("unlink", "probe"),
        ("mkdir", "probe"),
        ("exchange", "a", "b"),
        ("unlink", "a"),
        ("rmdir", "probe"),
    ]
    assert met(script, *probe, ("exchange", "a", "b")) == ["", "", "", "", "", "ENOSPC"]
    assert met(script, ("mkdir", "probe")) == ["ENOSPC"], "a directory of one's own may have that name"


def test_the_name_in_the_lock_does_not_count_but_the_lock_does() -> None:
    script = Script([fail("write"), fail("make")])
    calls = [("open_lock", "lock"), ("truncate", "lock"), ("write", "lock"), ("write", "0")]
    assert met(script, *calls) == ["ENOSPC", "", "", "ENOSPC"]


def test_an_error_is_of_the_class_that_python_gives_it(make: Make) -> None:
    store = make()
    with faults(store, fail(POINT, errno.EEXIST), fail(POINT, errno.EACCES, nth=2)):
        with pytest.raises(FileExistsError):
            fault_point(store, "here")
        with pytest.raises(PermissionError):
            fault_point(store, "here")


def test_several_faults_count_for_themselves_and_the_first_that_is_due_strikes() -> None:
    script = Script([fail("make", errno.EDQUOT, nth=2), fail("mkdir", errno.EIO)])
    assert met(script, ("mkdir", "a"), ("mkdir", "b")) == ["EIO", "EDQUOT"]
    script = Script([fail("make", errno.EDQUOT), fail("mkdir", errno.EIO)])
    assert met(script, ("mkdir", "a"), ("mkdir", "b")) == ["EDQUOT", ""]


def test_a_fault_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no such verb: 'renam'; there are rename, write"):
        fail("renam")
    with pytest.raises(ValueError, match="from 1"):
        crash_at("rename", nth=0)


# -- on a store


def test_a_fault_makes_the_commit_fail_and_the_store_is_as_before(make: Make) -> None:
    store = make()
    for fault, error in (
        (fail("rename", errno.ENOSPC, name="b"), NoSpace),
        (fail("sync", errno.EIO), DiskError),
        (fail("write", errno.ENOSPC, nth=2, written=1), NoSpace),
        (fail("make", errno.EIO, nth=3, again=True), DiskError),
    ):
        with pytest.raises(error), faults(store, fault):
            change(store)
        assert tree_of(store) == OLD
    change(store)
    assert tree_of(store) == NEW


def test_a_crash_leaves_what_recovery_undoes(make: Make) -> None:
    store = make()
    with pytest.raises(Killed), faults(store, crash_at("rename", name="b")):
        change(store)
    assert tree_of(store) == Dir({"a": File(b"new"), "b": File(b"old")}), "mixed, as recovery finds it"
    after = restarted(store)
    assert after.status().unfinished
    assert after.recover().action == "rolled back"
    assert tree_of(after) == OLD
    change(after)
    assert tree_of(after) == NEW


def test_a_write_that_was_cut_is_there_in_part(make: Make) -> None:
    store = make()
    with pytest.raises(Killed), faults(store, crash_at("write", name="0", written=2)):
        change(store)
    left = tree_of(store, control=True).names[".atomsync"]
    assert isinstance(left, Dir)
    pending = left.names["pending"]
    assert pending == Dir({"0": Dir({"slots": Dir({"0": File(b"ne", 0o600)}, 0o700)}, 0o700)}, None)


def test_a_killed_process_holds_nothing_any_more(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", timeout=0)
    change(store)
    before = os.listdir("/proc/self/fd")
    unit = UnitOfWork(store, exclusive=True)
    with pytest.raises(Killed), faults(store, crash_at("write", name="0")):
        unit.write("a", b"newer")
    assert os.listdir("/proc/self/fd") == before
    change(store)
    with contextlib.suppress(AtomSyncError, OSError):
        unit.rollback()
    assert os.listdir("/proc/self/fd") == before
    assert tree_of(store) == NEW


def test_the_disk_is_as_it_was_behind_the_block(make: Make) -> None:
    store = make()
    disk = store.disk
    hook = getattr(disk, "hook", None)
    with pytest.raises(NoSpace), faults(store, fail("write")):
        change(store)
    assert store.disk is disk
    assert getattr(disk, "hook", None) is hook


def test_a_unit_that_began_in_the_block_goes_on_behind_it(make: Make) -> None:
    store = make()
    with UnitOfWork(store) as unit:
        with pytest.raises(NoSpace), faults(store, fail("write", name="0")):
            unit.write("a", b"lost")
        unit.write("a", b"new")
        unit.write("b", b"new")
        unit.commit()
    assert tree_of(store) == NEW


def test_blocks_may_be_nested_and_a_hook_that_was_there_goes_on(make: Make) -> None:
    store = make()
    seen: list[str] = []
    if isinstance(store.disk, SimDisk | HookedDisk):
        store.disk.hook = lambda index, verb, names: seen.append(verb)
    with faults(store, fail("rename", name="b")):
        with pytest.raises(DiskError), faults(store, fail("sync", errno.EIO)):
            change(store)
        with pytest.raises(NoSpace):
            change(store)
    assert tree_of(store) == OLD
    assert ("rename_new" in seen or "replace" in seen) == isinstance(store.disk, SimDisk | HookedDisk)


def test_a_crash_in_an_inner_block_ends_the_process_for_the_outer_one(make: Make) -> None:
    store = make()
    with faults(store):
        with pytest.raises(Killed), faults(store, crash_at("sync")):
            change(store)
        with pytest.raises((AtomSyncError, OSError), match="ended this process"):
            change(store)
    change(restarted(store))


def test_simulated_and_real_stores_meet_the_same_calls_with_the_same_names(tmp_path: Path) -> None:
    """So a fault strikes the same place on both."""
    logs = []
    for store in (simulated_store(), open_store(tmp_path / "store")):
        with faults(store):
            change(store)
            assert isinstance(store.disk, SimDisk | HookedDisk)
            (unit_id,) = {call[2] for call in store.disk.log if call[:2] == ("replace", "unit")}
            said = {unit_id: "ID", store.path: "STORE"}
            logs.append([tuple(said.get(name, name) for name in call) for call in store.disk.log])
    assert logs[0] == logs[1]


# -- faults that never come up, and places of one's own


def test_a_fault_that_never_came_up_fails_the_test(make: Make) -> None:
    store = make()
    with (
        pytest.raises(NeverStruck, match=r"no ENOSPC at rename 99: there were [1-9]"),
        faults(store, fail("rename", nth=99)),
    ):
        change(store)
    assert tree_of(store) == NEW
    with (
        pytest.raises(NeverStruck, match="no crash at write 1 with name 'nobody'"),
        faults(store, crash_at("write", name="nobody")),
    ):
        change(store)


def test_an_error_of_the_block_is_not_hidden_by_a_fault_that_never_came_up(make: Make) -> None:
    store = make()
    with pytest.raises(ZeroDivisionError), faults(store, fail("rename")):
        raise ZeroDivisionError


def test_a_fault_may_strike_at_a_place_of_ones_own(make: Make) -> None:
    store = make()
    fault_point(store, "nobody listens")
    with faults(store, fail(POINT, errno.ECONNRESET, name="database", nth=2)):
        fault_point(store, "database")
        fault_point(store, "another")
        with pytest.raises(ConnectionResetError):
            fault_point(store, "database")
    with pytest.raises(Killed), faults(store, crash_at(POINT)):
        fault_point(store, "database")


def test_faults_on_a_disk_of_another_kind_are_refused(tmp_path: Path) -> None:
    class Mine(PosixDisk):
        pass

    with pytest.raises(TypeError, match="Mine"), faults(open_store(tmp_path, disk=Mine())):
        pass


def test_a_failed_sync_has_lost_what_it_should_have_written() -> None:
    store = simulated_store(OLD)
    disk = store.disk
    assert isinstance(disk, SimDisk)
    at = disk.open_root(store.path)
    fd = disk.create(at, "new")
    disk.write(fd, b"bytes", 0)
    with pytest.raises(OSError), faults(store, fail("sync", errno.EIO)):
        disk.fsync(fd)
    disk.fsync(fd)
    disk.fsync(at)
    assert tree_of(restarted(store)).names["new"] == File(b"bytes", 0o600)
    after = disk.crash(())
    root = after.open_root(store.path)
    assert after.pread(after.open_file(root, "new"), 9, 0) == b""


def test_hooks_by_index_still_go_with_either_disk() -> None:
    store = simulated_store(OLD)
    assert isinstance(store.disk, SimDisk)
    store.disk.hook = fail_at(0, errno.EROFS)
    with pytest.raises(AtomSyncError):
        change(store)
    with pytest.raises(VerbFailed):
        fail_at(3, errno.EIO)(3, "write", ())
