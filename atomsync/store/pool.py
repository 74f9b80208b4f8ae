"""(3) Staging in two processes, for units large enough to be worth it.

Copying small files is mostly system calls made from Python, and one interpreter makes one at a time. The
second process (``fs.second``) runs the very same ``copy_file`` on chunks from the other end of the list.

It is given the stage's lock too: while anybody still writes to the stage, nobody else can take it for waste.
Where there is no second process, or it dies, its share is staged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atomsync.fs.cursor import Cursor
from atomsync.fs.sharing import Portions, shared
from atomsync.store.copying import Job, Source, copy_file, source_there
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.tree.entry import Entry

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task
    from atomsync.fs.second_main import Context

WORTH_FILES, WORTH_BYTES = 1_000, 256 << 20
_CHUNK_FILES, _CHUNK_BYTES = 128, 16 << 20
_TELL_BYTES = 4 << 20
_COPY = "atomsync.store.pool:copy_there"

Outcome = tuple[Job, str | None]


def is_worth_it(jobs: list[Job]) -> bool:
    """Whether a second process would earn its start."""
    if len(jobs) < WORTH_FILES and sum(job.entry.size for job in jobs) < WORTH_BYTES:
        return False
    return len(jobs) > 1


def copy_in_two(
    jobs: list[Job], source: Source, slots: Cursor, lock: int, second: Second, progress: Progress
) -> Iterator[Outcome]:
    """Stage ``jobs`` here and in ``second``; yields each with its digest (None: unstable), in any order."""

    def here(chunk: list[Job]) -> list[str | None]:
        digests = []
        for job in chunk:
            progress.check()
            digests.append(copy_file(source, slots, job, progress))
            progress.advance(1)
        return digests

    def told(number: int) -> None:
        progress.advance(*((0, number) if number >= 0 else (-number, 0)))

    def ask(second: Second, chunk: list[Job]) -> Task:
        plain = [(job.path, job.location, tuple(job.entry)) for job in chunk]
        return second.ask(_COPY, plain, told=told)

    def again(chunk: list[Job]) -> list[str | None]:
        _remove(chunk, slots)
        return here(chunk)

    second.give(source=source.root, slots=slots.root, lock=lock)
    try:
        chunks = Portions(_chunks(jobs))
        for chunk, digests in shared(chunks, here, ask, lambda: second, progress.check, again):
            yield from zip(chunk, digests)
    finally:
        second.drop("source", "slots", "lock")


def copy_there(context: Context, chunk: list[tuple[str, str, tuple[Any, ...]]]) -> list[str | None]:
    """What the second process does: the digest of each job, as ``copy_file`` finds it."""
    source, slots, progress = source_there(context), context.cursor("slots"), Telling(context)
    digests = []
    for path, location, entry in chunk:
        digests.append(copy_file(source, slots, Job(path, location, Entry._make(entry)), progress))
        progress.advance(1)
    progress.tell()
    return digests


class Telling(Progress):
    """Passes on how many bytes were copied, and (below zero) how many files, in steps."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._files = self._copied = 0

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._files += files
        self._copied += size
        if self._copied >= _TELL_BYTES:
            self.tell()

    def tell(self) -> None:
        self._context.tell(self._copied)
        if self._files:
            self._context.tell(-self._files)
        self._files = self._copied = 0


def _remove(chunk: list[Job], slots: Cursor) -> None:
    """What a process that died may have left of these."""
    for job in chunk:
        parent, name = slots.split(job.location)
        remove_tree(slots.disk, parent, name)


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
