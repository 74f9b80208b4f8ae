"""The control socket of one destination: a lock, so that it has one watch, and a door to ask that watch.

A connection carries one JSON object on a line, and the answer as another. Whoever sends garbage, sends
slowly, or goes away, holds one thread for some seconds and hurts nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from atomsync.daemon.places import open_places, own_place, socket_name, socket_path
from atomsync.errors import AccessError, AtomSyncError, StoreLocked, UsageError, from_oserror
from atomsync.fs.posix import PosixDisk
from atomsync.store import lock
from atomsync.tree.path import shown

_REQUEST_MAX_BYTES = 64 * 1024
_REQUEST_S = 5.0
_CONNECTIONS_MAX = 64
_BACKLOG = 64
_PAUSE_S = 0.1  # after an accept that failed: no descriptors left, say

# Asked with the request and a function that tells whether the asker still listens.
Answer = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]]


class Endpoint:
    """Entering takes the lock (StoreLocked names who has it) and opens the door; leaving closes both."""

    def __init__(self, destination: str, answer: Answer) -> None:
        self._destination, self._answer = destination, answer
        self._disk = PosixDisk()
        self._name = socket_name(destination)
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._closing = False

    def __enter__(self) -> Self:
        self._place, self._directory = own_place(self._disk)
        try:
            self._lock = self._disk.open_lock(self._directory, f"{self._name}.lock")
            try:
                self._take_lock()
                self._socket = self._listening()
            except BaseException:
                self._disk.close(self._lock)  # what is written in it may be another's
                raise
        except OSError as error:
            self._disk.close(self._directory)
            raise from_oserror(error, f"cannot make a control socket in {shown(self._place)}") from None
        except BaseException:
            self._disk.close(self._directory)
            raise
        threading.Thread(target=self._accept, name=f"control {self._destination}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):  # wakes the accepting thread
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._disk.unlink(self._directory, f"{self._name}.socket")
        lock.release(self._disk, self._lock)
        self._disk.close(self._directory)

    def _take_lock(self) -> None:
        try:
            lock.take(
                self._disk,
                self._lock,
                self._destination,
                lambda: lock.read_text(self._disk, self._lock),
            )
            holder = self._holder_elsewhere()
        except StoreLocked as error:
            holder = error.why
        if holder:
            raise StoreLocked(
                f"another watch follows a source into {shown(self._destination)}",
                holder,
                "A destination has one watch: atomsync status DST shows it.",
            )
        lock.sign(self._disk, self._lock)

    def _holder_elsewhere(self) -> str:
        """A watch of ours that was started with another runtime directory."""
        for place, directory in open_places(self._disk):
            if place == self._place:
                continue
            with contextlib.suppress(OSError):
                fd = self._disk.open_file(directory, f"{self._name}.lock")
                try:
                    if holder := lock.holder(self._disk, fd):
                        return holder
                finally:
                    self._disk.close(fd)
        return ""

    def _listening(self) -> socket.socket:
        name = f"{self._name}.socket"
        with contextlib.suppress(FileNotFoundError):  # of a watch that was killed: the lock is ours
            self._disk.unlink(self._directory, name)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(socket_path(self._directory, name, self._place))
            self._disk.set_meta_at(self._directory, name, -1, -1, 0o600, None)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if self._closing or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                time.sleep(_PAUSE_S)
                continue
            if not self._free.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                reply = json.dumps(self._reply(connection)).encode()
                connection.settimeout(_REQUEST_S)
                connection.sendall(reply + b"\n")
        finally:
            self._free.release()

    def _reply(self, connection: socket.socket) -> Mapping[str, Any]:
        try:
            request = _request(connection)  # first: an answer to one who was not read to the end gets lost
            _check_peer(connection)
            return self._answer(request, lambda: _listens(connection))
        except OSError:
            raise
        except AtomSyncError as error:
            found = error
        except Exception as error:
            found = AtomSyncError("internal error in the watch", f"{type(error).__name__}: {error}")
        return {
            "error": {
                "code": found.code,
                "exit_status": found.exit_status,
                "what": found.what,
                "why": found.why,
                "hint": found.hint,
            }
        }


def _check_peer(connection: socket.socket) -> None:
    if not hasattr(socket, "SO_PEERCRED"):
        return  # the modes of socket and directory say the same
    size = struct.calcsize("iII")
    _, user, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if user not in (0, os.geteuid()):
        raise AccessError("cannot answer", f"this watch belongs to user {os.geteuid()}, you are {user}")


def _request(connection: socket.socket) -> dict[str, Any]:
    deadline = time.monotonic() + _REQUEST_S
    data = b""
    while not data.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(4096)
        data += part
        if not part or len(data) > _REQUEST_MAX_BYTES:
            break
    try:
        request = json.loads(data)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise UsageError("cannot read the request", "it is not one JSON object with a verb, on one line")
    return request


def _listens(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
