"""Whatever breaks or blinds a watcher is noticed, said, and healed; nothing is removed by mistake."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.follow.apart import Apart
from tests.follow.following import Following, arrives, names

Follow = Callable[..., Following]
Same = Callable[[Path, Path], None]
WATCHES, INSTANCES = "/proc/sys/user/max_inotify_watches", "/proc/sys/user/max_inotify_instances"


@pytest.fixture(autouse=True)
def polls_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomsync.follow.attachment.POLL_S", 1.0)  # not 10 s


def limited(path: str, number: int) -> list[str]:
    """The words that run a program where a user may have no more than ``number`` of something."""
    script = f'echo {number} > {path} && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("user namespaces with limits of their own cannot be made here")
    return words


# -- the watcher breaks
def test_an_overflow_of_the_kernel_queue_heals_by_a_look_everywhere(
    src: Path, dst: Path, apart: Callable[..., Apart], assert_same_tree: Same
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}: too many to overflow in a test")
    watch = apart(src, dst, delete=True)
    watch.settled()
    watch.send(signal.SIGSTOP)
    for number in range(limit // 4):  # made, written, closed, moved: four events at least
        (src / f"{number}").write_bytes(b"x")
        (src / f"{number}").rename(src / "last")
    watch.send(signal.SIGCONT)
    assert "max_queued_events" in watch.wait_for("coverage")
    watch.settled()
    assert_same_tree(src, dst)
    coverage = watch.ask("status")["coverage"]
    assert (coverage["overflows"], coverage["reattached"], coverage["complete"]) == (1, 1, True)


def inotify_fds() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "inotify" in os.readlink(f"/proc/self/fd/{name}"):
                found.add(int(name))
    return found


def test_a_reader_whose_events_end_is_replaced(src: Path, dst: Path, follow: Follow) -> None:
    before = inotify_fds()
    watch = follow(src, dst)
    watch.settled()
    (fd,) = inotify_fds() - before
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, fd)
    os.close(null)
    (src / "unseen").write_bytes(b"x")
    arrives(watch, dst / "unseen", b"x")
    assert watch.wait_for("coverage")["why"]
    assert watch.status.coverage.reattached == 1
    (src / "seen").write_bytes(b"y")
    arrives(watch, dst / "seen", b"y")
    assert watch.status.coverage.complete


def test_a_reader_that_fails_is_replaced(src: Path, dst: Path, follow: Follow) -> None:
    watch = follow(src, dst)
    watch.settled()
    batcher: Any = watch.follower._batcher
    add = batcher.add

    def fail(*_: object) -> None:
        batcher.add = add
        raise ValueError("a hint that cannot be")

    batcher.add = fail
    (src / "unheard").write_bytes(b"x")
    arrives(watch, dst / "unheard", b"x")
    assert "a hint that cannot be" in watch.wait_for("coverage")["why"]
    assert watch.status.coverage.complete


# -- limits
def test_directories_beyond_the_limit_of_watches_are_polled_until_it_is_raised(
    src: Path, dst: Path, apart: Callable[..., Apart], assert_same_tree: Same
) -> None:
    for number in range(12):
        (src / f"d{number}").mkdir()
    watch = apart(src, dst, under=limited(WATCHES, 8))
    watch.settled()
    coverage = watch.ask("status")["coverage"]
    assert not coverage["complete"]
    assert coverage["mode"] == "events and polling"
    assert all("max_user_watches" in gap for gap in coverage["gaps"])
    assert 1 <= len(coverage["gaps"]) <= 7
    assert 5 <= coverage["directories"] <= 8
    for number in range(12):
        (src / f"d{number}" / "file").write_bytes(b"x")
    watch.settled()  # knows where it cannot hear
    assert_same_tree(src, dst)
    watch.ask("write", WATCHES, "1000")
    (src / "d0" / "late").write_bytes(b"x")
    (src / "d11" / "late").write_bytes(b"x")
    watch.wait_until(lambda: (dst / "d0/late").exists() and (dst / "d11/late").exists())
    watch.wait_until(lambda: watch.ask("status")["coverage"]["complete"])
    assert len([event for event, _ in watch.told if event == "coverage"]) == 2
    watch.settled()
    assert_same_tree(src, dst)


def test_without_an_inotify_instance_it_polls_until_there_is_one(
    src: Path, dst: Path, apart: Callable[..., Apart], assert_same_tree: Same
) -> None:
    watch = apart(src, dst, under=limited(INSTANCES, 0))
    watch.settled()
    coverage = watch.ask("status")["coverage"]
    assert coverage["mode"] == "polling"
    assert ["max_user_instances" in gap for gap in coverage["gaps"]] == [True]
    (src / "polled").write_bytes(b"x")
    watch.wait_until(lambda: (dst / "polled").exists())
    watch.ask("write", INSTANCES, "10")
    watch.wait_until(lambda: watch.ask("status")["coverage"]["mode"] == "events")
    assert watch.ask("status")["coverage"]["complete"]
    (src / "heard").write_bytes(b"x")
    watch.wait_until(lambda: (dst / "heard").exists(), 2)
    watch.settled()
    assert_same_tree(src, dst)


# -- the root
def test_a_source_that_is_made_anew_moved_away_or_exchanged_is_followed(
    tmp_path: Path, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()

    shutil.rmtree(src)
    src.mkdir()
    (src / "anew").write_bytes(b"2")
    arrives(watch, dst / "anew", b"2")
    watch.settled()
    assert_same_tree(src, dst)

    src.rename(tmp_path / "away")
    watch.wait_until(lambda: watch.status.state == "paused")
    assert "gone" in watch.status.why
    flushed = watch.follower.flush(5)
    assert (flushed.committed, flushed.exit_status) == (False, 3)
    (tmp_path / "away/meanwhile").write_bytes(b"3")
    assert names(dst) == ["anew"]
    (tmp_path / "away").rename(src)
    arrives(watch, dst / "meanwhile", b"3")
    watch.settled()
    assert watch.status.state == "watching"
    assert_same_tree(src, dst)

    (tmp_path / "other").mkdir()
    (tmp_path / "other/b").write_bytes(b"4")
    src.rename(tmp_path / "before")
    (tmp_path / "other").rename(src)
    arrives(watch, dst / "b", b"4")
    watch.settled()
    assert_same_tree(src, dst)
    assert watch.status.coverage.complete


def test_an_emptied_source_wipes_nothing_and_goes_on_when_there_is_something(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    for name in "abc":
        (src / name).write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    for name in "abc":
        (src / name).unlink()
    watch.wait_until(lambda: watch.status.state == "paused")
    assert "empty" in watch.status.why
    assert watch.follower.flush(5).exit_status == 25
    assert names(dst) == ["a", "b", "c"]
    assert len([event for event, _ in watch.told if event == "paused"]) == 1
    (src / "d").write_bytes(b"2")
    arrives(watch, dst / "d", b"2")
    watch.settled()
    assert_same_tree(src, dst)


def test_an_unmounted_source_pauses_and_goes_on_when_its_disk_is_back(
    small_fs: Any, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    src = small_fs("ext4")
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    subprocess.run(["umount", "-l", src], check=True)
    flushed = watch.follower.flush(5)
    assert (flushed.committed, flushed.exit_status) == (False, 45)
    watch.wait_until(lambda: watch.status.state == "paused")
    assert "another filesystem" in watch.status.why
    assert names(dst) == ["a"]
    subprocess.run(["mount", "-o", "loop", next(src.parent.glob("*.image")), src], check=True)
    (src / "b").write_bytes(b"2")
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert watch.status.state == "watching"
    assert_same_tree(src, dst)


def test_another_filesystem_mounted_where_the_source_was_waits_for_resume(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    small_fs.tmpfs(src)
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    subprocess.run(["umount", "-l", src], check=True)
    small_fs.points.remove(src)
    small_fs.tmpfs(src)
    (src / "b").write_bytes(b"2")
    assert watch.follower.flush(5).exit_status == 45
    watch.wait_until(lambda: watch.status.state == "paused")
    assert names(dst) == ["a"]
    watch.follower.resume()
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_source_that_was_a_bind_mount_is_not_what_lies_beneath(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path, follow: Follow
) -> None:
    (src / "beneath").write_bytes(b"0")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a").write_bytes(b"1")
    subprocess.run(["mount", "--bind", tmp_path / "real", src], check=True)
    small_fs.points.append(src)
    watch = follow(src, dst, delete=True)
    watch.settled()
    subprocess.run(["umount", "-l", src], check=True)
    small_fs.points.remove(src)
    assert watch.follower.flush(5).exit_status == 45
    watch.wait_until(lambda: watch.status.state == "paused")
    assert names(dst) == ["a"]


# -- mounts in the source
def test_a_mount_in_the_source_that_goes_pauses_and_nothing_is_removed(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "m").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/x").write_bytes(b"1")
    mount = ["mount", "--bind", str(tmp_path / "disk"), str(src / "m")]
    subprocess.run(mount, check=True)
    small_fs.points.append(src / "m")
    watch = follow(src, dst, delete=True)
    watch.settled()
    subprocess.run(["umount", src / "m"], check=True)
    (src / "beside").write_bytes(b"2")
    assert watch.follower.flush(5).exit_status == 45
    watch.wait_until(lambda: watch.status.state == "paused")
    assert f"{src}/m" in watch.status.why
    assert (names(dst), names(dst / "m")) == (["m"], ["x"])
    subprocess.run(mount, check=True)
    arrives(watch, dst / "beside", b"2")
    (src / "m/y").write_bytes(b"3")
    arrives(watch, dst / "m/y", b"3")
    watch.settled()
    assert_same_tree(src, dst)


def test_another_filesystem_in_place_of_one_in_the_source_removes_nothing(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "m").mkdir()
    small_fs.tmpfs(src / "m")
    (src / "m/x").write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    subprocess.run(["umount", src / "m"], check=True)
    small_fs.points.remove(src / "m")
    small_fs.tmpfs(src / "m")
    assert watch.follower.flush(5).exit_status == 45
    watch.wait_until(lambda: watch.status.state == "paused")
    assert names(dst / "m") == ["x"]
    watch.follower.resume()
    watch.wait_until(lambda: names(dst / "m") == [])
    watch.settled()
    assert_same_tree(src, dst)


def test_a_filesystem_mounted_in_the_source_is_covered(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "m").mkdir()
    (src / "m/hidden").write_bytes(b"0")
    watch = follow(src, dst, delete=True)
    watch.settled()
    small_fs.tmpfs(src / "m")
    (src / "m/x").write_bytes(b"1")
    watch.settled()
    assert names(dst / "m") == ["x"]
    (src / "m/y").write_bytes(b"2")
    arrives(watch, dst / "m/y", b"2", 5)
    watch.settled()
    assert_same_tree(src, dst)


# -- no events
def test_polling_finds_what_changes(src: Path, dst: Path, follow: Follow, assert_same_tree: Same) -> None:
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, delete=True, poll_s=0.2)
    watch.settled()
    coverage = watch.status.coverage
    assert (coverage.mode, coverage.directories) == ("polling", 0)
    (src / "b").write_bytes(b"1")
    (src / "a").unlink()
    start_s = time.monotonic()
    watch.wait_until(lambda: names(dst) == ["b"])
    assert time.monotonic() - start_s < 0.9  # every 0.2 s, and a file must rest
    (src / "b").write_bytes(b"2")
    watch.settled()
    assert_same_tree(src, dst)
    units = watch.status.units
    shutil.rmtree(src)
    watch.wait_until(lambda: watch.status.state == "paused")
    assert (names(dst), watch.status.units) == (["b"], units)


def test_what_changes_beneath_an_overlay_is_polled(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    small_fs.tmpfs(base)
    lower, upper, work = (base / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work):
        path.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(src)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("overlay cannot be mounted here")
    small_fs.points.append(src)
    watch = follow(src, dst)
    watch.settled()
    coverage = watch.status.coverage
    assert (coverage.complete, coverage.mode) == (False, "polling")
    assert "overlay" in coverage.gaps[0]
    (lower / "low").write_bytes(b"1")
    (upper / "up").write_bytes(b"2")
    arrives(watch, dst / "low", b"1")
    arrives(watch, dst / "up", b"2")
    (src / "own").write_bytes(b"3")
    arrives(watch, dst / "own", b"3", 3)  # its own changes are heard at once all the same
    (lower / "lower").write_bytes(b"4")
    watch.settled()
    assert_same_tree(src, dst)


# -- rescans
def test_a_change_without_an_event_is_found_by_a_rescan_and_counted(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "mapped").write_bytes(b"a" * 4096)
    with (src / "mapped").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 4096)
    watch = follow(src, dst, rescan_s=0.2)
    watch.settled()
    watch.wait_until(lambda: watch.status.coverage.rescans >= 2)
    assert watch.status.coverage.missed == 0
    memory[:4] = b"zzzz"
    memory.flush()
    assert watch.wait_for("missed")["paths"] == ["mapped"]
    assert watch.status.coverage.missed == 1
    assert (dst / "mapped").read_bytes()[:5] == b"zzzza"
    watch.settled()
    assert_same_tree(src, dst)
    memory.close()


def test_nothing_that_was_announced_counts_as_missed(
    tmp_path: Path, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (tmp_path / "outside").mkdir()
    watch = follow(src, dst, delete=True, rescan_s=0.05, settle_s=0.02, max_wait_s=0.2)
    watch.settled()
    script = Path(__file__).parents[1] / "watch" / "mutator.py"
    storm = [sys.executable, str(script), str(src), str(tmp_path / "outside"), "1", "1000000", "2"]
    with subprocess.Popen(storm, stderr=subprocess.DEVNULL) as mutator:
        try:
            watch.wait_until(lambda: watch.status.coverage.rescans >= 8, 30)
        finally:
            mutator.kill()
    watch.settled(60)
    assert [fields for event, fields in watch.told if event == "missed"] == []
    assert watch.status.coverage.missed == 0
    assert_same_tree(src, dst)
