"""Ground for a self-test: two trees that differ in every way, pushed over each other by processes that
may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace

from atomsync.errors import AtomSyncError
from atomsync.fs.posix import PosixDisk
from atomsync.store.access import open_control
from atomsync.store.control import UNIT
from atomsync.store.copying import Source
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.sync.compare import Comparer
from atomsync.sync.rules import Rules
from atomsync.testing.faults import Hook
from atomsync.testing.hooked import HookedDisk
from atomsync.testing.trees import Dir, File, Link, Tree, build, read
from atomsync.tree.diff import Ownership
from atomsync.tree.filters import Filters
from atomsync.tree.path import CONTROL_NAME
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork

DONE, KILLED, REFUSED = "done", "killed", "refused"
_HUNG_S = 60
_T = 1_600_000_000_123_456_789


def _file(data: bytes, mode: int = 0o644) -> File:
    return File(data, mode, _T)


def _dir(names: Mapping[str, Tree], mode: int = 0o755) -> Dir:
    return Dir(names, mode, _T + len(names))


# Names in both roots are used once, so that a hook can tell a path by its name.
OLD = _dir(
    {
        "same": _file(b"same"),
        "file": _file(b"old"),
        "mode": _file(b"mode", 0o600),
        "gone": _file(b"gone"),
        "gone-dir": _dir({"sub": _dir({"f": _file(b"gone with its directory", 0o400)})}),
        "link": Link("same", _T),
        "file-to-dir": _file(b"was a file"),
        "dir-to-file": _dir({"f": _file(b"in what was a directory")}),
        "link-to-dir": Link("same", _T),
        "dir-to-link": _dir({"f": _file(b"in what was a directory")}),
        "closed": _dir({"kept": _file(b"kept"), "changed": _file(b"old")}, 0o555),
    }
)
NEW = _dir(
    {
        "same": _file(b"same"),
        "file": _file(b"the new version"),
        "mode": _file(b"mode", 0o751),
        "made": _file(b"made", 0o640),
        "made-dir": _dir({"sub": _dir({"f": _file(b"made with its directory"), "l": Link("f", _T)})}, 0o750),
        "link": Link("mode", _T),
        "file-to-dir": _dir({"f": _file(b"below what was a file")}),
        "dir-to-file": _file(b"was a directory"),
        "link-to-dir": _dir({"f": _file(b"below what was a link")}),
        "dir-to-link": Link("same", _T),
        "closed": _dir({"kept": _file(b"kept"), "changed": _file(b"newer"), "empty": _file(b"")}, 0o555),
    }
)


class Ground:
    """In directory ``where``: ``old`` and ``new``, which never change, and ``dst``, laid anew as ``old``.

    ``links``: whether the filesystem has symbolic links; without them the trees do with files.
    """

    def __init__(self, where: str, *, links: bool) -> None:
        self._disk = PosixDisk()
        self._where, self._links = where, links
        self.dst = f"{where}/dst"
        self._make("old", OLD)
        self._make("new", NEW)
        self.trees = {"old": self.look("old"), "new": self.look("new")}  # as this filesystem keeps them
        self.lay()

    def lay(self) -> None:
        """The destination is exactly ``old``, whatever it was."""
        at = self._disk.open_root(self._where)
        try:
            remove_tree(self._disk, at, "dst")
        finally:
            self._disk.close(at)
        self._make("dst", OLD)

    def push(self, source: str = "new", hook: Hook | None = None) -> HookedDisk:
        """What ``atomsync push --delete`` does, on a disk with a hook."""
        disk = HookedDisk(hook)
        at = disk.open_root(f"{self._where}/{source}")
        origin = Source(disk, at)
        try:
            with UnitOfWork(open_store(self.dst, disk=disk), source=origin, exclusive=True).begin() as unit:
                tree = unit.session.control.tree
                for change in Comparer(origin.cursor, tree, _rules(), {}, 0, Progress()).run().changes:
                    unit.register(change)
        finally:
            origin.cursor.close()
            disk.close(at)
        return disk

    def recover(self, hook: Hook | None = None) -> None:
        open_store(self.dst, disk=HookedDisk(hook)).recover()

    def look(self, name: str = "dst", *, all_of_it: bool = False, directory_times: bool = True) -> Dir:
        """A tree as it stands; with the control directory if ``all_of_it``."""
        at = self._disk.open_root(f"{self._where}/{name}")
        try:
            skip = () if all_of_it else (CONTROL_NAME,)
            return read(self._disk, at, skip, owners=True, directory_times=directory_times)
        finally:
            self._disk.close(at)

    def unfinished(self) -> bool:
        return os.path.lexists(f"{self.dst}/{CONTROL_NAME}/{UNIT}")

    def _make(self, name: str, tree: Dir) -> None:
        path = f"{self._where}/{name}"
        os.mkdir(path)
        if name == "dst":  # first: making the control directory changes the time of the destination
            control = open_control(self._disk, path)
            assert control is not None
            control.close()
        at = self._disk.open_root(path)
        try:
            build(self._disk, at, tree if self._links else _without_links(tree))
        finally:
            self._disk.close(at)


class Child:
    """Work in a process of its own, which may die of it."""

    def __init__(self, work: Callable[[], object]) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            said = ""
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(_HUNG_S)
                found = work()
                said = found if isinstance(found, str) else DONE
            except AtomSyncError as error:
                said = f"{REFUSED} {error.code}"
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            finally:
                os.write(writing, os.fsencode(said)[:4000])
                os._exit(0)
        os.close(writing)
        self._pipe = reading

    def wait(self) -> str:
        """The text it returned or DONE, REFUSED and an error's code, KILLED, or what should not be."""
        with open(self._pipe, "rb") as pipe:
            said = os.fsdecode(pipe.read())
        _, status = os.waitpid(self._pid, 0)
        if said or not os.WIFSIGNALED(status):
            return said
        number = os.WTERMSIG(status)
        if number == signal.SIGALRM:
            return f"not ended after {_HUNG_S} s"
        return KILLED if number == signal.SIGKILL else f"ended by {signal.Signals(number).name}"


def die_at(n: int) -> Hook:
    """The process is killed before verb ``n``, as by ``kill -9``."""

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index == n:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def flat(tree: Dir, above: str = "") -> dict[str, File | Dir | Link]:
    """Path → what is there, directories without their members."""
    found: dict[str, File | Dir | Link] = {above.rstrip("/"): replace(tree, names={})}
    for name, child in tree.names.items():
        if isinstance(child, Dir):
            found |= flat(child, f"{above}{name}/")
        elif isinstance(child, File | Link):
            found[above + name] = child
    return found


def content(tree: Tree | None) -> object:
    """What a reader of one path must find whole: the kind, and the bytes or the target."""
    if isinstance(tree, File):
        return tree.data
    return tree.target if isinstance(tree, Link) else type(tree)


def _rules() -> Rules:
    ownership = Ownership(os.geteuid() == 0, os.geteuid(), frozenset([os.getegid(), *os.getgroups()]))
    return Rules(Filters(), ownership, delete=True)


def _without_links(tree: Dir) -> Dir:
    names = {
        name: _file(child.target.encode())
        if isinstance(child, Link)
        else _without_links(child)
        if isinstance(child, Dir)
        else child
        for name, child in tree.names.items()
    }
    return Dir(names, tree.mode, tree.mtime_ns)
