"""A folder of a graft from the source to its place in a slot.

The hottest loop of a first push, run here and in a second process. It does for each file what
``copying.copy_file`` does, but for one thing: that the source did not change during the copy is left to the
look that follows when everything is staged (``packing.moved``), by the same inode, size and ctime. So grafts
are staged only for who takes that look. What is not plain is left to ``copy_file``.
"""

from __future__ import annotations

import contextlib
from time import perf_counter_ns

import xxhash

from atomsync.errors import AtomSyncError, cannot_stage
from atomsync.fs.cursor import Cursor
from atomsync.fs.meter import METER
from atomsync.store.blocks import CHUNK_BYTES, mismatch
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.progress import Progress
from atomsync.tree.entry import DIR, FILE
from atomsync.tree.graft import LARGE_BYTES, NO_DIGEST, Folder, Record, entry_of_record
from atomsync.tree.path import joined, shown

_BLOCK = 4096
_FORMAT, _FILE = 0o170000, 0o100000
_TOLD_NAMES = 64  # how often a signal is asked for
_PASSABLE = 0o500  # what its owner needs to come to what is below a directory


def plant(
    source: Source, slots: Cursor, path: str, location: str, records: list[Record], progress: Progress
) -> tuple[bytes, list[str]]:
    """Stage ``records`` of directory ``path`` at ``location``, which is made if it is not there yet.

    Returns the digests (see ``Folder``) and the names of files that are not as they were read. Large files
    are left out. Raises what ``copy_file`` raises.
    """
    bed = _Bed(source, slots, path, location, empty=not records)
    digests: list[bytes] = []
    unstable: list[str] = []
    copied = 0
    for record in records:
        digest = NO_DIGEST
        kind, size = record[1], record[3]
        if kind != FILE:
            bed.make(record)
        elif size <= LARGE_BYTES:
            found = bed.copy(record) if size <= CHUNK_BYTES else None
            if found is None:
                name = record[0]
                job = Job(joined(path, name), joined(location, name), entry_of_record(record))
                found = bytes.fromhex(copy_file(source, slots, job, progress) or "")
                copied -= size  # it told of them
            if found:
                digest = found
            else:
                unstable.append(record[0])
            copied += size
        digests.append(digest)
        if not len(digests) % _TOLD_NAMES:
            progress.check()
    progress.advance(0, copied)
    return b"".join(digests), unstable


def uproot(slots: Cursor, location: str, records: list[Record]) -> None:
    """Take away what a ``plant`` that did not come to its end may have left."""
    with contextlib.suppress(FileNotFoundError):
        at = slots.at(location)
        slots.disk.set_meta(at, -1, -1, 0o700, None)  # it may have its mode already
        for record in records:
            if record[1] != DIR:
                with contextlib.suppress(FileNotFoundError):
                    slots.disk.unlink(at, record[0])


def is_passable(folder: Folder) -> bool:
    """Whether its owner can go through it when it has its mode."""
    return folder.mode & _PASSABLE == _PASSABLE


def finish(slots: Cursor, location: str, folder: Folder) -> None:
    """Give a directory what it shall have: nothing is made in it any more."""
    slots.disk.set_meta(slots.at(location), folder.uid, folder.gid, folder.mode, folder.mtime_ns)


class _Bed:
    """An open directory of the source, and the one in the slots that becomes its like."""

    def __init__(self, source: Source, slots: Cursor, path: str, location: str, *, empty: bool) -> None:
        self.path, self.disk, self.target = path, source.disk, slots.disk
        try:
            self.at = _made(slots, location)
        except OSError as error:
            raise cannot_stage(error, f"cannot stage {shown(path)}", path) from None
        try:
            self.origin = -1 if empty else source.cursor.at(path)  # it may be one that is not to be entered
        except OSError:
            self.origin = -1  # then no file in it can be opened, and ``copy_file`` says why
        # What a file that is made here belongs to: that needs no call to be set.
        self.given: tuple[int, int] | None = None
        self.made: set[str] = set()  # names that were seen here

    def copy(self, record: Record) -> bytes | None:
        """The digest; b"" if the file is not as it was read; None if it is not plain, or cannot be had."""
        name, _, mode, size, mtime_ns, uid, gid, _, ino, _, ctime_ns = record
        disk = self.disk
        try:
            reading = disk.open_file(self.origin, name)
        except OSError:
            return None
        try:
            found = disk.fstat(reading)
            if (
                found.st_ino != ino
                or found.st_ctime_ns != ctime_ns
                or found.st_size != size
                or found.st_mode & _FORMAT != _FILE
            ):
                return b""
            if found.st_blocks * 512 + _BLOCK <= size:
                return None  # it has holes
            data = disk.pread(reading, size + 1, 0)
        except OSError:
            return None
        finally:
            disk.close(reading)
        if len(data) != size:
            return b""
        try:
            self._write(name, data, mode, mtime_ns, uid, gid)
        except OSError as error:
            raise self._failed(error, name) from None
        return xxhash.xxh3_128_digest(data)

    def _write(self, name: str, data: bytes, mode: int, mtime_ns: int, uid: int, gid: int) -> None:
        target, whole = self.target, False
        writing = target.create(self.at, name)
        try:
            if data:
                target.write(writing, data, 0)
            began = perf_counter_ns()
            if target.pread(writing, len(data) + 1, 0) != data:
                raise mismatch(joined(self.path, name))
            METER.readback_ns += perf_counter_ns() - began
            if self.given is None:
                found = target.fstat(writing)
                self.given = found.st_uid, found.st_gid
            if self.given == (uid, gid):
                uid = gid = -1
            target.set_meta(writing, uid, gid, mode, mtime_ns)
            whole = True
        finally:
            target.close(writing)
            if not whole:
                target.unlink(self.at, name)

    def make(self, record: Record) -> None:
        """A directory, which another task may have made, or a symbolic link."""
        name, kind, _, _, mtime_ns, uid, gid, link, *_ = record
        try:
            if kind == DIR:
                try:
                    self.target.mkdir(self.at, name)
                except FileExistsError:
                    if not self._is_made(name):
                        raise
            else:
                self.target.symlink(link, self.at, name)
                self.target.set_meta_at(self.at, name, uid, gid, None, mtime_ns)
        except OSError as error:
            raise self._failed(error, name) from None

    def _is_made(self, name: str) -> bool:
        """Whether a directory is there by this very name, not by another that the filesystem takes for it."""
        if name not in self.made:
            self.made = {found for found, _ in self.target.scandir(self.at)}
        return name in self.made

    def _failed(self, error: OSError, name: str) -> AtomSyncError:
        path = joined(self.path, name)
        return cannot_stage(error, f"cannot stage {shown(path)}", path)


def _made(slots: Cursor, location: str) -> int:
    """The descriptor of a directory in the slots; of those above it many may not be there yet either."""
    missing: list[str] = []
    while True:
        try:
            at = slots.at(location)
            break
        except FileNotFoundError:
            location, _, name = location.rpartition("/")
            missing.append(name)
    for name in reversed(missing):
        with contextlib.suppress(FileExistsError):
            slots.disk.mkdir(at, name)
        location = joined(location, name)
        at = slots.at(location)
    return at
