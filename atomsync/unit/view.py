"""The destination as the unit will leave it: what is pending first, then what is there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import xxhash

from atomsync.errors import SourceUnstable, UsageError, from_oserror, reported
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.store.content import Linked, Spooled
from atomsync.store.copying import Source
from atomsync.store.versions import Kept
from atomsync.tree.diff import SETGID, SETUID
from atomsync.tree.entry import DIR, FILE, Entry, entry_of, look, same_object, untouched
from atomsync.tree.path import ancestors, is_reserved, joined, parent_of, shown
from atomsync.tree.scan import listing, subtree
from atomsync.unit.books import Books
from atomsync.unit.expected import stale
from atomsync.unit.turn import Turn

_TRIES = 3
_CHUNK_BYTES = 1 << 20


class View:
    """``source``: where content comes from that is registered by its path only."""

    def __init__(self, books: Books, turn: Turn, source: Source | None) -> None:
        self._books, self._turn, self._source = books, turn, source

    def look(self, path: str) -> Entry | None:
        """What the destination holds at ``path`` at this moment."""
        control = self._turn.control
        with reported(f"cannot look at {shown(path)}"):
            try:
                return look(control.disk, *control.tree.split(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def base(self, path: str) -> Entry | None:
        """What the destination holds at ``path``, as the unit found it."""
        before = self._books.changes.get(path)
        if before is not None:
            return before.old
        if path in self._books.seen:
            return self._books.seen[path]
        if any(change.old is None for change in map(self._books.changes.get, ancestors(path)) if change):
            return None
        return self.look(path)

    def entry(self, path: str) -> Entry | None:
        """What will be at ``path``: the books first, then the disk."""
        if not path:
            return entry_of(self._turn.control.disk.fstat(self._turn.control.root))
        return self._books.entry(path) if self._books.covers(path) else self.look(path)

    def parent_checked(self, path: str) -> str:
        parent = parent_of(path)
        if parent:
            entry = self.entry(parent)
            if entry is None or entry.kind != DIR:
                if entry is not None:
                    raise UsageError(f"cannot change {shown(path)}", f"{shown(parent)} is a {entry.kind}")
                why = "its directory does not exist"
                raise UsageError(f"cannot change {shown(path)}", why, "mkdir(..., parents=True) makes it.")
        return path

    def fresh(self, path: str, kind: str, mode: int | None, size: int, like: Entry | None = None) -> Entry:
        """The entry of something we make: owned as the system would have it. Without a ``mode`` it has that
        of ``like``, or of what is there, but no bit that would lend other rights than it does there."""
        above = self.entry(parent_of(path))
        inherits = above is not None and bool(above.mode & 0o2000)
        present = self.entry(path)
        gid = above.gid if above is not None and inherits else os.getegid()
        if mode is None:
            like = like or present
            mode = like.mode if like is not None and like.kind == kind else 0o644
            if like is not None and kind == FILE:
                mode &= ~(SETUID * (like.uid != os.geteuid()) | SETGID * (like.gid != gid))
        if inherits and kind == DIR:
            mode |= 0o2000
        return Entry(kind, mode, size, time.time_ns(), os.geteuid(), gid, "")

    def children(self, path: str) -> list[str]:
        """Names in a directory, sorted."""
        control = self._turn.control
        names = set(self._books.names(path))
        base = self.base(path) if path else self.entry("")
        if base is not None and base.kind == DIR:
            gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)  # since it was first seen
            with reported(f"cannot list {shown(path or '.')}"), gone:
                names |= set(listing(control.disk, control.tree.at(path)))
        return sorted(
            name for name in names if not is_reserved(name) and self.entry(joined(path, name)) is not None
        )

    def walk(self, top: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """As ``os.walk``: ``(path, directories, the others)``, top down; links are not followed."""
        left = [top]
        while left:
            path = left.pop()
            names = self.children(path)
            below = [name for name in names if _is_dir(self.entry(joined(path, name)))]
            directories = set(below)
            yield path, below, [name for name in names if name not in directories]
            left.extend(joined(path, name) for name in reversed(below))

    def opened(self, path: str) -> tuple[Disk, int]:
        """The file that will be at ``path``, open for reading; to be closed by the caller."""
        entry = self.entry(path)
        if entry is None or entry.kind != FILE:
            why = "there is nothing" if entry is None else f"it is a {entry.kind}"
            raise UsageError(f"cannot read {shown(path)}", why)
        try:
            disk, at, name = self._place(path)
            return disk, disk.open_file(at, name)
        except OSError as error:
            raise from_oserror(error, f"cannot read {shown(path)}") from None

    def content(self, path: str) -> tuple[bytes, str]:
        """``(bytes, digest)`` of the file that will be at ``path``. One of the destination counts as seen: if
        the unit changes it too, it must be the same file, with the same content, until the commit."""
        for _ in range(_TRIES):
            disk, fd = self.opened(path)
            try:
                with reported(f"cannot read {shown(path)}"):
                    before = disk.fstat(fd)
                    data = _bytes(disk, fd)
                    after = disk.fstat(fd)
            finally:
                disk.close(fd)
            found = xxhash.xxh3_128_hexdigest(data)
            linked = self._books.contents.get(path)
            origin = linked.path if isinstance(linked, Linked) else path if self._is_base(path) else None
            if origin is None:
                return data, found
            entry = entry_of(before)
            now = self.look(origin)
            if before.st_ctime_ns == after.st_ctime_ns and now is not None and same_object(entry, now):
                self._learn(origin, entry, found)
                return data, found
        raise SourceUnstable(f"cannot read {shown(path)}", "it keeps changing while it is read")

    def digest(self, path: str) -> str:
        """The digest of ``content``."""
        content = self._books.contents.get(path)
        return content.digest if isinstance(content, Spooled) else self.content(path)[1]

    def see(self, path: str) -> None:
        """From now on the unit knows what is at ``path``: the commit expects to find just that."""
        if path not in self._books.changes:
            self._books.seen.setdefault(path, self.base(path))

    def _learn(self, path: str, entry: Entry, digest: str) -> None:
        """``entry`` was read at ``path``. What the unit found there first is what counts; if it is this,
        now its content is known too."""
        change = self._books.changes.get(path)
        first = change.old if change else self._books.seen.get(path, entry)
        if first is None or first.digest or not untouched(first, entry):
            return
        if change is None:
            self._books.seen[path] = first._replace(digest=digest)
        else:
            self._books.learn(path, digest)

    def subtree(self, path: str) -> dict[str, Entry]:
        """Everything the destination holds below a directory at this moment."""
        with reported(f"cannot list {shown(path)}"):
            try:
                return dict(subtree(self._turn.control.tree, path))
            except (FileNotFoundError, NotADirectoryError):
                raise stale(path, "others have taken it away since it was first looked at") from None

    def has_other_names(self, path: str) -> bool:
        """Whether a file of the destination is hard-linked elsewhere: then it must not change in place."""
        control = self._turn.control
        with reported(f"cannot look at {shown(path)}"), Cursor(control.disk, control.root) as cursor:
            return bool(control.disk.lstat(*cursor.split(path)).st_nlink > 1)

    def _is_base(self, path: str) -> bool:
        """Whether the content at ``path`` is what the destination has there."""
        change = self._books.changes.get(path)
        if change is None:
            return not self._books.covers(path)
        return not change.content and path not in self._books.contents

    def _place(self, path: str) -> tuple[Disk, int, str]:
        """Where the content that will be at ``path`` lies now."""
        control, content = self._turn.control, self._books.contents.get(path)
        stage = self._turn.session.stage
        if isinstance(content, Spooled):
            here = stage.staged.get(path)  # unless it was moved since
            for staged in [here] if here and here.spool == content.slot else stage.staged.values():
                if staged.spool == content.slot:
                    return control.disk, *stage.cursor.split(staged.location)
            return control.disk, stage.slots, content.slot
        if isinstance(content, Kept) and path not in stage.staged:
            return control.disk, *stage.history.split(content)
        if isinstance(content, Linked):
            return control.disk, *control.tree.split(content.path)
        if self._is_base(path):
            return control.disk, *control.tree.split(path)
        if path in stage.staged:
            return control.disk, *stage.cursor.split(stage.staged[path].location)
        assert self._source is not None, "content that is not staged has a source"
        return self._source.disk, *self._source.cursor.split(path)


def _is_dir(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == DIR


def _bytes(disk: Disk, fd: int) -> bytes:
    pieces, size = [], 0
    while piece := disk.pread(fd, _CHUNK_BYTES, size):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
