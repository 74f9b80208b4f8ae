"""Files that say themselves whether they are whole: one record or more, each with its generation, length and
digest. Whoever reads one needs nothing else to judge it."""

from __future__ import annotations

import time

import xxhash

_HEADER = b"%020d %08d %s\n"
_HEADER_LENGTH = 63


def next_generation() -> int:
    """Greater than every one before it, in all processes."""
    return time.monotonic_ns()


def record(generation: int, length: int) -> bytes:
    """One record with ``length`` bytes behind its header."""
    body = b"%020d" % generation * (length // 20 + 1)
    return _HEADER % (generation, length, _digest(generation, body[:length])) + body[:length]


def generations(data: bytes) -> list[int] | None:
    """The generation of every record; None if these bytes are not whole records and nothing else."""
    found, at = [], 0
    while at < len(data):
        header = data[at : at + _HEADER_LENGTH]
        try:
            generation, length = int(header[:20]), int(header[21:29])
        except ValueError:
            return None
        body = data[at + _HEADER_LENGTH : at + _HEADER_LENGTH + length]
        if len(body) != length or header != _HEADER % (generation, length, _digest(generation, body)):
            return None
        found.append(generation)
        at += _HEADER_LENGTH + length
    return found


def _digest(generation: int, body: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(b"%d %s" % (generation, body)).encode()
