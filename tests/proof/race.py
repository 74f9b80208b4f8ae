"""An attacker in a process of his own, user nobody, busy in his DST while root commits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

from atomsync.errors import AtomSyncError
from atomsync.sync.push import push
from tests.proof.attack import exchange
from tests.proof.canary import NOBODY, Canary, give_away
from tests.proof.figures import Outcome
from tests.proof.judge import look, verdict
from tests.proof.scenario import Scenario

DIRECTORIES = ("deep", "deep/a", "deep/a/b", "closed", "dir-mode", "gone-dir", "made-dir", "dir-to-file")
FILES = ("mode", "owner", "hard-a", "link", "deep/a/b/replaced", "closed/changed", "gone", "made", "large")
_PR_SET_PDEATHSIG = 1


class Attacked:
    """Two sources whose pushes take every kind of step, back and forth, and a DST that is nobody's."""

    def __init__(self, base: Path) -> None:
        self.canary = Canary(base / "outside")
        self.canary.lent |= {path.lstat().st_ino for path in self.canary.root.rglob("*") if not path.is_dir()}
        self.dst, self.aside = base / "tree" / "dst", base / "aside"
        self.sources = []
        for name in ("tree", "other"):
            (base / name).mkdir()
            scenario = Scenario(base / name)
            scenario.build()
            give_away(scenario.base)
            self.sources.append(scenario.src if name == "tree" else scenario.dst)
        self.aside.mkdir()
        give_away(self.aside)

    @contextlib.contextmanager
    def attacker(self, seed: int) -> Iterator[None]:
        """He works for the time of a ``with``."""
        pid = os.fork()
        if pid == 0:
            try:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                _attack_for_ever(self.dst, self.canary.root, self.aside, random.Random(seed))
            finally:
                os._exit(1)
        try:
            yield
        finally:
            gone, _ = os.waitpid(pid, os.WNOHANG)
            if not gone:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            assert not gone, "the attacker gave up"

    def judge(self, outcome: Outcome, what: str, *wrong: str) -> None:
        outcome.judged(what, *wrong, *self.canary.changed())

    def at_rest(self) -> list[str]:
        """With the attacker and his control directory gone, one push makes it all new."""
        control = self.dst / ".atomsync"
        if control.is_symlink() or (control.exists() and control.stat().st_uid != os.geteuid()):
            os.rename(control, self.aside / "his-control")
        source = self.sources[0]
        try:
            push(source, self.dst, delete=True, checksum=True, max_delete="100%")
        except AtomSyncError as error:
            return [f"a push at rest fails: {error}"]
        want = look(source)
        return verdict(look(self.dst), {}, want)[1] + self.canary.changed()


def commits(base: Path, outcome: Outcome, count: int) -> None:
    """Root pushes one source and the other in turn."""
    attacked = Attacked(base)
    with attacked.attacker(seed=count):
        for number in range(count):
            if outcome.done:
                return
            what, wrong = "committed", []
            try:
                push(
                    attacked.sources[number % 2],
                    attacked.dst,
                    delete=True,
                    max_delete="100%",
                    durability="none",
                    keep=0,
                )
            except AtomSyncError as error:
                what = type(error).__name__
            except Exception as error:
                what, wrong = "crashed", [f"{type(error).__name__}: {error}"]
            attacked.judge(outcome, what, *wrong)
    outcome.judged("at rest", *attacked.at_rest())


# -- what the attacker does; only ``os``, since he may read no module


def _attack_for_ever(dst: Path, canary: Path, aside: Path, rng: random.Random) -> None:
    moved = aside / "moved"
    while True:
        with contextlib.suppress(OSError):
            _strike(dst, canary, moved, rng)
        if moved.is_symlink() or moved.exists():  # could not go back: there is something new
            os.rename(moved, aside / f"{rng.random()}")


def _strike(dst: Path, canary: Path, moved: Path, rng: random.Random) -> None:
    path = rng.choice(DIRECTORIES + FILES)
    place, twin = dst / path, canary / path
    kind = rng.random()
    parent = place.parent
    when = parent.stat().st_mtime_ns
    if kind < 0.2:
        exchange(place, dst / rng.choice(DIRECTORIES + FILES))
    elif kind < 0.4 and path in DIRECTORIES:
        _work_inside(place, canary, rng)
    elif kind < 0.41:
        _replace(dst / ".atomsync", moved, canary / "deep", rng, hard=False)
    else:
        _replace(place, moved, twin, rng, hard=kind > 0.7)
    os.utime(parent, ns=(when, when))


def _replace(place: Path, moved: Path, twin: Path, rng: random.Random, *, hard: bool) -> None:
    os.rename(place, moved)
    try:
        if hard:
            os.link(twin, place, follow_symlinks=False)
        else:
            os.symlink(twin, place)
        for _ in range(rng.choice((0, 10, 1000))):
            os.getpid()
        os.unlink(place)
    finally:
        os.rename(moved, place)


def _work_inside(place: Path, canary: Path, rng: random.Random) -> None:
    """He keeps a directory open, and works in it wherever it is by now: displaced, or about to be deleted."""
    at = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for _ in range(rng.choice((1, 10, 100))):
            with contextlib.suppress(OSError):
                os.symlink(canary, "planted", dir_fd=at)
                os.rename("planted", rng.choice(("f", "sub", "changed")), src_dir_fd=at, dst_dir_fd=at)
                os.mkdir("planted", dir_fd=at)
                os.rmdir("planted", dir_fd=at)
    finally:
        os.close(at)
