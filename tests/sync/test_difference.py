"""``diff``: what differs between two trees, judged by what a push then does and by diff(1)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.errors import RootError
from atomsync.sync.difference import diff

Plant = Callable[..., Path]
T = 1_600_000_000_000_000_000


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(
        tmp_path / "src", {"same": b"s", "changed": b"new", "new": b"", "d/in": b"", "l": "same", "m": b"m"}
    )


@pytest.fixture
def dst(tmp_path: Path, src: Path, plant: Plant) -> Path:
    dst = tmp_path / "dst"
    subprocess.run(["cp", "-a", src, dst], check=True)
    (dst / "new").unlink()
    (dst / "changed").write_bytes(b"older")
    (dst / "m").chmod(0o600)
    plant(dst, {"gone/deep": b""})
    os.remove(dst / "l")
    os.symlink("changed", dst / "l")
    return dst


def test_each_path_is_told_once_with_what_differs(atomsync: Any, src: Path, dst: Path) -> None:
    done = atomsync("diff", src, dst)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "differs      changed",
        "only in DST  gone/",
        "only in DST  gone/deep",
        "differs      l",
        "differs      m",
        "only in SRC  new",
    ]
    assert lines[0].startswith("differs      changed (content, time ")
    assert lines[3].endswith("target changed → same)")
    assert lines[4] == "differs      m (mode 0600 → 0644)"


def test_it_names_what_a_push_would_change(src: Path, dst: Path) -> None:
    found = {difference.path for difference in diff(src, dst).found}
    would = push(src, dst, delete=True, dry_run=True)
    assert found == {change.path for change in would.changes if change.visible}
    push(src, dst, delete=True)
    assert diff(src, dst).found == ()


def test_equal_trees_end_with_zero_and_nothing_is_touched(
    atomsync: Any, src: Path, tmp_path: Path, unchanged: Any
) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", src, other], check=True)
    with unchanged(src), unchanged(other, control=True):
        done = atomsync("diff", src, other)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (other / ".atomsync").exists()


def test_the_time_of_a_directory_is_no_difference(src: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", src, other], check=True)
    os.utime(other / "d", ns=(T, T))
    assert diff(src, other).found == ()


def test_content_shows_what_size_and_time_hide(src: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", src, other], check=True)
    for root, text in ((src, b"one"), (other, b"two")):
        (root / "same").write_bytes(text)
        os.utime(root / "same", ns=(T, T))
    assert diff(src, other).found == ()
    (found,) = diff(src, other, content=True).found
    assert (found.path, found.differs) == ("same", ("content",))


def test_with_content_a_file_that_was_only_touched_differs_in_its_time(src: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", src, other], check=True)
    os.utime(other / "same", ns=(T, T))
    (found,) = diff(src, other, content=True).found
    assert found.differs == ("time",)


def test_patterns_are_those_of_push(atomsync: Any, src: Path, dst: Path) -> None:
    options = ["--exclude", "*", "--include", "m"]
    assert atomsync("diff", *options, src, dst).stdout == "differs      m (mode 0600 → 0644)\n"
    assert atomsync("diff", "--exclude", "*", src, dst).returncode == 0


def test_what_a_push_would_refuse_is_only_a_difference(atomsync: Any, tmp_path: Path, plant: Plant) -> None:
    src, dst = (
        plant(tmp_path / "s", {"a": b"a file"}),
        plant(tmp_path / "d", {"a/b": b"in a directory", "x": b""}),
    )
    done = atomsync("diff", src, dst)
    assert done.returncode == 1
    assert done.stdout == "differs      a (dir → file)\nonly in DST  a/b\nonly in DST  x\n"
    assert atomsync("push", src, dst).returncode == 25
    assert atomsync("diff", "--exclude", "a/", src, dst).stdout == "only in SRC  a\nonly in DST  x\n"
    empty = plant(tmp_path / "e", {})
    empty.mkdir()
    assert atomsync("diff", empty, dst).returncode == 1


def test_quiet_says_it_by_the_status_alone(atomsync: Any, src: Path, dst: Path) -> None:
    done = atomsync("diff", "-q", src, dst)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_program_gets_one_object_a_path_and_the_counts(atomsync: Any, src: Path, dst: Path) -> None:
    done = atomsync("diff", "--json", src, dst)
    *found, last = map(json.loads, done.stdout.splitlines())
    assert [(each["path"], each["where"]) for each in found] == [
        ("changed", "both"),
        ("gone", "destination"),
        ("gone/deep", "destination"),
        ("l", "both"),
        ("m", "both"),
        ("new", "source"),
    ]
    assert last["event"] == "compared"
    assert (last["only_in_source"], last["only_in_destination"], last["differ"]) == (1, 2, 3)


def test_a_destination_that_is_not_there_is_no_empty_one(src: Path, tmp_path: Path) -> None:
    with pytest.raises(RootError, match="does not exist"):
        diff(src, tmp_path / "none")


def test_a_real_tree_agrees_with_diff_of_the_system(
    real_tree: Callable[[str], Path], tmp_path: Path, atomsync: Any
) -> None:
    src, dst = real_tree("website"), tmp_path / "dst"
    shutil.copytree(src, dst, symlinks=True)
    paths = sorted(path for path in dst.rglob("*") if path.is_file() and not path.is_symlink())
    paths[0].write_bytes(b"other")
    paths[-1].unlink()
    (dst / "added").write_bytes(b"")
    done = subprocess.run(
        ["diff", "-rq", "--no-dereference", src, dst], capture_output=True, text=True, check=False
    )
    assert len(done.stdout.splitlines()) == 3
    assert [
        found.path for found in diff(src, dst, content=True).found if found.differs != ("time",)
    ] == sorted([str(paths[0].relative_to(dst)), str(paths[-1].relative_to(dst)), "added"])


def test_links_attributes_and_special_files_count_where_they_are_asked_for(
    tmp_path: Path, plant: Plant
) -> None:
    src, dst = tmp_path / "s", tmp_path / "d"
    for root in (src, dst):
        plant(root, {"one": b"1", "attributed": b"1"})
    os.link(src / "one", src / "two")
    (dst / "two").write_bytes(b"1")
    os.mkfifo(src / "fifo")
    os.setxattr(src / "attributed", "user.colour", b"red")
    for name in ("one", "two", "attributed"):
        for root in (src, dst):
            os.utime(root / name, ns=(5, 5))
    assert [each.path for each in diff(src, dst).found] == []
    found = diff(src, dst, archive=True, hard_links=True, xattrs=True, acls=True).found
    assert {each.path: each.differs for each in found} == {
        "attributed": ("attributes",),
        "fifo": (),
        "two": ("links",),
    }
