"""What recovery or a rollback decided, in a file of its own.

Bytes that a failed fsync may have marked clean must never be believed again: a COMMIT read from the
page cache may be gone after a power cut. So before anything is destroyed on the strength of a
decision, the decision itself is written to a fresh inode and synced.
"""

from __future__ import annotations

import contextlib

import xxhash

from atomsync.store.control import DECISION, Control

COMMIT, ABORT = "commit", "abort"
_DRAFT = f"{DECISION}.draft"
_MAX_BYTES = 128


def write_decision(control: Control, unit: int, unit_id: str, decision: str, *, durable: bool) -> None:
    """Write it afresh and make it durable. What it rests on must be durable already. Must succeed.

    An earlier one stays until this one is whole: of a prepared unit nothing else tells what was decided.
    """
    disk = control.disk
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(unit, _DRAFT)
    fd = disk.create(unit, _DRAFT)
    try:
        disk.write(fd, _text(unit_id, decision), 0)
        if durable:
            disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.replace(unit, _DRAFT, unit, DECISION)
    if durable:
        disk.fsync(unit)


def read_decision(control: Control, unit: int, unit_id: str) -> str | None:
    """The decision made for this unit, or None if there is none, or a torn one (which decided nothing)."""
    try:
        fd = control.disk.open_file(unit, DECISION)
    except FileNotFoundError:
        return None
    try:
        data = control.disk.pread(fd, _MAX_BYTES, 0)
    finally:
        control.disk.close(fd)
    for decision in (COMMIT, ABORT):
        if data == _text(unit_id, decision):
            return decision
    return None


def _text(unit_id: str, decision: str) -> bytes:
    said = f"{unit_id} {decision}"
    return f"{said} {xxhash.xxh3_128_hexdigest(said.encode())}\n".encode()
