"""Followers that are stopped at the end of a test, whatever became of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.follow.apart import Apart
from tests.follow.following import QUICK, Following


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    """``follow(src, dst, **options)``: a follower at work, with ``QUICK`` for what is not named."""
    with contextlib.ExitStack() as at_work:

        def start(src: Path, dst: Path, *, lasting: bool = False, **options: Any) -> Following:
            following = Following(src, dst, QUICK._replace(**options), lasting=lasting)
            at_work.callback(following.stop)
            return following

        yield start


@pytest.fixture
def apart() -> Iterator[Callable[..., Apart]]:
    """``apart(src, dst, **options)``: the same in a process of its own."""
    with contextlib.ExitStack() as at_work:

        def start(src: Path, dst: Path, **options: Any) -> Apart:
            found = Apart(src, dst, **options)
            at_work.callback(found.close)
            return found

        yield start


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"
