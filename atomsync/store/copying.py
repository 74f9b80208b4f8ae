"""One file from the source to its slot: copied, read back, and known not to have changed meanwhile.

The hottest loop there is: flat on purpose, one system call for each thing that must be known. The
bytes are hashed as they are read; what the destination's filesystem gives back is compared with
what was read, byte for byte; the source's size, mtime, ctime and inode must be the same before and
after.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from atomsync.errors import cannot_stage, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk, Stat
from atomsync.fs.meter import METER
from atomsync.store.blocks import (
    CHUNK_BYTES,
    NO_CLONES,
    copy,
    fill,
    hash_clone,
    is_sparse,
    mismatch,
)
from atomsync.store.dressing import dress
from atomsync.store.progress import Progress
from atomsync.tree.entry import Entry, entry_of
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from atomsync.fs.second import Second
    from atomsync.fs.second_main import Context

# What the source's own changes look like to an open(2) or lstat(2) that follows a scan.
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EISDIR, errno.ENXIO}


class Source:
    """A tree staged files come from: a root, and the cursor that walks it. ``clones``: nothing has shown yet
    that its files cannot share blocks with those in the slots."""

    def __init__(self, disk: Disk, root: int, cursor: Cursor | None = None) -> None:
        self.disk, self.root = disk, root
        self.cursor = cursor or Cursor(disk, root)
        self.clones = True
        self._second: Second | None = None
        self._has_asked = False

    def second(self, target: Disk) -> Second | None:
        """The second process (``fs.second``) of the unit that this tree is for, if there is one to work on it
        and ``target``. Started when first asked for, which should be for what is worth its start; it lives
        until ``close``."""
        if not self._has_asked:
            from atomsync.fs.second import second_process

            self._has_asked = True
            self._second = second_process(self.disk, target)
        return self._second if self._second is not None and self._second.alive else None

    def close(self) -> None:
        """Let go of the cursor's descriptors and of the second process; the root stays open."""
        self.cursor.close()
        if self._second is not None:
            self._second.close()

    def clone(self, reading: int, target: Disk, writing: int) -> bool:
        """Let the slot ``writing`` share blocks of ``reading``. False, and an empty slot, if it cannot."""
        try:
            target.clone(writing, reading)
            return True
        except OSError as error:  # whatever it is, a copy will meet it too
            if error.errno in NO_CLONES:
                self.clones = False
            else:
                target.truncate(writing, 0)
            return False

    def clone_path(self, path: str, target: Disk, writing: int) -> bool:
        """``clone`` of what is at ``path`` now, if that is a file that can be read."""
        try:
            reading = self.disk.open_file(*self.cursor.split(path))
        except OSError:
            return False
        try:
            return self.clone(reading, target, writing)
        finally:
            self.disk.close(reading)


def source_there(context: Context) -> Source:
    """In a second process: the tree whose root it was given as "source", for as long as it has that."""
    if "source" not in context.kept:
        cursor = context.cursor("source")
        context.kept["source"] = Source(context.disk, context.descriptors["source"], cursor)
    found: Source = context.kept["source"]
    return found


class Job(NamedTuple):
    path: str
    location: str
    entry: Entry


def copy_file(
    source: Source,
    slots: Cursor,
    job: Job,
    progress: Progress,
    former: Source | None = None,
    *,
    two: bool = False,
) -> str | None:
    """The digest of what was copied, or None if the source is not (or did not stay) as planned.

    ``former``: the tree whose version of the file may serve as a base for the new one. ``two``: a second
    thread may help with a large one.
    """
    path, location, entry = job
    disk = source.disk
    try:
        parent, name = source.cursor.split(path)
        reading = disk.open_file(parent, name)
    except OSError as error:
        if error.errno in _MOVED:
            return None
        raise from_oserror(error, f"cannot read {shown(path)}", path) from None
    try:
        found = disk.fstat(reading)
        if not _is(found, entry):
            return None
        target = slots.disk
        try:
            at, slot = slots.split(location)
            writing = target.create(at, slot)
        except OSError as error:
            raise cannot_stage(error, f"cannot stage {shown(path)}", path) from None
        whole = False
        try:
            what = disk, reading, target, writing, entry.size, path, progress
            sparse = is_sparse(found, entry.size)
            if not sparse and entry.size <= CHUNK_BYTES:
                digest = _transfer(*what)
            elif entry.size > CHUNK_BYTES and source.clones and source.clone(reading, target, writing):
                digest = hash_clone(target, writing, entry.size, progress, two=two)
            elif former is not None and former.clones and former.clone_path(path, target, writing):
                digest = fill(*what, sparse=sparse, two=two)
            elif sparse:
                digest = fill(*what, sparse=True, two=two)
            else:
                digest = copy(*what, two=two)
            if digest is not None and _is(disk.fstat(reading), entry):
                if entry.xattrs:
                    dress(target, at, slot, entry, path)
                else:
                    target.set_meta(writing, entry.uid, entry.gid, entry.mode, entry.mtime_ns)
                whole = True
        finally:
            target.close(writing)
            if not whole:
                target.unlink(at, slot)
        return digest if whole else None
    except OSError as error:
        raise cannot_stage(error, f"cannot stage {shown(path)}", path) from None
    finally:
        disk.close(reading)


def _transfer(
    disk: Disk, reading: int, target: Disk, writing: int, size: int, path: str, progress: Progress
) -> str | None:
    data = disk.pread(reading, size + 1, 0)
    if len(data) != size:
        return None
    if size:
        target.write(writing, data, 0)
    began = perf_counter_ns()
    if target.pread(writing, size + 1, 0) != data:
        raise mismatch(path)
    METER.readback_ns += perf_counter_ns() - began
    progress.advance(0, size)
    return xxhash.xxh3_128_hexdigest(data)


def digest_file(
    disk: Disk,
    fd: int,
    *,
    media: bool = False,
    check: Callable[[], None] | None = None,
    told: Callable[[int], None] | None = None,
) -> tuple[str, int]:
    """``(digest, size)`` of an open file; with ``media``, of what the medium holds, where it can be asked.
    ``check`` is called now and then, ``told`` with the number of bytes that were read; both may raise."""
    began = perf_counter_ns()
    if media:
        disk.drop_cache(fd)
    hasher = xxhash.xxh3_128()
    offset = 0
    while data := disk.pread(fd, CHUNK_BYTES, offset):
        hasher.update(data)
        offset += len(data)
        if check is not None:
            check()
        if told is not None:
            told(len(data))
    if media:
        METER.readback_ns += perf_counter_ns() - began
    return hasher.hexdigest(), offset


def digest_of(source: Source, path: str, check: Callable[[], None] | None = None) -> str:
    """The digest of a source file now; "" if there is none any more."""
    try:
        fd = source.disk.open_file(*source.cursor.split(path))
        try:
            return digest_file(source.disk, fd, check=check)[0]
        finally:
            source.disk.close(fd)
    except OSError as error:
        if error.errno in _MOVED:
            return ""
        raise from_oserror(error, f"cannot read {shown(path)}", path) from None


def is_unchanged(source: Source, path: str, entry: Entry) -> bool:
    """Whether a source path is still what was staged. Its directory listing counts for a directory."""
    try:
        if path:
            parent, name = source.cursor.split(path)
            found = source.disk.lstat(parent, name)
        else:
            found = source.disk.fstat(source.root)
    except OSError as error:
        if error.errno in _MOVED:
            return False
        raise from_oserror(error, f"cannot read {shown(path)}", path) from None
    now = entry_of(found)
    return (now.kind, now.size, now.ino, now.ctime_ns) == (entry.kind, entry.size, entry.ino, entry.ctime_ns)


def link_file(tree: Cursor, path: str, slots: Cursor, location: str) -> None:
    at, name = tree.split(path)
    to, slot = slots.split(location)
    with contextlib.suppress(FileExistsError):
        tree.disk.link(at, name, to, slot)


def _is(found: Stat, entry: Entry) -> bool:
    return (
        found.st_size == entry.size
        and found.st_ino == entry.ino
        and found.st_ctime_ns == entry.ctime_ns
        and found.st_mode & 0o170000 == 0o100000
    )
