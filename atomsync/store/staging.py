"""(3) New content on the destination's filesystem, invisible: copied, read back, evidence returned.

``Stage`` is the directory of a pending unit. Each step of the plan gets a slot there; a new
directory is built in its slot with everything below it. Nobody else can enter (0700), so a staged file
is never more readable than it will be in the end.

Many units may be staged at once, each in a directory of its own that its process keeps locked: one without
a lock was left by a process that died, and whoever recovers the store deletes it. Only one is ever
committed; it moves from ``pending/`` to ``unit`` for that, by one rename, under the store's lock.

Staging again with a changed plan keeps what still fits, and drops the rest: that is how a source
file that changed while we copied is staged again without the other fifty thousand.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, count
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import AtomSyncError, DestinationLimit, cannot_stage
from atomsync.fs.cursor import Cursor
from atomsync.plan.plan import Plan
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.abandoned import try_lock
from atomsync.store.content import Content, Linked, Shared, Spooled
from atomsync.store.control import JOURNAL, PENDING, SLOTS, UNIT, Control
from atomsync.store.copying import Job, Source, copy_file, link_file
from atomsync.store.dressing import dress, take_default_acl
from atomsync.store.drift import drifted
from atomsync.store.kept import KeptObjects, version_gone
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.store.streams import LARGE_BYTES
from atomsync.store.versions import Kept
from atomsync.store.waste import retire_as_waste
from atomsync.tree.entry import DIR, FILE, LINK, PLAIN, Entry, is_closed, look, node_of, untouched
from atomsync.tree.graft import Graft
from atomsync.tree.path import ancestors, shown

if TYPE_CHECKING:
    from atomsync.store.grafts import Planted
    from atomsync.store.pool import Outcome

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_TAKEN_AWAY = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}


class Staged(NamedTuple):
    """The evidence for one path: where it lies in the slots, as what it was wanted, its digest, and
    the slot its content was spooled to, if a caller wrote it. ``second``: it is a name of another's file."""

    location: str
    wanted: Entry
    digest: str = ""
    spool: str = ""
    second: bool = False


class Stage:
    """The stage of one unit; made empty. ``unit`` and ``slots`` are the descriptors of its directories, and
    ``where`` their place below the control directory; ``former`` has the versions that are there now. Where
    directories cannot be locked, only a process that holds the store's lock may have one."""

    def __init__(self, control: Control) -> None:
        self.control, self.disk = control, control.disk
        self.where: tuple[str, ...] = ()
        self.unit = self.slots = -1
        try:
            self._make_unit()
            self.disk.mkdir(self.unit, SLOTS)
            take_default_acl(self.disk, self.unit, SLOTS)
            self.slots = self.disk.open_dir(self.unit, SLOTS)
            for fd in (self.unit, self.slots):
                self.disk.set_meta(fd, -1, -1, 0o700, None)
        except BaseException:
            with contextlib.suppress(OSError):
                self._remove()
            self._close_descriptors()
            raise
        self.cursor = Cursor(self.disk, self.slots)
        self.former = Source(self.disk, control.root, control.tree)
        self.history = KeptObjects(control)
        self.staged: dict[str, Staged] = {}
        self.planted: dict[str, Planted] = {}  # by the paths of their steps
        self.bytes_staged = 0
        self._slots_made = 0
        self._slot_of: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever put into it."""
        return self._slots_made == 0

    def new_slot(self) -> str:
        self._slots_made += 1
        return str(self._slots_made - 1)

    def stage(
        self,
        plan: Plan,
        source: Source | None,
        contents: Mapping[str, Content],
        kept: Collection[str],
        progress: Progress,
    ) -> tuple[Plan, list[str]]:
        """Bring the slots in step with ``plan``; returns it with its slots, and the unstable paths.

        ``kept`` are the slots of callers' contents that may be wanted yet. Unstable are the source paths
        that were not as the plan says: gone, grown, replaced. They are not staged. Raises DigestMismatch,
        NoSpace, AccessError, DiskError, Interrupted.
        """
        steps = tuple(self._with_slot(step, contents) for step in plan.steps)
        grafts = {step.path: step for step in steps if isinstance(step.inside, Graft)}
        for path, found in [*self.planted.items()]:
            if path not in grafts or grafts[path].inside is not found.wanted:
                self._melt(path)
        wanted = dict(locations(step._replace(inside=()) if step.path in grafts else step for step in steps))
        self._open_closed()
        shared = {path: content for path, content in contents.items() if isinstance(content, Shared)}
        self._drop_unwanted(wanted, kept, shared)
        dirs: list[tuple[str, str, Entry]] = []
        jobs: list[Job] = []
        unstable: list[str] = []
        for path, (location, entry) in wanted.items():
            if entry.kind == DIR:
                if path not in self.staged:
                    self._make(self.disk.mkdir, location, path)
                dirs.append((path, location, entry))
                self.staged[path] = Staged(location, entry)
            elif path in self.staged or path in shared:
                continue
            elif (content := contents.get(path)) is not None:
                self.staged[path] = self._from_content(path, location, entry, content, progress)
            elif entry.kind == FILE:
                jobs.append(Job(path, location, entry))
            else:
                self._make_other(location, path, entry)
                self.staged[path] = Staged(location, entry)
        self.history.close()
        jobs += self._plant(grafts.values(), source, unstable, progress)
        rebased = self._rebased(steps)
        unstable += self._copy([job for job in jobs if job.path not in rebased], source, progress)
        unstable += self._copy([job for job in jobs if job.path in rebased], source, progress, self.former)
        unstable += self._share(wanted, shared)
        steps = tuple(self._rooted(step) for step in steps)
        for path, location, entry in reversed(dirs):
            if entry.xattrs:
                dress(self.disk, *self.cursor.split(location), entry, path)
            else:
                fd = self.cursor.at(location)
                self.disk.set_meta(fd, entry.uid, entry.gid, entry.mode, entry.mtime_ns)
        return Plan(steps, plan.parents), unstable

    def digest_of(self, path: str) -> str:
        found = self.staged.get(path)
        if found is not None:
            return found.digest
        tops = (top for top in ancestors(path) if top in self.planted) if self.planted else ()
        return next((self.planted[top].graft.digest_of(path) for top in tops), "")

    def evidence(self) -> Iterator[tuple[str, str, Entry, str]]:
        """``(path, location, entry, digest)`` of all that is staged."""
        for path, have in self.staged.items():
            yield path, have.location, have.wanted, have.digest
        for found in self.planted.values():
            yield from found.members()

    def forget(self, path: str) -> None:
        """Let the next ``stage`` copy this file again."""
        for top in [top for top in ancestors(path) if top in self.planted]:
            self._melt(top)
        found = self.staged.pop(path, None)
        if found is not None:
            try:
                self.disk.unlink(*self.cursor.split(found.location))
            except PermissionError:  # its directory has its mode already
                self._open_closed()
                self.disk.unlink(*self.cursor.split(found.location))

    def reset(self, kept: Collection[str]) -> None:
        """Back to where nothing is staged, however the last try ended: only the contents in ``kept``,
        each in its own slot."""
        self.cursor.close()
        for path in [*self.planted]:
            self._melt(path)
        self._open_closed()
        self._drop_unwanted({}, kept, ())
        for name, _ in self.disk.scandir(self.slots):
            if name not in kept:
                remove_tree(self.disk, self.slots, name)

    def drop(self, slots: Collection[str]) -> None:
        """Delete contents nobody wants any more, unless they are staged: those the next staging drops."""
        staged = {found.spool for found in self.staged.values()} if slots else ()
        for slot in slots:
            if slot not in staged:
                with contextlib.suppress(FileNotFoundError):
                    self.disk.unlink(self.slots, slot)

    def move(self, *where: str) -> None:
        """To another place below the control directory, by one rename."""
        with self.control.opened(*self.where[:-1]) as at, self.control.opened(*where[:-1], make=True) as to:
            self.disk.replace(at, self.where[-1], to, where[-1])
        self.where = where

    def discard(self) -> None:
        """Forget the unit: nothing of it was visible."""
        if self.where == (UNIT,):
            self.close()
            retire_as_waste(self.control, UNIT)
            return
        try:
            self.cursor.close()
            self._remove()  # while it is locked: a stage without a lock is anybody's to delete
        finally:
            self.close()

    def rest(self) -> None:
        """Close all but the unit's own descriptor, which has its lock."""
        self.cursor.close()
        if self.slots != -1:
            self.disk.close(self.slots)
            self.slots = -1

    def close(self) -> None:
        self.cursor.close()
        self.history.close()
        if self.unit != -1:
            with contextlib.suppress(OSError):  # closing is not enough if a child has a copy of it
                self.disk.unlock(self.unit)
        self._close_descriptors()

    def let_go(self) -> None:
        """In a child of the process whose stage it is: close the copies of its descriptors."""
        self.cursor.close()
        self.history.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self.slots, self.unit):
            if fd != -1:
                self.disk.close(fd)
        self.slots = self.unit = -1

    def _make_unit(self) -> None:
        """A new directory, and its lock."""
        for name in map(str, count()):
            # Made under the store's lock only: that it can be removed then shows that nobody stages.
            with self.control.opened(PENDING, make=self.control.locked) as pending:
                try:
                    self.disk.mkdir(pending, name)
                except FileExistsError:
                    continue
                # RACE: until it is locked, whoever recovers the store may take it for waste: then another.
                with contextlib.suppress(FileNotFoundError):
                    self.unit = self.disk.open_dir(pending, name)
                    ours = try_lock(self.disk, self.unit, alone=self.control.locked)
                    if ours and self.disk.lstat(pending, name).st_ino == self.disk.fstat(self.unit).st_ino:
                        self.where = PENDING, name
                        return
                self._close_descriptors()

    def _remove(self) -> None:
        if self.where:
            with contextlib.suppress(FileNotFoundError):  # first: without it the rest means nothing
                self.disk.unlink(self.unit, JOURNAL)
            with self.control.opened(*self.where[:-1]) as at:
                remove_tree(self.disk, at, self.where[-1])

    # -- the parts of stage()
    def _plant(
        self, steps: Iterable[Step], source: Source | None, unstable: list[str], progress: Progress
    ) -> Iterator[Job]:
        """Stage the grafts of these steps that are not staged yet; yields what of them is for ``_copy``."""
        grafts = {step.path: (step.slot, step.inside) for step in steps if isinstance(step.inside, Graft)}
        if not grafts:
            return
        from atomsync.store.grafts import large_files, planted

        fresh = {path: graft for path, graft in grafts.items() if path not in self.planted}
        jobs = [job for slot, graft in grafts.values() for job in large_files(graft, slot)]
        if fresh:
            assert source is not None, "a graft is of some source"
            for path, found in zip(fresh, planted(source, self.cursor, fresh.values(), self.unit, progress)):
                self.planted[path] = found
                self.bytes_staged += found.size
                unstable += found.unstable
        yield from (job for job in jobs if job.path not in self.staged)

    def _rooted(self, step: Step) -> Step:
        """The step with the evidence, if it has a graft, whose directories are as they shall be then."""
        found = self.planted.get(step.path)
        if found is None:
            return step
        from atomsync.store.grafts import finish_all

        apart = {path: self.digest_of(path) for path in found.large}
        finish_all(self.cursor, step.slot, found.graft)
        return step._replace(inside=Graft(found.graft.folders, apart))

    def _melt(self, path: str) -> None:
        """Make staged entries like all others of a graft."""
        found = self.planted.pop(path)
        for member, location, entry, digest in found.members():
            self.staged[member] = Staged(location, entry, digest)

    def _with_slot(self, step: Step, contents: Mapping[str, Content]) -> Step:
        if step.kind == META:
            return step
        content = contents.get(step.path)
        if isinstance(content, Spooled):
            slot = content.slot
        elif (slot := self._slot_of.get(step.path, "")) == "":
            slot = self._slot_of[step.path] = self.new_slot()
        return Step(*step[:-1], slot)

    def _open_closed(self) -> None:
        """Staged directories that have their mode already, but may have to change once more."""
        for have in self.staged.values():
            if is_closed(have.wanted):
                self.disk.set_meta_at(*self.cursor.split(have.location), -1, -1, 0o700, None)

    def _drop_unwanted(
        self, wanted: Mapping[str, tuple[str, Entry]], kept: Collection[str], shared: Collection[str]
    ) -> None:
        """What no longer fits goes; but a caller's content that is wanted elsewhere, or with other
        attributes, only goes back to its own slot: there is no second copy of it. Second names are made
        anew each time: their file may be another by now."""
        for path in sorted(self.staged, reverse=True):
            have = self.staged[path]
            want = wanted.get(path)
            if want is not None and _still_fits(have, *want) and not have.second and path not in shared:
                continue
            self.cursor.at("")  # do not stand in what is about to go
            parent, name = self.cursor.split(have.location)
            if have.spool:
                self.bytes_staged -= have.wanted.size
            if have.spool not in kept:
                remove_tree(self.disk, parent, name)
            elif have.location != have.spool:
                self.disk.replace(parent, name, self.slots, have.spool)
            del self.staged[path]

    def _make(self, verb: Callable[[int, str], object], location: str, path: str) -> None:
        parent, name = self.cursor.split(location)
        try:
            verb(parent, name)
        except OSError as error:
            raise cannot_stage(error, f"cannot stage {shown(path)}", path) from None

    def _make_other(self, location: str, path: str, entry: Entry) -> None:
        """A symbolic link or a special file."""
        if entry.kind == LINK:
            self._make(lambda at, name: self.disk.symlink(entry.target, at, name), location, path)
        else:
            self._make(lambda at, name: self.disk.node(at, name, *node_of(entry.target)), location, path)
        parent, name = self.cursor.split(location)
        if entry.xattrs:
            dress(self.disk, parent, name, entry, path)
        else:
            mode = None if entry.kind == LINK else entry.mode
            self.disk.set_meta_at(parent, name, entry.uid, entry.gid, mode, entry.mtime_ns)

    def _from_content(
        self, path: str, location: str, entry: Entry, content: Content, progress: Progress
    ) -> Staged:
        if isinstance(content, Kept):
            return Staged(location, entry, self._from_history(path, location, entry, content, progress))
        if isinstance(content, Linked):
            try:
                link_file(self.control.tree, content.path, self.cursor, location)
            except OSError as error:
                if error.errno in _TAKEN_AWAY:
                    raise drifted(content.path) from None
                self._check_is_file(content.path)
                raise _no_links(error, path, content.path) from None
            expected, now = content.expected, look(self.disk, *self.cursor.split(location))
            if expected is not None and (now is None or not untouched(expected, now)):
                raise drifted(content.path)
            return Staged(location, entry, entry.digest, second=expected is not None)
        assert isinstance(content, Spooled)
        if location != content.slot:
            parent, name = self.cursor.split(location)
            self.disk.replace(self.slots, content.slot, parent, name)
        self.bytes_staged += entry.size
        # Told before it is sure: should the next call fail, its only copy is known to lie here.
        self.staged[path] = found = Staged(location, entry, content.digest, content.slot)
        parent, name = self.cursor.split(location)
        if entry.xattrs:
            dress(self.disk, parent, name, entry, path)
        else:
            self.disk.set_meta_at(parent, name, entry.uid, entry.gid, entry.mode, entry.mtime_ns)
        return found

    def _share(self, wanted: Mapping[str, tuple[str, Entry]], shared: Mapping[str, Shared]) -> list[str]:
        """Give new files their second names; returns those whose file is not staged."""
        missing = []
        with Cursor(self.disk, self.slots) as firsts:
            for path, content in shared.items():
                location, entry = wanted[path]
                first = self.staged.get(content.path)
                if first is None:
                    missing.append(path)
                    continue
                try:
                    link_file(firsts, first.location, self.cursor, location)
                except OSError as error:
                    raise _no_links(error, path, content.path) from None
                self.staged[path] = Staged(location, entry, first.digest, second=True)
        return missing

    def _from_history(self, path: str, location: str, entry: Entry, kept: Kept, progress: Progress) -> str:
        """The digest of what a unit displaced, once it is in the stage."""
        slots = self.history.slots(kept.unit)
        try:
            at, name = slots.split(kept.location)
            if kept.linked and self.control.capabilities.link:
                self.disk.link(at, name, *self.cursor.split(location))
                now = look(self.disk, *self.cursor.split(location))
                if now is None or now[:PLAIN] != entry[:PLAIN]:
                    raise version_gone([path])
                return entry.digest
            now = look(self.disk, at, name)
        except FileNotFoundError:
            raise version_gone([path]) from None
        job = (
            Job(kept.location, location, entry._replace(ino=now.ino, ctime_ns=now.ctime_ns)) if now else None
        )
        digest = job and copy_file(Source(self.disk, slots.root, slots), self.cursor, job, progress, two=True)
        if not digest:
            raise version_gone([path])
        self.bytes_staged += entry.size
        return digest

    def _check_is_file(self, path: str) -> None:
        try:
            found = look(self.disk, *self.control.tree.split(path))
        except OSError:
            found = None
        if found is None or found.kind != FILE:
            raise drifted(path) from None

    def _rebased(self, steps: Iterable[Step]) -> set[str]:
        """Large files of which the destination has another version, while it may be one that can clone."""
        if not self.former.clones:
            return set()
        return {step.path for step in steps if is_large(step.old) and is_large(step.new)}

    def _copy(
        self, jobs: list[Job], source: Source | None, progress: Progress, former: Source | None = None
    ) -> list[str]:
        if not jobs:
            return []
        assert source is not None, "a plan with files needs the source they come from"
        from atomsync.store.dealing import by_thread_or_process
        from atomsync.store.pool import copy_in_two, is_worth_it

        unstable = []
        here, shared = by_thread_or_process(jobs) if former is None else (jobs, [])
        second = source.second(self.disk) if is_worth_it(shared) else None
        if second is None:
            here, shared = jobs, []
        outcomes = self._copy_here(here, source, progress, former)
        if second is not None:
            two = copy_in_two(shared, source, self.cursor, self.unit, second, progress)
            outcomes = chain(outcomes, two)
        for job, digest in outcomes:
            if digest is None:
                unstable.append(job.path)
            else:
                self.staged[job.path] = Staged(job.location, job.entry, digest)
                self.bytes_staged += job.entry.size
        return unstable

    def _copy_here(
        self, jobs: list[Job], source: Source, progress: Progress, former: Source | None
    ) -> Iterator[Outcome]:
        for job in jobs:
            progress.check()
            yield job, copy_file(source, self.cursor, job, progress, former, two=True)
            progress.advance(1)


def _no_links(error: OSError, path: str, first: str) -> AtomSyncError:
    if error.errno not in _NO_LINKS:
        return cannot_stage(error, f"cannot stage {shown(path)}", path)
    return DestinationLimit(
        f"cannot make {shown(path)} a second name of {shown(first)}",
        f"hard links are refused there: {error.strerror}",
        "Leave out -H (--hard-links): then each name gets a file of its own.",
    )


def is_large(entry: Entry | None) -> bool:
    """Whether this is a file worth staging over a clone of another version."""
    return entry is not None and entry.kind == FILE and entry.size >= LARGE_BYTES


def _still_fits(have: Staged, location: str, entry: Entry) -> bool:
    if have.location != location:
        return False
    return entry == have.wanted or entry.kind == DIR == have.wanted.kind


def locations(steps: Iterable[Step]) -> Iterable[tuple[str, tuple[str, Entry]]]:
    """``(path, (location in the slots, entry))`` of all that enters, parents before children."""
    for step in steps:
        if step.kind in (META, REMOVE) or step.new is None:
            continue
        yield step.path, (step.slot, step.new)
        skip = len(step.path)
        for path, entry in step.inside:
            yield path, (step.slot + path[skip:], entry)
