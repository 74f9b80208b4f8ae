"""May everything be written where the plan will write? Asked before a byte is staged.

It is a courtesy: what is refused later, at the swap itself, is rolled back all the same.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

from atomsync.errors import AccessError, reported
from atomsync.plan.step import META, Step
from atomsync.store.control import Control
from atomsync.tree.entry import OPEN_BITS
from atomsync.tree.path import parent_of, shown

_SHOWN_MAX = 10


def check_writable(control: Control, steps: Iterable[Step]) -> None:
    """AccessError naming the first paths that may not be changed at the destination, and why."""
    with reported(f"cannot look at {shown(control.where)}"):
        found = list(itertools.islice(_refused(control, steps), _SHOWN_MAX + 1))
    if not found:
        return
    some = ", ".join(f"{shown(path or '.')} ({why})" for path, why in found[:_SHOWN_MAX])
    error = AccessError(
        "cannot write everywhere at the destination",
        some + (" and more" if len(found) > _SHOWN_MAX else ""),
        "Nothing was touched. See ls -ld and lsattr there, or leave the paths out with --exclude.",
    )
    error.path, error.also = found[0][0], tuple(path for path, _ in found[1:])
    raise error


def _refused(control: Control, steps: Iterable[Step]) -> Iterator[tuple[str, str]]:
    """``(path, why)``."""
    disk, tree = control.disk, control.tree
    asked: dict[str, str] = {}  # directory → why no name in it may change, "" if it may
    for step in steps:
        path = step.path
        if step.kind != META:
            parent = parent_of(path)
            if parent not in asked:
                asked[parent] = _why_closed(control, parent)
            if asked[parent]:
                yield path, asked[parent]
                continue
        if step.old is not None and path:
            try:
                if disk.is_pinned(*tree.split(path)):
                    yield path, "immutable or append-only"
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # somebody has just taken it away, or closed it: the seal sees that


def _why_closed(control: Control, directory: str) -> str:
    disk = control.disk
    try:
        fd = control.tree.at(directory)
        if disk.is_pinned(fd, "."):
            return "its directory is immutable or append-only"
        if disk.may_change_names(fd):
            return ""
        # Of a directory of our own the mode is opened for the time of the swaps.
        found = disk.fstat(fd)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except PermissionError:
        return "its directory may not be entered"
    mine = found.st_uid == os.geteuid() and found.st_mode & OPEN_BITS != OPEN_BITS
    return "" if mine else "its directory may not be written"
