"""``verify --adopt``: what the manifest does not know, or has no digest of, is written down as it is now."""

from __future__ import annotations

import contextlib
import time

from atomsync.errors import StoreLocked
from atomsync.store.progress import Progress
from atomsync.store.store import BaseStore
from atomsync.tree.entry import Entry, look

_PAUSE_S = 0.05
_BATCH = 1000


class Adopter:
    """Collects entries, and writes them down in batches, each under the store's lock. ``lost``: how many it
    was handed and did not write, for they had changed by then, or it was to stop."""

    def __init__(self, store: BaseStore, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._taken: list[tuple[str, Entry]] = []
        self._since_ns = time.time_ns()
        self.adopted = self.lost = 0

    def take(self, path: str, entry: Entry) -> None:
        """``entry``: what is there, with the digest of what was read of it."""
        if not self._taken:
            self._since_ns = time.time_ns()  # a file that changes at once would be racy
        self._taken.append((path, entry))
        if len(self._taken) >= _BATCH:
            self.write()

    def write(self, *, whole: bool = False, patient: bool = True) -> None:
        """What was taken and is still there as it was. ``whole``: with that everything is known. Waits for
        the lock if ``patient``; else what cannot be written at once is lost."""
        while self._taken or whole:
            try:
                with self._store.session() as session:
                    tree = session.control.tree
                    still = []
                    for path, entry in self._taken:
                        with contextlib.suppress(OSError):
                            if look(tree.disk, *tree.split(path)) == entry._replace(digest=""):
                                still.append((path, entry))
                    session.manifest.adopt(still, self._since_ns, whole=whole)
                self.adopted += len(still)
                self.lost += len(self._taken) - len(still)
                self._taken = []
                return
            except StoreLocked:
                if not patient:
                    self.forget()
                    return
                self._progress.check()
                time.sleep(_PAUSE_S)

    def forget(self) -> None:
        """What was taken and is not written yet."""
        self.lost += len(self._taken)
        self._taken = []
