"""Names that are one name at the destination never enter it both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import UnitOfWork, open_store
from atomsync.errors import GuardTripped
from atomsync.fs.disk import Stat
from atomsync.fs.posix import PosixDisk


class IgnoringCase(PosixDisk):
    """A disk that keeps the names of its probe in lower case, as it would all others."""

    def create(self, at: int, name: str) -> int:
        return super().create(at, name.lower())

    def lstat(self, at: int, name: str) -> Stat:
        return super().lstat(at, name.lower() if name.startswith("folding") else name)

    def unlink(self, at: int, name: str) -> None:
        super().unlink(at, name.lower() if name.startswith("folding") else name)


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


@pytest.mark.parametrize("nested", [False, True])
def test_two_names_that_would_be_one_are_refused_and_both_are_named(
    dst: Path, nested: bool, unchanged: Callable[..., Any]
) -> None:
    store = open_store(dst, disk=IgnoringCase())
    with store.begin() as unit:
        unit.write("kept", b"x")
    with unchanged(dst), UnitOfWork(store) as unit:
        if nested:
            unit.mkdir("new")
        for name in ("Readme", "README"):
            unit.write(f"new/{name}" if nested else name, b"x")
        with pytest.raises(GuardTripped) as refusal:
            unit.commit()
    assert "Readme" in refusal.value.what
    assert "README" in refusal.value.what
    assert "--exclude" in refusal.value.hint


def test_the_same_name_in_two_directories_is_no_trouble(dst: Path) -> None:
    with open_store(dst, disk=IgnoringCase()).begin() as unit:
        for directory in ("a", "b"):
            unit.mkdir(directory)
            unit.write(f"{directory}/Readme", b"x")
            unit.write(f"{directory}/other", b"x")


def test_where_names_are_told_apart_nothing_is_refused(dst: Path) -> None:
    with open_store(dst).begin() as unit:
        unit.write("Readme", b"x")
        unit.write("README", b"x")
    assert (dst / "Readme").exists()
