"""The control directory: where a store keeps its lock, its unfinished unit, its history.

.atomsync/            0700, ours, on the destination's own filesystem
  lock                flock for a commit or a recovery, and for the whole of a push; its text names the holder
  pending/<n>/        units that are being staged, locked (flock) by whoever stages: without a lock, waste
  unit/               at most one unit that is being committed; that it exists means: recovery is needed
    journal           append only; synced whole before the unit gets this place
    slots/<n>         before the swap the new object, after it the old one
    decision          what recovery decided, in a file of its own
  prepared/<unit id>/ sealed units that rest until another party has decided
  history/<unit id>/  finished units: their journals and the displaced objects
  retired/            what may be deleted at any time, in any order
  given-up            empty; without it no unit of the history was ever given up
  conflicts/<unit id>/  objects of other writers that a rollback met and must not destroy
  destination         inode and path of DST, if this is a --state-dir
  making              empty; this is a destination in the making (``sibling``)
  probe/              scratch, while the filesystem's capabilities are tried
  verified            how far a verification came that was stopped
  view/               scratch, the tree as a sealed unit will leave it, while it is checked
  manifest.sqlite     path → entry, as last committed; derived, may be lost
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import TypeVar

from atomsync.errors import AtomSyncError, ControlUntrusted, UsageError
from atomsync.fs.capabilities import Capabilities, probe
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.folding import Folding, probe_folding
from atomsync.store import lock
from atomsync.store.removal import remove_tree
from atomsync.tree.path import CONTROL_NAME, shown

LOCK, PENDING, UNIT, PREPARED, MANIFEST = "lock", "pending", "unit", "prepared", "manifest.sqlite"
HISTORY, RETIRED, CONFLICTS, GIVEN_UP = "history", "retired", "conflicts", "given-up"
DESTINATION, _DESTINATION_DRAFT = "destination", "destination.draft"
JOURNAL, SLOTS, DECISION = "journal", "slots", "decision"
PROBE, VIEW, MAKING = "probe", "view", "making"
VERIFIED, VERIFIED_DRAFT = "verified", "verified.draft"
_Found = TypeVar("_Found")
_DESTINATION_MAX_BYTES = 8192


class Control:
    """An open, checked control directory and the destination it governs.

    ``root`` and ``fd`` are descriptors of the destination and of the control directory. Nobody else
    changes the store while it is locked; one object serves one thread. ``made_ns``: we made the control
    directory, and this was the destination's mtime before. ``where``: its path, for people; ``at``: the one
    that leads to it now (see ``sibling``).
    """

    def __init__(
        self, disk: Disk, root: int, fd: int, where: str, state_dir: str | None = None, at: str = ""
    ) -> None:
        self.disk, self.root, self.fd, self.where, self.state_dir = disk, root, fd, where, state_dir
        self.at = at or where
        self.tree = Cursor(disk, root)
        self._lock: int | None = None
        self._capabilities: Capabilities | None = None
        self._folding: Folding | None = None
        self.made_ns: int | None = None
        self.root_locked = False
        self.commit_names: dict[str, str] = {}  # of finished units; they never change
        self.deciding = False  # a commit record was begun: what comes out of it only recovery can tell

    @property
    def capabilities(self) -> Capabilities:
        """What the filesystem can do; probed at the first question, which must be under the lock."""
        if self._capabilities is None:
            self._capabilities = self._probed(probe)
        return self._capabilities

    @property
    def folding(self) -> Folding:
        """Which names the filesystem takes for one; probed as ``capabilities``."""
        if self._folding is None:
            self._folding = self._probed(probe_folding)
        return self._folding

    def _probed(self, probe: Callable[[Disk, int], _Found]) -> _Found:
        remove_tree(self.disk, self.fd, PROBE)
        self.disk.mkdir(self.fd, PROBE)
        try:
            with self.opened(PROBE) as at:
                return probe(self.disk, at)
        finally:
            remove_tree(self.disk, self.fd, PROBE)

    def adopt(self, capabilities: Capabilities) -> None:
        """As probed before, by somebody who knows that this is still the same filesystem."""
        self._capabilities = capabilities

    def lock(self, *, brief: bool = False) -> None:
        """Take the store's lock, or raise StoreLocked with the name of its holder. ``brief``: for a commit
        only; for that others wait who would not wait for a push.

        Raises FileNotFoundError if what was locked is no longer what the paths lead to.
        """
        fd = self._opened_lock(lambda: self.disk.open_lock(self.fd, LOCK))
        try:
            self.root_locked = lock_root(self.disk, self.root, self.where, self.state_dir)
            lock.take(self.disk, fd, self.where, lambda: lock.read_text(self.disk, fd))
            if not self._is_current(fd):
                raise vanished(self.where)
        except BaseException:
            self.disk.close(fd)
            self._unlock_root()
            raise
        self._lock = fd
        lock.sign(self.disk, fd, brief=brief)

    @property
    def locked(self) -> bool:
        return self._lock is not None

    def holder(self) -> str:
        """Who has the lock now; "" if nobody. Only looks: works on a read-only filesystem too."""
        try:
            fd = self._opened_lock(lambda: self.disk.open_file(self.fd, LOCK))
        except FileNotFoundError:
            return ""
        try:
            return lock.holder(self.disk, fd)
        finally:
            self.disk.close(fd)

    def unlock(self) -> None:
        if self._lock is not None:
            lock.release(self.disk, self._lock)
            self._lock = None
        self._unlock_root()

    def _unlock_root(self) -> None:
        if self.root_locked:
            self.root_locked = False
            with contextlib.suppress(OSError):  # a dead disk; the kernel takes it back at the close
                self.disk.unlock(self.root)

    def close(self) -> None:
        """Never fails: what was done is done, also on a disk that died meanwhile."""
        self.unlock()
        with contextlib.suppress(OSError):
            self.tree.close()
        for fd in (self.fd, self.root):
            with contextlib.suppress(OSError):
                self.disk.close(fd)

    def let_go(self) -> None:
        """In a child of the process that opened it: close the copies of its descriptors, and nothing else."""
        self.tree.close()
        for fd in (self.fd, self.root, self._lock):
            if fd is not None:
                self.disk.close(fd)

    def _opened_lock(self, verb: Callable[[], int]) -> int:
        try:
            fd = verb()
        except OSError as error:
            if error.errno == errno.ENOENT and self.disk.fstat(self.fd).st_nlink == 0:
                raise vanished(self.where) from None
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            raise self._misplaced(LOCK) from None
        try:
            regular = stat.S_ISREG(self.disk.fstat(fd).st_mode)
        except BaseException:
            self.disk.close(fd)
            raise
        if not regular:
            self.disk.close(fd)
            raise self._misplaced(LOCK)
        return fd

    def _is_current(self, lock_fd: int) -> bool:
        """Whoever unmakes a store does it under its lock: so what is still in place then, stays."""
        disk = self.disk
        try:
            root = disk.open_root(self.at)
            try:
                fd = disk.open_root(self.state_dir) if self.state_dir else disk.open_dir(root, CONTROL_NAME)
                try:
                    pairs = [(root, self.root), (fd, self.fd)]
                    same = all(disk.fstat(one).st_ino == disk.fstat(other).st_ino for one, other in pairs)
                finally:
                    disk.close(fd)
            finally:
                disk.close(root)
            return same and disk.lstat(self.fd, LOCK).st_ino == disk.fstat(lock_fd).st_ino
        except (FileNotFoundError, NotADirectoryError):
            return False

    def claim(self, *, make: bool) -> None:
        """A state directory serves one destination: another's journal would be undone against this one.

        Raises UsageError if it serves another. A new one is bound to ours if ``make``, under the lock.
        """
        if self.state_dir is None:
            return
        disk, mine = self.disk, str(self.disk.fstat(self.root).st_ino)
        if not {name for name, _ in disk.scandir(self.fd)} - {LOCK, _DESTINATION_DRAFT}:
            if make:
                self._bind(f"{mine} {os.path.realpath(self.where)}\n")
            return
        try:
            fd = disk.open_file(self.fd, DESTINATION)
        except FileNotFoundError:
            why = f"no file {DESTINATION!r} says which DST it serves"
            raise untrusted(shown(self.state_dir), why) from None
        try:
            said = disk.pread(fd, _DESTINATION_MAX_BYTES, 0).decode("utf-8", "replace")
        finally:
            disk.close(fd)
        inode, _, where = said.partition(" ")
        if inode != mine:
            raise UsageError(
                f"cannot use the state directory {shown(self.state_dir)} for {shown(self.where)}",
                f"it serves {shown(where.strip())}",
                "Give each DST a --state-dir of its own.",
            )

    def _bind(self, text: str) -> None:
        disk = self.disk
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(self.fd, _DESTINATION_DRAFT)
        fd = disk.create(self.fd, _DESTINATION_DRAFT)
        try:
            disk.write(fd, text.encode("utf-8", "surrogateescape"), 0)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.replace(self.fd, _DESTINATION_DRAFT, self.fd, DESTINATION)

    def _misplaced(self, name: str) -> ControlUntrusted:
        return untrusted(shown(f"{self.where}/{CONTROL_NAME}"), f"what it has as {name!r} is not ours")

    def unmake(self, *, root: bool = False) -> None:
        """Close. What we made, and in which nothing matters, goes: the control directory, and with
        ``root`` the destination. Under a lock: without one another may be using them by now."""
        ours = self._lock is not None or self.root_locked
        try:
            held = any(self.names(name) for name in (UNIT, PREPARED, HISTORY, CONFLICTS))
            if held or not (root or self.made_ns is not None):
                return
            if ours:
                # First. Stages are made under no lock, but this directory is: if it goes, there is none.
                with contextlib.suppress(FileNotFoundError):
                    self.disk.rmdir(self.fd, PENDING)
                for name, _ in self.disk.scandir(self.fd):
                    if name != LOCK or self.made_ns is not None:
                        remove_tree(self.disk, self.fd, name)
            if self.made_ns is not None and self.state_dir is not None:
                os.rmdir(self.state_dir)
            elif self.made_ns is not None:
                take_away(self.disk, self.root, self.made_ns)
            if root and ours:
                os.rmdir(self.at)
        except (OSError, AtomSyncError):
            pass  # a trace stays; it does no harm
        finally:
            self.close()

    # -- small verbs that several rooms of the store share
    @contextlib.contextmanager
    def opened(self, *names: str, make: bool = False) -> Iterator[int]:
        """The descriptor of a directory below the control directory, for the time of a ``with``."""
        fds = [self.fd]
        try:
            for name in names:
                if make:
                    with contextlib.suppress(FileExistsError):
                        self.disk.mkdir(fds[-1], name)
                fds.append(self._open_dir(fds[-1], name))
            yield fds[-1]
        finally:
            for fd in fds[1:]:
                self.disk.close(fd)

    def _open_dir(self, at: int, name: str) -> int:
        try:
            return self.disk.open_dir(at, name)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise self._misplaced(name) from None

    def has(self, *names: str) -> bool:
        try:
            with self.opened(*names[:-1]) as at:
                self.disk.lstat(at, names[-1])
        except FileNotFoundError:
            return False
        return True

    def names(self, *below: str) -> list[str]:
        """Sorted names in a directory below the control directory; empty if it does not exist."""
        try:
            with self.opened(*below) as at:
                return sorted(name for name, _ in self.disk.scandir(at))
        except FileNotFoundError:
            return []


def restore_time(disk: Disk, root: int, mtime_ns: int) -> None:
    """Our own directory comes and goes in the destination; that is no change of the tree."""
    with contextlib.suppress(PermissionError):  # somebody else's directory, in which we may write
        disk.set_meta(root, -1, -1, None, mtime_ns)


def take_away(disk: Disk, root: int, mtime_ns: int) -> None:
    with contextlib.suppress(OSError):  # a trace stays; it does no harm
        disk.rmdir(root, CONTROL_NAME)
        restore_time(disk, root, mtime_ns)


def open_to_others(where: str, mode: int) -> ControlUntrusted:
    return untrusted(
        where,
        f"others may use it (mode {mode & 0o7777:04o})",
        " If chmod changes nothing (vfat, exFAT, NTFS): mount NTFS with -o permissions, the others with"
        " -o umask=077.",
    )


def untrusted(where: str, why: str, more: str = "") -> ControlUntrusted:
    hint = "If it is yours: chown it to you and chmod 0700. If you do not know it: look inside, move it away."
    return ControlUntrusted(f"cannot trust the control directory {shown(where)}", why, hint + more)


def vanished(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "it, or its control directory, is not there any more", path)


def lock_root(disk: Disk, root: int, path: str, state_dir: str | None) -> bool:
    """Lock the destination itself, before anything is made in it: others may have another state directory.

    Raises StoreLocked. Again for who has it already is nothing. False where directories cannot be locked.
    """

    def signed() -> bytes:
        try:
            fd = disk.open_dir(root, CONTROL_NAME) if state_dir is None else disk.open_root(state_dir)
            try:
                file = disk.open_file(fd, LOCK)
                try:
                    return lock.read_text(disk, file)
                finally:
                    disk.close(file)
            finally:
                disk.close(fd)
        except OSError:
            return b""

    try:
        lock.take(disk, root, path, signed)
    except OSError:  # as on NFS: then the lock file must do
        return False
    return True
