"""Power cuts on real filesystems: what a disk may hold after one, mounted, recovered and judged."""

from __future__ import annotations

import pytest

from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.images import power_cuts, recovery_cuts
from tests.proof.workloads import (
    killed_at_commit_then_recovered,
    pushed,
    pushed_anew,
    pushed_anew_beside_a_neighbour,
    pushed_beside_a_neighbour,
)

_WORKLOADS = {
    "push": pushed,
    "push, neighbour syncs": pushed_beside_a_neighbour,
    "new DST": pushed_anew,
    "new DST, neighbour syncs": pushed_anew_beside_a_neighbour,
    "killed, recovered": killed_at_commit_then_recovered,
}
_SHORT = {"ext4": 5, "xfs": 4, "btrfs": 5}  # images of each workload and size of unit
_FULL = {"ext4": 160, "xfs": 80, "btrfs": 120}


@pytest.mark.root
@pytest.mark.parametrize("small", [False, True], ids=["large", "small"])
@pytest.mark.parametrize("workload", _WORKLOADS)
@pytest.mark.parametrize("fs", _SHORT)
def test_a_power_cut_at_any_write_leaves_old_or_new(
    fs: str, workload: str, small: bool, figures: Figures
) -> None:
    outcome = Outcome()
    power_cuts(fs, outcome, scaled(_SHORT[fs], _FULL[fs]), workload=_WORKLOADS[workload], small=small)
    figures.add("power cuts", f"{fs}, {'small' if small else 'large'} {workload}", outcome)


@pytest.mark.root
@pytest.mark.parametrize("fs", _SHORT)
def test_a_power_cut_during_the_recovery_from_a_power_cut_leaves_old_or_new(
    fs: str, figures: Figures
) -> None:
    outcome = Outcome()
    recovery_cuts(fs, outcome, scaled(1, 16), scaled(3, 12))
    figures.add("power cuts", f"{fs}, recovery", outcome)
