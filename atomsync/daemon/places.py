"""Where the control sockets are: a directory of ours alone, found again by whoever asks later.

A socket is named after its destination's path and does not lie in it: a watch must be seen, paused and
asked why it waits while its destination is unmounted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import xxhash

from atomsync.errors import AccessError
from atomsync.fs.posix import PosixDisk
from atomsync.tree.path import shown

_RUN = "/run" if os.path.isdir("/run") else "/var/run"


def places() -> list[str]:
    """The directories in which a socket of this user may be, the best first."""
    user, found = os.geteuid(), []
    if given := os.environ.get("RUNTIME_DIRECTORY"):  # systemd's, for the service itself
        found.append(given.split(":")[0])
    if user and (given := os.environ.get("XDG_RUNTIME_DIR")):
        found.append(f"{given}/atomsync")
    found.append(f"{_RUN}/atomsync")
    if user:
        found.append(f"/tmp/atomsync-{user}")
    return list(dict.fromkeys(found))


def socket_name(destination: str) -> str:
    """The name of a destination's socket, less its suffix."""
    return xxhash.xxh3_64_hexdigest(os.fsencode(os.path.realpath(destination)))


def socket_path(directory: int, name: str, place: str) -> str:
    """A path of a socket that fits into the 108 bytes the kernel allows, however long ``place`` is."""
    return f"/proc/self/fd/{directory}/{name}" if sys.platform == "linux" else f"{place}/{name}"


def own_place(disk: PosixDisk) -> tuple[str, int]:
    """The best place that is, or becomes, ours: its path and an open descriptor. Raises AccessError."""
    refused = []
    for place in places():
        with contextlib.suppress(OSError):  # what is wrong, opening it tells
            os.mkdir(place, 0o700)
        try:
            fd = disk.open_root(place)
        except OSError as error:
            refused.append(f"{shown(place)}: {error.strerror}")
            continue
        found = disk.fstat(fd)
        if found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return place, fd
        disk.close(fd)
        refused.append(
            f"{shown(place)}: it belongs to user {found.st_uid}, mode {found.st_mode & 0o7777:04o}"
        )
    raise AccessError(
        "cannot make a control socket",
        "; ".join(refused),
        "Set XDG_RUNTIME_DIR to a directory that only you can write.",
    )


def open_places(disk: PosixDisk) -> Iterator[tuple[str, int]]:
    """The places that exist and nobody could have prepared for us, each open until the next is asked for.

    Root may trust any owner: no place of root's lies where others could make it.
    """
    for place in places():
        try:
            fd = disk.open_root(place)
        except OSError:
            continue
        try:
            found = disk.fstat(fd)
            if os.geteuid() == 0 or (found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022):
                yield place, fd
        finally:
            disk.close(fd)
