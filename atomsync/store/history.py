"""(8) Finished units: their journals, and the versions they displaced.

The displaced objects are the old inodes themselves, so keeping them cost nothing. The newest ``keep``
units stay; an older one is given up whole. A process that still had a displaced file open may have
written to it since: such a file is moved to ``conflicts/`` instead of being deleted.
"""

from __future__ import annotations

import errno
import os
import stat

from atomsync.errors import JournalError
from atomsync.plan.step import META, Step
from atomsync.store.conflicts import keep_aside
from atomsync.store.control import HISTORY, JOURNAL, RETIRED, SLOTS, UNIT, Control
from atomsync.store.journal import JOURNAL_MAX_BYTES, Journal, decode
from atomsync.store.removal import remove_tree
from atomsync.store.undo import same_subtree
from atomsync.store.unit_id import is_unit_id
from atomsync.tree.entry import DIR, Entry, look

_READ_BYTES = 1 << 20


def read_journal(control: Control, *where: str) -> Journal:
    """The journal in a directory below the control directory. FileNotFoundError if there is none."""
    disk = control.disk
    with control.opened(*where) as at:
        try:
            fd = disk.open_file(at, JOURNAL)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise JournalError("cannot trust a journal", error.strerror or "it is not a file") from None
            raise
        try:
            found = disk.fstat(fd)
            size = found.st_size
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
                raise JournalError("cannot trust a journal", "it is not a file of our own")
            if size > JOURNAL_MAX_BYTES:
                raise JournalError("cannot trust a journal", "it is larger than any journal we write")
            data = bytearray()
            while len(data) < size and (part := disk.pread(fd, _READ_BYTES, len(data))):
                data += part
        finally:
            disk.close(fd)
    return decode(bytes(data))


def retire_to_history(control: Control, unit_id: str) -> None:
    """One rename ends the unit; from then on the store has no unfinished one."""
    with control.opened(HISTORY) as history:
        control.disk.replace(control.fd, UNIT, history, unit_id)


def units(control: Control) -> list[str]:
    """Ids of the finished units, oldest first."""
    return [name for name in control.names(HISTORY) if is_unit_id(name)]


def prune(control: Control, keep: int, *, but: str = "") -> list[str]:
    """Give up all but the newest ``keep`` units; returns warnings about late writers. ``but``, which was
    prepared long before it was committed, stays for once."""
    warnings = []
    for unit_id in units(control)[: -keep or None]:
        if unit_id == but and keep:
            continue
        warnings += _rescue_late_writes(control, unit_id)
        with control.opened(HISTORY) as history, control.opened(RETIRED, make=True) as retired:
            control.disk.replace(history, unit_id, retired, unit_id)
    empty_retired(control)
    return warnings


def empty_retired(control: Control) -> None:
    with control.opened(RETIRED, make=True) as retired:
        for name, _ in control.disk.scandir(retired):
            remove_tree(control.disk, retired, name)


def _rescue_late_writes(control: Control, unit_id: str) -> list[str]:
    with control.opened(HISTORY, unit_id, SLOTS) as slots:
        if not control.disk.scandir(slots):
            return []  # it displaced nothing, as a first push: its journal may be large
    try:
        steps = read_journal(control, HISTORY, unit_id).steps
    except (JournalError, FileNotFoundError) as error:
        return [f"history/{unit_id} has no journal to read ({error}); its late writes were not looked for"]
    warnings = []
    with control.opened(HISTORY, unit_id, SLOTS) as slots:
        for step in steps:
            if step.kind == META or step.old is None or _as_displaced(control, slots, step, step.old):
                continue
            why = f"its old version was changed after unit {unit_id} displaced it"
            warnings.append(str(keep_aside(control, slots, step.slot, unit_id, step.path, why)))
    return warnings


def _as_displaced(control: Control, slots: int, step: Step, old: Entry) -> bool:
    now = look(control.disk, slots, step.slot)
    if now is None or old.kind != now.kind:
        return now is None
    if old.kind == DIR:
        return same_subtree(control.disk, slots, step.slot, step.path, step.displaced, inodes=True)
    return (now.size, now.mtime_ns) == (old.size, old.mtime_ns)
