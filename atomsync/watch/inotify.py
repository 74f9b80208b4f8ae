"""Linux: one kernel watch a directory.

Built on watchdog's low level reader, ``InotifyFD``, and not on its ``InotifyObserver``: that one holds
events back to pair moves, makes up events for what it finds in new directories, and says nothing of an
overflow.

What gives no event here, and is left to rescans: a write through another hard link of a file, if that
name lies in a directory outside; a change through a memory map, until the file is closed; what
happens beneath a mount point that is mounted over later.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from watchdog.observers.inotify_c import InotifyFD, WatchDescriptor, inotify_add_watch, inotify_rm_watch

from atomsync.tree.path import is_reserved, joined, shown
from atomsync.watch.covered import Covered, Node
from atomsync.watch.hint import ENTRY, EVERYWHERE, TREE, Hint
from atomsync.watch.limits import limit
from atomsync.watch.watcher import Hear, Uncovered

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _Q_OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK, _MASK_ADD, _ISDIR = 0x1000000, 0x4000000, 0x20000000, 0x40000000
# Nothing that reading causes: no ACCESS, OPEN, CLOSE_NOWRITE. MASK_ADD, for a watch that is there is asked
# for again to know a directory by it: without the flag the kernel sets its mask to nothing for an instant,
# and an event of that instant is lost (once in some twenty storms of 1,000 new directories).
_MASK = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
    | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _EXCL_UNLINK | _MASK_ADD
)  # fmt: skip
_CONTENT = _MODIFY | _ATTRIB | _CLOSE_WRITE
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name behind it
_BUFFER_BYTES = 1 << 18
_BACKLOG_BYTES = 1 << 24  # half a million events
_STOP_S = 5.0
_LOOKING_S = 0.01  # for what is handled at once
_NO_WD = 0  # the kernel counts from 1; an overflow has -1
_MOVES_MAX = 64  # the two halves of a move come close to each other
_CODEC = sys.getfilesystemencoding()


class _Backlog:
    """Events that were read and are not yet handled."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events = bytearray()
        self._ended = False

    def put(self, events: bytes) -> None:
        """No events are the end. Waits while there are too many: then the kernel's queue fills up."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) < _BACKLOG_BYTES)
            self._events += events
            self._ended = not events
            self._changed.notify_all()

    def take(self) -> bytes:
        """All there are, or none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ended)
            events, self._events = bytes(self._events), bytearray()
            self._changed.notify_all()
            return events


class _Reader(InotifyFD):
    """Puts what it reads into the backlog and does nothing else: so the kernel's queue, which a storm fills
    in 80 ms, is emptied while what came before is handled. (An object and a lock for every event, as in
    the base class, would take longer than all the rest.)"""

    def __init__(self, backlog: _Backlog) -> None:
        super().__init__()
        os.set_inheritable(self._inotify_fd, False)
        self._backlog = backlog

    def run(self) -> None:
        try:
            while events := self._read_event_buffer(_BUFFER_BYTES):
                self._backlog.put(events)
        finally:
            self._backlog.put(b"")

    def watch(self, fd: int, mask: int = _MASK) -> int:
        # By descriptor: no name is looked up again, so what is watched is what was opened.
        wd = int(inotify_add_watch(self._inotify_fd, b"/proc/self/fd/%d" % fd, mask))
        if wd == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return wd

    def unwatch(self, wd: int) -> None:
        # Fails only if the kernel has let it go already.
        inotify_rm_watch(self._inotify_fd, WatchDescriptor(wd))


class InotifyWatcher:
    """See ``Watcher``. ``excludes`` says of a directory's path whether to stay out of it; with ``device`` no
    directory on another one (st_dev) is entered. ``check`` is called for every directory while it starts.

    ``hear`` is called with the watcher's lock held: it must not call back, and ``start``, ``retry`` and
    ``barrier`` must not be called by somebody who holds a lock that ``hear`` takes.
    """

    ordered = True

    def __init__(
        self,
        root: str,
        hear: Hear,
        *,
        excludes: Callable[[str], bool] | None = None,
        device: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._root, self._hear, self._check = root, hear, check
        self._reader: _Reader | None = None
        self._covered = Covered(root, self._watch, self._unwatch, excludes, device)
        self._lock = threading.Lock()  # of the tree, and of the order of what is heard
        self._backlog = _Backlog()
        self._worker = threading.Thread(target=self._work, name="inotify worker", daemon=True)
        self._moves: dict[int, str] = {}  # cookie → from where, until it is known where to
        self._looking_s = 0.0
        self._broken, self._overflowed, self._stopped = "", False, False
        self._passed = threading.Condition()
        self._beacon = -1  # something of our own to watch: letting go of it gives an event
        self._beacon_wd = -1
        self._awaited: set[int] = set()  # beacons put out, whose event has not come
        self._arrived: set[int] = set()

    # -- Watcher
    def start(self) -> None:
        try:
            self._reader = _Reader(self._backlog)
        except OSError as error:
            if error.errno == errno.EMFILE:
                why = f"no inotify instance is left for this user: {_limit('max_user_instances')}"
                raise OSError(errno.EMFILE, why, self._root) from None
            raise
        self._reader.start()
        self._worker.start()
        try:
            self._beacon = os.memfd_create("beacon")
            self._light()
            with self._lock:
                self._covered.cover_all()
                self._check = None
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._stopped = True  # a walk that is going on ends soon
        self._hear = _deaf
        with self._passed:
            self._passed.notify_all()
        if self._lock.acquire(timeout=_STOP_S):
            self._lock.release()
        if self._reader is not None:
            self._reader.stop()
            self._reader.join(_STOP_S)
            self._worker.join(_STOP_S)
        if self._beacon != -1:
            os.close(self._beacon)
            self._beacon = -1

    @property
    def broken(self) -> str:
        return self._broken

    @property
    def overflowed(self) -> bool:
        return self._overflowed

    @property
    def directories(self) -> int:
        return len(self._covered.nodes)

    @property
    def uncovered(self) -> tuple[Uncovered, ...]:
        found = ((self._covered.path(node), error) for node, error in list(self._covered.uncovered.items()))
        return tuple(Uncovered(path, _why(error)) for path, error in found if path is not None)

    def retry(self) -> None:
        with self._lock, self._breaking():
            if self._broken or self._stopped:
                return
            for node in self._covered.retry():
                self._say_tree(node)

    def barrier(self, timeout_s: float) -> bool:
        def is_over() -> bool:
            return self._stopped or bool(self._broken) or mark not in self._awaited

        with self._passed:
            if self._stopped or self._broken or not self._light():
                return False
            mark, self._beacon_wd = self._beacon_wd, -1
            self._awaited.add(mark)
            self._unwatch(mark)  # answered by an event, behind all that are there
            self._light()  # at once, while there is one more watch to be had
            self._passed.wait_for(is_over, timeout_s)
            came = mark not in self._awaited
            self._awaited.discard(mark)
            return came and not self._broken

    # -- the kernel's side
    def _watch(self, fd: int) -> int:
        if self._reader is None or self._stopped:
            raise OSError(errno.ECANCELED, "the watcher was stopped")
        if self._check is not None:
            self._check()
        return self._reader.watch(fd)

    def _unwatch(self, wd: int) -> None:
        if self._reader is not None and not self._stopped:
            self._reader.unwatch(wd)

    def _light(self) -> bool:
        if self._beacon_wd == -1 and self._reader is not None:
            with contextlib.suppress(OSError):
                self._beacon_wd = self._reader.watch(self._beacon, _DELETE_SELF)
        return self._beacon_wd != -1

    def _work(self) -> None:
        """The worker: handle what the reader reads, until it ends."""
        while events := self._backlog.take():
            with self._lock, self._breaking():
                if not (self._broken or self._stopped):
                    self._handle(events)
                    for node in self._covered.settle():
                        self._say_tree(node)
            if self._arrived:
                with self._passed:
                    self._awaited -= self._arrived
                    self._passed.notify_all()
                self._arrived.clear()
        self._break("the thread that reads its events has ended")

    @contextlib.contextmanager
    def _breaking(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._break(f"the source can no longer be reached: {error.strerror or error}")
        except Exception as error:
            self._break(f"its reader failed: {error!r}")

    def _break(self, why: str) -> None:
        if not self._broken and not self._stopped:
            self._broken = why
            with self._passed:
                self._passed.notify_all()
            self._hear(EVERYWHERE)

    # -- events
    def _handle(self, events: bytes) -> None:
        """Events to hints. Events about the content of one file that follow each other make one hint."""
        nodes, node, at, end = self._covered.nodes, self._covered.top, 0, len(events)
        known = _NO_WD  # the watch of the directory whose path is in
        directory: str | None = None  # (None: it has no place now)
        self._looking_s = 0.0
        file: tuple[int, bytes] | None = None  # whose hint is still to be said,
        path, created, writing = "", False, None  # and with what
        while at < end and not self._broken:
            wd, mask, cookie, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            raw = events[at - length : at]
            if file is not None:
                if not mask & ~_CONTENT and file == (wd, raw):
                    if mask != _ATTRIB:
                        created, writing = False, mask == _MODIFY
                    continue
                self._hear(Hint(path, ENTRY, "", self._is_written(path) if created else writing))
                file = None
            if wd != known:
                found = nodes.get(wd)
                if found is None:
                    self._of_no_node(wd, mask)
                    continue
                node = found
                known, directory = wd, self._covered.path(node)
            if not raw:
                self._of_itself(node, directory, mask)
                known = _NO_WD
                continue
            name = raw.rstrip(b"\0").decode(_CODEC, "surrogateescape")
            if name[0] == "." and is_reserved(name):
                continue
            if mask & _ISDIR:
                self._of_directory(node, directory, name, mask, cookie)
                known = _NO_WD  # any directory may have another place now
            elif directory is not None:
                path = joined(directory, name)
                if mask & (_CONTENT | _CREATE):
                    file, created = (wd, raw), mask == _CREATE
                    writing = None if mask & _ATTRIB else mask == _MODIFY
                elif mask & _MOVED_TO:
                    self._hear(Hint(path, ENTRY, self._moves.pop(cookie, ""), False))
                else:
                    self._gone(path, mask, cookie)
        if file is not None:
            self._hear(Hint(path, ENTRY, "", self._is_written(path) if created else writing))

    def _of_no_node(self, wd: int, mask: int) -> None:
        if mask & _Q_OVERFLOW:
            self._overflowed = True
            size = _limit("max_queued_events")
            self._break(f"the kernel's event queue overflowed, so some changes were not told ({size})")
        elif wd in self._awaited:
            self._arrived.add(wd)

    def _of_itself(self, node: Node, path: str | None, mask: int) -> None:
        top = node is self._covered.top
        if mask & _UNMOUNT and path is not None:
            self._break(f"{shown(path) if path else 'the source'} was unmounted")
        elif top and mask & (_DELETE_SELF | _IGNORED):
            self._break("the source directory was removed")
        elif top and mask & _MOVE_SELF:
            self._break("the source directory was moved to another place")
        elif mask & _IGNORED:
            self._covered.forget(node)
        elif mask & _ATTRIB and path is not None:
            self._hear(Hint(path))

    def _of_directory(self, parent: Node, directory: str | None, name: str, mask: int, cookie: int) -> None:
        if not mask & _ATTRIB:
            self._covered.look(parent, name)
        if directory is None:
            return
        path = joined(directory, name)
        if mask & (_CREATE | _MOVED_TO):
            self._hear(Hint(path, TREE, self._moves.pop(cookie, "")))
        else:
            self._gone(path, mask, cookie)

    def _gone(self, path: str, mask: int, cookie: int) -> None:
        if mask & _MOVED_FROM:
            self._moves[cookie] = path
            if len(self._moves) > _MOVES_MAX:
                del self._moves[next(iter(self._moves))]
        self._hear(Hint(path))

    def _is_written(self, path: str) -> bool | None:
        """Of a name that was made, with no other event yet: a new, empty file is open and will be closed.

        A link or a special file is not, nor is a further name of a file, also if the first is gone again
        (so git makes its objects): no other event will come. What is written gives an event of its own. One
        look costs 2 µs, or the 5 ms until a busy thread gives the interpreter back: so not thousands.
        """
        if self._looking_s > _LOOKING_S:
            return None
        start_s = time.monotonic()
        try:
            found = os.lstat(os.path.join(self._root, path))
        except OSError:
            return None
        finally:
            self._looking_s += time.monotonic() - start_s
        new = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size == 0
        return True if new else None

    def _say_tree(self, node: Node) -> None:
        path = self._covered.path(node)
        if path is not None:
            self._hear(Hint(path, TREE))


def _deaf(hint: Hint) -> None:
    """Hears nothing any more."""


def _why(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no more directories can be watched: {_limit('max_user_watches')}"
    return error.strerror or str(error)


def _limit(name: str) -> str:
    found = limit(name)
    return f"see sysctl fs.inotify.{name}" if found is None else f"sysctl fs.inotify.{name} is {found}"
