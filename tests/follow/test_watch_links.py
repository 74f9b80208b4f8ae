"""A watch that keeps hard links: an event names one path, and a file may have others anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.follow.following import Following

Follow = Callable[..., Following]


def same(*paths: Path) -> bool:
    return len({path.stat().st_ino for path in paths}) == 1


def test_a_file_edited_by_one_of_its_names_changes_by_all_of_them(
    src: Path, dst: Path, follow: Follow
) -> None:
    (src / "x").mkdir()
    (src / "a").write_text("old")
    os.link(src / "a", src / "x" / "b")
    watch = follow(src, dst, hard_links=True, delete=True)
    watch.settled()
    assert same(dst / "a", dst / "x" / "b")
    with (src / "x" / "b").open("a") as file:
        file.write(" and new")
    watch.settled()
    assert (dst / "a").read_text() == "old and new"
    assert same(dst / "a", dst / "x" / "b")


def test_names_made_moved_and_split_while_it_watches_end_as_they_are_in_the_source(
    src: Path, dst: Path, follow: Follow
) -> None:
    (src / "a").write_text("one")
    watch = follow(src, dst, hard_links=True, delete=True)
    watch.settled()
    os.link(src / "a", src / "b")
    watch.settled()
    assert same(dst / "a", dst / "b")
    (src / "b").rename(src / "c")
    watch.settled()
    assert same(dst / "a", dst / "c")
    assert not (dst / "b").exists()
    shutil.copy2(src / "a", src / "copy")
    (src / "copy").rename(src / "c")
    watch.settled()
    assert not same(dst / "a", dst / "c")
    assert (dst / "c").read_text() == "one"
