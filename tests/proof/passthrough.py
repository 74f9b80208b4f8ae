"""A FUSE filesystem that passes everything through, but for the flags of a rename and one request that fails.

``python -m tests.proof.passthrough BACKING KIND AT POINT`` serves BACKING at POINT; request number AT of
KIND ("write" or "fsync", from 0) gets EIO, once. An exchange becomes a plain rename, and is reported done.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any


class _Passthrough:
    use_ns = True

    def __init__(self, backing: str, kind: str, at: int) -> None:
        self._backing, self._kind, self._left = backing, kind, at

    def _enter(self, kind: str) -> None:
        if kind == self._kind:
            self._left -= 1
            if self._left == -1:
                raise OSError(errno.EIO, "told to")

    def _full(self, path: str) -> str:
        return self._backing + path

    # -- looking
    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._full(path))
        named = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        times = {name: named.pop(f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {**named, **times}

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """With inode numbers: names whose number is 0 are skipped."""
        names = [".", "..", *os.listdir(self._full(path))]
        found = [(name, os.lstat(f"{self._full(path)}/{name}")) for name in names]
        return [(name, {"st_ino": seen.st_ino, "st_mode": seen.st_mode}, 0) for name, seen in found]

    def readlink(self, path: str) -> str:
        return os.readlink(self._full(path))

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._full(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}

    # -- content
    def create(self, path: str, mode: int, flags: int) -> int:
        return os.open(self._full(path), flags | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._full(path), flags & ~os.O_NOFOLLOW)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._enter("write")
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._full(path), length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._enter("fsync")
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._enter("fsync")
        return 0

    # -- names
    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._full(path), mode)
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        os.mknod(self._full(path), mode, dev)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._full(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._full(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._full(old), self._full(new))
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._full(source), self._full(target), follow_symlinks=False)
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._full(target))
        return 0

    # -- attributes
    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._full(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._full(path), uid, gid, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._full(path), ns=times, follow_symlinks=False)
        return 0


def serve(backing: str, kind: str, at: int, point: str) -> None:
    import mfusepy

    os.umask(0)
    # Without timeouts the kernel asks for everything anew: what it says is what is there.
    mfusepy.FUSE(
        _Passthrough(backing, kind, at),
        point,
        foreground=True,
        nothreads=True,
        use_ino=True,
        attr_timeout=0,
        entry_timeout=0,
    )


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
