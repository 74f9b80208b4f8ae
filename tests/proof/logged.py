"""``python -m tests.proof.logged LOG push …``: the real command, its door to the disk writing a log.

Each verb is one write(2) to LOG before it does anything: in a system call trace it stands right before the
calls it is answerable for.
"""

from __future__ import annotations

import os
import sys

from atomsync.cli.app import main
from atomsync.store import store
from atomsync.sync import push
from atomsync.testing.hooked import HookedDisk


class LoggedDisk(HookedDisk):
    """Also tells of ``open_lock``, which makes a file if there is none."""

    def open_lock(self, at: int, name: str) -> int:
        self._enter("open_lock", name)
        return super().open_lock(at, name)


if __name__ == "__main__":
    log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def tell(index: int, verb: str, names: tuple[str, ...]) -> None:
        os.write(log, "\t".join([verb, *names]).encode("utf-8", "backslashreplace") + b"\n")

    for room in (store, push):
        vars(room)["PosixDisk"] = lambda: LoggedDisk(tell)
    main()
