"""Another program's bytes survive every unit: edited in at every verb, after crashes, and in races."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atomsync.testing import HookedDisk, SimDisk
from tests.proof.edits import edits_after_every_crash, edits_at_every_verb
from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.races import races
from tests.store.world import NEW, OLD, World

SEED = 20261121
RACES = scaled(300, 15_000)  # in a quarter of them the unit is done before the editor comes
FEW = 1_000  # a stride longer than any unit: only the verbs that name the edited path are left

Make = Callable[[], World]


@pytest.fixture(params=["weak", "ordered"])
def simulated(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Make]:
    (tmp_path / "dst").mkdir()  # a store asks the system itself whether its root exists
    world = World.made(SimDisk(request.param), str(tmp_path), OLD, NEW)
    return request.param, lambda: world.on(world.sim.copy())


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory on tmpfs, where a unit takes the time of its system calls."""
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield base
    shutil.rmtree(base)


@pytest.mark.parametrize("doomed", [False, True], ids=["unit", "doomed-unit"])
def test_an_edit_before_any_verb_of_a_unit_is_kept_and_told(
    simulated: tuple[str, Make], doomed: bool, figures: Figures
) -> None:
    profile, make = simulated
    outcome = Outcome()
    edits_at_every_verb(outcome, make, doomed=doomed, stride=scaled(FEW, 1))
    figures.add("foreign", f"simulated {profile}{', taken back' * doomed}", outcome)


@pytest.mark.parametrize("doomed", [False, True], ids=["unit", "doomed-unit"])
def test_an_edit_before_any_verb_of_a_unit_on_a_real_disk_is_too(
    in_memory: Path, doomed: bool, figures: Figures
) -> None:
    def make() -> World:
        shutil.rmtree(in_memory / "world", ignore_errors=True)
        (in_memory / "world").mkdir()
        return World.made(HookedDisk(), str(in_memory / "world"), OLD, NEW)

    outcome = Outcome()
    edits_at_every_verb(outcome, make, doomed=doomed, stride=scaled(FEW, 4))
    figures.add("foreign", f"real{', taken back' * doomed}", outcome)


def test_an_edit_between_a_crash_and_its_recovery_is_kept_and_told(
    simulated: tuple[str, Make], figures: Figures
) -> None:
    profile, make = simulated
    outcome = Outcome()
    edits_after_every_crash(outcome, make, random.Random(SEED), stride=scaled(FEW, 2))
    figures.add("foreign", f"crash, {profile}", outcome)


def test_no_editor_loses_a_race_against_a_commit(in_memory: Path, figures: Figures) -> None:
    outcome = Outcome()
    races(outcome, in_memory, RACES, SEED)
    figures.add("foreign", "races of processes", outcome)
    # How many, the machine's load decides; the figure says it.
    assert outcome.counts["drift"] > 0, "editors that never meet a unit prove nothing"
