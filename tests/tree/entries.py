"""Entries as short literals."""

from __future__ import annotations

from collections.abc import Mapping

from atomsync.tree.entry import DIR, FILE, LINK, Entry
from atomsync.tree.graft import Folder, Graft, Record, folder_of
from atomsync.tree.path import joined

UID, GID = 1000, 1000


def file(size: int = 0, mtime_ns: int = 0, mode: int = 0o644, ino: int = 0, digest: str = "") -> Entry:
    return Entry(FILE, mode, size, mtime_ns, UID, GID, "", ino=ino, digest=digest)


def folder(mtime_ns: int = 0, mode: int = 0o755, ino: int = 0) -> Entry:
    return Entry(DIR, mode, 0, mtime_ns, UID, GID, "", ino=ino)


def link(target: str, mtime_ns: int = 0, ino: int = 0) -> Entry:
    return Entry(LINK, 0o777, 0, mtime_ns, UID, GID, target, ino=ino)


def record(name: str, entry: Entry) -> Record:
    return (name, *entry[:7], entry.ino, entry.dev, entry.ctime_ns)


def graft(top: str, members: Mapping[str, Entry]) -> Graft:
    """The graft of a directory ``top`` with these members, by their paths in it."""
    folders: list[Folder] = []
    for path in ["", *(path for path, entry in members.items() if entry.kind == DIR)]:
        here = [(name.rpartition("/")[2], entry) for name, entry in members.items() if _is_in(name, path)]
        records = [record(*each) for each in sorted(here)]
        folders.append(folder_of(joined(top, path) if path else top, 0o755, 0, UID, GID, records))
    return Graft(sorted(folders))


def _is_in(path: str, parent: str) -> bool:
    return path.rpartition("/")[0] == parent
