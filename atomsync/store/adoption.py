"""What was at a destination before the store's first unit: from then on the manifest knows it, too.

Without it nobody could tell what somebody has put there since from what was always there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from atomsync.fs.cursor import Cursor
from atomsync.plan.step import META, Step
from atomsync.tree.entry import DIR, Entry
from atomsync.tree.path import is_reserved, joined
from atomsync.tree.scan import listing


def others(tree: Cursor, steps: Collection[Step]) -> Iterator[tuple[str, Entry]]:
    """Every path of the destination that none of a committed unit's swaps brought there, with its entry.

    What came with a swap is not walked, so after the first push to an empty place this is one listing.
    """
    swapped = {step.path for step in steps if step.kind != META and step.new is not None}
    tree.close()  # walk anew: the unit has changed directories on the way
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            found = listing(tree.disk, tree.at(directory))
        except OSError:
            continue  # gone, or closed to us: what is in it will be taken for new; the unit is committed
        for name, entry in found.items():
            path = joined(directory, name)
            if path in swapped or is_reserved(name):
                continue
            yield path, entry
            if entry.kind == DIR:
                pending.append(path)
