"""Which states a power cut may leave: subsets of the effects that had not reached the medium."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations

from atomsync.testing.effects import DATA, Attributes, Effect, Write

Choice = tuple[frozenset[int], Mapping[int, bytes]]
"""Indices of the pending effects that survive; for the torn writes among them, what is there instead."""

_FEW = 8  # up to so many pending effects every subset is tried: 256 of them
_TORN_LAST = 3  # of the surviving writes, so many of the last are torn one by one


def flipped(data: bytes, bit: int) -> bytes:
    """With one bit the other way."""
    at, place = divmod(bit, 8)
    return data[:at] + bytes([data[at] ^ 1 << place]) + data[at + 1 :]


DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda data, rng: b"",
    lambda data, rng: bytes(len(data)),
    lambda data, rng: data[:1],
    lambda data, rng: data[:1].ljust(len(data), b"\0"),
    lambda data, rng: data[:-1],
    lambda data, rng: data[:-1] + b"\0",
    lambda data, rng: data[: len(data) // 2],
    lambda data, rng: data[: len(data) // 2].ljust(len(data), b"\0"),
    lambda data, rng: data[len(data) // 2 :].rjust(len(data), b"\0"),
    lambda data, rng: rng.randbytes(len(data)),
    lambda data, rng: data[: len(data) // 2] + rng.randbytes(len(data) - len(data) // 2),
    lambda data, rng: flipped(data, rng.randrange(8 * len(data))),
)
"""What may be found in the place of a write that was not synced: a part of it with or without the
length, zeros, what was in the blocks before, one flipped bit."""


def crash_states(
    pending: Sequence[Effect], ordered: bool, rng: random.Random, limit: int
) -> Iterator[Choice]:
    """At most ``limit`` distinct choices, the telling ones first; the same for the same ``rng`` state.

    Nothing and everything kept always come first. Few pending effects: every subset. Many: each prefix,
    each suffix, each single one missing, each single one kept. Then each of them with a torn write, then
    random subsets, and pairs: two effects kept alone, or all but two.
    """
    seen: set[tuple[frozenset[int], tuple[tuple[int, bytes], ...]]] = set()

    def fresh(keep: frozenset[int], torn: Mapping[int, bytes]) -> bool:
        key = (keep, tuple(torn.items()))
        return len(seen) < limit and key not in seen and not seen.add(key)  # type: ignore[func-returns-value]

    plain = _ordered_subsets(pending, rng, limit) if ordered else _subsets(range(len(pending)))
    extremes, rest = plain[:2], plain[2:]
    budget = max(limit * 2 // 3 - len(extremes), 0)
    plain = extremes + (rest if len(rest) <= budget else rng.sample(rest, budget))
    for keep in plain:
        if fresh(keep, {}):
            yield keep, {}
    tears = [(keep, index) for keep in plain for index in _tears(pending, keep)]
    rng.shuffle(tears)
    share = (limit + len(seen)) // 2  # of what is left, half for random subsets when there are many
    for way in range(len(DAMAGE)):
        for keep, index in tears:
            if len(pending) > _FEW and len(seen) >= share:
                break
            if fresh(keep, torn := _torn(pending, index, way, rng)):
                yield keep, torn
    for _ in range(limit):
        keep = _random_subset(pending, ordered, rng)
        torn = {}
        if rng.random() < 0.5 and (writes := _tears(pending, keep)):
            torn = _torn(pending, rng.choice(writes), rng.randrange(len(DAMAGE)), rng)
        if fresh(keep, torn):
            yield keep, torn


def count_subsets(pending: Sequence[Effect], ordered: bool) -> int:
    """How many ``every_subset`` gives, with ``known=0``."""
    data = sum(isinstance(effect, DATA) for effect in pending)
    if ordered:
        return (len(pending) - data + 1) << data
    return 1 << sum(not _is_idle(effect) for effect in pending)


def every_subset(pending: Sequence[Effect], ordered: bool, known: int = 0) -> Iterator[frozenset[int]]:
    """Each subset that the disk can leave, but for those without an effect from index ``known`` on.

    What changes nothing but a ctime is always kept on a weak disk: it would only double the number.
    """
    if not ordered:
        free = [index for index, effect in enumerate(pending) if not _is_idle(effect)]
        idle = frozenset(range(len(pending))).difference(free)
        first = 1 << sum(index < known for index in free) if known else 0
        for mask in range(first, 1 << len(free)):
            yield idle.union(index for place, index in enumerate(free) if mask >> place & 1)
        return
    data = [index for index, effect in enumerate(pending) if isinstance(effect, DATA)]
    metadata = [index for index, effect in enumerate(pending) if not isinstance(effect, DATA)]
    for count in range(len(metadata) + 1):
        for mask in range(1 << len(data)):
            kept = metadata[:count] + [index for place, index in enumerate(data) if mask >> place & 1]
            if max(kept, default=0) >= known:
                yield frozenset(kept)


def is_legal(pending: Sequence[Effect], ordered: bool, keep: Collection[int]) -> bool:
    """Whether the disk can leave this subset: any, or with a journal only a prefix of the metadata."""
    if not ordered:
        return True
    kept = [index in keep for index, effect in enumerate(pending) if not isinstance(effect, DATA)]
    return kept == sorted(kept, reverse=True)


def _is_idle(effect: Effect) -> bool:
    return isinstance(effect, Attributes) and effect.idle


def _subsets(indices: Sequence[int]) -> list[frozenset[int]]:
    """Nothing, everything, then the rest: each subset of a few; of many the regular and simple ones."""
    everything = frozenset(indices)
    found = [frozenset(), everything]
    if len(indices) <= _FEW:
        sizes = range(1, len(indices))
        return found + [frozenset(some) for size in sizes for some in combinations(indices, size)]
    for at, index in enumerate(indices):
        found += [frozenset(indices[:at]), frozenset(indices[at:]), everything - {index}, frozenset({index})]
    return list(dict.fromkeys(found))


def _ordered_subsets(pending: Sequence[Effect], rng: random.Random, most: int) -> list[frozenset[int]]:
    metadata = [index for index, effect in enumerate(pending) if not isinstance(effect, DATA)]
    data = _subsets([index for index, effect in enumerate(pending) if isinstance(effect, DATA)])
    every: Sequence[int] = range((len(metadata) + 1) * len(data))
    chosen = every if len(every) <= most else rng.sample(every, most)
    found = [data[at % len(data)].union(metadata[: at // len(data)]) for at in chosen]
    return list(dict.fromkeys([frozenset(), frozenset(range(len(pending))), *found]))


def _tears(pending: Sequence[Effect], keep: frozenset[int]) -> list[int]:
    """The last of the surviving writes."""
    return [index for index in sorted(keep) if isinstance(pending[index], Write)][-_TORN_LAST:]


def _torn(pending: Sequence[Effect], index: int, way: int, rng: random.Random) -> dict[int, bytes]:
    effect = pending[index]
    assert isinstance(effect, Write)
    return {index: DAMAGE[way](effect.data, rng)}


def _random_subset(pending: Sequence[Effect], ordered: bool, rng: random.Random) -> frozenset[int]:
    if not ordered and rng.random() < 0.25:
        pair = frozenset(rng.choices(range(len(pending)), k=2)) if pending else frozenset()
        return pair if rng.random() < 0.5 else frozenset(range(len(pending))) - pair
    chance = rng.choice((0.2, 0.5, 0.8, 0.95))
    last = rng.randrange(len(pending) + 1)
    return frozenset(
        index
        for index, effect in enumerate(pending)
        if (index < last if ordered and not isinstance(effect, DATA) else rng.random() < chance)
    )
