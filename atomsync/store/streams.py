"""The bytes of a file in pieces, hashed in order: by two threads, where the file is large enough.

A copy is bound by memory and by the kernel, and both let go of the interpreter: so one thread reads the next
piece while the other writes, or reads back, the one before. Only the digest must take them in order; each
waits for its turn there. A piece fits into a processor's cache: it is read from the medium or from memory
once, and written and read back from there.

No memory maps: whoever cuts a mapped file, or a bad block in it, would end this process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import xxhash

from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress

if TYPE_CHECKING:
    import threading

LARGE_BYTES = 16 << 20
"""From here on a file is worth a second thread, and a base to be staged over."""
PIECE_BYTES = 512 << 10
_LOOK_UP_S = 0.05  # how long it may take to notice that the other thread has failed

Put = Callable[[int, bytes], None]
"""Called with the offset of a piece and its bytes."""


def stream(
    disk: Disk,
    fd: int,
    size: int,
    target: Disk,
    progress: Progress,
    put: Put | None = None,
    *,
    two: bool = False,
) -> str | None:
    """The digest of the first ``size`` bytes of ``fd``, each piece of which was also given to ``put``; None
    if there are fewer. ``two``: by two threads, should it be large enough, of disks that threads can share;
    then ``put``, which works on ``target``, meets the pieces in any order, and another one beside it.

    Raises what ``put``, the disk and ``progress`` raise; the last is only called by the thread that called.
    """
    two = two and size >= LARGE_BYTES and type(disk) is type(target) is PosixDisk and _processors() > 1
    return _Stream(disk, fd, size, progress, put).run(two=two)


class _Stream:
    def __init__(self, disk: Disk, fd: int, size: int, progress: Progress, put: Put | None) -> None:
        self._disk, self._fd, self._size, self._progress, self._put = disk, fd, size, progress, put
        from threading import Lock  # here, for most commands have no use for it, and it takes time to load

        self._hasher = xxhash.xxh3_128()
        self._new_lock = Lock  # a bare one, unlike a condition, cannot be left held by Ctrl-C
        self._taking = Lock()
        self._turn = Lock()  # free when all pieces before the next one are in the digest
        self._taken = self._hashed = self._told = 0
        self._ended = False  # before its end: nobody begins another piece
        self._failed: BaseException | None = None

    def run(self, *, two: bool) -> str | None:
        from threading import Thread

        other = Thread(target=self._assist, name="atomsync-stream") if two else None
        try:
            if other is not None:
                with contextlib.suppress(RuntimeError):  # the system gives no thread: then without
                    other.start()
            self._work(self._tell)
        except BaseException:
            self._ended = True
            raise
        finally:
            if other is not None:
                _join(other)
        if self._failed is not None:
            raise self._failed
        self._tell()
        return self._hasher.hexdigest() if self._hashed == self._size else None

    def _assist(self) -> None:
        try:
            self._work(None)
        except BaseException as error:  # it is raised where the caller hears of it
            self._failed, self._ended = error, True

    def _work(self, tell: Callable[[], None] | None) -> None:
        while (taken := self._take()) is not None:
            offset, turn, following = taken
            piece = self._read(offset)
            while not turn.acquire(timeout=_LOOK_UP_S):
                if self._ended:
                    return
            if self._ended or not piece:
                self._ended = True
                return
            self._hasher.update(piece)
            self._hashed += len(piece)
            following.release()
            if self._put is not None:
                self._put(offset, piece)
            if tell is not None:
                tell()

    def _read(self, offset: int) -> bytes:
        """The whole piece; nothing if the file ends before."""
        length = min(PIECE_BYTES, self._size - offset)
        piece = self._disk.pread(self._fd, length, offset)
        while len(piece) < length:  # for the system's own reasons
            more = self._disk.pread(self._fd, length - len(piece), offset + len(piece))
            if not more:
                return b""
            piece += more
        return piece

    def _take(self) -> tuple[int, threading.Lock, threading.Lock] | None:
        """The offset of the next piece, its turn, and the turn of the one behind it."""
        with self._taking:
            offset = self._taken
            if self._ended or offset >= self._size:
                return None
            self._taken += PIECE_BYTES
            turn, self._turn = self._turn, self._new_lock()
            self._turn.acquire()
            return offset, turn, self._turn

    def _tell(self) -> None:
        done = self._hashed
        self._progress.advance(0, done - self._told)
        self._told = done
        self._progress.check()


def _join(thread: threading.Thread) -> None:
    """Whatever interrupts us: nobody may close what the thread still writes to."""
    interrupted: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
