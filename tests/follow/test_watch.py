"""A watch seen from outside: what it catches up, what arrives, and what never wakes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync import Filters, push
from tests.follow.following import Following, Visible

Follow = Callable[..., Following]
SameTree = Callable[..., None]

# Writes all over a tree until its input ends: every directory, old and new, again and again.
_BUSY = """
import itertools, os, select, sys
root = sys.argv[1]
print("writing", flush=True)
for turn in itertools.count():
    for number in range(40):
        place = os.path.join(root, f"dir{number}")
        with open(os.path.join(place, f"new{turn % 7}"), "w") as file:
            file.write(f"{turn} {number}")
        os.makedirs(os.path.join(place, f"deep{turn % 5}", "er"), exist_ok=True)
        with open(os.path.join(place, f"deep{turn % 5}", "er", "file"), "w") as file:
            file.write(f"{turn} {number}")
        if turn % 5 == 4:
            os.rename(os.path.join(place, "deep0"), os.path.join(place, f"moved{turn}"))
        if select.select([sys.stdin], [], [], 0)[0]:
            sys.exit()
"""


def at_rest(*watches: Following, for_s: float = 1.0) -> bool:
    """Whether nothing is pending and no unit is made, all of that time."""
    units = [watch.units() for watch in watches]
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if any(watch.status.queue for watch in watches) or [watch.units() for watch in watches] != units:
            return False
        time.sleep(0.005)
    return True


# -- start
@pytest.mark.parametrize("delete", [True, False])
def test_a_start_catches_up_what_happened_while_it_was_down(
    delete: bool,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    plant(src, {"kept": b"1", "changed": b"1", "gone": b"1", "dir/gone": b"1"})
    first = follow(src, dst, delete=delete)
    first.settled()
    assert_same_tree(src, dst)
    first.stop()

    (src / "gone").unlink()
    shutil.rmtree(src / "dir")
    plant(src, {"changed": b"other", "new/deep/file": b"2", "link": "kept"})
    watch = follow(src, dst, delete=delete)
    watch.wait_until(lambda: (dst / "changed").read_bytes() == b"other")
    watch.wait_until(lambda: (dst / "new/deep/file").exists())
    watch.settled()

    expected = [("created", path) for path in ("link", "new", "new/deep", "new/deep/file")]
    expected += [("removed", path) for path in ("dir", "dir/gone", "gone") if delete]
    assert sorted(watch.changes()) == [*expected, ("updated", "changed")]
    if delete:
        assert_same_tree(src, dst)


def test_a_start_with_nothing_to_catch_up_commits_nothing(src: Path, dst: Path, follow: Follow) -> None:
    (src / "file").write_bytes(b"1")
    push(src, dst)
    watch = follow(src, dst)
    watch.settled()
    watch.wait_until(lambda: watch.status.state == "watching")
    assert watch.units() == []


@pytest.mark.parametrize("round_", range(2))
def test_nothing_is_lost_of_what_changes_while_a_watch_starts(
    round_: int, src: Path, dst: Path, plant: Callable[..., Path], follow: Follow, assert_same_tree: SameTree
) -> None:
    plant(src, {f"dir{number}/sub{sub}/file": b"1" for number in range(40) for sub in range(10)})
    line = [sys.executable, "-c", _BUSY, str(src)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        watch = follow(src, dst, delete=True)
        watch.wait_for("synced")
        writer.communicate()
    watch.settled()
    assert_same_tree(src, dst)


# -- every simple change
TREE: dict[str, bytes | str | None] = {
    "file": b"content",
    "other": b"another",
    "dir/one": b"1",
    "dir/sub/two": b"2",
    "empty": None,
    "link": "file",
}


def _replace(path: Path, kind: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "dir":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path.write_bytes(b"now a file")


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _linked_in(outside: Path, path: Path) -> None:
    outside.write_bytes(b"1")
    os.link(outside, path)


def _moved_back(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.with_name("aside").rename(path)
    path.chmod(0o600)


CHANGES: dict[str, tuple[Callable[[Path], object], Visible]] = {
    "a file is created": (lambda src: (src / "new").write_bytes(b"1"), [("created", "new")]),
    "an empty file is created": (lambda src: (src / "new").touch(), [("created", "new")]),
    "a file is created in a directory": (
        lambda src: (src / "dir/sub/new").write_bytes(b"1"),
        [("created", "dir/sub/new")],
    ),
    "a file is written": (lambda src: (src / "file").write_bytes(b"other"), [("updated", "file")]),
    "a file is written, same size": (
        lambda src: (src / "file").write_bytes(b"CONTENT"),
        [("updated", "file")],
    ),
    "a file is appended to": (lambda src: _append(src / "dir/one"), [("updated", "dir/one")]),
    "a file is truncated": (lambda src: os.truncate(src / "file", 3), [("updated", "file")]),
    "a mode changes": (lambda src: (src / "file").chmod(0o600), [("updated", "file")]),
    "a time changes": (lambda src: os.utime(src / "file", (1, 1)), [("updated", "file")]),
    "a directory's mode changes": (lambda src: (src / "dir").chmod(0o700), [("updated", "dir")]),
    "the root's mode changes": (lambda src: src.chmod(0o700), [("updated", "")]),
    "a link is created": (lambda src: (src / "new").symlink_to("file"), [("created", "new")]),
    "a link is changed": (lambda src: _replace(src / "link", "link"), [("updated", "link")]),
    "a hard link is made": (
        lambda src: (
            src.with_name("outside").write_bytes(b"1"),
            os.link(src.with_name("outside"), src / "new"),
        ),
        [("created", "new")],
    ),
    "a directory is created": (lambda src: (src / "new").mkdir(), [("created", "new")]),
    "a tree is created": (
        lambda src: shutil.copytree(src / "dir", src / "new"),
        [("created", path) for path in ("new", "new/one", "new/sub", "new/sub/two")],
    ),
    "a file is removed": (lambda src: (src / "dir/one").unlink(), [("removed", "dir/one")]),
    "a link is removed": (lambda src: (src / "link").unlink(), [("removed", "link")]),
    "an empty directory is removed": (lambda src: (src / "empty").rmdir(), [("removed", "empty")]),
    "a tree is removed": (
        lambda src: shutil.rmtree(src / "dir"),
        [("removed", path) for path in ("dir", "dir/one", "dir/sub", "dir/sub/two")],
    ),
    "a file becomes a directory": (lambda src: _replace(src / "file", "dir"), [("updated", "file")]),
    "a file becomes a link": (lambda src: _replace(src / "file", "link"), [("updated", "file")]),
    "a directory becomes a file": (
        lambda src: _replace(src / "dir", "file"),
        [*(("removed", path) for path in ("dir/one", "dir/sub", "dir/sub/two")), ("updated", "dir")],
    ),
    "a link becomes a file": (lambda src: _replace(src / "link", "file"), [("updated", "link")]),
    "a file is moved away and back": (lambda src: _moved_back(src / "file"), [("updated", "file")]),
    "two files are swapped": (
        lambda src: (
            (src / "file").rename(src / "aside"),
            (src / "other").rename(src / "file"),
            (src / "aside").rename(src / "other"),
        ),
        [("updated", "file"), ("updated", "other")],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_simple_change_arrives_as_one_unit(
    change: str,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst, delete=True, settle_s=0.15)
    watch.settled()
    make, expected = CHANGES[change]
    make(src)
    watch.wait_until(watch.units)
    watch.settled()
    assert watch.units() == [expected]
    assert_same_tree(src, dst)


def test_without_delete_what_is_removed_stays_and_the_rest_arrives(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    plant(src, TREE)
    push(src, dst)
    watch = follow(src, dst)
    watch.settled()
    shutil.rmtree(src / "dir")
    (src / "file").rename(src / "moved")
    (src / "other").write_bytes(b"different")
    watch.settled()
    assert sorted(watch.changes()) == [("created", "moved"), ("updated", "other")]
    assert (dst / "dir/sub/two").read_bytes() == b"2"
    assert (dst / "file").read_bytes() == b"content"


def test_a_storm_in_one_directory_is_folded_into_one_look_at_it(
    src: Path, dst: Path, follow: Follow, assert_same_tree: SameTree
) -> None:
    (src / "dir").mkdir()
    watch = follow(src, dst, settle_s=0.5, max_wait_s=30.0)
    watch.settled()
    storm = "for i in $(seq 3000); do echo $i > dir/$i; done"
    queued = set()
    with subprocess.Popen(["sh", "-c", storm], cwd=src) as writer:
        while writer.poll() is None:
            queued.add(watch.status.queue)
            time.sleep(0.002)
    watch.wait_until(lambda: (dst / "dir/3000").exists())
    watch.settled()
    assert max(queued) <= 1001  # the names in it, or the directory
    assert min(queued - {0}) == 1
    assert len(watch.units()) == 2
    assert_same_tree(src, dst)


def test_what_is_excluded_makes_no_unit(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow, assert_same_tree: SameTree
) -> None:
    """Such as vim's swap file, that is there for as long as somebody edits."""
    plant(src, {"doc": b"1", "cache/file": b"1"})
    watch = follow(src, dst, delete=True, filters=Filters(["*.swp", "cache/"]))
    watch.settled()
    for number in range(5):
        (src / ".doc.swp").write_bytes(b"%d" % number)
        (src / "cache" / f"new{number}").write_bytes(b"1")
        (src / "cache" / "file").write_bytes(b"%d" % number)
        watch.settled()
    assert watch.changes() == [("created", "doc")]
    (src / ".doc.swp").rename(src / "doc")
    watch.settled()
    assert watch.changes() == [("created", "doc"), ("updated", "doc")]
    assert not (dst / "cache").exists()


# -- what never wakes it
def test_reading_the_source_wakes_nothing(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    plant(src, TREE)
    watch = follow(src, dst)
    watch.settled()
    units = watch.units()
    line = "while :; do find . -type f -exec cat {} + ; ls -lR; done >/dev/null 2>&1"
    with subprocess.Popen(["sh", "-c", f"exec timeout 10 sh -c '{line}'"], cwd=src) as reader:
        try:
            assert at_rest(watch)
        finally:
            reader.terminate()
    assert watch.units() == units


def test_at_rest_after_its_own_work_it_makes_no_unit(
    src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    """SRC and DST are siblings here, and each unit stages, swaps and cleans up beside SRC."""
    plant(src, TREE)
    watch = follow(src, dst, delete=True, settle_s=0.15)
    watch.settled()
    before = len(watch.units())
    (src / "file").write_bytes(b"other")
    shutil.rmtree(src / "dir")
    watch.settled()
    assert len(watch.units()) == before + 1
    assert at_rest(watch)


def test_a_chain_of_watches_comes_to_rest_and_never_copies_a_control_directory(
    tmp_path: Path, plant: Callable[..., Path], follow: Follow, assert_same_tree: SameTree
) -> None:
    first, second, third = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    plant(first, TREE)
    second.mkdir()
    one, two = follow(first, second, delete=True), follow(second, third, delete=True)
    one.settled()
    two.settled()
    assert_same_tree(first, third)
    before = len(two.changes())

    (first / "file").write_bytes(b"changed")
    two.wait_until(lambda: (third / "file").read_bytes() == b"changed")
    two.settled()
    assert at_rest(one, two)
    assert two.changes()[before:] == [("updated", "file")]
    assert_same_tree(first, third)
    assert len(list(tmp_path.glob("*/.atomsync"))) == 2
    assert not (third / ".atomsync" / ".atomsync").exists()


def test_a_destination_inside_the_source_of_another_watch_feeds_it_results_only(
    tmp_path: Path, plant: Callable[..., Path], follow: Follow, assert_same_tree: SameTree
) -> None:
    outer, copy = tmp_path / "outer", tmp_path / "copy"
    plant(outer, {"src/file": b"1", "dst": None})
    inner = follow(outer / "src", outer / "dst", delete=True)
    watch = follow(outer, copy, delete=True)
    inner.settled()
    watch.settled()
    before = len(watch.changes())

    (outer / "src/file").write_bytes(b"changed")
    watch.wait_until(lambda: (copy / "dst/file").read_bytes() == b"changed")
    watch.settled()
    assert at_rest(inner, watch)
    assert set(watch.changes()[before:]) == {("updated", "src/file"), ("updated", "dst/file")}
    assert_same_tree(outer / "src", copy / "dst")
    assert not (copy / "dst/.atomsync").exists()
