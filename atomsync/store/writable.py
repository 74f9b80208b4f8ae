"""May everything be written where the plan will write? Asked before a byte is staged.

It is a courtesy: what is refused later, at the swap itself, is rolled back all the same.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby, islice

from atomsync.errors import AccessError, reported
from atomsync.plan.step import META, Step
from atomsync.store.control import Control
from atomsync.tree.entry import OPEN_BITS
from atomsync.tree.path import joined, parent_of, shown

_SHOWN_MAX = 10


def check_writable(control: Control, steps: Iterable[Step]) -> None:
    """AccessError naming the first paths that may not be changed at the destination, and why."""
    with reported(f"cannot look at {shown(control.where)}"):
        found = list(islice(_refused(control, steps), _SHOWN_MAX + 1))
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
    why_closed = functools.cache(functools.partial(_why_closed, control))
    for parent, run in groupby(steps, lambda step: parent_of(step.path)):
        some = list(run)
        closed = why_closed(parent) if any(step.kind != META for step in some) else ""
        if closed:
            yield from ((step.path, closed) for step in some if step.kind != META)
            some = [step for step in some if step.kind == META]
        skip = len(parent) + 1 if parent else 0
        names = [step.path[skip:] for step in some if step.old is not None and step.path]
        for name in _pinned(control, parent, names):
            yield joined(parent, name), "immutable or append-only"


def _pinned(control: Control, directory: str, names: list[str]) -> Collection[str]:
    try:
        return control.disk.pinned(control.tree.at(directory), names)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()  # somebody has just taken it away, or closed it: the seal sees that


def _why_closed(control: Control, directory: str) -> str:
    disk = control.disk
    try:
        fd = control.tree.at(directory)
        if disk.pinned(fd, (".",)):
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
