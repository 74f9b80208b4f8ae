"""Names of units: the UTC time they were sealed at, to the millisecond, so that they sort by age."""

from __future__ import annotations

import calendar
import functools
import re
import time

_SHAPE = re.compile(r"\d{8}-\d{6}-\d{3}", re.ASCII)
_CLOCK = "%Y%m%d-%H%M%S"


def unit_id_at(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return time.strftime(_CLOCK, time.gmtime(seconds)) + f"-{rest // 1_000_000:03d}"


@functools.lru_cache(maxsize=64)  # a watch asks for the same few, again and again
def is_unit_id(name: str) -> bool:
    if not _SHAPE.fullmatch(name):
        return False
    try:
        time_of_unit(name)
    except ValueError:
        return False
    return True


def time_of_unit(name: str) -> int:
    """In ns since the epoch."""
    clock, _, millis = name.rpartition("-")
    return calendar.timegm(time.strptime(clock, _CLOCK)) * 1_000_000_000 + int(millis) * 1_000_000
