"""One path, what it holds and what it shall hold.

A change carries both, so that the hand that acts can check what it displaces.
"""

from __future__ import annotations

from typing import NamedTuple

from atomsync.tree.entry import DIR, SEEN, Entry


class Change(NamedTuple):
    """``old`` is None for a path to be created, ``new`` for one to be removed.

    ``content`` is False where only mode, owner or times change and the inode stays.
    """

    path: str
    old: Entry | None
    new: Entry | None
    content: bool = True

    @property
    def visible(self) -> bool:
        """False for a directory of which only the time changes: that is bookkeeping, not news."""
        old, new = self.old, self.new
        if old is None or new is None or new.kind != DIR or old.kind != DIR:
            return True
        return old._replace(mtime_ns=0)[:SEEN] != new._replace(mtime_ns=0)[:SEEN]
