"""Names of units: the UTC time they were sealed at, to the millisecond, so that they sort by age."""

from __future__ import annotations

import functools
import re
import time
from datetime import UTC, datetime

_SHAPE = r"[0-9]{8}-[0-9]{6}-[0-9]{3}"
_CLOCK = "%Y%m%d-%H%M%S"


def unit_id_at(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return time.strftime(_CLOCK, time.gmtime(seconds)) + f"-{rest // 1_000_000:03d}"


@functools.lru_cache(maxsize=64)  # a watch asks for the same few, again and again
def is_unit_id(name: str) -> bool:
    if not re.fullmatch(_SHAPE, name):
        return False
    try:
        time_of_unit(name)
    except ValueError:
        return False
    return True


def time_of_unit(name: str) -> int:
    """In ns since the epoch. Raises ValueError if there is no such day, or no such time of a day."""
    day = int(name[:4]), int(name[4:6]), int(name[6:8])
    clock = int(name[9:11]), int(name[11:13]), int(name[13:15])
    seconds = int(datetime(*day, *clock, tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(name[16:]) * 1_000_000
