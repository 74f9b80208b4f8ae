"""(8) Finished units: their journals, and the versions they displaced.

The displaced objects are the old inodes themselves, so keeping them cost nothing.

A unit has its name from its seal. One that was prepared may rest while others are committed, so its
decision tells when its own turn was: the history has the order of the commits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from atomsync.errors import JournalError
from atomsync.fs.disk import Disk
from atomsync.store.control import HISTORY, JOURNAL, PREPARED, UNIT, Control
from atomsync.store.decision import commit_name
from atomsync.store.journal import JOURNAL_MAX_BYTES, Journal, decode
from atomsync.store.unit_id import is_unit_id, time_of_unit, unit_id_at

_READ_BYTES = 1 << 20


def read_journal(control: Control, *where: str) -> Journal:
    """The journal in a directory below the control directory. FileNotFoundError if there is none."""
    with control.opened(*where) as at:
        return journal_in(control.disk, at)


def journal_in(disk: Disk, at: int) -> Journal:
    """``read_journal`` of the directory of a unit."""
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
    """Ids of the finished units, in the order in which they were committed."""
    found = [name for name in control.names(HISTORY) if is_unit_id(name)]
    return sorted(found, key=lambda unit_id: name_of_commit(control, unit_id))


def name_of_commit(control: Control, unit_id: str) -> str:
    """The name a finished unit would have if it had got it at its commit: mostly its own."""
    known = control.commit_names.get(unit_id)
    if known is None:
        known = unit_id
        with contextlib.suppress(FileNotFoundError), control.opened(HISTORY, unit_id) as unit:
            known = commit_name(control, unit, unit_id) or unit_id
            control.commit_names[unit_id] = known
    return known


def new_id(control: Control, now_ns: int) -> str:
    """UTC to the millisecond: sorts by time, and is later than any unit or commit this store knows."""
    names = [*control.names(PREPARED), *units(control)]
    latest = max([*names, *control.commit_names.values()], default="")
    while (found := unit_id_at(now_ns)) <= latest:
        now_ns = max(now_ns, time_of_unit(latest)) + 1_000_000
    return found
