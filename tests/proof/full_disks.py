"""Pushes and recoveries on real filesystems that run full: the tree is old or new, the message is right,
nothing that eats space stays, and with space freed the same push goes through."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from atomsync.errors import AtomSyncError
from atomsync.fs.posix import PosixDisk
from atomsync.store import store
from atomsync.sync.push import push
from atomsync.testing.ground import KILLED, Child, die_at
from atomsync.testing.hooked import HookedDisk
from atomsync.unit.store import open_store
from tests.proof.figures import Outcome
from tests.proof.judge import Tree, left_behind, look, torn, verdict
from tests.proof.scenario import Scenario

KIB = 1 << 10
SPACE, LIMIT, IN_DOUBT = 44, 14, 75
_SAID = {
    SPACE: ("No space left", "not enough space", "not enough inodes", "quota"),
    LIMIT: ("File too large",),
    IN_DOUBT: ("atomsync recover",),
}


class Ended(NamedTuple):
    """How a command ended. ``status`` -1: not as it may."""

    status: int
    said: str


Command = Callable[[], Ended]


class Place:
    """A destination on filesystem ``point``; the source, and what the destination was, are ``elsewhere``."""

    def __init__(self, point: Path, elsewhere: Path) -> None:
        self.point, self.filler = point, point / "filler"
        self._old = elsewhere / "old"
        scenario = Scenario(elsewhere)
        scenario.dst = self._old
        scenario.build()
        self.src, self.dst = scenario.src, point / "dst"
        self.new = look(self.src)
        self.old: Tree = {}

    def lay(self) -> None:
        """The old tree, durable, with all the space there is."""
        self.free_all()
        shutil.rmtree(self.dst, ignore_errors=True)
        self.sync()
        subprocess.run(["cp", "-a", self._old, self.dst], check=True)
        self.sync()
        self.old = look(self.dst)

    # -- space
    def leave(self, size: int) -> None:
        """About ``size`` bytes free, in one file that takes the rest."""
        self.free_all()
        at = 0
        with self.filler.open("wb") as file:
            for piece in (16 << 20, 1 << 20, 64 * KIB, 4 * KIB):
                with contextlib.suppress(OSError):
                    while _free(self.point) - piece >= size:
                        os.posix_fallocate(file.fileno(), at, piece)
                        at += piece
        self.sync()

    def leave_inodes(self, count: int) -> None:
        self.free_all()
        self.filler.mkdir()
        number = 0
        with contextlib.suppress(OSError):
            while os.statvfs(self.point).f_favail > count:
                (self.filler / str(number)).touch()
                number += 1

    def free_all(self) -> None:
        if self.filler.is_dir():
            shutil.rmtree(self.filler)
        self.filler.unlink(missing_ok=True)
        self.sync()

    def sync(self) -> None:
        """Also what btrfs needs to know its free space."""
        fd = os.open(self.point, os.O_RDONLY)
        try:
            PosixDisk().syncfs(fd)
        finally:
            os.close(fd)

    # -- commands
    def push(self) -> Ended:
        return _ended(lambda: push(self.src, self.dst, delete=True))

    def recover(self) -> Ended:
        return _ended(open_store(self.dst).recover)

    def push_limited(self, size: int) -> Ended:
        """No file may grow beyond ``size`` bytes."""

        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            push(self.src, self.dst, delete=True)

        return _ended(work)

    def killed_push(self, verb: int) -> str:
        """KILLED before this call that changes the disk; or how many of them the push made."""
        disk = HookedDisk(die_at(verb))

        def work() -> str:
            store.PosixDisk = lambda: disk  # type: ignore[misc, assignment]  # in the child only
            push(self.src, self.dst, delete=True)
            return str(len(disk.log))

        return Child(work).wait()


def pushes(place: Place, ways: Iterable[tuple[str, Callable[[], None], Command]], outcome: Outcome) -> None:
    """Each way: a name, what makes the space scarce, and the push."""
    place.lay()
    for number, (case, make_scarce, command) in enumerate(ways):
        if outcome.done:
            return
        make_scarce()
        ended = command()
        what, wrong = _judge(place, ended)
        if ended.status == IN_DOUBT:
            place.free_all()
            what, wrong = _recovered(place, wrong)
        elif ended.status and number % 3 == 0:
            place.free_all()
            again = place.push()
            wrong += _is_new(place) if again.status == 0 else [f"with space freed again: {again}"]
        outcome.judged(f"{what} after {ended.status}", *(f"{case}: {text}" for text in wrong))
        if wrong or look(place.dst) != place.old:
            place.lay()


def recoveries(place: Place, points: int, sizes: Iterable[int], outcome: Outcome) -> None:
    """A push is killed in its second half, the disk runs full, and then recovery comes."""
    place.lay()
    verbs = int(place.killed_push(1 << 30))
    for size in sizes:
        for verb in range(verbs // 2, verbs, max(1, verbs // 2 // points)):
            if outcome.done:
                return
            place.lay()
            if place.killed_push(verb) != KILLED:
                continue  # a few calls fewer than the first time
            place.leave(size)
            case = f"killed at call {verb}, {size:,} bytes free"
            wrong = torn(look(place.dst), place.old, place.new)
            ended = place.recover()
            if ended.status not in (0, SPACE):
                wrong.append(f"recovery said {ended}")
            if ended.status:
                wrong += torn(look(place.dst), place.old, place.new)
                place.free_all()
            what, wrong = _recovered(place, wrong)
            outcome.judged(f"{what} after {ended.status}", *(f"{case}: {text}" for text in wrong))


def _judge(place: Place, ended: Ended) -> tuple[str, list[str]]:
    now = look(place.dst)
    what, wrong = verdict(now, place.old, place.new)
    if ended.status == IN_DOUBT:
        return what, torn(now, place.old, place.new) + _message(ended)
    wrong += left_behind(place.dst)
    if what == "mixed" or (what == "new") != (ended.status == 0):
        wrong.append(f"{what} after {ended}")
    return what, wrong + _message(ended)


def _message(ended: Ended) -> list[str]:
    if ended.status == 0:
        return []
    if any(text in ended.said for text in _SAID.get(ended.status, ())):
        return []
    return [f"status or message: {ended}"]


def _recovered(place: Place, wrong: list[str]) -> tuple[str, list[str]]:
    """With space again recovery must come to an end."""
    ended = place.recover()
    if ended.status:
        wrong.append(f"recovery with space again: {ended}")
    what, more = verdict(look(place.dst), place.old, place.new)
    return what, wrong + more + left_behind(place.dst)


def _is_new(place: Place) -> list[str]:
    what, wrong = verdict(look(place.dst), place.old, place.new)
    return wrong + left_behind(place.dst) + ["not new with space freed"] * (what != "new")


def _ended(work: Callable[[], object]) -> Ended:
    """Run it in a process of its own, which may hang or die."""

    def said() -> str:
        try:
            work()
        except AtomSyncError as error:
            return f"{error.exit_status}|{error}"
        return "0|"

    found = Child(said).wait()
    status, bar, text = found.partition("|")
    return Ended(int(status), text) if bar and status.isdigit() else Ended(-1, found)


def _free(point: Path) -> int:
    found = os.statvfs(point)
    return found.f_bavail * found.f_frsize
