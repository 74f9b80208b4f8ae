"""Faults at a chosen call. A hook is called before every call that changes a disk with hooks.

By meaning: ``fail`` and ``crash_at`` write a ``Fault`` down, "the third rename", "the sync of that name";
``stores.faults`` lets it happen. By index: ``kill_at``, ``fail_at``, ``fail_sync_at`` make a hook.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from atomsync.store.control import LOCK, PROBE

POINT = "point"
WORDS: Mapping[str, frozenset[str]] = {
    "rename": frozenset({"exchange", "rename_new", "replace"}),
    "write": frozenset({"write", "truncate"}),
    "sync": frozenset({"fsync", "syncfs"}),
    "make": frozenset({"create", "open_lock", "mkdir", "symlink", "link"}),
    "remove": frozenset({"unlink", "rmdir"}),
    "attributes": frozenset({"set_meta", "set_meta_at"}),
    POINT: frozenset({POINT}),
}
"""What a fault may strike: each word stands for some calls of ``fs.Disk``, "point" for places in a test's
own code (``stores.fault_point``)."""
CHANGE = "change"  # any of them, but for points
_CALLS = frozenset().union(*WORDS.values())

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


# -- by meaning


class Fault(NamedTuple):
    """What is to happen where; made by ``fail`` and ``crash_at``. ``error`` is an errno, None for a crash."""

    verb: str
    nth: int
    name: str | None
    error: int | None
    again: bool
    written: int

    def concerns(self, verb: str, names: Sequence[str]) -> bool:
        """Whether a call is of its kind, and was given its name."""
        kind = verb != POINT if self.verb == CHANGE else verb in WORDS.get(self.verb, {self.verb})
        return kind and self.name in (None, *names)

    def exception(self, verb: str) -> BaseException:
        """What the call is met with."""
        if self.error is None:
            return Killed(self.written)
        if self.error == errno.EIO and verb in WORDS["sync"]:
            return PagesLost()
        if self.written:
            return VerbFailed(self.error, self.written)
        return OSError(self.error, os.strerror(self.error))  # FileExistsError for EEXIST, and so on

    def __str__(self) -> str:
        what = "crash" if self.error is None else errno.errorcode.get(self.error, str(self.error))
        where = "" if self.name is None else f" with name {self.name!r}"
        return f"{what} at {self.verb} {self.nth}{where}"


class NeverStruck(AssertionError):
    """A block with faults ended well, and one of them had not come up: the test has shown nothing."""


def fail(
    verb: str,
    error: int = errno.ENOSPC,
    *,
    nth: int = 1,
    name: str | None = None,
    again: bool = False,
    written: int = 0,
) -> Fault:
    """Let the ``nth`` call (from 1) of this kind fail with errno ``error``.

    ``verb``: a word of ``WORDS``, "change" for any of them, or one call of ``fs.Disk`` such as "mkdir".
    ``name``: only calls given this name (the last component of a path, a slot of the stage, a point's name)
    count. ``again``: the later ones of the kind fail as well. ``written``: so many bytes of a write are in
    the file by then. A sync that fails with EIO loses what it should have written, as on Linux. Raises
    ValueError for a verb there is none of, and for ``nth`` below 1.
    """
    return _checked(Fault(verb, nth, name, error, again, written))


def crash_at(verb: str, *, nth: int = 1, name: str | None = None, written: int = 0) -> Fault:
    """Let the process end, by ``Killed``, before the ``nth`` call (from 1) of this kind; see ``fail``."""
    return _checked(Fault(verb, nth, name, None, False, written))


def _checked(fault: Fault) -> Fault:
    if fault.verb != CHANGE and fault.verb not in WORDS and fault.verb not in _CALLS:
        raise ValueError(f"no such verb: {fault.verb!r}; there are {', '.join([*WORDS, CHANGE])}")
    if fault.nth < 1:
        raise ValueError(f"calls are counted from 1, not from {fault.nth}")
    return fault


class Script:
    """Some faults as one hook, which counts the calls of each. A process that it has killed stays dead.

    What a store does to find out what its filesystem can do, in a directory of its own, does not count, nor
    does the text in its lock, which may fail.
    """

    def __init__(self, wanted: Sequence[Fault]) -> None:
        self._wanted = tuple(wanted)
        self._seen = [0] * len(self._wanted)
        self._before: tuple[str, ...] = ()
        self._probing = self.killed = False

    def __call__(self, index: int, verb: str, names: tuple[str, ...]) -> None:
        if self.killed:
            raise Killed
        before, self._before = self._before, (verb, *names)
        if before == ("unlink", PROBE) and self._before == ("mkdir", PROBE):
            self._probing = True  # not a directory of the program's own: that is not deleted first
        if self._probing:
            self._probing = self._before != ("rmdir", PROBE)
            return
        if names == (LOCK,) and verb in WORDS["write"]:
            return
        struck: Fault | None = None
        for at, fault in enumerate(self._wanted):
            if fault.concerns(verb, names):
                self._seen[at] += 1
                if self._seen[at] == fault.nth or (fault.again and self._seen[at] > fault.nth):
                    struck = struck or fault
        if struck is not None:
            self.killed = struck.error is None
            raise struck.exception(verb)

    def check(self) -> None:
        """NeverStruck if there is a fault that no call has met."""
        for fault, seen in zip(self._wanted, self._seen):
            if seen < fault.nth:
                raise NeverStruck(f"no {fault}: there were {seen} such calls")


def dead(index: int, verb: str, names: tuple[str, ...]) -> None:
    """The hook of a process that has ended: whoever uses its disk by mistake is told."""
    raise OSError(errno.EIO, "the test has ended this process; restarted() and rebooted() give the next one")
