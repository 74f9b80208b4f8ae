"""What went back from the history loses its name there.

It went back by a second name; whoever writes into the file would write into the history too. So the first
one is dropped, behind the commit point and before the unit retires: a crash between the two leaves the rest
to recovery, which does the same.

A name that may not be dropped stays, as a power cut may leave one: that does less harm than a store that
never gets beyond it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from atomsync.fs.disk import Disk
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.about import About
from atomsync.store.control import Control
from atomsync.store.journal import Header
from atomsync.store.kept import KeptObjects, journals
from atomsync.store.seal import look_at
from atomsync.store.versions import fold
from atomsync.tree.entry import DIR, OPEN_BITS, same_object

UNDOES, RESTORES = "undoes", "restores"
"""What a unit that took others back has in its ``about``: which it undid, or to which it went back."""


def takes_back(about: About) -> bool:
    """Whether a unit put back what others had displaced."""
    return UNDOES in about or RESTORES in about


def let_go(control: Control, header: Header, steps: Iterable[Step]) -> bool:
    """Drop the names in the history of what a committed unit put back; whether it was such a unit. Done again
    it does nothing."""
    if not takes_back(header.about):
        return False
    back = set(_files(steps))
    gone = fold(reversed(journals(control)))
    with KeptObjects(control) as objects:
        for path in sorted(back & gone.keys()):
            for entry, kept in gone[path].displaced:
                here = look_at(control.tree, path)
                if here is None or not same_object(here, entry):
                    continue
                with contextlib.suppress(PermissionError):
                    there = objects.look(kept)
                    if there is not None and same_object(here, there):
                        _drop(control.disk, *objects.split(kept))
    return True


def _drop(disk: Disk, at: int, name: str) -> None:
    try:
        disk.unlink(at, name)
    except PermissionError:  # its directory may be closed, which only root does not mind
        disk.set_meta(at, -1, -1, disk.fstat(at).st_mode & 0o7777 | OPEN_BITS, None)
        disk.unlink(at, name)


def _files(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        if step.kind not in (META, REMOVE) and step.new is not None:
            for path, entry in ((step.path, step.new), *step.inside):
                if entry.kind != DIR:
                    yield path
