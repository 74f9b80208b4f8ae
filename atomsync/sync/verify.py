"""``verify``: a destination read again, and compared with what was last committed there.

Both are gone through side by side, in the order of paths: memory is bounded by what is found wrong.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from atomsync.errors import AtomSyncError, Interrupted
from atomsync.store.progress import Progress
from atomsync.store.rows import Known
from atomsync.sync import position
from atomsync.sync.adopting import Adopter
from atomsync.sync.examine import DYING, Examiner
from atomsync.sync.judging import CLOSED, RESTLESS, ROT, Finding, drift_of, is_judged_by_content
from atomsync.sync.position import Position, Tally
from atomsync.sync.repair import Repair
from atomsync.tree.entry import DIR, FILE, Entry
from atomsync.tree.filters import Filters
from atomsync.tree.ordered import in_order
from atomsync.tree.path import ancestors, shown

NOT_READ, NO_DIGEST, UNKNOWN = "not read", "no digest", "unknown"
_SAVED_S = 5.0


class Verification(NamedTuple):
    """``findings`` in the order of their paths; ``tally``: what was looked at, before an interruption too.
    ``resumed``: the path behind which it went on, None if it began at the start."""

    findings: tuple[Finding, ...]
    tally: Tally
    resumed: str | None
    seconds: float


def mended(examiner: Examiner, found: Verification, repair: Repair) -> Verification:
    """The same after a repair: each finding looked at once more."""
    try:
        return found._replace(findings=tuple(_once_more(examiner, found.findings)))
    except Interrupted as error:
        if repair.receipt is None:
            raise
        why = f"unit {repair.receipt.unit_id} was sealed by then, so it was finished"
        raise Interrupted(error.what, why, "What is still wrong: atomsync verify DST") from None


def _once_more(examiner: Examiner, findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is still to be said of them now. Below a closed directory nobody has looked, whatever it is."""
    for finding in findings:
        is_closed = finding.verdict == CLOSED and finding.known is None
        if (now := finding if is_closed else examiner.judge(finding.path)) is not None:
            yield now


class Verifier:
    """``told`` hears of each path that is not judged, and why: NOT_READ (the sample left it out), NO_DIGEST,
    or UNKNOWN (the manifest cannot tell whether it is new)."""

    def __init__(
        self,
        examiner: Examiner,
        filters: Filters,
        percent: float,
        progress: Progress,
        told: Callable[[str, str], None],
        adopter: Adopter | None = None,
    ) -> None:
        """``percent``: of the files, picked at random, so many are read. ``adopter`` is handed what cannot be
        judged for want of knowledge."""
        self._examiner, self._filters, self._percent = examiner, filters, percent
        self._progress, self._told, self._adopter = progress, told, adopter
        self._control, self._rows = examiner.control, examiner.rows
        self._whole = self._rows.is_whole
        self._excluded: dict[str, bool] = {}

    def run(self, *, resume: bool = False) -> Verification:
        """Whatever it raises (Interrupted, say), its position is kept, and ``resume`` goes on there."""
        began = time.perf_counter()
        before = position.load(self._control) if resume else None
        self._before = before.tally if before else Tally()
        self._counts = self._before._asdict()
        self._findings = [*(before.findings if before else ())]
        self._partial = self._filters.active or bool(before and before.partial)
        after = before.after if before else ""
        self._progress.phase("verify", *self._rows.size())
        self._progress.advance(self._before.files, self._before.bytes)
        saved = time.monotonic()
        try:
            self._findings = [*_once_more(self._examiner, self._findings)]  # units may have mended them
            for path, known, found in self._pairs(os.fsencode(after)):
                self._progress.check()
                if known is None and not self._whole and self._rows.at(path) is None:
                    self._pass_over(path, found, UNKNOWN)
                else:
                    self._judge(path, known, found)
                    self._counts["paths"] += 1
                after = path
                if time.monotonic() - saved > _SAVED_S:
                    self._write_down()
                    position.save(self._control, self._position(after))
                    saved = time.monotonic()
            self._write_down()
            if self._adopter is not None and not (self._whole or self._partial or self._some_are_unknown()):
                self._adopter.write(whole=True)
        except Interrupted:
            self._write_down(patient=False)
            position.save(self._control, self._position(after))
            raise Interrupted(
                f"stopped by {self._progress.stopping}",
                f"verified up to {shown(after)}" if after else "nothing was verified yet",
                "Go on from there: atomsync verify --resume DST",
            ) from None
        except AtomSyncError:
            if self._adopter is not None:
                self._adopter.forget()
            position.save(self._control, self._position(after))
            raise
        position.forget(self._control)
        return Verification(
            tuple(self._findings),
            self._tally(),
            before.after if before else None,
            time.perf_counter() - began,
        )

    def _tally(self) -> Tally:
        read = {
            name: getattr(self._before, name) + getattr(self._examiner, name) for name in ("files", "bytes")
        }
        if self._adopter is not None:
            read["adopted"] = self._before.adopted + self._adopter.adopted
            read["unknown"] = self._counts["unknown"] + self._adopter.lost
        return Tally(**{**self._counts, **read})

    def _position(self, after: str) -> Position:
        return Position(after, self._partial, self._tally(), tuple(self._findings))

    def _pairs(self, after: bytes) -> Iterator[tuple[str, Known | None, Entry | None]]:
        """Both sides of every path in scope, in order."""
        rows = (known for known in self._rows.all_after(after) if not self._is_out(known))
        there = in_order(self._control.tree, after, self._leaves_out, self._unreadable)
        known, found = next(rows, None), next(there, None)
        while known is not None or found is not None:
            key = None if known is None else os.fsencode(known.path)
            if found is None or (key is not None and key < found[0]):
                assert known is not None
                yield known.path, known, None
                known = next(rows, None)
            elif key is None or found[0] < key:
                yield found[1], None, found[2]
                found = next(there, None)
            else:
                yield found[1], known, found[2]
                known, found = next(rows, None), next(there, None)

    def _leaves_out(self, path: str, entry: Entry) -> bool:
        return self._filters.excludes(path, is_dir=entry.kind == DIR)

    def _is_out(self, known: Known) -> bool:
        """Whether a path of the manifest, or a directory above it, is excluded."""
        if not self._filters.active:
            return False
        for above in reversed(ancestors(known.path)):
            if above not in self._excluded:
                self._excluded[above] = self._filters.excludes(above, is_dir=True)
            if self._excluded[above]:
                return True
        return self._filters.excludes(known.path, is_dir=known.entry.kind == DIR)

    def _unreadable(self, path: str, error: OSError) -> None:
        if error.errno not in DYING:  # then each path below shows it
            self._findings.append(Finding(CLOSED, path, (), None, None, error.strerror or str(error)))

    def _judge(self, path: str, known: Known | None, found: Entry | None) -> None:
        reads = self._is_sampled()
        if known is not None and found is not None:
            if is_judged_by_content(known, found):
                if not reads:
                    self._skip(path, NOT_READ)
                elif self._is_as_known(path, known):
                    self._examiner.files += 1
                    return
            elif known.entry.kind == FILE == found.kind and not known.entry.digest:
                if not drift_of(known.entry, found):
                    self._pass_over(path, found, NO_DIGEST)
                else:
                    self._skip(path, NO_DIGEST)
            if not drift_of(known.entry, found) and not (reads and is_judged_by_content(known, found)):
                return
        finding = self._examiner.judge(path, reads=reads)
        if finding is not None:
            self._findings.append(finding)

    def _is_sampled(self) -> bool:
        return self._percent >= 100 or random.random() * 100 < self._percent

    def _pass_over(self, path: str, found: Entry | None, why: str) -> None:
        """Of what the manifest knows too little; the adopter makes it known."""
        if self._adopter is not None and found is not None and self._is_sampled():
            if found.kind != FILE:
                self._adopter.take(path, found)
                return
            with contextlib.suppress(OSError):
                read = self._examiner.read(path)
                if read is not None and read[1]:
                    self._adopter.take(path, read[0]._replace(digest=read[1]))
                    return
        self._skip(path, why)

    def _some_are_unknown(self) -> bool:
        return bool(self._tally().unknown) or any(
            finding.verdict in (CLOSED, RESTLESS) for finding in self._findings
        )

    def _write_down(self, *, patient: bool = True) -> None:
        if self._adopter is not None:
            self._adopter.write(patient=patient)

    def _skip(self, path: str, why: str) -> None:
        self._counts[why.replace(" ", "_")] += 1
        self._told(path, why)

    def _is_as_known(self, path: str, known: Known) -> bool:
        with contextlib.suppress(OSError):  # it is looked at again
            read = self._examiner.read(path)
            return read is not None and read[1] == known.entry.digest and not drift_of(known.entry, read[0])
        return False


def exit_status_of(found: Verification) -> int:
    """42: rot. 41: drift, missing or extra paths, but no rot. 13: something may not be read. Else 0."""
    verdicts = {finding.verdict for finding in found.findings}
    if ROT in verdicts:
        return 42
    if verdicts - {CLOSED, RESTLESS}:
        return 41
    return 13 if CLOSED in verdicts else 0


def counts_of(found: Verification) -> dict[str, int]:
    """Verdict → how many paths."""
    counts: dict[str, int] = {}
    for finding in found.findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    return counts
