"""Old and new trees, written down: what a push must take from the one to the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from atomsync.testing import Dir, File, Link, Profile, SimDisk
from tests.store.world import World

T = 1_600_000_000_000_000_000
UID, GID = os.geteuid(), os.getegid()


class Pair(NamedTuple):
    """``linked``: (name, other name) of one inode at the destination, both in its root.

    A literal cannot say that; the new tree shows the same name as a file of its own.
    """

    old: Dir
    new: Dir
    linked: tuple[str, str] | None = None

    def world(self, profile: Profile, base: Path, **traits: bool) -> World:
        """Both trees on the medium of a fresh simulated disk. ``base`` is a real, empty directory."""
        (base / "dst").mkdir(exist_ok=True)  # a store asks the system itself whether its root exists
        world = World.made(SimDisk(profile, **traits), str(base), self.old, self.new)  # type: ignore[arg-type]
        if self.linked:
            with world.root(world.dst) as at:
                world.disk.link(at, self.linked[0], at, self.linked[1])
                world.disk.set_meta(at, -1, -1, None, self.old.mtime_ns)
            world = world.on(world.sim.crash(range(len(world.sim.pending))))
        return world


def _file(data: bytes, at: int, mode: int = 0o644, uid: int = UID) -> File:
    return File(data, mode, T + at, uid, GID)


# Every kind of step, sized so that all subsets of what is pending behind the seal can be judged: twelve
# swaps and five attributes of three directories and a file, 2**17 subsets.
RICH = Pair(
    Dir(
        {
            "same": _file(b"same", 0),
            "hard-a": _file(b"one inode", 1),
            "deep": Dir({"closed": Dir({"change": _file(b"old", 2)}, 0o555, T + 3)}, mtime_ns=T + 4),
            "file-to-dir": _file(b"was a file", 5),
            "dir-to-file": Dir({"a": _file(b"a", 6), "b": Dir({}, mtime_ns=T + 7)}, mtime_ns=T + 8),
            "dir-to-link": Dir({"x": _file(b"x", 9)}, mtime_ns=T + 10),
            "link": Link("same", T + 11),
            "link-to-dir": Link("deep", T + 11),
            "gone": _file(b"gone", 12),
            "gone-dir": Dir({"deep": Dir({"f": _file(b"f", 13)}, mtime_ns=T + 14)}, mtime_ns=T + 15),
            "meta": _file(b"meta", 16, 0o4755),
            "meta-dir": Dir({"kept": _file(b"kept", 17)}, 0o755, T + 18),
        },
        mtime_ns=T + 19,
    ),
    Dir(
        {
            "same": _file(b"same", 0),
            "hard-a": _file(b"an inode of its own", 101),
            "hard-b": _file(b"one inode", 1),
            "deep": Dir({"closed": Dir({"change": _file(b"new", 102)}, 0o555, T + 103)}, mtime_ns=T + 4),
            "file-to-dir": Dir({"in": _file(b"in", 104)}, mtime_ns=T + 105),
            "dir-to-file": _file(b"was a directory", 106),
            "dir-to-link": Link("same", T + 107),
            "link": Link("meta", T + 108),
            "link-to-dir": Dir({}, mtime_ns=T + 108),
            "meta": _file(b"meta", 16, 0o4750, UID + 7),
            "meta-dir": Dir({"kept": _file(b"kept", 17)}, 0o2700, T + 109),
            "made": _file(b"made", 110, 0o640),
            "made-link": Link("../outside", T + 111),
            "made-dir": Dir(
                {
                    "sub": Dir({"f": _file(b"f", 112)}, 0o750, T + 113),
                    "l": Link("sub/f", T + 114),
                    "empty": _file(b"", 115),
                },
                mtime_ns=T + 116,
            ),
        },
        mtime_ns=T + 117,
    ),
    ("hard-a", "hard-b"),
)

# At most eight entries: every file and directory is then synced on its own, not by syncfs.
SMALL = Pair(
    Dir(
        {
            "replaced": _file(b"old", 1),
            "gone": _file(b"gone", 2),
            "meta": _file(b"meta", 3, 0o600),
        },
        mtime_ns=T + 5,
    ),
    Dir(
        {
            "replaced": _file(b"newer", 101),
            "meta": _file(b"meta", 103, 0o640),
            "made": Dir({"f": _file(b"f", 105)}, mtime_ns=T + 106),
        },
        mtime_ns=T + 107,
    ),
)

# Links cannot be opened, so nothing but syncfs makes their own times durable.
LINKS = Pair(
    Dir({"link": Link("one", T + 1), "other": Link("same", T + 2)}, mtime_ns=T + 3),
    Dir(
        {"link": Link("two", T + 101), "other": Link("same", T + 102), "made": Link("x", T + 103)},
        mtime_ns=T + 104,
    ),
)
