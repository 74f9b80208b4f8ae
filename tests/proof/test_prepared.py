"""A unit in two phases, cut and broken at every verb of both: prepared it survives, and has one outcome."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atomsync.fs.posix import PosixDisk
from atomsync.store import barrier, decision, recovery, seal, store
from atomsync.store import prepared as room
from atomsync.store.control import DECISION, Control
from atomsync.testing import Dir, Profile
from tests.proof import judge, prepared
from tests.proof.figures import FULL, Figures, Outcome, scaled
from tests.proof.plans import LINKS, RICH, SMALL, Pair
from tests.proof.prepared import ACTS, COMMIT, PRESUMED, ROLL_BACK, SOMEBODY, Act, Trial
from tests.proof.test_random_plans import Tally, sampling, trees
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
    prepared.cuts_of: ({"every": 3, "samples": 4}, {"every": 1, "samples": 100}),
    prepared.kills_in_parts: ({"every": 1}, {"every": 1}),
    prepared.double_crashes: (
        {"every": 17, "inner": 6, "samples": 1},
        {"every": 2, "inner": 2, "samples": 2},
    ),
    prepared.failed_syncs_of: ({"samples": 4}, {"samples": 40}),
    prepared.errors_of: ({"every": 13}, {"every": 1}),
}
WEAKER: list[dict[str, bool]] = [
    {"exchange": False},
    {"exchange": False, "link": False, "rename_new": False},
    {"generations": False},
    {"syncfs_trusted": False},
]


def judged(
    figures: Figures, trial: Trial, layers: dict[Layer, tuple[Sizes, Sizes]], case: str, **more: Any
) -> None:
    """Each layer on one trial: what it recorded serves them all."""
    for layer, (short, full) in layers.items():
        trial.outcome = Outcome()
        layer(trial, **more, **(full if FULL else short))
        figures.add("prepared", f"{layer.__name__} {case}", trial.outcome)


@both
@pytest.mark.parametrize("coordinator", [SOMEBODY, ""])
@pytest.mark.parametrize("name", ["small", "rich", "links"])
def test_until_prepare_returns_nothing_rests_and_from_then_on_it_survives(
    tmp_path: Path, figures: Figures, profile: Profile, name: str, coordinator: str
) -> None:
    trial = Trial(ALL[name].world(profile, tmp_path), Outcome(), coordinator)
    judged(figures, trial, OF_PREPARE, f"{name} {profile} {coordinator or 'of nobody'}")


@both
@pytest.mark.parametrize(
    ("name", "act"),
    [
        pytest.param(name, act, id=f"{act.name}-{name}")
        for name in ("small", "rich")
        for act in (ACTS.values() if FULL or name == "small" else (COMMIT, ROLL_BACK))
    ],
)
def test_a_decision_that_is_cut_or_fails_has_one_outcome(
    tmp_path: Path, figures: Figures, profile: Profile, name: str, act: Act
) -> None:
    trial = Trial(ALL[name].world(profile, tmp_path), Outcome(), act.coordinator)
    judged(figures, trial, OF_DECISIONS, f"{act.name} {name} {profile}", act=act)


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


@pytest.mark.parametrize("act", [COMMIT, ROLL_BACK], ids=lambda act: act.name)
@pytest.mark.parametrize("name", ["small", "rich"])
def test_a_kill_without_durability_has_one_outcome_too(
    tmp_path: Path, figures: Figures, name: str, act: Act
) -> None:
    outcome = Outcome()
    prepared.kills_without_durability(Trial(ALL[name].world("weak", tmp_path), outcome), act)
    figures.add("prepared", f"kills without durability {act.name} {name}", outcome)


@both
@pytest.mark.parametrize(
    "traits", [{}, *WEAKER[:3]], ids=lambda traits: "without " + " ".join(traits) if traits else "all"
)
def test_nothing_of_others_is_lost_and_nothing_of_the_unit(
    tmp_path: Path, figures: Figures, profile: Profile, traits: dict[str, bool]
) -> None:
    outcome = Outcome()
    world = Pair(prepared.EDITED, prepared.FORWARD).world(profile, tmp_path, **traits)
    prepared.cuts_where_others_were(
        world, outcome, every=scaled(9, 1), samples=scaled(2, 8), inner=scaled(50, 8)
    )
    figures.add("prepared", f"others {profile} {'without' * bool(traits)} {', '.join(traits)}", outcome)


@both
def test_random_units_have_one_outcome(tmp_path: Path, figures: Figures, profile: Profile) -> None:
    tally = Tally()

    @sampling(scaled(6, 400))
    @given(trees, trees, st.sampled_from([COMMIT, ROLL_BACK]), st.integers(0, 1 << 30))
    def run(old: Dir, new: Dir, act: Act, seed: int) -> None:
        world = Pair(old, new).world(profile, tmp_path)
        assume(world.tree(owners=True) != world.tree("src", owners=True))
        with tally.example() as outcome:
            rng = random.Random(seed)
            prepared.decided_around(Trial(world, outcome), act, rng, moments=3, samples=2)

    run()
    figures.add("prepared", f"random units {profile}", tally.all)


# -- the proof itself


def _without_a_sync(function: Callable[..., Any]) -> Callable[..., Any]:
    def loose(*args: Any, **options: Any) -> Any:
        options.update({"durability": barrier.NONE} if "durability" in options else {"durable": False})
        return function(*args, **options)

    return loose


def _nothing(*_: object) -> None:
    pass


def _unless_it_can_be_read(control: Control, unit: int, unit_id: str, said: str, **how: Any) -> None:
    if decision.read_decision(control, unit, unit_id) != said:
        decision.write_decision(control, unit, unit_id, said, **how)


def _in_place(control: Control, unit: int, unit_id: str, said: str, **how: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        control.disk.unlink(unit, DECISION)
    decision.write_decision(control, unit, unit_id, said, **how)


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
        lambda trial: prepared.cuts_of(trial, COMMIT, every=2, samples=8),
    ),
    "a decision is believed if it can be read": (
        room,
        "write_decision",
        _unless_it_can_be_read,
        lambda trial: prepared.failed_syncs_of(trial, COMMIT, samples=8),
    ),
    "recovery writes the decision in place": (
        recovery,
        "write_decision",
        _in_place,
        lambda trial: prepared.double_crashes(trial, COMMIT, every=12, inner=1, samples=0),
    ),
    "the swaps are not synced": (
        room,
        "swaps_are_durable",
        _nothing,
        lambda trial: prepared.cuts_of(trial, COMMIT, every=2, samples=8),
    ),
    "a rollback is not synced": (
        store,
        "discard_prepared",
        _without_a_sync(store.discard_prepared),
        lambda trial: prepared.cuts_of(trial, ROLL_BACK, every=2, samples=8),
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
