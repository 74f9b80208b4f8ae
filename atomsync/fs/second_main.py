"""The second process (see ``second``), as it is inside: descriptors come, tasks come, answers go.

A task is a function of some module, called with a ``Context`` and what was sent. The module is imported when
it is first named; so whoever writes one for short work should import little.
"""

from __future__ import annotations

import _socket
import array
import os
import signal
import sys

from atomsync.fs.wire import (
    ANSWER,
    DROP,
    FAILED,
    GIVE,
    HEAD,
    REFUSED,
    TASK,
    TOLD,
    length,
    like,
    packed,
    unpacked,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atomsync.fs.cursor import Cursor

DESCRIPTORS_MAX = 16
_PR_SET_PDEATHSIG = 1
_ROOM = _socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)


class Context:
    """What tasks share: ``descriptors`` by the names they were given, and ``kept`` for what one task leaves
    to the next, which is dropped with the descriptor of its name, or where another is given by that name; if
    there is none of it, with any."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.descriptors: dict[str, int] = {}
        self.kept: dict[str, Any] = {}
        self._send = send
        self._cursors: dict[str, Cursor] = {}
        self._disk: Any = None

    @property
    def disk(self) -> Any:
        """The real one: there is no other in this process."""
        if self._disk is None:
            from atomsync.fs.posix import PosixDisk

            self._disk = PosixDisk()
        return self._disk

    def cursor(self, name: str) -> Cursor:
        """The cursor of a descriptor; it stays where the last task left it."""
        if name not in self._cursors:
            from atomsync.fs.cursor import Cursor

            self._cursors[name] = Cursor(self.disk, self.descriptors[name])
        return self._cursors[name]

    def tell(self, number: int) -> None:
        """How much more of the task is done, for whoever waits."""
        self._send(packed(TOLD, number))

    def give(self, names: tuple[str, ...], descriptors: list[int]) -> None:
        if any(name in self.descriptors for name in names):
            self.drop(names)
        self.descriptors.update(zip(names, descriptors))

    def drop(self, names: tuple[str, ...]) -> None:
        for name in [name for name in self.kept if name in names or name not in self.descriptors]:
            kept = self.kept.pop(name)
            if hasattr(kept, "close"):  # a database is in a cycle of its own, and so keeps its locks
                kept.close()
        for name in names:
            if name in self._cursors:
                self._cursors.pop(name).close()
            if name in self.descriptors:
                os.close(self.descriptors.pop(name))


def main() -> None:
    """Serves what comes by descriptor 0, until nothing will come any more."""
    _die_with_parent()
    if sys.argv[1] != like():
        os._exit(1)  # we would not understand each other
    _close_what_was_left_open()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a question, which the parent answers
    connection = _socket.socket(fileno=0)
    context = Context(connection.sendall)
    tasks: dict[str, Callable[..., Any]] = {}
    try:
        while (received := _received(connection)) is not None:
            (kind, *message), descriptors = received
            if kind == TASK:
                name, arguments = message
                if name not in tasks:
                    tasks[name] = _found(name)
                connection.sendall(_outcome(tasks[name], context, arguments))
            elif kind == GIVE:
                context.give(message[0], descriptors)
            elif kind == DROP:
                context.drop(message[0])
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody waits for it any more
    os._exit(0)  # nothing here needs to be taken down in order


def _outcome(task: Callable[..., Any], context: Context, arguments: tuple[Any, ...]) -> bytes:
    try:
        return packed(ANSWER, task(context, *arguments))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return packed(FAILED, error.errno, error.strerror, error.filename)
    except Exception as error:
        from atomsync.errors import AtomSyncError

        if not isinstance(error, AtomSyncError):
            raise
        told = error.what, error.why, error.hint
        return packed(REFUSED, type(error).__name__, told, error.path, error.also)


def _found(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    __import__(module)
    task: Callable[..., Any] = getattr(sys.modules[module], function)
    return task


def _received(connection: _socket.socket) -> tuple[tuple[Any, ...], list[int]] | None:
    """The next message with the descriptors that came along; None when the other side is gone."""
    head, along, _, _ = connection.recvmsg(HEAD, _ROOM)
    descriptors = array.array("i")
    for level, kind, data in along:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    while head and len(head) < HEAD:
        more = connection.recv(HEAD - len(head))
        head = head + more if more else b""
    if not head:
        return None
    body = bytearray(length(head))
    view = memoryview(body)
    while view:
        count = connection.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return unpacked(body), list(descriptors)


def _close_what_was_left_open() -> None:
    """What its parent let all its children have. Not one number after the other, where that can be helped: in
    many a container there are a thousand million of them."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        return
    for fd in found:
        try:
            if fd > 2:
                os.close(fd)
        except OSError:
            pass  # the one by which this was found out


def _die_with_parent() -> None:
    """While it lives it has what it was given, locks among it: so it must not outlive whom it works for."""
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the kernel was told
