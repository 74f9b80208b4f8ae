"""SRC and DST as the operator named them: do they exist, are they directories, do they overlap?"""

from __future__ import annotations

import os
import re

from atomsync.errors import RootError, RootsOverlap, UsageError, from_oserror
from atomsync.fs.roots import is_dir, no_dir
from atomsync.tree.path import place_beside, shown

_LOCAL = "atomsync knows no network: mount the other side here, or run atomsync there."


def check_roots(source: str, destination: str, state_dir: str | None = None) -> None:
    """Raises RootError, RootsOverlap, AccessError; changes nothing. DST may be missing, its parent not."""
    try:
        _check_roots(source, destination, state_dir)
    except OSError as error:
        raise from_oserror(error, f"cannot read {shown(str(error.filename or source))}") from None


def _is_remote(path: str) -> bool:
    """Whether it looks like ``user@host:path`` or ``https://…``."""
    return re.match(r"[\w.@-]{2,}:", path) is not None


def _check_roots(source: str, destination: str, state_dir: str | None) -> None:
    for name, path in (("SRC", source), ("DST", destination), ("--state-dir", state_dir)):
        if path == "":
            raise RootError(f"cannot use {name}", "it is empty", "Is a variable in the command line unset?")
    if not is_dir(source):
        hint = _LOCAL if _is_remote(source) else "SRC names a directory; its contents are pushed."
        raise RootError(f"cannot push from {shown(source)}", no_dir(source), hint)
    # Asked twice, for somebody else's first push may just make it.
    if not is_dir(destination) and os.path.lexists(destination) and not is_dir(destination):
        why = no_dir(destination)
        raise RootError(f"cannot push to {shown(destination)}", why, "Remove it, or name another DST.")
    above = os.path.dirname(os.path.abspath(destination))
    if not is_dir(destination) and not is_dir(above):
        raise RootError(
            f"cannot push to {shown(destination)}",
            f"{shown(above)} does not exist",
            _LOCAL if _is_remote(destination) else "Make it first; only the last component of DST is made.",
        )
    if state_dir is not None and not is_dir(destination):
        _check_device(state_dir, above)
    check_overlap(source, destination, state_dir)
    with os.scandir(source):
        pass


def check_overlap(source: str, destination: str, state_dir: str | None = None) -> None:
    """Raises RootsOverlap, judged by what the paths lead to now; OSError."""
    pairs = [("SRC", source, "DST", destination)]
    if state_dir is not None:
        pairs += [("SRC", source, "--state-dir", state_dir), ("DST", destination, "--state-dir", state_dir)]
    making = place_beside(destination)
    if os.path.lexists(making):  # what is left of a push that was killed, and would be removed
        pairs.append(("SRC", source, "what DST is made in,", making))
    for name, path, other_name, other in pairs:
        relation = _relation(path, other)
        if relation:
            raise RootsOverlap(
                f"cannot use {name} {shown(path)} with {other_name} {shown(other)}",
                relation.format(name, other_name),
                "Choose directories that do not contain each other.",
            )


def check_outside(file: str, source: str, destination: str) -> None:
    """UsageError for a file, there or not, in SRC or DST: who writes it changes what is compared."""
    inside = _lineage(os.path.dirname(os.path.realpath(file)))
    for name, path in (("SRC", source), ("DST", destination)):
        if path and _lineage(path)[0] in inside:
            why = f"it lies inside {name}, which by that would not be as planned any more"
            raise UsageError(f"cannot save the plan in {shown(file)}", why, "Name a file elsewhere.")


def _check_device(state_dir: str, above: str) -> None:
    """Before DST is made: where it would be, ``above``, the state directory must fit."""
    place = state_dir if is_dir(state_dir) else os.path.dirname(os.path.abspath(state_dir))
    if is_dir(place) and os.stat(place).st_dev != os.stat(above).st_dev:
        raise UsageError(
            f"cannot keep the state in {shown(state_dir)}",
            "it is not on the destination's filesystem, and renames do not cross filesystems",
            "Choose another --state-dir.",
        )


def _relation(one: str, other: str) -> str:
    """Judged by what the paths lead to, through links and bind mounts alike."""
    mine, theirs = _lineage(one), _lineage(other)
    if mine[0] == theirs[0]:
        return "they are the same directory"
    if mine[0] in theirs:
        return "{1} lies inside {0}"
    if theirs[0] in mine:
        return "{0} lies inside {1}"
    return ""


def _lineage(path: str) -> list[tuple[int, int] | str]:
    """(st_dev, st_ino) of a directory and of those above it, nearest first; its name if it does not exist."""
    path = os.path.realpath(path)
    found: list[tuple[int, int] | str] = []
    while True:
        try:
            status = os.stat(path)
            found.append((status.st_dev, status.st_ino))
        except FileNotFoundError:
            found.append(path)
        parent = os.path.dirname(path)
        if parent == path:
            return found
        path = parent
