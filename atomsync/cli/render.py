"""What a person reads. Paths are shown escaped, so that a name cannot write to the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atomsync.errors import AtomSyncError
from atomsync.plan.change import Change
from atomsync.store.recovery import CLEAN, UNFINISHED, Recovery
from atomsync.store.store import Status
from atomsync.sync.push import Report
from atomsync.tree.entry import DIR, LINK, Entry
from atomsync.tree.path import shown

_LISTED_MAX = 10


def failure(error: AtomSyncError) -> str:
    return f"atomsync: {error}"


def changes(found: Iterable[Change]) -> Iterator[str]:
    """One line for each changed path."""
    for change in sorted(found):
        if not change.visible:
            continue
        path, old, new, content = change
        entry = new or old
        assert entry is not None
        name = shown(path or ".") + ("/" if entry.kind == DIR and path else "")
        if entry.kind == LINK and new is not None:
            name += f" -> {shown(entry.target)}"
        if old is None:
            yield f"created  {name}"
        elif new is None:
            yield f"removed  {name}"
        elif old.kind != new.kind:
            yield f"updated  {name} (was a {old.kind})"
        else:
            yield f"updated  {name}" + ("" if content else f" ({', '.join(_attributes(old, new))})")


def summary(report: Report, *, phases: bool = False) -> str:
    """The last line of a push."""
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
    text = (
        f"created {receipt.created:,} · updated {receipt.updated:,} · removed {receipt.removed:,}"
        f" · unchanged {report.unchanged:,} · {size(receipt.bytes)} in {report.seconds:.2f} s"
        f" · mixed window {receipt.window_ms:.1f} ms · unit {receipt.unit_id}"
    )
    if phases:
        spent = " · ".join(f"{name} {ms:.0f}" for name, ms in report.phases_ms.items())
        text = f"phases in ms: {spent}\n{text}"
    return text


def notices(report: Report) -> Iterator[str]:
    """What a person should know beside the result."""
    yield from recovery(report.recovery)
    if report.left_out:
        special = [f"{shown(path)} ({kind})" for path, kind in sorted(report.left_out.items())]
        yield f"left out: {_some(special)}"
    if report.skipped:
        moving = [shown(path or ".") for path in report.skipped]
        yield f"left as they are, they kept changing: {_some(moving)}"
    if report.receipt is not None:
        for warning in report.receipt.warnings:
            yield f"warning: {warning}"
        if report.receipt.swap_class != "exchange":
            yield f"note: this filesystem cannot exchange two names; used {report.receipt.swap_class}"


def recovery(found: Recovery) -> Iterator[str]:
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
        return
    if found.last is None:
        yield "last unit: none"
    else:
        last = found.last
        yield (
            f"last unit: {last.unit_id} · created {last.created:,} · updated {last.updated:,}"
            f" · removed {last.removed:,}"
        )
    yield f"unfinished: {found.unfinished or 'none'}"
    yield f"lock: {found.holder or 'free'}"
    if found.conflicts:
        yield f"conflicts kept: {_some(list(found.conflicts))}"


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


def size(count: int) -> str:
    """Bytes in decimal units, three digits."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the loop returns")


def _attributes(old: Entry, new: Entry) -> Iterator[str]:
    if old.mode != new.mode:
        yield f"mode {old.mode:04o} → {new.mode:04o}"
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}"
    if old.mtime_ns != new.mtime_ns:
        yield "time"


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - _LISTED_MAX:,} more" if len(texts) > _LISTED_MAX else ""
    return ", ".join(texts[:_LISTED_MAX]) + more
