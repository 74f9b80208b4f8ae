"""``push -aHAX`` killed before its system calls, one after the other: links, attributes and devices are all
old or all new after the recovery."""

from __future__ import annotations

import collections
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.proof.fidelity import given_to, new_tree, old_tree, state
from tests.proof.figures import FULL

# What changes something, on the way from the first slot to the history.
_CALLS = ["setxattr", "removexattr", "linkat", "mknodat", "renameat2", "rename", "unlinkat"]
_CALLS += ["chmod", "fchmod", "utimensat", "fsync", "syncfs", "pwrite64"]
NOBODY = 65534
_EVERY = 1 if FULL else 12


@pytest.mark.root
@pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
def test_a_kill_at_any_changing_call_leaves_all_old_or_all_new(
    user: int | None, small_fs: Any, strace: Any, atomsync: Any, tmp_path: Path
) -> None:
    point = small_fs("tmpfs", 64)
    src, kept = point / "src", point / "kept"
    new_tree(src)
    old_tree(kept)
    if user is not None:
        os.chown(point, user, user)
        given_to(user, src)
        given_to(user, kept)
    old, new = state(kept), state(src)
    assert old != new

    def pushed(number: int, *options: str) -> Path:
        dst = point / str(number)
        assert atomsync("push", "-aHAX", kept, dst, user=user).returncode == 0
        assert state(dst) == old
        if options:
            atomsync("push", "-aHAX", "--delete", src, dst, user=user, under=strace(*options))
        return dst

    log = tmp_path / "log"
    dst = pushed(0)
    under = strace("-e", ",".join(_CALLS), log=log)
    done = atomsync("push", "-aHAX", "--delete", src, dst, user=user, under=under)
    assert done.returncode == 0, done.stderr
    assert state(dst) == new
    counts = collections.Counter(line.split("(")[0].split()[-1] for line in log.read_text().splitlines())
    points = [(call, nth) for call in _CALLS for nth in range(1, counts[call] + 1)]
    assert {"setxattr", "removexattr", "linkat", "renameat2"} <= counts.keys()
    seen: collections.Counter[str] = collections.Counter()
    for number, (call, nth) in enumerate(points[::_EVERY], 1):
        dst = pushed(number, "-e", f"inject={call}:signal=KILL:when={nth}")
        assert atomsync("recover", dst, user=user).returncode == 0
        found = state(dst)
        assert found in (old, new), (call, nth)
        seen["new" if found == new else "old"] += 1
        kept_aside = dst / ".atomsync" / "conflicts"
        assert not kept_aside.exists() or not os.listdir(kept_aside)
        shutil.rmtree(dst)
    assert seen["old"] > 3
    assert seen["new"] > 0


def test_an_undone_unit_gives_back_links_attributes_and_devices_and_is_undone_itself(
    tmp_path: Path, atomsync: Any, needs_root: None
) -> None:
    old_tree(tmp_path / "old")
    new_tree(tmp_path / "new")
    dst = tmp_path / "dst"
    for name in ("old", "new"):
        assert atomsync("push", "-aHAX", "--delete", tmp_path / name, dst).returncode == 0
    for name in ("old", "new"):
        done = atomsync("undo", dst)
        assert done.returncode == 0, done.stderr
        assert state(dst) == state(tmp_path / name)


def test_a_saved_plan_keeps_them_too(tmp_path: Path, atomsync: Any, needs_root: None) -> None:
    old_tree(tmp_path / "old")
    new_tree(tmp_path / "new")
    dst, plan = tmp_path / "dst", tmp_path / "plan"
    assert atomsync("push", "-aHAX", tmp_path / "old", dst).returncode == 0
    made = atomsync("push", "-aHAX", "--delete", "-n", "--save-plan", plan, tmp_path / "new", dst)
    assert made.returncode == 0, made.stderr
    assert state(dst) == state(tmp_path / "old")
    assert atomsync("apply", plan).returncode == 0
    assert state(dst) == state(tmp_path / "new")
