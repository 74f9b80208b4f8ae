"""The whole tree of a simulated disk as a literal: for judging thousands of states."""

from __future__ import annotations

import os
from collections.abc import Collection

from atomsync.testing.effects import REGULAR, ROOT, SYMLINK, Inode
from atomsync.testing.simdisk import SimDisk
from atomsync.testing.trees import Dir, File, Link, Tree


def snapshot(
    disk: SimDisk,
    path: str = "",
    skip: Collection[str] = (".atomsync",),
    *,
    owners: bool = False,
    directory_times: bool = False,
) -> Dir:
    """``trees.read`` of the directory at ``path``, without descriptors: for judging many states fast."""
    state = disk.state
    top = state[ROOT]
    for name in filter(None, path.split("/")):
        top = state[top.names[name]]

    def read(inode: Inode) -> Tree:
        uid, gid = (inode.uid, inode.gid) if owners else (None, None)
        if inode.kind == REGULAR:
            return File(inode.data, inode.mode, inode.mtime_ns, uid, gid)
        if inode.kind == SYMLINK:
            return Link(os.fsdecode(inode.data), inode.mtime_ns, uid, gid)
        below = {name: read(state[child]) for name, child in sorted(inode.names.items()) if name not in skip}
        return Dir(below, inode.mode, inode.mtime_ns if directory_times else None, uid, gid)

    found = read(top)
    assert isinstance(found, Dir), f"not a directory: {path}"
    return found
