"""Units as people name them: by their id, by what it begins with, ``@`` for the last one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from atomsync.errors import UsageError
from atomsync.tree.path import shown

_BACK = r"@(?:~([0-9]{1,9}))?"
_HINT = "Those there are: atomsync log DST, or store.history()."


def unit_named(word: str, known: Sequence[str]) -> str:
    """The unit meant by ``word``, of ``known`` in the order of their commits. ``@`` is the last one, ``@~1``
    the one before it. Raises UsageError if there is none, or more than one."""
    if not known:
        raise UsageError("cannot find a unit", "the history is empty", "A push or another unit makes one.")
    back = re.fullmatch(_BACK, word)
    if back:
        steps = int(back[1] or 0)
        if steps >= len(known):
            why = f"the history has {_units(len(known))}"
            raise UsageError(f"cannot go back {_units(steps)} from the last one", why, _HINT)
        return known[-1 - steps]
    found = [unit_id for unit_id in known if word and unit_id.startswith(word)]
    if word in found or len(found) == 1:
        return word if word in found else found[0]
    if found:
        why = "several units begin with it: " + ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
        raise UsageError(f"cannot tell which unit {shown(word)} is", why, "Give more of its name.")
    raise UsageError(
        f"cannot find unit {shown(word)}",
        f"the history does not have it; it goes back to {known[0]}",
        _HINT,
    )


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count:,} units"
