"""Reasons to refuse a plan before anything is staged: each raises, naming paths and the way out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from atomsync.errors import DestinationLimit, GuardTripped, NoSpace, RootReplaced
from atomsync.fs.disk import Space
from atomsync.fs.folding import Folding
from atomsync.plan.change import Change
from atomsync.plan.limit import DEFAULT, Limit, share
from atomsync.plan.step import META, Step
from atomsync.tree.entry import DIR, FILE, PLAIN, Entry
from atomsync.tree.graft import Graft
from atomsync.tree.path import shown

_SHOWN_MAX = 10
_MEANT = "If that is meant, say so once: push --max-delete 100%; to a watch: atomsync resume DST"


def check_names(steps: Iterable[Step], name_max: int) -> None:
    """DestinationLimit if a new name is longer than the destination's filesystem allows."""
    too_long = [
        path
        for path, _ in _entering(steps, lambda graft: graft.longest > name_max)
        if len(path) > name_max // 4 and len(os.fsencode(path.rpartition("/")[2])) > name_max
    ]
    if too_long:
        error = DestinationLimit(
            f"{_counted(too_long, 'name')} too long for the destination",
            f"its filesystem allows {name_max} bytes: {_listed(too_long)}",
            "Shorten the names, or leave them out with --exclude.",
        )
        error.path = too_long[0]
        raise error


def check_collapse(steps: Iterable[Step], folding: Folding) -> None:
    """GuardTripped if two names that enter one directory are one name at the destination."""
    if not folding.folds:
        return
    seen: dict[tuple[str, str], str] = {}
    for path, _ in _entering(steps):
        parent, _, name = path.rpartition("/")
        other = seen.setdefault((parent, folding.key(name)), path)
        if other != path:
            raise GuardTripped(
                f"{shown(other)} and {shown(path)} would be one file at the destination",
                "its filesystem takes their names for the same (case, or the form of Unicode)",
                "Rename one of them, or leave it out with --exclude.",
            )


def check_mounts(steps: Iterable[Step], mounts: Collection[str]) -> None:
    """DestinationLimit if a step lies at, above or below a mount point: no rename crosses it."""
    if not mounts:
        return
    for step in steps:
        for point in mounts:
            inside = step.path == point or step.path.startswith(point + "/")
            above = step.kind != META and point.startswith(step.path + "/")
            if inside or above:
                error = DestinationLimit(
                    f"cannot change {shown(step.path)} in one unit",
                    f"{shown(point)} is a mount point inside the destination",
                    f"Push it on its own, and leave it out here: --exclude '/{shown(point)}/'",
                )
                error.path = step.path
                raise error


def check_space(steps: Collection[Step], space: Space, spared: int = 0) -> None:
    """NoSpace if the unit's new files need more blocks or inodes than are free, before one is written.
    ``spared``: bytes of them that are holes, or will be shared with other files."""
    need_bytes, need_inodes = space_needed(steps, space)
    need_bytes -= spared
    if need_bytes > space.bytes_free:
        raise NoSpace(
            "not enough space at the destination",
            f"this unit stages {need_bytes:,} bytes, {space.bytes_free:,} are free",
            "Free some space there; the destination is unchanged.",
        )
    if space.inodes_free is not None and need_inodes > space.inodes_free:
        raise NoSpace(
            "not enough inodes at the destination",
            f"this unit makes {need_inodes:,} files and directories, {space.inodes_free:,} inodes are free",
            "Remove some files there; the destination is unchanged.",
        )


def space_needed(steps: Collection[Step], space: Space) -> tuple[int, int]:
    """``(bytes, inodes)`` that staging takes, in whole blocks."""
    block = space.block_size
    need_bytes = need_inodes = 0
    for graft in _grafts(steps):
        need_inodes += len(graft)
        need_bytes += graft.occupies(block)
    for _, entry in _entering(steps, lambda graft: False):
        if entry.digest:
            continue  # known already: it gets a second name
        need_inodes += 1
        need_bytes += -(-entry.size // block) * block
    return need_bytes, need_inodes


def check_displaced(changes: Collection[Change], protected: Collection[str], *, delete: bool) -> None:
    """GuardTripped if a directory with content gives way to something else without leave.

    Without ``delete`` nothing is removed, so a directory that holds anything stays. With it, a
    directory that holds excluded paths (``protected``) stays all the same, as in rsync.
    """
    for top, old, new, _ in changes:
        if old is None or new is None or old.kind != DIR or new.kind == DIR:
            continue
        kept = [path for path in protected if path.startswith(top + "/")]
        displaced = sum(change.path.startswith(top + "/") for change in changes)
        if displaced and not delete:
            raise GuardTripped(
                f"cannot put a {new.kind} in place of {shown(top)}",
                f"there it is a directory with {displaced:,} entries",
                "Allow their removal with --delete, or leave the path out with --exclude.",
            )
        if kept:
            raise GuardTripped(
                f"cannot replace the directory {shown(top)}",
                f"it holds excluded paths: {_listed(kept)}",
                "Remove or move these by hand, or change the patterns.",
            )


def check_losses(
    changes: Collection[Change],
    total: int,
    limit: Limit,
    *,
    source_is_empty: bool,
    even_all: bool = False,
    wary: bool = False,
) -> None:
    """GuardTripped if a unit takes more away than ``limit`` allows, of ``total`` entries at the destination.

    Taken away is what is removed and does not come by another name, and what a file without content
    replaces. An empty source removes nothing at all: far more often a disk is not mounted. ``wary``: nor may
    a source that is another directory than before remove most of the destination. ``even_all``: somebody
    said that this one unit may.
    """
    removed = [change.path for change in changes if change.new is None]
    if removed and not source_is_empty and (wary or limit.is_exceeded(len(removed), total)):
        removed = _without_moved(changes)
    if source_is_empty and removed and not even_all:
        raise GuardTripped(
            "the source is empty",
            f"following it would remove {_of_all(removed, total)}: {_listed(removed)}",
            f"Is it mounted, and complete? {_MEANT}",
        )
    if wary and not even_all and len(removed) > DEFAULT.most and len(removed) * 2 > total:
        raise GuardTripped(
            "the source was replaced by another directory",
            f"following it would remove {_of_all(removed, total)}: {_listed(removed)}",
            f"A watch tries again as the source fills. {_MEANT}",
        )
    emptied = [change.path for change in changes if _is_emptied(change)]
    for what, paths in (("remove", removed), ("replace by empty files", emptied)):
        if limit.is_exceeded(len(paths), total):
            raise GuardTripped(
                f"this unit would {what} {_of_all(paths, total)}",
                f"the most it may is {limit}: {_listed(paths)}",
                f"Is the source what it should be? {_MEANT}",
            )


def _without_moved(changes: Collection[Change]) -> list[str]:
    """The paths that go, but for those whose like comes by another name: what was moved is not lost."""
    come = Counter(change.new[:PLAIN] for change in changes if change.old is None and change.new is not None)
    lost = []
    for path, old, new, _ in changes:
        if old is None or new is not None:
            continue
        if come[old[:PLAIN]]:
            come[old[:PLAIN]] -= 1
        else:
            lost.append(path)
    return lost


def check_mounted(changes: Collection[Change], lost: Iterable[str]) -> None:
    """RootReplaced if anything would be removed below a ``lost`` mount point of the source."""
    for point in lost:
        removed = [change.path for change in changes if change.new is None and _is_below(change.path, point)]
        if removed:
            raise RootReplaced(
                f"{shown(point)} in the source was a mounted filesystem, and is not",
                f"following it would remove {len(removed):,} of its entries: {_listed(removed)}",
                "Mount it. If it is meant to be as it is now: --accept-roots",
            )


def _is_below(path: str, point: str) -> bool:
    return path.startswith(point + "/")


def _is_emptied(change: Change) -> bool:
    old, new = change.old, change.new
    return (
        old is not None
        and new is not None
        and old.kind == FILE == new.kind
        and new.size == 0
        and old.size > 0
    )


def _of_all(paths: Collection[str], total: int) -> str:
    return f"{len(paths):,} of {max(total, len(paths)):,} entries ({share(len(paths), total)})"


def _grafts(steps: Iterable[Step]) -> list[Graft]:
    return [step.inside for step in steps if isinstance(step.inside, Graft)]


def _entering(
    steps: Iterable[Step], wanted: Callable[[Graft], bool] = lambda graft: True
) -> Iterable[tuple[str, Entry]]:
    """All that enters; of the grafts, which can tell some things as a whole, those that are ``wanted``."""
    for step in steps:
        if step.kind != META and step.new is not None:
            yield step.path, step.new
            if not isinstance(step.inside, Graft) or wanted(step.inside):
                yield from step.inside


def bytes_entering(steps: Collection[Step]) -> tuple[int, int]:
    """``(files, bytes)`` that staging will copy, for the progress bar."""
    plain = _entering(steps, lambda graft: False)
    sizes = [entry.size for _, entry in plain if entry.kind == FILE and not entry.digest]
    grafts = _grafts(steps)
    return len(sizes) + sum(graft.files for graft in grafts), sum(sizes) + sum(graft.size for graft in grafts)


def bytes_in(steps: Collection[Step]) -> int:
    """Of all files that enter."""
    plain = _entering(steps, lambda graft: False)
    sizes = sum(entry.size for _, entry in plain if entry.kind == FILE)
    return sizes + sum(graft.size for graft in _grafts(steps))


def _counted(paths: list[str], noun: str) -> str:
    return f"1 {noun} is" if len(paths) == 1 else f"{len(paths):,} {noun}s are"


def _listed(paths: list[str]) -> str:
    text = ", ".join(shown(path) for path in paths[:_SHOWN_MAX])
    return text + (f" and {len(paths) - _SHOWN_MAX:,} more" if len(paths) > _SHOWN_MAX else "")
