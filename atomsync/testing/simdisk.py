"""A disk in memory that forgets, as real ones do, whatever was not synced before the power went.

It keeps two states and the list of effects that stand between them: what programs see, and what the
medium holds. ``fsync`` and ``syncfs`` move effects over; ``crash`` lets a chosen subset of the pending
ones survive and hands back the disk as it is found after the reboot; ``copy`` is the milder end, a
killed process, after which programs still see everything.

Two profiles. ``weak``: any subset survives, whatever the order. ``ordered``: one journal, so metadata
survives as a prefix and every fsync flushes all of it; the bytes of files survive in any subset.
In both an exchange or a rename is one effect, a made object exists empty as soon as its name does,
owner, mode and mtime are effects of their own, and an unsynced write may turn into anything.

Lies (what this disk does not model):

* One user, who may do everything: no permissions, no sticky bit, no umask, no immutable files.
* No mount points, hence no EXDEV and no EBUSY; no FIFOs, sockets, devices.
* Any extended attribute may be given to anything, and an ACL changes no mode.
* No holes, and no blocks that files share.
* ``space`` is what the constructor was told: writing does not use it up. Inject ENOSPC with ``fail_at``.
* The clock ticks once an effect: no two changes have the same time, and it never runs backwards.
* At most one write is torn in a state that ``crash_states`` offers. Media rot only where ``rot`` says.
* A failed sync loses the bytes of files only; names and attributes stay pending.
* ``weak`` does not give an inode number away again before its loss is durable; ``ordered`` at once.
* A directory has one link, as on btrfs. Descriptor numbers are not reused: a stale one gives EBADF.
* One thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal, NamedTuple, Self

from atomsync.fs.disk import Space, Stat
from atomsync.testing import crash as crashes
from atomsync.testing.effects import (
    DIRECTORY,
    REGULAR,
    SYMLINK,
    Attributes,
    Cut,
    Effect,
    Extended,
    Inode,
    Naming,
    Write,
)
from atomsync.testing.faults import Hook, Killed, PagesLost, VerbFailed
from atomsync.testing.lookup import check_name, child, error, is_below, walk
from atomsync.testing.medium import Medium

Profile = Literal["weak", "ordered"]

_FIRST_FD = 1000  # no real descriptor: a mix-up with the operating system's shows
_BLOCK, _TARGET_MAX = 4096, 4095


class _Traits(NamedTuple):
    exchange: bool
    rename_new: bool
    link: bool
    syncfs_trusted: bool
    generations: bool
    space: Space


class _Open(NamedTuple):
    serial: int
    name: str
    writable: bool


class SimDisk:
    """``fs.Disk`` in memory. ``open_root("/")`` is the way in; ``hook`` and ``log`` see every change.

    A capability switched off answers as a filesystem without it: EINVAL, for links EPERM. An untrusted
    ``syncfs`` is one that lies: it reports success and does nothing.
    """

    def __init__(
        self,
        profile: Profile = "weak",
        *,
        exchange: bool = True,
        rename_new: bool = True,
        link: bool = True,
        syncfs_trusted: bool = True,
        generations: bool = True,
        name_max: int = 255,
        bytes_free: int = 1 << 40,
        inodes_free: int | None = 1 << 20,
        read_only: bool = False,
        hook: Hook | None = None,
    ) -> None:
        space = Space(_BLOCK, bytes_free, inodes_free, name_max, read_only)
        self._traits = _Traits(exchange, rename_new, link, syncfs_trusted, generations, space)
        self._boot(Medium(profile == "ordered", os.geteuid(), os.getegid()), hook)

    def _boot(self, medium: Medium, hook: Hook | None = None) -> None:
        self.hook = hook
        self.log: list[tuple[str, ...]] = []
        self._medium = medium
        self._seen = medium.seen
        self._open: dict[int, _Open] = {}
        self._users: Counter[int] = Counter()  # serial → descriptors
        self._locks: dict[int, int] = {}  # serial → the descriptor that holds its lock
        self._next_fd = _FIRST_FD

    # -- what a power cut or a kill leaves
    @property
    def pending(self) -> tuple[Effect, ...]:
        """The effects that have not reached the medium, in the order they happened."""
        return tuple(self._medium.pending)

    @property
    def state(self) -> Mapping[int, Inode]:
        """What programs see: every inode by its serial, the root's being ``effects.ROOT``."""
        return self._seen

    @property
    def exchanges_names(self) -> bool:
        """Whether it can swap two names in one step."""
        return self._traits.exchange

    @property
    def open_descriptors(self) -> int:
        return len(self._open)

    def crash(self, keep: Collection[int] = (), torn: Mapping[int, bytes] | None = None) -> Self:
        """The disk after a power cut: of the pending effects those with an index in ``keep`` survived.

        ``torn`` tells what is in the place of a kept write that did not survive whole.
        """
        return self._twin(self._medium.crash(keep, torn or {}))

    def crash_states(self, rng: random.Random, limit: int = 400) -> Iterator[crashes.Choice]:
        """At most ``limit`` different arguments for ``crash``; all there are when few effects are pending."""
        return crashes.crash_states(self.pending, self._medium.ordered, rng, limit)

    def every_crash_state(self, known: int = 0, most: int = 1 << 20) -> Iterator[crashes.Choice]:
        """Every subset of the pending effects that can survive, or nothing if there are more than ``most``.

        Without those that keep only effects before index ``known``: they were possible earlier.
        """
        if crashes.count_subsets(self.pending, self._medium.ordered) <= most:
            for keep in crashes.every_subset(self.pending, self._medium.ordered, known):
                yield keep, {}

    def copy(self) -> Self:
        """The disk after the process was killed: all it did is there, its descriptors and locks are not."""
        after = self._twin(self._medium.copy())
        for serial in self._users:
            after._drop_if_unused(serial)
        return after

    def rot(self, serial: int, bit: int) -> None:
        """Let one bit of a file turn over on the medium. ``serial`` is its key in ``state``."""
        self._medium.rot(serial, bit)

    def _twin(self, medium: Medium) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._boot(medium)
        return twin

    # -- descriptors
    def open_root(self, path: str) -> int:
        return self._opened(walk(self._seen, path, self._traits.space.name_max), path, False)

    def open_dir(self, at: int, name: str) -> int:
        serial = self._child(self._directory(at), name)
        if self._seen[serial].kind != DIRECTORY:
            raise error(errno.ENOTDIR, name)
        return self._opened(serial, name, False)

    def open_file(self, at: int, name: str) -> int:
        serial = self._child(self._directory(at), name)
        if self._seen[serial].kind == SYMLINK:
            raise error(errno.ELOOP, name)
        return self._opened(serial, name, False)

    def create(self, at: int, name: str) -> int:
        self._enter("create", name)
        return self._opened(self._made(at, name, REGULAR, 0o600), name, True)

    def open_lock(self, at: int, name: str) -> int:
        try:
            serial = self._child(self._directory(at), name)
        except FileNotFoundError:
            self._enter("open_lock", name)
            serial = self._made(at, name, REGULAR, 0o600)
        kind = self._seen[serial].kind
        if kind != REGULAR:
            raise error(errno.ELOOP if kind == SYMLINK else errno.EISDIR, name)
        return self._opened(serial, name, True)

    def close(self, fd: int) -> None:
        serial = self._handle(fd).serial
        del self._open[fd]
        if self._locks.get(serial) == fd:
            del self._locks[serial]
        self._users[serial] -= 1
        if not self._users[serial]:
            del self._users[serial]
            self._drop_if_unused(serial)

    def library_path(self, at: int, name: str) -> str:
        """No path leads here from outside."""
        self._directory(at)
        return ":memory:"

    # -- looking
    def scandir(self, fd: int) -> list[tuple[str, Stat]]:
        seen = self._seen
        return [(name, seen[serial].stat()) for name, serial in seen[self._directory(fd)].names.items()]

    def names(self, fd: int) -> list[str]:
        return [*self._seen[self._directory(fd)].names]

    def lstat(self, at: int, name: str) -> Stat:
        return self._seen[self._child(self._directory(at), name)].stat()

    def fstat(self, fd: int) -> Stat:
        return self._seen[self._handle(fd).serial].stat()

    def readlink(self, at: int, name: str) -> str:
        inode = self._seen[self._child(self._directory(at), name)]
        if inode.kind != SYMLINK:
            raise error(errno.EINVAL, name)
        return os.fsdecode(inode.data)

    def generation(self, at: int, name: str) -> int:
        serial = self._child(self._directory(at), name)
        return serial if self._traits.generations else 0

    def deep_lstats(self, at: int, names: Iterable[str]) -> Iterator[tuple[Stat, int] | None]:
        for name in names:
            try:
                yield self.lstat(at, name), self.generation(at, name)
            except FileNotFoundError:
                yield None

    def space(self, fd: int) -> Space:
        self._handle(fd)
        return self._traits.space

    def may_change_names(self, fd: int) -> bool:
        self._handle(fd)
        return True

    def pinned(self, at: int, names: Iterable[str]) -> list[str]:
        return []

    # -- content
    def pread(self, fd: int, size: int, offset: int, /) -> bytes:
        inode = self._seen[self._handle(fd).serial]
        if inode.kind == DIRECTORY:
            raise error(errno.EISDIR)
        if size < 0 or offset < 0:
            raise error(errno.EINVAL)
        return inode.data[offset : offset + size]

    def write(self, fd: int, data: bytes, offset: int) -> None:
        handle = self._handle(fd)
        try:
            self._enter("write", handle.name)
        except (VerbFailed, Killed) as failure:
            if handle.writable and failure.written:
                self._medium.do(
                    Write(self._medium.now(), handle.serial, offset, bytes(data[: failure.written]))
                )
            raise
        if not handle.writable:
            raise error(errno.EBADF)
        if offset < 0:
            raise error(errno.EINVAL)
        if data:
            self._medium.do(Write(self._medium.now(), handle.serial, offset, bytes(data)))

    def truncate(self, fd: int, size: int, /) -> None:
        handle = self._handle(fd)
        self._enter("truncate", handle.name)
        if not handle.writable or size < 0:
            raise error(errno.EINVAL)
        self._medium.do(Cut(self._medium.now(), handle.serial, size))

    def clone(self, fd: int, source: int) -> None:
        self._handle(fd), self._handle(source)
        raise error(errno.EOPNOTSUPP)

    def punch(self, fd: int, offset: int, size: int) -> None:
        self._handle(fd)
        raise error(errno.EOPNOTSUPP)

    def drop_cache(self, fd: int) -> None:
        """Clean pages are read again: bytes that a failed sync lost are then seen to be gone."""
        self._medium.read_again(self._handle(fd).serial)

    # -- names
    def mkdir(self, at: int, name: str) -> None:
        self._enter("mkdir", name)
        self._made(at, name, DIRECTORY, 0o700)

    def symlink(self, target: str, at: int, name: str) -> None:
        self._enter("symlink", name)
        data = os.fsencode(target)
        if not data or len(data) > _TARGET_MAX:
            raise error(errno.ENAMETOOLONG if data else errno.ENOENT, target)
        self._made(at, name, SYMLINK, 0o777, data)

    def node(self, at: int, name: str, kind: int, device: int) -> None:
        self._vacant(at, name)
        raise error(errno.EPERM, name)

    def link(self, at: int, name: str, to: int, new_name: str) -> None:
        self._enter("link", name, new_name)
        serial = self._child(self._directory(at), name)
        parent = self._vacant(to, new_name)
        if not self._traits.link or self._seen[serial].kind == DIRECTORY:
            raise error(errno.EPERM, name)
        self._name((parent, new_name, serial))

    def exchange(self, at: int, name: str, to: int, other: str) -> None:
        self._enter("exchange", name, other)
        if not self._traits.exchange:
            raise error(errno.EINVAL, name)
        here, there = self._place(at, name), self._place(to, other)
        mine, theirs = self._child(here, name), self._child(there, other)
        self._refuse_loop(mine, there, name)
        self._refuse_loop(theirs, here, other)
        if mine != theirs:
            self._name((here, name, theirs), (there, other, mine))

    def rename_new(self, at: int, name: str, to: int, new_name: str) -> None:
        self._enter("rename_new", name, new_name)
        if not self._traits.rename_new:
            raise error(errno.EINVAL, name)
        here = self._place(at, name)
        serial = self._child(here, name)
        there = self._vacant(to, new_name)
        self._refuse_loop(serial, there, name)
        self._name((here, name, None), (there, new_name, serial))

    def exchange_all(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        for name, other in names:
            self.exchange(at, os.fsdecode(name), to, os.fsdecode(other))

    def rename_all_new(self, at: int, to: int, names: Iterable[tuple[bytes, bytes]]) -> None:
        for name, new_name in names:
            self.rename_new(at, os.fsdecode(name), to, os.fsdecode(new_name))

    def replace(self, at: int, name: str, to: int, other: str) -> None:
        self._enter("replace", name, other)
        here, there = self._place(at, name), self._place(to, other)
        serial = self._child(here, name)
        victim = self._seen[there].names.get(other)
        if not self._seen[there].links:
            raise error(errno.ENOENT, other)
        self._refuse_loop(serial, there, name)
        if victim is not None:
            if is_below(self._seen, here, victim):
                raise error(errno.ENOTEMPTY, other)
            if serial == victim:
                return  # rename(2) does nothing for two names of one file, and says it went well
            moved, lost = self._seen[serial], self._seen[victim]
            if moved.kind == DIRECTORY != lost.kind:
                raise error(errno.ENOTDIR, other)
            if moved.kind != DIRECTORY == lost.kind:
                raise error(errno.EISDIR, other)
            if lost.names:
                raise error(errno.ENOTEMPTY, other)
        self._name((here, name, None), (there, other, serial))

    def unlink(self, at: int, name: str) -> None:
        self._enter("unlink", name)
        parent = self._place(at, name, errno.EISDIR)
        if self._seen[self._child(parent, name)].kind == DIRECTORY:
            raise error(errno.EISDIR, name)
        self._name((parent, name, None))

    def rmdir(self, at: int, name: str) -> None:
        self._enter("rmdir", name)
        parent = self._place(at, name, errno.EINVAL if name == "." else errno.ENOTEMPTY)
        inode = self._seen[self._child(parent, name)]
        if inode.kind != DIRECTORY or inode.names:
            raise error(errno.ENOTEMPTY if inode.kind == DIRECTORY else errno.ENOTDIR, name)
        self._name((parent, name, None))

    # -- metadata
    def set_meta(self, fd: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> None:
        handle = self._handle(fd)
        wanted = (uid, gid, mode, mtime_ns)
        self._enter_calls("set_meta", handle.name, lambda: self._set(handle.serial, *wanted))

    def set_meta_at(
        self, at: int, name: str, uid: int, gid: int, mode: int | None, mtime_ns: int | None, ino: int = 0
    ) -> None:
        def calls() -> Iterator[None]:
            serial = self._child(self._directory(at), name)
            if ino and self._seen[serial].number != ino:
                raise error(errno.ESTALE, name)
            if mode is not None and self._seen[serial].kind == SYMLINK:
                raise error(errno.ELOOP, name)
            yield from self._set(serial, uid, gid, mode, mtime_ns)

        self._enter_calls("set_meta_at", name, calls)

    # -- extended attributes
    def xattr_names(self, at: int, name: str) -> list[str]:
        return sorted(self._of(at, name).xattrs)

    def xattr(self, at: int, name: str, attribute: str) -> bytes:
        try:
            return self._of(at, name).xattrs[attribute]
        except KeyError:
            raise error(errno.ENODATA, name) from None

    def _of(self, at: int, name: str) -> Inode:
        return self._seen[self._directory(at) if name == "." else self._child(self._directory(at), name)]

    def set_xattrs(self, at: int, name: str, changes: Mapping[str, bytes | None], ino: int = 0) -> None:
        def calls() -> Iterator[None]:
            parent = self._directory(at)
            serial = parent if name == "." else self._child(parent, name)
            if ino and self._seen[serial].number != ino:
                raise error(errno.ESTALE, name)
            for attribute, value in changes.items():
                if value is None and attribute not in self._seen[serial].xattrs:
                    raise error(errno.ENODATA, attribute)
                self._medium.do(Extended(self._medium.now(), serial, attribute, value))
                yield

        self._enter_calls("set_xattrs", name, calls)

    # -- durability and exclusion
    def fsync(self, fd: int) -> None:
        serial, name, _ = self._handle(fd)
        self._enter_sync("fsync", name, serial)
        self._medium.fsync(serial)

    def syncfs(self, fd: int) -> None:
        self._enter_sync("syncfs", self._handle(fd).name, None)
        if self._traits.syncfs_trusted:
            self._medium.syncfs()

    def syncfs_trusted(self, fd: int) -> bool:
        self._handle(fd)
        return self._traits.syncfs_trusted

    def try_lock(self, fd: int) -> bool:
        return self._locks.setdefault(self._handle(fd).serial, fd) == fd

    def unlock(self, fd: int) -> None:
        serial = self._handle(fd).serial
        if self._locks.get(serial) == fd:
            del self._locks[serial]

    # -- within
    def _enter(self, verb: str, *names: str) -> None:
        index = len(self.log)
        self.log.append((verb, *names))
        if self.hook is not None:
            self.hook(index, verb, names)
        if self._traits.space.read_only and verb not in ("fsync", "syncfs"):
            raise error(errno.EROFS, *names[:1])

    def _enter_sync(self, verb: str, name: str, serial: int | None) -> None:
        try:
            self._enter(verb, name)
        except PagesLost:
            self._medium.lose_pages(serial)
            raise

    def _enter_calls(self, verb: str, name: str, calls: Callable[[], Iterator[None]]) -> None:
        """A verb of several system calls: what interrupts it may come between any two of them."""
        try:
            self._enter(verb, name)
        except (VerbFailed, Killed) as failure:
            if failure.written:
                with contextlib.suppress(OSError):
                    for _ in islice(calls(), failure.written):
                        pass
            raise
        for _ in calls():
            pass

    def _set(self, serial: int, uid: int, gid: int, mode: int | None, mtime_ns: int | None) -> Iterator[None]:
        """Owner, mode, mtime, one after the other. What is so already changes nothing but the ctime."""
        inode = self._seen[serial]
        lends = inode.mode & 0o6000 and inode.kind == REGULAR
        calls: list[tuple[int, int, int | None, int | None]] = []
        if (uid, gid) != (-1, -1) and (lends or uid not in (-1, inode.uid) or gid not in (-1, inode.gid)):
            calls.append((uid, gid, None, None))
        if mode is not None and (calls or mode & 0o7777 != inode.mode):
            calls.append((-1, -1, mode, None))
        if mtime_ns not in (None, inode.mtime_ns):
            calls.append((-1, -1, None, mtime_ns))
        for call in calls or [(-1, -1, None, None)]:
            self._medium.do(Attributes(self._medium.now(), serial, *call))
            yield

    def _name(self, *slots: tuple[int, str, int | None]) -> None:
        """Give and take names in one step; what loses its last name lives on while it is open."""
        former = [self._seen[at].names.get(name) for at, name, _ in slots]
        self._medium.do(Naming(self._medium.now(), slots))
        for serial in former:
            if serial is not None:
                self._drop_if_unused(serial)

    def _drop_if_unused(self, serial: int) -> None:
        inode = self._seen.get(serial)
        if inode is not None and not inode.links and not self._users[serial]:
            self._medium.drop(serial)

    def _made(self, at: int, name: str, kind: int, mode: int, data: bytes = b"") -> int:
        return self._medium.make(kind, mode, data, self._vacant(at, name), name)

    def _opened(self, serial: int, name: str, writable: bool) -> int:
        fd, self._next_fd = self._next_fd, self._next_fd + 1
        self._open[fd] = _Open(serial, name, writable)
        self._users[serial] += 1
        return fd

    def _handle(self, fd: int) -> _Open:
        try:
            return self._open[fd]
        except KeyError:
            raise error(errno.EBADF) from None

    def _directory(self, fd: int) -> int:
        serial = self._handle(fd).serial
        if self._seen[serial].kind != DIRECTORY:
            raise error(errno.ENOTDIR)
        return serial

    def _child(self, parent: int, name: str) -> int:
        return child(self._seen, parent, name, self._traits.space.name_max)

    def _place(self, at: int, name: str, dots: int = errno.EBUSY) -> int:
        """The directory in which ``name`` may be changed; ``dots`` is the errno for ``.`` and ``..``."""
        parent = self._directory(at)
        if name in (".", ".."):
            raise error(dots, name)
        check_name(name, self._traits.space.name_max)
        return parent

    def _vacant(self, at: int, name: str) -> int:
        """The directory in which ``name`` may be made."""
        parent = self._place(at, name, errno.EEXIST)
        if name in self._seen[parent].names:
            raise error(errno.EEXIST, name)
        if not name or not self._seen[parent].links:
            raise error(errno.ENOENT, name)
        return parent

    def _refuse_loop(self, moved: int, into: int, name: str) -> None:
        if is_below(self._seen, into, moved):
            raise error(errno.EINVAL, name)
