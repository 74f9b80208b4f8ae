"""(3) New content on the destination's filesystem, invisible: copied, read back, evidence returned.

``Stage`` is the directory of the unfinished unit. Each step of the plan gets a slot there; a new
directory is built in its slot with everything below it. Nobody else can enter (0700), so a staged file
is never more readable than it will be in the end.

Staging again with a changed plan keeps what still fits, and drops the rest: that is how a source
file that changed while we copied is staged again without the other fifty thousand.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from atomsync.errors import cannot_stage
from atomsync.fs.cursor import Cursor
from atomsync.plan.plan import Plan
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.control import HISTORY, JOURNAL, RETIRED, SLOTS, UNIT, Control
from atomsync.store.copying import Job, Source, copy_file, link_file
from atomsync.store.pool import Outcome, copy_in_two, is_worth_it
from atomsync.store.progress import Progress
from atomsync.store.removal import remove_tree
from atomsync.tree.entry import DIR, FILE, Entry, is_closed
from atomsync.tree.path import shown


class Staged(NamedTuple):
    """The evidence for one path: where it lies in the slots, as what it was wanted, its digest, and
    the slot its content was spooled to, if a caller wrote it."""

    location: str
    wanted: Entry
    digest: str = ""
    spool: str = ""


class Spooled(NamedTuple):
    """Content a caller wrote into the stage ahead of the plan: its slot's name and digest."""

    slot: str
    digest: str


class Linked(NamedTuple):
    """Content that is an existing file of the destination, to be reached by a second name."""

    path: str


Content = Spooled | Linked


class Stage:
    """The stage of one unit; made empty. ``slots`` is the descriptor of its slots directory."""

    def __init__(self, control: Control) -> None:
        self.control, self.disk = control, control.disk
        disk = self.disk
        self.unit = self.slots = -1
        for name in (HISTORY, RETIRED):  # durable with B1: neither may be missing when the unit goes there
            with control.opened(name, make=True):
                pass
        disk.mkdir(control.fd, UNIT)
        try:
            self.unit = disk.open_dir(control.fd, UNIT)
            disk.mkdir(self.unit, SLOTS)
            self.slots = disk.open_dir(self.unit, SLOTS)
            for fd in (self.unit, self.slots):
                disk.set_meta(fd, -1, -1, 0o700, None)
        except BaseException:
            self._close_descriptors()
            with contextlib.suppress(OSError):
                remove_tree(disk, control.fd, UNIT)
            raise
        self.cursor = Cursor(disk, self.slots)
        self.staged: dict[str, Staged] = {}
        self.bytes_staged = 0
        self._slots_made = 0
        self._slot_of: dict[str, str] = {}

    def new_slot(self) -> str:
        self._slots_made += 1
        return str(self._slots_made - 1)

    def stage(
        self,
        plan: Plan,
        source: Source | None,
        contents: Mapping[str, Content],
        progress: Progress,
    ) -> tuple[Plan, list[str]]:
        """Bring the slots in step with ``plan``; returns it with its slots, and the unstable paths.

        Unstable are the source paths that were not as the plan says: gone, grown, replaced. They are
        not staged. Raises DigestMismatch, NoSpace, AccessError, DiskError, Interrupted.
        """
        steps = tuple(self._with_slot(step, contents) for step in plan.steps)
        wanted = dict(_locations(steps))
        for have in self.staged.values():
            if is_closed(have.wanted):  # it has its mode already, but may have to change once more
                self.disk.set_meta_at(*self.cursor.split(have.location), -1, -1, 0o700, None)
        self._drop_unwanted(wanted, contents)
        dirs: list[tuple[str, Entry]] = []
        jobs: list[Job] = []
        unstable: list[str] = []
        for path, (location, entry) in wanted.items():
            if entry.kind == DIR:
                if path not in self.staged:
                    self._make(self.disk.mkdir, location, path)
                dirs.append((location, entry))
                self.staged[path] = Staged(location, entry)
            elif path in self.staged:
                continue
            elif (content := contents.get(path)) is not None:
                self.staged[path] = self._from_content(path, location, entry, content)
            elif entry.kind == FILE:
                jobs.append(Job(path, location, entry))
            else:
                self._symlink(location, path, entry)
                self.staged[path] = Staged(location, entry)
        unstable += self._copy(jobs, source, progress)
        for location, entry in reversed(dirs):
            fd = self.cursor.at(location)
            self.disk.set_meta(fd, entry.uid, entry.gid, entry.mode, entry.mtime_ns)
        return Plan(steps, plan.parents), unstable

    def digest_of(self, path: str) -> str:
        found = self.staged.get(path)
        return found.digest if found else ""

    def forget(self, path: str) -> None:
        """Let the next ``stage`` copy this file again."""
        found = self.staged.pop(path, None)
        if found is not None:
            self.disk.unlink(*self.cursor.split(found.location))

    def discard(self) -> None:
        """Forget the unit: nothing of it was visible."""
        self.close()
        retire_as_waste(self.control, UNIT)

    def close(self) -> None:
        self.cursor.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in (self.slots, self.unit):
            if fd != -1:
                self.disk.close(fd)
        self.slots = self.unit = -1

    # -- the parts of stage()
    def _with_slot(self, step: Step, contents: Mapping[str, Content]) -> Step:
        if step.kind == META:
            return step
        content = contents.get(step.path)
        if isinstance(content, Spooled):
            return step._replace(slot=content.slot)
        if step.path not in self._slot_of:
            self._slot_of[step.path] = self.new_slot()
        return step._replace(slot=self._slot_of[step.path])

    def _drop_unwanted(
        self, wanted: Mapping[str, tuple[str, Entry]], contents: Mapping[str, Content]
    ) -> None:
        """What no longer fits goes; but a caller's content that is wanted elsewhere, or with other
        attributes, only goes back to its own slot: there is no second copy of it."""
        spools = {content.slot for content in contents.values() if isinstance(content, Spooled)}
        for path in sorted(self.staged, reverse=True):
            have = self.staged[path]
            want = wanted.get(path)
            if want is not None and _still_fits(have, *want):
                continue
            self.cursor.at("")  # do not stand in what is about to go
            parent, name = self.cursor.split(have.location)
            if have.spool not in spools:
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

    def _symlink(self, location: str, path: str, entry: Entry) -> None:
        self._make(lambda at, name: self.disk.symlink(entry.target, at, name), location, path)
        parent, name = self.cursor.split(location)
        self.disk.set_meta_at(parent, name, entry.uid, entry.gid, None, entry.mtime_ns)

    def _from_content(self, path: str, location: str, entry: Entry, content: Content) -> Staged:
        if isinstance(content, Linked):
            link_file(self.control.tree, content.path, self.cursor, location)
            return Staged(location, entry, entry.digest)
        if location != content.slot:
            parent, name = self.cursor.split(location)
            self.disk.replace(self.slots, content.slot, parent, name)
        parent, name = self.cursor.split(location)
        self.disk.set_meta_at(parent, name, entry.uid, entry.gid, entry.mode, entry.mtime_ns)
        return Staged(location, entry, content.digest, content.slot)

    def _copy(self, jobs: list[Job], source: Source | None, progress: Progress) -> list[str]:
        if not jobs:
            return []
        assert source is not None, "a plan with files needs the source they come from"
        unstable = []
        if is_worth_it(jobs, source, self.cursor):
            outcomes = copy_in_two(jobs, source, self.cursor, self.control.lock_fd, progress)
        else:
            outcomes = self._copy_here(jobs, source, progress)
        for job, digest in outcomes:
            if digest is None:
                unstable.append(job.path)
            else:
                self.staged[job.path] = Staged(job.location, job.entry, digest)
                self.bytes_staged += job.entry.size
        return unstable

    def _copy_here(self, jobs: list[Job], source: Source, progress: Progress) -> Iterator[Outcome]:
        for job in jobs:
            progress.check()
            yield job, copy_file(source, self.cursor, job, progress)
            progress.advance(1)


def _still_fits(have: Staged, location: str, entry: Entry) -> bool:
    if have.location != location:
        return False
    return entry == have.wanted or entry.kind == DIR == have.wanted.kind


def _locations(steps: Iterable[Step]) -> Iterable[tuple[str, tuple[str, Entry]]]:
    """``(path, (location in the slots, entry))`` of all that enters, parents before children."""
    for step in steps:
        if step.kind in (META, REMOVE) or step.new is None:
            continue
        yield step.path, (step.slot, step.new)
        skip = len(step.path)
        for path, entry in step.inside:
            yield path, (step.slot + path[skip:], entry)


def retire_as_waste(control: Control, name: str) -> None:
    """Move ``name`` out of its meaning by one rename, then delete it piece by piece."""
    try:
        with control.opened(RETIRED, make=True) as retired:
            taken = {found for found, _ in control.disk.scandir(retired)}
            waste = next(found for number in count() if (found := f"{number}-{name}") not in taken)
            control.disk.replace(control.fd, name, retired, waste)
            remove_tree(control.disk, retired, waste)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _delete_in_place(control, name)


def _delete_in_place(control: Control, name: str) -> None:
    """On a disk too full for a rename. Without its journal, durably, a unit means nothing any more."""
    with control.opened(name) as unit:
        if control.has(name, JOURNAL):
            control.disk.unlink(unit, JOURNAL)
            control.disk.fsync(unit)
    remove_tree(control.disk, control.fd, name)
