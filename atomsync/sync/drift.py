"""What somebody else changed at the destination since the last unit, as far as a unit is about to change it.

Judged by the manifest: a path that is not as the last unit that touched it left it. What it does not know
was added, if it is whole. Else a path's own time of change tells: if that is older than the first unit, it
was there before. (A directory that is moved here brings its files along with the times they had.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from atomsync.errors import Drift
from atomsync.plan.change import Change
from atomsync.store.rows import kept_time
from atomsync.sync.compare import Comparison
from atomsync.tree.entry import DIR, PLAIN, Entry
from atomsync.tree.path import ancestors, shown

OVERWRITE, REFUSE, KEEP = "overwrite", "refuse", "keep"
_SHOWN_MAX = 10


class Committed(Protocol):
    """What was last committed, as the manifest knows it, whoever reads it there."""

    @property
    def since_ns(self) -> int: ...
    @property
    def is_whole(self) -> bool: ...
    def entries(self, paths: Iterable[str]) -> Mapping[str, Entry]: ...


class Drifted(NamedTuple):
    """A path somebody else changed; ``why`` says how: edited, removed, added, or replaced."""

    path: str
    why: str


class Reckoned(NamedTuple):
    """A comparison, what in it ``drifted``, and the paths that were ``kept`` out of it for that."""

    found: Comparison
    drifted: tuple[Drifted, ...]
    kept: frozenset[str]


def reckoned(
    compare: Callable[[frozenset[str]], Comparison],
    committed: Committed,
    on_drift: str,
    before: Reckoned | None = None,
) -> Reckoned:
    """The comparison that ``on_drift`` asks for. ``compare`` is given the paths to leave alone; ``before``
    is what was reckoned in an earlier round. Raises Drift for "refuse"."""
    kept = before.kept if before else frozenset()
    found = compare(kept)
    drift = drifted(committed, found.changes)
    if drift and on_drift == REFUSE:
        raise _refused(drift)
    if on_drift != KEEP:
        return Reckoned(found, drift, kept)
    if drift:
        kept |= _to_keep(drift, found.changes)
        found = compare(kept)
    return Reckoned(found, tuple(sorted({*drift, *(before.drifted if before else ())})), kept)


def drifted(committed: Committed, changes: Iterable[Change]) -> tuple[Drifted, ...]:
    """What of ``changes`` meets a destination other than the last unit left, in order of paths."""
    since_ns = committed.since_ns
    if not since_ns:
        return ()
    # The root's own metadata, and times of directories, are no content of anybody.
    met = [change for change in changes if change.path and change.visible]
    known = committed.entries(change.path for change in met)
    return tuple(sorted(_judged(met, known, 0 if committed.is_whole else since_ns)))


def _judged(changes: Iterable[Change], known: Mapping[str, Entry], since_ns: int) -> Iterator[Drifted]:
    """``since_ns``: 0 if ``known`` has all that was there before the first unit."""
    for path, old, _, _ in changes:
        left = known.get(path)
        if old is None:
            if left is not None:
                yield Drifted(path, "removed")
        elif left is None:
            # A directory's time changes with the names in it.
            if not since_ns or (old.ctime_ns > since_ns and old.kind != DIR):
                yield Drifted(path, "added")
        elif left.kind != old.kind:
            yield Drifted(path, f"replaced by a {old.kind}")
        elif _visible(left) != _visible(old):
            yield Drifted(path, "edited")


def _visible(entry: Entry) -> tuple[object, ...]:
    time_ns = 0 if entry.kind == DIR else kept_time(entry.mtime_ns)
    return entry._replace(mtime_ns=time_ns)[:PLAIN]


def _refused(found: Collection[Drifted]) -> Drift:
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


def _to_keep(found: Iterable[Drifted], changes: Iterable[Change]) -> frozenset[str]:
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
