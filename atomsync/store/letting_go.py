"""What went back from the history loses its name there.

It went back by a second name; whoever writes into the file would write into the history too. So the first
one is dropped, behind the commit point and before the unit retires: a crash between the two leaves the rest
to recovery, which does the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.about import About
from atomsync.store.control import Control
from atomsync.store.journal import Header
from atomsync.store.kept import KeptObjects, journals
from atomsync.store.seal import look_at
from atomsync.store.versions import fold
from atomsync.tree.entry import DIR, same_object

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
                there = objects.look(kept)
                if there is not None and same_object(here, there):
                    control.disk.unlink(*objects.split(kept))
    return True


def _files(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        if step.kind not in (META, REMOVE) and step.new is not None:
            for path, entry in ((step.path, step.new), *step.inside):
                if entry.kind != DIR:
                    yield path
