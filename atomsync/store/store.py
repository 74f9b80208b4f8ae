"""A destination as the object that changes only by whole units (SQLAlchemy's Engine, for a directory).

``open_store`` checks nothing and opens nothing yet. A ``Session`` is one process's turn at the store:
it holds the lock, has recovered what a crash left, and can run units until it is closed. This is the
high door: whoever offers these verbs can be driven by ``unit`` and ``sync``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from atomsync.errors import AtomSyncError, JournalError, RootError, from_oserror
from atomsync.fs.disk import Disk
from atomsync.fs.mounts import mounts_below
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir
from atomsync.plan.guards import bytes_entering, check_mounts, check_names, check_space
from atomsync.plan.plan import Plan
from atomsync.store import commit as committing
from atomsync.store.access import open_control
from atomsync.store.barrier import FULL
from atomsync.store.commit import Receipt
from atomsync.store.control import CONFLICTS, HISTORY, UNIT, Control
from atomsync.store.copying import Source
from atomsync.store.history import prune, read_journal, retire_to_history, units
from atomsync.store.journal import Header
from atomsync.store.manifest import Manifest
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, Recovery, recover
from atomsync.store.seal import READBACK, SealedUnit, seal
from atomsync.store.staging import Content, Stage
from atomsync.store.unit_id import time_of_unit, unit_id_at
from atomsync.tree.path import shown

KEEP_UNITS = 5
_TRIES = 100  # to open a destination that others make and, for want of a unit, unmake at the same time


class Options(NamedTuple):
    """``durability``: "full" survives a power cut, "none" only a killed process. ``verify``:
    "readback" compares what the filesystem gives back, "media" asks the medium itself. ``keep``: how
    many finished units stay in the history. ``state_dir``: another place for the control directory."""

    durability: str = FULL
    verify: str = READBACK
    keep: int = KEEP_UNITS
    state_dir: str | None = None


class UnitSummary(NamedTuple):
    """A finished unit, as ``status`` shows it."""

    unit_id: str
    made_ns: int
    created: int
    updated: int
    removed: int


class Status(NamedTuple):
    """``last`` is the newest finished unit; ``unfinished`` says what is left of a crash, "" if nothing;
    ``holder`` names who has the lock, "" if nobody; ``conflicts`` are units that left foreign objects."""

    exists: bool
    last: UnitSummary | None
    unfinished: str
    holder: str
    conflicts: tuple[str, ...]


class Store:
    """``path`` need not exist yet; its parent must. Cheap to make, holds nothing open, may be shared."""

    def __init__(self, path: str, options: Options | None = None, disk: Disk | None = None) -> None:
        self.path, self.options = path, options or Options()
        self.disk: Disk = disk or PosixDisk()

    @contextlib.contextmanager
    def session(self, progress: Progress | None = None) -> Iterator[Session]:
        """The store, locked and recovered. Raises StoreLocked, JournalError, ControlUntrusted, RootError."""
        control, made = self._locked()
        session = None
        try:
            try:
                control.claim(make=True)
                session = Session(self, control, progress or Progress(), recover(control))
            except OSError as error:
                raise from_oserror(error, f"cannot use {shown(self.path)}") from None
            yield session
        finally:
            if session is not None:
                session.close()
            if session is not None and session.committed:
                control.close()
            else:
                control.unmake(root=made)

    def _locked(self) -> tuple[Control, bool]:
        """The open store, and whether we made the destination itself."""
        made = False
        control = None
        for left in reversed(range(_TRIES)):
            made = self._make_root() or made
            try:
                control = open_control(self.disk, self.path, self.options.state_dir)
                assert control is not None
                control.lock()
                return control, made
            except BaseException as error:
                if isinstance(error, FileNotFoundError) and left:
                    if control is not None:
                        control.close()
                        control = None
                    continue
                if control is not None:
                    control.unmake(root=made)
                elif made and self.options.state_dir is None:
                    with contextlib.suppress(OSError):  # not empty: then another is using it
                        os.rmdir(self.path)
                if isinstance(error, OSError):
                    raise from_oserror(error, f"cannot use {shown(self.path)}") from None
                raise
        raise AssertionError("the last try returns or raises")

    def recover(self) -> Recovery:
        """Finish or undo what a crash left, and say which."""
        if not is_dir(self.path):
            raise RootError(f"cannot recover {shown(self.path)}", "it is not a directory")
        control = self._existing()
        if control is None:
            return Recovery(CLEAN)
        try:
            control.lock()
            control.claim(make=False)
            return recover(control)
        except OSError as error:
            raise from_oserror(error, f"cannot recover {shown(self.path)}") from None
        finally:
            control.close()

    def status(self) -> Status:
        """How the store stands. Changes nothing, takes no lock for longer than a look."""
        if not is_dir(self.path):
            raise RootError(f"cannot show {shown(self.path)}", "it is not a directory")
        control = self._existing()
        if control is None:
            return Status(False, None, "", "", ())
        try:
            control.claim(make=False)
            holder = control.holder()
            return Status(
                True,
                _summary(control),
                "" if holder else _unfinished(control),
                holder,
                tuple(control.names(CONFLICTS)),
            )
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()

    def _existing(self) -> Control | None:
        try:
            return open_control(self.disk, self.path, self.options.state_dir, make=False)
        except OSError as error:
            raise from_oserror(error, f"cannot open {shown(self.path)}") from None

    def _make_root(self) -> bool:
        try:
            os.mkdir(self.path, 0o777)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            raise from_oserror(error, f"cannot make {shown(self.path)}") from None


class Session:
    """One process's turn at a store. ``recovery`` says what it found; ``control.tree`` reads it."""

    def __init__(self, store: Store, control: Control, progress: Progress, recovery: Recovery) -> None:
        self.store, self.control, self.progress, self.recovery = store, control, progress, recovery
        self.committed = False
        self._manifest: Manifest | None = None
        self._stage: Stage | None = None

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            try:
                self._manifest = Manifest(self.control, durable=self.store.options.durability == FULL)
            except OSError as error:
                raise from_oserror(error, f"cannot use {shown(self.store.path)}") from None
        return self._manifest

    @property
    def stage(self) -> Stage:
        """The stage of the unit at hand, made when first asked for."""
        if self._stage is None:
            try:
                self._stage = Stage(self.control)
            except OSError as error:
                raise from_oserror(error, f"cannot stage in {shown(self.store.path)}") from None
        return self._stage

    def check(self, plan: Plan) -> None:
        """The guards every plan must pass, before anything is staged."""
        space = self.store.disk.space(self.control.root)
        check_names(plan.steps, space.name_max)
        if self._stage is None:  # what is staged already has its space
            check_space(plan.steps, space)
        check_mounts(plan.steps, mounts_below(self.store.path))

    def flush(
        self, plan: Plan, source: Source | None, contents: Mapping[str, Content]
    ) -> tuple[Plan, list[str]]:
        """Stage and verify; see ``Stage.stage``."""
        self.progress.phase("stage", *bytes_entering(plan.steps))
        try:
            return self.stage.stage(plan, source, contents, self.progress)
        except OSError as error:
            raise from_oserror(error, f"cannot stage in {shown(self.store.path)}") from None

    def seal(self, plan: Plan, *, checked_ns: int | None = None, message: str = "") -> SealedUnit:
        """See ``seal.seal``. ``checked_ns``: when the sources were last seen unchanged."""
        self.progress.phase("seal")
        now = time.time_ns()
        header = Header(self._new_id(now), now, now if checked_ns is None else checked_ns, message)
        options = self.store.options
        try:
            return seal(
                self.control,
                self.stage,
                plan,
                header,
                self.progress,
                durability=options.durability,
                verify=options.verify,
            )
        except OSError as error:
            raise from_oserror(error, f"cannot seal a unit in {shown(self.store.path)}") from None

    def commit(self, sealed: SealedUnit) -> Receipt:
        """See ``commit.commit``. Behind the commit point nothing fails: it becomes a warning."""
        self.progress.phase("commit")
        stage = self.stage
        self._stage = None  # whatever happens now, this stage is not for discarding any more
        try:
            swap_class, window_ms = committing.commit(self.control, stage, sealed)
        except OSError as error:
            raise from_oserror(error, f"cannot commit a unit in {shown(self.store.path)}") from None
        finally:
            stage.close()
        self.committed = True
        return Receipt(
            sealed.header.id,
            *committing.counts(sealed.steps),
            stage.bytes_staged,
            window_ms,
            swap_class,
            sealed.durability,
            tuple(self._retire(sealed)),
        )

    def discard(self) -> None:
        """Forget what was staged. The destination never saw it."""
        stage, self._stage = self._stage, None
        if stage is not None:
            try:
                stage.discard()
            except OSError as error:
                raise from_oserror(error, f"cannot tidy up in {shown(self.store.path)}") from None

    def close(self) -> None:
        with contextlib.suppress(AtomSyncError):  # what stays behind, the next session discards
            self.discard()
        if self._manifest is not None:
            self._manifest.close()

    def _retire(self, sealed: SealedUnit) -> Iterable[str]:
        """(8)"""
        try:
            manifest = self.manifest  # opened first: it would read a unit that has retired from its journal
            retire_to_history(self.control, sealed.header.id)
            manifest.apply(sealed.header, sealed.steps, self.control.capabilities.time_step_ns)
            yield from prune(self.control, self.store.options.keep)
        except Exception as error:  # whatever it is: the unit is committed
            yield f"the unit is committed, but tidying up after it failed: {error}"

    def _new_id(self, now_ns: int) -> str:
        """UTC to the millisecond: sorts by time, and is later than any unit this store knows."""
        known = units(self.control)
        while True:
            found = unit_id_at(now_ns)
            if not known or found > known[-1]:
                return found
            now_ns = max(now_ns, time_of_unit(known[-1])) + 1_000_000


def open_store(
    path: str | os.PathLike[str],
    *,
    durability: str = FULL,
    verify: str = READBACK,
    keep: int = KEEP_UNITS,
    state_dir: str | os.PathLike[str] | None = None,
    disk: Disk | None = None,
) -> Store:
    """A store on directory ``path``; see ``Options`` for the rest. Nothing is opened before it is used."""
    where = None if state_dir is None else os.fspath(state_dir)
    return Store(os.fspath(path), Options(durability, verify, keep, where), disk)


def _summary(control: Control) -> UnitSummary | None:
    for unit_id in reversed(units(control)):
        try:
            journal = read_journal(control, HISTORY, unit_id)
        except (JournalError, FileNotFoundError):
            continue
        return UnitSummary(unit_id, journal.header.made_ns, *committing.counts(journal.steps))
    return None


def _unfinished(control: Control) -> str:
    if not control.has(UNIT):
        return ""
    try:
        journal = read_journal(control, UNIT)
    except FileNotFoundError:
        return "a unit that was still being staged; recovery will discard it"
    except JournalError as error:
        return f"a unit whose journal cannot be trusted: {error.why}"
    if journal.committed:
        return f"unit {journal.header.id}, committed; recovery will clean up"
    return f"unit {journal.header.id}, cut during its commit; recovery will roll it back"
