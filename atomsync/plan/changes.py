"""Changes of a unit as a collection, those below grafts among them, which are made when somebody asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import overload

from atomsync.plan.change import Change
from atomsync.tree.graft import Graft


class Changes(Sequence[Change]):
    """``plain`` changes, then all that comes with the ``grafts``. Immutable; equal to a tuple of the same."""

    def __init__(self, plain: Collection[Change], grafts: Mapping[str, Graft]) -> None:
        self._plain, self._grafts = tuple(plain), dict(grafts)
        self._asked: tuple[Change, ...] | None = None

    def __iter__(self) -> Iterator[Change]:
        yield from self._plain
        for graft in self._grafts.values():
            for path, entry in graft:
                yield Change(path, None, entry)

    def __len__(self) -> int:
        return len(self._plain) + sum(map(len, self._grafts.values()))

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Change, ...]: ...
    def __getitem__(self, index: int | slice) -> Change | tuple[Change, ...]:
        if self._asked is None:  # who asks for one by its number will ask for the next one
            self._asked = tuple(self)
        return self._asked[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Changes | tuple | list):
            return NotImplemented
        return tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Changes of {len(self):,} paths"
