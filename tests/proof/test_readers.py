"""Readers and units at the same time: no path missing, no file torn; what a reader of several files sees
is measured and printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.readers import readers

UNITS = {"none": scaled(100, 10_000), "full": scaled(20, 1_000)}


@pytest.mark.parametrize("durability", ["none", "full"])
def test_no_reader_ever_meets_a_missing_path_or_a_torn_file(
    tmp_path: Path, durability: str, figures: Figures
) -> None:
    outcome = Outcome()
    measured = readers(outcome, tmp_path, UNITS[durability], durability)
    figures.add("readers", f"durability {durability}", outcome, **measured)
    assert measured["files read"] > outcome.total
    assert measured["lookups"] > 10 * outcome.total
