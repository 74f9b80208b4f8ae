"""The same push on real filesystems, each with its own idea of time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import Report, push
from atomsync.errors import CheckFailed
from atomsync.store.progress import Progress

KINDS = ["ext4", "xfs", "btrfs", "tmpfs"]
Same = Callable[[Path, Path], None]


def nothing_to_do(report: Report) -> bool:
    return report.receipt is not None and report.receipt.unit_id == ""


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_real_trees_arrive_whole_and_then_there_is_nothing_to_do(
    kind: str, small_fs: Any, real_tree: Callable[[str], Path], assert_same_tree: Same
) -> None:
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    src = real_tree("awkward")
    push(src, dst)
    assert_same_tree(src, dst)
    assert nothing_to_do(push(src, dst, delete=True))


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_a_first_push_that_fails_leaves_an_empty_destination_empty(
    kind: str, small_fs: Any, tmp_path: Path
) -> None:
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    dst.mkdir()
    (tmp_path / "f").write_bytes(b"content")
    with pytest.raises(CheckFailed):
        push(tmp_path, dst, check="false")
    assert os.listdir(dst) == []


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_the_place_of_every_other_with_its_times(
    kind: str, small_fs: Any, tmp_path: Path, assert_same_tree: Same
) -> None:
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    kinds: dict[str, Callable[[Path], object]] = {
        "file": lambda path: path.write_bytes(b"content"),
        "link": lambda path: path.symlink_to("nowhere"),
        "dir": lambda path: (path.mkdir(), (path / "in").write_bytes(b"inside"))[0],
        "empty": lambda path: path.mkdir(),
    }
    orders = ["file link dir empty", "link dir empty file", "dir empty file link"]
    for number, order in enumerate(orders):
        src = tmp_path / f"src{number}"
        src.mkdir()
        for name, made in zip(kinds, order.split()):
            kinds[made](src / name)
            os.utime(src / name, ns=(10**18 + number, 10**18 + number), follow_symlinks=False)
        push(src, dst, delete=True)
        assert_same_tree(src, dst)
        assert nothing_to_do(push(src, dst, delete=True))


@pytest.fixture
def coarse(small_fs: Any) -> Path:
    """A filesystem that keeps times in whole seconds."""
    point: Path = small_fs("ext4-seconds")
    return point


@pytest.mark.root
def test_a_destination_with_whole_seconds_is_up_to_date_after_one_push(coarse: Path, tmp_path: Path) -> None:
    src = tmp_path / "src"
    (src / "d").mkdir(parents=True)
    (src / "d" / "f").write_bytes(b"1")
    os.utime(src / "d" / "f", ns=(10**18 + 5, 10**18 + 5))
    push(src, coarse / "dst")
    assert nothing_to_do(push(src, coarse / "dst"))
    (src / "d" / "f").write_bytes(b"2")
    assert not nothing_to_do(push(src, coarse / "dst"))
    assert (coarse / "dst" / "d" / "f").read_bytes() == b"2"


class Rewriting(Progress):
    """Writes other bytes of the same number, as soon as everything is staged; once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        if name == "check" and self.path.read_bytes() == b"aaaa":
            self.path.write_bytes(b"bbbb")


@pytest.mark.root
def test_a_source_with_whole_seconds_hides_no_change_made_within_one(coarse: Path, tmp_path: Path) -> None:
    src, dst = coarse / "src", tmp_path / "dst"
    src.mkdir()
    (src / "f").write_bytes(b"aaaa")
    push(src, dst, progress=Rewriting(src / "f"))
    assert (src / "f").read_bytes() == (dst / "f").read_bytes() == b"bbbb"


@pytest.mark.parametrize("year", [1900, 1969, 2039, 2300, 3000])
def test_dates_near_and_far_are_kept_and_never_block_a_store(
    year: int, tmp_path: Path, assert_same_tree: Same
) -> None:
    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(b"1")
    seconds = int((year - 1970) * 365.2425 * 86400)
    os.utime(src / "f", ns=(seconds * 10**9, seconds * 10**9))
    (src / "f").stat()
    push(src, tmp_path / "dst")
    assert (tmp_path / "dst" / "f").stat().st_mtime_ns == (src / "f").stat().st_mtime_ns
    assert nothing_to_do(push(src, tmp_path / "dst"))
    (src / "g").write_bytes(b"2")
    assert push(src, tmp_path / "dst").receipt.warnings == ()  # type: ignore[union-attr]


def test_a_name_that_moves_during_the_scan_is_not_taken_for_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atomsync.fs.posix import PosixDisk

    src, dst = tmp_path / "src", tmp_path / "dst"
    for name in ("a", "z"):
        (src / name).mkdir(parents=True)
    (src / "z" / "f").write_bytes(b"1")
    push(src, dst)
    real = PosixDisk.open_dir

    def moving(self: PosixDisk, at: int, name: str) -> int:
        if name == "z" and (src / "z" / "f").exists():
            (src / "z" / "f").rename(src / "a" / "f")
        return real(self, at, name)

    monkeypatch.setattr(PosixDisk, "open_dir", moving)
    push(src, dst, delete=True)
    assert sorted(path.name for path in dst.glob("*/f")) == ["f"]
    assert (dst / "a" / "f").read_bytes() == b"1"


def test_the_first_push_into_a_directory_that_fails_leaves_its_time_alone(tmp_path: Path) -> None:
    from atomsync.errors import GuardTripped

    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    (src / "d").write_bytes(b"file")
    (dst / "d").mkdir(parents=True)
    (dst / "d" / "in").write_bytes(b"1")
    os.utime(dst, ns=(10**18, 10**18))
    with pytest.raises(GuardTripped):
        push(src, dst)
    assert dst.stat().st_mtime_ns == 10**18
    assert os.listdir(dst) == ["d"]


def test_bits_that_lend_rights_are_never_given_to_content_that_was_not_compared(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    dst.mkdir()
    (src / "tool").write_bytes(b"good")
    (dst / "tool").write_bytes(b"evil")
    os.chmod(src / "tool", 0o4755)
    os.utime(src / "tool", ns=(10**18, 10**18))
    os.utime(dst / "tool", ns=(10**18, 10**18))
    push(src, dst)
    assert (dst / "tool").read_bytes() == b"good"
    assert (dst / "tool").stat().st_mode & 0o7777 == 0o4755


@pytest.mark.parametrize("changed", ["mode", "owner"])
def test_a_file_with_a_name_elsewhere_gets_a_successor_and_the_other_name_stays_as_it_is(
    changed: str, tmp_path: Path
) -> None:
    src, dst, canary = tmp_path / "src", tmp_path / "dst", tmp_path / "canary"
    src.mkdir()
    dst.mkdir()
    for path in (src / "f", canary):
        path.write_bytes(b"same")
        os.utime(path, ns=(10**18, 10**18))
    if changed == "mode":
        os.chmod(src / "f", 0o751)
    elif os.geteuid() != 0:
        pytest.skip("only root may give files away")
    else:
        os.chown(src / "f", 12345, 12345)
    os.link(canary, dst / "f")
    before = canary.stat()
    push(src, dst)
    after = canary.stat()
    fields = ("ino", "mode", "uid", "gid", "size", "mtime_ns")
    assert [getattr(after, f"st_{name}") for name in fields] == [
        getattr(before, f"st_{name}") for name in fields
    ]
    assert canary.read_bytes() == (dst / "f").read_bytes() == b"same"
    new, wanted = (dst / "f").stat(), (src / "f").stat()
    assert (new.st_mode, new.st_uid, new.st_mtime_ns) == (wanted.st_mode, wanted.st_uid, 10**18)
    assert new.st_ino != after.st_ino
