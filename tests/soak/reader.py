"""A process that reads at DST all the while, with plain system calls, and judges every file it meets."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import stat
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from tests.soak.whole import generations
from tests.soak.writers import IN_PLACE, LINK, LOG, REPLACED, SLOW, SWAPPED, WRITERS

_FORK = multiprocessing.get_context("fork")
_WRONG_MAX = 10
_LOOKS_MIN = 2


class Reader:
    """Reads in a ``with``; at its end what it saw must be right.

    Every file is whole; a path that a writer never leaves without is never missing. ``forward``: no path
    goes back to an earlier generation, which only the recovery of a killed unit may do. ``slow``: so are
    the files that are written in pieces; who looks everywhere anew may meet half of one.
    """

    def __init__(self, root: Path, *, forward: bool, slow: bool) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._told, tell = _FORK.Pipe()
        self._process = _FORK.Process(
            target=_read_on, args=(Look(root, forward=forward, slow=slow), tell), daemon=True
        )

    def __enter__(self) -> Reader:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and told why
            self._told.send("stop")
        self.seen, self.wrong = self._told.recv()
        self._process.join()
        assert not self.wrong, "\n".join(self.wrong)


def _read_on(look: Look, tell: Connection) -> None:
    os.nice(5)  # the units set the pace
    wrong: list[str] = []
    try:
        while look.seen["looks"] < _LOOKS_MIN or not tell.poll():
            wrong += look.at_what_never_is_missing()
            wrong += look.everywhere() if look.seen["looks"] % 10 == 0 else ()
            look.seen["looks"] += 1
    except Exception:  # whatever a reader meets that it did not expect, is wrong
        wrong.append(traceback.format_exc())
    tell.send((look.seen, wrong[:_WRONG_MAX]))


class Look:
    """What is wrong now, or different from how it was at an earlier look."""

    def __init__(self, root: Path, *, forward: bool, slow: bool) -> None:
        self._root, self._forward, self._slow = root, forward, slow
        self._latest: dict[str, int] = {}
        self.seen: Counter[str] = Counter()

    def at_what_never_is_missing(self) -> Iterator[str]:
        going_forward = {*REPLACED, IN_PLACE, LOG, SLOW, LINK}
        for number in range(WRITERS):
            for name in (*REPLACED, IN_PLACE, LOG, LINK, *SWAPPED, *([SLOW] if self._slow else [])):
                path = f"w{number}/{name}"
                try:
                    found = self._generations(path)
                except FileNotFoundError:
                    yield f"{path} is missing"
                    continue
                if found is None or (not found and name != LOG):
                    yield f"{path} is not whole"
                elif found and self._forward and name in going_forward:
                    if found[-1] < self._latest.get(path, 0) or found != sorted(found):
                        yield f"{path} went back"
                    self.seen["versions"] += found[-1] != self._latest.get(path)
                    self._latest[path] = found[-1]

    def everywhere(self) -> Iterator[str]:
        for top, directories, files in os.walk(self._root):
            directories[:] = [name for name in directories if name != ".atomsync"]
            for name in files:
                path = os.path.relpath(os.path.join(top, name), self._root)
                if os.path.basename(path) == SLOW and not self._slow:
                    continue
                try:
                    if self._generations(path) is None:
                        yield f"{path} is not whole"
                except (FileNotFoundError, NotADirectoryError):
                    continue

    def _generations(self, path: str) -> list[int] | None:
        self.seen["files"] += 1
        full = self._root / path
        with contextlib.suppress(OSError):  # no link, or not there
            return [int(os.readlink(full))]
        try:
            fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ELOOP:  # by now it is a link
                return []
            raise
        try:
            status = os.fstat(fd)
            # A directory has taken the name since it was listed.
            return generations(os.read(fd, status.st_size + 1)) if stat.S_ISREG(status.st_mode) else []
        finally:
            os.close(fd)
