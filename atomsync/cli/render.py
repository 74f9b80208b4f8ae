"""What a person reads. Paths are shown escaped, so that a name cannot write to the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atomsync.cli.render_progress import line as progress_line
from atomsync.errors import AtomSyncError
from atomsync.follow.watching import SYNCING, Coverage, WatchStatus
from atomsync.plan.change import Change
from atomsync.store.prepared import PreparedUnit
from atomsync.store.progress import Done
from atomsync.store.recovery import CLEAN, UNFINISHED, Recovery
from atomsync.store.status import Status
from atomsync.sync.drift import listed
from atomsync.sync.report import Report
from atomsync.tree.amount import counted as counted
from atomsync.tree.amount import size as size
from atomsync.tree.entry import DIR, FILE, LINK, SEEN, Entry
from atomsync.tree.path import shown

_LISTED_MAX = 10
_EVENTS = {"held": "still being written, held back", "missed": "found by a rescan, no event had told of them"}
_COUNTED = {
    "overflows": "overflow",
    "reattached": "re-attachment",
    "rescans": "rescan",
    "missed": "missed change",
}


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


def watch(event: str, fields: Mapping[str, Any], *, verbose: int) -> Iterator[tuple[str, bool]]:
    """The lines for what a watch tells, and whether each is trouble or a notice."""
    if event == "synced":
        report: Report = fields["report"]
        for line in notices(report._replace(skipped=())):  # "held" tells of those
            yield line, True
        if verbose:
            for line in changes(report.changes, why=verbose > 1):
                yield line, False
        lag = f" · lag {fields['lag_s']:.2f} s" if "lag_s" in fields else ""
        yield summary(report, phases=verbose > 0).replace("\n", " · ") + lag, False
    elif event == "retrying":
        what, *hint = str(fields["error"]).splitlines()
        yield f"{shown(what)} · next try in {fields['next_try_s']:.1f} s", True
        if fields.get("news"):  # a hint is read once
            yield from ((shown(line), True) for line in hint)
    elif event == "after-failed":
        yield from ((shown(line), True) for line in str(fields["error"]).splitlines())
    elif event == "reload-failed":
        yield f"going on as before: {_on_one_line(fields['error'])}", True
    elif event == "coverage":
        coverage: Coverage = fields["coverage"]
        why = f" ({shown(fields['why'])})" if fields["why"] else ""
        yield f"coverage: {_coverage(coverage._asdict())}{why}", not coverage.complete
        for gap in coverage.gaps:
            yield f"  gap: {shown(gap)}", True
    elif event in ("held", "missed"):
        yield (
            f"{_EVENTS[event]}: {some([shown(path or '.') for path in fields['paths']])}",
            event == "missed",
        )
    elif event == "set-aside":
        yield f"set aside: {shown(fields['path'] or '.')}: {_on_one_line(fields['why'])}", True
    elif event == "progress":
        yield _progress(fields["status"], fields["done"]), True
    elif event == "metrics":
        yield f"metrics at {fields['url']}", False
    elif event == "reloaded":
        yield "config read again: {kept} kept, {started} started, {stopped} stopped".format(**fields), False
    else:
        why, *hint = str(fields.get("why", "")).splitlines() or [""]
        yield event + (f": {shown(why)}" if why else ""), event == "paused"
        yield from ((shown(line), True) for line in hint)


def _progress(status: WatchStatus, done: Done) -> str:
    unit = f"{progress_line(done)} · " if status.state == SYNCING else ""
    return f"{status.state} · {unit}{counted(status.queue, 'hint')} waiting · lag {status.lag_s:.1f} s"


def watched(found: Mapping[str, Any]) -> Iterator[str]:
    """The watch of a destination, as it answered to ``status``."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since_ns"] / 1e9))
    yield f"watch: {found['state']} · from {shown(found['source'])} · process {found['pid']} since {since}"
    if found["why"]:
        yield f"  why: {_on_one_line(found['why'])}"
    yield f"coverage: {_coverage(found['coverage'])}"
    for gap in found["coverage"]["gaps"]:
        yield f"  gap: {shown(gap)}"
    yield (
        f"lag: {found['lag_s']:.1f} s · {counted(found['queue'], 'hint')} waiting"
        f" · {counted(found['units'], 'unit')} · {size(found['bytes'])} since it started"
    )
    if found["held"]:
        yield f"still being written: {some([shown(path) for path in found['held']])}"
    for path, why in found["set_aside"].items():
        yield f"set aside: {shown(path or '.')}: {_on_one_line(why)}"
    if found["errors"]:
        again = "" if found["next_try_s"] is None else f" · next try in {found['next_try_s']:.1f} s"
        last = (
            "" if found["last_error"] == found["why"] else f" · the last: {_on_one_line(found['last_error'])}"
        )
        yield f"errors: {found['errors']:,}{last}{again}"


def _coverage(found: Mapping[str, Any]) -> str:
    told = [
        "complete" if found["complete"] else "with gaps",
        f"by {found['mode']}",
        counted(found["directories"], "directory"),
    ]
    if found["proved_s"] is not None:
        told.append(f"proved {found['proved_s']:.0f} s ago")
    told += [counted(found[name], noun) for name, noun in _COUNTED.items() if found[name]]
    return " · ".join(told)


def _on_one_line(text: object) -> str:
    return shown("; ".join(part.strip() for part in str(text).splitlines()))


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
