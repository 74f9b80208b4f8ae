"""What a program reads: one JSON object a line. ``docs/json.md`` is its contract.

Every object has ``schema`` (1) and ``event``. Fields are only ever added within a schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atomsync.cli.render import tally
from atomsync.errors import AtomSyncError
from atomsync.store.progress import Done
from atomsync.store.recovery import CLEAN, Recovery
from atomsync.sync.facts import SCHEMA, change_facts, receipt_facts
from atomsync.sync.judging import VERDICTS
from atomsync.sync.report import Report

if TYPE_CHECKING:  # a push has no use for them, and they cost a third of its start
    from atomsync.store.status import Status
    from atomsync.sync.difference import Differences
    from atomsync.sync.findings import Finding
    from atomsync.sync.repair import Repair
    from atomsync.sync.verify import Verification

_OWN_NAMES = ("coverage", "held", "set-aside", "missed")  # the rest of what a watch tells is called watch-...


def push(report: Report, *, verbose: bool, left: Iterable[tuple[str, str]] = ()) -> Iterator[str]:
    for path, reason in sorted(left):
        yield _line(reason, path=path)
    for event, fields in _told(report, verbose=verbose):
        yield _line(event, **fields)


def watch(
    event: str, where: Mapping[str, object], fields: Mapping[str, Any], *, verbose: bool
) -> Iterator[str]:
    """What a watch tells of one pair; ``where`` names that pair."""
    from atomsync.follow.watching import Coverage, WatchStatus

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
        elif isinstance(value, WatchStatus):
            plain |= {"state": value.state, "queue": value.queue, "lag_s": value.lag_s}
        elif isinstance(value, Done):
            plain |= _done(value)
        else:
            plain[name] = value
    yield _line(event if event in _OWN_NAMES else f"watch-{event}", **plain)


def _told(report: Report, *, verbose: bool) -> Iterator[tuple[str, dict[str, object]]]:
    if report.recovery.action != CLEAN or report.recovery.settled:
        yield "recovered", _recovery(report.recovery)
    if verbose:
        for change in sorted(report.changes):
            if change.visible:
                yield "change", change_facts(change)
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
            **receipt_facts(receipt),
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
    from atomsync.store.status import NOTHING

    shown = found or NOTHING
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


def differences(found: Differences) -> Iterator[str]:
    """After ``diff``."""
    counts = {"source": 0, "destination": 0, "both": 0}
    for path, source, destination, differs in found.found:
        entry = source or destination
        assert entry is not None
        where = "both" if source and destination else "source" if source else "destination"
        counts[where] += 1
        yield _line("difference", where=where, path=path, kind=entry.kind, differs=list(differs))
    for path, kind in sorted(found.left_out.items()):
        yield _line("left-out", path=path, kind=kind)
    yield _line(
        "compared",
        only_in_source=counts["source"],
        only_in_destination=counts["destination"],
        differ=counts["both"],
        same=found.same,
        seconds=round(found.seconds, 6),
    )


def not_judged(path: str, why: str) -> str:
    return _line("not-judged", path=path, why=why)


def verification(found: Verification) -> Iterator[str]:
    """After ``verify``."""
    for finding in found.findings:
        yield _line(
            "finding",
            verdict=finding.verdict,
            path=finding.path,
            kind=finding.kind,
            differs=list(finding.differs),
            note=finding.note,
        )
    from atomsync.sync.verify import counts_of

    counts = counts_of(found)
    yield _line(
        "verified",
        **{verdict: counts.get(verdict, 0) for verdict in VERDICTS},
        **found.tally._asdict(),
        resumed=found.resumed,
        seconds=round(found.seconds, 6),
    )


def repair(done: Repair, after: Verification) -> Iterator[str]:
    """After ``verify --repair``; ``after``: what is wrong now."""
    for path in done.repaired:
        yield _line("repaired", path=path)
    for path, why in sorted(done.left.items()):
        yield _line("not-repaired", path=path, why=why)
    from atomsync.sync.verify import counts_of

    counts = counts_of(after)
    yield _line(
        "repair",
        unit=done.receipt.unit_id if done.receipt else None,
        repaired=len(done.repaired),
        left=len(done.left),
        **{verdict: counts.get(verdict, 0) for verdict in VERDICTS},
    )


def doctor(
    destination: str, source: str | None, found: Sequence[Finding], verdict: str, exit_status: int
) -> str:
    return _line(
        "doctor",
        destination=destination,
        source=source,
        works=exit_status == 0,
        exit_status=exit_status,
        verdict=verdict,
        findings=[finding._asdict() for finding in found],
    )


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


def _done(done: Done) -> dict[str, object]:
    return {
        "phase": done.phase,
        "files": done.files,
        "of_files": done.of_files or None,
        "bytes": done.size,
        "of_bytes": done.of_size or None,
        "phase_s": round(done.phase_s, 3),
        "left_s": done.left_s,
    }


def _line(event: str, **fields: object) -> str:
    return json.dumps({"schema": SCHEMA, "event": event, **fields})


line = _line  # for the records of other topics
