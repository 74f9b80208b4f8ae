"""The watcher at work, and the books on what it covers.

Whatever breaks a watcher is healed in one way: a new one is attached, which walks the source anew, and
then everything is looked at. What it cannot cover is polled.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from atomsync.errors import from_oserror
from atomsync.follow.ground import is_outside
from atomsync.follow.watching import BOTH, EVENTS, POLL_S, POLLING, Coverage, WatchOptions
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown
from atomsync.watch.filesystems import gives_no_events, silent_below
from atomsync.watch.hint import TREE, Hint
from atomsync.watch.observer import watcher_for
from atomsync.watch.watcher import Hear, Watcher

_NO_MORE = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM}


def excluder(filters: Filters) -> Callable[[str], bool] | None:
    """What says of a directory that it is out of scope for good; None if nothing is. What .gitignore files
    exclude is covered all the same: they may change."""
    if not filters.active or filters.gitignore:
        return None
    return lambda path: filters.excludes(path, is_dir=True)


class Attachment:
    """Used by one thread, but for ``coverage``; ``overflows`` and the other counts are of the whole run."""

    def __init__(self, source: str, hear: Hear, options: WatchOptions) -> None:
        self._source, self._hear, self._options = source, hear, options
        self._watcher: Watcher | None = None
        self._silent = ""  # why no events come at all, or not of everything
        self._silent_below: dict[str, str] = {}
        self._attached = 0
        self._refused = False  # no more watchers for us, for now
        self._retry_s = 0.0
        self._proved: float | None = None
        self.overflows = self.rescans = self.missed = 0

    @property
    def attached(self) -> bool:
        return self._attached > 0

    @property
    def complete(self) -> bool:
        """Whether everything is covered by events."""
        return not self._unheard()

    def attach(self, device: int, check: Callable[[], None]) -> None:
        """Cover the source: what changes after this is heard, or polled. Raises AtomSyncError, and whatever
        ``check`` raises, which is called all the while."""
        self.detach()
        self._attached += 1
        self._proved = None
        self._refused = False
        if self._options.poll_s is not None:
            return
        excludes = excluder(self._options.filters)
        watcher = watcher_for(
            self._source,
            self._hear,
            excludes=excludes,
            device=device if self._options.one_file_system else None,
            check=check,
        )
        try:
            self._silent = gives_no_events(self._source)
            self._silent_below = {}
            if not self._options.one_file_system:
                silent = silent_below(self._source)
                self._silent_below = {
                    path: why for path, why in silent.items() if not is_outside(path, excludes)
                }
            watcher.start()
        except OSError as error:
            watcher.stop()
            if error.errno not in _NO_MORE:
                raise from_oserror(error, f"cannot watch {shown(self._source)}") from None
            self._silent, self._refused = error.strerror or str(error), True
            self._retry_s = time.monotonic() + POLL_S
            return
        self._watcher = watcher

    def detach(self) -> None:
        if self._watcher is not None:
            self.overflows += self._watcher.overflowed
            self._watcher.stop()
            self._watcher = None

    @property
    def broken(self) -> str:
        """Why a new one must be attached; "" if it need not be."""
        if self._refused and time.monotonic() >= self._retry_s:
            return "another try to hear events"
        return self._watcher.broken if self._watcher is not None else ""

    def poll_every_s(self) -> float | None:
        """How often to poll; None if nothing need be."""
        if self._options.poll_s is not None:
            return self._options.poll_s
        return POLL_S if self._unheard() else None

    def poll(self) -> None:
        """Hint at all that events do not tell of."""
        if self._watcher is not None and self._watcher.uncovered:
            self._watcher.retry()
        for path in self._unheard():
            self._hear(Hint(path, TREE))

    def prove(self, timeout_s: float) -> bool:
        """Whether all that changed before this call has been heard, everywhere in the source."""
        if not self.provable or self._watcher is None or not self._watcher.barrier(timeout_s):
            return False
        self._proved = time.monotonic()
        return not self._unheard()

    @property
    def provable(self) -> bool:
        """Whether there is a watcher through which an event of our own can be sent."""
        return self._watcher is not None and self._watcher.ordered

    def coverage(self) -> Coverage:
        watcher = self._watcher
        gaps = tuple(self._gaps())
        unheard = self._unheard()
        mode = EVENTS if not unheard else POLLING if "" in unheard else BOTH
        return Coverage(
            not gaps,
            mode,
            watcher.directories if watcher is not None else 0,
            gaps,
            None if self._proved is None else time.monotonic() - self._proved,
            self.overflows + (watcher is not None and watcher.overflowed),
            max(0, self._attached - 1),
            self.rescans,
            self.missed,
        )

    def _unheard(self) -> list[str]:
        watcher = self._watcher
        if watcher is None or self._silent:
            return [""]
        return [*(where.path for where in watcher.uncovered), *self._silent_below]

    def _gaps(self) -> list[str]:
        if self._options.poll_s is not None:
            return []
        instead = f"looked at every {POLL_S:g} s instead"
        if self._watcher is None and not self._silent:
            return ["nothing is covered yet"]
        if self._silent:
            return [f"no events of {shown(self._source)}: {self._silent}; {instead}"]
        watcher = self._watcher
        found = [(where.path, where.why) for where in watcher.uncovered] if watcher else []
        found += self._silent_below.items()
        return [f"no events of {shown(path)}: {why}; {instead}" for path, why in found]
