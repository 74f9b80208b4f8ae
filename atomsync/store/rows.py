"""The manifest as one reads it who does not hold the store's lock: nothing is followed, mended or written."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from atomsync.errors import DiskError
from atomsync.store.control import MANIFEST, Control
from atomsync.store.manifest import VERSION, WHOLE
from atomsync.tree.entry import Entry
from atomsync.tree.path import shown

_PATIENCE_S = 30.0  # for one who writes a unit into it
_PAGE = 1000
_ENTRY = "SELECT path, kind, mode, size, mtime_ns, uid, gid, target, digest, racy FROM entries"


class Known(NamedTuple):
    """What was last committed at a path. ``entry`` has no inode; its digest is "" where none was ever taken.
    ``racy``: it changed so shortly before it was committed that its time may not show the next change."""

    path: str
    entry: Entry
    racy: bool


class Rows:
    """Raises DiskError where there is no manifest that could be read."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._db = self._opened()

    def _opened(self) -> sqlite3.Connection:
        disk, at = self._control.disk, self._control.fd
        try:
            if not stat.S_ISREG(disk.lstat(at, MANIFEST).st_mode):
                raise self._unreadable("it is not a file")
            where = f"file:{_quoted(disk.library_path(at, MANIFEST))}?mode=ro"
            db = sqlite3.connect(where, uri=True, timeout=_PATIENCE_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unreadable(str(error)) from None
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            db.close()
            raise self._unreadable(str(error)) from None
        if version != VERSION:
            db.close()
            raise self._unreadable("it is of another version")
        return db

    def reopen(self) -> None:
        """Another may have been put in its place."""
        self._db.close()
        self._db = self._opened()

    def all_after(self, path: bytes) -> Iterator[Known]:
        """Everything behind ``path``, in the order of the bytes of paths. Read in pages, between which
        others may write: what is yielded may be out of date by then."""
        while True:
            found = self._ask(f"{_ENTRY} WHERE path > ? ORDER BY path LIMIT {_PAGE}", path)
            yield from map(_known, found)
            if len(found) < _PAGE:
                return
            path = found[-1][0]

    def at(self, path: str) -> Known | None:
        found = self._ask(f"{_ENTRY} WHERE path = ?", os.fsencode(path))
        return _known(found[0]) if found else None

    def entries(self, paths: Iterable[str]) -> dict[str, Entry]:
        """As ``Manifest.entries``."""
        found = ((path, self.at(path)) for path in paths)
        return {path: known.entry for path, known in found if known is not None}

    def roots(self, source: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        """As ``Manifest.roots``."""
        found = self._ask("SELECT source_root, root FROM roots WHERE source = ?", os.fsencode(source))
        return (json.loads(found[0][0]), json.loads(found[0][1])) if found else None

    @property
    def since_ns(self) -> int:
        """As ``Manifest.since_ns``."""
        return self._fact("since_ns", 0)

    def size(self) -> tuple[int, int]:
        """``(files, bytes)`` that can be judged by their digest."""
        ask = "SELECT count(*), total(size) FROM entries WHERE kind = 'file' AND digest != ''"
        files, size = self._ask(ask)[0]
        return files, int(size)

    @property
    def is_empty(self) -> bool:
        """Whether no unit was ever committed."""
        return not self._ask("SELECT 1 FROM units LIMIT 1")

    @property
    def is_whole(self) -> bool:
        """Whether it knows all that was there when the store's first unit was committed."""
        return bool(self._fact(WHOLE, 0))

    @property
    def time_step_ns(self) -> int:
        return self._fact("time_step_ns", 1)

    def racy(self) -> dict[str, str]:
        """As ``Manifest.racy``."""
        return {
            os.fsdecode(path): digest
            for path, digest in self._ask("SELECT path, digest FROM entries WHERE racy")
        }

    def follows(self, units: Iterable[str]) -> bool:
        """Whether it knows each of these units."""
        return all(self._ask("SELECT 1 FROM units WHERE id = ?", unit) for unit in units)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _fact(self, name: str, default: int) -> int:
        found = self._ask("SELECT value FROM facts WHERE name = ?", name)
        return int(found[0][0]) if found else default

    def _ask(self, question: str, *values: object) -> list[Any]:
        try:
            return self._db.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(str(error)) from None

    def _unreadable(self, why: str) -> DiskError:
        return DiskError(
            f"cannot read the manifest of {shown(self._control.where)}",
            why,
            f"Delete {MANIFEST} in its control directory: it is made anew from the history.",
        )


def what_a_push_knows(control: Control) -> tuple[dict[str, str], int]:
    """``(racy paths, time step in ns)`` of the manifest, for who only looks; nothing where it cannot be."""
    with contextlib.suppress(DiskError), Rows(control) as rows:
        return rows.racy(), rows.time_step_ns
    return {}, 1


def _known(row: tuple[Any, ...]) -> Known:
    path, kind, mode, size, mtime_ns, uid, gid, target, digest, racy = row
    entry = Entry(kind, mode, size, mtime_ns, uid, gid, os.fsdecode(target), digest=digest or "")
    return Known(os.fsdecode(path), entry, bool(racy))


def _quoted(path: str) -> str:
    """For a URI of SQLite's, to which only three characters mean anything (urllib costs 3 ms to load)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
