"""Files of a unit, as Python's own file objects.

A file being written goes into the stage, hashed as it is written and read back when it is closed; it becomes
pending then, and not at all if its ``with`` block ends with an exception.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, cast

import xxhash

from atomsync.errors import AtomSyncError, DigestMismatch, UnitStateError, from_oserror
from atomsync.fs.disk import Disk
from atomsync.store.copying import digest_file
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from atomsync.store.staging import Stage

BUFFER_BYTES = 1 << 18
Done = Callable[[str, str, int], None]  # (slot, digest, size in bytes)


class SpoolWriter(io.RawIOBase):
    """Writable, not seekable: what was hashed cannot change behind the digest's back."""

    def __init__(self, stage: Stage, path: str, done: Done) -> None:
        super().__init__()
        self.path = path
        self._disk, self._stage, self._done = stage.disk, stage, done
        self.slot = stage.new_slot()
        self._hasher = xxhash.xxh3_128()
        self._size = 0
        self._failed: AtomSyncError | None = None
        self._pid = os.getpid()
        try:
            self._fd = self._disk.create(stage.slots, self.slot)
        except OSError as error:
            raise from_oserror(error, f"cannot stage {shown(path)}") from None

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        if self.closed:
            raise ValueError("write to a closed file")
        self._check()
        content = bytes(data)
        try:
            self._disk.write(self._fd, content, self._size)
        except OSError as error:
            self._failed = from_oserror(error, f"cannot stage {shown(self.path)}")
            raise self._failed from None
        self._hasher.update(content)
        self._size += len(content)
        return len(content)

    def close(self) -> None:
        """It is whole: read it back, and let it become pending."""
        if self.closed:
            return
        try:
            self._check()
            digest = self._hasher.hexdigest()
            if digest_file(self._disk, self._fd) != (digest, self._size):
                raise DigestMismatch(f"{shown(self.path)} does not read back as it was written")
            self._done(self.slot, digest, self._size)
        except BaseException as error:
            self.abandon()
            if isinstance(error, OSError):
                raise from_oserror(error, f"cannot stage {shown(self.path)}") from None
            raise
        self._disk.close(self._fd)
        super().close()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if os.getpid() != self._pid:
            raise UnitStateError(
                f"cannot write {shown(self.path)}", "its unit of work was begun in another process"
            )

    def __del__(self) -> None:
        _forgotten(self)

    def abandon(self) -> None:
        """Leave no trace."""
        if not self.closed:
            super().close()
            with contextlib.suppress(OSError):  # the next staging drops it
                self._disk.close(self._fd)
                # Not in a child of the process whose unit it is, and not behind the end of the unit.
                if os.getpid() == self._pid and self._stage.slots != -1:
                    self._disk.unlink(self._stage.slots, self.slot)


class PendingFile(io.BufferedWriter):
    """What ``UnitOfWork.open(path, "wb")`` gives."""

    def __init__(self, writer: SpoolWriter) -> None:
        super().__init__(writer, BUFFER_BYTES)

    def abandon(self) -> None:
        """Forget it; nothing becomes pending."""
        cast(SpoolWriter, self.raw).abandon()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abandon()

    def __del__(self) -> None:
        _forgotten(self)


class PendingText(io.TextIOWrapper):
    """What ``UnitOfWork.open(path, "w")`` gives: UTF-8 unless told otherwise."""

    def __init__(self, file: PendingFile, encoding: str, errors: str | None, newline: str | None) -> None:
        super().__init__(file, encoding, errors, newline)
        self._file = file
        # Python marks the beginning only of what it can seek in.
        marked = codecs.lookup(encoding).name in ("utf-16", "utf-32")
        self._mark = "".encode(encoding) if marked else b""

    def write(self, text: str, /) -> int:
        if text and self._mark:
            mark, self._mark = self._mark, b""
            self._file.write(mark)
        return super().write(text)

    def abandon(self) -> None:
        """Forget it; nothing becomes pending."""
        self._file.abandon()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abandon()

    def __del__(self) -> None:
        _forgotten(self)


def _forgotten(file: SpoolWriter | PendingFile | PendingText) -> None:
    """Nobody said that it is whole."""
    with contextlib.suppress(ValueError, AttributeError):  # it never was open
        if not file.closed:
            file.abandon()
            warnings.warn("a file of a unit of work was never closed", ResourceWarning, stacklevel=2)


class StoredFile(io.RawIOBase):
    """A file of the store, or of the stage, open for reading."""

    def __init__(self, disk: Disk, fd: int) -> None:
        super().__init__()
        self._disk, self._fd, self._at = disk, fd, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._disk.pread(self._fd, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._disk.fstat(self._fd).st_size}
        at = start[whence] + offset
        if at < 0:
            raise ValueError(f"negative position {at}")
        self._at = at
        return at

    def close(self) -> None:
        if not self.closed:
            self._disk.close(self._fd)
            super().close()
