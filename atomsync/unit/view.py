"""The destination as the unit will leave it: what is pending first, then what is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from atomsync.errors import UsageError
from atomsync.store.control import Control
from atomsync.tree.entry import DIR, Entry, entry_of, look
from atomsync.tree.path import ancestors, joined, parent_of, shown
from atomsync.tree.scan import listing
from atomsync.unit.books import Books


class View:
    """``control`` gives the store at hand; it is asked only when the disk must be."""

    def __init__(self, books: Books, control: Callable[[], Control]) -> None:
        self.books, self._control = books, control

    def base(self, path: str) -> Entry | None:
        """What the destination holds at ``path``, as the unit found it."""
        before = self.books.changes.get(path)
        if before is not None:
            return before.old
        if any(change.old is None for change in map(self.books.changes.get, ancestors(path)) if change):
            return None
        tree = self._control().tree
        try:
            return look(self._control().disk, *tree.split(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entry(self, path: str) -> Entry | None:
        """What will be at ``path``: the books first, then the disk."""
        return self.books.entry(path) if self.books.covers(path) else self.base(path)

    def parent_checked(self, path: str) -> str:
        parent = parent_of(path)
        if parent:
            entry = self.entry(parent)
            if entry is None or entry.kind != DIR:
                why = (
                    "its directory does not exist" if entry is None else f"{shown(parent)} is a {entry.kind}"
                )
                raise UsageError(f"cannot change {shown(path)}", why, "mkdir(..., parents=True) makes it.")
        return path

    def fresh(self, path: str, kind: str, mode: int | None, size: int) -> Entry:
        """The entry of something we make: owned as the system would have it."""
        parent = parent_of(path)
        above = self.entry(parent) if parent else entry_of(self._control().disk.fstat(self._control().root))
        inherits = above is not None and bool(above.mode & 0o2000)
        present = self.entry(path)
        if mode is None:
            mode = present.mode if present is not None and present.kind == kind else 0o644
        if inherits and kind == DIR:
            mode |= 0o2000
        gid = above.gid if above is not None and inherits else os.getegid()
        return Entry(kind, mode, size, time.time_ns(), os.geteuid(), gid, "")

    def children(self, path: str) -> list[str]:
        names = set()
        base = self.base(path)
        if base is not None and base.kind == DIR:
            names |= set(listing(self._control().disk, self._control().tree.at(path)))
        names |= {other[len(path) + 1 :] for other in self.books.below(path) if parent_of(other) == path}
        return sorted(name for name in names if self.entry(joined(path, name)) is not None)
