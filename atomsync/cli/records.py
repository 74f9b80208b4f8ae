"""What a program reads: one JSON object a line. ``docs/json.md`` is its contract.

Every object has ``schema`` (1) and ``event``. Fields are only ever added within a schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atomsync.cli.render import tally
from atomsync.errors import AtomSyncError
from atomsync.follow.watching import Coverage
from atomsync.plan.change import Change
from atomsync.store.recovery import CLEAN, Recovery
from atomsync.store.status import Status
from atomsync.sync.push import Report

SCHEMA = 1
_OWN_NAMES = ("coverage", "held", "set-aside", "missed")  # the rest of what a watch tells is called watch-...


def push(report: Report, *, verbose: bool) -> Iterator[str]:
    for event, fields in _told(report, verbose=verbose):
        yield _line(event, **fields)


def watch(
    event: str, where: Mapping[str, object], fields: Mapping[str, Any], *, verbose: bool
) -> Iterator[str]:
    """What a watch tells of one pair; ``where`` names that pair."""
    if event == "synced":
        lag = {"lag_ms": round(fields["lag_s"] * 1000, 3)} if "lag_s" in fields else {}
        for name, told in _told(fields["report"], verbose=verbose):
            yield _line(name, **where, **told, **(lag if name == "receipt" else {}))
        return
    plain: dict[str, object] = {**where}
    for name, value in fields.items():
        if name == "news":  # what a person need not read again, a program may
            continue
        if isinstance(value, AtomSyncError):
            plain |= _error(value)
        elif isinstance(value, Coverage):
            plain |= value._asdict()
        else:
            plain[name] = value
    yield _line(event if event in _OWN_NAMES else f"watch-{event}", **plain)


def _told(report: Report, *, verbose: bool) -> Iterator[tuple[str, dict[str, object]]]:
    if report.recovery.action != CLEAN or report.recovery.settled:
        yield "recovered", _recovery(report.recovery)
    if verbose:
        for change in sorted(report.changes):
            if change.visible:
                yield "change", _change(change)
    for path, kind in sorted(report.left_out.items()):
        yield "left-out", {"path": path, "kind": kind}
    for path in report.skipped:
        yield "skipped", {"path": path}
    for drifted in report.drifted:
        yield "drift", {**drifted._asdict(), "kept": report.kept}
    common = {
        "unchanged": report.unchanged,
        "seconds": round(report.seconds, 6),
        "phases_ms": {name: round(ms, 3) for name, ms in report.phases_ms.items()},
    }
    receipt = report.receipt
    if receipt is None:
        created, updated, removed = tally(report.changes)
        yield "plan", {"created": created, "updated": updated, "removed": removed, **common}
        return
    yield (
        "receipt",
        {
            "unit": receipt.unit_id or None,
            "created": receipt.created,
            "updated": receipt.updated,
            "removed": receipt.removed,
            "bytes": receipt.bytes,
            "window_ms": round(receipt.window_ms, 3),
            "swap_class": receipt.swap_class,
            "durability": receipt.durability,
            "warnings": list(receipt.warnings),
            **common,
        },
    )


def recovery(found: Recovery) -> str:
    return _line("recovered", **_recovery(found))


def _recovery(found: Recovery) -> dict[str, object]:
    return {
        "action": found.action,
        "unit": found.unit_id or None,
        "why": found.why,
        "conflicts": [conflict._asdict() for conflict in found.conflicts],
        "settled": [settled._asdict() for settled in found.settled],
    }


def decided(unit: str, warnings: Sequence[str], *, committed: bool) -> str:
    """After ``recover --commit`` and ``--rollback``."""
    return _line("decided", unit=unit, committed=committed, warnings=list(warnings))


def status(found: Status | None, watched: Mapping[str, Any] | None, trouble: str) -> str:
    """``found`` is None where the destination cannot be looked at now; ``trouble`` says why."""
    shown = found or Status(False, None, "", "", ())
    return _line(
        "status",
        exists=shown.exists,
        last=shown.last and shown.last._asdict(),
        unfinished=shown.unfinished or None,
        holder=shown.holder or None,
        conflicts=list(shown.conflicts),
        prepared=[prepared._asdict() for prepared in shown.prepared],
        trouble=trouble or None,
        watch=watched,
    )


def flushed(unit: str) -> str:
    return _line("flushed", unit=unit or None)


def switched(state: str) -> str:
    """After ``pause`` and ``resume``."""
    return _line("state", state=state)


def selftest(fields: Mapping[str, object]) -> str:
    return _line("selftest", **fields)


def failure(error: AtomSyncError) -> str:
    return _line("error", **_error(error))


def _error(error: AtomSyncError) -> dict[str, object]:
    return {
        "code": error.code,
        "exit_status": error.exit_status,
        "what": error.what,
        "why": error.why,
        "hint": error.hint,
    }


def _change(change: Change) -> dict[str, object]:
    entry = change.new or change.old
    assert entry is not None
    what = "create" if change.old is None else "remove" if change.new is None else "update"
    return {"change": what, "path": change.path, "kind": entry.kind, "content": change.content}


def _line(event: str, **fields: object) -> str:
    return json.dumps({"schema": SCHEMA, "event": event, **fields})


line, change = _line, _change  # for the records of other topics
