"""Power cuts by FS_IOC_SHUTDOWN, at every verb of a push in the full form."""

from __future__ import annotations

import pytest

from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.shutdown import shutdowns

_EVERY = 10_000


@pytest.mark.root
@pytest.mark.parametrize("small", [False, True], ids=["large", "small"])
@pytest.mark.parametrize("survives", [False, True], ids=["dies", "survives"])
@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_filesystem_shut_down_at_any_verb_holds_old_or_new(
    fs: str, survives: bool, small: bool, figures: Figures
) -> None:
    outcome = Outcome()
    shutdowns(fs, outcome, scaled(4, _EVERY), survives=survives, small=small)
    case = f"{fs}, {'small' if small else 'large'}, process {'lives on' if survives else 'dies'}"
    figures.add("shutdown", case, outcome)
