"""(8) The manifest's rows of a large unit, written by the second process while this one seals and commits.

They are in a transaction of their own, which is committed when the unit is, and before the rest: whoever
finds the one without the other finds that the manifest does not know the unit, and applies all of it.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from atomsync.plan.plan import Plan
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.control import MANIFEST
from atomsync.store.manifest import Row, follow, row_of
from atomsync.tree.entry import PLAIN
from atomsync.tree.graft import Folder, Graft, digested
from atomsync.tree.path import joined
from atomsync.tree.racy import may_be_racy

if TYPE_CHECKING:
    from atomsync.fs.second import Second
    from atomsync.fs.second_main import Context

_PORTION_NAMES = 5_000
_MARSHAL = 2  # later versions of the format look for values that were there before, at half the price of all
_PUT, _COMMIT = "atomsync.store.ahead:put_there", "atomsync.store.ahead:commit_there"


class Ahead:
    """Begins when it is made, with a ``plan`` that is staged; ``digest_of`` tells what was staged at a path.
    ``control``: the descriptor of the control directory; ``checked_ns``: behind the staging, and before the
    sources were last seen unchanged; ``sync``: how SQLite is to make the rows durable. Raises OSError where
    there is no file in memory to hand them over by."""

    def __init__(
        self,
        second: Second,
        control: int,
        plan: Plan,
        digest_of: Callable[[str], str],
        checked_ns: int,
        sync: str,
    ) -> None:
        self.plan = plan
        self._second, self._checked_ns = second, checked_ns
        # Not by the wire: it takes no more than a little until the other side has done what came before.
        rows = _memory_file()
        try:
            sizes = [os.write(rows, data) for data in _portions(plan.steps, digest_of)]
            second.give(control=control, rows=rows)
        finally:
            os.close(rows)
        self._put = second.ask(_PUT, sizes, checked_ns, sync)

    def finish(self, steps: tuple[Step, ...], checked_ns: int) -> tuple[Step, ...]:
        """The unit is committed, with these ``steps`` of the plan; those of which the rows are not there for
        sure, and are to be written as ever. ``checked_ns``: of its header."""
        if checked_ns < self._checked_ns:  # a clock was put back: what is racy by it was not known
            self.abandon()
            return steps
        commit = self._second.ask(_COMMIT, checked_ns)
        left = _otherwise(self.plan.steps, steps)
        try:
            if not self._second.wait(commit, lambda: None):
                return steps
            self._put.result()
            commit.result()
        except OSError:
            return steps
        finally:
            self.abandon()
        return left

    def abandon(self) -> None:
        """What is not committed by now will not be, and nobody has to wait for its lock."""
        if self._second.idle:
            self._second.drop("control", "rows")
        else:
            self._second.close()


def _otherwise(planned: Iterable[Step], sealed: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps whose own row is not there as it is to be: the seal takes what it finds staged."""
    left = []
    for plan, step in zip(planned, sealed):
        new, wanted = step.new, plan.new
        if new is None or wanted is None:
            continue
        if new[:PLAIN] != wanted[:PLAIN] or (step.kind == META and new.digest):
            left.append(step._replace(inside=(), displaced=()))
    return tuple(left)


def put_there(context: Context, sizes: list[int], checked_ns: int, sync: str) -> None:
    """What the second process does first."""
    where = context.disk.library_path(context.descriptors["control"], MANIFEST)
    start = 0
    with _as_oserror():
        context.kept["rows"] = kept = _Kept(sqlite3.connect(where, isolation_level=None))
        kept.db.execute(f"PRAGMA synchronous = {sync}")
        kept.db.execute("PRAGMA cache_spill = OFF")  # which would lock readers out long before the commit
        kept.db.execute("BEGIN IMMEDIATE")
        try:
            for size in sizes:
                gone, emptied, entering, folders, changed = marshal.loads(
                    os.pread(context.descriptors["rows"], size, start)
                )
                start += size
                below = (row for folder, apart in folders for row in digested(Folder._make(folder), apart))
                known = kept.noted(chain(entering, below), checked_ns)
                follow(kept.db, gone, emptied, known, changed, checked_ns)
        except BaseException:  # a part of it is not to be committed
            context.kept.pop("rows").close()
            raise


def commit_there(context: Context, checked_ns: int) -> None:
    """What it does last."""
    with _as_oserror():
        kept: _Kept = context.kept["rows"]
        settled = [(path,) for path, mtime_ns in kept.young if not may_be_racy(mtime_ns, checked_ns)]
        kept.db.executemany("UPDATE entries SET racy = 0 WHERE path = ?", settled)
        kept.db.execute("COMMIT")


class _Kept:
    """From the one to the other: the transaction, and what was put as racy, for it may be so no more when the
    sources are last seen."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.young: list[tuple[bytes, int]] = []

    def noted(self, known: Iterable[Row], checked_ns: int) -> Iterator[Row]:
        for row in known:
            if row[-1] and may_be_racy(row[4], checked_ns):
                self.young.append((os.fsencode(row[0]), row[4]))
            yield row

    def close(self) -> None:
        self.db.close()


@contextlib.contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, KeyError) as error:
        raise OSError(errno.EIO, str(error)) from None


def _memory_file() -> int:
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.memfd_create("rows", os.MFD_CLOEXEC)


class _Portion:
    """What is handed over at once: what ``manifest.follow`` takes, as built-in types."""

    def __init__(self) -> None:
        self.names = 0
        self.gone: list[str] = []
        self.emptied: list[str] = []
        self.entering: list[Row] = []
        self.folders: list[Any] = []
        self.changed: list[Row] = []

    def packed(self) -> bytes:
        parts = self.gone, self.emptied, self.entering, self.folders, self.changed
        return marshal.dumps(parts, _MARSHAL)


def _portions(steps: Iterable[Step], digest_of: Callable[[str], str]) -> Iterator[bytes]:
    portion = _Portion()
    for kind, path, _, new, inside, displaced, _ in steps:
        portion.names += 1
        if kind == META:
            if new is not None and not new.digest:  # else it may be racy, and nobody could tell whose that is
                portion.changed.append(row_of(path, new, ""))
            continue
        if kind == REMOVE:
            portion.gone.append(path)
        if displaced:
            portion.emptied.append(path)
        if new is not None:
            portion.entering.append(row_of(path, new, digest_of(path)))
        if isinstance(inside, Graft):
            for folder in inside.folders:
                below = (joined(folder.path, name) for name in folder.large)
                portion.folders.append((tuple(folder), {name: inside.apart[name] for name in below}))
                portion.names += folder.names
                if portion.names >= _PORTION_NAMES:
                    yield portion.packed()
                    portion = _Portion()
        else:
            portion.entering += [row_of(name, entry, digest_of(name)) for name, entry in inside]
            portion.names += len(inside)
        if portion.names >= _PORTION_NAMES:
            yield portion.packed()
            portion = _Portion()
    if portion.names:
        yield portion.packed()
