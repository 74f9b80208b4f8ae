"""``UnitOfWork``: changes to a store that become visible together or not at all."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Concatenate, Literal, NamedTuple, ParamSpec, TextIO, TypeVar, overload

from atomsync.errors import InDoubt, SourceUnstable, UnitStateError, UsageError, from_oserror, reported
from atomsync.fs.cursor import Cursor
from atomsync.plan.change import Change
from atomsync.plan.plan import normal_form
from atomsync.store.commit import Receipt
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.prepared import PreparedUnit
from atomsync.store.progress import Progress
from atomsync.store.staging import Content, Linked, Spooled
from atomsync.store.store import BaseStore, Session
from atomsync.tree.entry import DIR, FILE, LINK, Entry, look, untouched
from atomsync.tree.path import joined, parent_of, parse, shown
from atomsync.tree.scan import subtree
from atomsync.unit import events, state
from atomsync.unit.books import Books, unwanted
from atomsync.unit.compensation import Compensations, blame, check
from atomsync.unit.expected import ABSENT, ANY, Expected, check_expected, stale
from atomsync.unit.savepoint import Savepoint
from atomsync.unit.spool import BUFFER_BYTES, PendingFile, PendingText, SpoolWriter, StoredFile
from atomsync.unit.state import CHANGE, CLOSE, COMMIT, FAILED, FLUSH, NEST, PENDING, PREPARE, READ, ROLLBACK
from atomsync.unit.turn import Turn
from atomsync.unit.view import View

Path = str | os.PathLike[str]
P = ParamSpec("P")
R = TypeVar("R")
_PUT_TRIES = 3
_FLUSHES_MAX = 100  # as long as listeners change the unit in its flush
_ENDS = {PREPARE, COMMIT, ROLLBACK, CLOSE}
_MODES = {"r", "rb", "w", "wb", "x", "xb"}


class StagedFile(NamedTuple):
    """The evidence ``flush`` returns for a file: what lies in the stage, hashed and read back."""

    path: str
    digest: str
    size: int


def _verb(
    name: str,
) -> Callable[[Callable[Concatenate[UnitOfWork, P], R]], Callable[Concatenate[UnitOfWork, P], R]]:
    """A method that is the verb ``name`` in the unit's table of life."""

    def decorate(method: Callable[Concatenate[UnitOfWork, P], R]) -> Callable[Concatenate[UnitOfWork, P], R]:
        @functools.wraps(method)
        def guarded(self: UnitOfWork, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with self._alone(name):
                return method(self, *args, **kwargs)

        return guarded

    return decorate


class UnitOfWork:
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
        progress: Progress | None = None,
        exclusive: bool = False,
        listeners: Iterable[events.Listeners] = (),
    ) -> None:
        """``source``: where files registered without content are copied from, by the same path. ``message``:
        kept with the unit in the history. ``listeners``: besides the store's own."""
        self.store, self.source, self.message = store, source, message
        self.unstable: tuple[str, ...] = ()
        self.checked_ns: int | None = None
        self._heard_by = (*([store] if isinstance(store, events.Listeners) else []), *listeners)
        self._books = Books()
        self._turn = Turn(store, progress, exclusive=exclusive)
        self._view = View(self._books, self._turn, source)
        self._state = PENDING
        self._flushed = self._in_doubt = False
        self._telling = ""  # the event listeners are being told of
        self._plan = normal_form(())
        self._prepared: PreparedUnit | None = None
        self._savepoints: list[Savepoint] = []
        self._compensations = Compensations()
        self._writers: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()
        self._forgotten = weakref.finalize(self, self._turn.abandoned)

    # -- looking
    @property
    def new(self) -> frozenset[str]:
        """Paths that will be created."""
        return self._books.new

    @property
    def dirty(self) -> frozenset[str]:
        """Paths that exist and will be changed."""
        return self._books.dirty

    @property
    def removed(self) -> frozenset[str]:
        """Paths that will be removed, those below a removed directory included."""
        return self._books.removed

    @property
    def state(self) -> str:
        """Where in its life the unit is: one of ``unit.state.STATES``."""
        return self._state

    @property
    def session(self) -> Session:
        """This unit's visit to the store; begun when first needed."""
        return self._turn.session

    @_verb(READ)
    def exists(self, path: Path) -> bool:
        """Whether anything will be at ``path``, be it a link that leads nowhere."""
        return self._view.entry(_place(path)) is not None

    @_verb(READ)
    def read(self, path: Path) -> bytes:
        """What will be in the file at ``path``. If the unit changes it later, the commit expects to find just
        this content at the destination: StaleEntry if somebody else has changed it."""
        return self._view.content(parse(path))[0]

    @_verb(READ)
    def digest(self, path: Path) -> str:
        """The digest of ``read(path)``: xxh3-128, 32 hexadecimal digits."""
        return self._view.digest(parse(path))

    @_verb(READ)
    def listdir(self, path: Path = "") -> list[str]:
        """The names that will be in a directory ("": the store's root), sorted."""
        return self._view.children(self._directory(path))

    def walk(self, path: Path = "") -> Iterator[tuple[str, list[str], list[str]]]:
        """As ``os.walk``, of what will be there: ``(path, directories, other names)``, top down. Names taken
        out of the list of directories are not gone into; links never are."""
        with self._alone(READ):
            steps = self._view.walk(self._directory(path))
        while True:
            with self._alone(READ):
                step = next(steps, None)
            if step is None:
                return
            yield step

    # -- verbs
    @_verb(CHANGE)
    def write(
        self, path: Path, data: bytes | str, *, mode: int | None = None, expected: Expected = None
    ) -> None:
        """Let ``path`` be a file with this content, text as UTF-8. ``mode`` defaults to the present file's
        permission bits, or 0644."""
        with self.open(path, "wb", permissions=mode, expected=expected) as file:
            file.write(data.encode() if isinstance(data, str) else data)

    @overload
    def open(
        self,
        path: Path,
        mode: Literal["wb", "xb"] = "wb",
        *,
        permissions: int | None = None,
        expected: Expected = None,
    ) -> PendingFile: ...
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["w", "x"],
        *,
        permissions: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        expected: Expected = None,
    ) -> PendingText: ...
    @overload
    def open(self, path: Path, mode: Literal["rb"]) -> BinaryIO: ...
    @overload
    def open(
        self,
        path: Path,
        mode: Literal["r"],
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIO: ...
    def open(
        self,
        path: Path,
        mode: str = "wb",
        *,
        permissions: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        expected: Expected = None,
    ) -> Any:
        """A file object: "wb" to write, "xb" to write what must not exist, "rb" to read what will be there;
        without the "b" as text. What is written becomes pending when the file is closed, and not at all if
        its ``with`` block ends with an exception."""
        if mode not in _MODES:
            raise UsageError(
                f"cannot open {shown(os.fspath(path))} with mode {mode!r}",
                f"the modes are {', '.join(sorted(_MODES))}",
                "To append, read what is there and write all of it.",
            )
        text = encoding or "utf-8", errors, newline
        if mode in ("r", "rb"):
            with self._alone(READ):
                raw = StoredFile(*self._view.opened(parse(path)))
            file = io.BufferedReader(raw, BUFFER_BYTES)
            return io.TextIOWrapper(file, *text) if mode == "r" else file
        pending = PendingFile(self._writer(path, permissions, ABSENT if "x" in mode else expected))
        return pending if "b" in mode else PendingText(pending, *text)

    @_verb(CHANGE)
    def put(self, path: Path, source_file: Path, *, expected: Expected = None) -> None:
        """Copy a file from anywhere, verified, with its mode and mtime; SourceUnstable if it won't rest."""
        name = self._view.parent_checked(parse(path))
        forced = self._expect(name, expected)
        where, base = os.path.split(os.path.abspath(os.fspath(source_file)))
        stage = self.session.stage
        disk = self.store.disk
        try:
            parent = disk.open_root(where)
        except OSError as error:
            raise from_oserror(error, f"cannot read {shown(os.fspath(source_file))}") from None
        try:
            for _ in range(_PUT_TRIES):
                with reported(f"cannot read {shown(os.fspath(source_file))}"):
                    entry = look(disk, parent, base)
                if entry is None or entry.kind != FILE:
                    raise UsageError(
                        f"cannot put {shown(os.fspath(source_file))}", "it is not a regular file"
                    )
                slot = stage.new_slot()
                source = Source(disk, parent)
                digest = copy_file(source, stage.cursor, Job(base, slot, entry), self.session.progress)
                if digest is not None:
                    fresh = self._view.fresh(name, FILE, entry.mode, entry.size)
                    wanted = fresh._replace(mtime_ns=entry.mtime_ns)
                    self._record_file(name, wanted, Spooled(slot, digest), forced)
                    return
        finally:
            disk.close(parent)
        raise SourceUnstable(
            f"cannot put {shown(os.fspath(source_file))}", "it keeps changing while it is copied"
        )

    @_verb(CHANGE)
    def mkdir(
        self, path: Path, *, mode: int = 0o755, parents: bool = False, expected: Expected = None
    ) -> None:
        """Make a directory. With ``parents`` missing ones are made too, and an existing one is no error."""
        name = parse(path)
        if parents:
            above = parent_of(name)
            if above and self._view.entry(above) is None:
                self.mkdir(above, parents=True)
        self._view.parent_checked(name)
        forced = self._expect(name, expected)
        present = self._view.entry(name)
        if present is not None and present.kind == DIR and (parents or forced):
            return
        if present is not None and expected is None:
            raise UsageError(f"cannot make {shown(name)}", f"a {present.kind} is there already")
        entry = self._view.fresh(name, DIR, mode, 0)
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), entry), forced=forced)

    @_verb(CHANGE)
    def symlink(self, path: Path, target: Path, *, expected: Expected = None) -> None:
        """Let ``path`` be a symbolic link with this text, taken as it is."""
        name = self._view.parent_checked(parse(path))
        forced = self._expect(name, expected)
        entry = self._view.fresh(name, LINK, 0o777, 0)._replace(target=os.fspath(target))
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), entry), forced=forced)

    @_verb(CHANGE)
    def remove(self, path: Path, *, expected: Expected = None) -> None:
        """Remove a file, a link, or a directory with all that is in it."""
        name = parse(path)
        forced = self._expect(name, expected)
        if self._view.entry(name) is None:
            raise UsageError(f"cannot remove {shown(name)}", "there is nothing")
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), None), forced=forced)

    @_verb(CHANGE)
    def move(
        self, path: Path, to: Path, *, expected: Expected = None, expected_there: Expected = None
    ) -> None:
        """Rename; no byte is copied. What is at ``to`` (see ``expected_there``) is replaced, unless it is a
        directory."""
        name, target = parse(path), self._view.parent_checked(parse(to))
        if target == name or target.startswith(name + "/"):
            raise UsageError(f"cannot move {shown(name)}", "it cannot go into itself")
        self._expect(name, expected)
        forced = self._expect(target, expected_there)
        entry, there = self._view.entry(name), self._view.entry(target)
        if entry is None:
            raise UsageError(f"cannot move {shown(name)}", "there is nothing")
        if there is not None and DIR in (entry.kind, there.kind):
            raise UsageError(f"cannot move {shown(name)} to {shown(target)}", f"a {there.kind} is there")
        self._move(name, entry, target, forced=forced)
        self.remove(name, expected=ANY if expected is ANY else None)

    @_verb(CHANGE)
    def chmod(self, path: Path, mode: int, *, expected: Expected = None) -> None:
        """Change the permission bits of a file or directory."""
        name = parse(path)
        forced = self._expect(name, expected)
        entry = self._view.entry(name)
        if entry is None or entry.kind not in (FILE, DIR):
            raise UsageError(f"cannot chmod {shown(name)}", "there is no file or directory")
        self._record_attributes(name, entry._replace(mode=mode & 0o7777), forced)

    @_verb(CHANGE)
    def utime(self, path: Path, mtime_ns: int | None = None, *, expected: Expected = None) -> None:
        """Set the time of last modification, in ns since the epoch; None is now. A link's own, not what it
        leads to."""
        name = parse(path)
        forced = self._expect(name, expected)
        entry = self._view.entry(name)
        if entry is None or entry.kind not in (FILE, DIR, LINK):
            raise UsageError(f"cannot set the time of {shown(name)}", "there is no file, directory or link")
        mtime_ns = time.time_ns() if mtime_ns is None else mtime_ns
        self._record_attributes(name, entry._replace(mtime_ns=mtime_ns), forced)

    # -- the low words beneath the verbs: paths are parsed, the directory above is known
    def register_new(self, path: str, new: Entry, content: Content | None = None) -> None:
        """``path`` is to be created; a file without ``content`` comes from this unit's ``source``."""
        self.register(Change(path, None, new), content)

    def register_dirty(
        self, path: str, old: Entry, new: Entry, content: Content | None = None, *, in_place: bool = False
    ) -> None:
        """``path`` holds ``old`` and is to become ``new``; ``in_place``: only its mode, owner or time."""
        self.register(Change(path, old, new, content=not in_place), content)

    def register_removed(self, path: str, old: Entry) -> None:
        """``path`` holds ``old`` and is to go; so must all that is below it, each registered by itself."""
        self.register(Change(path, old, None))

    @_verb(CHANGE)
    def register(self, change: Change, content: Content | None = None) -> None:
        """Put a change in the books as it is."""
        self._books.put(change.path, change, content)

    @_verb(CHANGE)
    def register_all(self, changes: Iterable[Change]) -> None:
        """``register`` for many, without content."""
        self._books.put_all(changes)

    @_verb(CHANGE)
    def expunge_all(self) -> None:
        """Forget what is pending. What was staged stays until the next flush, which reuses what fits."""
        self._books.clear()

    @_verb(CHANGE)
    def on_rollback(self, call: Callable[..., object], /, *args: object, **kwargs: object) -> None:
        """Have ``call`` called if the unit (or the savepoint it is in) is rolled back: for work outside the
        filesystem that must be taken back then. The newest first, each once; what they raise is collected."""
        self._compensations.add(functools.partial(call, *args, **kwargs) if args or kwargs else call)

    # -- life
    @_verb(FLUSH)
    def flush(self) -> tuple[StagedFile, ...]:
        """Stage and verify what is pending; nothing is visible yet. Returns the evidence.

        ``unstable`` then lists source paths that changed while they were read and are not staged.
        """
        with self._failing():
            if self._books.changes:
                self._tell(events.BEFORE_FLUSH)
            found = self._stage()
            if self._plan:
                self._tell(events.AFTER_FLUSH, found)
        return found

    @_verb(NEST)
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

    @_verb(PREPARE)
    def prepare(self, coordinator: str = "") -> PreparedUnit:
        """Seal the unit, so that only a word is missing: it survives a crash and a reboot, and rests until
        ``commit``, ``rollback``, ``store.commit_prepared(id)`` or ``store.rollback_prepared(id)``.

        Once this process is gone the store's resolver decides; without one it is presumed aborted, unless
        it names a ``coordinator``: then it rests until somebody decides. Raises UsageError if nothing is
        pending.
        """
        prepared = self._prepare_if_pending(coordinator)
        if prepared is None:
            raise UsageError("cannot prepare this unit of work", "nothing is pending")
        return prepared

    @_verb(COMMIT)
    def commit(self) -> Receipt:
        """Flush, seal, and make all of it visible. With nothing pending nothing is written.

        Raises StaleEntry if another writer changed a path first, StoreLocked if the store was not to be had
        in its timeout (then the unit is as before, and may be tried again), and what ``errors`` lists; but
        for InDoubt nothing is visible then.
        """
        if self._prepared is not None:
            receipt = self.store.commit_prepared(self._prepared.id)
        else:
            found = self._carry_out(COMMIT)
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

    @_verb(ROLLBACK)
    def rollback(self) -> None:
        """Forget everything; the destination never saw it. Harmless when nothing is pending.

        Then what was registered with ``on_rollback`` is called; raises CompensationFailed if that fails.
        """
        if self._state in (state.COMMITTED, state.ROLLED_BACK):
            return
        if self._prepared is not None:
            self.store.rollback_prepared(self._prepared.id)
        self._rolled_back()

    @_verb(CLOSE)
    def close(self) -> None:
        """Let go: what is not committed is rolled back; what is prepared rests."""
        if self._state in (PENDING, FAILED):
            self.rollback()
        elif self._prepared is not None and self._state == state.PREPARED:
            self._turn.end()
            if self.store.fate(self._prepared.id) == state.ROLLED_BACK:
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
    def _alone(self, verb: str) -> Iterator[None]:
        """One thread at a time, in the process that began, and if the state allows it."""
        self._turn.check_process()
        if not self._turn.busy.acquire(blocking=False):
            raise UnitStateError(
                f"cannot {verb} this unit of work", "another thread is using it", "Use one unit a thread."
            )
        try:
            state.after(self._state, verb)
            if self._telling and (verb in _ENDS or (verb == FLUSH and self._telling != events.BEFORE_COMMIT)):
                why = f"its {self._telling} listeners are being told"
                raise UnitStateError(
                    f"cannot {verb} this unit of work", why, "Raise an exception to stop it."
                )
            if verb == CHANGE:
                self._flushed = False
            opened = self._turn.opened
            if opened is not None and not opened.control.locked:
                opened.control.tree.close()  # others commit meanwhile: it may stand where nothing is any more
            yield
        finally:
            self._turn.busy.release()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What raises in here leaves the unit, or the savepoint it is in, in need of a rollback."""
        try:
            yield
        except BaseException as error:
            self._state = FAILED
            self._in_doubt = isinstance(error, InDoubt)
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

    def _stage(self) -> tuple[StagedFile, ...]:
        self.unstable = ()
        if not self._books.changes:
            if self._turn.opened is not None:
                self._turn.opened.reset(self._kept())
            self._plan, self._flushed = normal_form(()), True
            return ()
        plan = normal_form(self._books.changes.values())
        self.session.check(plan)
        self._plan, unstable = self.session.flush(plan, self.source, self._books.contents, self._kept())
        self.unstable = tuple(unstable)
        self._flushed = not unstable
        return tuple(
            StagedFile(path, found.digest, found.wanted.size)
            for path, found in self.session.stage.staged.items()
            if found.wanted.kind == FILE
        )

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
        before = self._kept()
        self._end_savepoints()
        self._drop(before)
        for _ in range(_FLUSHES_MAX):
            if self._flushed or self.unstable:
                break
            self.flush()
        else:
            with self._failing():
                raise UnitStateError(f"cannot {verb} this unit of work", "its listeners keep changing it")
        if not self._plan:
            return None
        if self.unstable:
            with self._failing():
                raise SourceUnstable(
                    "cannot commit", f"{shown(self.unstable[0])} changed while it was staged"
                )
        with self._turn.locked() as session, self._failing():
            if self._rebase():
                self._stage()
                if not self._plan:
                    return None
            sealed = session.seal(
                self._plan, checked_ns=self.checked_ns, message=self.message, coordinator=coordinator
            )
            if coordinator is None:
                return session.commit(sealed)
            self._turn.rest()
            return PreparedUnit.of(sealed.header, sealed.steps, live=True)

    def _end_savepoints(self) -> None:
        for savepoint in self._savepoints:
            savepoint.is_active = False
            self._books.release()
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

    @_verb(PREPARE)
    def _prepare_if_pending(self, coordinator: str) -> PreparedUnit | None:
        """``prepare``, or None if there is nothing to be decided about."""
        sealed = self._carry_out(PREPARE, coordinator)
        if isinstance(sealed, PreparedUnit):
            self._prepared, self._state = sealed, state.PREPARED
        return self._prepared

    # -- savepoints
    def _release(self, savepoint: Savepoint) -> None:
        with self._alone(COMMIT):
            self._end_down_to(savepoint)
            before = self._books.slots
            self._books.release()
            self._drop(before)

    def _roll_back_to(self, savepoint: Savepoint) -> None:
        with self._alone(ROLLBACK):
            self._end_down_to(savepoint)
            before = self._books.slots
            self._books.roll_back(savepoint.mark)
            self._flushed = False
            try:
                if self._state == FAILED:  # and what it left in the stage is anybody's guess
                    self.session.stage.reset(self._kept())
                else:
                    self._drop(before)
            except OSError as error:
                raise from_oserror(error, "cannot roll back to a savepoint") from None
            finally:
                errors = self._compensations.run(savepoint.compensations)
            self._state = PENDING
            check(errors)

    def _end_down_to(self, savepoint: Savepoint) -> None:
        """Those inside it end with it; their changes are its own by now."""
        while True:
            inner = self._savepoints.pop()
            inner.is_active = False
            if inner is savepoint:
                return
            self._books.release()

    def _drop(self, before: frozenset[str]) -> None:
        """Delete the contents that were wanted ``before`` and are not any more."""
        gone = unwanted(before, self._kept())
        if gone:
            self.session.stage.drop(gone)

    # -- the parts of verbs
    def _directory(self, path: Path) -> str:
        name = _place(path)
        entry = self._view.entry(name)
        if entry is None or entry.kind != DIR:
            why = "there is nothing" if entry is None else f"it is a {entry.kind}"
            raise UsageError(f"cannot list {shown(name)}", why)
        return name

    def _expect(self, path: str, expected: Expected) -> bool:
        """Compare, for the swap to come; whether anything at all may be there."""
        if expected is not None and expected is not ANY:
            found = self._view.entry(path)
            is_file = found is not None and found.kind == FILE and expected is not ABSENT
            check_expected(path, expected, found, self._view.digest(path) if is_file else "")
        return expected is ANY

    @_verb(CHANGE)
    def _writer(self, path: Path, permissions: int | None, expected: Expected) -> SpoolWriter:
        name = self._view.parent_checked(parse(path))
        forced = self._expect(name, expected)
        self._view.see(name)

        def done(slot: str, digest: str, size: int) -> None:
            with self._alone(CHANGE):
                self._view.parent_checked(name)
                entry = self._view.fresh(name, FILE, permissions, size)
                self._record_file(name, entry, Spooled(slot, digest), forced)

        writer = SpoolWriter(self.session.stage, name, done)
        self._writers.add(writer)
        return writer

    def _record_file(self, path: str, entry: Entry, content: Spooled | Linked, forced: bool) -> None:
        self._clear(path)
        self._books.record(Change(path, self._view.base(path), entry), content, forced=forced)

    def _record_attributes(self, path: str, entry: Entry, forced: bool) -> None:
        """``entry`` is what is at ``path`` with another mode or time. If that takes a copy, it must be of
        what the commit finds there."""
        content = self._books.contents.get(path)
        if isinstance(content, Linked):  # the inode is shared with the old name: it needs its own
            content = self._copied(content.path)
        pending = self._books.changes.get(path)
        if pending is None and entry.kind == FILE and self._has_other_names(path):
            content = self._copied(path)
        staged = content is not None or (pending is not None and pending.content)
        if entry.kind == LINK:
            staged = True  # a link's time is set where it is made
        forced = forced and content is None
        self._books.record(Change(path, self._view.base(path), entry, content=staged), content, forced=forced)

    def _clear(self, path: str) -> None:
        """Whatever is at or below ``path`` goes: pending content from the stage, members from the books."""
        old = self._view.base(path)
        below = list(self._books.below(path))
        slots = [self._books.contents[name] for name in [*below, path] if name in self._books.contents]
        for name in below:
            self._books.record(Change(name, None, None))
        if old is not None and old.kind == DIR:
            with reported(f"cannot list {shown(path)}"):
                for name, entry in subtree(self.session.control.tree, path):
                    self._books.record(Change(name, self._books.seen.get(name) or entry, None))
        if slots and not self._books.is_nested:
            self.session.stage.drop([content.slot for content in slots if isinstance(content, Spooled)])

    def _move(self, path: str, entry: Entry, to: str, *, forced: bool = False) -> None:
        if entry.kind == DIR:
            self._books.record(Change(to, self._view.base(to), entry._replace(ino=0)), forced=forced)
            for name in self._view.children(path):
                child = self._view.entry(joined(path, name))
                if child is not None:
                    self._move(joined(path, name), child, joined(to, name))
            return
        self._clear(to)
        content = self._books.contents.get(path)
        if entry.kind == FILE and content is None:
            # Only mode or times are pending for it: they must not reach the inode it has now.
            content = self._copied(path) if path in self._books.changes else Linked(path)
        if isinstance(content, Spooled):
            self._books.put(path, self._books.changes.get(path))  # it is not the old name's any more
        self._books.record(Change(to, self._view.base(to), entry), content, forced=forced)

    def _rebase(self) -> bool:
        """Where whatever is there may go: take that for what the unit found. Whether there was any such."""
        books, tree = self._books, self.session.control.tree
        forced = sorted(books.forced)
        for path in forced:
            change, now = books.changes.get(path), self._view.look(path)
            if change is None:
                continue
            old, new = change.old, change.new
            if now is not None and now.kind == DIR:
                if old is None and new is not None and new.kind == DIR:
                    books.put(path, None)  # what is in it stays, as it would had it been there already
                    continue
            elif old == now or (old and now and untouched(old, now)):
                continue
            if old is not None and not change.content:
                books.put(path, self._with_attributes(change, now))
                continue
            ours = {name: books.changes[name].new for name in books.below(path)}
            books.put(path, (now or change.new) and change._replace(old=now), books.contents.get(path))
            with reported(f"cannot list {shown(path)}"):
                theirs = dict(subtree(tree, path)) if now is not None and now.kind == DIR else {}
            for name in {**ours, **theirs}:
                old, new = theirs.get(name), ours.get(name)
                books.put(name, (old or new) and Change(name, old, new), books.contents.get(name))
        return bool(forced)

    def _with_attributes(self, change: Change, now: Entry | None) -> Change:
        """``change``, of mode or time, for what is there now."""
        old, new = change.old, change.new
        assert old is not None
        assert new is not None
        if now is None or now.kind != old.kind or (now.kind == FILE and self._has_other_names(change.path)):
            raise stale(change.path, "its mode or time was to change, but it is gone, or not what it was")
        wanted = {field: value for field, value in new._asdict().items() if value != getattr(old, field)}
        return change._replace(old=now, new=now._replace(**wanted))

    def _has_other_names(self, path: str) -> bool:
        """Whether a file of the destination is hard-linked elsewhere: then it must not change in place."""
        with (
            reported(f"cannot look at {shown(path)}"),
            Cursor(self.store.disk, self.session.control.root) as cursor,
        ):
            return bool(self.store.disk.lstat(*cursor.split(path)).st_nlink > 1)

    def _copied(self, path: str) -> Spooled:
        """A copy of a file of the destination, in the stage: the same content with an inode of its own."""
        stage = self.session.stage
        slot = stage.new_slot()
        with (
            reported(f"cannot copy {shown(path)}"),
            Cursor(self.store.disk, self.session.control.root) as cursor,
        ):
            source = Source(self.store.disk, self.session.control.root, cursor)
            present = look(self.store.disk, *cursor.split(path))
            digest = present and copy_file(
                source, stage.cursor, Job(path, slot, present), self.session.progress
            )
        if not digest:
            raise SourceUnstable(f"cannot change {shown(path)}", "it changed while it was copied")
        return Spooled(slot, digest)


def _place(path: Path) -> str:
    """A path that may be the store's root: "" or "."."""
    return "" if os.fspath(path) in ("", ".") else parse(path)
