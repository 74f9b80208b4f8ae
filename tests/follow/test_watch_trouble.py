"""Trouble never ends a watch and loses nothing; a flush is true; pause, stop and kill at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync import Filters, open_store
from atomsync.follow.watching import Flushed
from tests.conftest import NOBODY
from tests.follow.apart import Apart
from tests.follow.following import Following, arrives, names

Follow = Callable[..., Following]
Same = Callable[[Path, Path], None]


@pytest.fixture
def public(public_dir: Path) -> Path:
    """A directory of nobody's, with an empty source in it."""
    os.chown(public_dir, NOBODY, NOBODY)
    (public_dir / "src").mkdir()
    os.chown(public_dir / "src", NOBODY, NOBODY)
    return public_dir


def give(path: Path, data: bytes = b"x") -> Path:
    """A file of nobody's."""
    path.write_bytes(data)
    os.chown(path, NOBODY, NOBODY)
    return path


# -- the destination
def test_a_full_destination_is_tried_again_until_there_is_room(
    small_fs: Any, src: Path, follow: Follow, assert_same_tree: Same
) -> None:
    disk = small_fs("ext4", 16)
    (src / "a").write_bytes(b"1")
    watch = follow(src, disk / "dst")
    watch.settled()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    (src / "large").write_bytes(os.urandom(6 << 20))
    flushed = watch.follower.flush(10)
    assert (flushed.committed, flushed.exit_status) == (False, 44)
    (src / "small").write_bytes(b"2")
    watch.wait_until(lambda: [event for event, _ in watch.told].count("retrying") >= 2)
    status = watch.status
    assert (status.state, status.errors) == ("retrying", 1)
    assert status.queue >= 1
    assert status.lag_s > 0
    assert status.next_try_s is not None
    assert names(disk / "dst") == ["a"]
    ballast.unlink()
    watch.wait_for("resumed")
    watch.settled()
    assert watch.status.state == "watching"
    assert_same_tree(src, disk / "dst")


def test_a_destination_that_turns_read_only_is_tried_again(
    small_fs: Any, src: Path, follow: Follow, assert_same_tree: Same
) -> None:
    dst = small_fs("ext4")
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    small_fs.remount(dst, "ro")
    (src / "b").write_bytes(b"2")
    (src / "a").unlink()
    watch.wait_until(lambda: watch.status.state == "retrying")
    assert "Read-only" in watch.status.why
    assert watch.follower.flush(5).exit_status == 13
    assert names(dst) == ["a"]
    small_fs.remount(dst, "rw")
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_parent_in_which_the_destination_cannot_be_made_is_tried_again(
    public: Path, apart: Callable[..., Apart], assert_same_tree: Same
) -> None:
    src, dst = public / "src", public / "dst"
    give(src / "a")
    os.chown(public, 0, 0)
    watch = apart(src, dst, user=NOBODY)
    watch.wait_for("retrying")
    assert not dst.exists()
    os.chown(public, NOBODY, NOBODY)
    watch.wait_until(lambda: (dst / "a").exists())
    watch.settled()
    assert_same_tree(src, dst)


def test_a_destination_that_is_removed_waits_for_resume(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    shutil.rmtree(dst)
    flushed = watch.follower.flush(5)
    assert (flushed.committed, flushed.exit_status) == (False, 3)
    (src / "b").write_bytes(b"2")
    watch.wait_until(lambda: watch.status.state == "paused")
    assert "gone" in watch.status.why
    assert watch.follower.flush(5).exit_status == 3
    assert not dst.exists()
    dst.mkdir()
    assert watch.follower.flush(5).exit_status == 45  # also if it got the inode of the one before
    watch.wait_until(lambda: "gone" not in watch.status.why)
    assert watch.status.state == "paused"
    assert os.listdir(dst) == []
    watch.follower.resume()
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert watch.status.state == "watching"
    assert_same_tree(src, dst)


def test_an_emptied_destination_waits_for_resume(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    """Without its control directory it is another one, though its inode is the same."""
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    (dst / "a").unlink()
    shutil.rmtree(dst / ".atomsync")
    (src / "b").write_bytes(b"2")
    assert watch.follower.flush(5).exit_status == 45
    assert os.listdir(dst) == []
    watch.follower.resume()
    arrives(watch, dst / "a", b"1")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_destination_that_was_moved_away_goes_on_when_it_is_back(
    tmp_path: Path, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    dst.rename(tmp_path / "away")
    (src / "b").write_bytes(b"2")
    watch.wait_until(lambda: watch.status.state == "paused")
    assert watch.status.queue >= 1
    assert names(tmp_path / "away") == ["a"]
    (tmp_path / "away").rename(dst)
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert watch.status.state == "watching"
    assert_same_tree(src, dst)


def test_nothing_is_written_beneath_an_unmounted_destination(
    small_fs: Any, src: Path, follow: Follow, unchanged: Any, assert_same_tree: Same
) -> None:
    dst = small_fs("ext4")
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    subprocess.run(["umount", "-l", dst], check=True)
    with unchanged(dst, control=True):
        (src / "b").write_bytes(b"2")
        assert watch.follower.flush(5).exit_status == 45
        watch.wait_until(lambda: watch.status.state == "paused")
        assert watch.follower.flush(5).exit_status == 45
    subprocess.run(["mount", "-o", "loop", next(dst.parent.glob("*.image")), dst], check=True)
    arrives(watch, dst / "b", b"2")
    watch.settled()
    assert_same_tree(src, dst)


def test_another_tmpfs_where_the_destination_was_waits_for_resume(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    dst.mkdir()
    small_fs.tmpfs(dst)
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    subprocess.run(["umount", "-l", dst], check=True)
    small_fs.points.remove(dst)
    small_fs.tmpfs(dst)
    (src / "b").write_bytes(b"2")
    assert watch.follower.flush(5).exit_status == 45
    assert os.listdir(dst) == []
    watch.follower.resume()
    arrives(watch, dst / "a", b"1")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_store_that_another_process_holds_is_waited_for(
    src: Path, dst: Path, follow: Follow, atomsync: Any, assert_same_tree: Same
) -> None:
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    other = src.with_name("other")
    other.mkdir()
    for number in range(600):
        (other / f"{number}").write_bytes(b"x")
    push = atomsync.start("push", other, dst)
    watch.wait_until(lambda: open_store(str(dst)).status().holder)
    os.kill(push.pid, signal.SIGSTOP)
    try:
        assert open_store(str(dst)).status().holder
        (src / "b").write_bytes(b"2")
        watch.wait_until(lambda: watch.status.state == "retrying")
        assert watch.follower.flush(5).exit_status == 40
        assert not (dst / "b").exists()
    finally:
        os.kill(push.pid, signal.SIGCONT)
    assert push.wait(30) == 0
    arrives(watch, dst / "b", b"2")
    assert watch.settled().committed
    assert watch.status.errors == 1


# -- paths that cannot be followed
def test_a_file_that_cannot_be_read_holds_the_batch_until_it_can(
    public: Path, apart: Callable[..., Apart], assert_same_tree: Same
) -> None:
    src, dst = public / "src", public / "dst"
    watch = apart(src, dst, user=NOBODY)
    watch.settled()
    secret = public / "secret"
    give(secret)
    secret.chmod(0)
    secret.rename(src / "secret")
    give(src / "beside")
    assert "secret" in watch.wait_for("retrying")
    flushed = watch.ask("flush", 5)
    assert (flushed["committed"], flushed["exit_status"]) == (False, 13)
    assert "secret" in flushed["why"]
    assert names(dst) == []
    (src / "secret").chmod(0o644)
    watch.wait_until(lambda: names(dst) == ["beside", "secret"])
    watch.settled()
    assert_same_tree(src, dst)
    assert watch.ask("status")["errors"] == 1


@pytest.mark.parametrize("kind", ["file", "directory", "directory without x"])
def test_what_cannot_be_read_is_set_aside_if_that_was_asked_for(
    public: Path, apart: Callable[..., Apart], assert_same_tree: Same, kind: str
) -> None:
    src, dst = public / "src", public / "dst"
    watch = apart(src, dst, user=NOBODY, on_unstable="skip")
    watch.settled()
    secret = public / "secret"
    if kind == "file":
        give(secret)
    else:
        secret.mkdir()
        give(secret / "one")
        give(secret / "two")
        os.chown(secret, NOBODY, NOBODY)
    mode = stat.S_IMODE(secret.stat().st_mode)
    secret.chmod(0o600 if kind.endswith("x") else 0)
    secret.rename(src / "secret")
    for number in range(5):
        give(src / f"good{number}")
    watch.wait_until(lambda: all((dst / f"good{number}").exists() for number in range(5)))
    assert any("secret" in path for path in watch.ask("status")["set_aside"])
    assert "secret" in watch.wait_for("set-aside")
    flushed = watch.ask("flush", 10)
    assert (flushed["committed"], flushed["exit_status"]) == (False, 24)
    assert "secret" in flushed["why"]
    tries = len(watch.told)
    time.sleep(0.5)
    assert len(watch.told) - tries < 10  # it does not spin
    (src / "secret").chmod(mode)
    watch.wait_until(lambda: (dst / "secret").exists() and not watch.ask("status")["set_aside"])
    watch.settled()
    assert_same_tree(src, dst)
    assert watch.ask("status")["set_aside"] == {}


def test_many_unreadable_files_do_not_keep_a_flush_from_the_good_ones(
    public: Path, apart: Callable[..., Apart]
) -> None:
    src, dst = public / "src", public / "dst"
    watch = apart(src, dst, user=NOBODY, on_unstable="skip", settle_s=0.5)
    watch.settled()
    for number in range(40):
        give(public / "bad").chmod(0)
        (public / "bad").rename(src / f"bad{number:02d}")
    give(src / "good")
    flushed = watch.ask("flush", 20)
    assert (flushed["committed"], flushed["exit_status"]) == (False, 24)
    assert names(dst) == ["good"]


@pytest.mark.parametrize("on_unstable", ["fail", "skip"])
def test_a_source_root_that_cannot_be_entered_is_tried_again_without_spinning(
    public: Path, apart: Callable[..., Apart], assert_same_tree: Same, on_unstable: str
) -> None:
    src, dst = public / "src", public / "dst"
    give(src / "a")
    watch = apart(src, dst, user=NOBODY, on_unstable=on_unstable, delete=True)
    watch.settled()
    src.chmod(0o600)
    give(src / "b")
    watch.wait_until(lambda: {"retrying", "set-aside"} & {event for event, _ in watch.told})
    told = len(watch.told)
    time.sleep(0.5)
    assert len(watch.told) - told < 10
    assert not watch.ask("flush", 5)["committed"]
    assert names(dst) == ["a"]
    src.chmod(0o755)
    watch.wait_until(lambda: names(dst) == ["a", "b"])
    watch.settled()
    assert_same_tree(src, dst)


@pytest.mark.parametrize("on_unstable", ["fail", "skip"])
def test_a_mount_point_in_the_way_is_reported_and_set_aside_if_that_was_asked_for(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same, on_unstable: str
) -> None:
    (src / "m").mkdir()
    (src / "m/x").write_bytes(b"1")
    watch = follow(src, dst, delete=True, on_unstable=on_unstable)
    watch.settled()
    small_fs.tmpfs(dst / "m")
    (src / "m").rename(src.with_name("before"))
    (src / "m").write_bytes(b"a file")
    (src / "beside").write_bytes(b"2")
    if on_unstable == "skip":
        arrives(watch, dst / "beside", b"2")
        assert "mount point" in watch.status.set_aside["m"]
        assert watch.follower.flush(5).exit_status == 24
    else:
        watch.wait_until(lambda: watch.status.state == "retrying")
        assert watch.follower.flush(5).exit_status == 14
        assert not (dst / "beside").exists()
    assert (dst / "m").is_dir()
    subprocess.run(["umount", dst / "m"], check=True)
    small_fs.points.remove(dst / "m")
    if on_unstable == "skip":
        watch.follower.sync_now()
    arrives(watch, dst / "beside", b"2")
    watch.wait_until(lambda: (dst / "m").is_file())
    watch.settled()
    assert_same_tree(src, dst)


@pytest.mark.parametrize("on_unstable", ["fail", "skip"])
def test_a_file_too_large_for_the_destination_is_reported_and_set_aside_if_that_was_asked_for(
    src: Path, dst: Path, apart: Callable[..., Apart], assert_same_tree: Same, on_unstable: str
) -> None:
    watch = apart(src, dst, under=["prlimit", "--fsize=1000000:"], on_unstable=on_unstable)
    watch.settled()
    (src.with_name("large")).write_bytes(bytes(2_000_000))
    src.with_name("large").rename(src / "large")
    (src / "beside").write_bytes(b"2")
    if on_unstable == "skip":
        watch.wait_until(lambda: names(dst) == ["beside"])
        assert list(watch.ask("status")["set_aside"]) == ["large"]
    else:
        assert "large" in watch.wait_for("retrying")
        assert names(dst) == []
    subprocess.run(["prlimit", f"--pid={watch.process.pid}", "--fsize=unlimited"], check=True)
    watch.settled()
    assert_same_tree(src, dst)
    assert watch.ask("status")["set_aside"] == {}


# -- flush
_GROW = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while os.fstat(file).st_size < 200_000_000:
    os.write(file, b"x" * 10)
"""


def test_a_flush_names_the_file_that_never_rests(
    src: Path, dst: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Same
) -> None:
    monkeypatch.setattr("atomsync.follow.follower._FLUSH_TRIES", 3)
    watch = follow(src, dst)
    (src / "resting").write_bytes(b"1")
    watch.settled()
    with subprocess.Popen([sys.executable, "-c", _GROW, src / "log"]) as writer:
        try:
            watch.wait_until(lambda: (src / "log").exists())
            (src / "beside").write_bytes(b"2")
            flushed = watch.follower.flush(30)
            while flushed.committed:  # on a busy machine even this writer rests now and then
                flushed = watch.follower.flush(30)
            assert writer.poll() is None
            assert (dst / "beside").exists()
            assert watch.follower.flush(0.01).exit_status == 30
        finally:
            writer.kill()
    assert (flushed.committed, flushed.exit_status) == (False, 24)
    assert "log" in flushed.why
    watch.settled()
    assert_same_tree(src, dst)


def test_a_flush_takes_more_than_one_unit_if_it_must(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    watch = follow(src, dst, batch_bytes=1000, settle_s=0.5)
    watch.settled()
    for number in range(40):
        (src / f"{number}").write_bytes(b"x" * 900)
    watch.settled()
    assert_same_tree(src, dst)
    assert len(watch.units()) > 20


def test_a_flush_of_a_watch_that_could_not_start_is_answered(
    tmp_path: Path, dst: Path, follow: Follow
) -> None:
    watch = follow(tmp_path / "missing", dst)
    assert not watch.follower.flush(None).committed  # and does not wait for ever


class Writer(threading.Thread):
    """Changes a directory of its own at random, flushes, and compares what it just left with DST."""

    def __init__(self, watch: Following, src: Path, dst: Path, number: int, rounds: int) -> None:
        super().__init__()
        self._watch, self._rounds = watch, rounds
        self._own, self._copy = src / f"w{number}", dst / f"w{number}"
        self._dice = random.Random(number)
        self.wrong: list[object] = []
        self.committed = 0

    def run(self) -> None:
        self._own.mkdir()
        for _ in range(self._rounds):
            for _ in range(self._dice.randrange(1, 20)):
                with contextlib.suppress(OSError):
                    self._change()
            flushed = self._watch.follower.flush(30)
            self.committed += flushed.committed
            here, there = picture(self._own), picture(self._copy)
            if flushed.committed and here != there:
                paths = {path for path in here | there if here.get(path) != there.get(path)}
                self.wrong.append([(path, here.get(path), there.get(path)) for path in sorted(paths)])

    def _change(self) -> None:
        dice = self._dice
        places = [self._own, *(Path(top) / name for top, below, _ in os.walk(self._own) for name in below)]
        path = dice.choice(places) / dice.choice("abcdef")
        kind = dice.random()
        if kind < 0.45:
            path.write_bytes(dice.randbytes(dice.randrange(20)))
        elif kind < 0.55:
            path.mkdir()
        elif kind < 0.75:
            path.rename(dice.choice(places) / dice.choice("abcdef"))
        elif kind < 0.85:
            path.unlink()
        elif kind < 0.9:
            shutil.rmtree(path)
        elif kind < 0.95:
            path.symlink_to("a")
        else:
            os.utime(path, ns=(0, dice.randrange(10**18)))


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for top, below, files in os.walk(root):
        for path in (Path(top) / name for name in (*below, *files)):
            seen = path.lstat()
            content: object = None
            if stat.S_ISREG(seen.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            found[str(path.relative_to(root))] = (seen.st_mode, seen.st_mtime_ns, content)
    return found


def test_what_a_thread_wrote_before_its_flush_is_there_after_it(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    watch = follow(src, dst, delete=True, rescan_s=0.05)
    watch.settled()
    writers = [Writer(watch, src, dst, number, rounds=50) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [wrong for writer in writers for wrong in writer.wrong] == []
    assert sum(writer.committed for writer in writers) > 150
    assert watch.status.coverage.rescans > 1
    assert watch.status.coverage.missed == 0  # every change made an event
    watch.settled()
    assert_same_tree(src, dst)


# -- pause, stop, kill
@contextlib.contextmanager
def storm(root: Path, seed: int) -> Iterator[None]:
    """Somebody changes what is below ``root``, over and over."""
    over = threading.Event()
    (root / "storm").mkdir(exist_ok=True)

    def blow() -> None:
        dice = random.Random(seed)
        while not over.is_set():
            path = root / "storm" / f"{dice.randrange(40)}"
            with contextlib.suppress(OSError):
                if dice.random() < 0.7:
                    path.write_bytes(dice.randbytes(100))
                elif dice.random() < 0.5:
                    path.rename(path.with_name(f"{dice.randrange(40)}"))
                else:
                    path.unlink()
            over.wait(0.001)

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def at_work(watch: Following) -> None:
    """Wait for two units more."""
    units = watch.status.units
    watch.wait_until(lambda: watch.status.units > units + 1)


def test_nothing_is_committed_from_pause_to_resume(
    src: Path, dst: Path, follow: Follow, snapshot: Callable[..., object], assert_same_tree: Same
) -> None:
    watch = follow(src, dst, delete=True, settle_s=0.01, max_wait_s=0.05)
    watch.settled()
    dice = random.Random(1)
    with storm(src, 1):
        for _ in range(10):
            at_work(watch)
            time.sleep(dice.uniform(0, 0.05))
            watch.follower.pause()
            before = snapshot(dst, ctime=False)
            flushed = watch.follower.flush(5)
            assert (flushed.committed, watch.status.state) == (False, "paused")
            assert "by hand" in flushed.why
            time.sleep(0.1)
            assert snapshot(dst, ctime=False) == before
            watch.follower.resume()
    watch.settled()
    assert_same_tree(src, dst)


def test_it_stops_soon_at_any_moment_and_leaves_no_unfinished_unit(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    dice = random.Random(2)
    with storm(src, 2):
        for _ in range(20):
            watch = follow(src, dst, delete=True, settle_s=0.01, max_wait_s=0.05)
            time.sleep(dice.uniform(0, 0.25))
            start_s = time.monotonic()
            watch.stop(5)
            assert time.monotonic() - start_s < 5
            assert watch.error is None
            assert watch.status.state == "stopped"
            assert open_store(str(dst)).status().unfinished == ""
    watch = follow(src, dst, delete=True)
    watch.settled()
    assert_same_tree(src, dst)


def test_a_stopped_watch_answers_those_who_wait(src: Path, dst: Path, follow: Follow) -> None:
    watch = follow(src, dst)
    watch.settled()
    answers: list[Flushed] = []
    with storm(src, 3):
        asking = [
            threading.Thread(target=lambda: answers.append(watch.follower.flush(None))) for _ in range(8)
        ]
        for thread in asking:
            thread.start()
        watch.stop(5)
        for thread in asking:
            thread.join(5)
            assert not thread.is_alive()
    assert len(answers) == 8
    assert watch.follower.flush(None).exit_status == 20


def test_after_a_kill_at_any_moment_the_next_start_converges(
    src: Path, dst: Path, apart: Callable[..., Apart], follow: Follow, assert_same_tree: Same
) -> None:
    dice = random.Random(4)
    with storm(src, 4):
        for _ in range(10):
            watch = apart(src, dst, delete=True, settle_s=0.01, max_wait_s=0.05)
            watch.wait_for("synced")
            time.sleep(dice.uniform(0, 0.1))
            watch.send(signal.SIGKILL)
            watch.close()
    last = follow(src, dst, delete=True)
    last.settled()
    assert_same_tree(src, dst)
    assert open_store(str(dst)).status().unfinished == ""


# -- found by reading


def test_a_source_that_comes_to_hold_the_destination_is_not_followed(tmp_path: Path, follow: Follow) -> None:
    """As with a disk that is not plugged in when the watch starts."""
    source = tmp_path / "disk"
    watch = follow(source, source / "backup", lasting=True, delete=True)
    watch.wait_for("paused")
    (source / "backup").mkdir(parents=True)
    (source / "file").write_bytes(b"1")
    watch.wait_until(lambda: "lies inside" in watch.status.why or watch.error is not None)
    assert not (source / "backup/file").exists()


def test_a_source_link_flipped_to_what_lies_in_the_destination_removes_nothing(
    tmp_path: Path, dst: Path, follow: Follow
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/file").write_bytes(b"1")
    (dst / "two").mkdir(parents=True)
    link = tmp_path / "current"
    link.symlink_to("one")
    watch = follow(link, dst, delete=False)
    watch.settled()
    link.unlink()
    link.symlink_to(dst / "two")
    watch.wait_until(lambda: "lies inside" in watch.status.why)
    assert (dst / "two").is_dir()


def test_resume_after_a_pause_accepts_nothing(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    plant(src, {"file": b"1"})
    watch = follow(src, dst)
    watch.settled()
    watch.follower.pause()
    dst.rename(dst.with_name("aside"))
    dst.mkdir()
    watch.follower.resume()
    watch.wait_until(lambda: "not the directory it was" in watch.status.why)
    assert os.listdir(dst) == []
    watch.follower.resume()
    watch.settled()
    assert (dst / "file").exists()


def test_a_root_that_is_back_is_waited_for_without_spinning(src: Path, dst: Path, follow: Follow) -> None:
    watch = follow(src, dst, settle_s=1.0, max_wait_s=3.0)
    (src / "file").write_bytes(b"1")
    watch.settled()
    dst.rename(dst.with_name("aside"))
    watch.wait_for("paused")
    dst.with_name("aside").rename(dst)
    began = time.process_time()
    watch.wait_for("resumed")
    assert time.process_time() - began < 0.5


def test_a_replaced_source_is_not_followed_into_a_mass_deletion(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    for number in range(40):
        (src / f"f{number}").write_bytes(b"1")
    watch = follow(src, dst, delete=True, max_delete=None)
    watch.settled()
    src.rename(src.with_name("aside"))
    src.mkdir()
    watch.wait_until(lambda: "the source is empty" in watch.status.why)
    (src / "stray").write_bytes(b"1")
    watch.wait_until(lambda: "was replaced" in watch.status.why)
    assert len(os.listdir(dst)) == 41
    for number in range(25):
        (src / f"f{number}").write_bytes(b"1")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_replaced_source_may_be_accepted_however_little_it_holds(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    for number in range(40):
        (src / f"f{number}").write_bytes(b"1")
    watch = follow(src, dst, delete=True, max_delete=None)
    watch.settled()
    src.rename(src.with_name("aside"))
    src.mkdir()
    (src / "all there is").write_bytes(b"1")
    watch.wait_until(lambda: "was replaced" in watch.status.why)
    watch.follower.resume()
    watch.settled()
    assert_same_tree(src, dst)


def test_what_was_beneath_an_unmounted_filesystem_comes_into_scope_again(
    small_fs: Any, src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    """With --one-file-system, under which a mounted one is none of ours."""
    (src / "m").mkdir()
    small_fs.tmpfs(src / "m")
    watch = follow(src, dst, one_file_system=True)
    watch.settled()
    subprocess.run(["umount", src / "m"], check=True)
    small_fs.points.remove(src / "m")
    (src / "m/file").write_bytes(b"1")
    watch.settled()
    assert_same_tree(src, dst)


def test_a_mount_that_goes_from_an_excluded_place_is_none_of_ours(
    small_fs: Any, src: Path, dst: Path, follow: Follow
) -> None:
    (src / "m").mkdir()
    small_fs.tmpfs(src / "m")
    watch = follow(src, dst, filters=Filters(["/m/"]))
    watch.settled()
    subprocess.run(["umount", src / "m"], check=True)
    small_fs.points.remove(src / "m")
    (src / "file").write_bytes(b"1")
    watch.settled()
    assert names(dst) == ["file"]


def test_a_destination_made_anew_is_not_the_one_that_was_followed_wherever_our_state_is(
    small_fs: Any, src: Path, follow: Follow
) -> None:
    """On ext4 the next directory gets the inode number of the one that was removed."""
    disk = small_fs("ext4", 16)
    dst = disk / "dst"
    (src / "a").write_bytes(b"1")
    watch = follow(src, dst, state_dir=str(disk / "state"))
    watch.settled()
    shutil.rmtree(dst)
    dst.mkdir()
    (src / "b").write_bytes(b"1")
    flushed = watch.follower.flush(20)
    assert (flushed.committed, names(dst)) == (False, [])


def test_many_files_that_cannot_be_read_are_set_aside_together(
    public: Path, apart: Callable[..., Apart]
) -> None:
    for number in range(30):  # one failed unit tells of all
        give(public / f"src/secret{number}").chmod(0)
        os.chown(public / f"src/secret{number}", 0, 0)
    give(public / "src/plain")
    watch = apart(public / "src", public / "dst", user=NOBODY, on_unstable="skip")
    watch.wait_until(lambda: (public / "dst/plain").exists())
    assert len([event for event, _ in watch.told if event == "set-aside"]) == 30
    assert len([event for event, _ in watch.told if event == "retrying"]) == 0


def test_a_mass_deletion_is_waited_with_until_somebody_says_that_it_is_meant(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    for number in range(40):
        (src / f"f{number}").write_bytes(b"1")
    watch = follow(src, dst, delete=True, max_delete=None)
    watch.settled()
    for number in range(30):
        (src / f"f{number}").unlink()
    watch.wait_until(lambda: "this unit would remove" in watch.status.why)
    assert watch.status.state == "paused"
    assert len(os.listdir(dst)) == 41
    watch.follower.resume()
    watch.settled()
    assert_same_tree(src, dst)


def test_a_watch_that_begins_anew_waits_for_what_was_mounted_within_its_source(
    small_fs: Any, src: Path, dst: Path, follow: Follow
) -> None:
    (src / "m").mkdir()
    small_fs.tmpfs(src / "m")
    for name in ("file", "m/file"):
        (src / name).write_bytes(b"1")
    watch = follow(src, dst, delete=True)
    watch.settled()
    watch.stop()
    small_fs.unmount(src / "m")
    watch = follow(src, dst, delete=True)
    watch.wait_until(lambda: "m in the source was a mounted filesystem" in watch.status.why)
    assert watch.status.state == "paused"
    assert (dst / "m/file").exists()
    watch.follower.resume()
    watch.settled()
    assert not (dst / "m/file").exists()


def test_a_few_of_many_files_may_be_emptied_at_once(src: Path, dst: Path, follow: Follow) -> None:
    """As a rotation of logs does."""
    for number in range(60):
        (src / f"f{number}").write_bytes(b"1")
    watch = follow(src, dst)
    watch.settled()
    for number in range(20):
        (src / f"f{number}").write_bytes(b"")
    watch.settled()
    assert (dst / "f0").read_bytes() == b""
    assert watch.status.errors == 0


def test_what_is_excluded_is_no_part_of_what_a_watch_may_remove_half_of(
    src: Path, dst: Path, follow: Follow
) -> None:
    for number in range(100):
        (dst / "cache").mkdir(parents=True, exist_ok=True)
        (dst / f"cache/{number}").write_bytes(b"1")
    for number in range(40):
        (src / f"f{number}").write_bytes(b"1")
    watch = follow(src, dst, delete=True, max_delete=None, filters=Filters(["cache/"]))
    watch.settled()
    for number in range(30):
        (src / f"f{number}").unlink()
    watch.wait_until(lambda: "this unit would remove 30 of 40 entries" in watch.status.why)


def test_a_watch_leaves_alone_what_somebody_changed_at_the_destination(
    src: Path, dst: Path, follow: Follow
) -> None:
    (src / "a").write_bytes(b"1")
    (src / "b").write_bytes(b"1")
    watch = follow(src, dst, on_drift="keep")
    watch.settled()
    (dst / "a").write_bytes(b"by hand")
    (src / "a").write_bytes(b"22")
    (src / "b").write_bytes(b"22")
    watch.settled()
    assert ((dst / "a").read_bytes(), (dst / "b").read_bytes()) == (b"by hand", b"22")
    watch.wait_until(lambda: any(report.drifted for report in watch.reports()))
