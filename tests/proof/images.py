"""Power cuts on real filesystems: a workload is recorded on a disk that writes down what reaches it; what a
cut may have left there is made an image, mounted, recovered and judged.

The layers work in a forked process, so a mutant that is applied here is applied there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from atomsync.store.recovery import DISCARDED, FINISHED, ROLLED_BACK
from atomsync.sync.push import push
from atomsync.unit.store import open_store
from tests.proof.cuts import BEGIN, Cut, cuts, promised, writes
from tests.proof.figures import Outcome
from tests.proof.judge import Tree, left_behind, look, torn, verdict
from tests.proof.mounting import (
    FILESYSTEMS,
    Filesystem,
    Image,
    Unavailable,
    Unmountable,
    formatted,
    in_child,
    isolated,
    mounted,
)
from tests.proof.recorder import Event, Recorder
from tests.proof.workloads import (
    NEW,
    OLD,
    Workload,
    build,
    pushed,
    pushed_anew,
    pushed_anew_beside_a_neighbour,
    pushed_beside_a_neighbour,
    recovered,
    recovered_beside_a_neighbour,
)

_PUSH_AGAIN_EVERY = 5
_TRIES = 30  # cuts of a push per recovery: in most of them nothing was swapped, or everything
_UNMOUNTABLE_MAX = 0.1  # of all images; more says that the recorder loses something
_SAID = {DISCARDED: OLD, ROLLED_BACK: OLD, FINISHED: NEW}


class Recording(NamedTuple):
    """``old`` and ``new``: what stood at the destination before the workload, and after it."""

    fs: Filesystem
    base: Image
    events: Sequence[Event]
    old: Tree
    new: Tree


# -- layers
def power_cuts(
    fs: str, outcome: Outcome, images: int, *, workload: Workload = pushed, small: bool = False, seed: int = 0
) -> None:
    """Record ``workload`` on this filesystem, judge so many images of it. Skips where that is impossible."""

    def work(place: Path, outcome: Outcome) -> None:
        anew = workload in (pushed_anew, pushed_anew_beside_a_neighbour)
        base = built(FILESYSTEMS[fs], place, small=small, missing=anew)
        recording = record(FILESYSTEMS[fs], base, place, workload)
        if workload is not pushed:  # what is new, only an undisturbed push says
            alone = pushed_anew if anew else pushed
            recording = recording._replace(new=record(FILESYSTEMS[fs], base, place, alone).new)
        judge_cuts(recording, place, outcome, images, random.Random(seed))

    isolated(work, outcome, timeout_s=60 + images)


def recovery_cuts(fs: str, outcome: Outcome, recoveries: int, images: int, *, seed: int = 0) -> None:
    """Cut a push amid its swaps so many times, record each recovery, judge so many images of it."""

    def work(place: Path, outcome: Outcome) -> None:
        rng = random.Random(seed)
        base = built(FILESYSTEMS[fs], place)
        new = record(FILESYSTEMS[fs], base, place, pushed).new
        first = record(FILESYSTEMS[fs], base, place, pushed_beside_a_neighbour)
        done = 0
        for cut in cuts(first.events, _TRIES * recoveries, rng):
            workload = recovered_beside_a_neighbour if done % 2 else recovered
            try:
                second = record(first.fs, image_of(first, cut), place, workload)
            except Unmountable:
                continue
            if verdict(second.old, first.old, new)[0] != "mixed":
                continue
            judge_cuts(second._replace(old=first.old, new=new), place, outcome, images, rng)
            done += 1
            if done == recoveries or outcome.done:
                return

    isolated(work, outcome, timeout_s=60 + recoveries * images)


# -- recording
def built(fs: Filesystem, place: Path, *, small: bool = False, missing: bool = False) -> Image:
    """The state that every recording begins with, durable to the last byte."""
    with formatted(fs, place).opened() as file:
        try:
            with mounted(file, fs, place / "fs") as root:
                build(root, small=small, missing=missing)
        except (Unmountable, PermissionError) as error:
            raise Unavailable(f"cannot mount: {error}") from None
        return Image.read(file)


def record(fs: Filesystem, base: Image, place: Path, workload: Workload) -> Recording:
    with base.opened() as file, closing(Recorder(file)) as recorder:
        with recorder.serving(place / "fuse") as disk, mounted(disk, fs, place / "fs") as root:
            old = look(root / "dst")
            recorder.mark(BEGIN)
            status = in_child(partial(workload, root, recorder.mark))
            assert status == 0, f"the workload failed: {status}"
            new = look(root / "dst")
        recording = Recording(fs, base, recorder.events(), old, new)
        with image_of(recording, Cut(len(recording.events))).opened() as replayed:
            assert Image.read(replayed) == Image.read(file), "the log does not tell everything"
    return recording


def image_of(recording: Recording, cut: Cut) -> Image:
    return recording.base.with_writes(writes(recording.events, cut))


# -- judging
def judge_cuts(recording: Recording, place: Path, outcome: Outcome, count: int, rng: random.Random) -> None:
    for number, cut in enumerate(cuts(recording.events, count, rng)):
        with image_of(recording, cut).opened() as file:
            said = promised(recording.events, cut)
            what, wrong = judge(file, recording, place, said, go_on=number % _PUSH_AGAIN_EVERY == 0)
        outcome.judged(what, *(f"{recording.fs.name}, {cut}: {each}" for each in wrong))
        if outcome.done:
            return
    if outcome.counts["unmountable"] > max(1, _UNMOUNTABLE_MAX * outcome.total):
        outcome.violations.append(f"{outcome.counts['unmountable']} images cannot be mounted")


def judge(file: int, recording: Recording, place: Path, said: str, *, go_on: bool) -> tuple[str, list[str]]:
    """``(what it is after recovery, what is wrong with it)``. ``said``: what it must be, if anything;
    ``go_on``: the next push must work, too."""
    what, wrong = "failed", list[str]()
    try:
        with mounted(file, recording.fs, place / "fs") as root:
            what = _judge(root, recording, said, wrong, go_on=go_on)
    except Unmountable:
        return "unmountable", []  # the filesystem's own matter
    except Exception as error:  # of the product, or from unmounting: then it has left something open
        wrong.append(f"{type(error).__name__}: {error}")
    return what, wrong


def _judge(root: Path, recording: Recording, said: str, wrong: list[str], *, go_on: bool) -> str:
    old, new, dst = recording.old, recording.new, root / "dst"
    found = look(dst)
    wrong += torn(found, old, new)
    if not old:  # it is made beside its place: no recovery is needed there
        wrong += verdict(found, old, new)[1]
    action = open_store(dst).recover().action
    now = look(dst)
    what, violations = verdict(now, old, new)
    wrong += violations + left_behind(dst)
    wrong += [f"litter: {at.name}" for at in root.glob(".*.atomsync-new")]
    if said not in ("", what):
        wrong.append(f"I3: {said!r} was promised, it is {what!r}")
    if _SAID.get(action, what) != what:
        wrong.append(f"I3: recovery says {action!r}, it is {what!r}")
    open_store(dst).recover()
    if look(dst) != now:
        wrong.append("I4: a second recovery changed the tree")
    if go_on:
        push(root / "src", dst, delete=True)
        finally_is, violations = verdict(look(dst), old, new)
        wrong += violations
        if finally_is != NEW:
            wrong.append(f"the next push left {finally_is!r}")
    return what
