"""Old versions that were written to after they were displaced: whoever had one open may have gone on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.step import META, Step
from atomsync.tree.entry import DIR, entry_of, same_object
from atomsync.tree.path import joined
from atomsync.tree.scan import subtree


class Displaced(NamedTuple):
    """What is to be compared of one displaced version; ``step`` only where that is a directory."""

    slot: str
    path: str
    kind: str
    size: int
    mtime_ns: int
    step: Step | None = None


class Looked(NamedTuple):
    """``late``: the slots and paths of versions that are not as they were displaced. ``plain``: the slots of
    those that are, and are no directories."""

    late: list[tuple[str, str]]
    plain: list[str]


def displaced_by(steps: Iterable[Step]) -> list[Displaced]:
    return [
        Displaced(slot, path, old.kind, old.size, old.mtime_ns, step if old.kind == DIR else None)
        for step in steps
        for kind, path, old, _, _, _, slot in [step]
        if kind != META and old is not None
    ]


def looked_at(disk: Disk, slots: int, displaced: Iterable[Displaced]) -> Looked:
    """Compare what is in the slots now. Of a version some may be missing, or all: it went back."""
    there = dict(disk.scandir(slots))
    late, plain = [], []
    for slot, path, kind, size, mtime_ns, step in displaced:
        if slot not in there:
            continue
        now = entry_of(there[slot])
        if kind != now.kind or (step is None and (now.size, now.mtime_ns) != (size, mtime_ns)):
            late.append((slot, path))
        elif step is None:
            plain.append(slot)
        elif not _directory_as_displaced(disk, slots, step):
            late.append((slot, path))
    return Looked(late, plain)


def _directory_as_displaced(disk: Disk, slots: int, step: Step) -> bool:
    wanted = dict(step.displaced)
    top = disk.open_dir(slots, step.slot)
    try:
        with Cursor(disk, top) as cursor:
            for below, entry in subtree(cursor, ""):
                want = wanted.get(joined(step.path, below))
                if want is None or not same_object(want, entry):
                    return False
                if entry.kind != DIR and (entry.size, entry.mtime_ns) != (want.size, want.mtime_ns):
                    return False
    finally:
        disk.close(top)
    return True
