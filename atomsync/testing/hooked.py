"""The real disk with the hook and the log of the simulated one: kills, errors and foreign writers on
a filesystem that really is one."""

from __future__ import annotations

from atomsync.fs.posix import PosixDisk
from atomsync.testing.faults import Hook


class HookedDisk(PosixDisk):
    """``fs.Disk`` on the operating system; ``hook`` is called before every verb that changes something.

    ``log`` holds those verbs and the names they were given, in order, as ``SimDisk.log`` does.
    """

    def __init__(self, hook: Hook | None = None) -> None:
        super().__init__()
        self.hook = hook
        self.log: list[tuple[str, ...]] = []

    def _enter(self, verb: str, *names: str) -> None:
        index = len(self.log)
        self.log.append((verb, *names))
        if self.hook is not None:
            self.hook(index, verb, names)

    def create(self, at: int, name: str) -> int:
        self._enter("create", name)
        return super().create(at, name)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._enter("write")
        super().write(fd, data, offset)

    def truncate(self, fd: int, size: int, /) -> None:
        self._enter("truncate")
        PosixDisk.truncate(fd, size)

    def mkdir(self, at: int, name: str) -> None:
        self._enter("mkdir", name)
        super().mkdir(at, name)

    def symlink(self, target: str, at: int, name: str) -> None:
        self._enter("symlink", target, name)
        super().symlink(target, at, name)

    def link(self, at: int, name: str, to: int, new_name: str) -> None:
        self._enter("link", name, new_name)
        super().link(at, name, to, new_name)

    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        self._enter("exchange", name, other)
        super().exchange(at, name, to, other)

    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        self._enter("rename_new", name, new_name)
        super().rename_new(at, name, to, new_name)

    def replace(self, at: int, name: str, to: int, other: str) -> None:
        self._enter("replace", name, other)
        super().replace(at, name, to, other)

    def unlink(self, at: int, name: str) -> None:
        self._enter("unlink", name)
        super().unlink(at, name)

    def rmdir(self, at: int, name: str) -> None:
        self._enter("rmdir", name)
        super().rmdir(at, name)

    def set_meta(self, fd: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> None:
        self._enter("set_meta")
        super().set_meta(fd, uid, gid, mode, mtime_ns)

    def set_meta_at(
        self, at: int, name: str, uid: int, gid: int, mode: int | None, mtime_ns: int | None, ino: int = 0
    ) -> None:
        self._enter("set_meta_at", name)
        super().set_meta_at(at, name, uid, gid, mode, mtime_ns, ino)

    def fsync(self, fd: int) -> None:
        self._enter("fsync")
        super().fsync(fd)

    def syncfs(self, fd: int) -> None:
        self._enter("syncfs")
        super().syncfs(fd)
