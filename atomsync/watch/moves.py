"""What was moved where since the last look, composed: A to B and B to C is C from A. Pure.

Only an aid: a move that is forgotten here becomes a copy. The old paths are those that the destination
still has, the new ones those of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice

from atomsync.tree.path import upwards
from atomsync.watch.hint import TREE

MOVES_MAX = 10_000  # what is moved beyond that is copied
Reach = Callable[[str], int | None]  # how far a look at a path goes; None if there is none


class Moves:
    """New path → path before; a directory's move stands for all that is below it."""

    def __init__(self) -> None:
        self._origins: dict[str, str] = {}

    def note(self, old: str, new: str, *, is_dir: bool) -> None:
        """``old`` went to ``new``, after all that is known already."""
        before = carried(old, self._origins)
        if is_dir and any(path == old or path.startswith(f"{old}/") for path in self._origins):
            self._origins = {carried(path, {old: new}): origin for path, origin in self._origins.items()}
        self._origins.pop(old, None)
        if before == new:
            self._origins.pop(new, None)
        elif new in self._origins or len(self._origins) < MOVES_MAX:
            self._origins[new] = before

    def put_back(self, earlier: Mapping[str, str]) -> None:
        """``earlier`` were given out, and the destination did not follow: they come before the rest."""
        now_at = {old: new for new, old in self._origins.items()}
        moves = {carried(new, now_at): old for new, old in earlier.items()}
        moves.update((new, carried(old, earlier)) for new, old in self._origins.items())
        self._origins = dict(islice(((new, old) for new, old in moves.items() if new != old), MOVES_MAX))

    def given(self, reach_at: Reach | None) -> dict[str, str]:
        """Those that these looks will see, or all; they are forgotten here, for the destination follows."""
        given = {
            new: old
            for new, old in self._origins.items()
            if reach_at is None or covering(new, reach_at) is not None
        }
        now_at = {old: new for new, old in given.items()}
        left = [(new, old) for new, old in self._origins.items() if new not in given]
        self._origins = {new: carried(old, now_at) for new, old in left}
        return given

    def places_of(self, paths: Collection[str]) -> Iterator[str]:
        """Where one of ``paths``, or what is above or below one, was moved to."""
        moved = set(paths)
        above = {parent for path in moved for parent in upwards(path)}
        for new, old in self._origins.items():
            if old in above or any(path in moved for path in upwards(old)):
                yield new


def carried(path: str, places: Mapping[str, str]) -> str:
    """Where ``path`` is when it, or the nearest directory above it, went to its place in ``places``."""
    for top in upwards(path):
        if top in places:
            return places[top] + path[len(top) :]
    return path


def covering(path: str, reach_at: Reach) -> str | None:
    """The nearest look that will see ``path``: at itself, at the names around it, at a tree with it."""
    for needed, place in enumerate(upwards(path)):
        reach = reach_at(place)
        if reach is not None and reach >= min(needed, TREE):
            return place
    return None
