"""One path of a destination, looked at and read for a verification.

No lock is held meanwhile: units go on. So what is said of a path is said under what the manifest knows of it
then, and of a moment in which no unit was being committed: such a unit is never taken for rot.
"""

from __future__ import annotations

import contextlib
import errno
import time

from atomsync.errors import AtomSyncError, DiskError, RootError, StoreLocked, UsageError, from_oserror
from atomsync.fs.roots import no_dir
from atomsync.store.access import open_control
from atomsync.store.control import UNIT, Control
from atomsync.store.copying import digest_file
from atomsync.store.history import units
from atomsync.store.progress import Progress
from atomsync.store.rows import Known, Rows
from atomsync.store.store import BaseStore
from atomsync.sync.judging import CLOSED, CONTENT, RESTLESS, ROT, Finding, is_judged_by_content, judged
from atomsync.sync.throttle import Throttle
from atomsync.tree.entry import FILE, Entry, entry_of, look
from atomsync.tree.path import shown

_TRIES = 5
_PAUSE_S = 0.02
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EISDIR, errno.ENXIO}
DYING = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}
"""What a disk says that cannot read."""


class Examiner:
    """For the time of a ``with``. ``files`` and ``bytes`` count what was read, and could be judged by it."""

    def __init__(self, store: BaseStore, progress: Progress, bytes_per_s: int = 0) -> None:
        self._store, self._progress = store, progress
        self._throttle = Throttle(bytes_per_s, progress.check)
        self._opened = contextlib.ExitStack()
        self._followed: tuple[str, ...] | None = None  # the units of which it is known that the rows do
        self.files = self.bytes = 0

    def __enter__(self) -> Examiner:
        """Raises RootError; UsageError where nothing is known; what recovery raises; DiskError."""
        try:
            self.control = self._existing()
            self._opened.callback(self.control.close)
            self.control.claim(make=False)
            self.rows = self._rows()
            self._opened.callback(lambda: self.rows.close())
            self._moment()
            if self.rows.is_empty:
                raise self._nothing_known()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def judge(self, path: str, *, reads: bool = True) -> Finding | None:
        """What is to be said of a path now, for sure; None if all is well. ``reads``: its content counts."""
        for _ in range(_TRIES):
            moment, known = self._moment(), self.rows.at(path)
            self.control.tree.close()  # it may stand in a directory that a unit has displaced
            content: str | None = None
            try:
                found = self.look(path)
                if known is None and found is not None and not self.rows.is_whole:
                    return None
                if reads and is_judged_by_content(known, found):
                    read = self.read(path)
                    if read is None:
                        continue
                    found, content = read
                finding = judged(path, known, found, content)
                stands = self._is_still(moment, known, path)
                # Only now: what a unit showed that was rolled back meanwhile is gone by now.
                self.control.tree.close()
                stands = stands and self.look(path) == found
            except PermissionError as error:
                why = error.strerror or str(error)
                return Finding(CLOSED, path, (), known and known.entry, None, why)
            except OSError as error:
                if error.errno not in DYING or known is None:
                    raise from_oserror(error, f"cannot look at {shown(path)}") from None
                finding = Finding(ROT, path, (CONTENT,), known.entry, None, "it cannot be read")
                stands = self._is_still(moment, known, path)
            if stands:
                self.files += content is not None
                return finding
        return Finding(RESTLESS, path, (), known and known.entry, None, "it kept changing")

    def look(self, path: str) -> Entry | None:
        try:
            return look(self.control.disk, *self.control.tree.split(path))
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            return None

    def read(self, path: str) -> tuple[Entry, str] | None:
        """A file's entry and digest, "" if reading fails; None if it is another, or changed, meanwhile."""
        disk = self.control.disk
        try:
            fd = disk.open_file(*self.control.tree.split(path))
        except OSError as error:
            if error.errno in _MOVED:
                return None
            raise
        try:
            before, digest = entry_of(disk.fstat(fd)), ""
            if before.kind != FILE:
                return None
            try:
                digest, _ = digest_file(disk, fd, media=True, told=self._has_read)
            except OSError as error:
                if error.errno not in DYING:
                    raise
            self._progress.advance(1)
            return (before, digest) if entry_of(disk.fstat(fd)) == before else None
        finally:
            disk.close(fd)

    def _has_read(self, size: int) -> None:
        self.bytes += size
        self._progress.advance(0, size)
        self._progress.check()
        self._throttle.spend(size)

    def _moment(self) -> tuple[str, ...]:
        """The finished units, when none is being committed and the manifest has followed them all. What is
        found between two equal ones is what the manifest speaks of."""
        while True:
            history = tuple(units(self.control))
            known = history == self._followed or self.rows.follows(history)
            if known and not self.control.has(UNIT):
                self._followed = history
                return history
            self._progress.check()
            if self._catch_up():
                self.rows.reopen()
                self._followed = None
                unknown = [unit for unit in units(self.control) if not self.rows.follows([unit])]
                if unknown and not self.control.has(UNIT):
                    raise DiskError(
                        f"cannot verify {shown(self.control.where)}",
                        f"its manifest cannot follow unit {unknown[0]}",
                        "Is the disk full? If not, the journal of that unit in history/ cannot be read.",
                    )
            else:
                time.sleep(_PAUSE_S)

    def _is_still(self, moment: tuple[str, ...], known: Known | None, path: str) -> bool:
        return self._moment() == moment and self.rows.at(path) == known

    def _catch_up(self) -> bool:
        """Recover the store, which brings its manifest up to date; False if another is at work there."""
        try:
            with self._store.session() as session:
                _ = session.manifest
        except StoreLocked:
            return False
        return True

    def _rows(self) -> Rows:
        try:
            return Rows(self.control)
        except DiskError:
            if not units(self.control):
                raise self._nothing_known() from None
            if not self._catch_up():
                raise
            return Rows(self.control)

    def _existing(self) -> Control:
        store = self._store
        if not store.is_there():
            raise RootError(f"cannot verify {shown(store.path)}", no_dir(store.path))
        with contextlib.suppress(FileNotFoundError):
            control = open_control(store.disk, store.path, store.options.state_dir, make=False)
            if control is not None:
                return control
        raise self._nothing_known()

    def _nothing_known(self) -> AtomSyncError:
        return UsageError(
            f"cannot verify {shown(self._store.path)}",
            "no unit was ever committed there, so nothing is known of it",
            "atomsync push SRC DST first; is its state in a --state-dir?",
        )
