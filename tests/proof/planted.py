"""What an attacker may have planted in DST before root pushes into it, and, as a second line, what may stand
inside root's own control directory, where no attacker can write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atomsync.errors import AtomSyncError
from atomsync.sync.push import push
from atomsync.unit.store import open_store
from tests.proof.canary import Canary, give_away
from tests.proof.figures import Outcome
from tests.proof.judge import look, verdict
from tests.proof.scenario import Scenario

COMMITTED, REFUSED = "committed", "ControlUntrusted"
Plant = Callable[[Path, Canary], object]


# -- in DST
def _foreign_unit(dst: Path, canary: Canary) -> None:
    """An unfinished unit of nobody's own, which recovery would undo by renaming."""
    control = dst / ".atomsync"
    (control / "unit/slots").mkdir(parents=True)
    (control / "unit/journal").write_bytes(b"atsj")
    for name in ("retired", "history", "conflicts", "probe"):
        (control / name).symlink_to(canary.root)
    give_away(control)
    control.chmod(0o700)


def _open_to_others(dst: Path, canary: Canary) -> None:
    (dst / ".atomsync").mkdir()
    (dst / ".atomsync").chmod(0o770)


def _deep(dst: Path, canary: Canary) -> None:
    """Far beyond PATH_MAX, with links to the canary on the way down."""
    at = os.open(dst / "gone-dir", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=at)
        os.symlink(canary.root, "out", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def _at(path: str, plant: Callable[[Path, Path], object]) -> Plant:
    """``plant(place, twin)`` in place of what is there."""

    def planted(dst: Path, canary: Canary) -> None:
        place, twin = dst / path, canary.root / path
        _clear(place)
        if twin.exists():
            canary.lent.add(twin.lstat().st_ino)
        plant(place, twin)

    return planted


def _clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _link(place: Path, twin: Path) -> None:
    place.symlink_to(twin)


def _hard(place: Path, twin: Path) -> None:
    os.link(twin, place, follow_symlinks=False)


def _fifo(place: Path, twin: Path) -> None:
    os.mkfifo(place)


def _loop(place: Path, twin: Path) -> None:
    place.symlink_to(place.name)


IN_DST: dict[str, tuple[Plant, str]] = {
    "a foreign unit": (_foreign_unit, REFUSED),
    "a control directory that others may use": (_open_to_others, REFUSED),
    "a link as control directory": (_at(".atomsync", _link), REFUSED),
    "a loop as control directory": (_at(".atomsync", _loop), REFUSED),
    "a FIFO as control directory": (_at(".atomsync", _fifo), REFUSED),
    "a file of the canary as control directory": (
        lambda dst, canary: os.link(canary.root / "setuid", dst / ".atomsync"),
        REFUSED,
    ),
    "a tree beyond PATH_MAX": (_deep, COMMITTED),
    **{f"a link at {path}": (_at(path, _link), COMMITTED) for path in ("deep", "deep/a/b", "closed", "mode")},
    **{f"a loop at {path}": (_at(path, _loop), COMMITTED) for path in ("deep", "large")},
    **{f"a FIFO at {path}": (_at(path, _fifo), COMMITTED) for path in ("deep/a", "mode", "gone")},
    **{
        f"a hard link at {path}": (_at(path, _hard), COMMITTED)
        for path in ("same", "gone", "deep/a/b/replaced", "hard-a", "large", "mode", "owner")
    },
}


def before_a_push(base: Path, outcome: Outcome) -> None:
    """Each plant in a DST of nobody's; root then looks, recovers and pushes, keeping no history."""
    for number, (name, (plant, expected)) in enumerate(IN_DST.items()):
        if outcome.done:
            return
        scenario, canary = _made(base / str(number))
        canary.lent.add((canary.root / "setuid").stat().st_ino)
        plant(scenario.dst, canary)
        ends = _ends(scenario, delete=True, keep=0)
        wrong = [] if ends[-1] == expected else [f"a push ended as {ends}, not {expected}"]
        if ends[-1] == COMMITTED:
            wrong += verdict(look(scenario.dst), {}, look(scenario.src))[1]
        outcome.judged(ends[-1], *(f"{name}: {one}" for one in wrong + canary.changed()))


# -- in the control directory
CONTROL_NAMES = (
    *(
        "lock",
        "pending",
        "prepared",
        "unit",
        "unit/journal",
        "unit/slots",
        "unit/decision",
        "history",
        "retired",
        "retired/x",
    ),
    *("conflicts", "probe", "manifest.sqlite"),
)
KINDS: dict[str, Callable[[Path, Path], object]] = {
    "a link to a directory": lambda place, twin: place.symlink_to(twin.parent),
    "a link to a file": _link,
    "a hard link": _hard,
    "a FIFO": _fifo,
    "a directory": lambda place, twin: place.mkdir(),
    "a file": lambda place, twin: place.write_bytes(b"text"),
}


def in_the_control_directory(base: Path, outcome: Outcome) -> None:
    """A name there is something else than it should be: refused or healed, never followed."""
    for number, (name, kind) in enumerate((name, kind) for name in CONTROL_NAMES for kind in KINDS):
        if outcome.done:
            return
        scenario, canary = _made(base / str(number), small=True)
        push(scenario.src, scenario.dst)
        (scenario.src / "made").write_bytes(b"again")
        twin = canary.root / ("base.sqlite" if name == "manifest.sqlite" else "same")
        canary.lent.add(twin.stat().st_ino)
        place = scenario.dst / ".atomsync" / name
        place.parent.mkdir(exist_ok=True)
        _clear(place)
        KINDS[kind](place, twin)
        ends = _ends(scenario)
        wrong = [f"it ended as {end}" for end in ends if end.startswith("raw")]
        outcome.judged(ends[-1], *(f"{name} is {kind}: {one}" for one in wrong + canary.changed()))


def _ends(scenario: Scenario, **options: Any) -> list[str]:
    """How status, recover and push ended."""
    store = open_store(scenario.dst)
    verbs = (
        store.status,
        store.recover,
        lambda: push(scenario.src, scenario.dst, max_delete="100%", **options),
    )
    return [_end(verb) for verb in verbs]


def _made(base: Path, *, small: bool = False) -> tuple[Scenario, Canary]:
    base.mkdir()
    scenario = Scenario(base, small=small)
    scenario.build()
    for root in (scenario.src, scenario.dst):
        give_away(root)
    return scenario, Canary(base / "outside")


def _end(work: Callable[[], object]) -> str:
    try:
        work()
    except AtomSyncError as error:
        return type(error).__name__
    except Exception as error:
        return f"raw {type(error).__name__}: {error}"
    return COMMITTED
