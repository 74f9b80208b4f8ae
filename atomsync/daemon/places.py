"""Where the control sockets are: a directory of ours alone, found again by whoever asks later.

A socket is named after its destination's path and does not lie in it: a watch must be seen, paused and
asked why it waits while its destination is unmounted. A destination reached through a symbolic link has two
names, and a watch keeps both: the link may lead elsewhere later.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence

import xxhash

from atomsync.errors import AccessError, StoreLocked, from_oserror
from atomsync.fs.posix import PosixDisk
from atomsync.store import lock
from atomsync.tree.path import shown

_BACKLOG = 64
_RUN = "/run" if os.path.isdir("/run") else "/var/run"


def places() -> list[str]:
    """The directories in which a socket of this user may be, the best first."""
    user, found = os.geteuid(), []
    if given := os.environ.get("RUNTIME_DIRECTORY"):  # systemd's, for the service itself
        found.append(given.split(":")[0])
    if user and (given := os.environ.get("XDG_RUNTIME_DIR")):
        found.append(f"{given}/atomsync")
    found.append(f"{_RUN}/atomsync")
    if user:
        found.append(f"/tmp/atomsync-{user}")
    return list(dict.fromkeys(found))


def socket_names(destination: str) -> list[str]:
    """The names of a destination's sockets, less their suffix: as given first, then with links resolved."""
    paths = dict.fromkeys((os.path.abspath(destination), os.path.realpath(destination)))
    return [xxhash.xxh3_64_hexdigest(os.fsencode(path)) for path in paths]


def socket_path(directory: int, name: str, place: str) -> str:
    """A path of a socket that fits into the 108 bytes the kernel allows, however long ``place`` is."""
    return f"/proc/self/fd/{directory}/{name}" if sys.platform == "linux" else f"{place}/{name}"


def own_place(disk: PosixDisk) -> tuple[str, int]:
    """The best place that is, or becomes, ours: its path and an open descriptor. Raises AccessError."""
    refused = []
    for place in places():
        with contextlib.suppress(OSError):  # what is wrong, opening it tells
            os.mkdir(place, 0o700)
        try:
            fd = disk.open_root(place)
        except OSError as error:
            refused.append(f"{shown(place)}: {error.strerror}")
            continue
        found = disk.fstat(fd)
        if found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return place, fd
        disk.close(fd)
        refused.append(
            f"{shown(place)}: it belongs to user {found.st_uid}, mode {found.st_mode & 0o7777:04o}"
        )
    raise AccessError(
        "cannot make a control socket",
        "; ".join(refused),
        "Set XDG_RUNTIME_DIR to a directory that only you can write.",
    )


def open_places(disk: PosixDisk) -> Iterator[tuple[str, int]]:
    """The places that exist and nobody could have prepared for us, each open until the next is asked for.

    Root may trust any owner: no place of root's lies where others could make it.
    """
    for place in places():
        try:
            fd = disk.open_root(place)
        except OSError:
            continue
        try:
            found = disk.fstat(fd)
            if os.geteuid() == 0 or (found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022):
                yield place, fd
        finally:
            disk.close(fd)


class Door:
    """A lock and a socket for each name of a destination, in one place: who has them is its watch.

    Making one raises StoreLocked, naming who is there already, and AccessError or DiskError if it cannot be.
    """

    def __init__(self, destination: str, names: Sequence[str]) -> None:
        self._destination, self._names = destination, names
        self._disk = PosixDisk()
        self._place, self._directory = own_place(self._disk)
        with contextlib.ExitStack() as undo:
            undo.callback(self._disk.close, self._directory)
            try:
                self._locks = [self._locked(name, undo) for name in names]
                for fd in self._locks:
                    lock.sign(self._disk, fd, brief=False)
                self.listening = undo.enter_context(self._listen())
                files = [f"{name}{suffix}" for name in names for suffix in (".socket", ".lock")]
                self._made = {file: _inode(self._disk, self._directory, file) for file in files}
            except OSError as error:
                raise from_oserror(error, f"cannot make a control socket in {shown(self._place)}") from None
            undo.pop_all()  # from here on, close() does that

    def close(self) -> None:
        with contextlib.suppress(OSError):  # wakes who accepts
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for file in self._found():
            if file.endswith(".socket"):
                with contextlib.suppress(OSError):
                    self._disk.unlink(self._directory, file)
        for fd in self._locks:
            lock.release(self._disk, fd)
        self._disk.close(self._directory)

    def stands(self) -> bool:
        """Whether others find it still. Its files are touched: what is long unused, a cleaner removes."""
        found = self._found()
        for file in found:
            with contextlib.suppress(OSError):
                self._disk.set_meta_at(self._directory, file, -1, -1, None, time.time_ns())
        return len(found) == len(self._made)

    def _found(self) -> list[str]:
        """Its files that are, as themselves, where others look for them."""
        found = []
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            directory = self._disk.open_root(self._place)
            stack.callback(self._disk.close, directory)
            for file, inode in self._made.items():
                with contextlib.suppress(FileNotFoundError):
                    if _inode(self._disk, directory, file) == inode:
                        found.append(file)
        return found

    def _locked(self, name: str, undo: contextlib.ExitStack) -> int:
        fd = self._disk.open_lock(self._directory, f"{name}.lock")
        undo.callback(self._disk.close, fd)  # and no more: what is written in it may be another's
        try:
            lock.take(self._disk, fd, self._destination, lambda: lock.read_text(self._disk, fd))
            holder = self._holder_elsewhere(name)
        except StoreLocked as error:
            holder = error.why
        if holder:
            raise StoreLocked(
                f"another watch follows a source into {shown(self._destination)}",
                holder,
                "A destination has one watch: atomsync status DST shows it.",
            )
        return fd

    def _holder_elsewhere(self, name: str) -> str:
        """A watch of ours that was started with another runtime directory."""
        for place, directory in open_places(self._disk):
            if place == self._place:
                continue
            with contextlib.suppress(OSError):
                fd = self._disk.open_file(directory, f"{name}.lock")
                try:
                    if holder := lock.holder(self._disk, fd):
                        return holder
                finally:
                    self._disk.close(fd)
        return ""

    def _listen(self) -> socket.socket:
        """One socket, by each of the names."""
        first, *others = [f"{name}.socket" for name in self._names]
        for file in (first, *others):
            with contextlib.suppress(FileNotFoundError):  # of a watch that was killed: the locks are ours
                self._disk.unlink(self._directory, file)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(socket_path(self._directory, first, self._place))
            self._disk.set_meta_at(self._directory, first, -1, -1, 0o600, None)
            for other in others:
                self._disk.link(self._directory, first, self._directory, other)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening


def _inode(disk: PosixDisk, directory: int, file: str) -> tuple[int, int]:
    found = disk.lstat(directory, file)
    return found.st_dev, found.st_ino
