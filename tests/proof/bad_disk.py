"""A disk that fails: a loop device on a file of a FUSE server that answers EIO to what it is told to.

``python -m tests.proof.bad_disk IMAGE POINT`` serves ``POINT/disk``, the bytes of IMAGE, and
``POINT/control``: a ``Fault`` written there as JSON arms it, reading gives ``[writes, flushes, failed]``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

NEVER = 1 << 30
_REPLY = 64  # bytes: the kernel must know how long a file is


class Fault(NamedTuple):
    """What fails, counted from the moment it is armed: write request ``at``, or flush request ``at``
    (``flush``); ``later``: every one after it too; or each write whose bytes contain ``pattern`` (hex)."""

    at: int = NEVER
    flush: bool = False
    later: bool = False
    pattern: str = ""


class _Served:
    """The operations; no subclass of mfusepy's class, so that this module can be read without it."""

    use_ns = True

    def __init__(self, image: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._fault = Fault()
        self._counts = {"write": 0, "flush": 0}
        self._failed = 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path not in ("/disk", "/control"):
            raise OSError(errno.ENOENT, path)
        size = os.fstat(self._image).st_size if path == "/disk" else _REPLY
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", "disk", "control"]

    def open(self, path: str, flags: int) -> int:
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if path == "/disk":
            return os.pread(self._image, size, offset)
        said = json.dumps([*self._counts.values(), self._failed]).encode().ljust(_REPLY)
        return said[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == "/control":
            self._fault = Fault(*json.loads(data))
            self._counts, self._failed = {"write": 0, "flush": 0}, 0
            return len(data)
        self._enter("write", data)
        return os.pwrite(self._image, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._enter("flush")
        return 0

    def _enter(self, kind: str, data: bytes = b"") -> None:
        number = self._counts[kind]
        self._counts[kind] += 1
        at, flush, later, pattern = self._fault
        hit = (kind == "flush") == flush and (number == at or (later and number > at))
        if hit or (pattern and bytes.fromhex(pattern) in data):
            self._failed += 1
            raise OSError(errno.EIO, "told to")


class Server:
    """A FUSE server in a process of its own: ``python -m module words point``."""

    def __init__(self, module: str, *words: object, point: Path) -> None:
        self.point = point
        line = [sys.executable, "-m", module, *map(str, words), str(point)]
        self._process = subprocess.Popen(line, cwd=Path(__file__).parents[2])
        _wait(lambda: os.path.ismount(point) or self._process.poll() is not None)

    def close(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            _run("umount", "-l", self.point)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


class BadDisk:
    """Serves ``image`` below ``where``; ``mounted`` is the filesystem on it, through the loop device."""

    def __init__(self, image: Path, where: Path) -> None:
        self._point, self._root = where / "served", where / "bad"
        self._point.mkdir()
        self._root.mkdir()
        self._server = Server("tests.proof.bad_disk", image, point=self._point)

    def arm(self, fault: Fault) -> None:
        with (self._point / "control").open("r+b", buffering=0) as file:
            file.write(json.dumps(fault).encode())

    def counts(self) -> tuple[int, int, int]:
        """Write requests, flush requests and failures since it was armed."""
        writes, flushes, failed = json.loads((self._point / "control").read_bytes())
        return writes, flushes, failed

    @contextlib.contextmanager
    def mounted(self, options: str) -> Iterator[Path]:
        self.arm(Fault())
        with mounted(self._point / "disk", self._root, options):
            yield self._root

    def close(self) -> None:
        self._server.close()


@contextlib.contextmanager
def mounted(file: Path, root: Path, options: str) -> Iterator[None]:
    """A filesystem in a file; afterwards nobody has it any more.

    Sectors of a page: FUSE splits a write that begins within a page, and a loop device takes a request of
    which only the second part failed for done (kernel 6.18): a lie that no filesystem could notice.
    """
    device = _run("losetup", "-b", 4096, "-f", "--show", file).strip()
    try:
        _run("mount", "-o", options, device, root)
        try:
            yield
        finally:
            _run("umount", root)
    finally:
        _run("losetup", "-d", device)
        # A mount namespace that somebody made meanwhile has our mount too, and keeps the filesystem alive.
        _wait(lambda: not Path(f"/sys/block/{Path(device).name}/loop/backing_file").exists())


def _run(*words: Any) -> str:
    """A disk that fails may make any of them hang."""
    line = [str(word) for word in words]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a device or server is not as it should be after 30 s")
        time.sleep(0.005)


def serve(image: str, point: str) -> None:
    import mfusepy

    mfusepy.FUSE(_Served(image), point, foreground=True, nothreads=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
