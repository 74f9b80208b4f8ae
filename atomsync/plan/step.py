"""One action of a plan: a swap of one path with a slot, or a change of metadata in place.

A step takes its whole subtree along: a new directory enters by one rename however much it holds, and
a removed one leaves by one. ``inside`` lists what enters below the step's path, ``displaced`` what
leaves with it. Of a large new directory the former is a graft (see ``tree.graft``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from atomsync.tree.entry import Entry

CREATE, REPLACE, REMOVE, META = "create", "replace", "remove", "meta"

Members = Collection[tuple[str, Entry]]


class Step(NamedTuple):
    """``path`` relative to the destination, ``""`` for its root; members by full path, parents first.

    ``slot`` names the step's place in the unit's stage; it is "" for META, and until it is staged.
    A META whose ``new`` is None belongs to a directory in which steps happen, and whose time may
    become what it will: it is there so that a rollback can restore it.
    """

    kind: str
    path: str
    old: Entry | None
    new: Entry | None
    inside: Members = ()
    displaced: Members = ()
    slot: str = ""
