"""``push``: DST comes to hold the contents of SRC, in one unit of work."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable

from atomsync.fs.posix import PosixDisk
from atomsync.plan.change import Change
from atomsync.plan.limit import limit_of
from atomsync.store.options import KEEP_UNITS
from atomsync.store.progress import Progress
from atomsync.store.store import BaseStore
from atomsync.sync.drift import OVERWRITE
from atomsync.sync.hooks import TIMEOUT_S, Hooks, Place, check_hooks, listeners, run_after
from atomsync.sync.known import about, check_known, check_store
from atomsync.sync.origin import attributes, opened_source, ownership
from atomsync.sync.phases import Phases
from atomsync.sync.report import Report
from atomsync.sync.roots import check_roots
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.settle import FAIL, Settled, settle
from atomsync.sync.touch import check_touch
from atomsync.tree.filters import Filters
from atomsync.tree.path import upwards
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork


def push(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    delete: bool = False,
    dry_run: bool = False,
    checksum: bool = False,
    filters: Filters | None = None,
    one_file_system: bool = False,
    archive: bool = False,
    hard_links: bool = False,
    xattrs: bool = False,
    acls: bool = False,
    on_unstable: str = FAIL,
    durability: str = "full",
    verify: str = "readback",
    state_dir: str | os.PathLike[str] | None = None,
    keep: int = KEEP_UNITS,
    keep_bytes: int | None = None,
    message: str = "",
    last: Iterable[str] = (),
    max_delete: int | str | None = None,
    on_drift: str = OVERWRITE,
    accept_roots: bool = False,
    expect_store: bool = False,
    check: str = "",
    after: str = "",
    undo_on_failure: bool = False,
    hook_timeout: float = TIMEOUT_S,
    touch: str = "",
    progress: Progress | None = None,
    agreed: Callable[[Iterable[Change]], None] | None = None,
) -> Report:
    """Make ``destination`` hold the contents of ``source``, all or nothing.

    ``archive``, ``hard_links``, ``xattrs`` and ``acls`` are those of the command (docs/fidelity.md).
    Without ``delete`` nothing is removed, and with it no more than ``max_delete``: 100, "20%", or by default
    ten and half of what is there. ``on_drift``: "overwrite", "refuse" or "keep" what somebody else
    changed there since the last unit. ``last``: patterns of what becomes visible after what it refers to.
    SRC and DST must stand where the last unit saw them, unless ``accept_roots``; ``expect_store``: there must
    have been one. ``check`` and ``after`` are commands for the shell, which may take ``hook_timeout`` seconds
    each, ``touch`` is a file of the destination to be written last (docs/hooks.md). ``agreed`` is shown the
    changes before anything is staged (see ``Safety``). Raises the members of ``errors.AtomSyncError``;
    whatever it raises but InDoubt and AfterFailed, the destination is as it was.
    """
    src, dst = os.fspath(source), os.fspath(destination)
    state = None if state_dir is None else os.fspath(state_dir)
    check_roots(src, dst, state)
    progress = progress or Progress()
    hooks, place = Hooks(check, after, hook_timeout, undo_on_failure), Place.of(src, dst)
    check_hooks(hooks, keep)
    phases = Phases(progress)
    disk = PosixDisk()
    check_touch(touch)
    rules = Rules(
        (filters or Filters()).anew(),
        ownership(),
        delete,
        checksum,
        one_file_system,
        touch=touch,
        hard_links=hard_links,
        attributes=attributes(acls=acls, xattrs=xattrs),
        specials=archive,
    )
    safety = Safety(limit_of(max_delete), on_drift, agreed, even_all=max_delete is not None).checked()
    order = later(last)
    with opened_source(disk, src) as origin:
        store = open_store(
            dst,
            durability=durability,
            verify=verify,
            keep=keep,
            keep_bytes=keep_bytes,
            state_dir=state,
            timeout=0,
        )
        if expect_store:
            check_store(store)
        if dry_run:
            from atomsync.sync.dry_run import dry_run as foretell

            return foretell(src, origin, store, rules, safety, phases, accept_roots=accept_roots)
        with UnitOfWork(
            store,
            source=origin,
            message=message,
            progress=phases,
            exclusive=True,
            last=order,
            listeners=listeners(hooks, place, phases),
        ) as unit:
            unit.about = about(src, origin.root, unit.session.control.root)
            if not accept_roots:
                safety = safety._replace(lost=check_known(unit.session.manifest, unit.about, dst))
            report = committed(unit, settle(unit, origin, rules, on_unstable, phases, safety), phases)
    report = followed(report, hooks, place, store, progress)
    if report.failed is not None:
        report.failed.report = report
        raise report.failed
    return report


def later(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    """Whether a path matches one of these gitignore patterns; None if there are none."""
    filters = Filters(patterns, option="--last")
    return functools.partial(_matches, filters) if filters.active else None


def _matches(filters: Filters, path: str) -> bool:
    """Of a path it is not known what it is; all that is in a directory that matches does, as for git."""
    return filters.excludes(path, is_dir=False) or any(
        filters.excludes(above, is_dir=True) for above in upwards(path) if above
    )


def followed(report: Report, hooks: Hooks, place: Place, store: BaseStore, progress: Progress) -> Report:
    """The very end of a push: the command after the commit, if anything was committed."""
    receipt = report.receipt
    if not hooks.after or receipt is None or not receipt.unit_id:
        return report
    return report._replace(failed=run_after(hooks, place, store, receipt, report.changes, progress))


def committed(unit: UnitOfWork, settled: Settled, phases: Phases) -> Report:
    """The last half of a push: ``unit`` holds what was settled."""
    found, skipped, drifted, kept = settled
    recovery = unit.session.recovery
    receipt = unit.commit()
    phases.finish()
    return Report(
        receipt,
        found.all,
        found.unchanged,
        found.left_out,
        skipped,
        recovery,
        phases.seconds,
        phases.ms,
        tuple(found.restless),
        found.left,
        drifted,
        kept,
    )
