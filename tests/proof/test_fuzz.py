"""The journal's codec and the filters against inputs nobody would write."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomsync.tree.filters import Filters
from tests.proof import fuzz_targets
from tests.proof.figures import FULL, Figures, Outcome, scaled

HANG_S = 2  # of processor time, for what takes milliseconds
BLOWN_UP = {
    "*a*a*a*a*a*a*a*b": "a" * 200,
    "a**a**a**a**a**a**b": "a" * 200,
    "**/a/**/a/**/a/**/a/**/b": "/".join("a" * 40),
    "*[a-c]*[a-c]*[a-c]*[a-c]*[a-c]*d": "abc" * 60,
    "?*?*?*?*?*?*?*b": "a" * 200,
    "\\a*" * 8 + "b": "a" * 200,
}


def tried(outcome: Outcome, what: str, call: Callable[[], object]) -> None:
    """What it raises, and a hang, is a finding."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {HANG_S} s")

    former = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        call()
    except Exception as error:
        outcome.judged("found", f"{what}: {type(error).__name__}: {error}")
    else:
        outcome.judged("held")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)


def fuzzed(name: str, outcome: Outcome, seconds: float, seed: int = 1) -> None:
    """One target on random bytes for so long."""
    end = time.monotonic() + seconds
    for data in fuzz_targets.corpus(seed):
        if outcome.done or time.monotonic() > end:
            return
        tried(outcome, f"{name} {data.hex()}", partial(fuzz_targets.TARGETS[name], data))


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path, figures: Figures) -> None:
    """Random bytes; in the full form also what atheris makes of the code's own branches."""
    outcome = Outcome()
    fuzzed(name, outcome, scaled(2, 5))
    figures.add("fuzz", f"{name}, random", outcome)
    if FULL:
        if importlib.util.find_spec("atheris") is None:
            figures.add("fuzz", f"{name}, atheris", skipped="atheris is not installed")
            pytest.skip("atheris is not installed")
        figures.add("fuzz", f"{name}, atheris", _by_atheris(name, tmp_path))


def _by_atheris(name: str, keep: Path) -> Outcome:
    line = [sys.executable, "-m", "tests.proof.fuzz", name, "--seconds", "60", "--keep", str(keep)]
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=300, check=False)
    runs = re.search(r"Done (\d+) runs", done.stderr)
    outcome = Outcome()
    outcome.counts["held"] = int(runs[1]) if runs else 0
    if done.returncode != 0 or not runs:
        outcome.judged("found", done.stderr[-3000:])
    return outcome


@pytest.mark.parametrize("pattern", BLOWN_UP)
def test_a_pattern_made_to_blow_up_is_answered_soon(pattern: str, figures: Figures) -> None:
    outcome = Outcome()
    for path in (BLOWN_UP[pattern], BLOWN_UP[pattern] + "/b"):
        tried(outcome, pattern, partial(Filters([pattern]).excludes, path, is_dir=True))
    figures.add("fuzz", f"blown up: {pattern[:16]}", outcome)


@settings(max_examples=scaled(200, 20_000), deadline=None)
@given(st.binary(max_size=300))
def test_hypothesis_finds_nothing_in_the_journal(data: bytes) -> None:
    fuzz_targets.journal(data)


@settings(max_examples=scaled(200, 20_000), deadline=None)
@given(st.binary(max_size=120))
def test_hypothesis_finds_nothing_in_the_filters(data: bytes) -> None:
    fuzz_targets.filters(data)
