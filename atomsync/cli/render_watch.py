"""What a person reads of a watch: what it tells, and how it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from atomsync.cli.render import changes, counted, notices, size, some, summary
from atomsync.cli.render_progress import line as progress_line
from atomsync.follow.watching import SYNCING, Coverage, WatchStatus
from atomsync.store.progress import Done
from atomsync.sync.report import Report
from atomsync.tree.path import shown

_EVENTS = {"held": "still being written, held back", "missed": "found by a rescan, no event had told of them"}
_COUNTED = {
    "overflows": "overflow",
    "reattached": "re-attachment",
    "rescans": "rescan",
    "missed": "missed change",
}


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
