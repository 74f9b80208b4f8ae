"""A tree walked in the order of the bytes of its paths: that of a sorted table of paths.

There ``a.txt`` stands between ``a`` and ``a/b``, for ``.`` sorts before ``/``. So a directory's own name and
what is below it are two places in the listing it stands in.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from atomsync.fs.cursor import Cursor
from atomsync.tree.entry import DIR, Entry
from atomsync.tree.path import joined
from atomsync.tree.scan import listing

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_Places = list[
    tuple[bytes, str, Entry | None]
]  # the bytes of a path, the path, its entry; None: what is below


def in_order(
    tree: Cursor,
    after: bytes,
    leave_out: Callable[[str, Entry], bool],
    unreadable: Callable[[str, OSError], None],
) -> Iterator[tuple[bytes, str, Entry]]:
    """``(bytes of the path, path, entry)`` of everything behind the path ``after``; "" is before all.

    Memory: the listings of the directories on the way. ``leave_out``: this and all below it is not wanted.
    A directory that is gone by the time it is its turn is passed over; one that cannot be read is told.
    """
    stack: list[Iterator[tuple[bytes, str, Entry | None]]] = [iter([(b"", "", None)])]
    while stack:
        place = next(stack[-1], None)
        if place is None:
            stack.pop()
            continue
        key, path, entry = place
        if entry is not None:
            if key > after:
                yield key, path, entry
        elif key >= after or after.startswith(key):
            stack.append(iter(_places(tree, path, leave_out, unreadable)))


def _places(
    tree: Cursor,
    directory: str,
    leave_out: Callable[[str, Entry], bool],
    unreadable: Callable[[str, OSError], None],
) -> _Places:
    try:
        found = listing(tree.disk, tree.at(directory))
    except OSError as error:
        if error.errno not in _GONE:
            unreadable(directory, error)
        return []
    places: _Places = []
    for name, entry in found.items():
        path = joined(directory, name)
        if leave_out(path, entry):
            continue
        key = os.fsencode(path)
        places.append((key, path, entry))
        if entry.kind == DIR:
            places.append((key + b"/", path, None))
    places.sort(key=_key)
    return places


def _key(place: tuple[bytes, str, Entry | None]) -> bytes:
    return place[0]
