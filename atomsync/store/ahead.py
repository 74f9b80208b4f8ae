"""(8) The manifest's rows of grafts, written by the second process while this one checks, seals and commits.

They are in a transaction of their own, which is committed when the unit is, and before the rest: whoever
finds the one without the other finds that the manifest does not know the unit, and applies all of it.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from atomsync.store.control import MANIFEST
from atomsync.tree.graft import Folder, Graft
from atomsync.tree.path import joined

if TYPE_CHECKING:
    from atomsync.fs.second import Second
    from atomsync.fs.second_main import Context

_PORTION_NAMES = 5_000
_PUT, _COMMIT = "atomsync.store.ahead:put_there", "atomsync.store.ahead:commit_there"


class Ahead:
    """Begins when it is made. ``control``: the descriptor of the control directory; ``sync``: how SQLite is
    to make the rows durable. Raises OSError where there is no file in memory to hand them over by."""

    def __init__(
        self, second: Second, control: int, grafts: Iterable[Graft], checked_ns: int, sync: str
    ) -> None:
        self._second = second
        # Not by the wire: it takes no more than a little until the other side has done what came before.
        folders = _memory_file()
        try:
            sizes = [os.write(folders, data) for graft in grafts for data in _portions(graft)]
            second.give(control=control, folders=folders)
        finally:
            os.close(folders)
        self._put = second.ask(_PUT, sizes, checked_ns, sync)

    def finish(self) -> bool:
        """The unit is committed; whether the rows are for sure. If not, they are to be written as ever."""
        commit = self._second.ask(_COMMIT)
        try:
            if not self._second.wait(commit, lambda: None):
                return False
            self._put.result()
            commit.result()
        except OSError:
            return False
        finally:
            self.abandon()
        return True

    def abandon(self) -> None:
        """What is not committed by now will not be, and nobody has to wait for its lock."""
        self._second.look()
        if self._put.answered:
            self._second.drop("control", "folders")
        else:
            self._second.close()


def put_there(context: Context, sizes: list[int], checked_ns: int, sync: str) -> None:
    """What the second process does first."""
    import sqlite3

    from atomsync.store.manifest import PUT, folder_rows

    where = context.disk.library_path(context.descriptors["control"], MANIFEST)
    start = 0
    with _as_oserror():
        context.kept["ahead"] = db = sqlite3.connect(where, isolation_level=None)
        db.execute(f"PRAGMA synchronous = {sync}")
        db.execute("PRAGMA cache_spill = OFF")  # which would lock readers out long before the commit
        db.execute("BEGIN IMMEDIATE")
        for size in sizes:
            portion = marshal.loads(os.pread(context.descriptors["folders"], size, start))
            start += size
            for folder, apart in portion:
                db.executemany(PUT, folder_rows(Folder._make(folder), apart, checked_ns))


def commit_there(context: Context) -> None:
    """What it does last."""
    with _as_oserror():
        context.kept["ahead"].execute("COMMIT")


@contextlib.contextmanager
def _as_oserror() -> Iterator[None]:
    import sqlite3

    try:
        yield
    except (sqlite3.Error, KeyError) as error:
        raise OSError(errno.EIO, str(error)) from None


def _memory_file() -> int:
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.memfd_create("folders", os.MFD_CLOEXEC)


def _portions(graft: Graft) -> Iterator[bytes]:
    portion: list[Any] = []
    names = 0
    for folder in graft.folders:
        apart = {path: graft.apart[path] for path in (joined(folder.path, name) for name in folder.large)}
        portion.append((tuple(folder), apart))
        names += folder.names
        if names >= _PORTION_NAMES:
            yield marshal.dumps(portion)
            portion, names = [], 0
    if portion:
        yield marshal.dumps(portion)
