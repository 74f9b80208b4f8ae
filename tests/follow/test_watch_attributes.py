"""A watch that keeps attributes: a change of one is an event, and a batch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.follow.following import Following

Follow = Callable[..., Following]


def test_an_attribute_set_or_removed_arrives_on_files_and_on_directories(
    src: Path, dst: Path, follow: Follow
) -> None:
    (src / "d").mkdir()
    (src / "d" / "f").write_text("1")
    watch = follow(src, dst, xattrs=True)
    watch.settled()
    for path in ("d", "d/f"):
        os.setxattr(src / path, "user.a", b"1")
        watch.settled()
        assert os.getxattr(dst / path, "user.a") == b"1"
    for path in ("d", "d/f"):
        os.removexattr(src / path, "user.a")
        watch.settled()
        assert os.listxattr(dst / path) == []


def test_special_files_arrive_where_they_are_asked_for(src: Path, dst: Path, follow: Follow) -> None:
    (src / "file").write_text("1")
    watch = follow(src, dst, archive=True, delete=True)
    watch.settled()
    os.mkfifo(src / "fifo")
    watch.settled()
    assert (dst / "fifo").is_fifo()
    (src / "fifo").unlink()
    watch.settled()
    assert not (dst / "fifo").exists()
