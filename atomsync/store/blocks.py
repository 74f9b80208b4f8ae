"""The bytes of a large or sparse file, staged in the way that writes least.

Where source and destination are one filesystem with reflinks, the file is cloned, and read back to be
hashed. Where only the destination has them, the version that is there is cloned, and the blocks that
differ are written over it: every byte was compared with the source's, or written and read back. A
sparse file gets a slot full of holes instead, and the same comparison.

Holes are found by reading, never by SEEK_DATA: filesystems have been caught answering that wrongly for
pages not written yet, and a hole reads at the speed of memory.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import groupby

import xxhash

from atomsync.errors import DigestMismatch
from atomsync.fs.disk import Disk, Stat
from atomsync.store.progress import Progress
from atomsync.tree.path import shown

CHUNK_BYTES = 1 << 20
REBASED_MIN_BYTES = 16 << 20
"""A changed file as large as this is staged over a clone of its former version."""
_BLOCK = 4096
_ZEROS = bytes(CHUNK_BYTES)
NO_CLONES = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}
"""What a filesystem says that can do none of it, whatever the file."""


def is_sparse(found: Stat, size: int) -> bool:
    """Whether at least a block of the file's ``size`` bytes has no place on its filesystem."""
    return found.st_blocks * 512 + _BLOCK <= size


def hash_clone(target: Disk, writing: int, size: int, progress: Progress) -> str | None:
    """The digest of a cloned slot, read back; None if it has not ``size`` bytes."""
    hasher = xxhash.xxh3_128()
    offset = 0
    while data := target.pread(writing, CHUNK_BYTES, offset):
        hasher.update(data)
        offset += len(data)
        progress.advance(0, len(data))
        progress.check()
    return hasher.hexdigest() if offset == size else None


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
) -> str | None:
    """Make the slot hold what ``reading`` does by writing only the blocks that differ; returns the digest,
    None if the source has not ``size`` bytes. ``sparse``: blocks of zeros become holes."""
    target.truncate(writing, size)
    hasher = xxhash.xxh3_128()
    offset = 0
    while offset < size:
        data = disk.pread(reading, CHUNK_BYTES, offset)
        if not data or offset + len(data) > size:
            return None
        here = _held(target, writing, len(data), offset, size)
        if here != data:
            for start, end, zero in _differing(data, here):
                if zero and sparse:
                    _empty(target, writing, offset + start, end - start)
                else:
                    target.write(writing, data[start:end], offset + start)
            if target.pread(writing, len(data), offset) != data:
                raise mismatch(path)
        hasher.update(data)
        offset += len(data)
        progress.advance(0, len(data))
        progress.check()
    return hasher.hexdigest()


def _held(target: Disk, writing: int, length: int, offset: int, size: int) -> bytes:
    """What the slot has there. A bad block of the former version is one of its clone: from there on nothing
    is taken over."""
    try:
        return target.pread(writing, length, offset)
    except OSError:
        target.truncate(writing, offset)
        target.truncate(writing, size)
        return b""


def _differing(data: bytes, here: bytes) -> Iterator[tuple[int, int, bool]]:
    """``(start, end, whether all of it is zeros)`` of the runs of blocks that differ."""
    blocks = []
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if block != here[start : start + _BLOCK]:
            blocks.append((start, start + len(block), block == _ZEROS[: len(block)]))
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
