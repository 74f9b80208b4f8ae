"""What a person reads of differences, of what a verification found, and of its repair."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from atomsync.cli.render import counted, size
from atomsync.sync.difference import Differences
from atomsync.sync.judging import EXTRA, MISSING, VERDICTS, Finding
from atomsync.sync.repair import Repair
from atomsync.sync.verify import Verification, counts_of
from atomsync.tree.entry import DIR, Entry
from atomsync.tree.path import parent_of, shown

_TELLING_BYTES = 1_000_000  # of fewer, a rate tells nothing


def differences(found: Differences) -> Iterator[str]:
    """One line for each path."""
    for path, source, destination, differs in found.found:
        entry = source or destination
        assert entry is not None
        where = "differs    " if source and destination else "only in SRC" if source else "only in DST"
        yield f"{where}  {_named(path, entry)}{_details(differs, destination, source)}"


def verification(found: Verification) -> Iterator[str]:
    """A line for each finding, but for what is below a directory that went or came; then the sum."""
    if found.resumed is not None:
        yield f"went on behind {shown(found.resumed)}"
    whole: dict[str, set[str]] = {MISSING: set(), EXTRA: set()}
    for finding in found.findings:
        gone = whole.get(finding.verdict)
        if gone is not None:
            if finding.kind == DIR:
                gone.add(finding.path)
            if parent_of(finding.path) in gone:
                continue
        yield f"{finding.verdict:<8}  {_finding(finding)}"
    yield from _sum(found)


def repair(done: Repair, after: Verification) -> Iterator[str]:
    """What a repair did; ``after``: what is wrong now."""
    for path in done.repaired:
        yield f"repaired  {shown(path)}"
    for path, why in sorted(done.left.items()):
        yield f"left      {shown(path)}: {why}"
    counts = counts_of(after)
    still = " · ".join(f"{verdict} {counts[verdict]:,}" for verdict in VERDICTS if verdict in counts)
    unit = f" · unit {done.receipt.unit_id}" if done.receipt else ""
    yield f"repaired {len(done.repaired):,} · left {len(done.left):,}{unit} · now: {still or 'nothing wrong'}"


def not_judged(path: str, why: str) -> str:
    return f"{why:<9} {shown(path)}"


def _finding(finding: Finding) -> str:
    entry = finding.known or finding.found
    name = _named(finding.path, entry) if entry else shown(finding.path or ".")
    return (
        name
        + _details(finding.differs, finding.known, finding.found)
        + (f": {finding.note}" if finding.note else "")
    )


def _sum(found: Verification) -> Iterator[str]:
    tally, counts = found.tally, counts_of(found)
    for count, what in (
        (tally.not_read, "not read, as --sample said"),
        (tally.no_digest, "of which no digest is known: only size, time and attributes were compared"),
        (
            tally.unknown,
            "of which it is not known whether they are new: the manifest was lost, or began late",
        ),
    ):
        if count:
            yield f"not judged: {counted(count, 'path')} {what}"
    if tally.adopted:
        yield f"adopted: {counted(tally.adopted, 'path')} as it is now"
    verdicts = " · ".join(f"{verdict} {counts[verdict]:,}" for verdict in VERDICTS if verdict in counts)
    rate = (
        f" ({size(int(tally.bytes / found.seconds))}/s)"
        if tally.bytes > _TELLING_BYTES and found.resumed is None
        else ""
    )
    guessed = tally.not_read or tally.no_digest or tally.unknown
    well = "nothing wrong was found" if guessed else "all is as it was committed"
    yield (
        f"{verdicts or well} · {counted(tally.paths, 'path')} compared"
        f" · {counted(tally.files, 'file')} read, {size(tally.bytes)} in {found.seconds:.2f} s{rate}"
    )


def _named(path: str, entry: Entry) -> str:
    return shown(path or ".") + ("/" if entry.kind == DIR and path else "")


def _details(words: Iterable[str], before: Entry | None, after: Entry | None) -> str:
    """In what two entries differ, in brackets: ``before`` → ``after``."""
    if before is None or after is None:
        return ""
    found = ", ".join(_detail(word, before, after) for word in words)
    return f" ({found})" if found else ""


def _detail(word: str, before: Entry, after: Entry) -> str:
    if word == "kind":
        return f"{before.kind} → {after.kind}"
    if word == "size":
        return f"size {before.size:,} → {after.size:,}"
    if word == "time":
        return f"time {_clock(before.mtime_ns)} → {_clock(after.mtime_ns)}"
    if word == "target":
        return f"target {shown(before.target)} → {shown(after.target)}"
    if word == "mode":
        return f"mode {before.mode:04o} → {after.mode:04o}"
    if word == "owner":
        return f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}"
    return word


def _clock(time_ns: int) -> str:
    """To the second; with all digits where there are more."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"
    return f"{text}.{rest:09d}" if rest else text
