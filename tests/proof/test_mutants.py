"""Every safeguard that is switched off is noticed by some layer: or that layer proves nothing about it.

The short form runs the layer that is quickest to notice; the full form all that can reach the safeguard,
and the table in docs/proof.md is made of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atomsync.testing import HookedDisk, SimDisk
from tests.proof import attack, bent, foreign, forgeries, model, planted, sources, workloads
from tests.proof.edits import edits_at_every_verb
from tests.proof.figures import FULL, Figures, Outcome
from tests.proof.ground import Ground, Setting
from tests.proof.images import power_cuts
from tests.proof.kills import kills, lies, sweep
from tests.proof.mutants import MUTANTS, applied
from tests.proof.plans import RICH, SMALL
from tests.proof.privacy import never_open_to_others
from tests.proof.readers import readers
from tests.proof.report import MUTANTS as LAYER
from tests.proof.test_two_at_once import pushes_together
from tests.proof.traced import MUTATING
from tests.store.world import NEW, OLD, World

# Given the name of a mutant ("" is the product itself), an outcome to fill and an empty directory.
Layer = Callable[[str, Outcome, Path], None]


def mutated(layer: Callable[[Outcome, Path], None]) -> Layer:
    """A layer of which everything runs under the mutant."""

    def run(name: str, outcome: Outcome, base: Path) -> None:
        with applied(name):
            layer(outcome, base)

    return run


def _model(profile: Any, outcome: Outcome, base: Path) -> None:
    """Crashes, faults and other writers on the simulated disk, the quick ones first."""
    (base / "dst").mkdir()
    for judge, sizes in (
        (model.power_cuts, {"exhaustive": 64, "samples": 12}),
        (model.success_survives, {"samples": 60}),
        (model.failed_syncs, {"every": 5, "samples": 4}),
        (foreign.late_writes, {"samples": 3}),
        (model.kills, {}),
        (model.kills_then_power_cut, {"samples": 6}),
        (model.bit_flips, {"every": 97}),
        (model.double_crashes, {"every": 12, "samples": 2}),
    ):
        for pair in (SMALL, RICH):
            if not outcome.done:
                judge(pair.world(profile, base), outcome, **sizes)


def _without_exchange(outcome: Outcome, base: Path) -> None:
    (base / "dst").mkdir()
    model.power_cuts(RICH.world("weak", base, exchange=False), outcome, exhaustive=64, samples=15)


def _edits_and_crashes(outcome: Outcome, base: Path) -> None:
    """Other writers on the simulated disk, with the power failing afterwards."""
    (base / "dst").mkdir()
    for judge, sizes in (
        (foreign.late_writes, {"samples": 3}),
        (foreign.edits_after_a_crash, {"every": 3, "samples": 4}),
        (foreign.races, {"every": 6, "samples": 1}),
    ):
        for pair in (SMALL, RICH):
            if not outcome.done:
                judge(pair.world("weak", base), outcome, **sizes)


def _edits(outcome: Outcome, base: Path) -> None:
    (base / "dst").mkdir()
    world = World.made(SimDisk("ordered"), str(base), OLD, NEW)
    for doomed in (False, True):
        if not outcome.done:
            edits_at_every_verb(outcome, lambda: world.on(world.sim.copy()), doomed=doomed, stride=50)


def _edits_on_a_real_disk(outcome: Outcome, base: Path) -> None:
    def make() -> World:
        shutil.rmtree(base / "world", ignore_errors=True)
        (base / "world").mkdir()
        return World.made(HookedDisk(), str(base / "world"), OLD, NEW)

    edits_at_every_verb(outcome, make, stride=1_000)


def _journals(outcome: Outcome, base: Path) -> None:
    for number, judge in enumerate(
        (partial(bent.flipped_and_cut, masks=(1, 128), stride=20), forgeries.every_forgery)
    ):
        if not outcome.done:
            (base / str(number)).mkdir()
            judge(base / str(number), outcome)


def _attacks(outcome: Outcome, base: Path) -> None:
    planted.before_a_push(base, outcome)
    if not outcome.done:
        attack.before_every_verb(base, outcome, small=True)


def _kills(name: str, outcome: Outcome, base: Path) -> None:
    for kind in ("small", "rich"):
        if not outcome.done:
            (base / kind).mkdir()
            ground = Ground(base / kind, Setting(small=kind == "small"))
            with applied(name):
                sweep(outcome, ground, kills([call for call in ground.calls if call.name in MUTATING]))


def _lies(name: str, outcome: Outcome, base: Path) -> None:
    ground = Ground(base, Setting(small=True))
    with applied(name):
        sweep(outcome, ground, lies(ground.calls))


def _images(fs: str, outcome: Outcome, base: Path) -> None:
    """Large and small units, alone and beside a neighbour whose syncs commit the filesystem's journal."""
    for workload in (
        workloads.pushed,
        workloads.killed_at_commit_then_recovered,
        workloads.pushed_beside_a_neighbour,
        workloads.pushed_anew,
    ):
        for small in (True, False):
            if not outcome.done:
                power_cuts(fs, outcome, 40, workload=workload, small=small, seed=1)


def _at_once(outcome: Outcome, base: Path) -> None:
    pushes_together(outcome, base, 12)


def _sources(outcome: Outcome, base: Path) -> None:
    sources.changing_sources(base, outcome, stride=1)


def _readers(outcome: Outcome, base: Path) -> None:
    readers(outcome, base, 100)


LAYERS: dict[str, Layer] = {
    "model, weak": mutated(partial(_model, "weak")),
    "model, ordered": mutated(partial(_model, "ordered")),
    "ext4": mutated(partial(_images, "ext4")),
    "xfs": mutated(partial(_images, "xfs")),
    "btrfs": mutated(partial(_images, "btrfs")),
    "kills": _kills,
    "lies": _lies,
    "no exchange": mutated(_without_exchange),
    "edits": mutated(_edits),
    "edits, crashes": mutated(_edits_and_crashes),
    "edits, real": mutated(_edits_on_a_real_disk),
    "readers": mutated(_readers),
    "at once": mutated(_at_once),
    "sources": mutated(_sources),
    "journals": mutated(_journals),
    "attackers": mutated(_attacks),
    "privacy": mutated(never_open_to_others),
}
_MODELS = ("model, weak", "model, ordered")
_CRASHES = (*_MODELS, "kills", "ext4", "xfs", "btrfs")
_WRITERS = ("edits", "edits, real", "edits, crashes")
# The layers that can reach a safeguard, the one that is quickest to miss it first.
REACH: dict[str, tuple[str, ...]] = {
    "no B1": _CRASHES,
    "no B2": _CRASHES,
    "no B3": _CRASHES,
    "COMMIT is written before B2": _CRASHES,
    "COMMIT is written before the swaps": _CRASHES,
    "the unit gets its place before its journal is synced": _CRASHES,
    "times of directories": _CRASHES,
    "the name of a new": ("ext4", "xfs", "btrfs"),
    "the decision is not synced": _CRASHES,
    "no decision file": _CRASHES,
    "what recovery undid": _CRASHES,
    "attributes set by half": _CRASHES,
    "recovery rolls back by the plan": (*_CRASHES, *_WRITERS),
    "a plain rename instead": ("kills", *_MODELS, *_WRITERS, "readers"),
    "an exchange that other filesystems lack": ("no exchange",),
    "what a swap displaced": _WRITERS,
    "a rename that may replace": _WRITERS,
    "an inode is known": ("edits, crashes",),
    "a rollback deletes": _WRITERS,
    "what is kept aside": ("edits, crashes",),
    "late writes": _WRITERS,
    "the lock is not taken": ("at once",),
    "what was written": ("lies",),
    "a source that changes": ("sources",),
    "the journal's digests": ("journals", *_MODELS),
    "a journal's paths": ("journals",),
    "a journal's steps": ("journals",),
    "anybody's control directory": ("attackers",),
    "directories are opened": ("attackers",),
    "attributes go to": ("attackers",),
    "the stage is open": ("privacy",),
}


def reach(mutant: str) -> tuple[str, ...]:
    (found,) = (layers for start, layers in REACH.items() if mutant.startswith(start))
    return found


@pytest.fixture
def base() -> Iterator[Path]:
    """In memory where there is room, and open to every user."""
    path = Path(
        tempfile.mkdtemp(prefix="atomsync-proof-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def noticed(layer: str, mutant: str, base: Path) -> Outcome:
    outcome = Outcome(first=True)
    place = base / layer.replace(", ", "-")
    place.mkdir()
    place.chmod(0o755)
    LAYERS[layer](mutant, outcome, place)
    return outcome


@pytest.mark.usefixtures("needs_root", "strace")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_safeguard_that_is_switched_off_is_missed(mutant: str, base: Path, figures: Figures) -> None:
    layers = reach(mutant)
    found: dict[str, int | float | str] = {}
    for layer in layers if FULL else layers[:1]:
        outcome = noticed(layer, mutant, base)
        found[layer] = f"caught ({outcome.total:,})" if outcome.violations else "no"
    figures.add(LAYER, mutant, **found)
    assert any(str(what).startswith("caught") for what in found.values())


_SLOW = {"attackers", "model, weak", "sources"}  # tested as such beside this
_FIRST = {layers[0] for layers in REACH.values()}


@pytest.mark.parametrize("layer", sorted(_FIRST if FULL else _FIRST - _SLOW))
@pytest.mark.usefixtures("needs_root", "strace")
def test_with_every_safeguard_on_the_same_layer_finds_nothing(layer: str, base: Path) -> None:
    assert noticed(layer, "", base).violations == []
