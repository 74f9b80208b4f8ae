"""What a person reads of the history: ``log``, ``show``, ``undo``, ``restore``, ``gc``."""

from __future__ import annotations

import difflib
import io
import time
from collections.abc import Iterator

from atomsync.cli import render
from atomsync.store.letting_go import UNDOES
from atomsync.store.retention import Collected
from atomsync.store.telling import PastChange, PastUnit
from atomsync.tree.path import shown
from atomsync.unit.reverting import Reverted

_LISTED_MAX = 10
_DIGEST_SHOWN = 12
_NO_NEWLINE = "\\ No newline at end of file"


def log(unit: PastUnit, *, oneline: bool) -> Iterator[str]:
    """One unit, as ``git log`` shows a commit."""
    if oneline:
        title = unit.message.partition("\n")[0]
        yield f"{unit.unit_id} {_counts(unit)}{_way(unit)}" + (f" · {shown(title)}" if title else "")
        return
    yield f"unit {unit.unit_id}{_way(unit)}"
    yield f"date: {_clock(unit.committed_ns)}"
    if unit.who:
        yield f"who:  {shown(unit.who)}"
    yield f"      {_counts(unit)} · old versions occupy {render.size(unit.bytes_kept)}"
    if unit.message:
        yield ""
        yield from (f"    {shown(line)}" for line in unit.message.splitlines())


def show(found: PastChange) -> Iterator[str]:
    """A line for a path, with its digests; its differences, if they were asked for."""
    for line in render.changes([found.change]):
        yield line + _digests(found)
    if found.note:
        yield f"  ({found.note})"
    if found.old is not None and found.new is not None:
        yield from diff(found)


def diff(found: PastChange) -> Iterator[str]:
    """The differences, as ``diff -u`` shows them."""
    name = shown(found.change.path)
    old = f"a/{name}" if found.change.old else "/dev/null"
    new = f"b/{name}" if found.change.new else "/dev/null"
    for line in difflib.unified_diff(_lines(found.old), _lines(found.new), old, new):
        yield _printable(line.rstrip("\n"))
        if not line.endswith("\n"):
            yield _NO_NEWLINE


def remarks(found: Reverted, way: str) -> Iterator[str]:
    """What a person should know beside the result."""
    if found.lost and found.receipt is not None and found.receipt.unit_id:
        kept = ", ".join(found.lost[:_LISTED_MAX])
        more = f" and {len(found.lost) - _LISTED_MAX:,} more" if len(found.lost) > _LISTED_MAX else ""
        yield f"note: changed since, and in the history of this unit now: {kept}{more}"
    for warning in found.receipt.warnings if found.receipt is not None else ():
        yield f"warning: {warning}"


def reverted(found: Reverted, way: str) -> str:
    """The last line of an undo or a restore."""
    what = f"undo of unit {found.unit_id}" if way == UNDOES else f"back to unit {found.unit_id}"
    receipt = found.receipt
    if receipt is None:
        created, updated, removed = render.tally(found.changes)
        if not (created or updated or removed):
            return f"{what}: nothing would change"
        would = f"would create {created:,} · update {updated:,} · remove {removed:,}"
        return f"{what}: {would} · nothing was touched"
    if not receipt.unit_id:
        return f"{what}: nothing to do"
    return (
        f"{what}: created {receipt.created:,} · updated {receipt.updated:,} · removed {receipt.removed:,}"
        f" · mixed window {receipt.window_ms:.1f} ms · unit {receipt.unit_id}"
    )


def collected(found: Collected) -> str:
    if not found.units:
        return f"nothing to give up · {render.counted(found.left, 'unit')} kept"
    return (
        f"gave up {render.counted(len(found.units), 'unit')}, {render.size(found.bytes)}"
        f" · {render.counted(found.left, 'unit')} kept"
    )


def _counts(unit: PastUnit) -> str:
    return f"created {unit.created:,} · updated {unit.updated:,} · removed {unit.removed:,}"


def _way(unit: PastUnit) -> str:
    if unit.undoes:
        return f" (undoes {shown(unit.undoes)})"
    return f" (restores {shown(unit.restores)})" if unit.restores else ""


def _clock(ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(ns / 1e9))


def _digests(found: PastChange) -> str:
    if not (found.old_digest or found.new_digest):
        return ""
    sides = [digest[:_DIGEST_SHOWN] or "-" for digest in (found.old_digest, found.new_digest)]
    return f"  {sides[0]} → {sides[1]}"


def _lines(data: bytes | None) -> list[str]:
    """As ``splitlines`` with its ends, but only a newline ends a line."""
    return io.StringIO((data or b"").decode("utf-8", "surrogateescape"), newline="\n").readlines()


def _printable(line: str) -> str:
    """A line of somebody's file, which must not write to the terminal."""
    return "\t".join(shown(part) for part in line.split("\t"))
