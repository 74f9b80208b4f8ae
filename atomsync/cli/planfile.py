"""The file of a saved plan, by the name the operator gave it."""

from __future__ import annotations

from atomsync.errors import UsageError, reported
from atomsync.sync.roots import check_outside
from atomsync.sync.saved import SavedPlan, decode, encode
from atomsync.tree.path import shown


def check(file: str, source: str, destination: str) -> None:
    """UsageError unless a plan of these two can be kept there."""
    if "\0" in file or not file:
        raise UsageError(f"cannot save a plan in {shown(file)!r}", "it is no name of a file")
    with reported(f"cannot save the plan in {shown(file)}"):
        check_outside(file, source, destination)


def write(file: str, plan: SavedPlan) -> None:
    """A file that is cut short is none: its last line vouches for the others."""
    with reported(f"cannot save the plan in {shown(file)}"), open(file, "wb") as opened:
        opened.writelines(encode(plan))


def read(file: str) -> SavedPlan:
    """Raises UsageError for what is no plan."""
    try:
        with open(file, "rb") as opened:
            data = opened.read()
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        hint = "atomsync push -n --save-plan FILE makes one."
        raise UsageError(f"cannot read the plan {shown(file)}", why, hint) from None
    return decode(data, file)
