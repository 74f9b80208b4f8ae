"""Which time stamps can be trusted to show the next change. Pure.

A filesystem stamps a file by a clock that ticks: every 1 to 10 ms on Linux before 6.13, every second
or two on old formats (ext4 with small inodes, HFS+, FAT). Whoever writes twice within a tick leaves the same
stamp twice: git calls such a file racily clean. A stamp without a fraction of a second may come from
a clock of whole seconds; a real nanosecond clock gives one in a thousand million times.
"""

from __future__ import annotations

TICK_NS = 10_000_000
COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000


def tick_of(stamp_ns: int) -> int:
    """The longest tick, in ns, of a clock that may have given this stamp."""
    return TICK_NS if stamp_ns % _SECOND_NS else COARSE_TICK_NS


def may_be_racy(stamp_ns: int, looked_ns: int) -> bool:
    """Whether a change after ``looked_ns`` could carry the same stamp once more."""
    return stamp_ns + tick_of(stamp_ns) > looked_ns
