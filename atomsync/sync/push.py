"""``push``: DST comes to hold the contents of SRC, in one unit of work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from atomsync.errors import from_oserror
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
from atomsync.store.copying import Source
from atomsync.store.options import KEEP_UNITS
from atomsync.store.prepared import check_not_held, some_are_undecided
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, UNFINISHED, Recovery
from atomsync.sync.compare import Comparer, Rules
from atomsync.sync.phases import Phases
from atomsync.sync.roots import check_roots
from atomsync.sync.settle import FAIL, Settled, settle
from atomsync.tree.attributes import families
from atomsync.tree.diff import Ownership
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork


class Report(NamedTuple):
    """What a push did, or with ``dry_run`` would do (then ``receipt`` is None).

    ``left_out``: special files, path → kind. ``skipped``: paths left as they are because they kept
    changing. ``seconds`` is wall time, ``phases_ms`` what of it each phase took. Of a push that was
    told where to look, ``restless`` are the files left alone because they changed so lately, and ``left``
    the looks for which it had no room.
    """

    receipt: Receipt | None
    changes: tuple[Change, ...]
    unchanged: int
    left_out: dict[str, str]
    skipped: tuple[str, ...]
    recovery: Recovery
    seconds: float
    phases_ms: dict[str, float]
    restless: tuple[str, ...] = ()
    left: Mapping[str, int] = MappingProxyType({})


def push(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    delete: bool = False,
    dry_run: bool = False,
    checksum: bool = False,
    filters: Filters | None = None,
    one_file_system: bool = False,
    specials: bool = False,
    hard_links: bool = False,
    xattrs: bool = False,
    acls: bool = False,
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
    rules = Rules((filters or Filters()).anew(), ownership(), delete, checksum, one_file_system)
    rules = rules._replace(
        hard_links=hard_links, attributes=attributes(acls=acls, xattrs=xattrs), specials=specials
    )
    with opened_source(disk, src) as origin:
        if dry_run:
            return _dry_run(disk, origin, dst, state, rules, phases)
        store = open_store(dst, durability=durability, verify=verify, keep=keep, state_dir=state, timeout=0)
        with UnitOfWork(store, source=origin, message=message, progress=phases, exclusive=True) as unit:
            return committed(unit, settle(unit, origin, rules, on_unstable, phases), phases)


def committed(unit: UnitOfWork, settled: Settled, phases: Phases) -> Report:
    """The last half of a push: ``unit`` holds what was settled."""
    found, skipped = settled
    recovery = unit.session.recovery
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
        tuple(found.restless),
        found.left,
    )


def _dry_run(disk: Disk, origin: Source, dst: str, state: str | None, rules: Rules, phases: Phases) -> Report:
    """The first half of a push, with the same guards; touches nothing, not even a control directory."""
    phases.phase("scan")
    recovery = Recovery(CLEAN)
    if is_dir(dst):
        control = open_control(disk, dst, state, make=False)
        if control is not None:
            with contextlib.closing(control):
                control.claim(make=False)
                if control.has(UNIT) or some_are_undecided(control, {}, asked=False):
                    recovery = Recovery(UNFINISHED, "", "a push would recover it first, then compare")
        with _opened(disk, dst) as root, Cursor(disk, root) as tree:
            found = Comparer(origin.cursor, tree, rules, {}, 0, phases).run()
            name_max = disk.space(root).name_max
    else:
        found = Comparer(origin.cursor, None, rules, {}, 0, phases).run()
        name_max = os.statvfs(os.path.dirname(os.path.abspath(dst))).f_namemax
    plan = normal_form(found.changes)
    if is_dir(dst) and (control := open_control(disk, dst, state, make=False)) is not None:
        with contextlib.closing(control):
            check_not_held(control, plan.steps, {}, dry=True)
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
def opened_source(disk: Disk, path: str) -> Iterator[Source]:
    """The source tree, open for the time of a ``with``."""
    with _opened(disk, path) as root, Cursor(disk, root) as cursor:
        yield Source(disk, root, cursor)


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


def attributes(*, acls: bool, xattrs: bool) -> str:
    """The families of extended attributes that count, being who we are."""
    return families(acls=acls, xattrs=xattrs, root=os.geteuid() == 0)


def ownership() -> Ownership:
    """What we may set, being who we are."""
    return Ownership(os.geteuid() == 0, os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))
