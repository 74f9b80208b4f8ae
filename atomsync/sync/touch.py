"""``--touch FILE``: a file of the destination that every unit writes last, for those who wait for its time.

It is out of the comparison's sight, as what is excluded is, and part of the unit all the same: whoever undoes
the unit gives it back the time it had.
"""

from __future__ import annotations

from collections.abc import Iterable

from atomsync.errors import UsageError
from atomsync.plan.change import Change
from atomsync.store.seal import look_at
from atomsync.tree.entry import DIR, FILE
from atomsync.tree.path import parent_of, parse, shown
from atomsync.unit.work import UnitOfWork

_MODE = 0o644
_HINT = "--touch FILE names a file below DST, in a directory that is there after the push."


def check_touch(path: str) -> None:
    """UsageError for what is no plain relative path."""
    if path:
        try:
            parse(path)
        except UsageError as error:
            raise UsageError(f"cannot touch {shown(path)}", error.why, _HINT) from None


def touch(unit: UnitOfWork, path: str, changes: Iterable[Change]) -> Change | None:
    """Have ``path`` touched by a unit that has these ``changes``, if any is visible; returns its own change.

    Raises UsageError if it cannot be a file there.
    """
    if not path or not any(change.visible for change in changes):
        return None
    parent = parent_of(path)
    above, there = unit._view.entry(parent), unit._view.entry(path)
    if above is None or above.kind != DIR:
        why = f"{shown(parent)} " + ("does not exist" if above is None else "is no directory")
        raise UsageError(f"cannot touch {shown(path)}", why, _HINT)
    if there is not None and there.kind != FILE:
        raise UsageError(f"cannot touch {shown(path)}", "what is there is no regular file", _HINT)
    if there is None:
        unit.write(path, b"", mode=_MODE)
        before = None if parent in unit._books.changes else look_at(unit.session.control.tree, parent)
        if before is not None:  # a name more must not show in its time, or the next push would set it back
            unit.register(Change(parent, before, before, content=False))
    else:
        unit.utime(path)
    unit.touched = path
    return unit._books.changes[path]
