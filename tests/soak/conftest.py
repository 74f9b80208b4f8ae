"""Each storm has directories and a control socket of its own, and adds its figures to the end of the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.proof.figures import Figures
from tests.soak.watched import FULL, Watched

_FIGURES = Figures()


@pytest.fixture
def figures() -> Figures:
    return _FIGURES


@pytest.fixture
def watched(
    atomsync: Any,
    wait_until: Any,
    public_dir: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Watched]:
    """A source, a destination and a watch with these options, not started yet; in memory, in the short form
    of root."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(public_dir / "run"))
    in_memory = os.geteuid() == 0 and not FULL
    base = request.getfixturevalue("small_fs")("tmpfs", 2048) if in_memory else public_dir
    return lambda *options: Watched(atomsync, wait_until, base, *options)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _FIGURES.all:
        return
    terminalreporter.section("storms" + (" (full)" if FULL else ""))
    for _, case, numbers in _FIGURES.all:
        told = ", ".join(f"{name} {value:,}" for name, value in numbers.items())
        terminalreporter.write_line(f"{case:<28} {told}")
