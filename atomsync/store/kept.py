"""The objects that units of the history displaced: found again, and read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from atomsync.errors import JournalError, VersionGone
from atomsync.fs.cursor import Cursor
from atomsync.store.control import HISTORY, JOURNAL, SLOTS, Control
from atomsync.store.copying import digest_file
from atomsync.store.history import read_journal, units
from atomsync.store.journal import Journal
from atomsync.store.progress import Progress
from atomsync.store.versions import Kept
from atomsync.tree.entry import Entry, look_deep
from atomsync.tree.path import shown

_SHOWN_MAX = 10


class KeptObjects:
    """The way to them: a context manager that keeps the directories on it open."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._cursors: dict[str, Cursor] = {}

    def split(self, kept: Kept) -> tuple[int, str]:
        """``(descriptor of the directory it is in, its name)``. FileNotFoundError if there is none."""
        return self.slots(kept.unit).split(kept.location)

    def slots(self, unit_id: str) -> Cursor:
        """The slots of a unit."""
        if unit_id not in self._cursors:
            with self._control.opened(HISTORY, unit_id) as unit:
                fd = self._control.disk.open_dir(unit, SLOTS)
            self._cursors[unit_id] = Cursor(self._control.disk, fd)
        return self._cursors[unit_id]

    def look(self, kept: Kept) -> Entry | None:
        """What lies there now; None if nothing does."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return look_deep(self._control.disk, *self.split(kept))
        return None

    def digest(self, kept: Kept, progress: Progress) -> str:
        """Of the file that lies there."""
        fd = self.open(kept)
        try:
            return digest_file(self._control.disk, fd, check=progress.check)[0]
        finally:
            self._control.disk.close(fd)

    def open(self, kept: Kept) -> int:
        """The file that lies there, to be closed by the caller."""
        return self._control.disk.open_file(*self.split(kept))

    def close(self) -> None:
        for cursor in self._cursors.values():
            cursor.close()
            self._control.disk.close(cursor.root)
        self._cursors.clear()

    def __enter__(self) -> KeptObjects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def journals(control: Control) -> list[Journal]:
    """Of the finished units whose journals can be read, in the order of their commits. Whoever counts on one,
    or on all behind it, asks ``check_read``."""
    found = []
    for unit_id in units(control):
        with contextlib.suppress(JournalError, FileNotFoundError):
            journal = read_journal(control, HISTORY, unit_id)
            if journal.header.id == unit_id:
                found.append(journal)
    return found


def check_read(found: Iterable[Journal], unit_ids: Iterable[str]) -> None:
    """JournalError unless the journals of these units are among the ``found``: nobody knows what they did."""
    known = {journal.header.id for journal in found}
    for unit_id in unit_ids:
        if unit_id not in known:
            raise JournalError(
                f"cannot tell what unit {unit_id} changed",
                f"its journal, {HISTORY}/{unit_id}/{JOURNAL}, cannot be read",
                "Nothing was touched. What units behind it did can be undone.",
            )


def version_gone(paths: Sequence[str]) -> VersionGone:
    """The error that says so of ``paths``."""
    first = ", ".join(shown(path) for path in paths[:_SHOWN_MAX])
    more = f" and {len(paths) - _SHOWN_MAX:,} more" if len(paths) > _SHOWN_MAX else ""
    return VersionGone(
        "cannot put back what was there before",
        f"the history does not have it any more, or not as it was displaced: {first}{more}",
        "Nothing was touched. Other paths can go back: atomsync restore DST --to UNIT PATH…",
    )
