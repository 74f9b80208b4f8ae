"""No more than so many bytes a second, over the whole time."""

from __future__ import annotations

import time
from collections.abc import Callable

_NAP_S = 0.1


class Throttle:
    """``bytes_per_s``: 0 for no limit. ``check`` is called while it waits, and may raise."""

    def __init__(self, bytes_per_s: int, check: Callable[[], None]) -> None:
        self._rate, self._check = bytes_per_s, check
        self._due = 0.0

    def spend(self, size: int) -> None:
        """Wait until ``size`` more bytes are due. Time in which nothing was read is not saved up."""
        if not self._rate:
            return
        self._due = max(self._due, time.monotonic()) + size / self._rate
        while (left := self._due - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _NAP_S))
