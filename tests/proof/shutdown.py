"""A power cut here and now: the filesystem is told to drop what it has not written (FS_IOC_SHUTDOWN).

No recorder is needed, so this is quick; but only the one state is seen that the filesystem has on its disk
at that moment. ext4 and xfs can do it, btrfs cannot.
"""

from __future__ import annotations

import fcntl
import os
import struct
from functools import partial
from pathlib import Path

from atomsync.errors import AtomSyncError
from tests.proof.figures import Outcome
from tests.proof.images import Recording, built, judge
from tests.proof.judge import look
from tests.proof.mounting import FILESYSTEMS, in_child, isolated, mounted, opened
from tests.proof.workloads import pushed_with, verbs_of_a_push

_FS_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_REFUSED = 9


def shutdowns(fs: str, outcome: Outcome, points: int, *, survives: bool, small: bool = False) -> None:
    """The layer: shut down before so many verbs of a push, evenly spread, the last behind its end.

    The process dies with the power, or ``survives``: then it must not say that it succeeded.
    """

    def work(place: Path, outcome: Outcome) -> None:
        base = built(FILESYSTEMS[fs], place, small=small)
        with base.opened() as file, mounted(file, FILESYSTEMS[fs], place / "fs") as root:
            old = look(root / "dst")
            last = len(verbs_of_a_push(root))
            expected = Recording(FILESYSTEMS[fs], base, (), old, look(root / "dst"))
        for verb in sorted({last * point // max(points - 1, 1) for point in range(points)}):
            _cut_at(verb, expected, place, outcome, survives=survives)
            if outcome.done:
                return

    isolated(work, outcome, timeout_s=60 + points)


def _cut_at(verb: int, expected: Recording, place: Path, outcome: Outcome, *, survives: bool) -> None:
    said = place / "said"
    said.write_text("")
    with expected.base.opened() as file:
        with mounted(file, expected.fs, place / "fs") as root, opened(root) as fd:
            status = in_child(partial(_push, verb, root, fd, said, survives))
            _shut_down(fd)
        what, wrong = judge(file, expected, place, said.read_text(), go_on=True)
    if status not in (0, _REFUSED):
        wrong.append(f"the push ended with {status}")
    outcome.judged(what, *(f"{expected.fs.name}, shut down before verb {verb}: {each}" for each in wrong))


def _push(verb: int, root: Path, fd: int, said: Path, survives: bool) -> None:
    def hook(index: int, name: str, names: tuple[str, ...]) -> None:
        if index == verb:
            _shut_down(fd)
            if not survives:
                os._exit(_REFUSED)

    try:
        pushed_with(hook, root, said.write_text)
    except AtomSyncError:
        os._exit(_REFUSED)


def _shut_down(fd: int) -> None:
    fcntl.ioctl(fd, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
