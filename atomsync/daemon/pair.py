"""One pair as a value: two that are equal need no new follower when the config is read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from atomsync.follow.follower import Follower
from atomsync.follow.watching import WatchOptions
from atomsync.tree.filters import Filters


class Pair(NamedTuple):
    """``patterns`` are gitignore lines; ``options.filters`` stays empty, since filters learn as they go."""

    source: str
    destination: str
    patterns: tuple[str, ...] = ()
    gitignore: bool = False
    options: WatchOptions = WatchOptions()

    @property
    def place(self) -> str:
        """What tells destinations apart, also while there is none: the path with its links resolved."""
        return os.path.realpath(self.destination)

    def follower(self, tell: Callable[..., None], *, lasting: bool) -> Follower:
        filters = Filters(self.patterns, gitignore=self.gitignore)
        return Follower(
            self.source, self.destination, self.options._replace(filters=filters), tell, lasting=lasting
        )
