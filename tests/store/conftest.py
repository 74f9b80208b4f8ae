"""One destination on each kind of disk, for the conformance suite of the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.fs.posix import PosixDisk
from atomsync.testing import Dir, SimDisk
from tests.store.world import World

Make = Callable[..., World]


def _simulated(base: Path, profile: Any, old: Dir | None, new: Dir | None, **traits: Any) -> World:
    os.makedirs(base / "dst", exist_ok=True)  # a store asks the system itself whether its root exists
    return World.made(SimDisk(profile, **traits), str(base), old, new)


@pytest.fixture(params=["posix", "weak", "ordered"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a world with these two trees on the disk under test."""

    def made(old: Dir | None = None, new: Dir | None = None) -> World:
        if request.param == "posix":
            return World.made(PosixDisk(), str(tmp_path), old, new)
        return _simulated(tmp_path, request.param, old, new)

    return made


@pytest.fixture(params=["weak", "ordered"])
def simulate(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """The same on simulated disks only, which may lack capabilities."""

    def made(old: Dir | None = None, new: Dir | None = None, **traits: Any) -> World:
        return _simulated(tmp_path, request.param, old, new, **traits)

    return made
