"""Where the power may go in a recording, and what the disk then holds: every write up to there that a flush
has followed, and of the others any subset, one of them torn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.proof.recorder import Event, Flush, Mark, Write

BEGIN = "begin"
_SECTOR = 512


class Cut(NamedTuple):
    """The power goes before event ``end``. Of the unflushed writes ``lost`` are missing; of ``torn``
    only the first ``torn_bytes`` are there."""

    end: int
    lost: frozenset[int] = frozenset()
    torn: int = -1
    torn_bytes: int = 0


def cuts(events: Sequence[Event], count: int, rng: random.Random) -> list[Cut]:
    """So many different ones behind the mark BEGIN: at each later mark what is sure to be on the disk, then
    half prefixes, half subsets in random order. The same events and ``rng`` state give the same."""
    begin = events.index(Mark(BEGIN))
    ends = [at + 1 for at in range(begin, len(events)) if not isinstance(events[at], Flush)]
    marks = [end for end in ends[1:] if isinstance(events[end - 1], Mark)]
    first = [Cut(end, frozenset(_unflushed(events, end))) for end in marks]
    found = dict.fromkeys(first)
    found.update(dict.fromkeys(Cut(end) for end in rng.sample(ends, min(count // 2, len(ends)))))
    for _ in range(4 * count):  # a short recording may not have so many
        if len(found) >= count:
            break
        found[_partial(events, rng.choice(ends), rng)] = None
    rest = list(found)[len(first) :]
    rng.shuffle(rest)
    return [*first, *rest]


def writes(events: Sequence[Event], cut: Cut) -> Iterator[tuple[int, bytes]]:
    """What is on the disk after the cut: ``(offset, bytes)`` in order."""
    for at, event in enumerate(events[: cut.end]):
        if isinstance(event, Write) and at not in cut.lost:
            yield event.offset, event.data[: cut.torn_bytes] if at == cut.torn else event.data


def promised(events: Sequence[Event], cut: Cut) -> str:
    """The last mark before the cut; "" if that is BEGIN."""
    marks = [event.name for event in events[: cut.end] if isinstance(event, Mark)]
    return marks[-1] if marks[-1] != BEGIN else ""


def _partial(events: Sequence[Event], end: int, rng: random.Random) -> Cut:
    """One unflushed write missing or torn, or many of them missing."""
    pending = _unflushed(events, end)
    if not pending:
        return Cut(end)
    one = rng.choice(pending)
    kind = rng.randrange(4)
    if kind == 0:
        return Cut(end, frozenset([one]))
    if kind == 1:
        write = events[one]
        assert isinstance(write, Write)
        return Cut(end, torn=one, torn_bytes=rng.randrange(0, len(write.data), _SECTOR))
    chance = rng.choice((0.1, 0.5, 0.9))
    return Cut(end, frozenset(at for at in pending if rng.random() < chance))


def _unflushed(events: Sequence[Event], end: int) -> list[int]:
    """The writes before ``end`` that no flush has followed."""
    flushed = max((at for at in range(end) if isinstance(events[at], Flush)), default=-1)
    return [at for at in range(flushed + 1, end) if isinstance(events[at], Write)]
