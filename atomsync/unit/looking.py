"""What a unit shows of itself, and of the destination as it will leave it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from atomsync.errors import UsageError
from atomsync.store.copying import Source
from atomsync.store.session import Session
from atomsync.tree.entry import DIR
from atomsync.tree.path import parse, shown
from atomsync.unit.books import Books
from atomsync.unit.guarded import Guarded, verb
from atomsync.unit.state import READ
from atomsync.unit.turn import Turn
from atomsync.unit.view import View

Path = str | os.PathLike[str]


class Looking(Guarded):
    def __init__(self, turn: Turn, source: Source | None) -> None:
        super().__init__(turn)
        self._books = Books()
        self._view = View(self._books, turn, source)

    @property
    def new(self) -> frozenset[str]:
        """Paths that will be created."""
        return self._books.new

    @property
    def dirty(self) -> frozenset[str]:
        """Paths that exist and will be changed."""
        return self._books.dirty

    @property
    def removed(self) -> frozenset[str]:
        """Paths that will be removed, those below a removed directory included."""
        return self._books.removed

    @property
    def state(self) -> str:
        """Where in its life the unit is: one of ``unit.state.STATES``."""
        return self._state

    @property
    def session(self) -> Session:
        """This unit's visit to the store; begun when first needed."""
        return self._turn.session

    @verb(READ)
    def exists(self, path: Path) -> bool:
        """Whether anything will be at ``path``, be it a link that leads nowhere."""
        return self._view.entry(_place(path)) is not None

    @verb(READ)
    def read(self, path: Path) -> bytes:
        """What will be in the file at ``path``. If the unit changes it later, the commit expects to find just
        this content at the destination: StaleEntry if somebody else has changed it."""
        return self._view.content(parse(path))[0]

    @verb(READ)
    def digest(self, path: Path) -> str:
        """The digest of ``read(path)``: xxh3-128, 32 hexadecimal digits."""
        return self._view.digest(parse(path))

    @verb(READ)
    def listdir(self, path: Path = "") -> list[str]:
        """The names that will be in a directory ("": the store's root), sorted."""
        return self._view.children(self._directory(path))

    def walk(self, path: Path = "") -> Iterator[tuple[str, list[str], list[str]]]:
        """As ``os.walk``, of what will be there: ``(path, directories, other names)``, top down. Names taken
        out of the list of directories are not gone into; links never are."""
        with self._alone(READ):
            steps = self._view.walk(self._directory(path))
        while True:
            with self._alone(READ):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _directory(self, path: Path) -> str:
        name = _place(path)
        entry = self._view.entry(name)
        if entry is None or entry.kind != DIR:
            why = "there is nothing" if entry is None else f"it is a {entry.kind}"
            raise UsageError(f"cannot list {shown(name)}", why)
        return name


def _place(path: Path) -> str:
    """A path that may be the store's root: "" or "."."""
    return "" if os.fspath(path) in ("", ".") else parse(path)
