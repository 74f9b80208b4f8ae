"""Faults at a chosen verb. A hook is called before every verb that changes a simulated disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

Hook = Callable[[int, str, tuple[str, ...]], None]
"""Called with the verb's index (from 0), its name and the names it was given. May raise."""


class Killed(BaseException):
    """The process ended here. Not an ``Exception``: nothing may catch it and carry on.

    ``written`` bytes of the write it interrupted are in the file; of a verb that sets attributes, so
    many of its system calls (owner, mode, time) were made.
    """

    def __init__(self, written: int = 0) -> None:
        super().__init__("killed by the test")
        self.written = written


class VerbFailed(OSError):
    """An error of the system. ``written`` is what the verb had done by then, as for ``Killed``."""

    def __init__(self, number: int, written: int = 0) -> None:
        super().__init__(number, os.strerror(number))
        self.written = written


class PagesLost(OSError):
    """EIO from a sync, as Linux gives it: once. The pages count as clean and never reach the medium."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, os.strerror(errno.EIO))


def kill_at(n: int, written: int = 0) -> Hook:
    """End the process before verb ``n``. A dead process does nothing more, so later verbs raise too."""

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index >= n:
            raise Killed(written if index == n else 0)

    return hook


def fail_at(n: int, number: int, sticky: bool = False, written: int = 0) -> Hook:
    """Fail verb ``n`` with this errno; with ``sticky`` every later one as well (a full or dead disk)."""

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if index == n or (sticky and index > n):
            raise VerbFailed(number, written)

    return hook


def fail_sync_at(n: int, read_only: bool = False) -> Hook:
    """Fail the ``n``-th fsync or syncfs (from 0) and lose the pages it should have written.

    With ``read_only`` the filesystem then refuses every change, as ext4 does with errors=remount-ro.
    """
    syncs = 0

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal syncs
        if verb in ("fsync", "syncfs"):
            syncs += 1
            if syncs == n + 1:
                raise PagesLost
        elif read_only and syncs > n:
            raise VerbFailed(errno.EROFS)

    return hook
