"""A second process, for what is mostly system calls: one interpreter makes one at a time.

It runs tasks, functions named as "package.module:function", on descriptors it was given; it answers in
the order in which it was asked. It is the same interpreter with the same modules, in a session of its own
(a Ctrl-C is ours to answer), and the kernel kills it when we die. Nothing rests on it: if it is killed, who
asked does himself what it has not answered.

    second.give(source=fd)                              # a copy of the descriptor is there by this name
    task = second.ask("atomsync.tree.scan:names", "some/path")
    ...                                                 # meanwhile
    if second.wait(task, progress.check):               # or second.look(), then task.answered
        names = task.result()
    else:
        ...                                             # it is gone: do it here
    second.drop("source")
"""

from __future__ import annotations

import _socket
import array
import contextlib
import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from atomsync import errors
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.fs.wire import DROP, FAILED, GIVE, HEAD, REFUSED, TASK, TOLD, length, packed, unpacked

_START = "import sys;sys.path[:]=sys.argv[1:];from atomsync.fs.second_main import main;main()"
_LOOK_UP_MS = 100  # how long a wait may keep us from noticing a signal
_READ_BYTES = 1 << 18


class Task:
    """Work that was given away. ``told`` is called with the numbers that the task says meanwhile."""

    __slots__ = ("_outcome", "told")

    def __init__(self, told: Callable[[int], object] | None) -> None:
        self.told = told
        self._outcome: tuple[Any, ...] | None = None

    @property
    def answered(self) -> bool:
        return self._outcome is not None

    def result(self) -> Any:
        """What the function returned; raises what it raised, AtomSyncError or OSError."""
        assert self._outcome is not None
        kind, *outcome = self._outcome
        if kind == FAILED:
            raise OSError(*outcome)
        if kind == REFUSED:
            name, told, path, also = outcome
            error: errors.AtomSyncError = getattr(errors, name)(*told)
            error.path, error.also = path, also
            raise error
        return outcome[0]


class Second:
    """The process as seen from here. Raises OSError if it cannot be started. For one thread at a time."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._read = bytearray()
        self.alive = True
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._socket, standard = ours, os.devnull
        arguments = ["-S", "-E", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _START]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *arguments, *(path for path in sys.path if path)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, standard, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, standard, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)

    def give(self, **descriptors: int) -> None:
        """Let it have copies of these, by these names; of former ones it lets go."""
        along = array.array("i", descriptors.values())
        self._send(packed(GIVE, tuple(descriptors)), along)

    def drop(self, *names: str) -> None:
        """Let it close its copies of these, once it has done what it was asked."""
        self._send(packed(DROP, names))

    @property
    def idle(self) -> bool:
        """Whether it has answered all it was asked."""
        self.look()
        return not self._waiting

    def ask(self, work: str, *arguments: Any, told: Callable[[int], object] | None = None) -> Task:
        """Give ``work`` away: "package.module:function", called with its ``Context`` (see ``second_main``)
        and these arguments, of built-in types. If it is gone the task is never answered."""
        task = Task(told)
        self._waiting.append(task)
        self._send(packed(TASK, work, arguments))
        return task

    def look(self) -> None:
        """Take in what it has answered by now, without waiting."""
        while self._receive(0):
            pass

    def wait(self, task: Task, check: Callable[[], object]) -> bool:
        """Until ``task`` is answered (True) or it is gone. ``check`` is called now and then; it may raise."""
        while not task.answered and self.alive:
            self._receive(_LOOK_UP_MS)
            check()
        return task.answered

    def close(self) -> None:
        """It is gone when this returns, whatever it was at: nobody works behind our back."""
        if self.alive:
            self.alive = False
            self._socket.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # a program that has its children reaped for it
                os.waitpid(self._pid, 0)

    # -- the wire
    def _send(self, data: bytes, along: array.array[int] | None = None) -> None:
        """All of it; takes in answers meanwhile, or each side might wait for the other to read."""
        view = memoryview(data)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, along)] if along else []
        while view and self.alive:
            try:
                view = view[self._socket.sendmsg([view], ancillary) :]
                ancillary = []
            except BlockingIOError:
                self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
                self._receive(_LOOK_UP_MS)
                if self.alive:
                    self._poll.modify(self._socket, select.POLLIN)
            except OSError:
                self.close()

    def _receive(self, wait_ms: int) -> bool:
        """Take in what comes within this time; whether anything came."""
        if not self.alive or not self._poll.poll(wait_ms):
            return False
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:  # there is only room to send
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._read += data
        at, read = 0, self._read
        while len(read) - at >= HEAD and len(read) - at - HEAD >= (size := length(read[at : at + HEAD])):
            at += HEAD + size
            self._take(unpacked(memoryview(read)[at - size : at]))
        del read[:at]
        return True

    def _take(self, message: tuple[Any, ...]) -> None:
        if message[0] == TOLD:
            told = self._waiting[0].told
            if told is not None:
                told(message[1])
        else:
            self._waiting.popleft()._outcome = message


def second_process(*disks: Disk) -> Second | None:
    """One that works on these disks, if it can be had, and if there is a processor for it."""
    if any(type(disk) is not PosixDisk for disk in disks):
        return None  # another disk lives in this process only
    if not sys.executable or _processors() < 2:
        return None
    try:
        return Second()
    except (OSError, NotImplementedError):
        return None


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
