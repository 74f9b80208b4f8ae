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
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from atomsync.errors import (
    AtomSyncError,
    JournalError,
    RootError,
    RootReplaced,
    StoreLocked,
    UsageError,
    from_oserror,
    reported,
)
from atomsync.fs.disk import Disk
from atomsync.fs.mounts import mounts_below
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir
from atomsync.plan.guards import bytes_entering, bytes_in, check_mounts, check_names, check_space
from atomsync.plan.plan import Plan
from atomsync.plan.step import Step
from atomsync.store import commit as committing
from atomsync.store.access import open_control
from atomsync.store.barrier import FULL
from atomsync.store.commit import Receipt
from atomsync.store.control import CONFLICTS, HISTORY, JOURNAL, PENDING, PREPARED, UNIT, Control
from atomsync.store.copying import Source
from atomsync.store.history import prune, read_journal, retire_to_history, units
from atomsync.store.journal import Header
from atomsync.store.manifest import Manifest
from atomsync.store.prepared import (
    PreparedUnit,
    Resolver,
    check_not_held,
    commit_prepared,
    discard_prepared,
    prepared_units,
)
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, Recovery, recover
from atomsync.store.seal import READBACK, SealedUnit, seal
from atomsync.store.staging import NO_LOCKS, Content, Stage, has_abandoned
from atomsync.store.unit_id import is_unit_id, time_of_unit, unit_id_at
from atomsync.tree.path import shown

T = TypeVar("T")
KEEP_UNITS = 5
RESTING, COMMITTED, ROLLED_BACK, FORGOTTEN = "resting", "committed", "rolled back", "forgotten"
_PAUSE_S, _PAUSE_MAX_S = 0.001, 0.05
_BEING_STAGED = "a unit that was still being staged; recovery will discard it"
_TRIES = 100  # to open a destination that others make and, for want of a unit, unmake at the same time


class Options(NamedTuple):
    """``durability``: "full" survives a power cut, "none" only a killed process. ``verify``:
    "readback" compares what the filesystem gives back, "media" asks the medium itself. ``keep``: how
    many finished units stay in the history. ``state_dir``: another place for the control directory.
    ``timeout_s``: how long to wait for another's lock, in seconds. ``resolver`` decides about prepared units
    whose process is gone."""

    durability: str = FULL
    verify: str = READBACK
    keep: int = KEEP_UNITS
    state_dir: str | None = None
    timeout_s: float = 0.0
    resolver: Resolver | None = None


class UnitSummary(NamedTuple):
    """A finished unit, as ``status`` shows it."""

    unit_id: str
    made_ns: int
    created: int
    updated: int
    removed: int


class Status(NamedTuple):
    """``last`` is the newest finished unit; ``unfinished`` says what is left of a crash, "" if nothing;
    ``holder`` names who has the lock, "" if nobody; ``conflicts`` are units that left foreign objects;
    ``prepared`` are those that rest."""

    exists: bool
    last: UnitSummary | None
    unfinished: str
    holder: str
    conflicts: tuple[str, ...]
    prepared: tuple[PreparedUnit, ...] = ()


class BaseStore:
    """``path`` need not exist yet; its parent must. Cheap to make, holds nothing open, may be shared."""

    def __init__(self, path: str, options: Options | None = None, disk: Disk | None = None) -> None:
        self.path, self.options = path, options or Options()
        self.disk: Disk = disk or PosixDisk()

    # -- what is asked of the system, not of the disk: a simulated store answers for itself
    def is_there(self) -> bool:
        """Whether the destination is a directory."""
        return is_dir(self.path)

    def mounts(self) -> Collection[str]:
        """The mount points below the destination, by relative path."""
        return mounts_below(self.path)

    def _make_root(self) -> bool:
        try:
            os.mkdir(self.path, 0o777)
            return True
        except FileExistsError:
            if not self.is_there():
                raise RootError(f"cannot use {shown(self.path)}", "it is not a directory") from None
            return False
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
        made = False
        for left in reversed(range(_TRIES)):
            made = self._make_root() or made
            session = None
            try:
                session = Session(
                    self, self._opened(until, exclusive=exclusive), progress or Progress(), made
                )
                if exclusive or _needs_lock(session.control):
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

    def _opened(self, until: float, *, exclusive: bool) -> Control:
        """The open store, with the destination locked if it was made, or is to be ``exclusive``."""
        where = self.disk, self.path, self.options.state_dir
        control = None if exclusive else open_control(*where, make=False)
        if control is None:
            control = waiting(until, lambda: open_control(*where))
        assert control is not None
        return control

    def recover(self) -> Recovery:
        """Finish or undo what a crash left, and say which."""
        if not self.is_there():
            raise RootError(f"cannot recover {shown(self.path)}", "it is not a directory")
        control = self._existing()
        if control is None:
            return Recovery(CLEAN)
        try:
            waiting(time.monotonic() + self.options.timeout_s, control.lock)
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
        return self.status().prepared if self.is_there() else ()

    def commit_prepared(self, unit_id: str) -> Receipt:
        """Make a prepared unit visible. Of one that is committed already its receipt comes again.

        Raises UsageError if there is no such unit; InDoubt if it stopped half way: recovery goes on.
        """
        with self._deciding(unit_id, "commit") as session:
            if unit_id in session.control.names(PREPARED):
                return session.commit_prepared(unit_id)
            journal = read_journal(session.control, HISTORY, unit_id)
            return session.receipt(journal.header, journal.steps, 0.0)

    def coordinators(self) -> frozenset[str]:
        """Of the prepared units that are committed, as far as the history goes. Only looks."""
        control = self._existing()
        if control is None:
            return frozenset()
        found = set()
        try:
            for unit_id in units(control):
                with contextlib.suppress(JournalError, FileNotFoundError):
                    found.add(read_journal(control, HISTORY, unit_id).header.coordinator or "")
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()
        return frozenset(found - {""})

    def rollback_prepared(self, unit_id: str) -> None:
        """Forget a prepared unit; nothing of it was ever visible. Raises UsageError if there is none."""
        with self._deciding(unit_id, "roll back") as session:
            if unit_id not in session.control.names(PREPARED):
                raise UsageError(f"cannot roll back unit {unit_id}", "it was committed")
            discard_prepared(session.control, unit_id, durability=self.options.durability)

    def fate(self, unit_id: str) -> str:
        """What became of a unit that was prepared: RESTING, COMMITTED or ROLLED_BACK; FORGOTTEN if it is so
        old that the history cannot tell any more. Only looks."""
        control = self._existing()
        if control is None:
            return FORGOTTEN
        try:
            known = units(control)
            if unit_id in control.names(PREPARED):
                return RESTING
            if unit_id in known or unit_id == _unit_at_hand(control):
                return COMMITTED
            nothing_given_up = not known and self.options.keep > 0
            return ROLLED_BACK if nothing_given_up or (known and unit_id > known[0]) else FORGOTTEN
        finally:
            control.close()

    @contextlib.contextmanager
    def _deciding(self, unit_id: str, verb: str) -> Iterator[Session]:
        control = self._existing() if is_unit_id(unit_id) and self.is_there() else None
        if control is not None:
            session = Session(self, control, Progress(), False)
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

    def status(self) -> Status:
        """How the store stands. Changes nothing, takes no lock for longer than a look."""
        if not self.is_there():
            raise RootError(f"cannot show {shown(self.path)}", "it is not a directory")
        control = self._existing()
        if control is None:
            return Status(False, None, "", "", ())
        try:
            control.claim(make=False)
            holder = control.holder()
            unfinished = "" if holder else _unfinished(control)
            if unfinished:  # or has somebody begun a commit since we asked?
                holder = control.holder()
            return Status(
                True,
                _summary(control),
                "" if holder else unfinished,
                holder,
                tuple(control.names(CONFLICTS)),
                tuple(prepared_units(control)),
            )
        except OSError as error:
            raise from_oserror(error, f"cannot show {shown(self.path)}") from None
        finally:
            control.close()

    def _existing(self) -> Control | None:
        try:
            return open_control(self.disk, self.path, self.options.state_dir, make=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_oserror(error, f"cannot open {shown(self.path)}") from None


class Session:
    """A unit's visit to a store. ``recovery`` says what was found, ``control.tree`` reads the destination."""

    def __init__(self, store: BaseStore, control: Control, progress: Progress, made_root: bool) -> None:
        self.store, self.control, self.progress = store, control, progress
        self.recovery = Recovery(CLEAN)
        self.committed = False
        self._news = False
        self._made_root = made_root
        self._manifest: Manifest | None = None
        self._stage: Stage | None = None

    def lock(self, until: float, *, but: str = "") -> None:
        """The store is ours alone, and recovered. Raises StoreLocked if it cannot be had ``until`` then,
        RootReplaced if it is not where it was."""
        try:
            self.take(until, but=but)
        except FileNotFoundError as error:
            why = error.strerror or str(error)
            raise RootReplaced(f"cannot use {shown(self.store.path)} any more", why) from None
        except OSError as error:
            raise from_oserror(error, f"cannot use {shown(self.store.path)}") from None

    def take(self, until: float, *, but: str = "") -> None:
        """``lock``, but what the system refuses comes as it is: what is being made may be tried again."""
        waiting(until, self.control.lock)
        try:
            self.control.claim(make=True)
            self.recovery = recover(self.control, self.store.options.resolver, but=but)
            self._news = True
        except BaseException:
            self.control.unlock()
            raise

    def begin(self, until: float) -> None:
        """Go on without the lock. The stage is made now: from here on nobody takes the store away."""
        if self.control.locked:
            with self.control.opened(PENDING, make=True):
                pass
        self.unlock()
        try:
            self._stage = Stage(self.control)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.take(until)  # who could tell whose stage it is?

    def unlock(self) -> None:
        """Others may have the store; listeners, too, so only now they are told what was recovered."""
        self.control.unlock()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, False
        if news and (self.recovery.action != CLEAN or self.recovery.settled):
            try:
                self.store.recovered(self.recovery)
            except Exception as error:  # none of this unit's business
                warnings.warn(f"a listener to recovery failed: {error!r}", RuntimeWarning, stacklevel=2)

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
        with reported(f"cannot use {shown(self.store.path)}"):
            space = self.store.disk.space(self.control.root)
        check_names(plan.steps, space.name_max)
        if self._stage is None or self._stage.is_empty:  # what is staged already has its space
            check_space(plan.steps, space)
        check_mounts(plan.steps, self.store.mounts())

    def flush(
        self, plan: Plan, source: Source | None, contents: Mapping[str, Content], kept: Collection[str]
    ) -> tuple[Plan, list[str]]:
        """Stage and verify; see ``Stage.stage``."""
        self.progress.phase("stage", *bytes_entering(plan.steps))
        try:
            return self.stage.stage(plan, source, contents, kept, self.progress)
        except OSError as error:
            raise from_oserror(error, f"cannot stage in {shown(self.store.path)}") from None

    def seal(
        self,
        plan: Plan,
        *,
        checked_ns: int | None = None,
        message: str = "",
        coordinator: str | None = None,
    ) -> SealedUnit:
        """See ``seal.seal``. ``checked_ns``: when the sources were last seen unchanged. With a
        ``coordinator`` the unit then rests as prepared. Needs the lock."""
        self.progress.phase("seal")
        now = time.time_ns()
        checked = now if checked_ns is None else checked_ns
        header = Header(self._new_id(now), now, checked, message, coordinator=coordinator)
        options = self.store.options
        try:
            check_not_held(self.control, plan.steps)
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
        warnings = self._retire(sealed)
        found = self.receipt(sealed.header, sealed.steps, window_ms, warnings)
        return found._replace(bytes=stage.bytes_staged, swap_class=swap_class)

    def commit_prepared(self, unit_id: str) -> Receipt:
        """See ``prepared.commit_prepared``. Needs the lock."""
        durability = self.store.options.durability
        conflicts, window_ms, journal = commit_prepared(self.control, unit_id, durability=durability)
        warnings = [str(conflict) for conflict in conflicts]
        try:
            # Opened first: it follows the new unit, and those it has not seen, before any is given up.
            _ = self.manifest
            warnings += prune(self.control, self.store.options.keep)
        except Exception as error:  # whatever it is: the unit is committed
            warnings.append(f"the unit is committed, but tidying up after it failed: {error}")
        return self.receipt(journal.header, journal.steps, window_ms, warnings)

    def leave(self) -> Stage:
        """Hand over the stage of a prepared unit: for as long as it is open, it is known to be cared for."""
        stage, self._stage = self.stage, None
        stage.rest()
        self.committed = True  # the store is there to stay
        return stage

    def receipt(
        self, header: Header, steps: tuple[Step, ...], window_ms: float, warnings: Iterable[str] = ()
    ) -> Receipt:
        """Of a unit that is committed."""
        swap_class = self.control.capabilities.swap_class
        durability = self.store.options.durability
        staged = bytes_in(steps)
        return Receipt(
            header.id, *committing.counts(steps), staged, window_ms, swap_class, durability, tuple(warnings)
        )

    def reset(self, kept: Collection[str]) -> None:
        """Nothing is staged any more, but for the contents in ``kept``."""
        if self._stage is not None:
            self._stage.reset(kept)

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
        if self.committed:
            self.control.close()
            self._tell()
            return
        if not self.control.locked and (self._made_root or self.control.made_ns is not None):
            with contextlib.suppress(StoreLocked, OSError):  # then a trace stays; it does no harm
                self.control.lock()
        self.control.unmake(root=self._made_root)
        self._tell()

    def let_go(self) -> None:
        """In a child of the process whose session it is: let go of it without a word to anybody."""
        if self._stage is not None:
            self._stage.let_go()
        self.control.let_go()

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
        known = sorted([*units(self.control), *self.control.names(PREPARED)])
        while True:
            found = unit_id_at(now_ns)
            if not known or found > known[-1]:
                return found
            now_ns = max(now_ns, time_of_unit(known[-1])) + 1_000_000


def waiting(until: float, verb: Callable[[], T]) -> T:
    """``verb``, tried again while another has the lock, until ``time.monotonic()`` says ``until``."""
    pause_s = _PAUSE_S
    while True:
        try:
            return verb()
        except StoreLocked:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise
            time.sleep(min(left_s, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _unit_at_hand(control: Control) -> str:
    """The id of the unit whose commit was begun, "" if none was."""
    try:
        return read_journal(control, UNIT).header.id
    except (FileNotFoundError, JournalError):
        return ""


def _needs_lock(control: Control) -> bool:
    """Whether something is visible, or decided, that may not stay so; or something is to be made."""
    if control.state_dir is not None or not control.has(PENDING):
        return True
    return control.has(UNIT, JOURNAL) or bool(control.names(PREPARED))


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
        return _BEING_STAGED if has_abandoned(control) else ""
    try:
        journal = read_journal(control, UNIT)
    except FileNotFoundError:
        return _BEING_STAGED
    except JournalError as error:
        return f"a unit whose journal cannot be trusted: {error.why}"
    if journal.committed:
        return f"unit {journal.header.id}, committed; recovery will clean up"
    if journal.header.coordinator is not None:
        return f"unit {journal.header.id}, prepared and decided; recovery will finish its commit"
    return f"unit {journal.header.id}, cut during its commit; recovery will roll it back"
