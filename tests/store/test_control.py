"""The control directory while it is made, locked and given back, with others at work in the same instants."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import ControlUntrusted, DiskError, NoSpace, StoreLocked
from atomsync.fs.posix import PosixDisk
from atomsync.store.access import open_control
from atomsync.testing import Dir, File, VerbFailed
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """A directory that knows nothing of us, with a time of its own."""
    path = tmp_path / "dst"
    path.mkdir()
    (path / "f").write_bytes(b"f")
    os.utime(path, ns=(T, T))
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_bytes(b"kept")
    path.chmod(0o640)
    os.utime(path, ns=(T, T))
    return path


def is_kept(canary: Path) -> bool:
    found = canary.stat()
    return (canary.read_bytes(), found.st_mode & 0o7777, found.st_mtime_ns) == (b"kept", 0o640, T)


def commit(dst: Path, name: str = "new", **options: Any) -> None:
    with UnitOfWork(open_store(dst, **{"timeout": 0, **options}), exclusive=True).begin() as unit:
        unit.write(name, b"new")


class At(PosixDisk):
    """The real disk; once, before the ``nth`` call of a verb or right behind it, something happens."""

    def __init__(self, verb: str, act: Callable[[], object], *, nth: int = 1, behind: bool = False) -> None:
        real, calls = getattr(self, verb), 0

        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth and not behind:
                act()
            found = real(*arguments)
            if calls == nth and behind:
                act()
            return found

        setattr(self, verb, call)


# -- made
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(
    ("verb", "nth"), [("mkdir", 1), ("open_dir", 1), ("scandir", 1), ("fstat", 2), ("set_meta", 1)]
)
def test_an_error_right_behind_its_making_leaves_no_trace(
    verb: str, nth: int, number: int, dst: Path
) -> None:
    def fail() -> None:
        if verb != "mkdir":
            assert (dst / ".atomsync").exists()
        raise error(number)

    with pytest.raises(DiskError if number == errno.EIO else NoSpace):
        commit(dst, disk=At(verb, fail, nth=nth))
    assert os.listdir(dst) == ["f"]
    assert dst.stat().st_mtime_ns == T


def test_a_hard_link_planted_while_it_is_made_is_not_touched(dst: Path, canary: Path) -> None:
    def plant() -> None:
        (dst / ".atomsync").rename(dst / "aside")
        os.link(canary, dst / ".atomsync")

    with pytest.raises(ControlUntrusted):
        commit(dst, disk=At("mkdir", plant, behind=True))
    assert is_kept(canary)


def test_a_directory_of_ours_planted_while_it_is_made_is_not_emptied(dst: Path) -> None:
    (dst / "own").mkdir(0o700)
    (dst / "own" / "work").write_bytes(b"kept")

    def plant() -> None:
        (dst / ".atomsync").rename(dst / "aside")
        (dst / "own").rename(dst / ".atomsync")

    with open_store(dst, disk=At("mkdir", plant, behind=True)).session():
        pass
    assert (dst / ".atomsync" / "work").read_bytes() == b"kept"


def test_a_link_planted_while_a_state_directory_is_made_leads_to_no_change(
    tmp_path: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, state = tmp_path / "victim", tmp_path / "state"
    victim.mkdir(0o755)
    real = os.mkdir

    def mkdir(path: Any, *mode: Any, **options: Any) -> None:
        real(path, *mode, **options)
        if path == str(state):
            state.rmdir()
            state.symlink_to(victim)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(ControlUntrusted):
        commit(dst, state_dir=state)
    assert state.is_symlink()
    assert victim.stat().st_mode & 0o7777 == 0o755
    assert os.listdir(victim) == []


# -- what is in it
@pytest.mark.parametrize("kind", ["file", "fifo", "link"])
@pytest.mark.parametrize("name", ["lock", "unit", "history", "conflicts"])
def test_an_entry_of_the_wrong_kind_is_named_and_nothing_is_done(name: str, kind: str, dst: Path) -> None:
    commit(dst)
    path = dst / ".atomsync" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(".")
    elif name == "lock":
        path.mkdir()
    else:
        path.write_bytes(b"")
    with pytest.raises(ControlUntrusted, match=repr(name)):
        open_store(dst).status()
    if name == "history":
        with pytest.raises(ControlUntrusted, match=repr(name)):
            commit(dst, "more")
        assert sorted(os.listdir(dst)) == [".atomsync", "f", "new"]


def test_a_lock_file_with_other_names_is_locked_but_not_written_into(dst: Path, canary: Path) -> None:
    commit(dst)
    (dst / ".atomsync" / "lock").unlink()
    os.link(canary, dst / ".atomsync" / "lock")
    commit(dst, "more")
    assert is_kept(canary)
    with open_store(dst, timeout=0).session(), pytest.raises(StoreLocked):
        commit(dst, "most")


@pytest.mark.parametrize("name", ["zzz", "99999999-999999-999", "20240101-000000-0000"])
def test_a_directory_in_the_history_that_is_no_unit_stops_nothing(name: str, dst: Path) -> None:
    commit(dst)
    (dst / ".atomsync" / "history" / name).mkdir()
    commit(dst, "more", keep=1)
    assert (dst / ".atomsync" / "history" / name).exists()


def test_a_probe_that_runs_out_of_space_leaves_nothing(simulate: Make) -> None:
    world = simulate(Dir({"a": File(b"old")}))

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if (verb, names) == ("create", ("b",)):
            raise VerbFailed(errno.ENOSPC)

    world.sim.hook = hook
    with pytest.raises(NoSpace), world.begin() as unit:
        unit.write("new", b"new")
    assert "probe" not in world.control_names()


# -- locked
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("state", [None, "state"])
def test_who_is_refused_takes_nothing_from_under_who_is_not(
    state: str | None, exists: bool, tmp_path: Path, dst: Path
) -> None:
    """One makes all that is missing; another is quicker with the lock, and commits behind the refusal."""
    if not exists:
        shutil.rmtree(dst)
    state_dir = state and tmp_path / state
    quicker = UnitOfWork(open_store(dst, state_dir=state_dir, timeout=0), exclusive=True)

    def overtake() -> None:
        quicker.write("quicker", b"1")
        quicker.flush()

    with pytest.raises(StoreLocked, match=str(os.getpid())):
        commit(dst, state_dir=state_dir, disk=At("try_lock", overtake))
    quicker.commit()
    assert (dst / "quicker").read_bytes() == b"1"


def test_while_it_is_made_nobody_else_gets_in(dst: Path) -> None:
    """Another would plan with the time that the destination has only for this moment."""

    def second() -> None:
        with pytest.raises(StoreLocked):
            commit(dst, "second")

    commit(dst, disk=At("mkdir", second, behind=True))
    assert sorted(os.listdir(dst)) == [".atomsync", "f", "new"]


@pytest.mark.parametrize("state", [None, "state"])
def test_a_destination_that_is_unmade_before_we_lock_it_is_made_again(
    state: str | None, tmp_path: Path
) -> None:
    dst, state_dir = tmp_path / "dst", state and tmp_path / state
    with contextlib.ExitStack() as first:
        first.enter_context(open_store(dst, state_dir=state_dir).session())
        commit(dst, state_dir=state_dir, disk=At("try_lock", first.close))
    assert (dst / "new").read_bytes() == b"new"


def test_two_state_directories_do_not_let_two_in_at_once(tmp_path: Path, dst: Path) -> None:
    with open_store(dst, state_dir=tmp_path / "one").session():
        with pytest.raises(StoreLocked, match="state-dir"):
            commit(dst, state_dir=tmp_path / "two")
        with pytest.raises(StoreLocked, match="state-dir"):
            commit(dst)
    assert os.listdir(dst) == ["f"]
    assert dst.stat().st_mtime_ns == T
    commit(dst, state_dir=tmp_path / "two")


def test_a_look_at_a_free_store_takes_no_lock(dst: Path) -> None:
    def taken() -> None:
        raise AssertionError("a look must not take the lock")

    commit(dst)
    assert open_store(dst, disk=At("try_lock", taken)).status().holder == ""


def test_a_lock_held_for_the_time_of_a_look_refuses_nobody(dst: Path) -> None:
    commit(dst)
    looking = os.open(dst / ".atomsync" / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_EX)
    # The lock file is read once it was found locked: then the look is over.
    commit(dst, "more", disk=At("pread", lambda: os.close(looking)))


# -- given back
def test_on_a_disk_that_died_the_lock_is_given_back_all_the_same(dst: Path) -> None:
    commit(dst)
    disk = PosixDisk()
    control = open_control(disk, str(dst))
    assert control is not None
    control.lock()
    held = [control._lock, control.fd, control.root]

    def dead(*_: object) -> None:
        raise error(errno.EIO)

    for verb in ("fstat", "lstat", "truncate", "scandir", "open_dir"):
        setattr(disk, verb, dead)
    control.made_ns = 1  # as if this were a first push: unmaking it looks at more
    control.unmake()
    for fd in held:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    commit(dst, "more")
