"""The bytes of a large or sparse file, staged in the way that writes least.

Where source and destination are one filesystem with reflinks, the file is cloned, and read back to be
hashed. Where only the destination has them, the version that is there is cloned, and the blocks that
differ are written over it: every byte was compared with the source's, or written and read back. A
sparse file gets a slot full of holes instead, and the same comparison. All others are copied piece by piece,
and each is read back while it is in the processor's cache.

``two`` lets two threads share a file (``streams``).

Holes are found by reading, never by SEEK_DATA: filesystems have been caught answering that wrongly for
pages not written yet, and a hole reads at the speed of memory.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import groupby
from time import perf_counter_ns

from atomsync.errors import DigestMismatch
from atomsync.fs.disk import Disk, Stat
from atomsync.fs.meter import METER
from atomsync.store.progress import Progress
from atomsync.store.streams import PIECE_BYTES, stream
from atomsync.tree.path import shown

CHUNK_BYTES = 1 << 20
_BLOCK = 4096
_ZEROS = bytes(PIECE_BYTES)
NO_CLONES = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}
"""What a filesystem says that can do none of it, whatever the file."""


def is_sparse(found: Stat, size: int) -> bool:
    """Whether at least a block of the file's ``size`` bytes has no place on its filesystem."""
    return found.st_blocks * 512 + _BLOCK <= size


def hash_clone(target: Disk, writing: int, size: int, progress: Progress, *, two: bool) -> str | None:
    """The digest of a cloned slot, read back; None if it has not ``size`` bytes."""
    if target.fstat(writing).st_size != size:
        return None
    return stream(target, writing, size, target, progress, two=two)


def copy(
    disk: Disk,
    reading: int,
    target: Disk,
    writing: int,
    size: int,
    path: str,
    progress: Progress,
    *,
    two: bool = False,
) -> str | None:
    """Write ``size`` bytes of ``reading`` into the slot, and read them back; returns the digest, None if the
    source has fewer."""

    def put(offset: int, piece: bytes) -> None:
        target.write(writing, piece, offset)
        began = perf_counter_ns()
        if target.pread(writing, len(piece), offset) != piece:
            raise mismatch(path)
        METER.readback_ns += perf_counter_ns() - began

    return stream(disk, reading, size, target, progress, put, two=two)


def fill(
    disk: Disk,
    reading: int,
    target: Disk,
    writing: int,
    size: int,
    path: str,
    progress: Progress,
    *,
    sparse: bool,
    two: bool = False,
) -> str | None:
    """Make the slot hold what ``reading`` does by writing only the blocks that differ; returns the digest,
    None if the source has fewer than ``size`` bytes. ``sparse``: blocks of zeros become holes."""

    readable = True

    def put(offset: int, piece: bytes) -> None:
        nonlocal readable
        try:
            here = target.pread(writing, len(piece), offset)
        except OSError:
            readable = False
            raise
        if here == piece:
            return
        for start, end, zero in _differing(piece, here, sparse=sparse):
            if zero:
                _empty(target, writing, offset + start, end - start)
            else:
                target.write(writing, piece[start:end], offset + start)
        if target.pread(writing, len(piece), offset) != piece:
            raise mismatch(path)

    what = disk, reading, size, target, progress, put
    target.truncate(writing, size)
    try:
        return stream(*what, two=two)
    except OSError:
        if readable:
            raise
        # A bad block of the former version is one of its clone: nothing is taken over.
        target.truncate(writing, 0)
        target.truncate(writing, size)
        return stream(*what, two=two)


def _differing(data: bytes, here: bytes, *, sparse: bool) -> Iterator[tuple[int, int, bool]]:
    """``(start, end, whether it shall be a hole)`` of the runs of blocks that differ."""
    blocks = []
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if block != here[start : start + _BLOCK]:
            blocks.append((start, start + len(block), sparse and block == _ZEROS[: len(block)]))
    for _, run in groupby(enumerate(blocks), lambda found: (found[1][0] - found[0] * _BLOCK, found[1][2])):
        members = [block for _, block in run]
        yield members[0][0], members[-1][1], members[0][2]


def _empty(target: Disk, writing: int, offset: int, size: int) -> None:
    try:
        target.punch(writing, offset, size)
    except OSError as error:
        if error.errno not in NO_CLONES:
            raise
        target.write(writing, _ZEROS[:size], offset)


def mismatch(path: str) -> DigestMismatch:
    return DigestMismatch(
        f"{shown(path)} does not read back as it was written",
        "the destination's disk, its filesystem or the memory is faulty",
        "Nothing was committed. Check the hardware (dmesg, smartctl) before you trust it again.",
    )
