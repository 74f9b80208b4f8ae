"""(8) The manifest: path → entry with digest, as the store last committed it. Derived, so never needed.

It answers what the disk alone cannot: which digest was verified, and which files are *racy*, that
is, were changed so shortly before they were staged that a later change could carry the same mtime
(git's "racily clean"). If it is lost, damaged or behind, it is rebuilt from the history: that costs
time. Where it cannot be written it lives in memory.

SQLite, with its own durability unless the store does without: its pages carry no digests, so a power
cut could else leave some of a change and show nothing of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from atomsync.errors import JournalError
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.control import HISTORY, MANIFEST, Control
from atomsync.store.history import read_journal, units
from atomsync.store.journal import Header
from atomsync.tree.entry import DIR, Entry
from atomsync.tree.graft import Graft, digested
from atomsync.tree.racy import may_be_racy

INT64_MAX = (1 << 63) - 1
WHOLE = "whole"  # the fact that it knows all that was there when the first unit was committed
VERSION = 2
_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS entries (
    path BLOB PRIMARY KEY, kind TEXT, mode INTEGER, size INTEGER, mtime_ns INTEGER,
    uid INTEGER, gid INTEGER, target BLOB, digest TEXT, racy INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS racy ON entries (path) WHERE racy;
CREATE TABLE IF NOT EXISTS units (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS roots (source BLOB PRIMARY KEY, source_root TEXT, root TEXT);
PRAGMA user_version = 2;
COMMIT;
"""
_SET = "UPDATE entries SET mode=?, mtime_ns=?, uid=?, gid=? WHERE path=?"
_GET = "SELECT path, kind, mode, size, mtime_ns, uid, gid, target, digest FROM entries WHERE path IN ({})"
_PAGE = 500  # paths in one question: SQLite takes 999 values, if it is old
_made = tuple.__new__  # past what a named tuple puts before it
_DROP = "DELETE FROM entries WHERE path = ?"
_DROP_BELOW = "DELETE FROM entries WHERE path > ? AND path < ?"
_PUT = "INSERT OR REPLACE INTO entries VALUES (?,?,?,?,?,?,?,?,?,?)"
_ADOPT = """
INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE
SET digest = excluded.digest, racy = excluded.racy
WHERE digest = '' AND kind = excluded.kind AND size = excluded.size AND mtime_ns = excluded.mtime_ns
"""

Row = tuple[str, str, int, int, int, int, int, str, str]
"""``path, kind, mode, size, mtime_ns, uid, gid, target, digest``, as in an entry."""


def kept_time(time_ns: int) -> int:
    """A time as SQLite can hold it: one of the years 1677 to 2262."""
    return max(-INT64_MAX, min(time_ns, INT64_MAX))


class Manifest:
    """Open for one unit's time, under the store's lock."""

    def __init__(self, control: Control, *, durable: bool = True) -> None:
        self._control = control
        self._sync = "NORMAL" if durable else "OFF"
        self._where = control.disk.library_path(control.fd, MANIFEST)
        self._disown()
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError as error:
            self._db = self._another(error)

    def racy(self) -> dict[str, str]:
        """Path → digest of the files whose equality with the source the quick check cannot vouch for."""
        rows = self._do(lambda db: db.execute("SELECT path, digest FROM entries WHERE racy").fetchall())
        return {os.fsdecode(path): digest for path, digest in rows}

    @property
    def time_step_ns(self) -> int:
        """The step in which the destination keeps times, as the last unit found it."""
        return self._fact("time_step_ns", 1)

    @property
    def since_ns(self) -> int:
        """When the first unit was sealed that is known of; 0 if there was none."""
        return self._fact("since_ns", 0)

    @property
    def is_whole(self) -> bool:
        """Whether it knows all that was there when the first unit was committed."""
        return bool(self._fact(WHOLE, 0))

    def _fact(self, name: str, default: int) -> int:
        ask = "SELECT value FROM facts WHERE name = ?"
        row = self._do(lambda db: db.execute(ask, (name,)).fetchone())
        return int(row[0]) if row else default

    def entries(self, paths: Iterable[str]) -> dict[str, Entry]:
        """What the last unit left at these paths, of those that a unit touched."""
        asked = {os.fsencode(path): path for path in paths}
        questions = list(asked)

        def found(db: sqlite3.Connection) -> dict[str, Entry]:
            known: dict[str, Entry] = {}
            for start in range(0, len(questions), _PAGE):
                page = questions[start : start + _PAGE]
                rows = db.execute(_GET.format(",".join("?" * len(page))), page)
                for path, kind, mode, size, mtime_ns, uid, gid, target, digest in rows:
                    text = os.fsdecode(target) if target else ""
                    row = (kind, mode, size, mtime_ns, uid, gid, text, "", 0, 0, 0, 0, digest)
                    known[asked[path]] = _made(Entry, row)
            return known

        result: dict[str, Entry] = self._do(found)
        return result

    def paths(self) -> list[tuple[str, bool]]:
        """All that is known of, and whether it is a directory; what holds others comes before them."""
        rows = self._do(lambda db: db.execute("SELECT path, kind FROM entries ORDER BY path").fetchall())
        return [(os.fsdecode(path), kind == DIR) for path, kind in rows]

    def roots(self, source: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        """Which directories the last unit from this source saw as SRC and as DST; None if there was none."""
        ask = "SELECT source_root, root FROM roots WHERE source = ?"
        row = self._do(lambda db: db.execute(ask, (os.fsencode(source),)).fetchone())
        return (json.loads(row[0]), json.loads(row[1])) if row else None

    def settle(self, paths: Iterable[str]) -> None:
        """These were compared by content since, and are racy no more."""
        settled = [(os.fsencode(path),) for path in paths]
        self._do(lambda db: db.executemany("UPDATE entries SET racy = 0 WHERE path = ?", settled))

    def digest(self, path: str) -> str:
        """The digest last committed for a path; "" if unknown."""
        ask = "SELECT digest FROM entries WHERE path = ?"
        row = self._do(lambda db: db.execute(ask, (os.fsencode(path),)).fetchone())
        return row[0] if row else ""

    def has_below(self, path: str) -> bool:
        """Whether anything is known below ``path``."""
        ask = "SELECT 1 FROM entries WHERE path > ? AND path < ? LIMIT 1"
        raw = os.fsencode(path)
        return bool(self._do(lambda db: db.execute(ask, (raw + b"/", raw + b"0")).fetchone()))

    @property
    def sync(self) -> str | None:
        """How SQLite makes it durable; None if it lives in memory."""
        return None if self._where == ":memory:" else self._sync

    @property
    def is_new(self) -> bool:
        """Whether it knows no unit yet."""
        return not self._do(lambda db: db.execute("SELECT 1 FROM units LIMIT 1").fetchone())

    def apply(
        self,
        header: Header,
        steps: Iterable[Step],
        time_step_ns: int | None = None,
        adopted: Callable[[], Iterable[tuple[str, Entry]]] | None = None,
    ) -> None:
        """Follow one committed unit; ``steps`` without those that are followed already (see ``ahead``).
        ``adopted``, with the first: what else is at the destination, and was there before it; its digests are
        not known."""
        steps = tuple(steps)

        def work(db: sqlite3.Connection) -> None:
            _apply(db, header, steps, time_step_ns)
            if adopted is not None:
                _adopt(db, adopted(), 0, whole=True)

        self._do(work)

    def adopt(self, found: Iterable[tuple[str, Entry]], checked_ns: int, *, whole: bool) -> None:
        """Take what was found at the destination for what is to be there: paths that are not known, and
        the digests of files of which none is. ``checked_ns``: before these were read. ``whole``: with that
        all is known."""
        found = tuple(found)
        self._do(lambda db: _adopt(db, found, checked_ns, whole=whole))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """One transaction; if the database turns out to be damaged or full, with another one."""
        try:
            with self._db:
                return work(self._db)
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._db = self._another(error)
            with self._db:
                return work(self._db)

    def _disown(self) -> None:
        """A link, or a file with other names (a backup made of hard links), must not be written into."""
        with contextlib.suppress(FileNotFoundError):
            found = self._control.disk.lstat(self._control.fd, MANIFEST)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                self._control.disk.unlink(self._control.fd, MANIFEST)

    def _another(self, why: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A new one in place of a damaged one; where there is no room, or no right, one in memory."""
        if not isinstance(why, sqlite3.OperationalError):
            with contextlib.suppress(sqlite3.DatabaseError, OSError):
                for name in (MANIFEST, f"{MANIFEST}-journal"):
                    if self._control.has(name):
                        self._control.disk.unlink(self._control.fd, name)
                return self._opened()
        self._where = ":memory:"
        return self._opened()

    def _opened(self) -> sqlite3.Connection:
        """Open, and apply the finished units it does not know: those a crash kept from it, or all."""
        db = sqlite3.connect(self._where, isolation_level="DEFERRED", check_same_thread=False)
        try:
            db.execute(f"PRAGMA synchronous = {self._sync}")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in range(VERSION + 1):
                raise sqlite3.DatabaseError("a manifest of another version")
            if version < VERSION:  # it is a transaction of its own, with flushes of its own
                db.executescript(_SCHEMA)
            known = {unit for (unit,) in db.execute("SELECT id FROM units")}
            for unit_id in units(self._control):
                if unit_id not in known:
                    try:
                        journal = read_journal(self._control, HISTORY, unit_id)
                    except (JournalError, FileNotFoundError):
                        continue
                    with db:
                        _apply(db, journal.header, journal.steps, None)
        except BaseException:
            db.close()
            raise
        return db


def _apply(db: sqlite3.Connection, header: Header, steps: Iterable[Step], time_step_ns: int | None) -> None:
    if time_step_ns is not None:
        db.execute("INSERT OR REPLACE INTO facts VALUES ('time_step_ns', ?)", (time_step_ns,))
    swaps = [step for step in steps if step.kind != META]
    follow(
        db,
        (step.path for step in swaps if step.kind == REMOVE),
        (step.path for step in swaps if step.displaced),
        _entering(swaps),
        (row_of(path, new, new.digest) for kind, path, _, new, *_ in steps if kind == META and new),
        header.checked_ns,
    )
    source, *roots = map(header.about.get, ("source", "source_root", "root"))
    if isinstance(source, str) and all(isinstance(root, dict) for root in roots):
        db.execute(
            "INSERT OR REPLACE INTO roots VALUES (?,?,?)", (os.fsencode(source), *map(json.dumps, roots))
        )
    db.execute("INSERT OR REPLACE INTO units VALUES (?)", (header.id,))
    db.execute("INSERT OR IGNORE INTO facts VALUES ('since_ns', ?)", (kept_time(header.made_ns),))


def follow(
    db: sqlite3.Connection,
    gone: Iterable[str],
    emptied: Iterable[str],
    entering: Iterable[Row],
    changed: Iterable[Row],
    checked_ns: int,
) -> None:
    """``gone``: the paths of which nothing is left; ``emptied``: those that held others, which went along;
    ``changed``: attributes, in place."""
    # No step lies at, above or below another, but for attributes: so the order is free, and each of these
    # is one statement for all. What goes comes first, since a kind of step may have few.
    db.executemany(_DROP, ((os.fsencode(path),) for path in gone))
    for path in emptied:
        raw = os.fsencode(path)
        db.execute(_DROP_BELOW, (raw + b"/", raw + b"0"))
    db.executemany(_PUT, encoded(entering, checked_ns))
    for row in changed:
        path, _, mode, _, mtime_ns, uid, gid, *_ = row
        found = db.execute(_SET, (mode, kept_time(mtime_ns), uid, gid, os.fsencode(path))).rowcount
        if path and not found:  # it was there before the first unit
            db.executemany(_PUT, encoded([row], checked_ns))


def _entering(swaps: Iterable[Step]) -> Iterator[Row]:
    for step in swaps:
        if step.new is not None:
            yield row_of(step.path, step.new, step.new.digest)
            if isinstance(step.inside, Graft):
                for folder in step.inside.folders:
                    yield from digested(folder, step.inside.apart)
            else:
                yield from (row_of(path, entry, entry.digest) for path, entry in step.inside)


def _adopt(
    db: sqlite3.Connection, found: Iterable[tuple[str, Entry]], checked_ns: int, *, whole: bool
) -> None:
    rows = (row_of(path, entry, entry.digest) for path, entry in found)
    db.executemany(_ADOPT, encoded(rows, checked_ns))
    if whole:
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, 1)", (WHOLE,))


def encoded(rows: Iterable[Row], checked_ns: int) -> Iterator[tuple[Any, ...]]:
    """What the table has of them. ``checked_ns``: when the sources were last seen unchanged."""
    encode = os.fsencode
    for path, kind, mode, size, mtime_ns, uid, gid, target, digest in rows:
        racy = 1 if digest and may_be_racy(mtime_ns, checked_ns) else 0
        if not -INT64_MAX <= mtime_ns <= INT64_MAX:
            mtime_ns = kept_time(mtime_ns)
        raw_target = encode(target) if target else b""
        yield encode(path), kind, mode, size, mtime_ns, uid, gid, raw_target, digest, racy


def row_of(path: str, entry: Entry, digest: str) -> Row:
    kind, mode, size, mtime_ns, uid, gid, target, *_ = entry
    return path, kind, mode, size, mtime_ns, uid, gid, target, digest
