"""A disk that writes down what reaches it, in order: a FUSE file below a loop device.

The loop device turns what a filesystem sends into writes and fsyncs of that file. Each write becomes a
``Write``, each flush a ``Flush``: what was written before a flush is on the medium, and of what came
after the last one a power cut may leave any part. ``Mark`` is what a test wants to find again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tests.proof.mounting import Unavailable, detach

_HEAD = struct.Struct("<cQQ")
_END_S = 20


class Write(NamedTuple):
    offset: int
    data: bytes


class Flush(NamedTuple):
    pass


class Mark(NamedTuple):
    name: str


Event = Write | Flush | Mark


class Recorder:
    """``image`` is an open file, to which the writes really go. One log, shared with every fork."""

    def __init__(self, image: int) -> None:
        self._image = image
        self._log = os.memfd_create("log")

    @contextlib.contextmanager
    def serving(self, point: Path) -> Iterator[int]:
        """The recorded disk as an open file."""
        point.mkdir(exist_ok=True)
        ready, started = os.pipe()
        server = get_context("fork").Process(target=self._serve, args=(point, started))
        server.start()
        os.close(started)
        served = os.read(ready, 1)
        os.close(ready)
        if not served:
            raise Unavailable("no FUSE filesystem can be served here")
        try:
            disk = os.open(point / "disk", os.O_RDWR)
            try:
                yield disk
            finally:
                os.close(disk)
        finally:
            detach(point)
            server.join(_END_S)
            assert server.exitcode == 0, "the disk is still in use"

    def mark(self, name: str) -> None:
        self._append(b"M", 0, name.encode())

    def events(self) -> list[Event]:
        """What has happened so far."""
        log = os.pread(self._log, os.fstat(self._log).st_size, 0)
        found: list[Event] = []
        at = 0
        while at < len(log):
            kind, offset, size = _HEAD.unpack_from(log, at)
            at += _HEAD.size
            data = log[at : at + size]
            at += size
            if kind == b"W":
                found.append(Write(offset, data))
            else:
                found.append(Mark(data.decode()) if kind == b"M" else Flush())
        return found

    def close(self) -> None:
        os.close(self._log)

    def _append(self, kind: bytes, offset: int = 0, data: bytes = b"") -> None:
        os.write(self._log, _HEAD.pack(kind, offset, len(data)) + data)  # one call: no other can come between

    def _serve(self, point: Path, started: int) -> None:
        import mfusepy  # type: ignore[import-untyped]  # loads libfuse, which only this process needs

        recorder, image = self, self._image
        size = os.fstat(image).st_size

        class Disk(mfusepy.Operations):  # type: ignore[misc]  # it has no types
            use_ns = True

            def init(self, path: str) -> None:
                os.write(started, b"!")
                os.close(started)

            def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
                if path == "/":
                    return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
                if path == "/disk":
                    return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}
                raise mfusepy.FuseOSError(errno.ENOENT)

            def read(self, path: str, length: int, offset: int, fh: int) -> bytes:
                return os.pread(image, length, offset)

            def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
                recorder._append(b"W", offset, data)
                return os.pwrite(image, data, offset)

            def fsync(self, path: str, datasync: int, fh: int) -> int:
                recorder._append(b"F")
                return 0

        mfusepy.FUSE(Disk(), str(point), foreground=True, nothreads=True)
