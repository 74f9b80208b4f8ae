"""A destination as the object that changes only by whole units (SQLAlchemy's Engine, for a directory).

``BaseStore`` checks nothing and opens nothing before it is used; ``unit`` gives it its units. A ``Session``
is one unit's visit: it has recovered what a crash left, stages as many may at once, and takes the store's
lock for the time of a commit, or from its start. This is the high door: whoever offers these verbs can be
driven by ``unit`` and ``sync``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from atomsync.errors import RootError, UsageError, from_oserror, reported
from atomsync.fs.disk import Disk
from atomsync.fs.mounts import mount_of, mounts_below
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir, no_dir
from atomsync.store.access import open_control
from atomsync.store.commit import Receipt
from atomsync.store.control import HISTORY, JOURNAL, MAKING, MANIFEST, PENDING, PREPARED, UNIT, Control
from atomsync.store.history import read_journal, units
from atomsync.store.kept import check_read, journals
from atomsync.store.lock import waiting
from atomsync.store.options import Options
from atomsync.store.prepared import Held, PreparedUnit, check_prepared, discard_prepared, some_are_undecided
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, DISCARDED, STAGED, Recovery, recover
from atomsync.store.retention import Collected, Usage, prune, usage
from atomsync.store.session import Session
from atomsync.store.unit_id import is_unit_id
from atomsync.tree.path import place_beside, shown

if TYPE_CHECKING:
    from atomsync.store.sibling import Opened
    from atomsync.store.status import Status
    from atomsync.store.telling import PastChange, PastUnit

_TRIES = 100  # to open a destination that others make and, for want of a unit, unmake at the same time


class BaseStore:
    """``path`` need not exist yet; its parent must. Cheap to make, holds nothing open, may be shared."""

    def __init__(self, path: str, options: Options | None = None, disk: Disk | None = None) -> None:
        self.path, self.options = path, options or Options()
        self.disk: Disk = disk or PosixDisk()
        self.held: dict[str, Held] = {}  # what was read of prepared units, which never change
        self.usage: dict[str, Usage] = {}  # what units of the history were found to occupy

    # -- what is asked of the system, not of the disk: a simulated store answers for itself
    def is_there(self) -> bool:
        """Whether the destination is a directory."""
        return is_dir(self.path)

    def mounts(self) -> Collection[str]:
        """The mount points below the destination, by relative path."""
        return mounts_below(self.path)

    def copies_for_a_link(self) -> bool:
        """Whether an old file may be copied, to be another inode, because it gets one more name: an overlay
        does that with what lies in its lower layers."""
        try:
            mount = mount_of(self.path)
        except OSError:
            return False
        return mount is not None and mount.fs_type == "overlay"

    def _make_root(self) -> bool:
        try:
            os.mkdir(self.path, 0o777)
            return True
        except FileExistsError:
            if self.is_there():
                return False
            if not os.path.lexists(self.path):  # somebody else, who had made it, has just unmade it
                return self._make_root()
            raise RootError(f"cannot use {shown(self.path)}", "it is not a directory") from None
        except (FileNotFoundError, NotADirectoryError):
            why = "the directory above it does not exist"
            raise RootError(f"cannot make {shown(self.path)}", why, "Make that one first.") from None
        except OSError as error:
            raise from_oserror(error, f"cannot make {shown(self.path)}") from None

    # -- visits
    def recovered(self, found: Recovery) -> None:
        """Called whenever recovery has done something. For those who build on this class."""

    @contextlib.contextmanager
    def session(self, progress: Progress | None = None) -> Iterator[Session]:
        """The store, locked and recovered. Raises StoreLocked, JournalError, ControlUntrusted, RootError."""
        session = self.visit(progress, exclusive=True)
        try:
            yield session
        finally:
            session.close()

    def visit(self, progress: Progress | None = None, *, exclusive: bool = False) -> Session:
        """A session, to be closed by the caller; ``exclusive``: locked from now on. Raises as ``session``."""
        until = time.monotonic() + self.options.timeout_s
        session = self._visit_sibling(until, progress, exclusive=exclusive)
        if session is not None:
            return session
        made = False
        for left in reversed(range(_TRIES)):
            made = self._make_root() or made
            session = None
            try:
                control = self._opened(until, exclusive=exclusive)
                session = Session(self, control, progress or Progress(), made, exclusive)
                if exclusive or _needs_lock(session.control) or self._some_are_undecided(session.control):
                    session.take(until)
                if not exclusive:
                    session.begin(until)
                return session
            except BaseException as error:
                if isinstance(error, FileNotFoundError) and left:
                    if session is not None:
                        session.control.close()
                    continue
                if session is not None:
                    session.close()
                elif made and self.options.state_dir is None:
                    with contextlib.suppress(OSError):  # not empty: then another is using it
                        os.rmdir(self.path)
                if isinstance(error, OSError):
                    raise from_oserror(error, f"cannot use {shown(self.path)}") from None
                raise
        raise AssertionError("the last try returns or raises")

    def _visit_sibling(self, until: float, progress: Progress | None, *, exclusive: bool) -> Session | None:
        """A session in what will be the destination; None if it is to be made in its place."""
        beside = self._beside(until, make=exclusive)
        if beside is None or beside.control is None:
            return None
        session = Session(self, beside.control, progress or Progress(), False, True, beside.sibling)
        try:
            session.take(until)
        except BaseException as error:
            session.close()
            if isinstance(error, OSError):
                raise from_oserror(error, f"cannot use {shown(self.path)}") from None
            raise
        if beside.removed:
            session.recovery = Recovery(DISCARDED, "", STAGED)
        return session

    def _beside(self, until: float, *, make: bool) -> Opened | None:
        """See ``open_sibling``; mostly it is neither there nor needed."""
        with reported(f"cannot use {shown(self.path)}"):
            needed = make and self.options.state_dir is None and not self.is_there()
        if not needed and not os.path.lexists(place_beside(self.path)):
            return None
        from atomsync.store.sibling import open_sibling

        return open_sibling(self.disk, self.path, until, make=needed)

    def _opened(self, until: float, *, exclusive: bool) -> Control:
        """The open store, with the destination locked if it was made, or is to be ``exclusive``."""
        where = self.disk, self.path, self.options.state_dir
        control = None if exclusive else open_control(*where, make=False)
        if control is None:
            control = waiting(until, lambda: open_control(*where), patient=exclusive)
        assert control is not None
        return control

    def recover(self) -> Recovery:
        """Finish or undo what a crash left, and say which."""
        until = time.monotonic() + self.options.timeout_s
        beside = self._beside(until, make=False)
        control = self._existing()
        if control is None:
            return Recovery(DISCARDED, "", STAGED) if beside and beside.removed else Recovery(CLEAN)
        try:
            waiting(until, control.lock)
            control.claim(make=False)
            found = recover(control, self.options.resolver)
        except FileNotFoundError:  # whoever made the store has just unmade it
            return Recovery(CLEAN)
        except OSError as error:
            raise from_oserror(error, f"cannot recover {shown(self.path)}") from None
        finally:
            control.close()
        if found.action != CLEAN or found.settled:
            self.recovered(found)
        return found

    def prepared(self) -> tuple[PreparedUnit, ...]:
        """The units that rest until somebody decides about them, oldest first. Only looks."""
        return self.status().prepared

    def has_units(self) -> bool:
        """Whether a unit was ever committed here. Only looks."""
        control = self._existing()
        if control is None:
            return False
        try:
            return bool(units(control)) or control.has(MANIFEST)
        except OSError as error:
            raise from_oserror(error, f"cannot look at {shown(self.path)}") from None
        finally:
            control.close()

    def commit_prepared(self, unit_id: str) -> Receipt:
        """Make a prepared unit visible. Of one that is committed already its receipt comes again.

        Raises UsageError if there is no such unit; InDoubt if it stopped half way: recovery goes on.
        """
        with self._deciding(unit_id, "commit") as session:
            if unit_id in session.control.names(PREPARED):
                return session.commit_prepared(unit_id)
            journal = read_journal(session.control, HISTORY, unit_id)
            kept = map(str, session.recovery.conflicts)  # if it was recovery that has just committed it
            return session.receipt(journal.header, journal.steps, 0.0, kept)

    def coordinators(self) -> frozenset[str]:
        """Of the prepared units that are committed, as far as the history goes. Only looks."""
        from atomsync.store.status import coordinators_of

        control = self._existing()
        if control is None:
            return frozenset()
        try:
            return coordinators_of(control)
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()

    def rollback_prepared(self, unit_id: str) -> None:
        """Forget a prepared unit; nothing of it was ever visible. Raises UsageError if there is none."""
        with self._deciding(unit_id, "roll back") as session:
            if unit_id not in session.control.names(PREPARED):
                raise UsageError(f"cannot roll back unit {unit_id}", "it was committed")
            check_prepared(session.control, unit_id)
            discard_prepared(session.control, unit_id, durability=self.options.durability)

    def fate(self, unit_id: str) -> str:
        """What became of a unit that was prepared: RESTING, COMMITTED or ROLLED_BACK; FORGOTTEN if it is so
        old that the history cannot tell any more. Only looks."""
        from atomsync.store.status import FORGOTTEN, fate_of

        control = self._existing()
        if control is None:
            return FORGOTTEN
        try:
            return fate_of(control, unit_id, self.options.keep)
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()

    @contextlib.contextmanager
    def _deciding(self, unit_id: str, verb: str) -> Iterator[Session]:
        control = self._existing() if is_unit_id(unit_id) else None
        if control is not None:
            session = Session(self, control, Progress(), False, False)
            try:
                session.lock(time.monotonic() + self.options.timeout_s, but=unit_id)
                if unit_id in [*control.names(PREPARED), *units(control)]:
                    yield session
                    return
            except OSError as error:
                raise from_oserror(error, f"cannot {verb} unit {unit_id} in {shown(self.path)}") from None
            finally:
                session.close()
        raise UsageError(
            f"cannot {verb} unit {shown(unit_id)}",
            f"{shown(self.path)} has no prepared unit of that name; it may have been rolled back",
            "Those it has: atomsync status, or store.prepared().",
        )

    @contextlib.contextmanager
    def looking(self) -> Iterator[Control | None]:
        """The store for somebody who only looks, without its lock; None if there is none yet."""
        control = self._existing()
        try:
            if control is not None:
                control.claim(make=False)
            yield control
        except BrokenPipeError:  # no disk says so: whoever was told of it reads no more
            raise
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            if control is not None:
                control.close()

    def status(self) -> Status:
        """How the store stands. Changes nothing, takes no lock for longer than a look."""
        from atomsync.store.status import status_of

        control = self._existing()
        if control is None:
            return self._being_made()
        try:
            return status_of(control)
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()

    def _being_made(self) -> Status:
        from atomsync.store.sibling import being_made

        with reported(f"cannot show {shown(self.path)}"):
            return being_made(self.disk, self.path)

    def history(self) -> tuple[PastUnit, ...]:
        """The finished units that are kept, the last one first. Only looks."""
        from atomsync.store.telling import told

        with self.looking() as control:
            if control is None:
                return ()
            return tuple(told(control, journal, {}) for journal in reversed(journals(control)))

    @contextlib.contextmanager
    def shown(
        self, unit: str = "@", *, contents: bool = False
    ) -> Iterator[tuple[PastUnit, Iterator[PastChange]]]:
        """A finished unit, and what it changed, by path; with ``contents`` to compare. Only looks. Raises
        UsageError if there is none of that name, JournalError if its journal cannot be read."""
        from atomsync.store.naming import unit_named
        from atomsync.store.telling import changes_told, told

        with self.looking() as control:
            unit_id = unit_named(unit, units(control) if control is not None else [])
            assert control is not None
            known = journals(control)
            check_read(known, [unit_id])
            at = [journal.header.id for journal in known].index(unit_id)
            yield told(control, known[at], {}), changes_told(control, known, at, contents=contents)

    def gc(self, *, keep: int | None = None, keep_bytes: int | None = None) -> Collected:
        """Give up the units beyond these limits, those committed first, and delete what is waste anyway. With
        no limit no unit is given up."""
        if not self.is_there():
            raise RootError(f"cannot tidy up {shown(self.path)}", no_dir(self.path))
        with self.looking() as control:
            if control is None:
                return Collected((), 0, 0, ())
        with self.session() as session, reported(f"cannot tidy up {shown(self.path)}"):
            _ = session.manifest  # what it has not followed yet is not given up
            known: dict[str, Usage] = {}
            kept = units(session.control)
            count = len(kept) if keep is None else keep
            before = {unit_id: usage(session.control, unit_id, known) for unit_id in kept}
            gone, warnings = prune(session.control, count, keep_bytes, known)
            self.usage.clear()
            freed = sum(before[unit_id].bytes for unit_id in gone)
            return Collected(tuple(gone), freed, len(kept) - len(gone), tuple(warnings))

    def _some_are_undecided(self, control: Control) -> bool:
        return some_are_undecided(control, self.held, asked=self.options.resolver is not None)

    def _existing(self) -> Control | None:
        """The open store, or None if there is none yet."""
        if not self.is_there() and os.path.lexists(self.path):
            raise RootError(f"cannot use {shown(self.path)}", no_dir(self.path))
        try:
            return open_control(self.disk, self.path, self.options.state_dir, make=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_oserror(error, f"cannot open {shown(self.path)}") from None


def _needs_lock(control: Control) -> bool:
    """Whether something is visible, or decided, that may not stay so; or something is to be made."""
    if control.state_dir is not None or not control.has(PENDING):
        return True
    return control.has(UNIT, JOURNAL) or control.has(MAKING)
