"""What somebody else changed at the destination since the last unit, as far as a unit is about to change it.

Judged by the manifest: a path that is not as the last unit that touched it left it. Of a path that no
unit ever touched, its own time of change tells: if that is older than the first unit, it was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from atomsync.errors import Drift
from atomsync.plan.change import Change
from atomsync.store.manifest import Manifest
from atomsync.tree.entry import DIR, SEEN, Entry
from atomsync.tree.path import ancestors, shown

OVERWRITE, REFUSE, KEEP = "overwrite", "refuse", "keep"
_SHOWN_MAX = 10


class Drifted(NamedTuple):
    """A path somebody else changed; ``why`` says how: edited, removed, added, or replaced."""

    path: str
    why: str


def drifted(manifest: Manifest, changes: Iterable[Change]) -> tuple[Drifted, ...]:
    """What of ``changes`` meets a destination other than the last unit left, in order of paths."""
    since_ns = manifest.since_ns
    if not since_ns:
        return ()
    # The root's own metadata, and times of directories, are no content of anybody.
    met = [change for change in changes if change.path and change.visible]
    known = manifest.entries(change.path for change in met)
    return tuple(sorted(_judged(met, known, since_ns)))


def _judged(changes: Iterable[Change], known: Mapping[str, Entry], since_ns: int) -> Iterator[Drifted]:
    for path, old, _, _ in changes:
        left = known.get(path)
        if old is None:
            if left is not None:
                yield Drifted(path, "removed")
        elif left is None:
            if old.ctime_ns > since_ns and old.kind != DIR:  # a directory's changes with the names in it
                yield Drifted(path, "added")
        elif left.kind != old.kind:
            yield Drifted(path, f"replaced by a {old.kind}")
        elif _visible(left) != _visible(old):
            yield Drifted(path, "edited")


def _visible(entry: Entry) -> tuple[object, ...]:
    return entry[:SEEN] if entry.kind != DIR else entry._replace(mtime_ns=0)[:SEEN]


def refuse(found: Collection[Drifted]) -> Drift:
    """The error for ``--on-drift refuse``."""
    count = f"{len(found):,} paths" if len(found) > 1 else "a path"
    return Drift(
        f"somebody else changed {count} of the destination since the last unit",
        listed(found),
        "Nothing was touched. --on-drift overwrite takes what SRC has, and keeps the others in the history; "
        "--on-drift keep leaves these paths alone.",
    )


def listed(found: Collection[Drifted]) -> str:
    """The first ten, for a person."""
    some = ", ".join(f"{shown(path)} ({why})" for path, why in list(found)[:_SHOWN_MAX])
    return some + (f" and {len(found) - _SHOWN_MAX:,} more" if len(found) > _SHOWN_MAX else "")


def kept(found: Iterable[Drifted], changes: Iterable[Change]) -> frozenset[str]:
    """The paths to leave alone so that what drifted stays: where a directory is to give way to something
    else, that directory."""
    gives_way = {
        change.path
        for change in changes
        if change.old and change.new and change.old.kind == DIR != change.new.kind
    }
    return frozenset(
        next((above for above in ancestors(path) if above in gives_way), path) for path, _ in found
    )
