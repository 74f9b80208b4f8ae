"""What is pending: one change a path, and for each the content that is to go there. Pure.

A path's ``old`` never changes once it is in the books: however often a path is written, what the
commit expects to find is what was there when the unit first touched it, or read it.

While a savepoint is open, what each change displaced is remembered, newest last: undoing is walking back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from atomsync.plan.change import Change
from atomsync.store.content import Content, Spooled
from atomsync.tree.entry import Entry
from atomsync.tree.graft import Graft
from atomsync.tree.path import ancestors


class _Before(NamedTuple):
    """What the books said of a path before a change to them."""

    path: str
    change: Change | None
    content: Content | None
    forced: bool


class Books:
    def __init__(self) -> None:
        self.changes: dict[str, Change] = {}
        self.contents: dict[str, Content] = {}
        self.grafts: dict[str, Graft] = {}  # what comes below some of the paths that are new
        self.forced: set[str] = set()  # paths at which whatever is there at the commit may go
        self.seen: dict[str, Entry | None] = {}  # what the unit found where it looked, but has not changed
        self._below: dict[str, set[str]] | None = (
            None  # directory → what is below it, once that was asked for
        )
        self._names: dict[str, set[str]] = {}  # directory → names in it
        self._undo: list[_Before] = []
        self._depth = 0

    @property
    def new(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.old is None)

    @property
    def dirty(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.old and change.new)

    @property
    def removed(self) -> frozenset[str]:
        return frozenset(path for path, change in self.changes.items() if change.new is None)

    @property
    def slots(self) -> frozenset[str]:
        """Of every content that is wanted, or would be again after a rollback to a savepoint."""
        return frozenset(_slots([*self.contents.values(), *(before.content for before in self._undo)]))

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

    def record(self, change: Change, content: Content | None = None, *, forced: bool = False) -> None:
        """Put a change in the books; an earlier one of the same path hands on its ``old``. ``forced``:
        whatever is there at the commit may go."""
        path = change.path
        before = self.changes.get(path)
        if before is not None:
            change = change._replace(old=before.old, content=change.content or before.content)
        if change.old is None and change.new is None:
            self.put(path, None)  # came and went within the unit
        else:
            self.put(path, change, content)
            if forced:
                self.forced.add(path)

    def put(self, path: str, change: Change | None, content: Content | None = None) -> None:
        """What the books say of ``path`` from now on, whatever they said before."""
        self._remember(path)
        self._set(path, change, content)
        if change is None:
            self.forced.discard(path)

    def put_all(self, changes: Iterable[Change]) -> None:
        """``put`` for many, without content."""
        if self._depth:
            for change in changes:
                self.put(change.path, change)
        else:
            self.changes.update([(change.path, change) for change in changes])
            self._below = None

    def learn(self, path: str, digest: str) -> None:
        """The content of the file the unit found at ``path``: the commit is to find it again."""
        change = self.changes[path]
        if change.old is not None:
            self.changes[path] = change._replace(old=change.old._replace(digest=digest))

    def below(self, path: str) -> Iterator[str]:
        """Paths in the books strictly below ``path``, children before parents."""
        return iter(sorted(self._index().get(path, ()), reverse=True))

    def names(self, path: str) -> frozenset[str]:
        """Of the paths in the books that lie in directory ``path``."""
        self._index()
        return frozenset(self._names.get(path, ()))

    def clear(self) -> None:
        if self._depth:
            for path in [*self.changes]:
                self.put(path, None)
        self.changes.clear()
        self.contents.clear()
        self.grafts = {}
        self.forced.clear()
        self._below = None

    # -- savepoints
    @property
    def is_nested(self) -> bool:
        return self._depth > 0

    def mark(self) -> int:
        """Begin to remember; the place to ``roll_back`` to."""
        self._depth += 1
        return len(self._undo)

    def release(self) -> set[str]:
        """The innermost savepoint becomes part of what it is in. Returns the slots nobody wants any more."""
        self._depth -= 1
        if self._depth:
            return set()
        gone = _slots(before.content for before in self._undo) - self._slots_at(self._undo)
        self._undo.clear()
        return gone

    def roll_back(self, mark: int) -> set[str]:
        """The books as they were at ``mark``, whose savepoint is over. Returns slots nobody wants."""
        undone = self._undo[mark:]
        gone = self._slots_at(undone) | _slots(before.content for before in undone)
        while len(self._undo) > mark:
            path, change, content, forced = self._undo.pop()
            self._set(path, change, content)
            (self.forced.add if forced else self.forced.discard)(path)
        return self.release() | (gone - self._slots_at(undone))

    def _slots_at(self, touched: Iterable[_Before]) -> set[str]:
        """Of what the books have now at paths that were touched."""
        return _slots(self.contents.get(before.path) for before in touched)

    def _set(self, path: str, change: Change | None, content: Content | None) -> None:
        if (path in self.changes) != (change is not None) and self._below is not None:
            self._enter(path, present=change is not None)
        _set(self.changes, path, change)
        _set(self.contents, path, content)

    def _index(self) -> dict[str, set[str]]:
        if self._below is None:
            self._below, self._names = {}, {}
            for path in self.changes:
                self._enter(path, present=True)
        return self._below

    def _enter(self, path: str, *, present: bool) -> None:
        assert self._below is not None
        parent, _, name = path.rpartition("/")
        places = [(self._names, parent, name), *((self._below, above, path) for above in ancestors(path))]
        for index, directory, member in places:
            if present:
                index.setdefault(directory, set()).add(member)
            else:
                index.get(directory, set()).discard(member)

    def _remember(self, path: str) -> None:
        if self._depth:
            change, content = self.changes.get(path), self.contents.get(path)
            self._undo.append(_Before(path, change, content, path in self.forced))


def _slots(contents: Iterable[Content | None]) -> set[str]:
    return {content.slot for content in contents if isinstance(content, Spooled)}


def _set(where: dict[str, Change] | dict[str, Content], path: str, value: Change | Content | None) -> None:
    if value is None:
        where.pop(path, None)
    else:
        where[path] = value  # type: ignore[assignment]
