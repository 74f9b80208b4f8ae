"""A crowd on one store, in short: the whole of it is in ``crowd``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof.crowd import crowd, first_units
from tests.proof.figures import Figures, Outcome, scaled

SECONDS = scaled(3, 90)


@pytest.mark.parametrize("kills", [True, False], ids=["killed", "undisturbed"])
def test_no_update_of_a_crowd_is_ever_lost(kills: bool, tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    crowd(outcome, tmp_path, seconds=SECONDS, kills=kills, processes=scaled(3, 6), threads=scaled(3, 4))
    figures.add("crowd", "killed" if kills else "undisturbed", outcome)
    assert outcome.counts["commits"] > SECONDS
    assert (outcome.counts["killed"] > 0) is kills


def test_no_update_of_a_crowd_is_ever_lost_with_full_durability(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    crowd(outcome, tmp_path, seconds=scaled(1, 60), durability="full")
    figures.add("crowd", "full durability", outcome)


@pytest.mark.parametrize("kills", [True, False], ids=["killed", "undisturbed"])
def test_a_store_that_all_make_at_once_and_some_unmake_loses_nobodys_unit(
    kills: bool, tmp_path: Path, figures: Figures
) -> None:
    outcome = Outcome()
    first_units(outcome, tmp_path, scaled(12, 300), kills=kills)
    figures.add("crowd", f"first units{', killed' * kills}", outcome)
    assert outcome.counts["given up"] > outcome.counts["commits"] > 0
