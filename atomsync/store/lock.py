"""The exclusive lock of an open file or directory, and the text by which its holder can be named.

The lock is flock's: the kernel gives it back when its holder dies, however it dies. The text is for people
only, and may be stale.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from atomsync.errors import StoreLocked
from atomsync.fs.disk import Disk
from atomsync.tree.path import shown

_TEXT_MAX_BYTES = 4096
_LOOKS, _LOOK_S = 10, 0.01  # at a lock that is held by nobody who signed
_PAUSE_S, _PAUSE_MAX_S = 0.001, 0.05
_BRIEF_S = 5.0

T = TypeVar("T")


def take(disk: Disk, fd: int, path: str, signed: Callable[[], bytes]) -> None:
    """Lock ``fd``, for work on destination ``path``. Raises StoreLocked with the name of its holder.

    ``signed`` tells what the holder wrote. One who did not, only looks or is yet to sign: that is waited for.
    """
    for left in reversed(range(_LOOKS)):
        if disk.try_lock(fd):
            return
        text = signed()
        holder = _signature(text)
        if not left or holder.lives:
            error = StoreLocked(
                f"another process is working on {shown(path)}",
                _name(text) if text else "its holder left no name here: it may have another --state-dir",
                "Wait until it is done, then run this again.",
            )
            error.brief = holder.brief
            raise error
        time.sleep(_LOOK_S)


def waiting(until: float, verb: Callable[[], T], *, patient: bool = False) -> T:
    """``verb``, tried again while another has the lock, until ``time.monotonic()`` says ``until``; if
    ``patient``, some seconds at least for one who has it for a commit only."""
    began = time.monotonic()
    pause_s = _PAUSE_S
    while True:
        try:
            return verb()
        except StoreLocked as error:
            end = max(until, began + _BRIEF_S) if patient and error.brief else until
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise
            time.sleep(min(left_s, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def read_text(disk: Disk, fd: int) -> bytes:
    return disk.pread(fd, _TEXT_MAX_BYTES, 0)


def holder(disk: Disk, fd: int) -> str:
    """Who has the lock of an open file now; "" if nobody who signed."""
    text = read_text(disk, fd)
    return "" if not text or disk.try_lock(fd) else _name(text)


def sign(disk: Disk, fd: int, *, brief: bool) -> None:
    """Write down who we are. Information only: a full disk must not lock anybody out."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
    text = json.dumps(
        {"pid": os.getpid(), "command": " ".join(sys.argv)[:200], "since": since, "brief": brief}
    )
    with contextlib.suppress(OSError):
        if _is_ours_alone(disk, fd):
            disk.truncate(fd, 0)
            disk.write(fd, text.encode(), 0)


def release(disk: Disk, fd: int) -> None:
    """Wipe the text and close. Never fails: the kernel takes the lock back whatever happens."""
    with contextlib.suppress(OSError):
        if _is_ours_alone(disk, fd):
            disk.truncate(fd, 0)
    for verb in (disk.unlock, disk.close):  # both: a child may have a copy of the descriptor
        with contextlib.suppress(OSError):
            verb(fd)


def _is_ours_alone(disk: Disk, fd: int) -> bool:
    """A file with other names (a backup made of hard links, or a trap) is none to write into."""
    return disk.fstat(fd).st_nlink == 1


class _Signature(NamedTuple):
    """``lives``: the process that signed does; ``brief``: it said that it has the lock for a commit only."""

    lives: bool
    brief: bool


def _signature(text: bytes) -> _Signature:
    try:
        said = json.loads(text)
        brief = bool(said.get("brief"))
        os.kill(int(said["pid"]), 0)
    except PermissionError:
        return _Signature(True, brief)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError):
        return _Signature(False, False)
    return _Signature(True, brief)


def _name(text: bytes) -> str:
    try:
        said = json.loads(text)
        return f"process {said['pid']} ({shown(str(said['command']))}) since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "its holder left no name"
