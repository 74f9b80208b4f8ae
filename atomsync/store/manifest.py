"""(8) The manifest: path → entry with digest, as the store last committed it. Derived, so never needed.

It answers what the disk alone cannot: which digest was verified, and which files are *racy*, that
is, were changed so shortly before they were staged that a later change could carry the same mtime
(git's "racily clean"). If it is lost, torn or behind, it is rebuilt from the history: that costs time.

SQLite, without its own durability: a power cut may lose the newest state, and then the id of the
last unit it knows tells so.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from typing import Any

from atomsync.errors import JournalError
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.control import HISTORY, MANIFEST, Control
from atomsync.store.history import read_journal, units
from atomsync.store.journal import Header
from atomsync.tree.entry import Entry
from atomsync.tree.racy import may_be_racy

_INT64_MAX = (1 << 63) - 1  # the year 2262, to SQLite
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    path BLOB PRIMARY KEY, kind TEXT, mode INTEGER, size INTEGER, mtime_ns INTEGER,
    uid INTEGER, gid INTEGER, target BLOB, digest TEXT, racy INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS racy ON entries (path) WHERE racy;
CREATE TABLE IF NOT EXISTS units (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER);
PRAGMA user_version = 1;
"""
_PUT = "INSERT OR REPLACE INTO entries VALUES (?,?,?,?,?,?,?,?,?,?)"


class Manifest:
    """Open for one unit's time, under the store's lock."""

    def __init__(self, control: Control) -> None:
        self._control = control
        try:
            self._db = self._opened(control.disk.library_path(control.fd, MANIFEST))
            self._catch_up()
        except sqlite3.OperationalError:  # no room, or no right: it lives in memory, for this time
            self._db = self._opened(":memory:")
            self._catch_up()

    def racy(self) -> dict[str, str]:
        """Path → digest of the files whose equality with the source the quick check cannot vouch for."""
        rows = self._db.execute("SELECT path, digest FROM entries WHERE racy")
        return {os.fsdecode(path): digest for path, digest in rows}

    @property
    def time_step_ns(self) -> int:
        """The step in which the destination keeps times, as the last unit found it."""
        row = self._db.execute("SELECT value FROM facts WHERE name = 'time_step_ns'").fetchone()
        return int(row[0]) if row else 1

    def settle(self, paths: Iterable[str]) -> None:
        """These were compared by content since, and are racy no more."""
        with self._db:
            self._db.executemany(
                "UPDATE entries SET racy = 0 WHERE path = ?", ((os.fsencode(path),) for path in paths)
            )

    def digest(self, path: str) -> str:
        """The digest last committed for a path; "" if unknown."""
        row = self._db.execute("SELECT digest FROM entries WHERE path = ?", (os.fsencode(path),)).fetchone()
        return row[0] if row else ""

    def apply(self, header: Header, steps: Iterable[Step], time_step_ns: int | None = None) -> None:
        """Follow one committed unit."""
        with self._db:
            if time_step_ns is not None:
                self._db.execute("INSERT OR REPLACE INTO facts VALUES ('time_step_ns', ?)", (time_step_ns,))
            checked_ns = header.checked_ns
            for step in steps:
                path = os.fsencode(step.path)
                if step.kind == META:
                    if step.new is not None:
                        self._db.execute(
                            "UPDATE entries SET mode=?, mtime_ns=?, uid=?, gid=? WHERE path=?",
                            (
                                step.new.mode,
                                min(step.new.mtime_ns, _INT64_MAX),
                                step.new.uid,
                                step.new.gid,
                                path,
                            ),
                        )
                    continue
                if step.old is not None:
                    self._db.execute("DELETE FROM entries WHERE path = ?", (path,))
                if step.displaced:
                    self._db.execute(
                        "DELETE FROM entries WHERE path > ? AND path < ?", (path + b"/", path + b"0")
                    )
                if step.kind != REMOVE and step.new is not None:
                    self._db.execute(_PUT, _row(step.path, step.new, checked_ns))
                    self._db.executemany(_PUT, (_row(path, entry, checked_ns) for path, entry in step.inside))
            self._db.execute("INSERT OR REPLACE INTO units VALUES (?)", (header.id,))

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, where: str) -> sqlite3.Connection:
        try:
            return self._connected(where)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # damaged
            if self._control.has(MANIFEST):
                self._control.disk.unlink(self._control.fd, MANIFEST)
            return self._connected(where)

    def _connected(self, where: str) -> sqlite3.Connection:
        db = sqlite3.connect(where, isolation_level="DEFERRED")
        try:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA journal_mode = MEMORY")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, 1):
                raise sqlite3.DatabaseError("a manifest of another version")
            db.executescript(_SCHEMA)
            db.execute("SELECT count(*) FROM (SELECT 1 FROM entries LIMIT 1)").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _catch_up(self) -> None:
        """Apply the finished units it does not know: those a crash kept from it, or all after a loss."""
        known = {unit for (unit,) in self._db.execute("SELECT id FROM units")}
        finished = units(self._control)
        for unit_id in finished:
            if unit_id not in known:
                try:
                    journal = read_journal(self._control, HISTORY, unit_id)
                except (JournalError, FileNotFoundError):
                    continue
                self.apply(journal.header, journal.steps)


def _attributes(entry: Entry, path: bytes) -> tuple[Any, ...]:
    return entry.mode, min(entry.mtime_ns, _INT64_MAX), entry.uid, entry.gid, path


def _row(path: str, entry: Entry, checked_ns: int) -> tuple[Any, ...]:
    return (
        os.fsencode(path),
        entry.kind,
        entry.mode,
        entry.size,
        min(entry.mtime_ns, _INT64_MAX),
        entry.uid,
        entry.gid,
        os.fsencode(entry.target),
        entry.digest,
        1 if entry.digest and may_be_racy(entry.mtime_ns, checked_ns) else 0,
    )
