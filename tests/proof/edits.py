"""Other programs write to the destination while a unit commits: none of their bytes may be lost.

One edit at a chosen verb of a unit, on any disk; what then stands is judged by these rules:

R1 what the editor wrote, and what stood there before and the editor itself did not destroy, is somewhere:
   at a path, in the conflicts or in the history
R2 everything but the edited path is exactly old or exactly new, as the unit's outcome says
R3 the edited path is as the editor left it. If the unit was taken back it may be old again; if the unit
   succeeded it may be new only where the writer's file had been displaced before it wrote
R4 the unit succeeds, or fails with Drift; what lies in the conflicts is told of
R5 nothing unfinished is left, the lock is free, and late writes outlive the history they went to
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from atomsync.errors import AtomSyncError, Drift, InDoubt
from atomsync.store.recovery import CLEAN, FINISHED
from atomsync.testing import Dir, File, HookedDisk, Killed, SimDisk, Tree, kill_at
from tests.proof.figures import Outcome
from tests.store.world import NEW, OLD, World

FOREIGN = b"foreign bytes"
DOOMED = "gone"  # whose mode somebody changes in the middle of a unit that is to be taken back

Prepare = Callable[[World], Callable[[], None]]


class Edit(NamedTuple):
    """``prepare`` runs before the unit looks; what it gives does the edit. ``path`` is judged apart."""

    name: str
    path: str
    prepare: Prepare
    late: bool = False  # through a descriptor: it follows the inode to where that goes
    meta: bool = False  # the unit changes attributes only, in place: of this path only bytes are judged


def _edits() -> Iterator[Edit]:
    replaced = ("file", "nested/closed/change", "file-to-dir", "dir-to-file/b/c", "dir-to-link/x")
    for path in (*replaced, "gone", "gone-dir/deep/f", "mode"):
        top, meta = _top(path), path == "mode"
        yield Edit(f"write into {path}", top, _calling(World.write_into, path), meta=meta)
        yield Edit(f"save {path}", top, _calling(_save, path), meta=meta)
        yield Edit(f"keep {path} open", top, _kept_file(path), late=True, meta=meta)
        if not meta:
            yield Edit(f"chmod {path}", top, lambda w, p=path: lambda: w.chmod(p, 0o604))
            yield Edit(f"unlink {path}", top, lambda w, p=path: lambda: w.unlink(p))
    for path in ("link", "made", "made/sub/f", "new-link", "empty"):
        yield Edit(f"save {path}", _top(path), _calling(_save, path))
        yield Edit(f"unlink {path}", _top(path), lambda w, p=path: lambda: w.unlink(p))
        yield Edit(f"create {path}", _top(path), _calling(World.create, path))
    for path in ("gone-dir", "dir-to-file/b", "dir-to-link", "made"):
        yield Edit(f"create in {path}", _top(path), _calling(World.create, f"{path}/foreign"))
        yield Edit(f"mkdir in {path}", _top(path), lambda w, p=path: lambda: _mkdir(w, f"{p}/foreign"))
        if path != "made":
            yield Edit(f"keep {path} open", _top(path), _kept_directory(path), late=True)
    for path in ("file", "gone", "nested/closed/change"):
        yield Edit(f"{path} to a directory", path, lambda w, p=path: lambda: _to_directory(w, p))
        yield Edit(f"{path} to and fro", path, lambda w, p=path: lambda: _to_directory(w, p, back=True))


def _top(path: str) -> str:
    """The path of the step that takes ``path`` along."""
    return path if path.startswith("nested") else path.partition("/")[0]


def _calling(verb: Callable[[World, str, bytes], None], path: str) -> Prepare:
    return lambda world: lambda: verb(world, path, FOREIGN)


def _save(world: World, path: str, data: bytes) -> None:
    try:
        world.save(path, data)
    except OSError:
        with contextlib.suppress(OSError):
            world.unlink("/".join([*path.split("/")[:-1], "editor.tmp"]))
        raise


def _mkdir(world: World, path: str) -> None:
    with world.place(path) as (at, name):
        world.disk.mkdir(at, name)


def _kept_file(path: str) -> Prepare:
    def prepare(world: World) -> Callable[[], None]:
        with world.place(path) as (at, name):
            fd = world.disk.open_lock(at, name)

        def act() -> None:
            world.disk.write(fd, FOREIGN, 0)
            world.disk.close(fd)

        return act

    return prepare


def _kept_directory(path: str) -> Prepare:
    def prepare(world: World) -> Callable[[], None]:
        with world.place(path) as (at, name):
            fd = world.disk.open_dir(at, name)

        def act() -> None:
            try:
                world._put(fd, "foreign", FOREIGN)
            finally:
                world.disk.close(fd)

        return act

    return prepare


def _to_directory(world: World, path: str, *, back: bool = False) -> None:
    """A file is moved out of the destination, a directory takes its place, and may give it back."""
    disk = world.disk
    with world.place(path) as (at, name), world.root(world.base) as out:
        disk.rename_new(at, name, out, "aside")
        disk.mkdir(at, name)
        if back:
            disk.rmdir(at, name)
            disk.rename_new(out, "aside", at, name)


EDITS = tuple(_edits())


class Edited(NamedTuple):
    """What an edit left at its path, and which bytes the editor itself took away."""

    at_path: Tree | None
    done: bool
    destroyed: frozenset[bytes]
    wrote: frozenset[bytes]


def _do(world: World, act: Callable[[], None], edit: Edit) -> Edited:
    before, stood = world.all_contents(), _at(world.tree(), edit.path)
    with contextlib.suppress(OSError):  # nothing is there, or another kind of thing: editors give up then
        act()
    after, stands = world.all_contents(), _at(world.tree(), edit.path)
    wrote = frozenset({FOREIGN} & after)
    return Edited(stands, bool(wrote) or stands != stood, frozenset(before - after), wrote)


# -- runs
class _Editor:
    """A hook that does the edit before verb ``at``. ``doomed`` counts from the middle of the swaps on, where
    somebody changes another path of the unit, so that all of it is taken back."""

    def __init__(self, world: World, edit: Edit | None, at: int, *, doomed: bool) -> None:
        self.world, self.edit, self.at = world, edit, at
        self.act = edit.prepare(world) if edit else None
        self.counting = not doomed
        self.log: list[tuple[str, ...]] = []
        self.edited: Edited | None = None

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> None:
        if not self.counting and (verb, names[-1:]) == ("exchange", ("link",)):
            self.counting = True
            with self._unhooked():
                self.world.chmod(DOOMED, 0o640)
        if self.counting and len(self.log) == self.at:
            self.do()
        if self.counting:
            self.log.append(names)

    def do(self) -> Edited:
        """Now, if it was not done yet."""
        if self.edited is None:
            assert self.edit is not None
            assert self.act is not None
            with self._unhooked():
                self.edited = _do(self.world, self.act, self.edit)
        return self.edited

    @contextlib.contextmanager
    def _unhooked(self) -> Iterator[None]:
        disk = _hooked(self.world)
        hook, disk.hook = disk.hook, None
        yield
        disk.hook = hook


def _hooked(world: World) -> SimDisk | HookedDisk:
    assert isinstance(world.disk, SimDisk | HookedDisk)
    return world.disk


def _log(world: World, *, doomed: bool = False) -> list[tuple[str, ...]]:
    """The names given to each verb of the unit, with no edit at all."""
    editor = _Editor(world, None, -1, doomed=doomed)
    with contextlib.suppress(AtomSyncError), world.pushing() as unit:
        _hooked(world).hook = editor
        unit.commit()
    _hooked(world).hook = None
    return editor.log


def _moments(log: list[tuple[str, ...]], edit: Edit, offset: int, stride: int) -> Iterator[int]:
    """Every verb that names the edited path, every ``stride``-th other one, and behind the end."""
    name = edit.path.rpartition("/")[2]
    for at, names in enumerate(log):
        if name in names or (at + offset) % stride == 0:
            yield at
    yield len(log)


def edits_at_every_verb(
    outcome: Outcome, make: Callable[[], World], *, doomed: bool = False, stride: int = 1
) -> None:
    """Each edit before each verb of a unit, and behind its end. ``make``: a fresh world every time."""
    log = _log(make(), doomed=doomed)
    for number, edit in enumerate(edit for edit in EDITS if not (doomed and edit.path == DOOMED)):
        for at in _moments(log, edit, number, stride):
            if outcome.done:
                return
            _edited_run(outcome, make(), edit, at, doomed=doomed)


def _edited_run(outcome: Outcome, world: World, edit: Edit, at: int, *, doomed: bool) -> None:
    editor = _Editor(world, edit, at, doomed=doomed)
    what, told = "drift", ""
    try:
        with world.pushing() as unit:
            _hooked(world).hook = editor
            told = str(unit.commit().warnings)
        what = "committed"
    except Drift as error:
        told = str(error)
    except InDoubt:  # the edit met the taking back: recovery must settle it
        _hooked(world).hook = None
        what, told = "in doubt", str(world.recover())
    except (AtomSyncError, OSError) as error:
        what, told = "failed", repr(error)
    _hooked(world).hook = None
    edited = editor.do()
    succeeded = what == "committed"
    base = NEW if succeeded else DOOMED_OLD if doomed else OLD
    wrong = [f"R4: {told}"] if what == "failed" else _judge(world, edit, edited, base, succeeded, told)
    where = f"{edit.name} at {at}{' of a doomed unit' if doomed else ''}, {what}"
    what = what if edited.done else "no edit possible"
    outcome.judged(what, *(f"{where}: {each}" for each in wrong))


def edits_after_every_crash(
    outcome: Outcome, make: Callable[[], World], rng: random.Random, *, stride: int = 1
) -> None:
    """A unit is killed at each verb, or the power goes there; then each edit; then recovery."""
    log = _log(make())
    for number, edit in enumerate(edit for edit in EDITS if not edit.late):
        for at in _moments(log, edit, number, stride):
            if outcome.done:
                return
            world = _cut(make(), at)
            power_cut = rng.random() < 0.5
            choice = rng.choice([*world.sim.crash_states(rng, 8)]) if power_cut else None
            after = world.on(world.sim.crash(*choice) if choice else world.sim.copy())
            _edited_recovery(outcome, after, edit, at, power_cut=power_cut)


def _cut(world: World, at: int) -> World:
    """A push of which ``at`` verbs took place."""
    with contextlib.suppress(Killed, AtomSyncError), world.pushing() as unit:
        world.sim.hook = kill_at(len(world.sim.log) + at)
        unit.commit()
    world.sim.hook = None
    return world


def _edited_recovery(outcome: Outcome, world: World, edit: Edit, at: int, *, power_cut: bool) -> None:
    edited = _do(world, edit.prepare(world), edit)
    where = f"{edit.name} after a {'power cut' if power_cut else 'kill'} at {at}"
    try:
        recovery = world.recover()
    except (AtomSyncError, OSError) as error:
        outcome.judged("failed", f"R4: {where}: {error!r}")
        return
    finished = recovery.action == FINISHED
    if recovery.action == CLEAN:  # before the unit began, or behind its end
        finished = _without(world.tree(), edit.path) == _without(NEW, edit.path)
    told, base = str(recovery.conflicts), NEW if finished else OLD
    wrong = _judge(world, edit, edited, base, finished, told, power_cut=power_cut)
    what = recovery.action if edited.done else "no edit possible"
    outcome.judged(what, *(f"{where}, {what}: {each}" for each in wrong))


# -- the judge
def _judge(
    world: World,
    edit: Edit,
    edited: Edited,
    base: Dir,
    succeeded: bool,
    told: str,
    *,
    power_cut: bool = False,
) -> Iterator[str]:
    now = world.tree()
    # The history of a unit that succeeded is not promised to survive a power cut; foreign bytes are.
    kept = edited.wrote if power_cut and succeeded else edited.wrote | (_ONLY_OLD - edited.destroyed)
    lost = kept - world.all_contents()
    if lost:
        yield f"R1: lost {lost}"
    if _without(now, edit.path) != _without(base, edit.path):
        yield f"R2: neither old nor new, or not what was said: {now}"
    if not _stands(_at(now, edit.path), _at(base, edit.path), edit, edited, succeeded):
        yield f"R3: at {edit.path}: {_at(now, edit.path)}, the editor left {edited.at_path}"
    if world.control_names("unit") or world.store().status().holder or world.recover().action != CLEAN:
        yield "R5: something is left"
    if succeeded and edit.late:
        for name in ("one", "two"):  # each gives up the unit before it
            with world.begin(keep=1) as unit:
                unit.write(name, b"later")
                told += str(unit.commit().warnings)
        if not edited.wrote <= world.all_contents():
            yield "R5: lost with the history"
    if world.control_names("conflicts") and "conflicts/" not in told:
        yield f"R4: kept aside, but nobody was told: {told}"


def _stands(final: Tree | None, want: Tree | None, edit: Edit, edited: Edited, succeeded: bool) -> bool:
    if final == edited.at_path:
        return True
    if edit.meta and isinstance(final, File):  # attributes are set in place: RACE, see docs/protocol.md
        return final.data in (FOREIGN, b"mode")
    if edit.late and not succeeded:  # it was put back, with what the writer wrote through its descriptor
        return edited.wrote <= _contents(final)
    return final == want and (not succeeded or edit.late or not edited.done)


def _at(tree: Tree, path: str) -> Tree | None:
    """What stands at a path; a directory without its own time, which moves with the names in it."""
    name, _, rest = path.partition("/")
    found = tree.names.get(name) if isinstance(tree, Dir) else None
    if rest and found is not None:
        return _at(found, rest)
    return replace(found, mtime_ns=None) if isinstance(found, Dir) else found


def _without(tree: Tree, path: str) -> Tree:
    """All but one path, and without the times of the directories above it."""
    if not isinstance(tree, Dir):
        return tree
    name, _, rest = path.partition("/")
    names = {other: child for other, child in tree.names.items() if rest or other != name}
    if rest and name in names:
        names[name] = _without(names[name], rest)
    return replace(tree, names=names, mtime_ns=None)


def _contents(tree: Tree | None) -> frozenset[bytes]:
    if isinstance(tree, Dir):
        return frozenset().union(*map(_contents, tree.names.values()))
    return frozenset({tree.data} if isinstance(tree, File) else ())


_ONLY_OLD = _contents(OLD) - _contents(NEW)  # a staged copy must not pass for the old version
DOOMED_OLD = replace(OLD, names={**OLD.names, DOOMED: replace(OLD.names[DOOMED], mode=0o640)})
