"""What a test does with a store, simulated or real: look at it, let it fail, end its process, cut its power.

store = simulated_store(Dir({"a": File(b"old")}))
with faults(store, fail("rename", errno.ENOSPC, name="a")):
    ...
assert tree_of(store) == Dir({"a": File(b"old")})
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from atomsync.errors import from_oserror
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.testing.faults import CHANGE, POINT, Fault, Hook, Killed, Script, VerbFailed, dead, kill_at
from atomsync.testing.hooked import HookedDisk
from atomsync.testing.simdisk import SimDisk
from atomsync.testing.trees import Dir, read
from atomsync.tree.path import CONTROL_NAME, shown
from atomsync.unit.store import Store

S = TypeVar("S", bound=Store)


# -- looking


def tree_of(
    store: Store, *, control: bool = False, owners: bool = False, directory_times: bool = False
) -> Dir:
    """What stands at a store's destination, as a literal; the mode of its own directory is not told (None).

    ``control``: with the control directory, to see whether anything was left there. Owners and the times of
    directories, which change whenever a name in them does, only if asked for. Raises RootError and its kin.
    """
    skip = () if control else (CONTROL_NAME,)
    try:
        at = store.disk.open_root(store.path)
        try:
            found = read(store.disk, at, skip, owners=owners, directory_times=directory_times)
        finally:
            store.disk.close(at)
    except OSError as error:
        raise from_oserror(error, f"cannot read {shown(store.path)}") from None
    return Dir(found.names, None, found.mtime_ns, found.uid, found.gid)


# -- failing


@contextlib.contextmanager
def faults(store: Store, *wanted: Fault) -> Iterator[None]:
    """In this block, let ``wanted`` happen to the calls that change the disk; counting begins with it.

    On a simulated store they are met by all its units; on a real one by those that begin in the block. A
    crash goes through as ``Killed``. After it a simulated store can be looked at and nothing else:
    ``restarted`` and ``rebooted`` give the one to go on with; a real one goes on as it is, with what the dead
    process held given back. Raises NeverStruck if the block ends well though a fault never came up;
    TypeError for a store on a disk of another kind.
    """
    script = Script(wanted)
    if isinstance(store.disk, SimDisk | _Process):
        with _hooked(store.disk, script):
            yield
    elif type(store.disk) in (PosixDisk, HookedDisk):
        real: Any = store.disk
        store.disk = process = _Process(getattr(real, "hook", None))
        try:
            with _hooked(process, script):
                yield
        finally:
            store.disk = real
            if process.hook is dead:
                process.die()
    else:
        raise TypeError(f"faults need a SimDisk or the real disk, not a {type(store.disk).__name__}")
    script.check()


def fault_point(store: Store, name: str) -> None:
    """A place in a test's own code, say in a stand-in for a database, where ``fail("point", name=...)`` and
    ``crash_at("point", name=...)`` strike, and ``every_crash`` as well. Elsewhere it does nothing."""
    disk = store.disk
    if isinstance(disk, SimDisk | HookedDisk):
        index = len(disk.log)
        disk.log.append((POINT, name))
        if disk.hook is not None:
            disk.hook(index, POINT, (name,))


# -- afterwards


def restarted(store: S) -> S:
    """The store as a new process finds it, now that this one was killed: all it did to the disk is there, its
    locks are not. Listeners are the new process's business. On a real disk: the store opened anew."""
    disk: Disk = store.disk.copy() if isinstance(store.disk, SimDisk) else PosixDisk()
    return _on(store, disk)


def rebooted(store: S) -> S:
    """The store after a power cut, when only what was synced survived. Raises TypeError for a real store."""
    return _on(store, _simulated(store).crash())


def every_reboot(store: S, limit: int = 400, *, seed: int = 0) -> Iterator[S]:
    """The store after a power cut: each state that may be found, or ``limit`` telling ones if there are more.

    The same ones every time, for the same ``seed``. Raises TypeError for a real store.
    """
    disk = _simulated(store)
    for keep, torn in disk.crash_states(random.Random(seed), limit):
        yield _on(store, disk.crash(keep, torn))


class Trial(NamedTuple, Generic[S]):
    """One run of some work that was cut or failed, and the store as it is found afterwards.

    ``how``: "killed", "power cut", "failed", or "done" for the last run, which nothing struck. ``at``: how
    many calls went well before; ``call`` is the one that did not, with its names; () if all did. ``raised``:
    by the work, after a failure.
    """

    how: str
    at: int
    call: tuple[str, ...]
    raised: Exception | None
    store: S


def every_crash(
    store: S, work: Callable[[S], object], *, reboots: int = 4, seed: int = 0
) -> Iterator[Trial[S]]:
    """Run ``work`` again and again from what a simulated ``store`` holds now, and end it each time before
    another of the calls that change the disk, or at another ``fault_point``; the last time let it through.

    After each run comes the store as found by a new process, and then in up to ``reboots`` of the states a
    power cut may leave. ``store`` itself is not touched. What ``work`` does elsewhere it must begin anew.
    Raises what ``work`` raises by itself; TypeError for a real store.
    """
    start = _simulated(store)
    at, ended = 0, True
    while ended:
        world = _on(store, start.copy())
        disk = _simulated(world)
        disk.hook = hook = _Noticing(kill_at(at))
        try:
            work(world)
        except BaseException as problem:
            if not hook.struck or isinstance(problem, KeyboardInterrupt):
                raise
        disk.hook = dead if hook.struck else None
        ended, call = bool(hook.struck), hook.struck
        yield Trial("killed" if ended else "done", at, call, None, restarted(world))
        for found in every_reboot(world, reboots, seed=seed + at):
            yield Trial("power cut", at, call, None, found)
        at += 1


def every_failure(
    store: S, work: Callable[[S], object], error: int = errno.ENOSPC, *, again: bool = False
) -> Iterator[Trial[S]]:
    """Run ``work`` again and again from what a simulated ``store`` holds now, and let each time another of
    the calls that change the disk fail with errno ``error``, with ``again`` all later ones too; the last
    time none.

    The process lives on: after each run comes the store as ``work`` left it, on a disk that works again, and
    what ``work`` raised. ``store`` itself is not touched. Raises what ``work`` raises by itself; TypeError
    for a real store.
    """
    start = _simulated(store)
    at, failed = 0, True
    while failed:
        world = _on(store, start.copy())
        disk = _simulated(world)
        disk.hook = hook = _Noticing(_failing(at, error, again=again))
        raised = None
        try:
            work(world)
        except Exception as problem:
            if not hook.struck:
                raise
            raised = problem
        disk.hook = None
        failed = bool(hook.struck)
        yield Trial("failed" if failed else "done", at, hook.struck, raised, world)
        at += 1


# -- within


def _on(store: S, disk: Disk) -> S:
    return type(store)(store.path, store.options, disk)


def _simulated(store: Store) -> SimDisk:
    if not isinstance(store.disk, SimDisk):
        raise TypeError(f"this needs a simulated store, not one on a {type(store.disk).__name__}")
    return store.disk


def _failing(at: int, error: int, *, again: bool) -> Hook:
    fault = Fault(CHANGE, at + 1, None, error, again, 0)

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index == at or (again and index > at):
            raise fault.exception(verb)

    return hook


class _Noticing:
    """A hook, and the first call that it let fail: its verb and names."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self.struck: tuple[str, ...] = ()

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> None:
        try:
            self._hook(index, verb, names)
        except BaseException:
            self.struck = self.struck or (verb, *names)
            raise


@contextlib.contextmanager
def _hooked(disk: SimDisk | _Process, script: Script) -> Iterator[None]:
    """With ``script`` before the hook there is; if it kills, the disk is dead from then on."""
    before = disk.hook

    def both(index: int, verb: str, names: tuple[str, ...]) -> None:
        script(index, verb, names)
        if before is not None:
            before(index, verb, names)

    disk.hook = both
    try:
        yield
    finally:
        if disk.hook is not dead:  # by a block within this one
            disk.hook = dead if script.killed else before


class _Process(HookedDisk):
    """The real disk as one process has it, which may die: then its descriptors close, and so its locks go.

    Its log and its hook are told names by descriptor too, as those of ``SimDisk`` are.
    """

    def __init__(self, hook: Hook | None) -> None:
        super().__init__(hook)
        self._names: dict[int, str] = {}  # of the open descriptors
        self._died = False

    def die(self) -> None:
        """What the kernel does for a process that has ended. A finalizer that comes later finds nothing."""
        self._died = True
        while self._names:
            fd, _ = self._names.popitem()
            os.close(fd)

    def check_alive(self) -> None:
        if self._died:
            dead(0, "", ())

    def close(self, fd: int) -> None:
        self._names.pop(fd, None)
        os.close(fd)

    def open_root(self, path: str) -> int:
        return self._opened(super().open_root(path), path)

    def open_dir(self, at: int, name: str) -> int:
        return self._opened(super().open_dir(at, name), name)

    def open_file(self, at: int, name: str) -> int:
        return self._opened(super().open_file(at, name), name)

    def create(self, at: int, name: str) -> int:
        return self._opened(super().create(at, name), name)

    def open_lock(self, at: int, name: str) -> int:
        try:
            self.lstat(at, name)
        except FileNotFoundError:
            self._enter("open_lock", name)
        return self._opened(super().open_lock(at, name), name)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        try:
            self._enter("write", self._names.get(fd, ""))
        except (VerbFailed, Killed) as failure:
            if failure.written:
                PosixDisk.write(self, fd, bytes(data[: failure.written]), offset)
            raise
        PosixDisk.write(self, fd, data, offset)

    def truncate(self, fd: int, size: int, /) -> None:
        self._enter("truncate", self._names.get(fd, ""))
        PosixDisk.truncate(fd, size)

    def set_meta(self, fd: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> None:
        self._enter("set_meta", self._names.get(fd, ""))
        PosixDisk.set_meta(self, fd, uid, gid, mode, mtime_ns)

    def fsync(self, fd: int) -> None:
        self._enter("fsync", self._names.get(fd, ""))
        PosixDisk.fsync(self, fd)

    def syncfs(self, fd: int) -> None:
        self._enter("syncfs", self._names.get(fd, ""))
        PosixDisk.syncfs(self, fd)

    def _opened(self, fd: int, name: str) -> int:
        self._names[fd] = name
        return fd


def _while_alive(verb: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(verb)
    def guarded(self: _Process, *args: Any, **named: Any) -> Any:
        self.check_alive()
        return verb(self, *args, **named)

    return guarded


def _plain(name: str) -> Callable[..., Any]:
    """The verb as a function of ``(self, ...)``, though PosixDisk has it from ``os``."""
    found: Callable[..., Any] = getattr(_Process, name)
    if name in ("fstat", "pread"):
        return lambda self, *args: found(*args)
    return found


for _name in vars(Disk):
    if not _name.startswith("_"):
        setattr(_Process, _name, _while_alive(_plain(_name)))
