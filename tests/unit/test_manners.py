"""Manners towards the process a unit lives in: threads and loops, children, descriptors, its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store
from atomsync.errors import (
    AtomSyncError,
    ControlUntrusted,
    RootReplaced,
    StaleEntry,
    StoreLocked,
    UnitStateError,
)
from atomsync.fs.posix import PosixDisk
from atomsync.unit.work import UnitOfWork
from tests.unit.test_side_by_side import At, in_its_commit, stages, swap_of

PATIENCE_S = 20


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    path = tmp_path / "dst"
    path.mkdir()
    with open_store(path).begin() as unit:
        unit.write("old", b"old")
    return path


def content_of_stages(dst: Path) -> dict[str, bytes]:
    """Every file in ``pending/``, by its path there."""
    top = dst / ".atomsync" / "pending"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def descriptors() -> dict[str, str]:
    """The descriptors of this process and where they lead."""
    gc.collect()
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture
def no_leaks(tmp_path: Path) -> Iterator[None]:
    """Behind the test as many descriptors are open as before, and none leads into a store."""
    before = descriptors()
    yield
    after = descriptors()
    assert [where for where in after.values() if where.startswith(str(tmp_path))] == []
    assert len(after) == len(before)


# -- threads and loops
def test_a_unit_may_be_handed_from_thread_to_thread(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    steps: list[Callable[[], object]] = [
        lambda: unit.write("a", b"1"),
        lambda: unit.move("old", "new"),
        unit.flush,
        lambda: unit.read("a"),
        unit.commit,
    ]
    threads = set()

    def run(step: Callable[[], object]) -> None:
        threads.add(threading.get_ident())
        step()

    for step in steps:
        thread = threading.Thread(target=run, args=[step])
        thread.start()
        thread.join()
    assert unit.state == "committed"
    assert ((dst / "a").read_bytes(), (dst / "new").read_bytes()) == (b"1", b"old")


def test_a_unit_that_one_thread_began_may_be_closed_by_another(dst: Path, no_leaks: None) -> None:
    unit = UnitOfWork(open_store(dst), exclusive=True)
    unit.write("a", b"1")
    assert unit.session.manifest is not None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(unit.rollback).result()
    assert stages(dst) == []
    with open_store(dst, timeout=0).begin() as after:
        after.write("b", b"2")


def test_a_commit_that_waits_for_the_lock_does_not_hold_up_the_loop(dst: Path) -> None:
    ticks = 0

    async def ticking() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    async def main() -> None:
        ticker = asyncio.create_task(ticking())
        unit = UnitOfWork(open_store(dst))
        await asyncio.to_thread(unit.write, "a", b"1")
        with in_its_commit(dst):
            commit = asyncio.create_task(asyncio.to_thread(unit.commit))
            started = ticks
            while ticks < started + 50:  # each is a turn of the loop while the commit waits
                await asyncio.sleep(0.005)
            assert not commit.done()
        receipt = await commit
        assert receipt.created == 1
        ticker.cancel()

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert (dst / "a").read_bytes() == b"1"


def test_units_of_many_tasks_are_pending_at_once_and_all_are_committed(dst: Path) -> None:
    store = open_store(dst)

    async def report(number: int, all_pending: asyncio.Barrier) -> None:
        unit = UnitOfWork(store)
        await asyncio.to_thread(unit.write, f"f{number}", b"%d" % number)
        await all_pending.wait()
        await asyncio.to_thread(unit.commit)

    async def main() -> None:
        all_pending = asyncio.Barrier(6)
        await asyncio.gather(*(report(number, all_pending) for number in range(6)))

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert sorted(path.name for path in dst.glob("f*")) == [f"f{number}" for number in range(6)]


def test_a_with_block_may_be_entered_and_left_by_threads_of_a_loop(dst: Path) -> None:
    async def main() -> None:
        block = open_store(dst).begin()
        unit = await asyncio.to_thread(block.__enter__)
        await asyncio.to_thread(unit.write, "a", b"1")
        await asyncio.to_thread(block.__exit__, None, None, None)
        assert unit.state == "committed"

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert (dst / "a").read_bytes() == b"1"


def test_a_commit_whose_awaiting_was_cancelled_goes_on_and_the_unit_is_refused_until_it_is_over(
    dst: Path,
) -> None:
    """No thread can be stopped. The task that gave up may not take back what the thread will commit."""

    async def main() -> UnitOfWork:
        unit = UnitOfWork(open_store(dst))
        await asyncio.to_thread(unit.write, "a", b"1")
        with in_its_commit(dst):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(unit.commit), 0.05)
            with pytest.raises(UnitStateError, match="another thread"):
                unit.rollback()
        return unit

    unit = asyncio.run(main())  # waits for its threads
    assert unit.state == "committed"
    assert (dst / "a").read_bytes() == b"1"


# -- children
def in_child(act: Callable[[], object], *, ends: Callable[[int], object] = os._exit) -> tuple[int, str]:
    """Run ``act`` in a forked child: its exit status, and what it raised."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            act()
            status = 0
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
        finally:
            ends(status)
            os._exit(99)
    os.close(tell)
    with open(told, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


VERBS: dict[str, Callable[[UnitOfWork], object]] = {
    "write": lambda unit: unit.write("x", b""),
    "open": lambda unit: unit.open("x"),
    "open to read": lambda unit: unit.open("old", "rb"),
    "put": lambda unit: unit.put("x", "/etc/passwd"),
    "mkdir": lambda unit: unit.mkdir("x"),
    "remove": lambda unit: unit.remove("old"),
    "move": lambda unit: unit.move("old", "x"),
    "chmod": lambda unit: unit.chmod("old", 0o600),
    "read": lambda unit: unit.read("old"),
    "exists": lambda unit: unit.exists("old"),
    "listdir": lambda unit: unit.listdir(),
    "walk": lambda unit: next(unit.walk()),
    "flush": lambda unit: unit.flush(),
    "begin_nested": lambda unit: unit.begin_nested(),
    "on_rollback": lambda unit: unit.on_rollback(print),
    "prepare": lambda unit: unit.prepare(),
    "commit": lambda unit: unit.commit(),
    "rollback": lambda unit: unit.rollback(),
    "close": lambda unit: unit.close(),
    "with": lambda unit: unit.__enter__(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_child_is_refused_its_parents_unit(verb: str, dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    unit.write("mine", b"1")
    before = content_of_stages(dst)
    status, said = in_child(lambda: VERBS[verb](unit))
    assert status == 1
    assert said.startswith("UnitStateError: ")
    assert "another process" in said
    assert content_of_stages(dst) == before
    unit.commit()
    assert (dst / "mine").read_bytes() == b"1"


def test_a_child_is_refused_its_parents_unit_before_its_first_verb_too(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    status, said = in_child(lambda: unit.write("x", b""))
    assert (status, said.partition(":")[0]) == (1, "UnitStateError")
    assert stages(dst) == []


def test_a_child_is_refused_its_parents_savepoint(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    unit.write("mine", b"1")
    savepoint = unit.begin_nested()
    unit.write("mine", b"2")
    for end in (savepoint.commit, savepoint.rollback):
        status, said = in_child(end)
        assert (status, said.partition(":")[0]) == (1, "UnitStateError")
    savepoint.rollback()
    unit.commit()
    assert (dst / "mine").read_bytes() == b"1"


def test_a_child_cannot_write_into_a_file_that_its_parent_is_writing(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    file = unit.open("mine")
    file.write(b"of the parent")

    def write() -> None:
        file.write(b", and a good deal more of the child")
        file.close()

    status, said = in_child(write)
    assert (status, said.partition(":")[0]) == (1, "UnitStateError")
    file.write(b" alone")
    file.close()
    unit.commit()
    assert (dst / "mine").read_bytes() == b"of the parent alone"


def test_a_child_may_begin_units_of_its_own_on_the_store(dst: Path) -> None:
    store = open_store(dst)
    unit = UnitOfWork(store)
    unit.write("mine", b"1")

    def work() -> None:
        with store.begin() as own:
            own.write("the child's", b"2")

    assert in_child(work) == (0, "")
    assert (dst / "the child's").read_bytes() == b"2"
    unit.commit()
    assert (dst / "mine").read_bytes() == b"1"


# Each is what the child does; its parent has ``unit``, and ``file``, half written, in hand.
ENDS = {
    "os._exit": "os._exit(0)",
    "an ordinary exit": "sys.exit(0)",
    "an exception": "raise KeyError",
    "it lets go of the unit": "del unit, file; gc.collect(); os._exit(0)",
    "it lets go of the unit, then an ordinary exit": "del unit, file; gc.collect(); sys.exit(0)",
    "the end of a with block": """
        try:
            with unit:
                pass
        except UnitStateError:
            sys.exit(0)
    """,
    "an exception in a with block": """
        try:
            with unit:
                raise KeyError
        except UnitStateError:
            sys.exit(0)
    """,
    "an exception while it writes": """
        try:
            with file:
                raise KeyError
        except KeyError:
            sys.exit(0)
    """,
    "a commit of its own": """
        with store.begin() as own:
            own.write("own", b"own")
        sys.exit(0)
    """,
    "a recovery": "store.recover(); sys.exit(0)",
}
FORKING = """
import gc, os, sys
from pathlib import Path
from atomsync import open_store
from atomsync.errors import UnitStateError
from atomsync.unit.work import UnitOfWork

dst = Path(sys.argv[1])
store = open_store(dst)
unit = UnitOfWork(store)
unit.write("mine", b"1" * 1000)
unit.flush()
file = unit.open("half")
file.write(b"2" * 300_000)
file.write(b"in the buffer")

def stage():
    top = dst / ".atomsync" / "pending"
    return {path: path.read_bytes() for path in top.rglob("*") if path.is_file()}

before = stage()
assert before
pid = os.fork()
if not pid:
@CHILD@
os.waitpid(pid, 0)
assert stage() == before
file.close()
print(sorted(unit.new), unit.commit().created)
"""


def run(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """A script in an interpreter of its own, which shows every warning."""
    line = [sys.executable, "-X", "dev", "-W", "always::ResourceWarning", "-c", script, *map(str, arguments)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    options = {"capture_output": True, "timeout": 60, "check": False, "text": True, **options}
    done: subprocess.CompletedProcess[str] = subprocess.run(line, env=environment, **options)
    return done


@pytest.mark.parametrize("end", ENDS)
def test_however_a_child_ends_its_parents_unit_is_whole_and_can_be_committed(end: str, dst: Path) -> None:
    child = textwrap.indent(textwrap.dedent(ENDS[end]).strip(), "    ")
    done = run(FORKING.replace("@CHILD@", child), dst)
    assert (done.returncode, done.stdout) == (0, "['half', 'mine'] 2\n"), done.stderr
    assert (dst / "mine").read_bytes() == b"1" * 1000
    assert (dst / "half").read_bytes() == b"2" * 300_000 + b"in the buffer"
    assert stages(dst) == []
    assert "neither committed nor rolled back" not in done.stderr


@contextlib.contextmanager
def forks() -> Iterator[Callable[[], object]]:
    """What forks a child that lives until the end of the ``with`` and does nothing."""
    held, go = os.pipe()
    children: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if not pid:
            os.close(go)
            os.read(held, 1)
            os._exit(0)
        children.append(pid)

    try:
        yield fork
    finally:
        os.close(go)
        os.close(held)
        for pid in children:
            os.waitpid(pid, 0)
        assert children, "nothing was forked"


def test_a_child_that_was_forked_during_a_commit_does_not_keep_the_store_locked(dst: Path) -> None:
    with forks() as fork:
        with open_store(dst, disk=At(fork, swap_of("first"))).begin() as unit:
            unit.write("first", b"1")
        with open_store(dst, timeout=0).begin() as unit:
            unit.write("second", b"2")
    assert (dst / "second").exists()


def test_a_child_does_not_keep_a_prepared_unit_alive_that_its_parent_let_go(dst: Path) -> None:
    store = open_store(dst)
    unit = UnitOfWork(store)
    unit.write("prepared", b"1")
    unit.prepare()
    with forks() as fork:
        fork()
        unit.close()
        assert [found.live for found in store.prepared()] == [False]
        store.recover()
        assert store.prepared() == ()


def test_a_child_does_not_keep_a_stage_that_its_parent_gave_up(dst: Path) -> None:
    unit = UnitOfWork(open_store(dst))
    unit.write("given up", b"1")
    with forks() as fork:
        fork()
        unit.rollback()
        assert stages(dst) == []
        with open_store(dst, timeout=0).begin() as after:
            after.write("after", b"2")


# -- descriptors
def inherited(where: Path) -> list[str]:
    """Which descriptors below ``where`` a program has that is started now, with none closed for it."""
    script = (
        "import os\nfor n in os.listdir('/proc/self/fd'):\n try: print(os.readlink('/proc/self/fd/' + n))\n"
    )
    script += " except OSError: pass"
    done = subprocess.run(
        [sys.executable, "-c", script], close_fds=False, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith(str(where))]


def test_a_descriptor_that_is_handed_on_would_be_seen(dst: Path) -> None:
    fd = os.open(dst, os.O_RDONLY)
    os.set_inheritable(fd, True)
    assert inherited(dst) == [str(dst)]
    os.close(fd)


def test_no_program_inherits_a_descriptor_of_a_unit(dst: Path, tmp_path: Path) -> None:
    found: list[str] = []

    def look() -> None:
        mine = [where for where in descriptors().values() if where.startswith(str(dst))]
        assert len(mine) > 3
        found.extend(inherited(dst))

    (tmp_path / "given").write_bytes(b"g")
    store = open_store(dst, disk=At(look, swap_of("new")))
    unit = UnitOfWork(store)
    with unit.open("new") as writing, unit.open("old", "rb") as reading:
        writing.write(b"1")
        reading.read(1)
        look()
    unit.mkdir("a/b/c", parents=True)
    unit.put("a/b/c/given", tmp_path / "given")
    unit.chmod("old", 0o600)
    unit.flush()
    look()
    unit.commit()
    resting = UnitOfWork(store)
    resting.write("resting", b"1")
    resting.prepare()
    found += inherited(dst)
    resting.rollback()
    assert found == []


ENDINGS: dict[str, Callable[[UnitOfWork], object]] = {
    "commit": lambda unit: unit.commit(),
    "rollback": lambda unit: unit.rollback(),
    "close": lambda unit: unit.close(),
    "prepare, commit": lambda unit: (unit.prepare(), unit.commit()),
    "prepare, rollback": lambda unit: (unit.prepare(), unit.rollback()),
    "prepare, close": lambda unit: (unit.prepare(), unit.close()),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_unit_that_ended_holds_no_descriptor(ending: str, dst: Path, no_leaks: None) -> None:
    unit = UnitOfWork(open_store(dst))
    with unit.open("a") as file:
        file.write(b"1")
    unit.read("old")
    unit.mkdir("b/c", parents=True)
    with unit.begin_nested():
        unit.write("b/c/d", b"2")
    unit.open("never closed")
    with unit.open("old", "rb") as file:
        file.read()
    gc.collect()
    ENDINGS[ending](unit)
    assert [where for where in descriptors().values() if where.startswith(str(dst))] == []


def test_a_unit_whose_commit_failed_holds_no_descriptor_after_its_rollback(dst: Path, no_leaks: None) -> None:
    unit = UnitOfWork(open_store(dst, timeout=0))
    unit.write("old", b"1")
    with in_its_commit(dst, "other"), pytest.raises(StoreLocked):
        unit.commit()
    (dst / "old").write_bytes(b"edited")
    with pytest.raises(StaleEntry):
        unit.commit()
    unit.rollback()


def test_a_store_that_cannot_be_opened_leaves_no_descriptor(dst: Path, no_leaks: None) -> None:
    (dst / ".atomsync").chmod(0o777)
    for verb in ("status", "recover", "prepared"):
        with pytest.raises(ControlUntrusted):
            getattr(open_store(dst), verb)()
    with pytest.raises(ControlUntrusted), open_store(dst).begin() as unit:
        unit.write("a", b"1")
    with pytest.raises(AtomSyncError), open_store(dst / "no" / "where").begin() as unit:
        unit.write("a", b"1")


FAILING = (
    *("open_root", "open_dir", "open_file", "create", "open_lock", "scandir", "lstat", "fstat", "pread"),
    *("space", "write", "truncate", "mkdir", "rename_new", "exchange", "replace", "unlink", "rmdir"),
    *("set_meta", "set_meta_at", "fsync", "syncfs", "try_lock", "unlock"),
)


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("verb", FAILING)
def test_whichever_call_fails_no_descriptor_is_left(
    verb: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomsync.store.lock._LOOK_S", 0.0)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    leaks = []
    for nth in count(1):
        dst = tmp_path / f"dst{nth}"
        dst.mkdir()
        disk = At(fail, lambda name, *arguments: name == verb, nth=nth)
        unit = UnitOfWork(open_store(dst, timeout=0, durability="none", disk=disk))
        with contextlib.suppress(AtomSyncError, OSError, AssertionError), unit:
            unit.write("a", b"1")
            unit.mkdir("b")
            getattr(unit, end)()
        left = [where for where in descriptors().values() if where.startswith(str(dst))]
        leaks += [f"call {nth}: {left}"] * bool(left)
        if not disk.has_happened:
            break
    assert leaks == []


# -- forgotten units
def collected(act: Callable[[], object]) -> None:
    """Do it, and collect what it forgot."""
    act()
    gc.collect()


def forget(dst: Path, *, with_file: bool = False, in_a_cycle: bool = False) -> None:
    """A unit with something pending goes out of sight, perhaps with a file that is being written."""
    unit = UnitOfWork(open_store(dst))
    unit.write("forgotten", b"1")
    held: list[object] = [unit]
    if with_file:
        file = unit.open("half")
        file.write(b"2" * 300_000)
        held.append(file)
    if in_a_cycle:
        held.append(held)


@pytest.mark.parametrize("in_a_cycle", [False, True], ids=["", "in a cycle"])
@pytest.mark.parametrize("with_file", [False, True], ids=["", "with a file"])
def test_a_unit_that_is_forgotten_while_pending_warns_and_its_stage_goes(
    with_file: bool, in_a_cycle: bool, dst: Path, no_leaks: None
) -> None:
    with pytest.warns(ResourceWarning, match="neither committed nor rolled back") as warned:
        collected(lambda: forget(dst, with_file=with_file, in_a_cycle=in_a_cycle))
    told = [str(warning.message) for warning in warned]
    assert sum("never closed" in text for text in told) == with_file
    assert any(str(dst) in text for text in told)
    assert stages(dst) == []
    assert not (dst / "forgotten").exists()
    assert open_store(dst).recover().action == "clean"


def test_where_warnings_are_errors_a_forgotten_units_stage_goes_all_the_same(
    dst: Path, no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[type[BaseException]] = []  # not what was raised itself: that would keep the unit alive
    monkeypatch.setattr(sys, "unraisablehook", lambda about: raised.append(about.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        forget(dst, with_file=True)
        gc.collect()
    assert stages(dst) == []
    assert raised == [ResourceWarning, ResourceWarning]


def test_a_file_that_is_forgotten_half_written_never_becomes_pending(dst: Path) -> None:
    """Not in a cycle either (a traceback may be one), where it is finalised piece by piece."""
    unit = UnitOfWork(open_store(dst))

    def write() -> None:
        file = unit.open("half")
        file.write(b"1" * 300_000)
        held: list[object] = [file]
        held.append(held)

    with pytest.warns(ResourceWarning, match="never closed"):
        collected(write)
    assert unit.new == set()
    unit.rollback()


def test_a_forgotten_file_takes_nothing_from_a_unit_that_has_its_descriptors_now(dst: Path) -> None:
    """The unit is ended first, then another begins, and only then the file of the first is finalised."""

    class Anything:
        pass

    others: list[UnitOfWork] = []

    def begin() -> None:
        (dst / "sub").rmdir()
        other = UnitOfWork(open_store(dst))
        other.write("other", b"1")
        others.append(other)

    (dst / "sub").mkdir()
    gc.collect()
    gc.disable()
    try:
        file = UnitOfWork(open_store(dst)).open("sub/half")
        one, two = Anything(), Anything()  # younger than the unit: they are found after it
        one.file = file  # type: ignore[attr-defined]
        one.two, two.one = two, one  # type: ignore[attr-defined]
        weakref.finalize(two, begin)
        del file, one, two
        with pytest.warns(ResourceWarning):
            gc.collect()
    finally:
        gc.enable()
    others[0].commit()
    assert (dst / "other").read_bytes() == b"1"


AT_EXIT = {
    "a pending unit": "unit.write('a', b'1')",
    "a flushed unit": "unit.write('a', b'1'); unit.flush()",
    "an open file": "file = unit.open('a'); file.write(b'1' * 300_000)",
    "an open text file": "file = unit.open('a', 'w'); file.write('1' * 300_000)",
    "a savepoint": "nested = unit.begin_nested(); unit.write('a', b'1')",
    "a failed unit": """
unit.write('a', b'1')
os.unlink('dst/.atomsync/pending/0/slots/0')
try:
    unit.flush()
except Exception:
    assert unit.state == 'failed'
""",
    "a cycle": "held = [unit, unit.open('a')]; held.append(held)",
    "an exception on its way": "unit.write('a', b'1'); raise KeyError",
}
EXITING = """
import os, sys
from atomsync import open_store
from atomsync.unit.work import UnitOfWork
unit = UnitOfWork(open_store('dst'))
"""


@pytest.mark.parametrize("what", AT_EXIT)
def test_what_is_pending_at_the_exit_of_the_interpreter_warns_and_its_stage_goes(
    what: str, dst: Path
) -> None:
    done = run(EXITING + AT_EXIT[what], cwd=dst.parent)
    assert "ResourceWarning: a unit of work on" in done.stderr
    assert "neither committed nor rolled back" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == (1 if what == "an exception on its way" else 0), done.stderr
    assert stages(dst) == []
    assert sorted(os.listdir(dst)) == [".atomsync", "old"]


EXITING_WITH_A_DAEMON = """
import atexit, threading
there, go_on, is_over = threading.Event(), threading.Event(), threading.Event()

def last():
    from atomsync.errors import StoreLocked
    try:
        print(open_store('dst', timeout=0).recover().action)
    except StoreLocked:
        print('locked')
    go_on.set()
    is_over.wait(10)

atexit.register(last)  # called behind those that are registered later

from atomsync import open_store
from atomsync.unit.work import UnitOfWork
from tests.unit.test_side_by_side import At, swap_of

def halt():
    there.set()
    go_on.wait(10)

def work():
    unit = UnitOfWork(open_store('dst', disk=At(halt, swap_of('second'))))
    unit.write('old', b'new')
    unit.write('second', b'new')
    try:
        print(unit.commit().created, flush=True)
    finally:
        is_over.set()

threading.Thread(target=work, daemon=True).start()
assert there.wait(10)
"""


def test_a_commit_in_a_daemon_thread_keeps_its_lock_while_the_interpreter_exits(dst: Path) -> None:
    """Another process would recover, and so undo, what is still being done."""
    done = run(EXITING_WITH_A_DAEMON, cwd=dst.parent)
    assert done.stdout.split() == ["locked", "1"], done.stderr
    assert ((dst / "old").read_bytes(), (dst / "second").read_bytes()) == (b"new", b"new")


def test_a_store_that_was_made_for_a_forgotten_unit_goes_with_it(tmp_path: Path) -> None:
    dst = tmp_path / "made"
    with pytest.warns(ResourceWarning):
        collected(lambda: forget(dst))
    assert not dst.exists()


def ended(dst: Path, ending: str) -> None:
    unit = UnitOfWork(open_store(dst))
    if ending == "never used":
        return
    unit.write("a", ending.encode())
    with unit.open("b") as file:
        file.write(b"1")
    if ending == "with":
        with unit:
            pass
    elif ending == "begin":
        with unit.begin():
            pass
    elif ending == "failed, rollback":
        (dst / "a").write_bytes(b"edited")
        with pytest.raises(StaleEntry):
            unit.commit()
        unit.rollback()
        (dst / "a").unlink()
    else:
        ENDINGS[ending](unit)


@pytest.mark.parametrize("ending", ["never used", "with", "begin", "failed, rollback", *ENDINGS])
def test_a_unit_that_ended_is_forgotten_without_a_word(ending: str, dst: Path, no_leaks: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ended(dst, ending)
        gc.collect()
    assert stages(dst) == []


@pytest.mark.parametrize("end", ["unit.commit()", "unit.rollback()", "unit.prepare()", "pass"])
def test_the_exit_of_the_interpreter_says_nothing_of_a_unit_that_ended(end: str, dst: Path) -> None:
    script = EXITING + ("" if end == "pass" else "unit.write('a', b'1')\n") + end
    done = run(script, cwd=dst.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_that_is_forgotten_by_a_thread_that_ended_is_cleaned_up(dst: Path, no_leaks: None) -> None:
    def forget_in_a_thread() -> None:
        thread = threading.Thread(target=forget, args=[dst])
        thread.start()
        thread.join()

    with pytest.warns(ResourceWarning):
        collected(forget_in_a_thread)
    assert stages(dst) == []


# -- nothing global
def test_a_store_stays_where_it_was_opened_when_the_process_goes_elsewhere(
    dst: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dst.parent)
    store = open_store("dst")
    unit = UnitOfWork(store)
    unit.write("a", b"1")
    monkeypatch.chdir("/")
    unit.commit()
    with store.begin() as another:
        another.write("b", b"2")
    assert sorted(os.listdir(dst)) == [".atomsync", "a", "b", "old"]


def test_a_unit_whose_store_was_moved_away_is_refused_and_nothing_is_lost(dst: Path, no_leaks: None) -> None:
    unit = UnitOfWork(open_store(dst, timeout=0))
    unit.write("a", b"1")
    dst.rename(dst.parent / "moved")
    with pytest.raises(RootReplaced):
        unit.commit()
    (dst.parent / "moved").rename(dst)
    unit.commit()
    assert (dst / "a").read_bytes() == b"1"


def test_a_unit_changes_nothing_of_its_process(dst: Path) -> None:
    def state() -> tuple[object, ...]:
        umask = os.umask(0o022)
        os.umask(umask)
        signals = tuple(__import__("signal").getsignal(number) for number in range(1, 32))
        return os.getcwd(), umask, signals, threading.active_count(), warnings.filters[:], sys.flags

    before = state()
    with open_store(dst).begin() as unit:
        unit.write("a", b"1")
        assert state() == before
    assert state() == before


def test_the_mode_of_what_is_written_does_not_depend_on_the_umask(dst: Path) -> None:
    before = os.umask(0o777)
    try:
        with open_store(dst, disk=PosixDisk()).begin() as unit:
            unit.write("a", b"1")
            unit.mkdir("b")
            unit.write("b/c", b"2", mode=0o640)
    finally:
        os.umask(before)
    modes = [(dst / path).stat().st_mode & 0o7777 for path in ("a", "b", "b/c")]
    assert modes == [0o644, 0o755, 0o640]
