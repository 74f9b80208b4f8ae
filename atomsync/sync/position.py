"""How far a verification has come, kept in the control directory, so that another can go on from there.

Worth nothing but time: what cannot be read is forgotten, and then it begins at the start.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, NamedTuple

from atomsync.store.control import VERIFIED, VERIFIED_DRAFT, Control
from atomsync.sync.judging import Finding
from atomsync.tree.entry import Entry

_READ_BYTES = 1 << 20
_VERSION = 1


class Tally(NamedTuple):
    """What was looked at. ``paths``: compared with the manifest. ``files`` and ``bytes``: read, and compared
    by digest. ``not_read``: files that the sample left out. ``no_digest``: files of which the manifest has
    none. ``unknown``: paths of which it cannot tell whether they are new. ``adopted``: how
    many of these it was told of."""

    paths: int = 0
    files: int = 0
    bytes: int = 0
    not_read: int = 0
    no_digest: int = 0
    unknown: int = 0
    adopted: int = 0


class Position(NamedTuple):
    """All up to the path ``after`` was looked at; ``partial``: but for what patterns left out."""

    after: str
    partial: bool
    tally: Tally
    findings: tuple[Finding, ...]


def save(control: Control, position: Position) -> None:
    """Whole or not at all. Where nothing can be written nothing is kept."""
    data = json.dumps({"version": _VERSION, **position._asdict()}).encode()
    disk = control.disk
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(control.fd, VERIFIED_DRAFT)
        fd = disk.create(control.fd, VERIFIED_DRAFT)
        try:
            disk.write(fd, data, 0)
        finally:
            disk.close(fd)
        disk.replace(control.fd, VERIFIED_DRAFT, control.fd, VERIFIED)


def forget(control: Control) -> None:
    for name in (VERIFIED, VERIFIED_DRAFT):
        with contextlib.suppress(OSError):
            control.disk.unlink(control.fd, name)


def load(control: Control) -> Position | None:
    """None if there is none that could be understood."""
    disk, data = control.disk, bytearray()
    try:
        fd = disk.open_file(control.fd, VERIFIED)
        try:
            while part := disk.pread(fd, _READ_BYTES, len(data)):
                data += part
        finally:
            disk.close(fd)
        return _position(json.loads(bytes(data)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _position(said: dict[str, Any]) -> Position | None:
    if said["version"] != _VERSION:
        return None
    findings = tuple(
        Finding(verdict, path, tuple(differs), known and Entry(*known), found and Entry(*found), note)
        for verdict, path, differs, known, found, note in said["findings"]
    )
    for path in (said["after"], *(finding.path for finding in findings)):
        os.fsencode(path)  # raises for one that was written under another locale
    return Position(str(said["after"]), bool(said["partial"]), Tally(*map(int, said["tally"])), findings)
