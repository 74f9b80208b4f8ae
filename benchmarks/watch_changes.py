"""One change at a time, and when it is to be seen at the other side."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import time

from measure import BenchError
from watch_followers import Follower

_IN_MODIFY, _IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x8, 0x80, 0x100
_SEEN = _IN_MODIFY | _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_CREATE
_PATIENCE_S = 30.0
_APART_S = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


class Observer:
    """Waits for what is done in a directory of the target, asleep until the kernel tells.

    A busy look at the inode would take one of the processors from those it is to time.
    """

    def __init__(self, directory: str) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(directory), _SEEN) < 0:
            raise BenchError(f"cannot observe the target: {os.strerror(ctypes.get_errno())}")

    def until_it_reads(self, file: str, content: bytes) -> int:
        """When ``file`` was first found to hold ``content``, in nanoseconds of ``perf_counter_ns``."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            select.select([self._fd], [], [], 1.0)
            now = time.perf_counter_ns()
            # Events first: one that comes after them is for the next look.
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 65536)
            with contextlib.suppress(FileNotFoundError), open(file, "rb") as stream:
                if stream.read() == content:
                    return now
        raise BenchError(f"a change was not to be seen at the target within {_PATIENCE_S:g} s")

    def close(self) -> None:
        os.close(self._fd)


class Changes:
    """Changes one random file of a follower's source after the other, each when the follower rests.

    Every other one is rewritten in place, the others by writing a new file and renaming it over.
    """

    def __init__(self, follower: Follower, files: list[str]) -> None:
        self.follower = follower
        self._files = files
        self._dice = random.Random(follower.name)
        self._done = 0

    def change_one(self) -> float:
        """Seconds from ``close`` to visible at the target. Returns when the follower rests again."""
        name = self._dice.choice(self._files)
        source, target = f"{self.follower.source}/{name}", f"{self.follower.target}/{name}"
        self._done += 1
        content = f"change {self._done} ".encode() + self._dice.randbytes(self._dice.randint(1024, 4096))
        time.sleep(self._dice.uniform(0, _APART_S))  # in step with no clock of the follower
        observer = Observer(os.path.dirname(target))
        try:
            over = self._done % 2 == 0
            fd = os.open(f"{source}.new" if over else source, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(fd, content)
            closed = time.perf_counter_ns()
            os.close(fd)
            if over:
                os.rename(f"{source}.new", source)
            seconds = (observer.until_it_reads(target, content) - closed) / 1e9
        finally:
            observer.close()
        if not self.follower.rests():
            raise BenchError(f"{self.follower.name} does not come to rest")
        return seconds
