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
from atomsync.store.progress import Progress
from atomsync.store.wire import read_message, write_message
from atomsync.tree.entry import Entry

_PR_SET_PDEATHSIG = 1
_TELL_BYTES = 4 << 20


class _Telling(Progress):
    """Passes on how many bytes were copied, in steps."""

    copied = 0

    def advance(self, files: int = 0, size: int = 0) -> None:
        self.copied += size
        if self.copied >= _TELL_BYTES:
            self.tell()

    def tell(self) -> None:
        write_message(1, self.copied)
        self.copied = 0


def main() -> None:
    """``argv``: sys.path of the parent, the descriptors of the source root and of the slots."""
    parent = os.getppid()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a question, which the parent answers
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the kernel was told
    disk = PosixDisk()
    source = Source(disk, int(sys.argv[2]))
    slots = Cursor(disk, int(sys.argv[3]))
    progress = _Telling()
    with contextlib.suppress(BrokenPipeError):
        while (chunk := read_message(0)) is not None:
            assert isinstance(chunk, list)
            try:
                digests = [
                    copy_file(source, slots, Job(path, location, Entry._make(entry)), progress)
                    for path, location, entry in chunk
                ]
                progress.tell()
                write_message(1, digests)
            except AtomSyncError as error:
                told = {
                    "class": type(error).__name__,
                    "what": error.what,
                    "why": error.why,
                    "hint": error.hint,
                    "path": error.path,
                }
                write_message(1, told)
                return
