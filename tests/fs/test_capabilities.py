"""What is believed of a filesystem: only what was tried, or is known of its kind."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomsync.fs import posix
from atomsync.fs.capabilities import probe
from atomsync.fs.posix import PosixDisk
from tests.store.world import NEW, OLD, World

T = 1_600_000_000_000_000_000


class LyingExchange(PosixDisk):
    """As a FUSE library does that drops the flags of renameat2: a plain rename, and success."""

    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        self.replace(at, name, to, other)


class LyingRename(LyingExchange):
    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        self.replace(at, name, to, new_name)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "probe").mkdir()
    fd = os.open(tmp_path / "probe", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_an_exchange_that_lies_is_seen_through(at: int, tmp_path: Path) -> None:
    found = probe(LyingExchange(), at)
    assert (found.exchange, found.rename_new, found.link) == (False, True, True)
    world = World.made(LyingExchange(), str(tmp_path), OLD, NEW)
    assert world.push().swap_class == "link+replace"
    assert world.tree() == NEW


def test_a_rename_that_replaces_what_it_should_refuse_is_seen_through(at: int, tmp_path: Path) -> None:
    found = probe(LyingRename(), at)
    assert (found.exchange, found.rename_new) == (False, False)
    world = World.made(LyingRename(), str(tmp_path), OLD, NEW)
    world.push()
    assert world.tree() == NEW


def test_file_handles_and_syncfs_are_believed_of_known_filesystems_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which one this runs on, so it is made a known one first, and then an unknown one."""
    disk = PosixDisk()

    def believed(*known: int) -> tuple[bool, bool]:
        monkeypatch.setattr(posix, "_KNOWN", dict.fromkeys(known, ""))
        at = disk.open_root(str(tmp_path))
        try:
            return disk.generation(at, "file") != 0, disk.syncfs_trusted(at)
        finally:
            disk.close(at)

    (tmp_path / "file").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    mine = posix._f_type(fd)
    os.close(fd)
    if believed(mine) != (True, True):
        pytest.skip("this system gives no file handles here, or its kernel is older than 5.8")
    assert believed() == (False, False)


def test_a_name_exchanged_while_a_link_gets_its_time_leads_nowhere_else(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"kept")
    os.utime(canary, ns=(T, T))
    os.symlink("target", "link", dir_fd=at)
    real = os.fstat

    def exchanging(fd: int) -> os.stat_result:
        found = real(fd)
        if stat.S_ISLNK(found.st_mode):
            os.rename("link", "aside", src_dir_fd=at, dst_dir_fd=at)
            os.link(canary, "link", dst_dir_fd=at)
        return found

    monkeypatch.setattr(os, "fstat", exchanging)
    PosixDisk().set_meta_at(at, "link", -1, -1, None, 10**18)
    assert canary.stat().st_mtime_ns == T
    assert os.stat("aside", dir_fd=at, follow_symlinks=False).st_mtime_ns == 10**18
