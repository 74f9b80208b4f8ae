"""Which states a power cut may leave: subsets of the effects that had not reached the medium."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from atomsync.testing.effects import DATA, Effect, Write

Choice = tuple[frozenset[int], Mapping[int, int]]
"""Indices of the pending effects that survive, and how many bytes of the torn writes among them."""

_FEW = 8  # up to so many pending effects every subset is tried: 256 of them
_TORN_LAST = 3  # of the surviving writes, so many of the last are torn one by one


def crash_states(
    pending: Sequence[Effect], ordered: bool, rng: random.Random, limit: int
) -> Iterator[Choice]:
    """At most ``limit`` distinct choices, the telling ones first; the same for the same ``rng`` state.

    Nothing and everything kept always come first. Few pending effects: every subset. Many: each prefix,
    each suffix, each single one missing, each single one kept. Then torn writes, then random subsets.
    """
    seen: set[tuple[frozenset[int], tuple[tuple[int, int], ...]]] = set()

    def fresh(keep: frozenset[int], torn: Mapping[int, int]) -> bool:
        key = (keep, tuple(torn.items()))
        return len(seen) < limit and key not in seen and not seen.add(key)  # type: ignore[func-returns-value]

    plain = _ordered_subsets(pending, rng) if ordered else _weak_subsets(len(pending))
    extremes, rest = plain[:2], plain[2:]
    budget = max(limit * 2 // 3 - len(extremes), 0)
    for keep in extremes + (rest if len(rest) <= budget else rng.sample(rest, budget)):
        if fresh(keep, {}):
            yield keep, {}
    torn_ones = [(keep, {index: size}) for keep in plain for index, size in _tears(pending, keep)]
    rng.shuffle(torn_ones)
    for keep, torn in torn_ones:
        if fresh(keep, torn):
            yield keep, torn
    for _ in range(limit):
        keep = _random_subset(pending, ordered, rng)
        tears = list(_tears(pending, keep))
        torn = dict([rng.choice(tears)]) if tears and rng.random() < 0.5 else {}
        if fresh(keep, torn):
            yield keep, torn


def is_legal(pending: Sequence[Effect], ordered: bool, keep: Collection[int]) -> bool:
    """Whether the disk can leave this subset: any, or with a journal only a prefix of the metadata."""
    if not ordered:
        return True
    kept = [index in keep for index, effect in enumerate(pending) if not isinstance(effect, DATA)]
    return kept == sorted(kept, reverse=True)


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


def _weak_subsets(count: int) -> list[frozenset[int]]:
    return _subsets(range(count))


def _ordered_subsets(pending: Sequence[Effect], rng: random.Random) -> list[frozenset[int]]:
    metadata = [index for index, effect in enumerate(pending) if not isinstance(effect, DATA)]
    data = _subsets([index for index, effect in enumerate(pending) if isinstance(effect, DATA)])
    prefixes = [frozenset(metadata[:count]) for count in range(len(metadata) + 1)]
    every = [prefix | some for prefix in prefixes for some in data]
    extremes = [prefixes[0] | data[0], prefixes[-1] | data[1]]
    return list(dict.fromkeys(extremes + every))


def _tears(pending: Sequence[Effect], keep: frozenset[int]) -> Iterator[tuple[int, int]]:
    writes = [index for index in sorted(keep) if isinstance(pending[index], Write)]
    for index in writes[-_TORN_LAST:]:
        effect = pending[index]
        assert isinstance(effect, Write)
        size = len(effect.data)
        for kept in dict.fromkeys((0, 1, size // 2, size - 1)):
            yield index, kept
            yield index, ~kept


def _random_subset(pending: Sequence[Effect], ordered: bool, rng: random.Random) -> frozenset[int]:
    chance = rng.choice((0.2, 0.5, 0.8, 0.95))
    last = rng.randrange(len(pending) + 1)
    return frozenset(
        index
        for index, effect in enumerate(pending)
        if (index < last if ordered and not isinstance(effect, DATA) else rng.random() < chance)
    )
