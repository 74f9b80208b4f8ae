"""The crash model over fixed plans.

Exhaustive in both forms: the verbs before which the process is killed. Exhaustive in the full form: the
subsets of the effects pending behind the seal, the verbs that fail and how, and what a crash of a
recovery may be preceded by at every second verb. Sampled: the subsets pending during staging, which
nobody can see; how unsynced writes are torn; the bits of a journal that turn over (one in seven).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync.testing import Profile
from tests.proof import foreign, model
from tests.proof.figures import FULL, Figures, Outcome, scaled
from tests.proof.plans import LINKS, RICH, SMALL

Layer = Callable[..., None]
Sizes = dict[str, int]

ALL = {"rich": RICH, "small": SMALL, "links": LINKS}
EVERY_SUBSET = 1 << 17  # as many as ``RICH`` has behind the seal

# function: what it is told in the short form, and in the full form
CRASHES: dict[Layer, tuple[Sizes, Sizes]] = {
    model.power_cuts: ({"exhaustive": 64, "samples": 12}, {"exhaustive": 1 << 12, "samples": 120}),
    model.success_survives: ({"samples": 60}, {"samples": 4000}),
    model.kills: ({}, {}),
    model.kills_then_power_cut: ({"samples": 4}, {"samples": 40}),
    model.double_crashes: ({"every": 16, "samples": 1}, {"every": 2, "samples": 2}),
    model.failed_syncs: ({"every": 8, "samples": 3}, {"every": 1, "samples": 12}),
    model.errors: ({"every": 9}, {"every": 1}),
    model.errors_in_recovery: ({"every": 45}, {"every": 4}),
    model.bit_flips: ({"every": 397}, {"every": 7}),
}
# What others do there, in the paths of ``RICH`` and ``SMALL``.
EDITS: dict[Layer, tuple[Sizes, Sizes]] = {
    foreign.races: ({"every": 12, "samples": 1}, {"every": 2, "samples": 3}),
    foreign.edits_after_a_crash: ({"every": 14, "samples": 2}, {"every": 4, "samples": 2}),
    foreign.late_writes: ({"samples": 1}, {"samples": 20}),
}


def cases() -> list[object]:
    found = [(name, layer, *sizes) for name in ("rich", "small") for layer, sizes in CRASHES.items()]
    syncing = (model.power_cuts, model.success_survives, model.failed_syncs)
    found += [("links", layer, *CRASHES[layer]) for layer in syncing]
    found += [(name, layer, *sizes) for name in ("rich", "small") for layer, sizes in EDITS.items()]
    return [pytest.param(*case, id=f"{case[1].__name__}-{case[0]}") for case in found]


@pytest.mark.parametrize("profile", ["weak", "ordered"])
@pytest.mark.parametrize(("name", "layer", "short", "full"), cases())
def test_crashes_faults_and_other_writers_leave_old_or_new(
    tmp_path: Path, figures: Figures, profile: Profile, name: str, layer: Layer, short: Sizes, full: Sizes
) -> None:
    outcome = Outcome()
    layer(ALL[name].world(profile, tmp_path), outcome, **(full if FULL else short))
    figures.add("model", f"{layer.__name__} {name} {profile}", outcome)


def test_every_subset_of_what_is_pending_behind_the_seal_leaves_old_or_new(
    tmp_path: Path, figures: Figures
) -> None:
    """In the short form only of the first nine effects."""
    outcome, most = Outcome(), scaled(1 << 9, EVERY_SUBSET)
    model.power_cuts(RICH.world("weak", tmp_path), outcome, exhaustive=most, samples=0)
    assert outcome.total >= most
    figures.add("model", "every subset behind the seal", outcome)


WEAKER = [{"exchange": False}, {"exchange": False, "link": False}, {"generations": False}]
CRASHES_THERE: dict[Layer, tuple[Sizes, Sizes]] = {
    model.power_cuts: ({"exhaustive": 8, "samples": 4}, {"exhaustive": 1 << 10, "samples": 80}),
    model.kills: ({}, {}),
    model.double_crashes: ({"every": 24, "samples": 1}, {"every": 4, "samples": 2}),
}


@pytest.mark.parametrize("traits", WEAKER, ids=lambda traits: "+".join(traits))
@pytest.mark.parametrize("layer", CRASHES_THERE, ids=lambda layer: layer.__name__)
def test_filesystems_that_lack_something_leave_old_or_new_too(
    tmp_path: Path, figures: Figures, layer: Layer, traits: dict[str, bool]
) -> None:
    outcome = Outcome()
    short, full = CRASHES_THERE[layer]
    pair = RICH if traits.get("link", True) else SMALL  # which has no hard links
    layer(pair.world("weak", tmp_path, **traits), outcome, **(full if FULL else short))
    figures.add("model", f"{layer.__name__} without {', '.join(traits)}", outcome)


def test_every_subset_behind_the_seal_is_few_enough_to_be_judged(tmp_path: Path) -> None:
    trial = model.Trial(RICH.world("weak", tmp_path), Outcome())
    at = max(index for index, moment in enumerate(trial.moments) if moment.verb == "syncfs")
    assert sum(1 for _ in trial.moments[at].disk.every_crash_state()) == EVERY_SUBSET
    assert {moment.verb for moment in trial.moments[at - 20 : at]} >= {
        "exchange",
        "rename_new",
        "set_meta_at",
    }
