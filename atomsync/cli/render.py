"""What a person reads. Paths are shown escaped, so that a name cannot write to the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from atomsync.store.recovery import CLEAN, UNFINISHED
from atomsync.sync.drift import listed
from atomsync.tree.amount import counted as counted
from atomsync.tree.amount import size as size
from atomsync.tree.entry import DIR, FILE, LINK, SEEN, Entry
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from atomsync.errors import AtomSyncError
    from atomsync.plan.change import Change
    from atomsync.store.prepared import PreparedUnit
    from atomsync.store.recovery import Recovery
    from atomsync.store.status import Status
    from atomsync.sync.report import Report

_LISTED_MAX = 10


def failure(error: AtomSyncError) -> str:
    return f"atomsync: {error}"


def changes(
    found: Iterable[Change], left: Iterable[tuple[str, str]] = (), *, why: bool = False
) -> Iterator[str]:
    """One line for each changed path, with ``why`` more than what is new; and for each that was ``left``."""
    lines = [(change.path, _changed(change, why=why)) for change in found if change.visible]
    lines += [(path, f"{reason}  {shown(path or '.')}") for path, reason in left]
    for _path, line in sorted(lines):
        yield line


def _changed(change: Change, *, why: bool) -> str:
    path, old, new, content = change
    entry = new or old
    assert entry is not None
    name = shown(path or ".") + ("/" if entry.kind == DIR and path else "")
    if entry.kind == LINK and new is not None:
        name += f" -> {shown(entry.target)}"
    if old is None:
        return f"created  {name}" + (f" ({_what(entry)})" if why else "")
    if new is None:
        return f"removed  {name}" + (f" ({_what(entry)})" if why else "")
    if old.kind != new.kind:
        return f"updated  {name} (was a {old.kind})"
    if content and not why:
        return f"updated  {name}"
    return f"updated  {name} ({', '.join(_attributes(old, new, content=content))})"


def _what(entry: Entry) -> str:
    return f"{size(entry.size)}" if entry.kind == FILE else entry.kind


def summary(report: Report, *, phases: bool = False) -> str:
    """The end of a push: a line, and with ``phases`` one more."""
    text = _outcome(report)
    if phases and report.receipt is not None:
        spent = " · ".join(f"{name} {ms:.0f}" for name, ms in report.phases_ms.items())
        text += f"\nphases in ms: {spent}"
    return text


def _outcome(report: Report) -> str:
    receipt = report.receipt
    if receipt is None:
        created, updated, removed = tally(report.changes)
        if not (created or updated or removed):
            return f"nothing would change: {report.unchanged:,} unchanged · {report.seconds:.2f} s"
        return (
            f"would create {created:,} · update {updated:,} · remove {removed:,}"
            f" · {report.unchanged:,} unchanged · {report.seconds:.2f} s · nothing was touched"
        )
    if not receipt.unit_id:
        return f"nothing to do: {report.unchanged:,} unchanged · {report.seconds:.2f} s"
    return (
        f"created {receipt.created:,} · updated {receipt.updated:,} · removed {receipt.removed:,}"
        f" · unchanged {report.unchanged:,} · {size(receipt.bytes)} in {report.seconds:.2f} s"
        f" · mixed window {receipt.window_ms:.1f} ms · unit {receipt.unit_id}"
    )


def notices(report: Report) -> Iterator[str]:
    """What a person should know beside the result."""
    yield from recovery(report.recovery)
    yield from left_out(report.left_out)
    if report.skipped:
        moving = [shown(path or ".") for path in report.skipped]
        yield f"left as they are, they kept changing: {some(moving)}"
    if report.drifted:
        yield f"drift: {_of_drift(report)}: {listed(report.drifted)}"
    if report.receipt is not None:
        for warning in report.receipt.warnings:
            yield f"warning: {warning}"
        if report.receipt.swap_class != "exchange":
            yield f"note: this filesystem cannot exchange two names; used {report.receipt.swap_class}"


def _of_drift(report: Report) -> str:
    count = "1 path" if len(report.drifted) == 1 else f"{len(report.drifted):,} paths"
    what = f"somebody else changed {count} here since the last unit"
    if report.kept:
        return f"{what}; left as they are"
    if report.receipt is None:
        return f"{what}, which this would overwrite"
    return f"{what}; unit {report.receipt.unit_id} has what was there, as long as the history goes back"


def left_out(found: Mapping[str, str]) -> Iterator[str]:
    if found:
        special = [f"{shown(path)} ({kind})" for path, kind in sorted(found.items())]
        yield f"left out: {some(special)}"


def recovery(found: Recovery) -> Iterator[str]:
    for unit_id, committed in found.settled:
        yield f"recovered: prepared unit {unit_id} was {'committed' if committed else 'rolled back'}"
    if found.action == CLEAN:
        return
    if found.action == UNFINISHED:
        yield f"note: the destination has an unfinished unit; {found.why}"
        return
    name = f"unit {found.unit_id}" if found.unit_id else "an unfinished unit"
    yield f"recovered: {name} was {found.action}: {found.why}"
    for conflict in found.conflicts:
        yield f"conflict: {conflict}"


def status(found: Status) -> Iterator[str]:
    if not found.exists:
        yield "no unit was ever committed here"
        if not (found.holder or found.unfinished):
            return
    elif found.last is None:
        yield "last unit: none"
    else:
        last = found.last
        yield (
            f"last unit: {last.unit_id} · created {last.created:,} · updated {last.updated:,}"
            f" · removed {last.removed:,}"
        )
    yield f"unfinished: {found.unfinished or 'none'}"
    yield f"lock: {found.holder or 'free'}"
    yield from resting(found.prepared)
    if found.conflicts:
        yield f"conflicts kept: {some(list(found.conflicts))}"


def resting(units: Iterable[PreparedUnit]) -> Iterator[str]:
    for prepared in units:
        decides = f"{prepared.coordinator or 'whoever prepared it'} decides"
        yield (
            f"prepared: unit {prepared.id} · created {prepared.created:,} · updated {prepared.updated:,}"
            f" · removed {prepared.removed:,} · {decides}{'' if prepared.live else ', its process is gone'}"
        )


def tally(found: Iterable[Change]) -> tuple[int, int, int]:
    """``(created, updated, removed)`` of changes that are not carried out."""
    created = updated = removed = 0
    for change in found:
        if change.old is None:
            created += 1
        elif change.new is None:
            removed += 1
        else:
            updated += change.visible
    return created, updated, removed


def _attributes(old: Entry, new: Entry, *, content: bool) -> Iterator[str]:
    if old.target != new.target:
        yield f"was -> {shown(old.target)}"
    elif old.size != new.size:
        yield f"size {old.size:,} → {new.size:,}"
    elif content and old[:SEEN] == new[:SEEN]:
        yield "content"
    if old.mode != new.mode:
        yield f"mode {old.mode:04o} → {new.mode:04o}"
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}"
    if old.mtime_ns != new.mtime_ns:
        yield "time"
    if old.xattrs != new.xattrs:
        yield "extended attributes"


def some(texts: list[str]) -> str:
    more = f" and {len(texts) - _LISTED_MAX:,} more" if len(texts) > _LISTED_MAX else ""
    return ", ".join(texts[:_LISTED_MAX]) + more
