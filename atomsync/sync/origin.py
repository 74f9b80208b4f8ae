"""Where a push begins: the open source, and what we may give to the destination, being who we are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from atomsync.errors import from_oserror
from atomsync.fs.disk import Disk
from atomsync.store.copying import Source
from atomsync.tree.diff import Ownership
from atomsync.tree.path import shown
from atomsync.tree.xattrs import families


@contextlib.contextmanager
def opened_source(disk: Disk, path: str) -> Iterator[Source]:
    """The source tree, open for the time of a ``with``."""
    with opened_root(disk, path) as root, contextlib.closing(Source(disk, root)) as source:
        yield source


@contextlib.contextmanager
def opened_root(disk: Disk, path: str) -> Iterator[int]:
    """The descriptor of a directory that an operator named. Raises AtomSyncError."""
    try:
        fd = disk.open_root(path)
    except OSError as error:
        raise from_oserror(error, f"cannot open {shown(path)}") from None
    try:
        yield fd
    finally:
        disk.close(fd)


def attributes(*, acls: bool, xattrs: bool) -> str:
    """The families of extended attributes that count, being who we are."""
    return families(acls=acls, xattrs=xattrs, root=os.geteuid() == 0)


def ownership() -> Ownership:
    """What we may set, being who we are."""
    return Ownership(os.geteuid() == 0, os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))
