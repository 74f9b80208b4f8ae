"""Does this filesystem keep what atomsync promises? Tried on it, in a scratch directory, with real kills.

A small tree with every kind of step is pushed there again and again: watched by a reader, raced by another
writer, failed and killed before one call after the other that changes the disk. Every push runs in a
process of its own. Nothing is printed here, and a power cut cannot be tried.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from atomsync.errors import DiskError, RootError, StaleEntry, from_oserror
from atomsync.fs.capabilities import Capabilities, has_reflinks, probe
from atomsync.fs.disk import Space
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir, no_dir
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.testing.faults import Hook, fail_at
from atomsync.testing.ground import DONE, KILLED, REFUSED, Child, Ground, content, die_at, flat
from atomsync.testing.trees import Dir, File
from atomsync.tree.path import shown

_TRIED_MIN = 4  # however slow the disk is: a verdict must rest on something
_GLANCES = 20
_ERRORS = (errno.ENOSPC, errno.EIO)
_FOREIGN = b"saved by another writer"
_Point = TypeVar("_Point")
_NO_SYMLINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Found(NamedTuple):
    """What a filesystem can do; ``generations``: an inode is told from a later one of the same number."""

    filesystem: str
    able: Capabilities
    symlinks: bool
    generations: bool
    space: Space
    reflinks: bool


class Check(NamedTuple):
    """``tried`` of ``points``; how many ended how, and every violation in words."""

    name: str
    points: int
    tried: int
    outcomes: Mapping[str, int]
    violations: tuple[str, ...]


class Result(NamedTuple):
    found: Found
    checks: tuple[Check, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        return not any(check.violations for check in self.checks)


@contextlib.contextmanager
def scratch(path: str) -> Iterator[str]:
    """A new directory in ``path``, removed at the end with all that is in it; the time of ``path`` stays."""
    if not is_dir(path):
        raise RootError(f"cannot test {shown(path)}", no_dir(path), "DST names a directory that exists.")
    disk = PosixDisk()
    name = f".atomsync-selftest-{secrets.token_hex(4)}"
    where = os.path.join(path, name)
    try:
        at = disk.open_root(path)
    except OSError as error:
        raise from_oserror(error, f"cannot open {shown(path)}") from None
    before = disk.fstat(at)
    try:
        try:
            disk.mkdir(at, name)
        except OSError as error:
            raise from_oserror(error, f"cannot make {shown(where)}") from None
        try:
            yield where
        except OSError as error:
            raise from_oserror(error, f"cannot test in {shown(where)}") from None
        finally:
            _remove(disk, at, name, where)
            with contextlib.suppress(PermissionError):  # somebody else's directory, in which we may write
                disk.set_meta(at, -1, -1, None, before.st_mtime_ns)
    finally:
        disk.close(at)


def selftest(where: str, seconds: float, progress: Progress | None = None) -> Result:
    """Try everything in the empty directory ``where``, for about so many seconds.

    Raises what a push raises if not even one push goes through there. ``progress`` may stop it.
    """
    began = time.monotonic()
    progress = progress or Progress()
    found = look_at_filesystem(where)
    ground = Ground(where, links=found.symlinks)
    verbs = len(ground.push().log)
    ground.lay()
    tests = _Tests(ground, found.able, progress)
    checks = (
        tests.watched(began + 0.15 * seconds),
        tests.raced(),
        tests.failed(verbs, began + 0.4 * seconds),
        tests.killed(verbs, began + seconds),
    )
    return Result(found, checks, time.monotonic() - began)


def look_at_filesystem(where: str) -> Found:
    """What it is and can do; found by trying, in ``where``."""
    disk = PosixDisk()
    at = disk.open_root(where)
    try:
        disk.mkdir(at, "probe")
        below = disk.open_dir(at, "probe")
        try:
            able = probe(disk, below)
            reflinks = has_reflinks(disk, below)
            symlinks = True
            try:
                disk.symlink("target", below, "link")
            except OSError as error:
                if error.errno not in _NO_SYMLINKS:
                    raise
                symlinks = False
        finally:
            disk.close(below)
        generations = bool(disk.generation(at, "probe"))
        remove_tree(disk, at, "probe")
        return Found(_type(at), able, symlinks, generations, disk.space(at), reflinks)
    finally:
        disk.close(at)


class _Tests:
    def __init__(self, ground: Ground, able: Capabilities, progress: Progress) -> None:
        self._ground, self._able, self._progress = ground, able, progress
        old, new = flat(ground.trees["old"]), flat(ground.trees["new"])
        self._whole = {path: {content(tree.get(path)) for tree in (old, new)} for path in old | new}
        # What no swap lets go missing; docs/guarantee.md says what the weaker ways do.
        self._kept = [
            path
            for path in sorted(old.keys() & new.keys())
            if able.exchange or (able.link and not {type(old[path]), type(new[path])} & {Dir})
        ]

    # -- the checks
    def watched(self, until: float) -> Check:
        """Pushes there and back, while a reader looks at every path that must never be missing or torn."""
        tally = _Tally("pushes under the eyes of a reader")
        stop = f"{self._ground.dst}.stop"
        reader = Child(lambda: self._read_until(stop))
        try:
            while tally.tried < 2 or tally.tried % 2 or time.monotonic() < until:
                self._progress.check()
                name = ("new", "old")[tally.tried % 2]
                said = Child(partial(self._ground.push, name)).wait()
                self._judge(tally, f"push {tally.tried}", said, expected=name)
        finally:
            open(stop, "x").close()
            looks = reader.wait()
        if looks.isdigit():
            tally.outcomes["looks"] += int(looks)
        else:
            tally.violations.append(f"a reader: {looks}")
        self._ground.lay()
        return tally.check(tally.tried)

    def raced(self) -> Check:
        """Another writer saves a file in the instant before it is replaced, removed or created."""
        tally = _Tally("saves of another writer")
        names = ["file", "gone"] + ["made"] * self._able.rename_new  # without it: a documented race
        for name in names:
            said = Child(partial(self._ground.push, hook=_saving(self._ground.dst, name))).wait()
            kept = File(_FOREIGN, None) in flat(self._ground.look(all_of_it=True)).values()
            wrong = [] if kept else [f"a save over {name!r} is lost"]
            if said != f"{REFUSED} {StaleEntry.code}":
                wrong.append(f"a save over {name!r} was met with: {said}")
            tally.add("kept" if kept else "lost", wrong)
            self._ground.lay()
        return tally.check(len(names))

    def failed(self, verbs: int, until: float) -> Check:
        """A full or failing disk: one call after the other that changes something fails."""
        tally = _Tally("failed calls")
        points = [(n, number) for n in range(verbs) for number in _ERRORS]
        for n, number in self._spread(points, until):
            said = Child(partial(self._ground.push, hook=fail_at(n, number))).wait()
            case = f"{errno.errorcode[number]} at call {n}"
            if said != DONE and not said.startswith(REFUSED):
                tally.violations.append(f"{case}: {said}")
            self._judge(tally, case, Child(self._ground.recover).wait(), done=said == DONE)
        return tally.check(len(points))

    def killed(self, verbs: int, until: float) -> Check:
        """Killed before one call after the other; every third time its recovery is killed as well."""
        tally = _Tally("kills")
        for n in self._spread(range(verbs), until):
            said = Child(partial(self._ground.push, hook=die_at(n))).wait()
            if said not in (KILLED, DONE):
                tally.violations.append(f"killed at call {n}: {said}")
            tally.violations += self._torn(f"killed at call {n}")
            if n % 3 == 0:
                Child(partial(self._ground.recover, die_at(n // 3 % 12))).wait()
            self._judge(tally, f"killed at call {n}", Child(self._ground.recover).wait(), done=said == DONE)
        return tally.check(verbs)

    # -- judging
    def _judge(self, tally: _Tally, case: str, said: str, expected: str = "", *, done: bool = False) -> None:
        """The tree is old or new, nothing is unfinished; then the destination is laid for the next."""
        # Where open files are hidden instead of removed (FUSE), a reader changes the times of directories.
        now = self._ground.look(directory_times=not expected)
        what = next((name for name, tree in self._ground.trees.items() if tree == now), "mixed")
        wrong = [] if said == DONE else [f"{case}: {said}"]
        if what == "mixed" or what != (expected or ("new" if done else what)):
            wrong.append(f"{case}: the tree is {what}{self._difference(now, expected or 'old')}")
        if self._ground.unfinished():
            wrong.append(f"{case}: an unfinished unit is left")
        tally.add(what, wrong)
        if not expected and (what != "old" or wrong):
            self._ground.lay()

    def _difference(self, now: Dir, name: str) -> str:
        seen, meant = flat(now), flat(self._ground.trees[name])
        differ = [path for path in sorted(seen | meant) if seen.get(path) != meant.get(path)]
        return f", at {differ[0]!r} {seen.get(differ[0])} not {meant.get(differ[0])}" if differ else ""

    def _torn(self, case: str) -> list[str]:
        """Before recovery the tree may be mixed, but every path is whole."""
        now = flat(self._ground.look())
        wrong = [path for path in now if content(now[path]) not in self._whole.get(path, ())]
        wrong += [path for path in self._kept if path not in now]
        return [f"{case}: {path!r} is torn or missing before recovery" for path in wrong[:3]]

    def _read_until(self, stop: str) -> str:
        looks = 0
        at = os.open(self._ground.dst, os.O_RDONLY)
        while not os.path.lexists(stop):
            for path in self._kept:
                if _read(at, path or ".") not in self._whole[path]:
                    raise AssertionError(f"{path!r} is torn")
            for path in self._kept * _GLANCES:  # a look takes a microsecond: a gap must be short to escape
                os.stat(path or ".", dir_fd=at, follow_symlinks=False)
            looks += len(self._kept) * (1 + _GLANCES)
        return str(looks)

    def _spread(self, points: Sequence[_Point], until: float) -> Iterator[_Point]:
        """All of them, or as many as there is time for, from all over; the same ones every time."""
        for tried, point in enumerate(random.Random(0).sample(points, len(points))):
            self._progress.check()
            if tried >= _TRIED_MIN and time.monotonic() > until:
                return
            yield point


class _Tally:
    def __init__(self, name: str) -> None:
        self.name = name
        self.tried = 0
        self.outcomes: Counter[str] = Counter()
        self.violations: list[str] = []

    def add(self, outcome: str, violations: list[str]) -> None:
        self.tried += 1
        self.outcomes[outcome] += 1
        self.violations += violations

    def check(self, points: int) -> Check:
        return Check(self.name, points, self.tried, dict(self.outcomes), tuple(self.violations))


def _saving(dst: str, name: str) -> Hook:
    """Save over ``name`` as editors do, just before the first call that moves it."""
    saved = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal saved
        if name in names and not saved:
            saved = True
            with open(f"{dst}/editor.tmp", "xb") as file:
                file.write(_FOREIGN)
            os.rename(f"{dst}/editor.tmp", f"{dst}/{name}")

    return hook


def _read(at: int, path: str) -> object:
    """What a reader finds there, as ``ground.content`` has it."""
    while True:
        mode = os.stat(path, dir_fd=at, follow_symlinks=False).st_mode
        try:
            if stat.S_ISLNK(mode):
                return os.readlink(path, dir_fd=at)
            if stat.S_ISDIR(mode):
                return Dir
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at), "rb") as file:
                return file.read()
        except OSError as error:  # it became another kind between the two calls: look again
            if error.errno not in (errno.EINVAL, errno.ELOOP, errno.EISDIR):
                raise


def _type(at: int) -> str:
    """The name of its filesystem in the kernel's table of mounts; "" where there is no such table."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        with open(f"/proc/self/fdinfo/{at}") as info:
            mount = next(line.split()[1] for line in info if line.startswith("mnt_id:"))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            line = next(line for line in table if line.split(" ", 1)[0] == mount)
        return line.partition(" - ")[2].split()[0]
    return ""


def _remove(disk: PosixDisk, at: int, name: str, where: str) -> None:
    try:
        remove_tree(disk, at, name)
    except OSError as error:
        raise DiskError(
            f"cannot remove {shown(where)}", error.strerror or str(error), "Delete it by hand."
        ) from None
