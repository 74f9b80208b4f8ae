"""The unit of the history that will be given up when the one at hand is committed: its journal is read ahead.

Under the lock it is foreseeable which one that is. The second process has nothing to do while this one seals
and commits, so it reads that journal then; behind the commit point it compares, and both delete.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atomsync.errors import JournalError
from atomsync.fs.disk import Disk
from atomsync.fs.sharing import Portions, shared
from atomsync.store.control import HISTORY, SLOTS, Control
from atomsync.store.history import journal_in
from atomsync.store.late import Looked, displaced_by, looked_at

if TYPE_CHECKING:
    from atomsync.fs.second import Second
    from atomsync.fs.second_main import Context

_PORTION_NAMES = 500
_READ, _LOOK, _DELETE = (f"atomsync.store.leaving:{task}_there" for task in ("read", "look", "delete"))


class Leaving:
    """Begins when it is made: the journal of ``unit_id`` is read. Needs the lock until ``close``."""

    def __init__(self, second: Second, control: Control, unit_id: str) -> None:
        self.unit_id = unit_id
        self._second = second
        with control.opened(HISTORY, unit_id) as unit:
            second.give(leaving=unit)
        second.ask(_READ)

    def looked(self) -> Looked | None:
        """What has become of the versions it displaced; None if it is to be found out here."""
        task = self._second.ask(_LOOK)
        if not self._second.wait(task, lambda: None):
            return None
        try:
            return Looked(*task.result())
        except (OSError, JournalError):
            return None

    @property
    def second(self) -> Second | None:
        return self._second if self._second.alive else None

    def close(self) -> None:
        self._second.drop("leaving")


def delete(disk: Disk, slots: int, names: list[str], leaving: Leaving | None = None) -> None:
    """Delete these files, with a second process if it is known which. What stays behind, for whatever reason,
    is left to who deletes the whole."""
    starts = range(0, len(names), _PORTION_NAMES)
    portions = Portions(names[start : start + _PORTION_NAMES] for start in starts)
    for _ in shared(
        portions,
        lambda portion: _delete(disk, slots, portion),
        lambda second, portion: second.ask(_DELETE, portion),
        lambda: leaving.second if leaving is not None else None,
        lambda: None,
    ):
        pass


def _delete(disk: Disk, slots: int, names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            disk.unlink(slots, name)


def read_there(context: Context) -> None:
    """What the second process does first."""
    disk, unit = context.disk, context.descriptors["leaving"]
    with _slots(context) as slots:
        is_empty = not disk.scandir(slots)
    with contextlib.suppress(JournalError, OSError):
        context.kept["leaving"] = [] if is_empty else displaced_by(journal_in(disk, unit).steps)


def look_there(context: Context) -> tuple[list[tuple[str, str]], list[str]]:
    """What it does then."""
    if "leaving" not in context.kept:
        raise OSError(errno.EIO, "its journal could not be read")
    with _slots(context) as slots:
        late, plain = looked_at(context.disk, slots, context.kept["leaving"])
    return late, plain


def delete_there(context: Context, names: list[str]) -> None:
    """What it does last."""
    with _slots(context) as slots:
        _delete(context.disk, slots, names)


@contextlib.contextmanager
def _slots(context: Context) -> Iterator[int]:
    slots = context.disk.open_dir(context.descriptors["leaving"], SLOTS)
    try:
        yield slots
    finally:
        context.disk.close(slots)
