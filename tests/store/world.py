"""A source and a destination side by side on one disk, real or simulated, and what happens to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.plan import normal_form
from atomsync.store.access import open_control
from atomsync.store.commit import Receipt
from atomsync.store.control import Control
from atomsync.store.copying import Source
from atomsync.store.progress import Progress
from atomsync.store.recovery import Recovery
from atomsync.store.seal import SealedUnit
from atomsync.store.session import Session
from atomsync.sync.compare import Comparer
from atomsync.sync.rules import Rules
from atomsync.testing import Dir, File, Link, SimDisk, Tree, build, read, snapshot
from atomsync.tree.diff import Ownership
from atomsync.tree.entry import Entry, look
from atomsync.tree.filters import Filters
from atomsync.unit.store import Store, open_store
from atomsync.unit.work import UnitOfWork

T = 1_600_000_000_000_000_000
RULES = Rules(Filters(), Ownership(True, 0, frozenset()), delete=True)

# Every kind of step, between two literals: each pair of kinds, nested, with metadata and closed modes.
OLD = Dir(
    {
        "same": File(b"same", mtime_ns=T),
        "file": File(b"old", mtime_ns=T + 1),
        "file-to-dir": File(b"was a file", mtime_ns=T + 2),
        "dir-to-file": Dir(
            {"a": File(b"a", mtime_ns=T + 3), "b": Dir({"c": File(b"c", mtime_ns=T + 4)}, mtime_ns=T + 5)},
            mtime_ns=T + 6,
        ),
        "dir-to-link": Dir({"x": File(b"x", mtime_ns=T + 7)}, mtime_ns=T + 8),
        "link": Link("same", mtime_ns=T + 9),
        "gone": File(b"gone", mtime_ns=T + 10),
        "gone-dir": Dir({"deep": Dir({"f": File(b"f", mtime_ns=T + 11)}, mtime_ns=T + 12)}, mtime_ns=T + 13),
        "mode": File(b"mode", 0o644, mtime_ns=T + 14),
        "time": Dir({}, 0o755, mtime_ns=T + 15),
        "nested": Dir(
            {
                "closed": Dir(
                    {"keep": File(b"keep", mtime_ns=T + 16), "change": File(b"old", mtime_ns=T + 17)},
                    0o555,
                    mtime_ns=T + 18,
                )
            },
            mtime_ns=T + 19,
        ),
    },
    mtime_ns=T + 20,
)
NEW = Dir(
    {
        "same": File(b"same", mtime_ns=T),
        "file": File(b"newer", 0o600, mtime_ns=T + 101),
        "file-to-dir": Dir({"in": File(b"in", mtime_ns=T + 102)}, mtime_ns=T + 103),
        "dir-to-file": File(b"was a directory", mtime_ns=T + 104),
        "dir-to-link": Link("same", mtime_ns=T + 105),
        "link": Link("file", mtime_ns=T + 106),
        "mode": File(b"mode", 0o600, mtime_ns=T + 14),
        "time": Dir({}, 0o700, mtime_ns=T + 107),
        "nested": Dir(
            {
                "closed": Dir(
                    {"keep": File(b"keep", mtime_ns=T + 16), "change": File(b"new", mtime_ns=T + 108)},
                    0o555,
                    mtime_ns=T + 109,
                )
            },
            mtime_ns=T + 110,
        ),
        "made": Dir(
            {
                "sub": Dir({"f": File(b"f", 0o640, mtime_ns=T + 111)}, 0o750, mtime_ns=T + 112),
                "l": Link("sub/f", mtime_ns=T + 113),
            },
            mtime_ns=T + 114,
        ),
        "new-link": Link("../outside", mtime_ns=T + 115),
        "empty": File(b"", mtime_ns=T + 116),
    },
    mtime_ns=T + 117,
)


class World:
    """``base`` is an existing directory; in it stand ``src`` and ``dst``."""

    def __init__(self, disk: Disk, base: str) -> None:
        self.disk, self.base = disk, base
        self.src, self.dst = f"{base}/src", f"{base}/dst"

    @classmethod
    def made(cls, disk: Disk, base: str, old: Dir | None = None, new: Dir | None = None) -> World:
        """With ``old`` at the destination, ``new`` at the source, all of it on the medium."""
        if isinstance(disk, SimDisk):
            at = disk.open_root("/")
            for name in filter(None, base.split("/")):
                disk.mkdir(at, name)
                below = disk.open_dir(at, name)
                disk.set_meta(below, -1, -1, 0o755, None)
                disk.close(at)
                at = below
            disk.close(at)
        world = cls(disk, base)
        with world.root(base) as at:
            disk.mkdir(at, "src")
            disk.mkdir(at, "dst")
        control = open_control(disk, world.dst)  # made first: it changes the time of the destination
        assert control is not None
        control.close()
        with world.root(world.src) as at:
            build(disk, at, new or Dir({}))
        with world.root(world.dst) as at:
            build(disk, at, old or Dir({}))
        if isinstance(disk, SimDisk):  # all of it survives a power cut: then it is on the medium
            disk = disk.crash(range(len(disk.pending)))
            disk.hook = world.sim.hook
        return world.on(disk)

    # -- the disk at other times
    def on(self, disk: Disk) -> World:
        """The same places on another disk: what a kill or a power cut left of this one."""
        return World(disk, self.base)

    @property
    def sim(self) -> SimDisk:
        assert isinstance(self.disk, SimDisk)
        return self.disk

    # -- the store
    def store(self, **options: Any) -> Store:
        return open_store(self.dst, disk=self.disk, **{"timeout": 0, **options})

    def unit(self, **options: Any) -> UnitOfWork:
        return UnitOfWork(self.store(**options))

    def begin(self, **options: Any) -> AbstractContextManager[UnitOfWork]:
        return self.store(**options).begin()

    def recover(self, **options: Any) -> Recovery:
        return self.store(**options).recover()

    @contextlib.contextmanager
    def pushing(self, store: Store | None = None, **options: Any) -> Iterator[UnitOfWork]:
        """A unit that makes the destination hold the source, everything registered, nothing staged."""
        with self.root(self.src) as at:
            origin = Source(self.disk, at)
            unit = UnitOfWork(store or self.store(**options), source=origin, exclusive=True)
            try:
                compared = Comparer(origin.cursor, unit.session.control.tree, RULES, {}, 0, Progress()).run()
                for change in compared.changes:
                    unit.register(change)
                yield unit
            finally:
                origin.cursor.close()
                with contextlib.suppress(OSError):
                    unit.rollback()

    def push(self, **options: Any) -> Receipt:
        with self.pushing(**options) as unit:
            return unit.commit()

    @contextlib.contextmanager
    def sealed(self, **options: Any) -> Iterator[tuple[Session, SealedUnit]]:
        """A push stopped behind its seal: what happens to the destination now, only the commit sees."""
        with self.pushing(**options) as unit:
            changes = [*unit._books.changes.values()]
            plan, unstable = unit.session.flush(normal_form(changes), unit.source, {}, ())
            assert not unstable
            yield unit.session, unit.session.seal(plan)

    # -- looking
    @contextlib.contextmanager
    def root(self, path: str) -> Iterator[int]:
        fd = self.disk.open_root(path)
        try:
            yield fd
        finally:
            self.disk.close(fd)

    def tree(self, where: str = "dst", **options: Any) -> Dir:
        """What stands at the destination, with the times of directories."""
        options = {"directory_times": True, **options}
        if isinstance(self.disk, SimDisk):
            return snapshot(self.disk, f"{self.base}/{where}".lstrip("/"), **options)
        with self.root(f"{self.base}/{where}") as at:
            return read(self.disk, at, **options)

    def control_tree(self, *names: str) -> Dir:
        """What is in the control directory, or below it."""
        return self.tree("/".join(["dst", ".atomsync", *names]), skip=(), directory_times=False)

    def control_names(self, *names: str) -> list[str]:
        try:
            return sorted(self.control_tree(*names).names)
        except (FileNotFoundError, KeyError):
            return []

    def entry(self, path: str) -> Entry | None:
        with self.root(self.dst) as at, Cursor(self.disk, at) as cursor:
            return look(self.disk, *cursor.split(path))

    def content(self, path: str) -> bytes:
        with self.root(self.dst) as at, Cursor(self.disk, at) as cursor:
            fd = self.disk.open_file(*cursor.split(path))
            try:
                return self.disk.pread(fd, 1 << 20, 0)
            finally:
                self.disk.close(fd)

    def all_contents(self) -> set[bytes]:
        """The bytes of every file at the destination, those in the control directory too."""
        found: set[bytes] = set()
        pending: list[Any] = [self.tree(skip=(), directory_times=False)]
        while pending:
            tree = pending.pop()
            if isinstance(tree, Dir):
                pending.extend(tree.names.values())
            elif isinstance(tree, File):
                found.add(tree.data)
        return found

    # -- what other programs do
    @contextlib.contextmanager
    def place(self, path: str, where: str = "dst") -> Iterator[tuple[int, str]]:
        with self.root(f"{self.base}/{where}") as at, Cursor(self.disk, at) as cursor:
            yield cursor.split(path)

    def write_into(self, path: str, data: bytes, offset: int = 0) -> None:
        """Write into the inode that is there."""
        with self.place(path) as (at, name):
            fd = self.disk.open_lock(at, name)
            try:
                self.disk.write(fd, data, offset)
            finally:
                self.disk.close(fd)

    def save(self, path: str, data: bytes) -> None:
        """As an editor does: a new file renamed over the path."""
        with self.place(path) as (at, name):
            self._put(at, "editor.tmp", data)
            self.disk.replace(at, "editor.tmp", at, name)

    def create(self, path: str, data: bytes) -> None:
        with self.place(path) as (at, name):
            self._put(at, name, data)

    def unlink(self, path: str) -> None:
        with self.place(path) as (at, name):
            self.disk.unlink(at, name)

    def chmod(self, path: str, mode: int) -> None:
        with self.place(path) as (at, name):
            self.disk.set_meta_at(at, name, -1, -1, mode, None)

    def rename(self, path: str, to: str) -> None:
        with self.place(path) as (at, name), self.place(to) as (at_to, name_to):
            self.disk.rename_new(at, name, at_to, name_to)

    def symlink(self, path: str, target: str) -> None:
        with self.place(path) as (at, name):
            self.disk.symlink(target, at, name)

    def _put(self, at: int, name: str, data: bytes) -> None:
        fd = self.disk.create(at, name)
        try:
            self.disk.write(fd, data, 0)
            self.disk.set_meta(fd, -1, -1, 0o644, None)
        finally:
            self.disk.close(fd)


def without_link_times(tree: Tree) -> Tree:
    """Where syncfs is not to be trusted nothing makes a link's own time durable: links cannot be opened."""
    if isinstance(tree, Link):
        return replace(tree, mtime_ns=None)
    if isinstance(tree, Dir):
        return replace(tree, names={name: without_link_times(child) for name, child in tree.names.items()})
    return tree


@contextlib.contextmanager
def opened(world: World) -> Iterator[Control]:
    """The control directory of a world, locked."""
    control = open_control(world.disk, world.dst, make=False)
    assert control is not None
    try:
        control.lock()
        yield control
    finally:
        control.close()
