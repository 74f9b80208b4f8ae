"""What a program reads: one JSON object a line. ``docs/json.md`` is its contract.

Every object has ``schema`` (1) and ``event``. Fields are only ever added within a schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from atomsync.cli.render import tally
from atomsync.errors import AtomSyncError
from atomsync.plan.change import Change
from atomsync.store.recovery import CLEAN, Recovery
from atomsync.store.store import Status
from atomsync.sync.push import Report

SCHEMA = 1


def push(report: Report, *, verbose: bool) -> Iterator[str]:
    if report.recovery.action != CLEAN:
        yield recovery(report.recovery)
    if verbose:
        for change in sorted(report.changes):
            if change.visible:
                yield _change(change)
    for path, kind in sorted(report.left_out.items()):
        yield _line("left-out", path=path, kind=kind)
    for path in report.skipped:
        yield _line("skipped", path=path)
    common = {
        "unchanged": report.unchanged,
        "seconds": round(report.seconds, 6),
        "phases_ms": {name: round(ms, 3) for name, ms in report.phases_ms.items()},
    }
    receipt = report.receipt
    if receipt is None:
        created, updated, removed = tally(report.changes)
        yield _line("plan", created=created, updated=updated, removed=removed, **common)
        return
    yield _line(
        "receipt",
        unit=receipt.unit_id or None,
        created=receipt.created,
        updated=receipt.updated,
        removed=receipt.removed,
        bytes=receipt.bytes,
        window_ms=round(receipt.window_ms, 3),
        swap_class=receipt.swap_class,
        durability=receipt.durability,
        warnings=list(receipt.warnings),
        **common,
    )


def recovery(found: Recovery) -> str:
    return _line(
        "recovered",
        action=found.action,
        unit=found.unit_id or None,
        why=found.why,
        conflicts=[conflict._asdict() for conflict in found.conflicts],
    )


def status(found: Status) -> str:
    return _line(
        "status",
        exists=found.exists,
        last=found.last and found.last._asdict(),
        unfinished=found.unfinished or None,
        holder=found.holder or None,
        conflicts=list(found.conflicts),
    )


def selftest(fields: Mapping[str, object]) -> str:
    return _line("selftest", **fields)


def failure(error: AtomSyncError) -> str:
    return _line(
        "error",
        code=error.code,
        exit_status=error.exit_status,
        what=error.what,
        why=error.why,
        hint=error.hint,
    )


def _change(change: Change) -> str:
    entry = change.new or change.old
    assert entry is not None
    what = "create" if change.old is None else "remove" if change.new is None else "update"
    return _line("change", change=what, path=change.path, kind=entry.kind, content=change.content)


def _line(event: str, **fields: object) -> str:
    return json.dumps({"schema": SCHEMA, "event": event, **fields})
