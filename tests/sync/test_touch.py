"""``--touch FILE``: written last whenever a unit changes something, and no part of the comparison."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.errors import CheckFailed, GuardTripped
from atomsync.plan.change import Change
from atomsync.plan.plan import normal_form, put_last
from atomsync.tree.entry import DIR, FILE, Entry
from tests.conftest import Cli

Plant = Callable[..., Path]


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"app/a.py": b"1", "index": b"1"})


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


def long_ago(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


def test_it_is_made_empty_and_then_gets_the_time_of_each_unit(src: Path, dst: Path) -> None:
    push(src, dst, touch="reload")
    reload = dst / "reload"
    assert (reload.read_bytes(), oct(reload.stat().st_mode)) == (b"", "0o100644")
    first = reload.stat().st_ino
    reload.write_bytes(b"a note")
    long_ago(reload)
    (src / "index").write_bytes(b"22")
    before_ns = time.time_ns()
    report = push(src, dst, touch="reload")
    assert before_ns <= reload.stat().st_mtime_ns <= time.time_ns()
    assert (reload.read_bytes(), reload.stat().st_ino) == (b"a note", first)
    assert [change.path for change in report.changes if change.visible] == ["index", "reload"]
    assert report.receipt is not None
    assert report.receipt.updated == 2


@pytest.mark.parametrize("path", ["reload", "app/reload"])
def test_where_nothing_changes_nothing_is_touched(src: Path, dst: Path, path: str) -> None:
    push(src, dst, touch=path)
    long_ago(dst / path)
    for _ in range(2):
        report = push(src, dst, delete=True, touch=path)
        assert report.receipt is not None
        assert report.receipt.unit_id == ""
    assert (dst / path).stat().st_mtime_ns == 10**18


def test_a_directory_whose_time_is_bookkeeping_touches_nothing(src: Path, dst: Path) -> None:
    push(src, dst, touch="reload")
    long_ago(dst / "reload")
    long_ago(src / "app")
    push(src, dst, touch="reload")
    assert (dst / "app").stat().st_mtime_ns == 10**18
    assert (dst / "reload").stat().st_mtime_ns == 10**18


def test_it_may_be_made_in_a_directory_that_was_there_and_leaves_its_time(src: Path, dst: Path) -> None:
    push(src, dst)
    (src / "index").write_bytes(b"22")
    push(src, dst, touch="app/reload")
    assert (dst / "app").stat().st_mtime_ns == (src / "app").stat().st_mtime_ns
    report = push(src, dst, touch="app/reload", delete=True)
    assert report.receipt is not None
    assert report.receipt.unit_id == ""


def test_it_may_be_made_in_a_directory_that_comes_with_the_unit(src: Path, dst: Path) -> None:
    push(src, dst, touch="app/reload")
    assert (dst / "app" / "reload").exists()
    assert (dst / "app").stat().st_mtime_ns == (src / "app").stat().st_mtime_ns


def test_the_source_has_no_say_in_it(src: Path, dst: Path) -> None:
    (src / "reload").write_bytes(b"from the source")
    push(src, dst, touch="reload", delete=True)
    assert (dst / "reload").read_bytes() == b""
    (src / "reload").unlink()
    push(src, dst, touch="reload", delete=True, checksum=True)
    assert (dst / "reload").exists()


def test_a_directory_that_holds_it_stays_as_one_that_holds_an_excluded_path(src: Path, dst: Path) -> None:
    push(src, dst, touch="app/reload")
    (src / "app" / "a.py").unlink()
    (src / "app").rmdir()
    push(src, dst, touch="app/reload", delete=True)
    assert os.listdir(dst / "app") == ["reload"]
    (src / "app").write_bytes(b"a file now")
    with pytest.raises(GuardTripped, match="app/reload"):
        push(src, dst, touch="app/reload", delete=True)


def test_a_file_with_other_names_gets_a_successor(src: Path, dst: Path, tmp_path: Path) -> None:
    push(src, dst, touch="reload")
    (dst / "reload").write_bytes(b"shared")
    os.link(dst / "reload", tmp_path / "other-name")
    long_ago(tmp_path / "other-name")
    (src / "index").write_bytes(b"22")
    push(src, dst, touch="reload")
    assert (dst / "reload").read_bytes() == b"shared"
    assert (dst / "reload").stat().st_mtime_ns > 10**18
    assert (tmp_path / "other-name").stat().st_mtime_ns == 10**18


def test_it_is_part_of_the_unit_a_unit_that_is_refused_touches_nothing(src: Path, dst: Path) -> None:
    push(src, dst, touch="reload")
    long_ago(dst / "reload")
    (src / "index").write_bytes(b"22")
    with pytest.raises(CheckFailed):
        push(src, dst, touch="reload", check="test -e reload && false")
    assert (dst / "reload").stat().st_mtime_ns == 10**18


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/reload", "absolute"),
        ("../reload", "not allowed"),
        ("app/./reload", "not allowed"),
        (".atomsync/reload", "own name"),
        ("app", "it is a directory in SRC"),
        ("none/reload", "none does not exist"),
        ("index/reload", "index is no directory"),
        ("link", "no regular file"),
        ("there", "no regular file"),
    ],
)
def test_what_can_be_no_file_there_is_refused_and_nothing_is_done(
    atomsync: Cli, src: Path, dst: Path, path: str, why: str
) -> None:
    (src / "link").symlink_to("index")
    (dst / "there").mkdir(parents=True)
    (dst / "link").symlink_to("index")
    done = atomsync("push", "--touch", path, src, dst)
    assert done.returncode == 1
    assert done.stderr.startswith(f"atomsync: cannot touch {path}: ")
    assert why in done.stderr
    assert not (dst / "index").exists()


def entry(kind: str) -> Entry:
    return Entry(kind, 0o755, 0, 1, 0, 0, "")


def test_its_step_is_the_last_of_the_swaps_or_of_all() -> None:
    made = [
        Change("b", None, entry(FILE)),
        Change("c", entry(FILE), entry(FILE)._replace(mtime_ns=2)),
        Change("d", entry(FILE), None),
        Change("m", entry(DIR), entry(DIR)._replace(mtime_ns=2), content=False),
    ]
    new, there = Change("a", None, entry(FILE)), Change("a", entry(FILE), entry(FILE), content=False)
    paths = lambda changes: [step.path for step in put_last(normal_form(changes), "a").steps]  # noqa: E731
    assert paths([new, *made]) == ["b", "c", "d", "a", "m"]
    assert paths([there, *made]) == ["b", "c", "d", "m", "a"]
    assert paths(made) == ["b", "c", "d", "m"]


def test_a_server_that_waits_for_it_finds_the_whole_new_tree(
    src: Path, dst: Path, atomsync: Cli, wait_until: Callable[..., Any]
) -> None:
    """Whoever sees its new time sees everything else new."""
    for number in range(50):
        (src / f"part-{number:02}").write_bytes(b"0")
    push(src, dst, touch="reload")
    for version in range(1, 4):
        for number in range(50):
            (src / f"part-{number:02}").write_bytes(b"%d" % version)
        seen = (dst / "reload").stat().st_mtime_ns
        process = atomsync.start("push", "-c", "--touch", "reload", src, dst)
        while (dst / "reload").stat().st_mtime_ns == seen:
            assert process.poll() in (None, 0)
        found = {path.read_bytes() for path in dst.glob("part-*")}
        assert found == {b"%d" % version}
        assert process.wait(20) == 0
