"""Two processes stage what one would: the same tree, whatever becomes of either."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.store import pool

FILES = 6_000


@pytest.fixture
def src(tmp_path: Path) -> Path:
    root = tmp_path / "src"
    for number in range(FILES):
        if number % 100 == 0:
            (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number - number % 100}" / f"é{number}").write_bytes(b"%d" % number * (number % 50))
    return root


def second_of(pid: int) -> int | None:
    """The second process of a push, once it has become one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"atomsync.fs.second_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def test_with_and_without_a_second_process_the_tree_is_the_same(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Callable[..., None]
) -> None:
    started = []
    real = pool.copy_in_two

    def counting(*arguments: Any) -> Any:
        started.append(1)
        return real(*arguments)

    monkeypatch.setattr(pool, "copy_in_two", counting)
    push(src, tmp_path / "two", hard_links=True)  # so that files are staged one by one
    assert started or len(os.sched_getaffinity(0)) == 1
    monkeypatch.setattr(pool, "WORTH_FILES", FILES + 1)
    started.clear()
    push(src, tmp_path / "one", hard_links=True)
    assert not started
    assert_same_tree(src, tmp_path / "two")
    assert_same_tree(src, tmp_path / "one")


def test_a_push_whose_second_process_is_killed_stages_the_rest_itself(
    src: Path, tmp_path: Path, atomsync: Any, wait_until: Any, assert_same_tree: Callable[..., None]
) -> None:
    process = atomsync.start("push", src, tmp_path / "dst")
    os.kill(wait_until(lambda: second_of(process.pid)), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert_same_tree(src, tmp_path / "dst")


def test_a_killed_push_takes_its_second_process_along_and_frees_the_store(
    src: Path, tmp_path: Path, atomsync: Any, wait_until: Any, assert_same_tree: Callable[..., None]
) -> None:
    dst = tmp_path / "dst"
    process: subprocess.Popen[str] = atomsync.start("push", src, dst)
    second = wait_until(lambda: second_of(process.pid))
    made = tmp_path / ".dst.atomsync-new"
    wait_until(lambda: any(made.glob(".atomsync/pending/0/slots/*/*")))
    process.kill()
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{second}").exists())
    assert not dst.exists()
    assert [path.name for path in made.iterdir()] == [".atomsync"]
    assert atomsync("push", src, dst).returncode == 0
    assert_same_tree(src, dst)
