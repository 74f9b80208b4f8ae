"""What a watcher may say: look there. What is there only a look can tell."""

from __future__ import annotations

from typing import NamedTuple

# How far to look, from a path on. Each includes the ones before it.
ENTRY, NAMES, TREE = 0, 1, 2


class Hint(NamedTuple):
    """``path`` is relative to the source, ``""`` for its root.

    ``reach``: ENTRY, this one name; NAMES, the names in this directory too; TREE, all that is below.
    ``moved_from``: where it was before, as far as the system said, or "". ``writing``: True if somebody
    has the file open and writes, False if it was closed or put there whole, None if this hint does not
    tell. ``announced`` is False for what a rescan found and no event had told of.
    """

    path: str
    reach: int = ENTRY
    moved_from: str = ""
    writing: bool | None = None
    announced: bool = True


EVERYWHERE = Hint("", TREE)
