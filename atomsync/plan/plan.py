"""The changes of one unit in normal form: an antichain of steps.

No step's path lies below another's. So the steps commute: whatever subset of them a crash leaves
done, in whatever order it became durable, each can be undone by looking at its own path alone.
Metadata steps (of directories in which others happen) stand apart and come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from atomsync.plan.change import Change
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Members, Step
from atomsync.tree.entry import DIR, Entry
from atomsync.tree.graft import Graft
from atomsync.tree.path import parent_of

_LAST = "last"


class Plan(NamedTuple):
    """``steps`` in the order of the mixed window: creations, replacements, those of both that are to come
    last, removals, then metadata; so a reference appears after what it refers to. Of each kind those of
    one directory stand together. ``parents`` are the directories that no change names but in which steps
    happen."""

    steps: tuple[Step, ...]
    parents: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


def normal_form(
    changes: Iterable[Change],
    last: Callable[[str], bool] | None = None,
    grafts: Mapping[str, Graft] = MappingProxyType({}),
) -> Plan:
    """The plan of ``changes``, of which each path occurs once, in any order. ``last``: whether a path is to
    become visible only when all others are there. ``grafts``: what enters below some of the paths, of which
    ``changes`` say nothing."""
    swaps: dict[str, list[Step]] = {CREATE: [], REPLACE: [], _LAST: [], REMOVE: []}
    metas: list[Step] = []
    # Directory → the lists of the step that takes it along. Sorted, parents come before children.
    carried: dict[str, tuple[list[tuple[str, Entry]], list[tuple[str, Entry]]]] = {}
    made: list[tuple[str, Change, list[tuple[str, Entry]], list[tuple[str, Entry]]]] = []

    for change in sorted(changes):
        path, old, new, content = change
        parent = path.rpartition("/")[0]
        carrier = carried.get(parent) if path else None
        if carrier is not None:
            if new is not None:
                carrier[0].append((path, new))
            if old is not None:
                carrier[1].append((path, old))
            carried[path] = carrier
        elif old is not None and new is not None and (not content or old.kind == DIR == new.kind):
            metas.append(Step(META, path, old, new))
        else:
            kind = CREATE if old is None else REMOVE if new is None else REPLACE
            carried[path] = carrier = ([], [])
            made.append((kind, change, *carrier))

    made.sort(key=lambda found: parent_of(found[1].path))  # what is in one directory is swapped in one go
    for kind, change, into, out in made:
        place = _LAST if last is not None and kind != REMOVE and last(change.path) else kind
        inside: Members = grafts.get(change.path) or tuple(into)
        swaps[place].append(Step(kind, change.path, change.old, change.new, inside, tuple(out)))
    named = {step.path for step in metas}
    parents = {parent_of(change.path) for _, change, _, _ in made}
    return Plan(
        (*swaps[CREATE], *swaps[REPLACE], *swaps[_LAST], *swaps[REMOVE], *metas),
        tuple(sorted(parents - named)),
    )


def put_last(plan: Plan, path: str) -> Plan:
    """The same plan with the step of ``path``, if it has one, behind all others: a swap behind the swaps,
    since directories get their times when all names are there."""
    moved = tuple(step for step in plan.steps if step.path == path)
    if not path or not moved:
        return plan
    others = [step for step in plan.steps if step.path != path]
    metas = tuple(step for step in others if step.kind == META)
    swaps = tuple(step for step in others if step.kind != META)
    return plan._replace(steps=swaps + metas + moved if moved[0].kind == META else swaps + moved + metas)
