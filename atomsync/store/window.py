"""The mixed window, made ready before it opens.

From the first swap to the last a reader may see new files beside old ones. So nothing is left for it that
can be done ahead: steps that follow each other in one directory are a run, which takes one look-up of the
directory, with the names of its files as bytes. Then a rename costs what the system takes for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from atomsync.fs.capabilities import Capabilities
from atomsync.fs.cursor import Cursor
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store.swapping import move_all, swap_all
from atomsync.tree.entry import DIR
from atomsync.tree.path import parent_of


class Run(NamedTuple):
    """Steps of one kind in one directory; a META step, or one by which a directory replaces something, is a
    run of its own. ``names``: for each what trades places, encoded; the slot comes first, unless its kind
    is REMOVE. A META step has none."""

    kind: str
    directory: str
    steps: tuple[Step, ...]
    names: tuple[tuple[bytes, bytes], ...]

    def path_at(self, names: Iterator[tuple[bytes, bytes]]) -> str:
        """The path of the step that failed, of what it has left of an iterator over ``names``."""
        done = len(self.names) - sum(1 for _ in names)
        return self.steps[max(done - 1, 0)].path


def runs_of(steps: Iterable[Step]) -> list[Run]:
    """All of them, in their order."""
    return [_run(kind, parent, tuple(run)) for (kind, parent, _), run in groupby(steps, _place)]


def swap_run(
    tree: Cursor, able: Capabilities, slots: int, run: Run, names: Iterator[tuple[bytes, bytes]]
) -> None:
    """Carry out a run of swaps. ``names`` is an iterator over its names, of which what fails was the last
    to be taken. Raises OSError."""
    disk, at = tree.disk, tree.at(run.directory)
    if run.kind == CREATE:
        move_all(disk, able, slots, at, names)
    elif run.kind == REMOVE:
        move_all(disk, able, at, slots, names)
    else:
        swap_all(disk, able, slots, at, names)
        new = run.steps[-1].new
        if new is not None and new.kind == DIR:  # XFS stamps a directory that trades places with another kind
            disk.set_meta_at(at, os.fsdecode(run.names[-1][1]), -1, -1, None, new.mtime_ns, new.ino)


def _place(step: Step) -> tuple[str, str, str]:
    kind, path, new = step.kind, step.path, step.new
    alone = kind == META or (kind == REPLACE and new is not None and new.kind == DIR)
    return kind, parent_of(path), path if alone else ""


def _run(kind: str, parent: str, steps: tuple[Step, ...]) -> Run:
    if kind == META:
        return Run(kind, parent, steps, ())
    skip = len(parent) + 1 if parent else 0
    encode = os.fsencode
    if kind == REMOVE:
        names = tuple([(encode(step.path[skip:]), step.slot.encode()) for step in steps])
    else:
        names = tuple([(step.slot.encode(), encode(step.path[skip:])) for step in steps])
    return Run(kind, parent, steps, names)
