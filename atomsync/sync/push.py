"""``push``: DST comes to hold the contents of SRC, in one unit of work."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from atomsync.errors import SourceUnstable, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.mounts import mounts_below
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir
from atomsync.plan.change import Change
from atomsync.plan.guards import check_displaced, check_mounts, check_names
from atomsync.plan.plan import normal_form
from atomsync.store.access import open_control
from atomsync.store.commit import Receipt
from atomsync.store.control import UNIT
from atomsync.store.copying import Source, digest_of, is_unchanged
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, UNFINISHED, Recovery
from atomsync.store.store import KEEP_UNITS, open_store
from atomsync.sync.compare import Comparer, Comparison, Rules
from atomsync.sync.phases import Phases
from atomsync.sync.roots import check_roots
from atomsync.tree.diff import Ownership
from atomsync.tree.entry import DIR, FILE
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown
from atomsync.tree.racy import COARSE_TICK_NS, TICK_NS, may_be_racy
from atomsync.unit.work import UnitOfWork

FAIL = "fail"  # the other way is "skip"
_TRIES = 4
_PAUSE_S = 0.1


class Report(NamedTuple):
    """What a push did, or with ``dry_run`` would do (then ``receipt`` is None).

    ``left_out``: special files, path → kind. ``skipped``: paths left as they are because they kept
    changing. ``seconds`` is wall time, ``phases_ms`` what of it each phase took.
    """

    receipt: Receipt | None
    changes: tuple[Change, ...]
    unchanged: int
    left_out: dict[str, str]
    skipped: tuple[str, ...]
    recovery: Recovery
    seconds: float
    phases_ms: dict[str, float]


def push(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    delete: bool = False,
    dry_run: bool = False,
    checksum: bool = False,
    filters: Filters | None = None,
    one_file_system: bool = False,
    on_unstable: str = FAIL,
    durability: str = "full",
    verify: str = "readback",
    state_dir: str | os.PathLike[str] | None = None,
    keep: int = KEEP_UNITS,
    message: str = "",
    progress: Progress | None = None,
) -> Report:
    """Make ``destination`` hold the contents of ``source``, all or nothing.

    Without ``delete`` nothing is removed. Raises the members of ``errors.AtomSyncError``; whatever it
    raises but InDoubt, the destination is as it was.
    """
    src, dst = os.fspath(source), os.fspath(destination)
    state = None if state_dir is None else os.fspath(state_dir)
    check_roots(src, dst, state)
    phases = Phases(progress or Progress())
    disk = PosixDisk()
    rules = Rules(filters or Filters(), _ownership(), delete, checksum, one_file_system)
    with _opened(disk, src) as root, Cursor(disk, root) as cursor:
        origin = Source(disk, root, cursor)
        if dry_run:
            return _dry_run(disk, origin, dst, state, rules, phases)
        store = open_store(dst, durability=durability, verify=verify, keep=keep, state_dir=state)
        with UnitOfWork(store, source=origin, message=message, progress=phases) as unit:
            recovery = unit.session.recovery
            found, skipped = _settle(unit, origin, rules, on_unstable, phases)
            receipt = unit.commit()
    phases.finish()
    return Report(
        receipt,
        tuple(found.changes),
        found.unchanged,
        found.left_out,
        skipped,
        recovery,
        phases.seconds,
        phases.ms,
    )


def _settle(
    unit: UnitOfWork, origin: Source, rules: Rules, on_unstable: str, phases: Phases
) -> tuple[Comparison, tuple[str, ...]]:
    """Compare and stage until every member of the unit was seen unchanged after the last was staged.

    A source that moves is compared again; what is staged and still fits stays staged.
    """
    tolerated: set[str] = set()
    for attempt in range(1, 3 * _TRIES):
        phases.phase("scan")
        session = unit.session
        began_ns = time.time_ns()
        step_ns = session.manifest.time_step_ns
        rules = rules._replace(ownership=rules.ownership._replace(time_step_ns=step_ns))
        racy = session.manifest.racy()
        found = Comparer(origin.cursor, session.control.tree, rules, racy, began_ns, phases).run()
        if found.settled:
            session.manifest.settle(found.settled)
        check_displaced(found.changes, found.protected, delete=rules.delete)
        unit.expunge_all()
        for change in found.changes:
            unit.register(change)
        unit.flush()
        phases.phase("check")
        young = _torn_within_a_tick(unit, origin, found, began_ns, phases)
        unit.checked_ns = time.time_ns()
        unstable = {*young, *found.unstable, *unit.unstable, *_moved(origin, found, phases)} - tolerated
        if not unstable:
            return found, tuple(sorted({*rules.skipped, *tolerated}))
        if attempt >= _TRIES:
            if on_unstable == FAIL or attempt == 3 * _TRIES - 1:
                raise _unstable(unstable)
            directories = {change.path for change in found.changes if change.new and change.new.kind == DIR}
            directories |= {path for path, _ in found.scanned}
            tolerated |= unstable & directories  # taken as they were read; each member is checked itself
            rules = rules._replace(skipped=rules.skipped | (unstable - directories))
        else:
            time.sleep(_PAUSE_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def _torn_within_a_tick(
    unit: UnitOfWork, origin: Source, found: Comparison, began_ns: int, progress: Progress
) -> list[str]:
    """Files changed so shortly before they were copied that a change meanwhile need not show in their
    times. Waits until their tick is over, and reads them once more; what differs is staged again."""
    young = [
        (change.path, change.new)
        for change in found.changes
        if change.new is not None
        and change.new.kind == FILE
        and change.content
        and may_be_racy(change.new.ctime_ns, began_ns)
    ]
    if not young:
        return []
    # A stamp from the future (a clock set back) is never over: wait a tick at most.
    over_ns = time.time_ns() + COARSE_TICK_NS
    while any(may_be_racy(entry.ctime_ns, now := time.time_ns()) and now < over_ns for _, entry in young):
        progress.check()
        time.sleep(TICK_NS / 1e9)
    torn = [path for path, _ in young if digest_of(origin, path) != unit.session.stage.digest_of(path)]
    for path in torn:
        unit.session.stage.forget(path)
    return torn


def _moved(origin: Source, found: Comparison, progress: Progress) -> Iterator[str]:
    origin.cursor.close()  # walk anew: a directory on the way may have been replaced since
    for change in found.changes:
        if change.new is not None and not is_unchanged(origin, change.path, change.new):
            yield change.path
    if any(change.new is None for change in found.changes):
        for path, entry in found.scanned:
            if not is_unchanged(origin, path, entry):
                yield path
    progress.check()


def _dry_run(disk: Disk, origin: Source, dst: str, state: str | None, rules: Rules, phases: Phases) -> Report:
    """The first half of a push, with the same guards; touches nothing, not even a control directory."""
    phases.phase("scan")
    recovery = Recovery(CLEAN)
    if is_dir(dst):
        control = open_control(disk, dst, state, make=False)
        if control is not None:
            try:
                control.claim(make=False)
                if control.has(UNIT):
                    recovery = Recovery(UNFINISHED, "", "a push would recover it first, then compare")
            finally:
                control.close()
        with _opened(disk, dst) as root, Cursor(disk, root) as tree:
            found = Comparer(origin.cursor, tree, rules, {}, 0, phases).run()
            name_max = disk.space(root).name_max
    else:
        found = Comparer(origin.cursor, None, rules, {}, 0, phases).run()
        name_max = os.statvfs(os.path.dirname(os.path.abspath(dst))).f_namemax
    plan = normal_form(found.changes)
    check_displaced(found.changes, found.protected, delete=rules.delete)
    check_names(plan.steps, name_max)
    check_mounts(plan.steps, mounts_below(dst))
    phases.finish()
    return Report(
        None,
        tuple(found.changes),
        found.unchanged,
        found.left_out,
        (),
        recovery,
        phases.seconds,
        phases.ms,
    )


@contextlib.contextmanager
def _opened(disk: Disk, path: str) -> Iterator[int]:
    try:
        fd = disk.open_root(path)
    except OSError as error:
        raise from_oserror(error, f"cannot open {shown(path)}") from None
    try:
        yield fd
    finally:
        disk.close(fd)


def _ownership() -> Ownership:
    return Ownership(os.geteuid() == 0, os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))


def _unstable(paths: Collection[str]) -> SourceUnstable:
    first = sorted(paths)[:10]
    more = f" and {len(paths) - 10:,} more" if len(paths) > 10 else ""
    return SourceUnstable(
        "the source kept changing while it was staged",
        ", ".join(shown(path or ".") for path in first) + more,
        "Nothing was committed. Run it when the writer rests, or leave these out: --on-unstable skip",
    )
