"""What is pending: one change a path, and for each the content that is to go there. Pure.

A path's ``old`` never changes once it is in the books: however often a path is written, what the
commit expects to find is what was there when the unit first touched it.
"""

from __future__ import annotations

from collections.abc import Iterator

from atomsync.plan.change import Change
from atomsync.store.staging import Content
from atomsync.tree.entry import Entry
from atomsync.tree.path import ancestors


class Books:
    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}
        self.contents: dict[str, Content] = {}

    @property
    def new(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.old is None)

    @property
    def dirty(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.old and change.new)

    @property
    def removed(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.new is None)

    def covers(self, path: str) -> bool:
        """Whether the books say what will be at ``path``: by itself, or by a directory above it that
        is new or goes away."""
        if path in self.changes:
            return True
        for above in ancestors(path):
            change = self.changes.get(above)
            if change is not None and (change.old is None or change.new is None or change.content):
                return True
        return False

    def entry(self, path: str) -> Entry | None:
        """What will be at a path the books cover."""
        change = self.changes.get(path)
        return change.new if change else None

    def record(self, change: Change, content: Content | None = None) -> None:
        """Put a change in the books; an earlier one of the same path hands on its ``old``."""
        path = change.path
        before = self.changes.get(path)
        self.contents.pop(path, None)
        if before is not None:
            change = change._replace(old=before.old, content=change.content or before.content)
        if change.old is None and change.new is None:
            self.changes.pop(path, None)  # came and went within the unit
            return
        self.changes[path] = change
        if content is not None:
            self.contents[path] = content

    def below(self, path: str) -> Iterator[str]:
        """Paths in the books strictly below ``path``, children before parents."""
        return iter(sorted((other for other in self.changes if other.startswith(path + "/")), reverse=True))

    def clear(self) -> None:
        self.changes.clear()
        self.contents.clear()
