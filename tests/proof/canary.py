"""A tree outside DST that nothing may touch. It holds the same names as DST, so that whoever is led
astray by one name finds the next, and does harm that shows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from tests.proof.scenario import Scenario

NOBODY = 65534
_READ_MAX_BYTES = 1 << 20


class Canary:
    """``root`` is a twin of the old DST. Its files are nobody's, who may thus give them names in DST.

    ``lent`` are the inodes that have such names: these come and go, and change nlink and ctime with
    them. Everything else that lstat tells must stay.
    """

    def __init__(self, base: Path) -> None:
        base.mkdir()
        scenario = Scenario(base)
        scenario.build()
        self.root = scenario.dst
        self.lent: set[object] = set()
        give_away(self.root, directories=False)  # or the attacker could change it without our help
        (self.root / "setuid").write_bytes(b"lends rights")
        (self.root / "setuid").chmod(0o4755)
        with contextlib.closing(sqlite3.connect(self.root / "base.sqlite")) as database:
            database.execute("CREATE TABLE kept (text TEXT)")
        self._before = look_hard(self.root)

    def changed(self) -> list[str]:
        """What is not as it was at the last look, in words."""
        before, now = self._before, look_hard(self.root)
        self._before = now
        wrong = [f"the canary gained or lost {path!r}" for path in sorted(now.keys() ^ before.keys())]
        for path in now.keys() & before.keys():
            old, new = before[path], now[path]
            if old[1] in self.lent:
                old, new = old[:-2], new[:-2]
            if old != new:
                wrong.append(f"the canary's {path!r} was {old}, is {new}")
        return wrong


def give_away(root: Path, *, directories: bool = True) -> None:
    """Everything at and below ``root`` to user nobody; the modes stay."""
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) and not directories:
            continue
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            path.chmod(mode & 0o7777)


def look_hard(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything lstat tells of every path but the atime, and the contents; nlink and ctime come last."""
    found: dict[str, tuple[object, ...]] = {}
    pending = [os.fspath(root)]
    while pending:
        path = pending.pop()
        status = os.lstat(path)
        content: object = None
        if stat.S_ISDIR(status.st_mode):
            content = sorted(os.listdir(path))
            pending += [os.path.join(path, name) for name in content]
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                content = (status.st_size, file.read(_READ_MAX_BYTES))
        found[os.path.relpath(path, root)] = (
            oct(status.st_mode),
            status.st_ino,
            (status.st_uid, status.st_gid),
            status.st_mtime_ns,
            content,
            status.st_nlink,
            status.st_ctime_ns,
        )
    return found
