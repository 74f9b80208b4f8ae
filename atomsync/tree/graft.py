"""A directory that only the source has, with all below it: a graft. Packed, a string of bytes a directory.

A first push is one graft or a few, so what is done for each of their entries is what it costs. They are read,
staged, looked at again, written to the journal and to the manifest a directory at a time, by loops over
plain tuples, here or in a second process. Unpacked an entry takes half a kilobyte or more; packed, a fifth
of that.
"""

from __future__ import annotations

import marshal
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from atomsync.tree.entry import FILE, Entry

PAGE_BYTES = 4096
LARGE_BYTES = 16 << 20
"""A file beyond this is staged by itself, with more than one thread."""
NO_DIGEST = bytes(16)

Record = tuple[str, str, int, int, int, int, int, str, int, int, int]
"""``name, kind, mode, size, mtime_ns, uid, gid, target, ino, dev, ctime_ns``, as in an entry."""


class Folder(NamedTuple):
    """A directory of a graft, by its full path. ``records`` are those of its names, sorted and packed;
    ``digests`` 16 bytes for each of them once they are staged, zeros for what is no file.

    ``names`` counts all of them, ``files`` and ``size`` its files and their bytes, ``pages`` what these
    occupy in units of ``PAGE_BYTES``; ``longest`` is the length of its longest name in bytes, ``youngest_ns``
    the latest ctime of a file. ``large`` are the names of files that are too large to be one of many.
    """

    path: str
    mode: int
    mtime_ns: int
    uid: int
    gid: int
    records: bytes
    names: int
    files: int
    size: int
    pages: int
    longest: int
    youngest_ns: int
    large: tuple[str, ...] = ()
    digests: bytes = b""


# No subclass of Collection, though it is one: to ask whether a value is of an abstract class costs ten times
# as much, and it is asked for each step.
class Graft:
    """All below one new directory: its ``folders``, sorted, so each is behind the one that holds it. As a
    collection it is what a step has ``inside``: full paths with entries, and digests if these are known."""

    def __init__(self, folders: Iterable[Folder], apart: Mapping[str, str] | None = None) -> None:
        """``apart``: path → digest of the large files."""
        self.folders = tuple(folders)
        self.apart = apart or {}
        self._asked: tuple[str, dict[str, str]] = "", {}

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        for folder in self.folders:
            yield from members(folder, self.apart)

    def __len__(self) -> int:
        return sum(folder.names for folder in self.folders)

    def __bool__(self) -> bool:
        return any(folder.names for folder in self.folders)

    def __contains__(self, member: object) -> bool:
        return any(member == mine for mine in self)

    def digest_of(self, path: str) -> str:
        """The digest of a file; "" if it is none, or is not staged. Cheap if those of one folder are
        asked for one behind the other."""
        parent = path.rpartition("/")[0]
        if self._asked[0] != parent:
            start = bisect_left(self.folders, parent, key=lambda folder: folder.path)
            there = [folder for folder in self.folders[start : start + 1] if folder.path == parent]
            self._asked = parent, {row[0]: row[-1] for each in there for row in digested(each, self.apart)}
        return self._asked[1].get(path, "")

    def changed_since(self, moment_ns: int) -> Iterator[tuple[str, Entry]]:
        """What is in the folders of which a file was changed after this."""
        for folder in self.folders:
            if folder.youngest_ns > moment_ns:
                yield from members(folder, self.apart)

    @property
    def files(self) -> int:
        return sum(folder.files for folder in self.folders)

    @property
    def longest(self) -> int:
        return max(folder.longest for folder in self.folders)

    @property
    def size(self) -> int:
        return sum(folder.size for folder in self.folders)

    def occupies(self, block_size: int) -> int:
        """The bytes of its files in whole blocks."""
        if block_size == PAGE_BYTES:
            return PAGE_BYTES * sum(folder.pages for folder in self.folders)
        sizes = (record[3] for folder in self.folders for record in unpacked(folder.records))
        return block_size * sum(-(-size // block_size) for size in sizes)


def folder_of(path: str, mode: int, mtime_ns: int, uid: int, gid: int, records: list[Record]) -> Folder:
    """The folder of these records, which are sorted by name."""
    files = [record for record in records if record[1] == FILE]
    sizes = [record[3] for record in files]
    return Folder(
        path,
        mode,
        mtime_ns,
        uid,
        gid,
        packed(records),
        len(records),
        len(files),
        sum(sizes),
        sum([-(-size // PAGE_BYTES) for size in sizes]),
        max([len(os.fsencode(record[0])) for record in records], default=0),
        max([record[10] for record in files], default=0),
        tuple([record[0] for record in files if record[3] > LARGE_BYTES]),
    )


def unpacked(records: bytes) -> list[Record]:
    found: list[Record] = marshal.loads(records)
    return found


def packed(records: list[Record]) -> bytes:
    return marshal.dumps(records)


def entry_of_record(record: Record, digest: str = "") -> Entry:
    _, kind, mode, size, mtime_ns, uid, gid, target, ino, dev, ctime_ns = record
    return Entry(kind, mode, size, mtime_ns, uid, gid, target, "", ino, dev, ctime_ns, 0, digest)


def members(folder: Folder, apart: Mapping[str, str]) -> Iterator[tuple[str, Entry]]:
    """Full paths and entries. Once a folder is staged these are what is in the slots: their own inodes are
    nobody's business, so the numbers of the source's are not kept."""
    prefix, digests = folder.path + "/", folder.digests
    if not digests:
        for record in unpacked(folder.records):
            yield prefix + record[0], entry_of_record(record)
        return
    for row in digested(folder, apart):
        yield row[0], Entry._make((*row[1:8], "", 0, 0, 0, 0, row[8]))


def digested(folder: Folder, apart: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    """``(path, kind, mode, size, mtime_ns, uid, gid, target, digest)`` of each entry of a staged folder."""
    prefix, digests = folder.path + "/", folder.digests.hex()
    for start, record in enumerate(unpacked(folder.records)):
        digest = ""
        if record[1] == FILE:
            path = prefix + record[0]
            digest = apart.get(path) or digests[32 * start : 32 * start + 32]
        yield prefix + record[0], *record[1:8], digest
