"""Attackers who own DST, against a push by root: something planted before every single verb of it.

Who owns a directory may rename, replace and link whatever is in it; he cannot look into root's control
directory (0700), but can move it away and put one of his own there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from atomsync.errors import AtomSyncError, ControlUntrusted
from atomsync.testing import HookedDisk, Killed
from tests.proof.canary import Canary, give_away
from tests.proof.figures import Outcome
from tests.proof.scenario import Scenario
from tests.store.world import World

CONTROL = ".atomsync"
ON_THE_WAY = ("deep", "deep/a", "deep/a/b", "closed", "gone-dir", "dir-to-file", "dir-mode")
FILES = ("deep/a/b/replaced", "closed/changed", "mode", "owner", "gone", "hard-a", "link", "large", "made")
EXCHANGED = {"deep/a/b": "closed", "deep": "dir-mode", "mode": "deep/a/b/replaced", "gone-dir": "same"}
MANNERS = STAYS, BACK, CUT = "stays", "taken back", "push killed"

Plant = Callable[[Path, Path, Canary], None]


class Attack(NamedTuple):
    """``plant(place, twin, canary)`` is called when what was at ``path`` was moved; None: exchange."""

    name: str
    path: str
    plant: Plant | None

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def _symlink(place: Path, twin: Path, canary: Canary) -> None:
    place.symlink_to(twin)


def _hard_link(place: Path, twin: Path, canary: Canary) -> None:
    if not twin.exists():
        twin = canary.root / "same"
    canary.lent.add(twin.lstat().st_ino)
    os.link(twin, place, follow_symlinks=False)


def _own_control(place: Path, twin: Path, canary: Canary) -> None:
    """One of his own, in which every name leads to the canary."""
    place.mkdir(0o700)
    for name in (
        "lock",
        "pending",
        "prepared",
        "unit",
        "history",
        "retired",
        "probe",
        "manifest.sqlite",
        "conflicts",
    ):
        (place / name).symlink_to(canary.root / ("mode" if name in ("lock", "manifest.sqlite") else "deep"))
    give_away(place)


def _private_as_control(place: Path, twin: Path, canary: Canary) -> None:
    """A directory of root's that is in DST: 0700, and nobody else may delete what is in it."""
    os.rename(place.parent / "private", place)


def exchange(one: Path, other: Path) -> None:
    """RENAME_EXCHANGE: parents trade places."""
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "cannot exchange", str(one))


ATTACKS = (
    *(Attack("a directory became a link", path, _symlink) for path in (*ON_THE_WAY, CONTROL)),
    *(Attack("a file became a link", path, _symlink) for path in FILES),
    *(Attack("became a hard link", path, _hard_link) for path in (*FILES, "deep", CONTROL)),
    *(Attack(f"trades places with {other}", path, None) for path, other in EXCHANGED.items()),
    Attack("a control directory of his own", CONTROL, _own_control),
    Attack("a directory of root's as control directory", CONTROL, _private_as_control),
)


class Attacker:
    """Strikes before verb ``when`` of a push; with BACK, puts everything back before the next one.

    He gives the directories he worked in their times back, so that nobody sees by them that he was there.
    """

    def __init__(self, dst: Path, canary: Canary, attack: Attack, when: int, manner: str) -> None:
        self.attack, self.canary, self.when, self.manner = attack, canary, when, manner
        self.place, self.twin = dst / attack.path, canary.root / attack.path
        self.other = dst / EXCHANGED.get(attack.path, "")
        self.aside = dst.with_name("aside")  # a place of his own, outside DST
        self.struck = False

    def hook(self, index: int, verb: str, names: tuple[str, ...]) -> None:
        with contextlib.suppress(OSError):  # there is nothing to attack yet, or no longer
            if index == self.when:
                self.strike()
                self.struck = True
            elif index == self.when + 1 and self.manner == BACK and self.struck:
                self._take_back()
        if self.manner == CUT and index >= self.when:
            raise Killed

    def strike(self) -> None:
        with self._times_kept():
            if self.attack.plant is None:
                exchange(self.place, self.other)
                return
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.place, self.aside)
            self.attack.plant(self.place, self.twin, self.canary)

    def _take_back(self) -> None:
        with self._times_kept():
            if self.attack.plant is None:
                exchange(self.place, self.other)
            else:
                os.rename(self.place, self.aside.with_name("planted"))
                os.rename(self.aside, self.place)

    @contextlib.contextmanager
    def _times_kept(self) -> Iterator[None]:
        parents = {self.place.parent, self.other.parent}
        times = {parent: parent.lstat().st_mtime_ns for parent in parents}
        yield
        for parent, when in times.items():
            os.utime(parent, ns=(when, when), follow_symlinks=False)


ALL = len(ATTACKS) * len(MANNERS)


def before_every_verb(base: Path, outcome: Outcome, *, small: bool = False, rounds: int = ALL) -> None:
    """A push attacked before each of its verbs, otherwise in each round: with ``len(ATTACKS)`` rounds each
    attack comes before each verb, with ``ALL`` in every manner."""
    canary = Canary(base / "outside")
    counted = HookedDisk()
    _built(base / "counted", small, counted).push()
    for turn in range(rounds):
        for when in range(len(counted.log)):
            if outcome.done:
                return
            here = base / f"{turn}-{when}"
            number = 7 * when + turn
            attack, manner = ATTACKS[number % len(ATTACKS)], MANNERS[number // len(ATTACKS) % len(MANNERS)]
            _one(here, small, canary, attack, when, manner, outcome)
            shutil.rmtree(here)


def _built(here: Path, small: bool, disk: HookedDisk) -> World:
    """Both trees belong to nobody, but for a directory of root's in each, and a file in SRC."""
    here.mkdir()
    scenario = Scenario(here, small=small)
    scenario.build()
    for root in (scenario.src, scenario.dst):
        give_away(root)
        private = root / "private"
        private.mkdir(0o700)
        (private / "kept").write_bytes(b"only root may delete this")
        for path, when in ((private / "kept", 1), (private, 1), (root, 2)):
            os.utime(path, (when, when))
    os.chown(scenario.src / "made", 0, 0)
    return World(disk, str(here))


def _one(
    here: Path, small: bool, canary: Canary, attack: Attack, when: int, manner: str, outcome: Outcome
) -> None:
    disk = HookedDisk()
    world = _built(here, small, disk)
    attacker = Attacker(Path(world.dst), canary, attack, when, manner)
    disk.hook = attacker.hook
    kept = os.open(Path(world.dst, "private/kept"), os.O_RDONLY)
    try:
        with descriptors_closed():
            what, wrong = _ended(world.push)
        wrong += _recovered(world) + canary.changed()
        if not os.fstat(kept).st_nlink:
            wrong.append("I5: a file of root's that no plan names is gone")
    finally:
        os.close(kept)
    verb = " ".join(disk.log[when]) if when < len(disk.log) else "its end"
    label = f"{attack.path} {attack.name} before verb {when} ({verb}), {manner}"
    outcome.judged(what if attacker.struck else "missed", *(f"{label}: {one}" for one in wrong))


def _ended(work: Callable[[], object]) -> tuple[str, list[str]]:
    """How it ended, in a word, and what is wrong with that."""
    try:
        work()
    except Killed:
        return "killed", []
    except AtomSyncError as error:
        return type(error).__name__, []
    except Exception as error:
        return "crashed", [f"{type(error).__name__}: {error}"]
    return "committed", []


@contextlib.contextmanager
def descriptors_closed() -> Iterator[None]:
    """A killed process holds nothing, above all no lock; one that was killed for show does."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    for left in set(os.listdir("/proc/self/fd")) - before:
        with contextlib.suppress(OSError):
            os.close(int(left))


def _recovered(world: World) -> list[str]:
    """Recovery must succeed whatever stands there, unless the control directory is not ours any more."""
    try:
        world.on(HookedDisk()).recover()
    except ControlUntrusted:
        return []
    except Exception as error:
        return [f"I6: recovery fails: {type(error).__name__}: {error}"]
    return ["I6: an unfinished unit is left"] if (Path(world.dst) / CONTROL / "unit").exists() else []
