"""A canary outside DST stays untouched, whatever the owner of DST does to it while root pushes."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proof import attack, planted, privacy, race
from tests.proof.figures import Figures, Outcome, scaled

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def base() -> Iterator[Path]:
    """In memory where there is room: this is about names, not about durability. Nobody must reach it."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="atomsync-proof-", dir=memory if memory.is_dir() else None))
    path.chmod(0o755)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


@pytest.mark.parametrize("small", [False, True], ids=["rich", "small"])
def test_an_attack_before_any_verb_of_a_push_touches_nothing_outside(
    small: bool, base: Path, figures: Figures
) -> None:
    outcome = Outcome()
    attack.before_every_verb(base, outcome, small=small, rounds=scaled(2, len(attack.ATTACKS)))
    figures.add("attackers", "every verb, " + ("small" if small else "rich"), outcome)


def test_what_was_planted_before_a_push_leads_nowhere(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    planted.before_a_push(base, outcome)
    figures.add("attackers", "planted in DST", outcome)


def test_a_control_directory_with_links_in_it_leads_nowhere(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    planted.in_the_control_directory(base, outcome)
    figures.add("attackers", "planted in .atomsync", outcome)


def test_what_is_staged_is_nobody_elses_to_read(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    privacy.never_open_to_others(outcome, base)
    figures.add("attackers", "another user's look", outcome)


def test_a_racing_attacker_reaches_nothing_outside(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    race.commits(base, outcome, scaled(150, 10_000))
    disturbed = outcome.total - outcome.counts["committed"]
    figures.add("attackers", "racing commits", outcome, disturbed=disturbed)


def test_the_command_withstands_a_racing_attacker(base: Path, atomsync: Any, figures: Figures) -> None:
    outcome = Outcome()
    attacked = race.Attacked(base)
    with attacked.attacker(seed=1):
        for number in range(scaled(4, 60)):
            done = atomsync(
                "push",
                "--delete",
                "--max-delete",
                "100%",
                "--keep",
                "0",
                attacked.sources[number % 2],
                attacked.dst,
            )
            wrong = [f"exit {done.returncode}: {done.stderr}"] if done.returncode in (1, 2, 70) else []
            attacked.judge(outcome, f"exit {done.returncode}", *wrong)
    outcome.judged("at rest", *attacked.at_rest())
    figures.add("attackers", "racing commands", outcome)
