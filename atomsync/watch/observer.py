"""Elsewhere than on Linux: whatever watchdog has for the platform (FSEvents, kqueue, ReadDirectoryChangesW).

It promises no order and counts nothing, so it has no barrier; what it may miss is left to rescans.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

from atomsync.errors import UsageError
from atomsync.tree.path import is_reserved, shown
from atomsync.watch.hint import ENTRY, NAMES, TREE, Hint
from atomsync.watch.watcher import Hear, Uncovered, Watcher

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

_STOP_S = 5.0


def watcher_for(
    root: str,
    hear: Hear,
    *,
    excludes: Callable[[str], bool] | None = None,
    device: int | None = None,
    check: Callable[[], None] | None = None,
) -> Watcher:
    """The best watcher of this platform, not started. Raises UsageError without watchdog. ``check`` is
    called while it starts, and may raise to end that."""
    try:
        if platform.system() == "Linux":
            from atomsync.watch.inotify import InotifyWatcher

            return InotifyWatcher(root, hear, excludes=excludes, device=device, check=check)
        return ObserverWatcher(root, hear)
    except ImportError as error:
        raise UsageError(
            f"cannot watch {shown(root)}",
            f"the package watchdog cannot be used: {error}",
            "Install it with: pip install 'watchdog>=7.1'; or poll instead: --poll",
        ) from None


class ObserverWatcher:
    """See ``Watcher``. Leaves nothing out: what is excluded or on other devices is heard as well."""

    ordered = False
    overflowed = False
    directories = 0
    uncovered: tuple[Uncovered, ...] = ()

    def __init__(self, root: str, hear: Hear) -> None:
        from watchdog import events
        from watchdog.observers import Observer

        self._root, self._hear = os.path.realpath(root), hear
        self._observer = Observer()
        self._handler = events.FileSystemEventHandler()
        self._handler.on_any_event = self._happened  # type: ignore[method-assign]
        # Not the events of opening and of closing unwritten: our own reading makes them.
        self._changes: list[type[FileSystemEvent]] = [
            events.FileCreatedEvent, events.FileModifiedEvent, events.FileAttribEvent, events.FileClosedEvent,
            events.FileMovedEvent, events.FileDeletedEvent, events.DirCreatedEvent, events.DirModifiedEvent,
            events.DirAttribEvent, events.DirMovedEvent, events.DirDeletedEvent,
        ]  # fmt: skip
        self._identity: tuple[int, int] | None = None  # of the root, once started

    def start(self) -> None:
        self._identity = self._identify()
        self._observer.schedule(self._handler, self._root, recursive=True, event_filter=self._changes)
        self._observer.start()

    def stop(self) -> None:
        self._identity = None
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(_STOP_S)

    @property
    def broken(self) -> str:
        if self._identity is None:
            return ""
        threads = [self._observer, *self._observer.emitters]
        if not all(thread.is_alive() for thread in threads):
            return "a thread that reads its events has ended"
        try:
            same = self._identify() == self._identity
        except OSError as error:
            return f"the source can no longer be reached: {error.strerror}"
        return "" if same else "the source directory was replaced by another one"

    def retry(self) -> None:
        """Nothing is uncovered."""

    def barrier(self, timeout_s: float) -> bool:
        return False

    def _identify(self) -> tuple[int, int]:
        found = os.stat(self._root)
        return found.st_dev, found.st_ino

    def _happened(self, event: FileSystemEvent) -> None:
        if self._identity is None:
            return
        here, there = self._relative(event.src_path), self._relative(event.dest_path)
        kind, folder = event.event_type, event.is_directory
        if here is not None:
            reach = ENTRY
            if folder and kind == "created":
                reach = TREE
            elif folder and kind == "modified":
                reach = NAMES
            self._hear(Hint(here, reach, "", False if kind == "closed" else None))
        if there is not None and kind == "moved":
            self._hear(Hint(there, TREE if folder else ENTRY, here or "", None if folder else False))

    def _relative(self, path: str | bytes) -> str | None:
        """The path in the source; None if it is outside or our own."""
        text = os.fsdecode(path)
        if text == self._root:
            return ""
        if not text.startswith(self._root.rstrip("/") + "/"):
            return None
        inside = text[len(self._root.rstrip("/")) + 1 :]
        return None if any(map(is_reserved, inside.split("/"))) else inside
