"""Asking the watch of a destination, from another process."""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
import time
from typing import Any

from atomsync import errors
from atomsync.daemon.places import open_places, socket_names, socket_path
from atomsync.errors import AccessError, AtomSyncError, NotWatched, TimedOut
from atomsync.fs.posix import PosixDisk
from atomsync.tree.path import shown

_CONNECT_S, _CONNECT_PAUSE_S = 5.0, 0.01
_KINDS: dict[str, type[AtomSyncError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, AtomSyncError)
}


def ask(destination: str, verb: str, *, patience_s: float | None = 5.0, **fields: object) -> dict[str, Any]:
    """The answer of the watch that follows a source into ``destination``.

    ``patience_s``: how long to wait for it, None for ever. Raises NotWatched if there is no watch,
    TimedOut, AccessError if it belongs to somebody else, and what the watch itself answered as an error.
    """
    with _connected(destination) as connection:
        try:
            connection.settimeout(patience_s)
            with contextlib.suppress(ConnectionError):  # sent away at the door: the answer says why
                connection.sendall(json.dumps({"verb": verb, **fields}).encode() + b"\n")
            with connection.makefile("rb") as file:
                answer = json.loads(file.readline())
        except TimeoutError:
            raise TimedOut(
                f"the watch of {shown(destination)} does not answer", f"not within {patience_s:g} s"
            ) from None
        except (OSError, ValueError):
            raise _not_watched(destination, "it ended before it answered") from None
    if "error" in answer:
        raise error_from(**answer["error"])
    found: dict[str, Any] = answer
    return found


def error_from(code: str, what: str, why: str = "", hint: str = "", **_more: object) -> AtomSyncError:
    """The member of the error tree of which a watch told."""
    return _KINDS.get(code, AtomSyncError)(what, why, hint)


def error_of_status(exit_status: int, what: str, why: str) -> AtomSyncError:
    """The member of the error tree that stands for an exit status."""
    for kind in _KINDS.values():
        if kind.exit_status == exit_status:
            return error_from(kind.code, what, why)
    return AtomSyncError(what, why)


def _connected(destination: str) -> socket.socket:
    refused = False
    names = socket_names(destination)
    for place, directory in open_places(PosixDisk()):
        for name in names:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                _connect(connection, socket_path(directory, f"{name}.socket", place))
                return connection
            except OSError as error:  # missing, stale, or not ours
                connection.close()
                refused = refused or isinstance(error, PermissionError)
                if isinstance(error, BlockingIOError):
                    raise TimedOut(
                        f"the watch of {shown(destination)} does not answer", "too many ask it at once"
                    ) from None
    if refused:
        raise AccessError(
            f"cannot ask the watch of {shown(destination)}", "it belongs to another user", "Ask as that user."
        )
    raise _not_watched(destination, "no atomsync watch is running for it")


def _connect(connection: socket.socket, path: str) -> None:
    """A full queue of askers is waited for: the watch takes them one after the other."""
    deadline = time.monotonic() + _CONNECT_S
    connection.setblocking(False)
    while True:
        try:
            return connection.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_CONNECT_PAUSE_S)


def _not_watched(destination: str, why: str) -> NotWatched:
    return NotWatched(f"nobody watches {shown(destination)}", why, "Start one: atomsync watch SRC DST")
