"""The verbs by which a unit is changed, and the low words beneath them."""

from __future__ import annotations

import io
import os
import time
import weakref
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, TextIO, overload

from atomsync.errors import SourceUnstable, UsageError, from_oserror, reported
from atomsync.fs.cursor import Cursor
from atomsync.plan.change import Change
from atomsync.store.content import Content, Linked, Spooled
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.versions import Kept
from atomsync.tree.entry import DIR, FILE, LINK, Entry, look
from atomsync.tree.graft import Graft
from atomsync.tree.path import joined, parent_of, parse, shown
from atomsync.unit.expected import ABSENT, ANY, Expected, check_expected
from atomsync.unit.guarded import verb
from atomsync.unit.looking import Looking, Path
from atomsync.unit.spool import BUFFER_BYTES, PendingFile, PendingText, SpoolWriter, StoredFile
from atomsync.unit.state import CHANGE, READ
from atomsync.unit.turn import Turn

_PUT_TRIES = 3
_MODES = {"r", "rb", "w", "wb", "x", "xb"}


class Changing(Looking):
    def __init__(self, turn: Turn, source: Source | None) -> None:
        super().__init__(turn, source)
        self._writers: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()

    @verb(CHANGE)
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

    @verb(CHANGE)
    def put(self, path: Path, source_file: Path, *, expected: Expected = None) -> None:
        """Copy a file from anywhere, verified, with its mode and mtime; SourceUnstable if it won't rest."""
        name = self._view.parent_checked(parse(path))
        forced = self._expect(name, expected)
        if "\0" in os.fspath(source_file):
            raise UsageError(f"cannot put {shown(os.fspath(source_file))}", "NUL is in no path")
        where, base = os.path.split(os.fspath(source_file))
        stage = self.session.stage
        disk = self._turn.store.disk
        try:
            parent = disk.open_root(where or ".")
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
                job = Job(base, slot, entry)
                digest = copy_file(source, stage.cursor, job, self.session.progress, two=True)
                if digest is not None:
                    fresh = self._view.fresh(name, FILE, None, entry.size, like=entry)
                    wanted = fresh._replace(mtime_ns=entry.mtime_ns)
                    self._record_file(name, wanted, Spooled(slot, digest), forced)
                    return
        finally:
            disk.close(parent)
        raise SourceUnstable(
            f"cannot put {shown(os.fspath(source_file))}", "it keeps changing while it is copied"
        )

    @verb(CHANGE)
    def mkdir(
        self, path: Path, *, mode: int = 0o755, parents: bool = False, expected: Expected = None
    ) -> None:
        """Make a directory. With ``parents`` missing ones are made too, and an existing one is no error."""
        name, mode = parse(path), _checked_mode(mode)
        forced = self._expect(name, expected)
        if parents:
            above = parent_of(name)
            if above and self._view.entry(above) is None:
                self.mkdir(above, parents=True)
        self._view.parent_checked(name)
        present = self._view.entry(name)
        if present is not None and present.kind == DIR and (parents or forced):
            return
        if present is not None and expected is None:
            raise UsageError(f"cannot make {shown(name)}", f"a {present.kind} is there already")
        entry = self._view.fresh(name, DIR, mode, 0)
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), entry), forced=forced)

    @verb(CHANGE)
    def symlink(self, path: Path, target: Path, *, expected: Expected = None) -> None:
        """Let ``path`` be a symbolic link with this text, taken as it is."""
        name = self._view.parent_checked(parse(path))
        if not os.fspath(target) or "\0" in os.fspath(target):
            raise UsageError(f"cannot make the link {shown(name)}", "its text is empty, or has a NUL in it")
        forced = self._expect(name, expected)
        entry = self._view.fresh(name, LINK, 0o777, 0)._replace(target=os.fspath(target))
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), entry), forced=forced)

    @verb(CHANGE)
    def remove(self, path: Path, *, expected: Expected = None) -> None:
        """Remove a file, a link, or a directory with all that is in it."""
        name = parse(path)
        forced = self._expect(name, expected)
        if self._view.entry(name) is None:
            raise UsageError(f"cannot remove {shown(name)}", "there is nothing")
        self._clear(name)
        self._books.record(Change(name, self._view.base(name), None), forced=forced)

    @verb(CHANGE)
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

    @verb(CHANGE)
    def chmod(self, path: Path, mode: int, *, expected: Expected = None) -> None:
        """Change the permission bits of a file or directory."""
        name = parse(path)
        forced = self._expect(name, expected)
        entry = self._view.entry(name)
        if entry is None or entry.kind not in (FILE, DIR):
            raise UsageError(f"cannot chmod {shown(name)}", "there is no file or directory")
        self._record_attributes(name, entry._replace(mode=_checked_mode(mode)), forced)

    @verb(CHANGE)
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

    @verb(CHANGE)
    def register(self, change: Change, content: Content | None = None) -> None:
        """Put a change in the books as it is. Its path may be "", the root."""
        if change.path:
            parse(change.path)
        self._books.put(change.path, change, content)

    @verb(CHANGE)
    def _register_all(
        self, changes: Iterable[Change], grafts: Mapping[str, Graft] = MappingProxyType({})
    ) -> None:
        """``register`` for many, without content, whose paths come from a scan, with all below the tops of
        the ``grafts``."""
        self._books.put_all(changes)
        self._books.grafts = dict(grafts)

    @verb(CHANGE)
    def expunge_all(self) -> None:
        """Forget what is pending. What was staged stays until the next flush, which reuses what fits."""
        self._books.clear()

    # -- the parts of verbs
    def _expect(self, path: str, expected: Expected) -> bool:
        """Compare, for the swap to come; whether anything at all may be there."""
        if expected is not None and expected is not ANY:
            found = self._view.entry(path)
            is_file = found is not None and found.kind == FILE and expected is not ABSENT
            check_expected(path, expected, found, self._view.digest(path) if is_file else "")
        return expected is ANY

    @verb(CHANGE)
    def _writer(self, path: Path, permissions: int | None, expected: Expected) -> SpoolWriter:
        name = self._view.parent_checked(parse(path))
        permissions = None if permissions is None else _checked_mode(permissions)
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
        elif isinstance(content, Kept):
            content = content._replace(linked=False)
        pending = self._books.changes.get(path)
        if pending is None and entry.kind == FILE and self._view.has_other_names(path):
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
            for name, entry in self._view.subtree(path).items():
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

    def _copied(self, path: str) -> Spooled:
        """A copy of a file of the destination, in the stage: the same content with an inode of its own."""
        stage = self.session.stage
        slot = stage.new_slot()
        with (
            reported(f"cannot copy {shown(path)}"),
            Cursor(self._turn.store.disk, self.session.control.root) as cursor,
        ):
            source = Source(self._turn.store.disk, self.session.control.root, cursor)
            present = look(self._turn.store.disk, *cursor.split(path))
            digest = present and copy_file(
                source,
                stage.cursor,
                Job(path, slot, present._replace(uid=-1, gid=-1)),  # the plan says whose it will be
                self.session.progress,
                two=True,
            )
        if not digest:
            raise SourceUnstable(f"cannot change {shown(path)}", "it changed while it was copied")
        return Spooled(slot, digest)


def _checked_mode(mode: int) -> int:
    """UsageError for what are no permission bits."""
    if not isinstance(mode, int) or not 0 <= mode <= 0o7777:
        raise UsageError(f"cannot use {mode!r} as permission bits", "they are a number from 0 to 0o7777")
    return mode
