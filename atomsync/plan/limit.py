"""How many entries one unit may take away: a number, a share of what is there, or both at once. Pure."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from atomsync.errors import UsageError
from atomsync.tree.path import shown

_TEXT = r"(\d{1,18})|(\d+(?:\.\d+)?)\s*%"


class Limit(NamedTuple):
    """Exceeded by more than ``most`` entries that are also more than ``percent`` of all there are."""

    most: int = 10
    percent: float = 50.0

    def is_exceeded(self, count: int, of: int) -> bool:
        return count > self.most and count * 100 > self.percent * of

    def __str__(self) -> str:
        told = ([f"{self.percent:g} %"] if self.percent else []) + ([f"{self.most:,}"] if self.most else [])
        return " and more than ".join(told) or "0"


DEFAULT = Limit()
"""Few may go whatever they are a part of, and of many up to half."""
NO_LIMIT = Limit(0, 100.0)


def limit_of(given: int | str | None) -> Limit:
    """From ``100`` (entries), ``"20%"`` or None (the default). Raises UsageError."""
    if given is None:
        return DEFAULT
    found = None if isinstance(given, bool) else re.fullmatch(_TEXT, str(given).strip())
    if found is None or (found[2] and not float(found[2]) <= 100):
        raise UsageError(
            f"cannot use {shown(str(given))!r} as the most to remove",
            "it is neither a number such as 100 nor a share such as 20%",
            "--max-delete 100% lets everything go.",
        )
    if found[1]:
        return Limit(int(found[1]), 0.0)
    return Limit(0, float(found[2]))


def share(count: int, of: int) -> str:
    """``37 %``; never rounded up to all, nor down to nothing."""
    percent = 100 * count / max(of, count, 1)
    return f"{math.floor(percent)} %" if percent >= 1 else "less than 1 %"
