"""``UnitOfWork``: changes to a store that become visible together or not at all."""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import NamedTuple

from atomsync.errors import SourceUnstable, UsageError, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.plan.change import Change
from atomsync.plan.plan import normal_form
from atomsync.store.commit import Receipt
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.progress import Progress
from atomsync.store.staging import Content, Linked, Spooled
from atomsync.store.store import Session, Store
from atomsync.tree.entry import DIR, FILE, LINK, Entry, look
from atomsync.tree.path import joined, parent_of, parse, shown
from atomsync.tree.scan import subtree
from atomsync.unit.books import Books
from atomsync.unit.spool import SpoolWriter
from atomsync.unit.state import CHANGE, COMMIT, FAILED, FLUSH, PENDING, ROLLBACK, after
from atomsync.unit.view import View

Path = str | os.PathLike[str]
_PUT_TRIES = 3


class StagedFile(NamedTuple):
    """The evidence ``flush`` returns for a file: what lies in the stage, hashed and read back."""

    path: str
    digest: str
    size: int


class UnitOfWork:
    """One batch of changes to a ``Store``. Not for several threads at once.

    As a context manager it commits on a clean exit and rolls back on an exception. The store's lock
    is taken at the first verb and given back by ``commit`` or ``rollback``. Paths are relative to the
    store; verbs raise UsageError for paths that leave it, StoreLocked, and what ``errors`` lists.

    >>> with UnitOfWork(open_store("site")) as unit:            # doctest: +SKIP
    ...     unit.write("index.html", b"<p>hello")
    ...     unit.remove("old.html")
    """

    def __init__(
        self,
        store: Store,
        *,
        source: Source | None = None,
        message: str = "",
        progress: Progress | None = None,
    ) -> None:
        """``source``: where files registered without content are copied from, by the same path."""
        self.store, self.source, self.message = store, source, message
        self.unstable: tuple[str, ...] = ()
        self.checked_ns: int | None = None
        self._progress = progress
        self._books = Books()
        self._view = View(self._books, lambda: self.session.control)
        self._state = PENDING
        self._flushed = False
        self._open = contextlib.ExitStack()
        self._session: Session | None = None

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
    def session(self) -> Session:
        """This unit's turn at the store; taken when first needed."""
        if self._session is None:
            self._session = self._open.enter_context(self.store.session(self._progress))
        return self._session

    # -- verbs
    def write(self, path: Path, data: bytes, *, mode: int | None = None) -> None:
        """Let ``path`` be a file of these bytes; ``mode`` defaults to the present file's, or 0644."""
        with self.open(path, mode=mode) as file:
            file.write(data)

    @contextlib.contextmanager
    def open(self, path: Path, *, mode: int | None = None):  # type: ignore[no-untyped-def]
        """A binary file to write; it becomes pending when the ``with`` block ends without an exception."""
        self._changing()
        name = self._view.parent_checked(parse(path))
        stage = self.session.stage
        writer = SpoolWriter(stage, name)
        try:
            yield writer
            digest, size = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        self._record_file(name, self._view.fresh(name, FILE, mode, size), Spooled(writer.slot, digest))

    def put(self, path: Path, source_file: Path) -> None:
        """Copy a file from anywhere, verified, with its mode and mtime; SourceUnstable if it won't rest."""
        self._changing()
        name = self._view.parent_checked(parse(path))
        where, base = os.path.split(os.path.abspath(os.fspath(source_file)))
        stage = self.session.stage
        disk = self.store.disk
        try:
            parent = disk.open_root(where)
        except OSError as error:
            raise from_oserror(error, f"cannot read {shown(os.fspath(source_file))}") from None
        try:
            for _ in range(_PUT_TRIES):
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
                    self._record_file(name, wanted, Spooled(slot, digest))
                    return
        finally:
            disk.close(parent)
        raise SourceUnstable(
            f"cannot put {shown(os.fspath(source_file))}", "it keeps changing while it is copied"
        )

    def mkdir(self, path: Path, *, mode: int = 0o755, parents: bool = False) -> None:
        """Make a directory. With ``parents`` missing ones are made too, and an existing one is no error."""
        self._changing()
        name = parse(path)
        if parents:
            above = parent_of(name)
            if above and self._view.entry(above) is None:
                self.mkdir(above, parents=True)
        self._view.parent_checked(name)
        present = self._view.entry(name)
        if present is not None and present.kind == DIR and parents:
            return
        if present is not None:
            raise UsageError(f"cannot make {shown(name)}", f"a {present.kind} is there already")
        self._books.record(Change(name, self._view.base(name), self._view.fresh(name, DIR, mode, 0)))

    def symlink(self, path: Path, target: Path) -> None:
        """Let ``path`` be a symbolic link with this text, taken as it is."""
        self._changing()
        name = self._view.parent_checked(parse(path))
        entry = self._view.fresh(name, LINK, 0o777, 0)._replace(target=os.fspath(target))
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), entry))

    def remove(self, path: Path) -> None:
        """Remove a file, a link, or a directory with all that is in it."""
        self._changing()
        name = parse(path)
        if self._view.entry(name) is None:
            raise UsageError(f"cannot remove {shown(name)}", "there is nothing")
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), None))

    def move(self, path: Path, to: Path) -> None:
        """Rename; no byte is copied. What is at ``to`` is replaced, unless it is a directory."""
        self._changing()
        name, target = parse(path), self._view.parent_checked(parse(to))
        if target == name or target.startswith(name + "/"):
            raise UsageError(f"cannot move {shown(name)}", "it cannot go into itself")
        entry, there = self._view.entry(name), self._view.entry(target)
        if entry is None:
            raise UsageError(f"cannot move {shown(name)}", "there is nothing")
        if there is not None and DIR in (entry.kind, there.kind):
            raise UsageError(f"cannot move {shown(name)} to {shown(target)}", f"a {there.kind} is there")
        self._move(name, entry, target)
        self.remove(name)

    def chmod(self, path: Path, mode: int) -> None:
        """Change the permission bits of a file or directory."""
        self._changing()
        name = parse(path)
        entry = self._view.entry(name)
        if entry is None or entry.kind not in (FILE, DIR):
            raise UsageError(f"cannot chmod {shown(name)}", "there is no file or directory")
        content = self._books.contents.get(name)
        if isinstance(content, Linked):  # the inode is shared with the old name: it needs its own
            content = self._copied(content.path)
        pending = self._books.changes.get(name)
        if pending is None and entry.kind == FILE and self._has_other_names(name):
            content = self._copied(name)
        staged = content is not None or (pending is not None and pending.content)
        self._books.record(
            Change(name, self._view.base(name), entry._replace(mode=mode & 0o7777), content=staged), content
        )

    def register(self, change: Change, content: Content | None = None) -> None:
        """The low word beneath the verbs: put a change in the books as it is. Its path must be parsed,
        the directory above it known; without ``content`` that comes from this unit's ``source``."""
        self._books.changes[change.path] = change
        if content is not None:
            self._books.contents[change.path] = content
        self._flushed = False

    def expunge_all(self) -> None:
        """Forget what is pending. What was staged stays until the next flush, which reuses what fits."""
        self._changing()
        self._books.clear()

    # -- life
    def flush(self) -> tuple[StagedFile, ...]:
        """Stage and verify what is pending; nothing is visible yet. Returns the evidence.

        ``unstable`` then lists source paths that changed while they were read and are not staged.
        """
        after(self._state, FLUSH)
        if not self._books.changes:
            self.session.discard()
            self._plan, self.unstable = normal_form(()), ()
            return ()
        try:
            plan = normal_form(self._books.changes.values())
            self.session.check(plan)
            self._plan, unstable = self.session.flush(plan, self.source, self._books.contents)
        except BaseException:
            self._state = FAILED
            raise
        self.unstable = tuple(unstable)
        self._flushed = not unstable
        staged = self.session.stage.staged
        return tuple(
            StagedFile(path, found.digest, found.wanted.size)
            for path, found in staged.items()
            if found.wanted.kind == FILE
        )

    def commit(self) -> Receipt:
        """Flush, seal, and make all of it visible. With nothing pending nothing is written."""
        state = after(self._state, COMMIT)
        if not self._flushed:
            self.flush()
        if not self._plan:
            receipt = Receipt("", 0, 0, 0, 0, 0.0, "exchange", self.store.options.durability)
        else:
            try:
                if self.unstable:
                    raise SourceUnstable(
                        "cannot commit", f"{shown(self.unstable[0])} changed while it was staged"
                    )
                sealed = self.session.seal(self._plan, checked_ns=self.checked_ns, message=self.message)
                receipt = self.session.commit(sealed)
            except BaseException:
                self._state = FAILED
                raise
        self._state = state
        self._open.close()
        self._session = None
        return receipt

    def rollback(self) -> None:
        """Forget everything; the destination never saw it. Harmless when nothing is pending."""
        self._state = after(self._state, ROLLBACK)
        self._books.clear()
        self._session = None
        self._open.close()

    def __enter__(self) -> UnitOfWork:
        after(self._state, CHANGE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is not None:
            self.rollback()
        elif self._state == PENDING:
            try:
                self.commit()
            except BaseException:
                self.rollback()
                raise

    # -- below the verbs
    def _changing(self) -> None:
        self._state = after(self._state, CHANGE)
        self._flushed = False

    def _record_file(self, path: str, entry: Entry, content: Spooled | Linked) -> None:
        self._clear(path)
        self._books.record(Change(path, self._view.base(path), entry), content)

    def _clear(self, path: str) -> None:
        """Whatever is at or below ``path`` goes: pending content from the stage, members from the books."""
        old = self._view.base(path)
        below = list(self._books.below(path))
        for name in [*below, path]:
            content = self._books.contents.get(name)
            if isinstance(content, Spooled) and name not in self.session.stage.staged:
                self.session.stage.disk.unlink(self.session.stage.slots, content.slot)
            if name in below:
                self._books.record(Change(name, None, None))
        if old is not None and old.kind == DIR:
            for name, entry in subtree(self.session.control.tree, path):
                self._books.record(Change(name, entry, None))

    def _move(self, path: str, entry: Entry, to: str) -> None:
        if entry.kind == DIR:
            self._books.record(Change(to, self._view.base(to), entry._replace(ino=0)))
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
            self._books.contents.pop(path, None)
        self._books.record(Change(to, self._view.base(to), entry), content)

    def _has_other_names(self, path: str) -> bool:
        """Whether a file of the destination is hard-linked elsewhere: then it must not change in place."""
        with Cursor(self.store.disk, self.session.control.root) as cursor:
            return self.store.disk.lstat(*cursor.split(path)).st_nlink > 1

    def _copied(self, path: str) -> Spooled:
        """A copy of a file of the destination, in the stage: the same content with an inode of its own."""
        stage = self.session.stage
        slot = stage.new_slot()
        with Cursor(self.store.disk, self.session.control.root) as cursor:
            source = Source(self.store.disk, self.session.control.root, cursor)
            present = look(self.store.disk, *cursor.split(path))
            digest = present and copy_file(
                source, stage.cursor, Job(path, slot, present), self.session.progress
            )
        if not digest:
            raise SourceUnstable(f"cannot change {shown(path)}", "it changed while it was copied")
        return Spooled(slot, digest)
