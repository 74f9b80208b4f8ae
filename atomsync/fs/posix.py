"""The real disk.

Python's ``os`` lacks three calls the protocol lives on: renameat2 with flags, syncfs and
name_to_handle_at (whose handle holds the inode's generation). They come through ctypes, with our own
retry on EINTR, since PEP 475 covers only ``os``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import stat as stat_module
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter_ns

from atomsync.fs.disk import Space, Stat
from atomsync.fs.meter import METER

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# What os.fsencode takes; that is a call more, for each name of a loop.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_AT_EMPTY_PATH, _AT_SYMLINK_NOFOLLOW = 0x1000, 0x100
_PINNED = 0x10 | 0x20  # STATX_ATTR_IMMUTABLE, STATX_ATTR_APPEND
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
# Filesystems whose syncfs was measured or is documented to flush and to report write errors.
# FUSE servers may answer 0 without doing anything, so everything else gets fsync per file. Nor are the
# file handles of others believed: those of FUSE name what its server has in memory.
_KNOWN = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0x01021994: "tmpfs",
}
_HANDLE_MAX_BYTES = 128
_Handle = ctypes.c_int * (2 + _HANDLE_MAX_BYTES // 4 + 1)  # struct file_handle; the last one for the mount id
_NO_HANDLES = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EOVERFLOW, errno.EINVAL}
_MOUNT_ID = 2 + _HANDLE_MAX_BYTES // 4
_Statx = ctypes.c_uint64 * 32  # struct statx; stx_attributes is the second of these
_FICLONE = 0x40049409
_FALLOC_PUNCH_HOLE = 0x01 | 0x02  # and keep the size


class PosixDisk:
    """``fs.Disk`` on the operating system. Any number of threads may share one."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}  # mount id → whether _KNOWN, since the last open_root

    # The hot loops call these: no wrapper where ``os`` already has the very call.
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    pread = staticmethod(os.pread)
    truncate = staticmethod(os.ftruncate)

    # -- descriptors
    def open_root(self, path: str) -> int:
        self._known = {}  # mount ids are given again, though not while a root is open there
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_dir(self, at: int, name: str) -> int:
        return os.open(name, _DIR, dir_fd=at)

    def open_file(self, at: int, name: str) -> int:
        return os.open(name, _READ, dir_fd=at)

    def create(self, at: int, name: str) -> int:
        return os.open(name, _CREATE, 0o600, dir_fd=at)

    def open_lock(self, at: int, name: str) -> int:
        return os.open(name, _LOCK, 0o600, dir_fd=at)

    def library_path(self, at: int, name: str) -> str:
        if not hasattr(fcntl, "F_GETPATH"):
            return f"/proc/self/fd/{at}/{name}"
        return os.fsdecode(fcntl.fcntl(at, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")) + "/" + name

    # -- looking
    def scandir(self, fd: int) -> list[tuple[str, Stat]]:
        found: list[tuple[str, Stat]] = []
        os.lseek(fd, 0, os.SEEK_SET)  # or btrfs tells only what was there when it was opened
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue
        return found

    def names(self, fd: int) -> list[str]:
        os.lseek(fd, 0, os.SEEK_SET)  # as for scandir
        return os.listdir(fd)

    def lstat(self, at: int, name: str) -> Stat:
        return os.stat(name, dir_fd=at, follow_symlinks=False)

    def readlink(self, at: int, name: str) -> str:
        return os.readlink(name, dir_fd=at)

    def generation(self, at: int, name: str) -> int:
        return _Handles(self._known).generation(at, name)

    def deep_lstats(self, at: int, names: Iterable[str]) -> Iterator[tuple[Stat, int] | None]:
        lstat, generation = self.lstat, _Handles(self._known).generation
        for name in names:
            try:
                yield lstat(at, name), generation(at, name)
            except FileNotFoundError:
                yield None

    def space(self, fd: int) -> Space:
        found = os.fstatvfs(fd)
        return Space(
            found.f_frsize,
            found.f_bavail * found.f_frsize,
            found.f_favail if found.f_files else None,
            found.f_namemax,
            bool(found.f_flag & os.ST_RDONLY),
        )

    def may_change_names(self, fd: int) -> bool:
        return os.access(
            ".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=os.access in os.supports_effective_ids
        )

    def pinned(self, at: int, names: Iterable[str]) -> list[str]:
        call: Callable[..., int] | None = getattr(_libc(), "statx", None)
        if call is None:
            return []
        room, found = _Statx(), []
        where = ctypes.c_void_p(ctypes.addressof(room))
        for name in names:
            while call(at, name.encode(_ENCODING, _ERRORS), _AT_SYMLINK_NOFOLLOW, 0, where):
                number = ctypes.get_errno()
                if number == errno.ENOSYS:
                    return []
                if number == errno.ENOENT:
                    break
                if number != errno.EINTR:
                    raise OSError(number, os.strerror(number), name)
            else:
                if room[1] & _PINNED:
                    found.append(name)
        return found

    # -- content
    def write(self, fd: int, data: bytes, offset: int) -> None:
        written = os.pwrite(fd, data, offset)
        if written != len(data):
            view = memoryview(data)
            while written < len(data):
                more = os.pwrite(fd, view[written:], offset + written)
                if more <= 0:
                    raise OSError(errno.EIO, "write made no progress")
                written += more

    def clone(self, fd: int, source: int) -> None:
        if sys.platform != "linux":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        fcntl.ioctl(fd, _FICLONE, source)

    def punch(self, fd: int, offset: int, size: int) -> None:
        _call("fallocate", fd, _FALLOC_PUNCH_HOLE, ctypes.c_int64(offset), ctypes.c_int64(size))

    def drop_cache(self, fd: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    # -- names
    def mkdir(self, at: int, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=at)

    def symlink(self, target: str, at: int, name: str) -> None:
        os.symlink(target, name, dir_fd=at)

    def node(self, at: int, name: str, kind: int, device: int) -> None:
        os.mknod(name, kind | 0o600, device, dir_fd=at)

    def link(self, at: int, name: str, to: int, new_name: str) -> None:
        os.link(name, new_name, src_dir_fd=at, dst_dir_fd=to, follow_symlinks=False)

    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        _rename(at, name, to, other, _RENAME_EXCHANGE)

    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        _rename(at, name, to, new_name, _RENAME_NOREPLACE)

    def exchange_all(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        _rename_all(at, to, names, _RENAME_EXCHANGE, self.exchange, PosixDisk.exchange)

    def rename_all_new(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        _rename_all(at, to, names, _RENAME_NOREPLACE, self.rename_new, PosixDisk.rename_new)

    def replace(self, at: int, name: str, to: int, other: str) -> None:
        os.replace(name, other, src_dir_fd=at, dst_dir_fd=to)

    def unlink(self, at: int, name: str) -> None:
        os.unlink(name, dir_fd=at)

    def rmdir(self, at: int, name: str) -> None:
        os.rmdir(name, dir_fd=at)

    # -- metadata
    def set_meta(self, fd: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> None:
        if uid != -1 or gid != -1:
            os.fchown(fd, uid, gid)
        if mode is not None:
            os.fchmod(fd, mode)
        if mtime_ns is not None:
            os.utime(fd, ns=(mtime_ns, mtime_ns))

    def set_meta_at(
        self, at: int, name: str, uid: int, gid: int, mode: int | None, mtime_ns: int | None, ino: int = 0
    ) -> None:
        # Pin the inode, look at it, then change that inode: no second look-up of the name can be bent.
        fd = os.open(name, getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            found = os.fstat(fd)
            if ino and found.st_ino != ino:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)
            if stat_module.S_ISLNK(found.st_mode):
                _set_link_meta(fd, at, name, uid, gid, mode, mtime_ns)
                return
            pinned: int | str = f"/proc/self/fd/{fd}" if hasattr(os, "O_PATH") else fd
            if uid not in (-1, found.st_uid) or gid not in (-1, found.st_gid):  # it takes capabilities away
                os.chown(pinned, uid, gid)
            if mode is not None:
                os.chmod(pinned, mode)
            if mtime_ns is not None:
                os.utime(pinned, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)

    # -- extended attributes
    def xattr_names(self, at: int, name: str) -> list[str]:
        if sys.platform != "linux":
            return []
        try:  # one component below an open directory; the system has no other way before 6.13
            return os.listxattr(f"/proc/self/fd/{at}/{name}", follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return []
            raise

    def xattr(self, at: int, name: str, attribute: str) -> bytes:
        if sys.platform != "linux":
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), attribute)
        return os.getxattr(f"/proc/self/fd/{at}/{name}", attribute, follow_symlinks=False)

    def set_xattrs(self, at: int, name: str, changes: Mapping[str, bytes | None], ino: int = 0) -> None:
        if sys.platform != "linux":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), *changes)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            if ino and os.fstat(fd).st_ino != ino:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)
            for attribute, value in changes.items():
                try:
                    if value is None:
                        os.removexattr(f"/proc/self/fd/{fd}", attribute)
                    else:
                        os.setxattr(f"/proc/self/fd/{fd}", attribute, value)
                except OSError as error:
                    error.filename = attribute
                    raise
        finally:
            os.close(fd)

    # -- durability and exclusion
    def fsync(self, fd: int) -> None:
        began = perf_counter_ns()
        try:
            if sys.platform == "darwin":  # fsync(2) there leaves the drive's own cache unflushed
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fsync(fd)
        finally:
            METER.barriers_ns += perf_counter_ns() - began

    def syncfs(self, fd: int) -> None:
        began = perf_counter_ns()
        try:
            _call("syncfs", fd)
        finally:
            METER.barriers_ns += perf_counter_ns() - began

    def syncfs_trusted(self, fd: int) -> bool:
        if sys.platform != "linux" or _kernel() < (5, 8):  # older ones hide write errors
            return False
        return _f_type(fd) in _KNOWN

    def try_lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class _Handles:
    """What file handles are written into, for one caller at a time. ``known`` as the disk's."""

    __slots__ = ("_bytes", "_call", "_known", "_mount_id", "_room", "_where")

    def __init__(self, known: dict[int, bool]) -> None:
        self._known, self._room = known, _Handle()
        self._bytes = memoryview(self._room).cast("B")
        # As pointers: of an array ctypes would make one for each call.
        where = ctypes.addressof(self._room)
        self._where, self._mount_id = ctypes.c_void_p(where), ctypes.c_void_p(where + 4 * _MOUNT_ID)
        self._call = getattr(_libc(), "name_to_handle_at", None)

    def generation(self, at: int, name: str) -> int:
        call, room = self._call, self._room
        if call is None:
            return 0
        room[0] = _HANDLE_MAX_BYTES
        while call(at, name.encode(_ENCODING, _ERRORS), self._where, self._mount_id, 0):
            number = ctypes.get_errno()
            if number in _NO_HANDLES:
                return 0
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), name)
        known = self._known.get(room[_MOUNT_ID])
        if known is None:
            known = self._known[room[_MOUNT_ID]] = _f_type(at) in _KNOWN
        # The handle as a whole identifies the inode for ever; a number of it is easier to store.
        return int.from_bytes(self._bytes[8 : 8 + room[0]], "big") if known else 0


@functools.cache
def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def _f_type(fd: int) -> int:
    """The kind of the filesystem of ``fd``, as a magic number."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs; f_type is its first word
    _call("fstatfs", fd, buffer)
    (f_type,) = struct.unpack_from("l", buffer)
    return int(f_type & 0xFFFFFFFF)


@functools.cache
def _function(name: str) -> Callable[..., int]:
    """A function of libc. It takes ints, and bytes as pointers: declaring that would only cost time."""
    found: Callable[..., int] | None = getattr(_libc(), name, None)
    if found is None:
        raise OSError(errno.ENOSYS, f"this system has no {name}")
    return found


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """One libc call that returns -1 on error, retried when a signal cut it short."""
    function = _function(name)
    while (result := function(*arguments)) == -1:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return result


def _rename(at: int, name: str, to: int, other: str, flags: int) -> None:
    if "\0" in name or "\0" in other:  # C would read the name only up to there
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    try:
        _call("renameat2", at, os.fsencode(name), to, os.fsencode(other), flags)
    except OSError as error:
        error.filename, error.filename2 = name, other
        raise


def _rename_all(
    at: int,
    to: int,
    names: Iterable[tuple[bytes, bytes]],
    flags: int,
    verb: Callable[[int, str, int, str], None],
    plain: Callable[..., None],
) -> None:
    """The mixed window is this loop, so nothing is made in it and nothing called but the system. Whoever
    does more in the ``verb`` for one, than ``plain`` does, is asked for each."""
    if getattr(verb, "__func__", None) is not plain:
        for name, other in names:
            verb(at, os.fsdecode(name), to, os.fsdecode(other))
        return
    call = _function("renameat2")
    for name, other in names:
        while call(at, name, to, other, flags):
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), os.fsdecode(name), None, os.fsdecode(other))


def _set_link_meta(
    fd: int, at: int, name: str, uid: int, gid: int, mode: int | None, mtime_ns: int | None
) -> None:
    """Of the symbolic link ``fd`` pins; by its name where the system cannot do otherwise."""
    if mode is not None:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    if sys.platform == "linux" and _kernel() >= (5, 8):
        if uid != -1 or gid != -1:
            _call("fchownat", fd, b"", uid, gid, _AT_EMPTY_PATH)
        if mtime_ns is not None:
            _call("utimensat", fd, b"", struct.pack("llll", *divmod(mtime_ns, 10**9) * 2), _AT_EMPTY_PATH)
        return
    if uid != -1 or gid != -1:
        os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
    if mtime_ns is not None:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=at, follow_symlinks=False)
