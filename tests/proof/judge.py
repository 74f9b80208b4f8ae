"""The judge of real trees. Shares no code with the product: ``os`` and nothing else.

I1 before recovery every visible path is complete, old or new: ``torn``
I2 after recovery the tree is exactly old or exactly new: ``verdict``
I5 what no plan names keeps its inode, and after a rollback everything does: ``verdict``
I6 no unfinished unit is left, I8 the lock is free: ``left_behind``
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CONTROL = ".atomsync"


class Seen(NamedTuple):
    """What a user sees of one path. ``linked``: the first of the paths that share this inode."""

    kind: int
    content: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    linked: str
    ino: int

    @property
    def visible(self) -> tuple[object, ...]:
        return self[:7]


Tree = Mapping[str, Seen]


def look(root: str | os.PathLike[str]) -> Tree:
    """Every path below ``root`` and "" for itself, without the control directory; nothing if it is gone."""
    top = os.fspath(root)
    if not os.path.lexists(top):
        return {}
    first: dict[tuple[int, int], str] = {}
    found: dict[str, Seen] = {}
    for path in _paths(top):
        full = os.path.join(top, path) if path else top
        status = os.lstat(full)
        kind = stat.S_IFMT(status.st_mode)
        content = b""
        if stat.S_ISREG(status.st_mode):
            with open(full, "rb") as file:
                content = hashlib.blake2b(file.read(), digest_size=16).digest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(os.readlink(full))
        shared = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
        linked = first.setdefault((status.st_dev, status.st_ino), path) if shared else path
        found[path] = Seen(
            kind,
            content,
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            linked,
            status.st_ino,
        )
    return found


def _paths(top: str) -> Iterator[str]:
    pending = [""]
    while pending:
        path = pending.pop()
        yield path
        full = os.path.join(top, path) if path else top
        if stat.S_ISDIR(os.lstat(full).st_mode):
            names = sorted(os.listdir(full), reverse=True)
            pending += [f"{path}/{name}" if path else name for name in names if path or name != CONTROL]


def torn(now: Tree, old: Tree, new: Tree) -> list[str]:
    """I1: paths whose kind, bytes or target are neither the old nor the new ones, or that are missing."""
    wrong = [
        f"I1: {path!r} is neither old nor new"
        for path, seen in now.items()
        if seen[:2] not in [tree[path][:2] for tree in (old, new) if path in tree]
    ]
    return wrong + [f"I1: {path!r} is missing" for path in old.keys() & new.keys() if path not in now]


def verdict(now: Tree, old: Tree, new: Tree) -> tuple[str, list[str]]:
    """``("old" or "new" or "mixed", violations of I2 and I5)``.

    ``new`` may come from another run of the same push: only what a user sees of it counts.
    """
    if is_same(now, old):
        moved = [path for path in old if now[path].ino != old[path].ino]
        return "old", [f"I5: {path!r} is another inode than before" for path in moved[:3]]
    if is_same(now, new):
        kept = [path for path in old.keys() & new.keys() if old[path].visible == new[path].visible]
        moved = [path for path in kept if now[path].ino != old[path].ino and not _is_link(old[path])]
        return "new", [f"I5: {path!r}, not in the plan, is another inode" for path in moved[:3]]
    return "mixed", [f"I2: neither old nor new: {differences(now, old)} / {differences(now, new)}"]


def differences(now: Tree, tree: Tree) -> list[str]:
    """The first paths at which two trees differ, and how."""
    paths = sorted(now.keys() ^ tree.keys()) + [
        path for path in sorted(now.keys() & tree.keys()) if now[path].visible != tree[path].visible
    ]
    return [f"{path!r}: {now.get(path)} not {tree.get(path)}" for path in paths[:3]]


def left_behind(dst: str | os.PathLike[str]) -> list[str]:
    """I6, I8, and litter: nothing unfinished, nothing to delete, nothing kept aside, nobody's lock."""
    control = Path(dst) / CONTROL
    found = []
    if (control / "unit").exists():
        found.append("I6: an unfinished unit is left")
    littered = [control / name for name in ("retired", "conflicts", "probe")]
    found += [f"litter: {at.name}/ is not empty" for at in littered if at.is_dir() and any(at.iterdir())]
    if (control / "lock").exists() and not lock_is_free(control / "lock"):
        found.append("I8: the lock is held")
    return found


def lock_is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_same(now: Tree, tree: Tree) -> bool:
    return now.keys() == tree.keys() and all(now[path].visible == tree[path].visible for path in tree)


def _is_link(seen: Seen) -> bool:
    return stat.S_ISLNK(seen.kind)
