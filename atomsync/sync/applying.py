"""``push -n --save-plan`` and ``apply``: a plan saved, and carried out exactly so or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from atomsync.errors import PlanMoved
from atomsync.fs.roots import is_dir
from atomsync.store.progress import Progress
from atomsync.sync.push import push
from atomsync.sync.report import Report
from atomsync.sync.saved import MAKE_ANEW, OPTIONS, SavedPlan
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown


def plan_of(
    report: Report,
    source: str,
    destination: str,
    patterns: Sequence[str],
    *,
    gitignore: bool,
    options: Mapping[str, Any],
) -> SavedPlan:
    """What a dry run with these ``options`` (more than ``saved.OPTIONS`` are ignored) found to be done."""
    state = options["state_dir"]
    kept = {
        **{name: options[name] for name in OPTIONS},
        "state_dir": None if state is None else os.path.abspath(state),
    }
    places = os.path.abspath(source), os.path.abspath(destination)
    there = is_dir(destination)
    return SavedPlan(*places, there, time.time_ns(), tuple(patterns), gitignore, kept, tuple(report.changes))


def apply(plan: SavedPlan, *, progress: Progress | None = None, **hooks: Any) -> Report:
    """Do what ``plan`` says, all or nothing, with the ``hooks`` of ``push``: a plan names no commands. Raises
    PlanMoved, with nothing touched, if that is not what a push would do now; and as ``push`` does."""
    if is_dir(plan.destination) != plan.there:
        what = "is not there any more" if plan.there else "was made since"
        raise PlanMoved(
            "the plan does not hold any more",
            f"{shown(plan.destination)} {what}",
            MAKE_ANEW,
        )
    filters = Filters(plan.patterns, gitignore=plan.gitignore)
    return push(
        plan.source,
        plan.destination,
        filters=filters,
        progress=progress,
        agreed=plan.agree,
        **plan.options,
        **hooks,
    )
