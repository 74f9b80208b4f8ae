"""Figures of the proof: every layer adds its own, the run prints them all, a full run keeps them."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import pytest

from tests.proof.figures import FULL, Figures

_FIGURES = Figures()
_KEPT = Path(__file__).parents[2] / "build" / "proof"


@pytest.fixture(scope="session")
def figures() -> Figures:
    return _FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _FIGURES.all:
        return
    terminalreporter.section("proof" + (" (full)" if FULL else ""))
    for layer, case, numbers in _FIGURES.all:
        told = ", ".join(
            f"{value:,} {name}" if isinstance(value, int) else f"{name} {value}"
            for name, value in numbers.items()
        )
        terminalreporter.write_line(f"{layer:<10} {case:<28} {told}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Each process of a split run keeps its own file; ``report`` reads them all."""
    if FULL and _FIGURES.all:
        _KEPT.mkdir(parents=True, exist_ok=True)
        kept = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "figures": _FIGURES.all,
        }
        (_KEPT / f"figures-{os.getpid()}.json").write_text(json.dumps(kept, indent=1))
