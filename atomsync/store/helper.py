"""The helper process of ``pool``: reads chunks of jobs, stages them, answers with digests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

from atomsync.errors import AtomSyncError
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.store.copying import Job, Source, copy_file
from atomsync.store.pool import read_message, write_message
from atomsync.store.progress import Progress
from atomsync.tree.entry import Entry

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """``argv``: sys.path of the parent, the descriptors of the source root and of the slots."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the kernel was told
    disk = PosixDisk()
    source = Source(disk, int(sys.argv[2]))
    slots = Cursor(disk, int(sys.argv[3]))
    progress = Progress()
    with contextlib.suppress(BrokenPipeError):
        while (chunk := read_message(0)) is not None:
            assert isinstance(chunk, list)
            try:
                write_message(
                    1,
                    [
                        copy_file(source, slots, Job(path, location, Entry._make(entry)), progress)
                        for path, location, entry in chunk
                    ],
                )
            except AtomSyncError as error:
                told = {
                    "class": type(error).__name__,
                    "what": error.what,
                    "why": error.why,
                    "hint": error.hint,
                }
                write_message(1, told)
                return
