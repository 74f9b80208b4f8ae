"""Directories that only the source has, read whole into grafts (see ``tree.graft``).

Only where no rule looks at each name (see ``Rules``): else a directory is compared entry by entry, and staged
so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from atomsync.errors import from_oserror
from atomsync.fs.disk import Disk
from atomsync.fs.sharing import Portions, shared
from atomsync.store.copying import Source, source_there
from atomsync.store.progress import Progress
from atomsync.sync.rules import Rules
from atomsync.tree.diff import Ownership
from atomsync.tree.entry import Entry
from atomsync.tree.graft import Folder, Graft
from atomsync.tree.packing import Head, Read, moved, read
from atomsync.tree.path import joined, shown

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task
    from atomsync.fs.second_main import Context

WORTH_NAMES = 1_000
"""From so many names on a second process earns its start."""
_NEAR, _FAR = 8, 64  # directories in a portion, of ours and of the other's
_CHECKED_NAMES = 500
_READ, _MOVED = "atomsync.sync.grafting:read_there", "atomsync.sync.grafting:moved_there"

_Portion = list[Head]


def grafted(
    source: Source,
    target: Disk,
    tops: Iterable[tuple[str, Entry]],
    rules: Rules,
    device: int,
    progress: Progress,
) -> tuple[dict[str, Graft], dict[str, str]]:
    """Top → graft, and path → why it is left out. ``tops``: paths with what they shall be. A top of which
    something could not be read is missing: who goes through it name by name will find out why. ``device``:
    directories on another one are not entered, unless it is 0."""
    found = _Found(source, target, rules.ownership, device, progress)
    return found.run([Head(path, top.mode, top.mtime_ns, top.uid, top.gid) for path, top in tops])


class _Found:
    def __init__(
        self, source: Source, target: Disk, ownership: Ownership, device: int, progress: Progress
    ) -> None:
        self._source, self._target = source, target
        self._ownership, self._device, self._progress = ownership, device, progress
        self._heads: list[Head] = []
        self._names = 0
        self._second: Second | None = None

    def run(self, tops: list[Head]) -> tuple[dict[str, Graft], dict[str, str]]:
        folders: dict[str, list[Folder]] = {top.path: [] for top in tops}
        left_out: dict[str, list[tuple[str, str]]] = {top.path: [] for top in tops}
        self._heads = tops
        try:
            for portion, outcome in shared(self, self._here, self._ask, self._other, self._progress.check):
                for head, found in zip(portion, outcome):
                    top = _top_of(head.path, folders)
                    if found is None:
                        folders.pop(top, None)
                    elif top in folders:
                        folder, below, left = found
                        folder = Folder._make(folder)
                        folders[top].append(folder)
                        left_out[top] += left
                        self._heads += map(Head._make, below)
                        self._names += folder.names
                        self._progress.advance(folder.names)
        finally:
            if self._second is not None:
                self._second.drop("source")
        for each in folders.values():
            each.sort()
        return (
            {top: Graft(each) for top, each in folders.items()},
            dict(line for top in folders for line in left_out[top]),
        )

    # -- a heap of directories: we go deep, the other takes what was found first
    def near(self) -> _Portion | None:
        portion = self._heads[-_NEAR:]
        del self._heads[-_NEAR:]
        return portion or None

    def far(self) -> _Portion | None:
        if len(self._heads) < _NEAR:
            return None
        portion = self._heads[:_FAR]
        del self._heads[:_FAR]
        return portion

    def _other(self) -> Second | None:
        if self._second is None and self._names >= WORTH_NAMES:
            self._second = self._source.second(self._target)
            if self._second is not None:
                self._second.give(source=self._source.root)
        return self._second

    def _here(self, portion: _Portion) -> list[Read | None]:
        return [_read(self._source, head, self._ownership, self._device) for head in portion]

    def _ask(self, second: Second, portion: _Portion) -> Task:
        heads = [tuple(head) for head in portion]
        return second.ask(_READ, heads, tuple(self._ownership), self._device)


def moved_in_grafts(origin: Source, grafts: Iterable[Graft], progress: Progress) -> Iterator[str]:
    """The paths in ``grafts`` that are not what they were when they were read."""
    folders = [folder for graft in grafts for folder in graft.folders]
    names = sum(folder.names for folder in folders)
    second = origin.second(origin.disk) if names >= WORTH_NAMES else None
    if second is not None and not second.idle:  # it writes ahead
        second = None
    if second is not None:
        second.give(source=origin.root)

    def here(portion: list[Folder]) -> list[list[str]]:
        return [_moved(origin, folder.path, folder.records) for folder in portion]

    def ask(other: Second, portion: list[Folder]) -> Task:
        return other.ask(_MOVED, [(folder.path, folder.records) for folder in portion])

    size = max(1, _CHECKED_NAMES * len(folders) // max(names, 1))
    heap = Portions(folders[start : start + size] for start in range(0, len(folders), size))
    try:
        for portion, answer in shared(heap, here, ask, lambda: second, progress.check):
            for folder, moved_names in zip(portion, answer):
                yield from (joined(folder.path, name) for name in moved_names)
    finally:
        if second is not None:
            second.drop("source")


def moved_there(context: Context, portion: list[tuple[str, bytes]]) -> list[list[str]]:
    """What the second process does."""
    source = source_there(context)
    return [_moved(source, path, records) for path, records in portion]


def _moved(source: Source, path: str, records: bytes) -> list[str]:
    try:
        return moved(source.cursor, path, records)
    except OSError as error:
        raise from_oserror(error, f"cannot read {shown(path)}", path) from None


def _read(source: Source, head: Head, ownership: Ownership, device: int) -> Read | None:
    try:
        return read(source.cursor, head, ownership, device)
    except OSError:
        return None


def read_there(context: Context, heads: list[Any], ownership: Any, device: int) -> list[Any]:
    """What the second process does."""
    source = source_there(context)
    answer = []
    for head in heads:
        found = _read(source, Head._make(head), Ownership._make(ownership), device)
        plain = found and (tuple(found.folder), [tuple(each) for each in found.below], list(found.left_out))
        answer.append(plain)
    return answer


def _top_of(path: str, tops: dict[str, list[Folder]]) -> str:
    while path and path not in tops:
        path = path.rpartition("/")[0]
    return path
