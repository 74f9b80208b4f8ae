"""The control socket of one destination: a lock, so that it has one watch, and a door to ask that watch.

A connection carries one JSON object on a line, and the answer as another. Whoever sends garbage, sends
slowly, or goes away, holds one thread for some seconds and hurts nobody else. Flushes, which may wait for any
time, never take all threads. A door that was cleaned away is made anew.
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
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from atomsync.daemon.places import Door, socket_names
from atomsync.errors import AccessError, AtomSyncError, TimedOut, UsageError
from atomsync.tree.path import shown

_REQUEST_MAX_BYTES = 64 * 1024
_REQUEST_S = 5.0
_CONNECTIONS_MAX = 64
_FLUSHES_MAX = 48  # the rest is left for those that are answered at once
_LOOK_S = 60.0  # between two looks whether the door is still where others find it
_PAUSE_S = 0.1  # after an accept that failed: no descriptors left, say

# Asked with the request and a function that tells whether the asker still listens.
Answer = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]]


class Endpoint:
    """Entering takes the lock (StoreLocked names who has it) and opens the door; leaving closes both."""

    def __init__(self, destination: str, answer: Answer) -> None:
        self._destination, self._answer = destination, answer
        self._names = socket_names(destination)
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._flushes = threading.BoundedSemaphore(_FLUSHES_MAX)
        self._door: Door | None = None
        self._turn = threading.Condition()  # of whoever opens or closes the door
        self._over = False

    def __enter__(self) -> Self:
        self._open()
        threading.Thread(target=self._tend, name=f"door {self._destination}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            self._over = True
            self._turn.notify()
            self._close()

    def _open(self) -> None:
        self._door = Door(self._destination, self._names)
        name, listening = f"control {self._destination}", self._door.listening
        threading.Thread(target=self._accept, args=(listening,), name=name, daemon=True).start()

    def _close(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def _tend(self) -> None:
        """While the door cannot be made anew, the watch goes on without one."""
        with self._turn:
            while not self._turn.wait_for(lambda: self._over, _LOOK_S):
                if self._door is None or not self._door.stands():
                    self._close()
                    with contextlib.suppress(AtomSyncError):
                        self._open()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if error.errno in (errno.EBADF, errno.EINVAL):  # closed
                    return
                time.sleep(_PAUSE_S)
                continue
            if self._free.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
                continue
            with connection, contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.sendall(_line(_told(self._busy("too many ask it at once"))))

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                reply = _line(self._reply(connection))
                connection.settimeout(_REQUEST_S)
                connection.sendall(reply)
        finally:
            self._free.release()

    def _reply(self, connection: socket.socket) -> Mapping[str, Any]:
        try:
            request = _request(connection)  # first: an answer to one who was not read to the end gets lost
            _check_peer(connection)
            with self._room(request["verb"]):
                return self._answer(request, lambda: _listens(connection))
        except OSError:
            raise
        except AtomSyncError as error:
            return _told(error)
        except Exception as error:
            return _told(AtomSyncError("internal error in the watch", f"{type(error).__name__}: {error}"))

    @contextlib.contextmanager
    def _room(self, verb: str) -> Iterator[None]:
        if verb != "flush":
            yield
            return
        if not self._flushes.acquire(blocking=False):
            raise self._busy("too many wait for a flush already")
        try:
            yield
        finally:
            self._flushes.release()

    def _busy(self, why: str) -> TimedOut:
        return TimedOut(f"the watch of {shown(self._destination)} does not answer", why, "Try again later.")


def _told(error: AtomSyncError) -> Mapping[str, Any]:
    names = ("code", "exit_status", "what", "why", "hint")
    return {"error": {name: getattr(error, name) for name in names}}


def _line(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


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
