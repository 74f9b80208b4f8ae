"""I7 in the crash model: what another program does to the destination is never lost, and never passed over.

An edit is made before some verb of a push, or after a crash and before the recovery. Its bytes must then be
somewhere at the destination (at the path, in ``conflicts/``, in the history) whatever comes; and if they
are not at the path, somebody was told: by Drift, or by ``Recovery.conflicts``.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import NamedTuple

from atomsync.errors import Drift
from atomsync.store.recovery import CLEAN
from atomsync.testing import Killed, SimDisk
from atomsync.testing.effects import survivors
from tests.proof.judge import verdict
from tests.proof.model import Trial, layer, look
from tests.store.world import World

BYTES = b"by hand"


class Edit(NamedTuple):
    """``act`` may raise OSError: then there is nothing to edit at that moment."""

    path: str
    act: Callable[[World, str], None]


# -- what other programs do, and sync


def save(world: World, path: str) -> None:
    """As an editor does: another file renamed over it."""
    world.save(path, BYTES)
    _sync(world, path)


def create(world: World, path: str) -> None:
    world.create(path, BYTES)
    _sync(world, path)


def write_into(world: World, path: str) -> None:
    """Into the inode that is there, behind all it holds."""
    with world.place(path) as (at, name):
        size = world.disk.lstat(at, name).st_size
    world.write_into(path, BYTES, size)
    _sync(world, path)


def impersonate(world: World, path: str) -> None:
    """Replace a file by another with the same inode number, size and times."""
    disk = world.disk
    with world.place(path) as (at, name), world.root(world.base) as outside:
        had = disk.lstat(at, name)
        if not had.st_size:
            raise OSError("no byte to know it by")
        disk.unlink(at, name)
        disk.fsync(at)  # before that, a weak disk does not give the number away again
        for number in range(100):
            fd = disk.create(outside, f"filler{number}")
            if disk.fstat(fd).st_ino == had.st_ino:
                break
            disk.close(fd)
        disk.write(fd, BYTES[: had.st_size].ljust(had.st_size, b"!"), 0)
        disk.set_meta(fd, had.st_uid, had.st_gid, had.st_mode & 0o7777, had.st_mtime_ns)
        disk.fsync(fd)
        disk.close(fd)
        disk.rename_new(outside, f"filler{number}", at, name)
        disk.fsync(at)


def _sync(world: World, path: str) -> None:
    """The file and every directory on the way to it: a weak disk promises nothing for less."""
    with world.place(path) as (at, name):
        fd = world.disk.open_file(at, name)
        world.disk.fsync(fd)
        world.disk.close(fd)
    while path:
        with world.place(path) as (at, _):
            world.disk.fsync(at)
        path = path.rpartition("/")[0]


# For each kind of step in ``plans.RICH`` and ``SMALL`` something before and something behind the swap.
EDITS = [
    Edit("replaced", save),
    Edit("replaced", write_into),
    Edit("made/f", write_into),
    Edit("hard-a", save),
    Edit("hard-a", impersonate),
    Edit("deep/closed/change", save),
    Edit("deep/closed/change", write_into),
    Edit("file-to-dir", save),
    Edit("file-to-dir/in", write_into),
    Edit("dir-to-file", save),
    Edit("dir-to-file/b/new", create),
    Edit("dir-to-link/x", write_into),
    Edit("link", save),
    Edit("gone", write_into),
    Edit("gone", create),
    Edit("gone-dir/deep/f", save),
    Edit("meta", save),
    Edit("made", create),
    Edit("made", impersonate),
    Edit("made-dir/sub/f", write_into),
    Edit("made-dir/new", create),
    Edit("meta-dir/new", create),
]


# -- layers


@layer
def races(trial: Trial, *, every: int, samples: int, seed: int = 0) -> None:
    """An edit before a verb of the push, once the plan is made; afterwards the power fails, or recovery
    runs and then it fails."""
    rng = random.Random(seed)
    for edit in _edits(trial):
        for index in range(planned(trial) + rng.randrange(every), len(trial.moments) - 1, every):
            race(trial, edit, index, len(trial.moments), rng, samples)


def _edits(trial: Trial) -> list[Edit]:
    """Those whose first directory is in the trees at hand."""
    return [edit for edit in EDITS if edit.path.partition("/")[0] in trial.old.keys() | trial.new.keys()]


def planned(trial: Trial) -> int:
    """The first verb behind the look at the destination: what was there earlier, the unit knows."""
    wheres = [moment.where for moment in trial.moments]
    return next((at for at, where in enumerate(wheres) if where.endswith("mkdir 0")), len(wheres) - 1)


def race(trial: Trial, edit: Edit, at: int, killed: int, rng: random.Random, samples: int) -> None:
    """``edit`` before verb ``at``, the process killed before verb ``killed`` if there is one."""
    disk = trial.world.sim.copy()
    where = f"{edit.act.__name__} {edit.path} before {at}"
    done = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal done
        if index >= killed:
            raise Killed
        if index == at:
            disk.hook = None
            with contextlib.suppress(OSError):
                edit.act(trial.world.on(disk), edit.path)
                done = True
            disk.hook = hook if killed < len(trial.moments) else None

    disk.hook = hook
    told = False
    try:
        told = isinstance(trial.attempt(trial.act, disk, where), Drift)
    except Killed:
        where += f", killed before {killed}"
    if done:
        judge_edit(trial, edit, disk, where, rng, samples, told=told)


@layer
def edits_after_a_crash(trial: Trial, *, every: int, samples: int, seed: int = 0) -> None:
    """The process is killed before a verb of the push; an edit; recovery, cut somewhere or not; then the
    power fails."""
    rng = random.Random(seed)
    for edit in _edits(trial):
        for index in range(rng.randrange(every), len(trial.moments), every):
            edit_after(trial, edit, index, rng, every, samples)


def edit_after(trial: Trial, edit: Edit, index: int, rng: random.Random, every: int, samples: int) -> None:
    """``edit`` after a kill before verb ``index``; recovery whole, and cut before every ``every``-th verb."""
    moment = trial.moments[index]
    disk = moment.disk.copy()
    where = f"{moment.where}; then {edit.act.__name__} {edit.path}"
    try:
        edit.act(trial.world.on(disk), edit.path)
    except OSError:
        return
    judge_edit(trial, edit, disk, where, rng, samples)
    for inside in trial.record(disk, World.recover)[rng.randrange(every) :: every]:
        judge_edit(trial, edit, inside.disk, f"{where}; in recovery {inside.where}", rng, samples)


def edit_around(trial: Trial, edit: Edit, rng: random.Random, *, samples: int) -> None:
    """One edit at random moments: in a push, in one that is killed later, after a crash."""
    last = len(trial.moments) - 1
    first = planned(trial)
    if first < last:
        at = rng.randrange(first, last)
        race(trial, edit, at, last + 1, rng, samples)
        race(trial, edit, at, rng.randrange(at, last) + 1, rng, samples)
    edit_after(trial, edit, rng.randrange(len(trial.moments)), rng, last, samples)


@layer
def late_writes(trial: Trial, *, samples: int, seed: int = 0) -> None:
    """A file that was open before a push displaced it is written to afterwards; then its unit is given
    up by a later one, which is killed or cut before each of its verbs."""
    rng = random.Random(seed)
    for path in sorted({"gone", "gone-dir/deep/f", "deep/closed/change", "replaced"} & trial.old.keys()):
        disk = trial.world.sim.copy()
        world = trial.world.on(disk)
        with world.place(path) as (at, name):
            fd = disk.open_lock(at, name)
        trial.attempt(trial.act, disk, "with an open file")
        disk.write(fd, BYTES, 0)
        disk.fsync(fd)
        with world.root(world.dst) as at:
            disk.syncfs(at)
        disk.close(fd)
        for moment in trial.record(disk, _one_more_unit):
            states = [moment.disk.crash(*choice) for choice in moment.disk.crash_states(rng, samples)]
            for after in [moment.disk.copy(), *states]:
                trial.attempt(World.recover, after, moment.where)
                lost = [] if _has_bytes(after) else [f"I7: a late write to {path} is lost ({moment.where})"]
                trial.judged("edited", *lost)


def _one_more_unit(world: World) -> None:
    with world.begin(keep=1) as unit:
        unit.write("another", b"file")


# -- judging


def judge_edit(
    trial: Trial,
    edit: Edit,
    disk: SimDisk,
    where: str,
    rng: random.Random,
    samples: int,
    *,
    told: bool = False,
) -> None:
    """After the process ended: the power fails, or recovery runs on what is there and then it fails."""
    for choice in disk.crash_states(rng, samples):
        _judge_one(trial, edit, disk.crash(*choice), f"cut {where}", told)
    after = disk.copy()
    told = _judge_one(trial, edit, after, where, told)
    for choice in after.crash_states(rng, samples):
        _judge_one(trial, edit, after.crash(*choice), f"recovered and cut {where}", told)


def _judge_one(trial: Trial, edit: Edit, disk: SimDisk, where: str, told: bool) -> bool:
    """Recover and judge; returns whether anybody was told of the edit."""
    after = trial.world.on(disk)
    try:
        found, again = after.recover(), after.recover()
    except Exception as error:
        trial.judged("edited", f"recovery failed: {error!r} ({where})")
        return told
    now = look(after)
    wrong = [] if again.action == CLEAN else ["I4: the second recovery found something to do"]
    top = edit.path.partition("/")[0]
    beside = {"hard-a", "hard-b"} if top.startswith("hard") else {top}
    trees = [
        {path: seen for path, seen in tree.items() if path and path.partition("/")[0] not in beside}
        for tree in (now, trial.old, trial.new)
    ]
    what, more = verdict(*trees)
    wrong += more
    if "unit" in after.control_names():
        wrong.append("I6: an unfinished unit is left")
    told = told or any(conflict.path.partition("/")[0] == top for conflict in found.conflicts)
    told = told or after.control_names("conflicts") != []  # of a recovery that was cut: status shows it
    at_path = edit.path in now and _marked(now[edit.path].content)
    if not _has_bytes(disk):
        wrong.append("I7: the edit is lost")
    elif not at_path and not told:
        wrong.append("I7: the edit is not where it was made, and nobody was told")
    trial.judged(f"edited, rest {what}", *[f"{said} ({where})" for said in wrong])
    return told


def _marked(data: bytes) -> bool:
    return BYTES in data or (data != b"" and data == BYTES[: len(data)].ljust(len(data), b"!"))


def _has_bytes(disk: SimDisk) -> bool:
    return any(_marked(inode.data) for inode in survivors(dict(disk.state)).values())
