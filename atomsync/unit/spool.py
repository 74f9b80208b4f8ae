"""A file being written into the stage by a caller: hashed as it is written, read back when it is done."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import xxhash

from atomsync.errors import DigestMismatch, from_oserror
from atomsync.store.copying import digest_file
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from atomsync.store.staging import Stage


class SpoolWriter(io.RawIOBase):
    """Writable, not seekable: what was hashed cannot change behind the digest's back."""

    def __init__(self, stage: Stage, path: str) -> None:
        super().__init__()
        self._disk, self._slots, self._path = stage.disk, stage.slots, path
        self.slot = stage.new_slot()
        self._hasher = xxhash.xxh3_128()
        self._size = 0
        try:
            self._fd = self._disk.create(self._slots, self.slot)
        except OSError as error:
            raise from_oserror(error, f"cannot stage {shown(path)}") from None

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        content = bytes(data)  # type: ignore[call-overload]
        try:
            self._disk.write(self._fd, content, self._size)
        except OSError as error:
            raise from_oserror(error, f"cannot stage {shown(self._path)}") from None
        self._hasher.update(content)
        self._size += len(content)
        return len(content)

    def finish(self) -> tuple[str, int]:
        """``(digest, size)``, after the filesystem gave back what was written."""
        digest = self._hasher.hexdigest()
        found = digest_file(self._disk, self._fd)
        self._disk.close(self._fd)
        super().close()
        if found != (digest, self._size):
            raise DigestMismatch(f"{shown(self._path)} does not read back as it was written")
        return digest, self._size

    def abandon(self) -> None:
        """Leave no trace."""
        if not self.closed:
            self._disk.close(self._fd)
            super().close()
        self._disk.unlink(self._slots, self.slot)
