"""Finding names in a state of a simulated disk, with the errors Linux gives. Pure."""

from __future__ import annotations

import errno
import os

from atomsync.testing.effects import DIRECTORY, ROOT, SYMLINK, State

_LINKS_FOLLOWED = 40


def error(number: int, *name: str) -> OSError:
    """An OSError of the right subclass."""
    return OSError(number, os.strerror(number), *name)


def check_name(name: str, name_max: int) -> None:
    """Refuse a name that is too long; one that is no single name is a mistake of the caller."""
    if "/" in name or "\0" in name:
        raise ValueError(f"not a single name: {name!r}")
    if len(name) * 4 > name_max and len(os.fsencode(name)) > name_max:
        raise error(errno.ENAMETOOLONG, name)


def child(state: State, parent: int, name: str, name_max: int) -> int:
    """The serial at ``name`` in a directory; ``.`` and ``..`` are there too."""
    found = state[parent].names.get(name)
    if found is not None:
        return found
    if name == ".":
        return parent
    if name == ".." and state[parent].home[0] in state:
        return state[parent].home[0]
    check_name(name, name_max)
    raise error(errno.ENOENT, name)


def walk(state: State, path: str, name_max: int) -> int:
    """The directory at a path from the root, links followed."""
    if not path:
        raise error(errno.ENOENT, path)
    here, followed = ROOT, 0
    ahead = path.split("/")[::-1]
    while ahead:
        name = ahead.pop()
        if state[here].kind != DIRECTORY:
            raise error(errno.ENOTDIR, path)
        if name in ("", "."):
            continue
        serial = child(state, here, name, name_max)
        if state[serial].kind == SYMLINK:
            followed += 1
            if followed > _LINKS_FOLLOWED:
                raise error(errno.ELOOP, path)
            target = os.fsdecode(state[serial].data)
            here = ROOT if target.startswith("/") else here
            ahead.extend(target.split("/")[::-1])
        else:
            here = serial
    if state[here].kind != DIRECTORY:
        raise error(errno.ENOTDIR, path)
    return here


def is_below(state: State, serial: int, top: int) -> bool:
    """Whether a directory is ``top`` or lies somewhere under it."""
    while serial != top:
        if serial == ROOT:
            return False
        serial = state[serial].home[0]
    return True
