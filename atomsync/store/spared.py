"""How much of a unit need not be written: holes, and blocks that can be shared.

Asked only when the sizes of the files alone say that the unit does not fit: it costs a look at each
large file, and one clone to try. What it counts too little, the staging meets as NoSpace.
"""

from __future__ import annotations

from collections.abc import Iterable

from atomsync.plan.step import META, Step
from atomsync.store.blocks import CHUNK_BYTES
from atomsync.store.copying import Source
from atomsync.store.staging import Stage, is_large
from atomsync.tree.entry import FILE, Entry


def bytes_spared(stage: Stage, source: Source, steps: Iterable[Step]) -> int:
    """Of the files that enter with ``steps``: what is a hole in the source, or can be shared with it or, if
    another version is there, with that one."""
    spared = 0
    shared: dict[bool, bool] = {}  # whether there is a former version → whether a clone went well
    for step in steps:
        if step.kind == META or step.new is None:
            continue
        for path, entry in ((step.path, step.new), *step.inside):
            if entry.kind != FILE or entry.size <= CHUNK_BYTES or entry.digest:
                continue
            rebased = path == step.path and is_large(step.old) and is_large(entry)
            if rebased not in shared:
                former = stage.former if rebased else None
                shared[rebased] = any(_clones(stage, tree, path) for tree in (source, former) if tree)
            spared += entry.size if shared[rebased] else _holes(source, path, entry)
    return spared


def _clones(stage: Stage, tree: Source, path: str) -> bool:
    slot = stage.new_slot()
    fd = stage.disk.create(stage.slots, slot)
    try:
        return tree.clone_path(path, stage.disk, fd)
    finally:
        stage.disk.close(fd)
        stage.disk.unlink(stage.slots, slot)


def _holes(source: Source, path: str, entry: Entry) -> int:
    try:
        found = source.disk.lstat(*source.cursor.split(path))
    except OSError:  # it moves; the staging will see
        return 0
    return max(0, entry.size - found.st_blocks * 512)
