"""Entries as short literals."""

from __future__ import annotations

from atomsync.tree.entry import DIR, FILE, LINK, Entry

UID, GID = 1000, 1000


def file(size: int = 0, mtime_ns: int = 0, mode: int = 0o644, ino: int = 0, digest: str = "") -> Entry:
    return Entry(FILE, mode, size, mtime_ns, UID, GID, "", ino=ino, digest=digest)


def folder(mtime_ns: int = 0, mode: int = 0o755, ino: int = 0) -> Entry:
    return Entry(DIR, mode, 0, mtime_ns, UID, GID, "", ino=ino)


def link(target: str, mtime_ns: int = 0, ino: int = 0) -> Entry:
    return Entry(LINK, 0o777, 0, mtime_ns, UID, GID, target, ino=ino)
