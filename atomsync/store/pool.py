"""(3) A second process that stages, for units large enough to be worth its start.

Copying small files is mostly system calls made from Python, and one interpreter makes one at a time.
The helper runs the very same ``copy_file`` on the descriptors it inherits; this process deals out
chunks from one end of the list and works from the other, so neither waits for a plan.

It inherits the store's lock too, and asks the kernel to be killed with us: while anybody still
writes to the stage, nobody else can take the store. Where no process can be started, or it dies, its
share is staged here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atomsync import errors
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.store.wire import read_message, write_message

if TYPE_CHECKING:
    import subprocess

WORTH_FILES, WORTH_BYTES = 1_000, 256 << 20
_CHUNK_FILES, _CHUNK_BYTES = 128, 16 << 20
_LOOK_UP_S = 0.1  # how long a wait may keep us from noticing a signal
_AHEAD = 2  # chunks the helper has in hand, so that it need not wait for us
_START = "import sys,json;sys.path[:]=json.loads(sys.argv[1]);from atomsync.store.helper import main;main()"

Outcome = tuple[Job, str | None]


def is_worth_it(jobs: list[Job], source: Source, slots: Cursor) -> bool:
    """Whether a helper would earn its 50 ms, and could be had."""
    if not (isinstance(source.disk, PosixDisk) and isinstance(slots.disk, PosixDisk)):
        return False  # another disk lives in this process only
    if len(jobs) < WORTH_FILES and sum(job.entry.size for job in jobs) < WORTH_BYTES:
        return False
    return len(jobs) > 1 and bool(sys.executable) and len(_processors()) > 1


def copy_in_two(
    jobs: list[Job], source: Source, slots: Cursor, lock: int, progress: Progress
) -> Iterator[Outcome]:
    """Stage ``jobs`` here and in a helper; yields each with its digest (None: unstable), in any order."""
    chunks = _chunks(jobs)
    helper = _Helper(source.root, slots.root, lock)
    try:
        while chunks or helper.outstanding:
            progress.check()
            while chunks and helper.alive and len(helper.outstanding) < _AHEAD:
                helper.send(chunks.pop())
            if chunks:
                for job in chunks.pop(0):
                    progress.check()
                    yield job, copy_file(source, slots, job, progress)
                    progress.advance(1)
            for job, digest in helper.results(progress, wait=not chunks):
                progress.advance(1)
                yield job, digest
            if not helper.alive and helper.outstanding:
                for chunk in helper.outstanding:
                    for job in chunk:
                        parent, name = slots.split(job.location)
                        remove_tree(slots.disk, parent, name)
                chunks += helper.outstanding
                helper.outstanding = []
    finally:
        helper.stop()


class _Helper:
    """The helper process as seen from here. ``outstanding`` are the chunks it has not answered yet."""

    def __init__(self, source: int, slots: int, lock: int) -> None:
        import subprocess

        self.outstanding: list[list[Job]] = []
        self.alive = True
        arguments = [json.dumps([path for path in sys.path if path]), str(source), str(slots)]
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [sys.executable, "-S", "-E", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _START, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(source, slots, lock),
                start_new_session=True,  # a Ctrl-C is ours to answer
                bufsize=0,
            )
        except OSError:
            self._process, self.alive = None, False

    def send(self, chunk: list[Job]) -> None:
        self.outstanding.append(chunk)
        jobs = [(job.path, job.location, tuple(job.entry)) for job in chunk]
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin.fileno(), jobs)
        except OSError:
            self.alive = False

    def results(self, progress: Progress, *, wait: bool) -> Iterator[Outcome]:
        """What it has answered by now; with ``wait``, at least one chunk, if any is outstanding."""
        while self.alive and self.outstanding and self._process is not None:
            assert self._process.stdout is not None
            pipe = self._process.stdout.fileno()
            while not select.select([pipe], [], [], _LOOK_UP_S if wait else 0)[0]:
                if not wait:
                    return
                progress.check()
            answer = read_message(pipe)
            if isinstance(answer, int):  # bytes copied since it last said so
                progress.advance(0, answer)
                progress.check()
                continue
            if not isinstance(answer, dict | list):
                self.alive = False
                return
            if isinstance(answer, dict):
                error = getattr(errors, answer["class"])(answer["what"], answer["why"], answer["hint"])
                error.path = answer["path"]
                raise error
            yield from zip(self.outstanding.pop(0), answer)
            wait = False

    def stop(self) -> None:
        """It is gone when this returns: nobody writes to the stage behind our back."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        if self.outstanding:
            process.kill()
        process.wait()
        process.stdout.close()


def _chunks(jobs: list[Job]) -> list[list[Job]]:
    """The jobs in order, cut so that a chunk takes some milliseconds."""
    chunks: list[list[Job]] = []
    size = _CHUNK_BYTES
    for job in jobs:
        if size >= _CHUNK_BYTES or len(chunks[-1]) >= _CHUNK_FILES:
            chunks.append([])
            size = 0
        chunks[-1].append(job)
        size += job.entry.size
    return chunks


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
