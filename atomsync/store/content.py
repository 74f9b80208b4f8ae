"""Where the content of a staged path comes from, if not from the source by the same path."""

from __future__ import annotations

from typing import NamedTuple

from atomsync.store.versions import Kept
from atomsync.tree.entry import Entry


class Spooled(NamedTuple):
    """Content a caller wrote into the stage ahead of the plan: its slot's name and digest."""

    slot: str
    digest: str


class Linked(NamedTuple):
    """Content that is an existing file of the destination, to be reached by a second name; if ``expected`` is
    given, it must still be that one."""

    path: str
    expected: Entry | None = None


class Shared(NamedTuple):
    """Content that is another new file of the same unit, to be reached by a second name."""

    path: str


Content = Spooled | Linked | Shared | Kept
