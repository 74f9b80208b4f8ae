"""The first half of a push, with the same guards; touches nothing, not even a control directory."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping

from atomsync.errors import DiskError
from atomsync.fs.cursor import Cursor
from atomsync.fs.roots import is_dir
from atomsync.plan.guards import check_mounts, check_names
from atomsync.plan.plan import normal_form
from atomsync.store.access import open_control
from atomsync.store.control import UNIT, Control
from atomsync.store.copying import Source
from atomsync.store.prepared import check_not_held, some_are_undecided
from atomsync.store.recovery import CLEAN, UNFINISHED, Recovery
from atomsync.store.rows import Rows
from atomsync.store.store import BaseStore
from atomsync.sync.compare import Comparer, Comparison
from atomsync.sync.drift import KEEP, Reckoned, reckoned
from atomsync.sync.known import about, check_known
from atomsync.sync.origin import opened_root
from atomsync.sync.phases import Phases
from atomsync.sync.report import Report
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.settle import check_taken
from atomsync.tree.entry import Entry


class _Nothing:
    """What is known of a destination whose manifest cannot be read, or that has none."""

    time_step_ns, since_ns, is_whole = 1, 0, False

    def racy(self) -> dict[str, str]:
        return {}

    def entries(self, paths: Iterable[str]) -> dict[str, Entry]:
        return {}

    def roots(self, source: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
        return None


def dry_run(
    source: str,
    origin: Source,
    store: BaseStore,
    rules: Rules,
    safety: Safety,
    phases: Phases,
    *,
    accept_roots: bool,
) -> Report:
    """What a push with these rules would do, and whether a guard would refuse it."""
    phases.phase("scan")
    disk, dst = store.disk, store.path
    recovery = Recovery(CLEAN)
    if not is_dir(dst):
        found = Comparer(origin.cursor, None, rules, {}, 0, phases).run()
        foretold = Reckoned(found, (), frozenset())
        name_max = os.statvfs(os.path.dirname(os.path.abspath(dst))).f_namemax
        plan = normal_form(found.changes)
    else:
        with (
            opened_root(disk, dst) as root,
            Cursor(disk, root) as tree,
            _control(store) as control,
            _known(control) as known,
        ):
            if control is not None and (control.has(UNIT) or some_are_undecided(control, {}, asked=False)):
                recovery = Recovery(UNFINISHED, "", "a push would recover it first, then compare")
            if not accept_roots:
                safety = safety._replace(lost=check_known(known, about(source, origin.root, root), dst))
            step = rules.ownership._replace(time_step_ns=known.time_step_ns)
            rules = rules._replace(ownership=step)

            def compare(kept: frozenset[str]) -> Comparison:
                scope = rules._replace(skipped=rules.skipped | kept)
                second = functools.partial(origin.second, disk)
                racy, now_ns = known.racy(), time.time_ns()
                return Comparer(origin.cursor, tree, scope, racy, now_ns, phases, second=second).run()

            foretold = reckoned(compare, known, safety.on_drift)
            plan = normal_form(foretold.found.changes)
            if control is not None:
                check_not_held(control, plan.steps, {}, dry=True)
            name_max = disk.space(root).name_max
    found = foretold.found
    check_taken(origin, found, rules, safety)
    check_names(plan.steps, name_max)
    check_mounts(plan.steps, store.mounts())
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
        drifted=foretold.drifted,
        kept=safety.on_drift == KEEP,
    )


@contextlib.contextmanager
def _control(store: BaseStore) -> Iterator[Control | None]:
    control = open_control(store.disk, store.path, store.options.state_dir, make=False)
    if control is None:
        yield None
        return
    with contextlib.closing(control):
        control.claim(make=False)
        yield control


@contextlib.contextmanager
def _known(control: Control | None) -> Iterator[Rows | _Nothing]:
    try:
        rows = Rows(control) if control is not None else None
    except DiskError:
        rows = None
    if rows is None:
        yield _Nothing()
        return
    with rows:
        yield rows
