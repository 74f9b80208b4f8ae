"""The real command, killed, failed and deceived at its system calls, on real filesystems.

The short form takes samples, on tmpfs. The full form takes every call there; on ext4, xfs and btrfs every
call that changes something, and every third of the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from atomsync.cli.app import group
from tests.proof import traced
from tests.proof.figures import FULL, Figures, Outcome, scaled
from tests.proof.ground import (
    APPLY,
    CHECKED,
    COMMITTED,
    EARLIER,
    MIDWAY,
    MISSING,
    PLAIN,
    REPAIR,
    RESTORE,
    STAGED,
    UNDO,
    Ground,
    Setting,
)
from tests.proof.kills import Run, deceived, failures, kills, lies, sweep
from tests.proof.traced import MUTATING

KINDS = ["tmpfs", "ext4", "xfs", "btrfs"] if FULL else ["tmpfs"]
# The short form takes every so many-th call that changes something, and every so many-th other call.
SETTINGS = {
    "rich": (Setting(), 5, 25),
    "small": (Setting(small=True), 1, 25),
    "first push": (Setting(small=True, dst=PLAIN), 7, 25),
    "new DST": (Setting(small=True, dst=MISSING), 7, 50),
    "gives up a unit": (Setting(small=True, dst=EARLIER), 5, 50),
    "durability none": (Setting(durability="none"), 11, 100),
    "state directory": (Setting(small=True, state_dir=True), 7, 50),
    "undo": (Setting(instead=UNDO), 5, 50),
    "undo, small": (Setting(small=True, instead=UNDO), 2, 25),
    "restore": (Setting(instead=RESTORE), 7, 50),
    "recover, staged": (Setting(cut=STAGED), 5, 50),
    "recover, midway": (Setting(cut=MIDWAY), 3, 25),
    "recover, small": (Setting(small=True, cut=MIDWAY), 3, 25),
    "recover, committed": (Setting(cut=COMMITTED), 2, 10),
    "checked": (Setting(small=True, instead=CHECKED), 2, 200),
    "apply": (Setting(small=True, instead=APPLY), 5, 50),
    "repair": (Setting(small=True, instead=REPAIR), 5, 50),
}
# The kernel's filesystem takes no part in an error that strace makes up: tmpfs stands for nearly all.
FAILED = [
    (name, "tmpfs")
    for name in ("rich", "small", "checked", "first push", "new DST", "recover, midway", "recover, committed")
] + [("small", kind) for kind in KINDS[1:]]
# How many calls of a first push lie between the making of .atomsync and the setting back of DST's own time.
DST_TIME_MAX = 2

Grounds = Callable[..., Ground]


@pytest.fixture
def ground(strace: Any, small_fs: Any, tmp_path: Path) -> Grounds:
    def made(kind: str, name: str, **more: Any) -> Ground:
        if kind == "tmpfs" and os.geteuid() != 0:  # who may not mount takes what pytest's own place is on
            return Ground(tmp_path, SETTINGS[name][0], **more)
        return Ground(small_fs(kind, 320 if kind == "xfs" else 160), SETTINGS[name][0], **more)

    return made


def some(runs: Sequence[Run], kind: str, changing: int, others: int) -> list[Run]:
    """Those of ``runs`` that this form makes on this filesystem."""
    if FULL:
        changing, others = 1, 1 if kind == "tmpfs" else 3
    first = [run for run in runs if run.call.name in MUTATING]
    rest = [run for run in runs if run.call.name not in MUTATING]
    return first[::changing] + rest[::others]


def swept(figures: Figures, layer: str, case: str, ground: Ground, runs: Sequence[Run]) -> Outcome:
    outcome = Outcome()
    sweep(outcome, ground, runs)
    figures.add(layer, case, outcome)
    return outcome


def test_every_command_is_swept_or_changes_nothing() -> None:
    """Whoever adds a command that changes a destination adds it here."""
    swept_here = {"push", "undo", "restore", "apply", "verify", "recover", "watch"}  # test_watch_kills
    harmless = {
        "status",
        *("log", "show", "gc"),  # which only look at DST
        "diff",
        "doctor",  # which tries things out in a directory of its own, and names none of DST's
        "completion",
        "selftest",  # which works in a directory of its own
        *("flush", "pause", "resume"),  # which only ask a watch; what it then does is its own
    }
    assert set(group.list_commands(click.Context(group))) == swept_here | harmless


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_kill_at_any_syscall_leaves_old_or_new(
    name: str, kind: str, ground: Grounds, figures: Figures
) -> None:
    _, *steps = SETTINGS[name]
    place = ground(kind, name)
    outcome = swept(figures, "kills", f"{name}, {kind}", place, some(kills(place.calls), kind, *steps))
    assert outcome.counts["old but for DST's own time"] <= DST_TIME_MAX


def test_a_kill_of_a_newly_started_interpreter_is_no_different(ground: Grounds, figures: Figures) -> None:
    place = ground("tmpfs", "small", run=traced.cold)
    changing = [call for call in place.calls if call.name in MUTATING]
    swept(figures, "kills", "small, from the start", place, kills(changing[:: scaled(11, 1)]))


@pytest.mark.parametrize(("name", "kind"), FAILED)
def test_an_error_of_any_syscall_is_reported_and_leaves_old_or_new(
    name: str, kind: str, ground: Grounds, figures: Figures
) -> None:
    _, changing, others = SETTINGS[name]
    place = ground(kind, name)
    calls = [call for call in place.calls if kind == "tmpfs" or call.name in MUTATING]
    runs = some(failures(calls), kind, 7 * changing, 7 * others)  # 7: so that the errnos take turns
    swept(figures, "errors", f"{name}, {kind}", place, runs)


@pytest.mark.parametrize("name", ["small", "rich", "recover, midway"])
def test_a_write_that_lies_is_found_out_or_does_no_harm(name: str, ground: Grounds, figures: Figures) -> None:
    place = ground("tmpfs", name)
    swept(figures, "lies", f"{name}, tmpfs", place, lies(place.calls)[:: scaled(3, 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_record_that_was_never_written_is_no_commit(
    kind: str, ground: Grounds, figures: Figures
) -> None:
    place = ground(kind, "rich")
    outcome = swept(figures, "lies", f"commit record, {kind}", place, deceived(place.calls))
    assert outcome.counts == {"old": 2}
