"""One who looks wherever a watcher says, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path

from atomsync.watch.hint import NAMES, TREE, Hint
from atomsync.watch.watcher import Watcher

Signature = tuple[int, ...]


def signature(path: str) -> Signature | None:
    """What a change cannot leave as it is; of a directory, its entries apart."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return (found.st_mode, found.st_ino)
    return (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns)


def look_below(root: str, top: str = "") -> dict[str, Signature]:
    """Every path strictly below ``top`` with its signature."""
    found: dict[str, Signature] = {}
    pending = [top]
    while pending:
        directory = pending.pop()
        with contextlib.suppress(OSError):
            for name in os.listdir(os.path.join(root, directory)):
                path = f"{directory}/{name}" if directory else name
                seen = signature(os.path.join(root, path))
                if seen is not None:
                    found[path] = seen
                    if stat.S_ISDIR(seen[0]):
                        pending.append(path)
    return found


class Listener:
    """Keeps what it hears, and a picture of the tree that only hints bring up to date.

    It looks at once, so what changes after its hint is seen only if another hint follows. While ``gate``
    is not set it listens to nothing, and the reader waits: ``waiting``.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.picture = look_below(self.root)
        self.hints: list[Hint] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = False
        self.looks = True  # slow when there are tens of thousands
        self._lock = threading.Lock()

    def hear(self, hint: Hint) -> None:
        self.waiting = not self.gate.is_set()
        self.gate.wait()
        with self._lock:
            self.hints.append(hint)
            if self.looks:
                self._look(hint)

    def look_everywhere(self) -> None:
        with self._lock:
            self.picture = look_below(self.root)

    def heard(self, watcher: Watcher) -> list[Hint]:
        """What was heard, since the last call, of all that happened before this one."""
        assert watcher.barrier(30), watcher.broken
        hints, self.hints = self.hints, []
        return hints

    def differences(self) -> set[str]:
        """Paths of which the picture is wrong."""
        now = look_below(self.root)
        return {path for path in now.keys() | self.picture.keys() if now.get(path) != self.picture.get(path)}

    def _look(self, hint: Hint) -> None:
        path = hint.path
        seen = signature(os.path.join(self.root, path))
        if path and (hint.reach == TREE or seen is None or not stat.S_ISDIR(seen[0])):
            self._forget_below(path)
        if path and seen is None:
            self.picture.pop(path, None)
        elif path and seen is not None:
            self.picture[path] = seen
        if hint.reach == TREE:
            if not path:
                self.picture.clear()
            self.picture.update(look_below(self.root, path))
        assert hint.reach != NAMES

    def _forget_below(self, path: str) -> None:
        for gone in [known for known in self.picture if known.startswith(path + "/")]:
            del self.picture[gone]
