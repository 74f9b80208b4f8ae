"""What each path held before the units of the history, and where that went. Pure.

A unit's journal tells of each path what it found there and what it left. So the journals of some units,
read from the last commit back, tell what every path they touched held before all of them.

An object lies where it was displaced to, unless a later undo put it back: then it was displaced from there
once more, or is still at its path. So all the objects that a path gave up are told, and the one that is
looked for is known by its inode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from atomsync.plan.step import META, Step
from atomsync.store.journal import Journal
from atomsync.tree.entry import Entry, same_object


class Kept(NamedTuple):
    """Content that is an object a unit displaced: the unit, and the place in its slots. ``linked``: it goes
    back by a second name, else (its attributes are not those it is to have) as a copy."""

    unit: str
    location: str
    linked: bool = True


class Past(NamedTuple):
    """What some units did to a path, all in all. ``before`` is what it held before the first of them, None
    for nothing; ``after`` what the last of them left.

    ``displaced`` are the objects that went, the one of ``before`` first: none if only attributes changed.
    ``first`` and ``by`` are the first and the last of the units. ``timed``: no unit had a word about it; it
    is a directory in which names were changed, so its time became what it would. ``loose``: at least the last
    unit left its time so.
    """

    before: Entry | None
    after: Entry | None
    displaced: tuple[tuple[Entry, Kept], ...]
    by: str
    timed: bool = False
    loose: bool = False
    first: str = ""

    @property
    def places(self) -> list[tuple[Entry, Kept]]:
        """Where the object of ``before`` may lie, as what it went there; the likeliest first."""
        before = self.before
        return [place for place in self.displaced if before is not None and same_object(before, place[0])]


def fold(journals: Iterable[Journal]) -> dict[str, Past]:
    """Of every path that the units touched. ``journals`` by their commits, the last one first."""
    found: dict[str, Past] = {}

    def put(
        path: str, old: Entry | None, new: Entry | None, kept: Kept | None, *, timed: bool = False
    ) -> None:
        past = found.get(path)
        displaced: tuple[tuple[Entry, Kept], ...] = (
            ((old, kept),) if old is not None and kept is not None else ()
        )
        if past is None:
            found[path] = Past(old, new, displaced, unit_id, timed, timed, unit_id)
        else:
            displaced += past.displaced
            known = past.before
            if old is not None and known is not None and not old.xattrs and same_object(old, known):
                old = old._replace(xattrs=known.xattrs)  # of which this unit had no word
            found[path] = past._replace(
                before=old, displaced=displaced, timed=past.timed and timed, first=unit_id
            )

    for header, steps, _ in journals:
        unit_id = header.id
        for step in steps:
            if step.kind == META:
                put(step.path, step.old, _in_place(step), None, timed=step.new is None)
                continue
            skip = len(step.path)
            put(step.path, step.old, step.new, Kept(unit_id, step.slot))
            inside = dict(step.inside)
            for path, entry in step.displaced:
                put(path, entry, inside.pop(path, None), Kept(unit_id, step.slot + path[skip:]))
            for path, entry in inside.items():
                put(path, None, entry, None)
    return found


def _in_place(step: Step) -> Entry | None:
    """What a change of attributes left: what was there, with others."""
    old, new = step.old, step.new
    if old is None or new is None:
        return old
    return new._replace(ino=old.ino, dev=old.dev, generation=old.generation, digest=old.digest)


def put_there(journals: Iterable[Journal], until: Mapping[str, str]) -> dict[str, Entry]:
    """What units had put at a path by the time of a certain unit, with its digest. ``until``: path →
    that unit; ``journals`` by their commits, the first one first."""
    found: dict[str, Entry] = {}
    ended: set[str] = set()
    for header, steps, _ in journals:
        ended.update(path for step in steps for path in _paths(step) if until.get(path) == header.id)
        for step in steps:
            if step.kind == META:
                continue
            for path, _ in ((step.path, step.old), *step.displaced):
                if path not in ended:
                    found.pop(path, None)
            if step.new is not None:
                entering = ((step.path, step.new), *step.inside)
                found |= {path: new for path, new in entering if path in until and path not in ended}
    return found


def _paths(step: Step) -> Iterator[str]:
    yield step.path
    for path, _ in (*step.inside, *step.displaced):
        yield path
