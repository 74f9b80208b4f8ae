"""The hot loops take no more instructions for a file than they did: a guard that noise cannot blur.

The budgets are for CPython 3.11: what ``make instructions`` prints, and at most a tenth more. Another one
has as much more, or less, as it takes for a loop of plain Python.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.performance.instructions import counted
from tests.performance.workload import FIRST, LOOP, REPLACED, UNCHANGED

PLAIN_LOOP = 6_920
BUDGETS = {FIRST: 146_500, UNCHANGED: 25_100, REPLACED: 433_000}


def test_a_file_takes_no_more_instructions_than_its_budget(tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed")
    found = counted(valgrind, tmp_path)
    slower = found[LOOP] / PLAIN_LOOP
    used = {loop: found[loop] / (budget * slower) for loop, budget in BUDGETS.items()}
    assert max(used.values()) <= 1, f"{found} of {BUDGETS}, a plain loop being {slower:.2f} of what it was"
    assert min(used.values()) > 0.1, f"{found}: that is not the loop that was meant"
