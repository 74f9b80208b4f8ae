"""The control directory: where a store keeps its lock, its unfinished unit, its history.

    .atomsync/            0700, ours, on the destination's own filesystem
      lock                flock for as long as a process works on the store; its text names the holder
      unit/               at most one unfinished unit; that it exists means: recovery is needed
        journal           append only; under this name only once it was synced whole
        slots/<n>         before the swap the new object, after it the old one
        decision          what recovery decided, in a file of its own
      history/<unit id>/  finished units: their journals and the displaced objects
      retired/            what may be deleted at any time, in any order
      conflicts/<unit id>/  objects of other writers that a rollback met and must not destroy
      destination         inode and path of DST, if this is a --state-dir
      probe/              scratch, while the filesystem's capabilities are tried
      manifest.sqlite     path → entry, as last committed; derived, may be lost

Anyone who could plant this directory could make us rename and delete at will. So it is trusted only if
it is a directory, ours alone (owner and mode), and on the destination's device.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from atomsync.errors import ControlUntrusted, StoreLocked, UsageError, from_oserror
from atomsync.fs.capabilities import Capabilities, probe
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.store.removal import remove_tree
from atomsync.tree.path import CONTROL_NAME, shown

LOCK, UNIT, HISTORY, RETIRED, CONFLICTS, MANIFEST = (
    "lock",
    "unit",
    "history",
    "retired",
    "conflicts",
    "manifest.sqlite",
)
DESTINATION = "destination"
JOURNAL, JOURNAL_DRAFT, SLOTS, DECISION = "journal", "journal.draft", "slots", "decision"
PROBE = "probe"
_LOCK_TEXT_MAX_BYTES = 4096


class Made(NamedTuple):
    """That we made the control directory, and what the destination's mtime was before, in ns."""

    mtime_ns: int
    state_dir: str | None


class Control:
    """An open, checked control directory and the destination it governs.

    ``root`` and ``fd`` are descriptors of the destination and of the control directory. Nobody else
    changes the store while ``locked``; one object serves one thread.
    """

    def __init__(self, disk: Disk, root: int, fd: int, where: str) -> None:
        self.disk, self.root, self.fd, self.where = disk, root, fd, where
        self.tree = Cursor(disk, root)
        self._lock: int | None = None
        self._capabilities: Capabilities | None = None
        self.made: Made | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the filesystem can do; probed at the first question, which must be under the lock."""
        if self._capabilities is None:
            remove_tree(self.disk, self.fd, PROBE)
            self.disk.mkdir(self.fd, PROBE)
            with self.opened(PROBE) as at:
                self._capabilities = probe(self.disk, at)
            remove_tree(self.disk, self.fd, PROBE)
        return self._capabilities

    def lock(self) -> None:
        """Take the store's lock, or raise StoreLocked with the name of its holder."""
        fd = self.disk.open_lock(self.fd, LOCK)
        try:
            if not self.disk.try_lock(fd):
                raise StoreLocked(
                    f"another process is working on {shown(self.where)}",
                    _holder(self.disk.pread(fd, _LOCK_TEXT_MAX_BYTES, 0)),
                    "Wait until it is done, then run this again.",
                )
        except BaseException:
            self.disk.close(fd)
            raise
        self._lock = fd
        with contextlib.suppress(OSError):  # information only: a full disk must not lock anybody out
            self._sign(fd)

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock: a helper process that has it too keeps the store locked."""
        assert self._lock is not None, "the store must be locked"
        return self._lock

    def holder(self) -> str:
        """Who has the lock now; "" if nobody. Only looks: works on a read-only filesystem too."""
        try:
            fd = self.disk.open_file(self.fd, LOCK)
        except FileNotFoundError:
            return ""
        try:
            return "" if self.disk.try_lock(fd) else _holder(self.disk.pread(fd, _LOCK_TEXT_MAX_BYTES, 0))
        finally:
            self.disk.close(fd)

    def unlock(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self.disk.truncate(self._lock, 0)
            self.disk.close(self._lock)
            self._lock = None

    def close(self) -> None:
        self.unlock()
        self.tree.close()
        self.disk.close(self.fd)
        self.disk.close(self.root)

    def _sign(self, fd: int) -> None:
        text = json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv[:4])[:200], "since": _now()})
        self.disk.truncate(fd, 0)
        self.disk.write(fd, text.encode(), 0)

    def unmake(self) -> None:
        """Close. If we made the control directory, and nothing in it matters, leave no trace of it."""
        made = self.made
        try:
            ours = self._lock is not None or not self.has(LOCK)
            if made is not None and ours and not self.has(UNIT) and not self.has(CONFLICTS):
                for name, _ in self.disk.scandir(self.fd):
                    remove_tree(self.disk, self.fd, name)
                if made.state_dir is not None:
                    os.rmdir(made.state_dir)
                else:
                    self.disk.rmdir(self.root, CONTROL_NAME)
                    _restore_time(self.disk, self.root, made.mtime_ns)
        except OSError:
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
                fds.append(self.disk.open_dir(fds[-1], name))
            yield fds[-1]
        finally:
            for fd in fds[1:]:
                self.disk.close(fd)

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


def open_control(disk: Disk, path: str, state_dir: str | None = None, *, make: bool = True) -> Control | None:
    """Open destination ``path`` and its control directory.

    Where there is none yet, it is made, or None returned if not ``make``. Raises ControlUntrusted,
    UsageError (a state directory on another filesystem), AccessError.
    """
    root = _opening(lambda: disk.open_root(path), f"cannot open {shown(path)}")
    control = None
    try:
        before = disk.fstat(root)
        made = make and _made(disk, root, path, state_dir)
        fd = _open_control_fd(disk, root, path, state_dir)
        if fd is None:
            return None
        control = Control(disk, root, fd, path)
        if made:
            control.made = Made(before.st_mtime_ns, state_dir)
            if state_dir is None:
                _restore_time(disk, root, before.st_mtime_ns)
        _check_trust(disk, root, fd, state_dir or f"{path}/{CONTROL_NAME}")
        if state_dir is not None:
            _check_owner(control, path, state_dir, make=make)
        return control
    except BaseException:
        if control is not None:
            control.unmake()
        raise
    finally:
        if control is None:
            disk.close(root)


def _restore_time(disk: Disk, root: int, mtime_ns: int) -> None:
    """Our own directory comes and goes in the destination; that is no change of the tree."""
    with contextlib.suppress(PermissionError):  # somebody else's directory, in which we may write
        disk.set_meta(root, -1, -1, None, mtime_ns)


def _made(disk: Disk, root: int, path: str, state_dir: str | None) -> bool:
    """Make the control directory; False if there was something by its name."""
    try:
        if state_dir is not None:
            os.mkdir(state_dir, 0o700)
            os.chmod(state_dir, 0o700)  # not the setgid bit of a parent
        else:
            disk.mkdir(root, CONTROL_NAME)
            disk.set_meta_at(root, CONTROL_NAME, -1, -1, 0o700, None)
    except FileExistsError:
        return False
    except OSError as error:
        where = shown(state_dir or f"{path}/{CONTROL_NAME}")
        raise from_oserror(error, f"cannot make {where}") from None
    return True


def _open_control_fd(disk: Disk, root: int, path: str, state_dir: str | None) -> int | None:
    try:
        return disk.open_dir(root, CONTROL_NAME) if state_dir is None else disk.open_root(state_dir)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _untrusted(shown(state_dir or f"{path}/{CONTROL_NAME}"), error.strerror or str(error)) from None


def _check_trust(disk: Disk, root: int, fd: int, where: str) -> None:
    found = disk.fstat(fd)
    if found.st_uid != os.geteuid():
        raise _untrusted(where, f"it belongs to user {found.st_uid}, we are {os.geteuid()}")
    if found.st_mode & 0o077:
        raise _untrusted(where, f"others may use it (mode {found.st_mode & 0o7777:04o})")
    if found.st_dev != disk.fstat(root).st_dev:
        raise UsageError(
            f"cannot keep the state in {shown(where)}",
            "it is not on the destination's filesystem, and renames do not cross filesystems",
            "Choose another --state-dir.",
        )


def _check_owner(control: Control, path: str, state_dir: str, *, make: bool) -> None:
    """A state directory serves one destination: another's journal would be undone against this one."""
    disk = control.disk
    mine = str(disk.fstat(control.root).st_ino)
    fresh = not disk.scandir(control.fd)
    if fresh and not make:
        return
    try:
        fd = disk.create(control.fd, DESTINATION) if fresh else disk.open_file(control.fd, DESTINATION)
    except FileNotFoundError:
        raise _untrusted(shown(state_dir), f"no file {DESTINATION!r} says which DST it serves") from None
    try:
        if fresh:
            disk.write(fd, f"{mine} {os.path.realpath(path)}\n".encode("utf-8", "surrogateescape"), 0)
            disk.fsync(fd)
            return
        inode, _, where = disk.pread(fd, _LOCK_TEXT_MAX_BYTES, 0).decode("utf-8", "replace").partition(" ")
    finally:
        disk.close(fd)
    if inode != mine:
        raise UsageError(
            f"cannot use the state directory {shown(state_dir)} for {shown(path)}",
            f"it serves {shown(where.strip())}",
            "Give each DST a --state-dir of its own.",
        )


def _untrusted(where: str, why: str) -> ControlUntrusted:
    return ControlUntrusted(
        f"cannot trust the control directory {shown(where)}",
        why,
        "If it is yours: chown it to you and chmod 0700. If you do not know it: look inside, move it away.",
    )


def _opening(verb: Callable[[], int], what: str) -> int:
    try:
        return verb()
    except OSError as error:
        raise from_oserror(error, what) from None


def _holder(text: bytes) -> str:
    try:
        said = json.loads(text)
        return f"process {said['pid']} ({shown(str(said['command']))}) since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return "its holder left no name"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
