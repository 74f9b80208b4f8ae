"""``UnitOfWork``: changes to a store that become visible together or not at all."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType, TracebackType
from typing import NamedTuple

from atomsync.errors import InDoubt, SourceUnstable, UnitStateError, UsageError, from_oserror
from atomsync.plan.changes import Changes
from atomsync.plan.plan import normal_form, put_last
from atomsync.store.about import About
from atomsync.store.commit import Receipt
from atomsync.store.copying import Source
from atomsync.store.prepared import PreparedUnit
from atomsync.store.progress import Progress
from atomsync.store.store import BaseStore
from atomsync.store.versions import Kept
from atomsync.tree.entry import FILE
from atomsync.tree.path import shown
from atomsync.unit import events, state
from atomsync.unit.changing import Changing
from atomsync.unit.compensation import Compensations, blame, check
from atomsync.unit.guarded import verb
from atomsync.unit.rebase import rebase
from atomsync.unit.savepoint import Savepoint
from atomsync.unit.sealed import Sealed
from atomsync.unit.state import CHANGE, CLOSE, COMMIT, FAILED, FLUSH, NEST, PENDING, PREPARE, ROLLBACK
from atomsync.unit.turn import Turn

_FLUSHES_MAX = 100  # as long as listeners change the unit in its flush
_TEXT_MAX_BYTES = 1 << 16
_ON_ROLLBACK = "on_rollback"


class StagedFile(NamedTuple):
    """The evidence ``flush`` returns for a file: what lies in the stage, hashed and read back."""

    path: str
    digest: str
    size: int


class UnitOfWork(Changing):
    """One batch of changes to a ``Store``. For one thread at a time, in the process that began it.

    As a context manager it only closes: what is not committed then is rolled back. ``begin()``, or
    ``store.begin()``, commits. Nothing is opened before the first verb; from then on the unit has a stage of
    its own, and the store is locked only while it commits (``exclusive``: from the first verb on). Paths are
    relative to the store; verbs raise UsageError for paths that leave it, UnitStateError in the wrong state,
    StoreLocked, and what ``errors`` lists. ``expected`` is for compare and swap: a digest, ABSENT or ANY.

    >>> with open_store("site").begin() as unit:            # doctest: +SKIP
    ...     unit.write("index.html", b"<p>hello")
    ...     unit.remove("old.html")
    """

    def __init__(
        self,
        store: BaseStore,
        *,
        source: Source | None = None,
        message: str = "",
        about: About = MappingProxyType({}),
        progress: Progress | None = None,
        exclusive: bool = False,
        listeners: Iterable[events.Listeners] = (),
        last: Callable[[str], bool] | None = None,
    ) -> None:
        """``source``: where files registered without content are copied from, by the same path. ``message``
        and ``about`` (see ``store.about``) are kept with the unit in the history; both may be set until it
        is committed. ``listeners``: besides the store's own. ``last``: of the paths that are created or
        replaced, which become visible only after all others."""
        super().__init__(Turn(store, progress, exclusive=exclusive), source)
        _check_text("message", message)
        self.store, self.source, self.message = store, source, message
        self.about = about
        self.unstable: tuple[str, ...] = ()
        self.checked_ns: int | None = None
        self._heard_by = (*([store] if isinstance(store, events.Listeners) else []), *listeners)
        self._in_doubt = self._came_through = False
        self._last, self.touched = last, ""  # ``touched``: the one path that comes behind even those
        self._plan = normal_form(())
        self._prepared: PreparedUnit | None = None
        self._savepoints: list[Savepoint] = []
        self._compensations = Compensations()
        self._forgotten = weakref.finalize(self, self._turn.abandoned)

    @verb(CHANGE)
    def on_rollback(self, call: Callable[..., object], /, *args: object, **kwargs: object) -> None:
        """Have ``call`` called if the unit (or the savepoint it is in) is rolled back: for work outside the
        filesystem that must be taken back then. The newest first, each once; what they raise is collected."""
        self._compensations.add(functools.partial(call, *args, **kwargs) if args or kwargs else call)

    # -- life
    @verb(FLUSH)
    def flush(self) -> tuple[StagedFile, ...]:
        """Stage and verify what is pending; nothing is visible yet. Returns the evidence.

        ``unstable`` then lists source paths that changed while they were read and are not staged.
        """
        self._flush_now()
        return self._evidence()

    @verb(FLUSH)
    def _flush(self) -> None:
        """``flush``, for who does not ask for the evidence: that is a value for each file."""
        self._flush_now()

    @verb(FLUSH)
    def _write_ahead(self) -> None:
        """What was flushed is likely to be committed: see ``Session.write_ahead``."""
        if self._flushed and not self._prepared:
            self.session.write_ahead(self._plan, time.time_ns())

    def _flush_now(self) -> None:
        with self._failing():
            if self._books.changes:
                self._tell(events.BEFORE_FLUSH)
            self._stage()
            if self._plan and any(kept.listeners(events.AFTER_FLUSH) for kept in self._heard_by):
                self._tell(events.AFTER_FLUSH, self._evidence())

    @verb(NEST)
    def begin_nested(self) -> Savepoint:
        """A savepoint: what is done from now on can be taken back by itself. To any depth."""
        savepoint = Savepoint(self, self._books.mark(), len(self._compensations))
        self._savepoints.append(savepoint)
        return savepoint

    @contextlib.contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """As a context manager: commits on a clean exit, rolls back on an exception."""
        with self:
            yield self
            if self._state in (PENDING, FAILED):
                self.commit()

    @verb(PREPARE)
    def prepare(self, coordinator: str = "") -> PreparedUnit:
        """Seal the unit, so that only a word is missing: it survives a crash and a reboot, and rests until
        ``commit``, ``rollback``, ``store.commit_prepared(id)`` or ``store.rollback_prepared(id)``.

        Once this process is gone the store's resolver decides; without one it is presumed aborted, unless
        it names a ``coordinator``: then it rests until somebody decides. Raises UsageError if nothing is
        pending.
        """
        _check_text("coordinator", coordinator)
        prepared = self._prepare_if_pending(coordinator)
        if prepared is None:
            raise UsageError("cannot prepare this unit of work", "nothing is pending")
        return prepared

    @verb(COMMIT)
    def commit(self) -> Receipt:
        """Flush, seal, and make all of it visible. With nothing pending nothing is written.

        Raises StaleEntry if another writer changed a path first, StoreLocked if the store was not to be had
        in its timeout (then the unit is as before, and may be tried again), and what ``errors`` lists; but
        for InDoubt nothing is visible then.
        """
        if self._prepared is not None:
            receipt = self.store.commit_prepared(self._prepared.id)
        else:
            try:
                found = self._carry_out(COMMIT)
            except BaseException:
                if self._came_through:  # interrupted while it tidied up
                    self._ended(state.COMMITTED)
                    self._compensations.forget()
                raise
            durability = self.store.options.durability
            receipt = (
                found if isinstance(found, Receipt) else Receipt("", 0, 0, 0, 0, 0.0, "exchange", durability)
            )
        self._ended(state.COMMITTED)
        self._compensations.forget()
        failed = self._told(events.AFTER_COMMIT, receipt)
        if failed:
            also = (f"the unit is committed, but a listener failed: {error!r}" for error in failed)
            receipt = receipt._replace(warnings=(*receipt.warnings, *also))
        return receipt

    @verb(ROLLBACK)
    def rollback(self) -> None:
        """Forget everything; the destination never saw it. Harmless when nothing is pending.

        Then what was registered with ``on_rollback`` is called; raises CompensationFailed if that fails.
        """
        if self._state in (state.COMMITTED, state.ROLLED_BACK):
            return
        if self._prepared is not None:
            self.store.rollback_prepared(self._prepared.id)
        self._rolled_back()

    @verb(CLOSE)
    def close(self) -> None:
        """Let go: what is not committed is rolled back; what is prepared rests."""
        if self._state in (PENDING, FAILED):
            self.rollback()
        elif self._prepared is not None and self._state == state.PREPARED:
            self._turn.end()
            from atomsync.store.status import ROLLED_BACK

            if self.store.fate(self._prepared.id) == ROLLED_BACK:
                self._rolled_back()

    def __enter__(self) -> UnitOfWork:
        with self._alone(CHANGE):
            return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with blame(error):
            self.close()

    # -- below the verbs
    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What raises in here leaves the unit, or the savepoint it is in, in need of a rollback."""
        try:
            yield
        except BaseException as error:
            self._state = FAILED
            self._in_doubt = self._in_doubt or isinstance(error, InDoubt)
            raise

    def _tell(self, event: str, *about: object) -> None:
        before, self._telling = self._telling, event
        try:
            for kept in self._heard_by:
                for listener in kept.listeners(event):
                    listener(self, *about)
        finally:
            self._telling = before

    def _told(self, event: str, *about: object) -> list[Exception]:
        """Tell everybody, whatever they raise; it is returned."""
        failed = []
        for kept in self._heard_by:
            for listener in kept.listeners(event):
                try:
                    listener(self, *about)
                except Exception as error:
                    failed.append(error)
        return failed

    def _evidence(self) -> tuple[StagedFile, ...]:
        if not self._plan:
            return ()
        return tuple(
            StagedFile(path, digest, entry.size)
            for path, _, entry, digest in self.session.stage.evidence()
            if entry.kind == FILE
        )

    def _stage(self) -> None:
        self.unstable = ()
        if not self._books.changes:
            if self._turn.opened is not None:
                self._turn.opened.reset(self._kept())
            self._plan, self._flushed = normal_form(()), True
            return
        plan = normal_form(self._books.changes.values(), self._last, self._books.grafts)
        plan = put_last(plan, self.touched)
        contents = self._books.contents.values()
        needed = {content.unit for content in contents if isinstance(content, Kept)}
        self.session.check(plan, self.source, needed)
        self._plan, unstable = self.session.flush(plan, self.source, self._books.contents, self._kept())
        self.unstable = tuple(unstable)
        self._flushed = not unstable

    def _kept(self) -> frozenset[str]:
        """The slots of contents that are wanted, may be again, or are being written."""
        return self._books.slots.union(writer.slot for writer in self._writers if not writer.closed)

    def _carry_out(self, verb: str, coordinator: str | None = None) -> Receipt | PreparedUnit | None:
        """To the commit, or to where a prepared unit rests; None if nothing is pending."""
        for writer in self._writers:
            if not writer.closed:
                raise UsageError(
                    f"cannot {verb} this unit of work", f"{shown(writer.path)} is still being written"
                )
        with self._failing():
            self._tell(events.BEFORE_COMMIT)
        for _ in range(_FLUSHES_MAX):
            if self._flushed or self.unstable:
                break
            self._flush()
        else:
            with self._failing():
                raise UnitStateError(f"cannot {verb} this unit of work", "its listeners keep changing it")
        if not self._plan:
            self._end_savepoints(drop=True)
            return None
        if self.unstable:
            with self._failing():
                raise SourceUnstable(
                    "cannot commit", f"{shown(self.unstable[0])} changed while it was staged"
                )
        with self._turn.locked() as session, self._failing():
            self._end_savepoints(drop=True)
            if rebase(self._books, self._view):
                self._stage()
                if not self._plan:
                    return None
            sealed = session.seal(
                self._plan,
                checked_ns=self.checked_ns,
                message=self.message,
                coordinator=coordinator,
                about=self.about,
            )
            shown_to = Sealed(session, sealed, Changes(self._books.changes.values(), self._books.grafts))
            try:
                self._tell(events.AFTER_SEAL, shown_to)
            finally:
                shown_to.is_over = True
            if verb == COMMIT:
                try:
                    return session.commit(sealed)
                finally:
                    self._came_through = session.committed
                    self._in_doubt = session.control.deciding and not session.committed
            self._turn.rest()
            return PreparedUnit.of(sealed.header, sealed.steps, live=True)

    def _end_savepoints(self, *, drop: bool = False) -> None:
        """What was done inside them is the unit's by now; ``drop`` what it had before and wants no more."""
        for savepoint in self._savepoints:
            savepoint.is_active = False
            gone = self._books.release()
            if drop:
                self._drop(gone)
        self._savepoints.clear()

    def _ended(self, how: str) -> None:
        self._state = how
        for writer in [*self._writers]:
            writer.abandon()
        self._end_savepoints()
        self._books.clear()
        self._turn.end()
        self._forgotten.detach()

    def _rolled_back(self) -> None:
        self._ended(state.ROLLED_BACK)
        if self._in_doubt:
            return  # perhaps recovery finds it committed
        errors = self._compensations.run()
        check([*errors, *self._told(events.AFTER_ROLLBACK)])

    @verb(PREPARE)
    def _prepare_if_pending(self, coordinator: str) -> PreparedUnit | None:
        """``prepare``, or None if there is nothing to be decided about."""
        sealed = self._carry_out(PREPARE, coordinator)
        if isinstance(sealed, PreparedUnit):
            self._prepared, self._state = sealed, state.PREPARED
        return self._prepared

    # -- savepoints
    def _release(self, savepoint: Savepoint) -> None:
        with self._alone(COMMIT):
            self._drop(self._end_down_to(savepoint) | self._books.release())

    def _roll_back_to(self, savepoint: Savepoint) -> None:
        with self._alone(ROLLBACK):
            gone = self._end_down_to(savepoint) | self._books.roll_back(savepoint.mark)
            self._flushed = False
            try:
                if self._state == FAILED:  # and what it left in the stage is anybody's guess
                    self.session.stage.reset(self._kept())
                else:
                    self._drop(gone)
            except OSError as error:
                raise from_oserror(error, "cannot roll back to a savepoint") from None
            finally:
                self._telling = _ON_ROLLBACK
                errors = self._compensations.run(savepoint.compensations)
                self._telling = ""
            self._state = PENDING
            check(errors)

    def _end_down_to(self, savepoint: Savepoint) -> set[str]:
        """Those inside it end with it; their changes are its own by now. Returns slots nobody wants."""
        gone: set[str] = set()
        while True:
            inner = self._savepoints.pop()
            inner.is_active = False
            if inner is savepoint:
                return gone
            gone |= self._books.release()

    def _drop(self, slots: set[str]) -> None:
        """Delete contents that nobody wants any more."""
        if slots:
            self.session.stage.drop(slots)


def _check_text(what: str, text: object) -> None:
    """It goes into the journal, which must be read again."""
    with contextlib.suppress(UnicodeEncodeError):
        if isinstance(text, str) and len(os.fsencode(text)) <= _TEXT_MAX_BYTES:
            return
    raise UsageError(
        f"cannot use this {what} for a unit of work", f"it is no text of at most {_TEXT_MAX_BYTES:,} bytes"
    )
