"""(3) Grafts in a stage: planted folder by folder, here and in a second process, and kept as they are.

What does not go as planned is not mended here: the graft is *melted*, which makes of it staged entries like
all others, and is staged again as such.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.fs.sharing import Portions, shared
from atomsync.store.copying import Job, Source, source_there
from atomsync.store.planting import finish, is_passable, plant, uproot
from atomsync.store.pool import WORTH_BYTES, WORTH_FILES, Telling
from atomsync.store.progress import Progress
from atomsync.tree.entry import FILE, Entry
from atomsync.tree.graft import (
    LARGE_BYTES,
    Folder,
    Graft,
    Record,
    digested,
    entry_of_record,
    packed,
    unpacked,
)
from atomsync.tree.path import joined

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task
    from atomsync.fs.second_main import Context

_PORTION_NAMES, _PORTION_BYTES = 192, 8 << 20
_FOLDER_COSTS = 4  # as much as so many names
_PLANT = "atomsync.store.grafts:plant_there"


class Planted(NamedTuple):
    """A graft that is staged at ``location``: as it was ``wanted``, and with its digests. Its files that were
    ``unstable`` or are large are not in it."""

    location: str
    wanted: Graft
    graft: Graft
    unstable: frozenset[str]

    @property
    def size(self) -> int:
        """Bytes of what is staged by it."""
        return self.wanted.size - sum(job.entry.size for job in large_files(self.wanted, self.location))

    @property
    def large(self) -> list[str]:
        """The paths of its large files."""
        return [joined(folder.path, name) for folder in self.wanted.folders for name in folder.large]

    def members(self) -> Iterator[tuple[str, str, Entry, str]]:
        """``(path, location, entry as it was wanted, digest)`` of what is staged, but for large files."""
        skip = len(self.graft.folders[0].path)
        for wanted, folder in zip(self.wanted.folders, self.graft.folders):
            large = frozenset(folder.large)
            rows = zip(unpacked(wanted.records), digested(folder, {}))
            for record, (path, *_, digest) in rows:
                if path not in self.unstable and record[0] not in large:
                    yield path, self.location + path[skip:], entry_of_record(record), digest


class Part(NamedTuple):
    """Names of one folder that are planted together, from number ``start`` on; all of them if ``whole``.
    ``names`` counts them, ``files`` and ``size`` those that are not large and their bytes."""

    folder: Folder
    location: str
    start: int
    records: bytes
    whole: bool
    names: int
    files: int
    size: int


_Answer = list[tuple[bytes, list[str]]]


def planted(
    source: Source, slots: Cursor, grafts: Collection[tuple[str, Graft]], lock: int, progress: Progress
) -> list[Planted]:
    """Stage all of the ``grafts`` but their large files, each in the directory of a slot: its location."""
    files, size = sum(graft.files for _, graft in grafts), sum(graft.size for _, graft in grafts)
    worth = files >= WORTH_FILES or size >= WORTH_BYTES
    second = source.second(slots.disk) if worth else None
    digests: dict[str, list[tuple[int, bytes]]] = {}
    unstable: list[str] = []

    def here(portion: list[Part]) -> _Answer:
        return [_plant(source, slots, part, progress) for part in portion]

    def ask(other: Second, portion: list[Part]) -> Task:
        plain = [(tuple(folder), *rest) for folder, *rest in portion]
        return other.ask(_PLANT, plain, told=lambda size: progress.advance(0, size))

    def again(portion: list[Part]) -> _Answer:
        for part in portion:
            uproot(slots, part.location, unpacked(part.records))
        return here(portion)

    if second is not None:
        second.give(source=source.root, slots=slots.root, lock=lock)
    try:
        heap = Portions(_portions(grafts))
        for portion, answer in shared(heap, here, ask, lambda: second, progress.check, again):
            for part, (found, names) in zip(portion, answer):
                path = part.folder.path
                digests.setdefault(path, []).append((part.start, found))
                unstable += [joined(path, name) for name in names]
            progress.advance(sum(part.files for part in portion))
    finally:
        if second is not None:
            second.drop("source", "slots", "lock")
    return [_with_digests(location, graft, digests, frozenset(unstable)) for location, graft in grafts]


def _with_digests(
    location: str, graft: Graft, digests: Mapping[str, list[tuple[int, bytes]]], unstable: frozenset[str]
) -> Planted:
    staged = Graft(
        folder._replace(digests=b"".join(found for _, found in sorted(digests[folder.path])))
        for folder in graft.folders
    )
    top = graft.folders[0].path + "/"
    return Planted(location, graft, staged, frozenset(path for path in unstable if path.startswith(top)))


def large_files(graft: Graft, location: str) -> Iterator[Job]:
    """What ``planted`` leaves out."""
    for folder in graft.folders:
        names = frozenset(folder.large)
        for record in unpacked(folder.records) if names else ():
            if record[0] in names:
                path = joined(folder.path, record[0])
                yield Job(path, _location(graft, location, path), entry_of_record(record))


def finish_all(slots: Cursor, location: str, graft: Graft) -> None:
    """Give the directories what they shall have which could not have it before everything was staged."""
    for folder in reversed(graft.folders[1:]):
        if folder.large or not _is_one(folder) or not is_passable(folder):
            finish(slots, _location(graft, location, folder.path), folder)


def plant_there(context: Context, portion: list[Any]) -> _Answer:
    """What the second process does."""
    source, slots, progress = source_there(context), context.cursor("slots"), Telling(context)
    parts = [Part(Folder._make(folder), *rest) for folder, *rest in portion]
    answer = [_plant(source, slots, part, progress) for part in parts]
    progress.tell()
    return answer


def _plant(source: Source, slots: Cursor, part: Part, progress: Progress) -> tuple[bytes, list[str]]:
    folder = part.folder
    answer = plant(source, slots, folder.path, part.location, unpacked(part.records), progress)
    # The top of a graft is the stage's own, as its step's directory.
    if part.whole and "/" in part.location and not folder.large and is_passable(folder):
        finish(slots, part.location, folder)
    return answer


def _portions(grafts: Iterable[tuple[str, Graft]]) -> Iterator[list[Part]]:
    """Parts that take some milliseconds together."""
    portion: list[Part] = []
    names = size = 0
    for location, graft in grafts:
        for folder in graft.folders:
            for part in _parts(folder, _location(graft, location, folder.path)):
                portion.append(part)
                names += part.names + _FOLDER_COSTS
                size += part.size
                if names >= _PORTION_NAMES or size >= _PORTION_BYTES:
                    yield portion
                    portion, names, size = [], 0, 0
    if portion:
        yield portion


def _parts(folder: Folder, location: str) -> Iterator[Part]:
    if _is_one(folder):
        files = folder.files - len(folder.large)
        yield Part(folder, location, 0, folder.records, True, folder.names, files, folder.size)
        return
    bare = folder._replace(records=b"", large=())
    some: list[Record] = []
    start = size = 0
    for place, record in enumerate(unpacked(folder.records), 1):
        some.append(record)
        size += record[3] if record[3] <= LARGE_BYTES else 0
        if len(some) == _PORTION_NAMES or size >= _PORTION_BYTES or place == folder.names:
            files = sum(each[1] == FILE and each[3] <= LARGE_BYTES for each in some)
            yield Part(bare, location, start, packed(some), False, len(some), files, size)
            some, start, size = [], place, 0


def _is_one(folder: Folder) -> bool:
    """Whether all of it is one part."""
    return folder.names <= _PORTION_NAMES and folder.size <= _PORTION_BYTES


def _location(graft: Graft, location: str, path: str) -> str:
    return location + path[len(graft.folders[0].path) :]
