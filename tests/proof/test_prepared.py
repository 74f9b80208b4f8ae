"""A unit in two phases, cut and broken at every verb of both: prepared it survives, and has one outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.fs.posix import PosixDisk
from atomsync.store import barrier, seal, store
from atomsync.store import prepared as room
from atomsync.testing import Profile
from tests.proof import judge, prepared
from tests.proof.figures import FULL, Figures, Outcome, scaled
from tests.proof.plans import LINKS, RICH, SMALL, Pair
from tests.proof.prepared import ACTS, COMMIT, PRESUMED, ROLL_BACK, SOMEBODY, Act, Trial
from tests.store.world import NEW, OLD, World

Layer = Callable[..., None]
Sizes = dict[str, int]

WHOLE = Pair(OLD, NEW)
ALL = {"whole": WHOLE, "rich": RICH, "small": SMALL, "links": LINKS}
both = pytest.mark.parametrize("profile", ["weak", "ordered"])

# function: what it is told in the short form, and in the full form
OF_PREPARE: dict[Layer, tuple[Sizes, Sizes]] = {
    prepared.cuts_of_prepare: ({"every": 3, "samples": 3}, {"every": 1, "samples": 60}),
    prepared.errors_of_prepare: ({"every": 5}, {"every": 1}),
}
OF_DECISIONS: dict[Layer, tuple[Sizes, Sizes]] = {
    prepared.cuts_of: ({"every": 2, "samples": 4}, {"every": 1, "samples": 100}),
    prepared.kills_in_parts: ({"every": 1}, {"every": 1}),
    prepared.double_crashes: (
        {"every": 11, "inner": 4, "samples": 1},
        {"every": 1, "inner": 1, "samples": 2},
    ),
    prepared.failed_syncs_of: ({"samples": 4}, {"samples": 40}),
    prepared.errors_of: ({"every": 9}, {"every": 1}),
}
WEAKER: list[dict[str, bool]] = [
    {"exchange": False},
    {"exchange": False, "link": False, "rename_new": False},
    {"generations": False},
    {"syncfs_trusted": False},
]


def decisions() -> list[object]:
    return [
        pytest.param(name, layer, act, *sizes, id=f"{layer.__name__}-{act.name}-{name}")
        for name in ("small", "rich")
        for layer, sizes in OF_DECISIONS.items()
        for act in ACTS.values()
    ]


@both
@pytest.mark.parametrize("coordinator", [SOMEBODY, ""])
@pytest.mark.parametrize("layer", OF_PREPARE, ids=lambda layer: layer.__name__)
@pytest.mark.parametrize("name", ["small", "rich", "links"])
def test_until_prepare_returns_nothing_rests_and_from_then_on_it_survives(
    tmp_path: Path, figures: Figures, profile: Profile, name: str, layer: Layer, coordinator: str
) -> None:
    outcome = Outcome()
    short, full = OF_PREPARE[layer]
    layer(Trial(ALL[name].world(profile, tmp_path), outcome, coordinator), **(full if FULL else short))
    figures.add("prepared", f"{layer.__name__} {name} {profile} {coordinator or 'of nobody'}", outcome)


@both
@pytest.mark.parametrize(("name", "layer", "act", "short", "full"), decisions())
def test_a_decision_that_is_cut_or_fails_has_one_outcome(
    tmp_path: Path,
    figures: Figures,
    profile: Profile,
    name: str,
    layer: Layer,
    act: Act,
    short: Sizes,
    full: Sizes,
) -> None:
    outcome = Outcome()
    trial = Trial(ALL[name].world(profile, tmp_path), outcome, act.coordinator)
    layer(trial, act=act, **(full if FULL else short))
    figures.add("prepared", f"{layer.__name__} {act.name} {name} {profile}", outcome)


@both
@pytest.mark.parametrize("act", [COMMIT, ROLL_BACK], ids=lambda act: act.name)
@pytest.mark.parametrize("traits", WEAKER, ids=lambda traits: "+".join(traits))
def test_filesystems_that_lack_something_have_one_outcome_too(
    tmp_path: Path, figures: Figures, profile: Profile, act: Act, traits: dict[str, bool]
) -> None:
    outcome = Outcome()
    pair = WHOLE if traits.get("syncfs_trusted", True) else SMALL  # else nothing keeps a link's own time
    trial = Trial(pair.world(profile, tmp_path, **traits), outcome)
    prepared.cuts_of_prepare(trial, every=scaled(9, 1), samples=scaled(2, 30))
    prepared.cuts_of(trial, act, every=scaled(4, 1), samples=scaled(3, 60))
    figures.add("prepared", f"{act.name} without {', '.join(traits)} {profile}", outcome)


@both
@pytest.mark.parametrize("act", [COMMIT, ROLL_BACK, PRESUMED], ids=lambda act: act.name)
def test_a_decision_that_was_told_survives_a_power_cut(
    tmp_path: Path, figures: Figures, profile: Profile, act: Act
) -> None:
    outcome = Outcome()
    trial = Trial(RICH.world(profile, tmp_path), outcome, act.coordinator)
    last = len(trial.moments(act))
    prepared.cuts_of(trial, act, every=last, samples=scaled(60, 4000))
    figures.add("prepared", f"{act.name} survives {profile}", outcome)


# -- the proof itself


def _without_a_sync(function: Callable[..., Any]) -> Callable[..., Any]:
    def loose(*args: Any, **options: Any) -> Any:
        options.update({"durability": barrier.NONE} if "durability" in options else {"durable": False})
        return function(*args, **options)

    return loose


def _nothing(*_: object) -> None:
    pass


LOOSE: dict[str, tuple[object, str, Callable[..., Any], Callable[[Trial], None]]] = {
    "the stage is not synced": (
        seal,
        "staged_is_durable",
        _nothing,
        lambda trial: prepared.cuts_of_prepare(trial, every=1000, samples=40),
    ),
    "the decision is not synced": (
        room,
        "write_decision",
        _without_a_sync(room.write_decision),
        lambda trial: prepared.cuts_of(trial, COMMIT, every=1, samples=20),
    ),
    "the swaps are not synced": (
        room,
        "swaps_are_durable",
        _nothing,
        lambda trial: prepared.cuts_of(trial, COMMIT, every=1, samples=20),
    ),
    "a rollback is not synced": (
        store,
        "discard_prepared",
        _without_a_sync(store.discard_prepared),
        lambda trial: prepared.cuts_of(trial, ROLL_BACK, every=1, samples=20),
    ),
}


@pytest.mark.parametrize("name", LOOSE)
def test_a_safeguard_that_is_missing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    owner, attribute, instead, layer = LOOSE[name]
    monkeypatch.setattr(owner, attribute, instead)
    outcome = Outcome()
    layer(Trial(SMALL.world("weak", tmp_path), outcome))
    assert outcome.violations


# -- real kills


@pytest.mark.parametrize("name", ["small", "rich"] if FULL else ["small"])
def test_a_real_kill_at_any_verb_of_both_phases_has_one_outcome(
    tmp_path: Path, figures: Figures, name: str
) -> None:
    outcome = Outcome()
    through = False
    at = 0
    while not through:
        for answer in (True, False) if FULL else (at % 2 == 0,):
            base = tmp_path / f"{at} {answer}"
            base.mkdir()
            world = World.made(PosixDisk(), str(base), ALL[name].old, ALL[name].new)
            old = judge.look(world.dst)
            cut = prepared.killed_for_real(world, at)
            through = not cut.killed
            prepared.judge_for_real(outcome, world, cut, old, answer, f"before verb {at}")
        at += scaled(3, 1)
    assert {*outcome.counts} == {"old", "new"}
    figures.add("prepared", f"real kills {name}", outcome)
