"""The write-back cache of a simulated disk, and the medium below it.

Two states, what programs see and what the medium holds, and the effects that stand between them in the
order they happened. Every change goes through ``do``; a sync moves effects over; a power cut lets some
of the pending ones survive. Inode numbers are given lowest free first, as ext4 does, so a number comes
back soon and only the serial tells its bearers apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Self

from atomsync.testing.crash import flipped, is_legal
from atomsync.testing.effects import (
    DATA,
    DIRECTORY,
    ROOT,
    Effect,
    Inode,
    Naming,
    State,
    survivors,
)

_EPOCH_NS, _TICK_NS = 1_700_000_000_000_000_000, 1_000
_FIRST_NUMBER = 2  # the root's, as on ext4


class Medium:
    """``seen`` is the state for programs, ``durable`` the medium's (with inodes that have no name there)."""

    def __init__(self, ordered: bool, uid: int, gid: int) -> None:
        self.ordered = ordered
        self.clock_ns = _EPOCH_NS
        self._owner = uid, gid
        born = _EPOCH_NS
        root = Inode(DIRECTORY, _FIRST_NUMBER, 0o755, uid, gid, born, born, born, b"", {}, (ROOT, "/"), 1)
        self.seen: State = {ROOT: root}
        self.durable: State = {ROOT: root}
        self.pending: list[Effect] = []
        self._last_serial = ROOT
        self._next_number = _FIRST_NUMBER + 1
        self._free: list[int] = []  # a heap of inode numbers to be given again
        self._freed: list[int] = []  # numbers of inodes whose loss may not be durable yet

    # -- changes
    def now(self) -> int:
        """A time later than all before."""
        self.clock_ns += _TICK_NS
        return self.clock_ns

    def do(self, effect: Effect) -> None:
        """Let programs see an effect; the medium does not have it yet."""
        effect.apply(self.seen)
        self.pending.append(effect)

    def make(self, kind: int, mode: int, data: bytes, parent: int, name: str) -> int:
        """The serial of a new inode at a free name."""
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number, self._next_number = self._next_number, self._next_number + 1
        self._last_serial = serial = self._last_serial + 1
        now = self.now()
        inode = Inode(kind, number, mode, *self._owner, now, now, now, data, {}, (parent, name), 0)
        self.seen[serial] = self.durable[serial] = inode  # on the medium it has no name yet
        self.do(Naming(now, ((parent, name, serial),)))
        return serial

    def drop(self, serial: int) -> None:
        """Forget an inode that has no name and no user, and give its number away again."""
        number = self.seen.pop(serial).number
        self._freed.append(number)
        if self.ordered:  # whatever reuses the number cannot survive without what freed it
            heapq.heappush(self._free, number)

    # -- durability
    def fsync(self, serial: int) -> None:
        if self.ordered:
            metadata = (index for index, effect in enumerate(self.pending) if not isinstance(effect, DATA))
            self._flush({*self._own(serial), *metadata})
        else:
            self._flush(self._own(serial) | _names_of(self.pending, serial))

    def syncfs(self) -> None:
        self._flush(range(len(self.pending)))

    def lose_pages(self, serial: int | None = None) -> None:
        """Let bytes that wait to be written, of one file or all, count as clean: they never will be."""
        self.pending = [e for e in self.pending if not (isinstance(e, DATA) and serial in (None, e.serial))]

    def read_again(self, serial: int) -> None:
        """Replace the cached bytes of a file, unless some wait to be written, by those on the medium."""
        if not any(isinstance(self.pending[index], DATA) for index in self._own(serial)):
            inode = self.seen[serial]
            size = len(inode.data)
            data = self.durable[serial].data[:size].ljust(size, b"\0")
            self.seen[serial] = inode._replace(data=data)

    def rot(self, serial: int, bit: int) -> None:
        """Flip a bit of a file, on the medium and, since nobody had it in the cache, for programs."""
        for state in (self.seen, self.durable):
            inode = state[serial]
            if bit < 8 * len(inode.data):
                state[serial] = inode._replace(data=flipped(inode.data, bit))

    # -- other worlds
    def copy(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.seen, other.durable, other.pending = self.seen.copy(), self.durable.copy(), self.pending[:]
        other._free, other._freed = self._free[:], self._freed[:]
        return other

    def crash(self, keep: Collection[int], torn: Mapping[int, bytes]) -> Self:
        """The medium after a power cut and a filesystem check."""
        if not is_legal(self.pending, self.ordered, keep):
            raise ValueError("this disk keeps metadata in order: only a prefix of it may survive")
        state = self.durable.copy()
        for index, effect in enumerate(self.pending):
            if index in keep:
                effect.apply(state, torn.get(index))
        found = survivors(state)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.seen, other.durable, other.pending = found, found.copy(), []
        numbers = {inode.number for inode in found.values()}
        other._next_number = max(numbers) + 1
        other._free = [n for n in range(_FIRST_NUMBER, other._next_number) if n not in numbers]
        other._freed = []
        return other

    # -- within
    def _own(self, serial: int) -> set[int]:
        """The pending effects on the bytes and attributes of one inode, not on names."""
        pending = enumerate(self.pending)
        return {index for index, e in pending if not isinstance(e, Naming) and e.serial == serial}

    def _flush(self, chosen: Collection[int]) -> None:
        rest: list[Effect] = []
        for index, effect in enumerate(self.pending):
            if index in chosen:
                effect.apply(self.durable)
            else:
                rest.append(effect)
        self.pending = rest
        if self._freed and not any(isinstance(effect, Naming) for effect in rest):
            # Both states have the same names now: what no program sees, no crash can bring back.
            seen = self.seen
            self.durable = {serial: inode for serial, inode in self.durable.items() if serial in seen}
            self.pending = [e for e in rest if isinstance(e, Naming) or e.serial in seen]
            if not self.ordered:
                for number in self._freed:
                    heapq.heappush(self._free, number)
            self._freed = []


def _names_of(pending: Sequence[Effect], serial: int) -> set[int]:
    """The pending effects on the names in one directory.

    An earlier effect on one of the same names comes along: it cannot reach the medium later.
    """
    chosen: set[int] = set()
    needed: set[tuple[int, str]] = set()
    for index in range(len(pending) - 1, -1, -1):
        effect = pending[index]
        if isinstance(effect, Naming):
            slots = {(at, name) for at, name, _ in effect.slots}
            if slots & needed or any(at == serial for at, _ in slots):
                chosen.add(index)
                needed |= slots
    return chosen
