"""Do SRC and DST stand on what the last unit saw? A name can come to lead to another disk, or to none.

SRC may be made anew by whoever builds it, so of SRC its filesystem counts and where that is mounted; of DST
its filesystem and its inode.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from atomsync.errors import GuardTripped, RootReplaced
from atomsync.fs.identity import Seen, identity
from atomsync.fs.mounts import below
from atomsync.store.store import BaseStore
from atomsync.tree.path import shown

SOURCE, SOURCE_ROOT, ROOT = "source", "source_root", "root"  # keys in what a unit is about
MOUNTS = "mounts"  # in SOURCE_ROOT: the filesystems mounted in the source, by path and type
_MOUNTS_MAX = 64
_PATH_MAX = 255


class Remembers(Protocol):
    """What was last committed, as the manifest knows it, whoever reads it there."""

    def roots(self, source: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None: ...


def about(source: str, source_fd: int, destination_fd: int) -> dict[str, Any]:
    """To be written down with the unit: where its source is, and which directories the two are."""
    place, seen = os.path.realpath(source), Seen.of(identity(source_fd))
    return {
        SOURCE: place,
        SOURCE_ROOT: {**seen._asdict(), MOUNTS: _mounts_in(place, seen)},
        ROOT: Seen.of(identity(destination_fd))._asdict(),
    }


def check_known(committed: Remembers, now: Mapping[str, Any], destination: str) -> frozenset[str]:
    """RootReplaced if the last unit from this source saw another SRC or DST than ``now``. Returns the paths
    in the source where filesystems were mounted and none is: ``now`` remembers them, too."""
    source = now[SOURCE]
    last = committed.roots(source)
    if last is None:
        return frozenset()
    for role, path, key, were in (
        ("source", source, SOURCE_ROOT, last[0]),
        ("destination", destination, ROOT, last[1]),
    ):
        before, today = _seen(were), _seen(now[key])
        if before is None or today is None:
            continue
        why = _unlike_source(before, today, path) if role == "source" else _unlike(before, today)
        if why:
            raise RootReplaced(
                f"the {role} {shown(path)} is not what the last unit saw",
                why,
                "Is it mounted, and the right disk? If it is meant to be this one now: --accept-roots",
            )
    mounts, before_it = now[SOURCE_ROOT][MOUNTS], last[0].get(MOUNTS)
    lost = sorted(before_it.keys() - mounts.keys()) if isinstance(before_it, dict) else []
    mounts.update(dict.fromkeys(lost[: _MOUNTS_MAX - len(mounts)], ""))
    return frozenset(lost)


def _mounts_in(source: str, seen: Seen) -> dict[str, str]:
    """But for what shows only its own place once more, as a sandbox does."""
    found = {
        path: mount.fs_type
        for path, mount in sorted(below(source).items())
        if (mount.fs_type, mount.root) != (seen.kind, seen.within(mount.point)) and len(path) <= _PATH_MAX
    }
    return dict(list(found.items())[:_MOUNTS_MAX])


def _seen(fields: Mapping[str, object]) -> Seen | None:
    return Seen.read({name: value for name, value in fields.items() if name != MOUNTS})


def _unlike_source(before: Seen, now: Seen, path: str) -> str:
    if not before.same_place(now, path):
        return f"it was on {_filesystem(before)}, and that is not mounted there now"
    return "" if before.same_filesystem(now, subvolumes=True) else _elsewhere(before, now)


def _unlike(before: Seen, now: Seen) -> str:
    if not before.same_filesystem(now):
        return _elsewhere(before, now)
    if not before.same_inode(now):
        return f"it was inode {before.ino} there, and is another directory now (inode {now.ino})"
    return ""


def _elsewhere(before: Seen, now: Seen) -> str:
    return f"it was on {_filesystem(before)}, and is on another filesystem now ({_filesystem(now)})"


def _filesystem(seen: Seen) -> str:
    return f"{seen.kind or 'a filesystem'} at {shown(seen.point)}" if seen.point else seen.kind or "another"


def check_store(store: BaseStore) -> None:
    """GuardTripped if no unit was ever committed to this destination."""
    if not store.has_units():
        raise GuardTripped(
            f"{shown(store.path)} is no destination of atomsync yet",
            "no unit was ever committed to it, and --expect-store says there was",
            "Is its disk mounted? For its very first push leave out --expect-store.",
        )
