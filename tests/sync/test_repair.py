"""``verify --repair``: what is wrong is committed anew from the source, and nothing beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store, push
from atomsync.errors import Interrupted
from atomsync.store.progress import Progress
from atomsync.sync.difference import diff
from atomsync.sync.examine import Examiner
from atomsync.sync.repair import repair
from atomsync.sync.verify import Verifier, mended
from atomsync.tree.filters import Filters

Plant = Callable[..., Path]
T = 1_600_000_000_000_000_000
BLOCK = 4096


def old(root: Path) -> Path:
    for path in [*root.rglob("*"), root]:
        os.utime(path, ns=(T, T), follow_symlinks=False)
    return root


def write_keeping_time(path: Path, data: bytes) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return old(plant(tmp_path / "src", {"a": b"aa", "d/b": b"bb", "d/e/c": b"c", "l": "a", "z": b"zz"}))


@pytest.fixture
def dst(tmp_path: Path, src: Path) -> Path:
    push(src, tmp_path / "dst")
    return tmp_path / "dst"


def repaired(done: subprocess.CompletedProcess[str]) -> tuple[list[str], dict[str, str]]:
    """What was, and what was not and why, of ``--json``."""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    left = {each["path"]: each["why"] for each in found if each["event"] == "not-repaired"}
    return [each["path"] for each in found if each["event"] == "repaired"], left


def test_all_kinds_of_damage_are_mended_in_one_unit(
    src: Path, dst: Path, atomsync: Any, history: Any, assert_same_tree: Any
) -> None:
    write_keeping_time(dst / "a", b"xx")
    shutil.rmtree(dst / "d")
    (dst / "z").write_bytes(b"edited")
    (dst / "z").chmod(0o600)
    os.remove(dst / "l")
    os.symlink("nowhere", dst / "l")
    done = atomsync("verify", "--json", "--repair", src, dst)
    assert done.returncode == 0, done.stdout + done.stderr
    assert repaired(done) == (["a", "d", "d/b", "d/e", "d/e/c", "l", "z"], {})
    assert len(history(dst)) == 2
    assert_same_tree(src, dst)
    assert atomsync("verify", dst).returncode == 0
    assert "nothing to do" in atomsync("push", src, dst).stdout


def test_the_rotten_version_is_in_the_history(src: Path, dst: Path, atomsync: Any, history: Any) -> None:
    write_keeping_time(dst / "a", b"xx")
    inode = (dst / "a").stat().st_ino
    assert atomsync("verify", "--repair", src, dst).returncode == 0
    (kept,) = (dst / ".atomsync/history" / history(dst)[-1] / "slots").iterdir()
    assert (kept.read_bytes(), kept.stat().st_ino) == (b"xx", inode)


def test_a_mode_that_drifted_is_set_back_on_the_file_that_is_there(
    src: Path, dst: Path, atomsync: Any
) -> None:
    (dst / "a").chmod(0o600)
    (dst / "d").chmod(0o700)
    inode = (dst / "a").stat().st_ino
    assert atomsync("verify", "--repair", src, dst).returncode == 0
    assert ((dst / "a").stat().st_mode & 0o777, (dst / "a").stat().st_ino) == (0o644, inode)
    assert (dst / "d").stat().st_mode == (src / "d").stat().st_mode


def test_what_changed_in_the_source_since_is_left_to_push(src: Path, dst: Path, atomsync: Any) -> None:
    write_keeping_time(dst / "a", b"xx")
    write_keeping_time(dst / "z", b"yy")
    (src / "a").write_bytes(b"a new version")
    (src / "d/b").unlink()
    (dst / "d/b").unlink()
    done = atomsync("verify", "--json", "--repair", src, dst)
    paths, left = repaired(done)
    assert (done.returncode, paths) == (42, ["z"])
    assert left == {
        "a": "it changed in SRC since it was committed; push does that",
        "d/b": "SRC does not have it",
    }
    assert (dst / "a").read_bytes() == b"xx"
    assert (dst / "z").read_bytes() == b"zz"


def test_a_source_that_rotted_itself_mends_nothing(
    src: Path, dst: Path, atomsync: Any, unchanged: Any
) -> None:
    write_keeping_time(dst / "a", b"xx")
    write_keeping_time(src / "a", b"yy")
    with unchanged(dst):
        done = atomsync("verify", "--json", "--repair", src, dst)
    assert done.returncode == 42
    assert repaired(done) == ([], {"a": "in SRC, too, its content is another than was committed"})


def test_what_lies_in_a_directory_that_is_left_is_left_for_that_reason(
    src: Path, dst: Path, atomsync: Any
) -> None:
    shutil.rmtree(dst / "d")
    (src / "d").chmod(0o700)
    done = atomsync("verify", "--json", "--repair", src, dst)
    left = dict.fromkeys(["d/b", "d/e", "d/e/c"], "its directory is left")
    changed = "it changed in SRC since it was committed; push does that"
    assert (done.returncode, repaired(done)) == (41, ([], {"d": changed, **left}))


def test_what_is_new_in_the_source_is_not_brought_along(src: Path, dst: Path, atomsync: Any) -> None:
    shutil.rmtree(dst / "d")
    (src / "d/new").write_bytes(b"not pushed yet")
    (src / "d/e/more").mkdir()
    done = atomsync("verify", "--repair", src, dst)
    assert done.returncode == 0, done.stdout
    assert sorted(os.listdir(dst / "d")) == ["b", "e"]
    assert [found.path for found in diff(src, dst).found] == ["d/e/more", "d/new"]


def test_what_is_extra_stays_and_counts(src: Path, dst: Path, atomsync: Any, plant: Plant) -> None:
    write_keeping_time(dst / "a", b"xx")
    plant(dst, {"theirs/x": b"x"})
    done = atomsync("verify", "--repair", src, dst)
    assert (done.returncode, (dst / "theirs/x").read_bytes()) == (41, b"x")
    assert done.stdout.splitlines()[-1].endswith("now: extra 2")


def test_a_directory_in_place_of_a_file_is_not_moved_aside(src: Path, dst: Path, atomsync: Any) -> None:
    (dst / "a").unlink()
    (dst / "a").mkdir()
    (dst / "a/theirs").write_bytes(b"x")
    done = atomsync("verify", "--json", "--repair", src, dst)
    assert repaired(done) == ([], {"a": "a directory is there now; move it away"})
    assert (dst / "a/theirs").exists()


def test_a_file_in_place_of_a_directory_gives_way_and_is_kept(
    src: Path, dst: Path, atomsync: Any, assert_same_tree: Any
) -> None:
    shutil.rmtree(dst / "d")
    (dst / "d").write_bytes(b"a file now")
    assert atomsync("verify", "--repair", src, dst).returncode == 0
    assert_same_tree(src, dst)
    kept = [path for path in (dst / ".atomsync/history").rglob("slots/*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [b"a file now"]


@pytest.mark.parametrize("path", ["a", "d/b", "z", "d/e"])
def test_what_somebody_changes_behind_the_verification_is_left_to_them(
    path: str, src: Path, dst: Path
) -> None:
    """It may be hours since the path was looked at."""
    write_keeping_time(dst / "a", b"xx")
    (dst / "d/b").unlink()
    (dst / "z").chmod(0o600)
    (dst / "d/e").chmod(0o700)
    store, progress = open_store(dst), Progress()
    with Examiner(store, progress) as examiner:
        found = Verifier(examiner, Filters(), 100, progress, lambda *_: None).run()
        if path == "d/e":
            (dst / path).chmod(0o711)
        else:
            (dst / path).write_bytes(b"new work")
        done = repair(src, store, found.findings, examiner.rows, filters=Filters())
    assert done.left == {path: "somebody changed it since it was looked at"}
    assert {*done.repaired} == {"a", "d/b", "z", "d/e"} - {path}
    if path == "d/e":
        assert (dst / path).stat().st_mode & 0o777 == 0o711
    else:
        assert (dst / path).read_bytes() == b"new work"


def test_a_stop_behind_the_unit_says_that_it_was_committed(src: Path, dst: Path, history: Any) -> None:
    write_keeping_time(dst / "a", b"xx")
    store, progress = open_store(dst), Progress()
    with Examiner(store, progress) as examiner:
        found = Verifier(examiner, Filters(), 100, progress, lambda *_: None).run()
        done = repair(src, store, found.findings, examiner.rows, filters=Filters())
        progress.stopping = "SIGINT"
        with pytest.raises(Interrupted, match=f"unit {history(dst)[-1]} was sealed by then"):
            mended(examiner, found, done)


def test_a_clean_destination_gets_no_unit(src: Path, dst: Path, atomsync: Any, history: Any) -> None:
    before = history(dst)
    done = atomsync("verify", "--repair", src, dst)
    assert (done.returncode, history(dst)) == (0, before)
    assert done.stdout.splitlines()[-1] == "repaired 0 · left 0 · now: nothing wrong"


def test_a_wrong_source_is_refused_before_anything_is_read(dst: Path, tmp_path: Path, atomsync: Any) -> None:
    done = atomsync("verify", "--repair", tmp_path / "none", dst)
    assert (done.returncode, done.stdout) == (3, "")
    assert atomsync("verify", "--repair", dst, dst).returncode == 4


def test_a_repair_gives_up_nothing_of_the_history(src: Path, dst: Path, atomsync: Any, history: Any) -> None:
    for number in range(7):
        (src / "z").write_bytes(b"%d" % number)
        push(src, dst, keep=20)
    old(src)
    push(src, dst, keep=20)
    before = history(dst)
    write_keeping_time(dst / "a", b"xx")
    assert atomsync("verify", "--repair", src, dst).returncode == 0
    assert history(dst)[:-1] == before


def test_attributes_come_along_where_they_are_asked_for(src: Path, dst: Path, atomsync: Any) -> None:
    os.setxattr(src / "a", "user.colour", b"red")
    assert atomsync("push", "-X", src, dst).returncode == 0
    write_keeping_time(dst / "a", b"xx")
    assert atomsync("verify", "--repair", src, "-X", dst).returncode == 0
    assert os.getxattr(dst / "a", "user.colour") == b"red"


def test_a_fifo_that_went_is_made_again_where_it_was_asked_for(src: Path, dst: Path, atomsync: Any) -> None:
    os.mkfifo(src / "pipe")
    assert atomsync("push", "-a", src, dst).returncode == 0
    (dst / "pipe").unlink()
    assert atomsync("verify", "--repair", src, dst).returncode == 41
    assert atomsync("verify", "--repair", src, "-a", dst).returncode == 0
    assert (dst / "pipe").is_fifo()


# -- on a medium that rots
def _corrupt(image: Path, marker: bytes) -> None:
    """Change a block of an image that is not mounted, where this text is."""
    data = image.read_bytes()
    places = [found.start() for found in re.finditer(re.escape(marker), data)]
    assert len(places) == 1, places
    with image.open("r+b") as file:
        file.seek(places[0])
        file.write(b"ROTTEN" + marker[6:])


@pytest.mark.parametrize(
    ("kind", "size_mib", "note"), [("ext4", 16, ""), ("xfs", 300, ""), ("btrfs", 128, "read")]
)
def test_a_block_that_went_bad_below_the_filesystem_is_found_and_mended(
    kind: str, size_mib: int, note: str, small_fs: Any, src: Path, atomsync: Any, assert_same_tree: Any
) -> None:
    marker = os.urandom(64)
    (src / "large").write_bytes(os.urandom(5 * BLOCK) + marker.ljust(BLOCK, b".") + os.urandom(9 * BLOCK))
    old(src)
    point = small_fs(kind, size_mib)
    assert atomsync("push", src, point / "dst").returncode == 0
    subprocess.run(["umount", point], check=True)
    _corrupt(point.with_suffix(".image"), marker)
    subprocess.run(["mount", "-o", "loop", point.with_suffix(".image"), point], check=True)
    done = atomsync("verify", point / "dst")
    assert done.returncode == 42
    assert done.stdout.startswith("rot       large (content)" + (": it cannot be read" if note else ""))
    done = atomsync("verify", "--repair", src, point / "dst")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_tree(src, point / "dst")
    assert atomsync("verify", point / "dst").returncode == 0


def test_below_a_directory_that_was_closed_nothing_is_said_to_be_well(
    public_dir: Path, plant: Plant, atomsync: Any
) -> None:
    src, dst = old(plant(public_dir / "src", {"closed/b": b"b"})), public_dir / "dst"
    dst.mkdir()
    os.chown(dst, 65534, 65534)
    assert atomsync("push", src, dst, user=65534).returncode == 0
    plant(dst / "closed", {"extra": b""})
    (dst / "closed").chmod(0o300)
    done = atomsync("verify", "--repair", src, dst, user=65534)
    assert "now: closed 1" in done.stdout
    assert done.returncode == 13
    assert atomsync("verify", dst, user=65534).returncode == 41
