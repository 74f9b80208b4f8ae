"""What recovery or a rollback decided, in a file of its own.

Bytes that a failed fsync may have marked clean must never be believed again: a COMMIT read from the
page cache may be gone after a power cut. So before anything is destroyed on the strength of a
decision, the decision itself is written to a fresh inode and synced.

Of a prepared unit it also tells when it was committed, as a name of the kind units have: its own is the
time at which it was prepared, and others may have been committed since.
"""

from __future__ import annotations

import contextlib

import xxhash

from atomsync.store.control import DECISION, Control
from atomsync.store.unit_id import is_unit_id

COMMIT, ABORT = "commit", "abort"
_DRAFT = f"{DECISION}.draft"
_MAX_BYTES = 128


def write_decision(
    control: Control, unit: int, unit_id: str, decision: str, *, durable: bool, at: str = ""
) -> None:
    """Write it afresh and make it durable. What it rests on must be durable already. Must succeed.

    An earlier one stays until this one is whole: of a prepared unit nothing else tells what was decided, and
    when (``at``): that never changes.
    """
    disk = control.disk
    at = commit_name(control, unit, unit_id) or at
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(unit, _DRAFT)
    fd = disk.create(unit, _DRAFT)
    try:
        disk.write(fd, _text(unit_id, decision, at), 0)
        if durable:
            disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.replace(unit, _DRAFT, unit, DECISION)
    if durable:
        disk.fsync(unit)


def read_decision(control: Control, unit: int, unit_id: str) -> str | None:
    """The decision made for this unit, or None if there is none, or a torn one (which decided nothing)."""
    return _read(control, unit, unit_id)[0]


def commit_name(control: Control, unit: int, unit_id: str) -> str:
    """When a prepared unit was decided to be committed, as a name by which to sort; "" if nothing says it."""
    return _read(control, unit, unit_id)[1]


def _read(control: Control, unit: int, unit_id: str) -> tuple[str | None, str]:
    try:
        fd = control.disk.open_file(unit, DECISION)
    except FileNotFoundError:
        return None, ""
    try:
        data = control.disk.pread(fd, _MAX_BYTES, 0)
    finally:
        control.disk.close(fd)
    words = data.decode("ascii", "replace").split(" ")
    at = words[2] if len(words) == 4 and is_unit_id(words[2]) else ""
    for decision in (COMMIT, ABORT):
        if data == _text(unit_id, decision, at):
            return decision, at
    return None, ""


def _text(unit_id: str, decision: str, at: str) -> bytes:
    said = f"{unit_id} {decision} {at}".rstrip()
    return f"{said} {xxhash.xxh3_128_hexdigest(said.encode())}\n".encode()
