"""Disks that answer EIO: below ext4, xfs and btrfs, and from a filesystem that is itself a bad one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.proof.bad_blocks import COMMIT_FRAME, SIZE_MIB, Ground, Push, failing_writes
from tests.proof.bad_disk import Fault, Server
from tests.proof.figures import FULL, Figures, Outcome, scaled
from tests.proof.full_disks import Place
from tests.proof.judge import left_behind, look, torn, verdict
from tests.proof.scenario import Scenario


@pytest.fixture(autouse=True)
def _fuse(needs_root: None) -> None:
    pytest.importorskip("mfusepy", reason="mfusepy is not installed", exc_type=ImportError)
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")


@pytest.fixture
def by_cli(atomsync: Any) -> Push:
    return lambda src, dst: atomsync("push", "--delete", src, dst)


@pytest.mark.parametrize("kind", SIZE_MIB)
def test_a_write_that_fails_leaves_old_or_new(
    kind: str, public_dir: Path, by_cli: Push, figures: Figures
) -> None:
    """Once, and from then on; in every phase of a push; and the very block of the commit record."""
    ground = Ground(kind, public_dir)
    try:
        writes, flushes = ground.requests_of_a_push(by_cli)
        faults = [Fault(pattern=COMMIT_FRAME), Fault(flushes - 1, flush=True)]
        for number, at in enumerate(range(0, writes + 2, max(1, writes // scaled(4, 25)))):
            faults += [Fault(at, later=later) for later in (False, True) if FULL or later == number % 2]
        if FULL:
            faults += [Fault(at, flush=True) for at in range(flushes)]
        outcome = Outcome()
        failing_writes(ground, faults, by_cli, outcome)
    finally:
        ground.close()
    assert any(what.startswith("old") for what in outcome.counts)
    assert any(what.startswith("new") for what in outcome.counts)
    figures.add("bad disks", kind, outcome)


# -- a FUSE filesystem that loses the flags of renames
@pytest.fixture
def served(public_dir: Path) -> Callable[..., Any]:
    @contextmanager
    def serve(kind: str = "none", at: int = 0) -> Iterator[Path]:
        point = public_dir / "point"
        point.mkdir(exist_ok=True)
        server = Server("tests.proof.passthrough", public_dir / "backing", kind, at, point=point)
        try:
            yield point / "dst"
        finally:
            server.close()

    return serve


@pytest.fixture
def scenario(public_dir: Path) -> Scenario:
    (public_dir / "backing").mkdir()
    scenario = Scenario(public_dir)
    scenario.dst = public_dir / "backing" / "dst"
    scenario.build()
    return scenario


def test_an_exchange_that_lies_is_seen_through(
    scenario: Scenario, served: Callable[..., Any], atomsync: Any, figures: Figures
) -> None:
    new = look(scenario.src)
    outcome = Outcome()
    with served() as dst:
        done = atomsync("push", "--delete", "--json", scenario.src, dst)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["swap_class"] == "link+replace"
        what, wrong = verdict(look(dst), {}, new)
        outcome.judged(what, *wrong, *left_behind(dst))
    figures.add("bad disks", "lying exchange", outcome)


REQUESTS = {"write": (20, 53), "fsync": (0, 48)}  # of a push, those on its books first: it does without them


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_failing_request_to_a_filesystem_leaves_old_or_new(
    kind: str, scenario: Scenario, served: Callable[..., Any], atomsync: Any, figures: Figures
) -> None:
    """EIO once, then silence; recovery sees the filesystem served anew."""
    # BUG F-5
    new = look(scenario.src)
    kept = scenario.base / "kept"
    scenario.dst.rename(kept)
    outcome = Outcome()
    first, last = REQUESTS[kind]
    for at in range(0 if FULL else first, last, (last - first) // scaled(3, 50) or 1):
        subprocess.run(["rm", "-rf", scenario.dst], check=True)
        subprocess.run(["cp", "-a", kept, scenario.dst], check=True)
        old = look(scenario.dst)
        with served(kind, at) as dst:
            done = atomsync("push", "--delete", scenario.src, dst)
        # link+replace: where a directory gives way, the path may be missing until recovery.
        wrong = [text for text in torn(look(scenario.dst), old, new) if "missing" not in text]
        with served() as dst:
            recovery = atomsync("recover", dst)
        if recovery.returncode:
            wrong.append(f"recovery: {recovery.stderr}")
        what, more = verdict(look(scenario.dst), old, new)
        wrong += [*more, *left_behind(scenario.dst)]
        if done.returncode not in (0, 11, 75) or (what == "new") < (done.returncode == 0):
            wrong.append(f"{what} after {done}")
        outcome.judged(f"{what} after {done.returncode}", *(f"{kind} {at}: {text}" for text in wrong))
    figures.add("bad disks", f"passthrough, {kind}", outcome)


def test_a_kill_on_a_filesystem_that_is_then_served_anew_leaves_old_or_new(
    public_dir: Path, served: Callable[..., Any], figures: Figures
) -> None:
    """Inode numbers stay, but what a server calls its inodes by in memory does not."""
    # BUG F-5
    (public_dir / "backing").mkdir()
    with served() as dst:
        place = Place(dst.parent, public_dir)
        place.lay()
        calls = int(place.killed_push(1 << 30))
    outcome = Outcome()
    for call in range(calls // 2, calls, max(1, calls // scaled(8, 60))):
        with served():
            place.lay()
            killed = place.killed_push(call)
        with served():
            ended = place.recover()
            what, wrong = verdict(look(place.dst), place.old, place.new)
            wrong += left_behind(place.dst)
            if ended.status:
                wrong.append(f"recovery said {ended}")
            outcome.judged(f"{what} after {killed}", *(f"killed at call {call}: {text}" for text in wrong))
    figures.add("bad disks", "passthrough, served anew", outcome)
