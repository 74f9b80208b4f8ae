"""A unit's visit to its store, begun when it first needs it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterator

from atomsync.errors import UnitStateError
from atomsync.store.control import Control
from atomsync.store.progress import Progress
from atomsync.store.session import Session
from atomsync.store.staging import Stage
from atomsync.store.store import BaseStore
from atomsync.tree.path import shown


class Turn:
    """``exclusive``: the store is locked from the beginning, not only for the time of the commit."""

    def __init__(self, store: BaseStore, progress: Progress | None, *, exclusive: bool) -> None:
        self.store, self.exclusive = store, exclusive
        self.busy = threading.RLock()  # while a thread is in a verb
        self.opened: Session | None = None
        self.resting: Stage | None = None  # of a unit that was prepared
        self._progress = progress
        self._pid = os.getpid()

    @property
    def session(self) -> Session:
        if self.opened is None:
            self.opened = self.store.visit(self._progress, exclusive=self.exclusive)
        return self.opened

    @property
    def control(self) -> Control:
        return self.session.control

    def check_process(self) -> None:
        if os.getpid() != self._pid:
            raise UnitStateError(
                "cannot use this unit of work", "it was begun in another process", "Begin one after the fork."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[Session]:
        """The session with the store's lock, to seal and commit; if that fails, nothing stays staged.

        Raises StoreLocked, after the store's timeout; then what is staged stays.
        """
        session = self.session
        if session.control.locked:
            yield session
            return
        session.lock(time.monotonic() + self.store.options.timeout_s)
        try:
            yield session
        except BaseException:
            session.discard()  # under the lock: it may be where only one unit is
            raise
        finally:
            session.unlock()

    def rest(self) -> None:
        """The unit was prepared: of the whole visit only the lock on its directory stays."""
        self.resting = self.session.leave()
        self.close()

    def close(self) -> None:
        session, self.opened = self.opened, None
        if session is not None:
            session.close()

    def end(self) -> None:
        """Nothing is held any more."""
        self.close()
        stage, self.resting = self.resting, None
        if stage is not None:
            stage.close()

    def abandoned(self) -> None:
        """The unit was forgotten, not ended: as the garbage collector found it, or the interpreter's exit."""
        if os.getpid() != self._pid:
            with contextlib.suppress(Exception):  # a child of the process whose unit it is
                if self.opened is not None:
                    self.opened.let_go()
                if self.resting is not None:
                    self.resting.let_go()
            return
        if not self.busy.acquire(blocking=False):
            return  # at the exit, a thread is still in a commit: the end of the process gives all of it back
        pending = self.opened is not None
        with contextlib.suppress(Exception):
            self.end()
        if pending:
            warnings.warn(
                f"a unit of work on {shown(self.store.path)} was neither committed nor rolled back",
                ResourceWarning,
                stacklevel=2,
            )
