"""The kernel's table of mounts: which paths below a directory are mount points, and of what.

``st_dev`` alone does not show a bind mount of the same filesystem, yet no rename crosses it (EXDEV)
and the mount point itself cannot be renamed (EBUSY). The kernel's own table shows them all.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

_TABLE = "/proc/self/mountinfo"
_OCTAL = r"\\([0-7]{3})"


class Mount(NamedTuple):
    """``device``: the filesystem's, as st_dev has it (on btrfs each subvolume has one of its own besides).
    ``root``: the directory of that filesystem which is to be seen at ``point``."""

    id: int
    point: str
    device: int
    fs_type: str
    root: str


def mounts() -> tuple[Mount, ...]:
    """Every mount, later ones after those they hide; empty where no table exists. Looks at no filesystem."""
    try:
        with open(_TABLE, "rb") as table:
            return _parsed(table.read())
    except OSError:
        return ()


@functools.lru_cache(maxsize=1)  # it is asked for at every batch, and hardly ever changes
def _parsed(table: bytes) -> tuple[Mount, ...]:
    return tuple(_mount(line) for line in table.decode("utf-8", "surrogateescape").splitlines())


def mounts_below(directory: str) -> frozenset[str]:
    """Relative paths of the mount points strictly below ``directory``; empty where no table exists."""
    return frozenset(below(directory))


def below(directory: str, table: Iterable[Mount] | None = None) -> dict[str, Mount]:
    """The mounts strictly below ``directory`` by relative path; of several at one point, the uppermost."""
    root = os.path.realpath(directory).rstrip("/") + "/"
    found = (mount for mount in _or_all(table) if mount.point.startswith(root) and mount.point != root)
    return {mount.point[len(root) :]: mount for mount in found}


def mount_of(path: str | int, table: Iterable[Mount] | None = None) -> Mount | None:
    """The mount that holds a directory, by path or descriptor; None where that cannot be told.

    Not by its name: a longer mount point in the table may be hidden by what is mounted over it.
    """
    fd = path if isinstance(path, int) else os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            number = next((int(line[7:]) for line in info if line.startswith("mnt_id:")), None)
    except OSError:
        return None
    finally:
        if fd != path:
            os.close(fd)
    return next((mount for mount in _or_all(table) if mount.id == number), None)


def _or_all(table: Iterable[Mount] | None) -> Iterable[Mount]:
    """Who asks several times takes the ``table`` once."""
    return mounts() if table is None else table


def _mount(line: str) -> Mount:
    # id, parent, major:minor, root in it, mount point, options, any number of tags, "-", type, ...
    words = line.split(" ")
    major, minor = words[2].split(":")
    kind = words[words.index("-", 6) + 1]
    return Mount(int(words[0]), _plain(words[4]), os.makedev(int(major), int(minor)), kind, _plain(words[3]))


def _plain(text: str) -> str:
    return re.sub(_OCTAL, lambda m: chr(int(m[1], 8)), text) if "\\" in text else text
