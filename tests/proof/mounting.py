"""Images held in memory, mounted as real filesystems; a mount namespace takes everything away at the end."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.proof.figures import Outcome

_MIB = 1 << 20
_CHUNK = 1 << 16
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4
_CLONE_NEWNS, _MS_NOATIME, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 1 << 10, 1 << 14, 1 << 18, 2
_fork = get_context("fork")
_libc = ctypes.CDLL(None, use_errno=True)

Unavailable = pytest.skip.Exception  # this machine lacks what the proof needs: the test skips


class Unmountable(Exception):
    """The filesystem does not take this image for its own."""


class Filesystem(NamedTuple):
    """The smallest that its mkfs makes, with the smallest journal: less to write for every image."""

    name: str
    size_mib: int
    options: tuple[str, ...]


FILESYSTEMS = {
    fs.name: fs
    for fs in (
        Filesystem("ext4", 64, ("-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0")),
        Filesystem("xfs", 320, ("-q", "-f")),
        Filesystem("btrfs", 128, ("-q", "-f")),
    )
}


class Image(NamedTuple):
    """What a disk holds: extents, later ones over earlier ones, zeros where there is none."""

    size: int
    extents: tuple[tuple[int, bytes], ...]

    @classmethod
    def read(cls, fd: int) -> Image:
        size = os.fstat(fd).st_size
        extents = []
        end = 0
        with contextlib.suppress(OSError):  # ENXIO: only a hole is left
            while (data_at := os.lseek(fd, end, os.SEEK_DATA)) < size:
                at = data_at - data_at % _CHUNK
                end = at + _CHUNK
                if (data := os.pread(fd, _CHUNK, at)).strip(b"\0"):
                    extents.append((at, data))
        return cls(size, tuple(extents))

    def with_writes(self, writes: Iterable[tuple[int, bytes]]) -> Image:
        return Image(self.size, (*self.extents, *writes))

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A file in memory that holds it."""
        fd = os.memfd_create("image")
        try:
            os.truncate(fd, self.size)
            for at, data in self.extents:
                os.pwrite(fd, data, at)
            yield fd
        finally:
            os.close(fd)


def formatted(fs: Filesystem, place: Path) -> Image:
    """An empty filesystem."""
    program = shutil.which(f"mkfs.{fs.name}", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise Unavailable(f"mkfs.{fs.name} is not installed")
    path = place / "formatted"
    with path.open("xb+") as file:
        file.truncate(fs.size_mib * _MIB)
        subprocess.run([program, *fs.options, path], check=True, capture_output=True)
        path.unlink()
        return Image.read(file.fileno())


# -- mounting
@contextlib.contextmanager
def mounted(fd: int, fs: Filesystem, point: Path) -> Iterator[Path]:
    """The image in the open file, as a filesystem. Raises Unmountable, and OSError if it stays busy."""
    point.mkdir(exist_ok=True)
    with _loop_device(fd) as device:
        try:
            mount(device, point, fs.name, _MS_NOATIME)
        except OSError as error:
            raise Unmountable(f"{fs.name}: {error}") from None
        try:
            yield point
        finally:
            try:
                _call("umount2", os.fsencode(point), 0)
            except OSError:
                detach(point)
                raise


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor: it can still be used when the filesystem refuses every look-up."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _loop_device(fd: int) -> Iterator[str]:
    """A loop device over the file; it is free again when nobody has it open."""
    config = bytearray(304)  # struct loop_config: fd, block size, struct loop_info64, reserved
    struct.pack_into("<II", config, 0, fd, 0)
    struct.pack_into("<I", config, 8 + 52, _LO_FLAGS_AUTOCLEAR)
    while True:
        with open("/dev/loop-control", "rb") as control:
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
        loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(loop, _LOOP_CONFIGURE, bytes(config))
            break
        except OSError as error:
            os.close(loop)
            if error.errno != errno.EBUSY:  # another process took it first
                raise
    try:
        yield device
    finally:
        os.close(loop)


def mount(source: str, point: Path, kind: str, flags: int = 0, data: str = "") -> None:
    _call("mount", source.encode(), os.fsencode(point), kind.encode(), flags, data.encode())


def detach(point: Path) -> None:
    """Unmount now for everybody who looks, and for those who use it when they are done."""
    _call("umount2", os.fsencode(point), _MNT_DETACH)


def _call(function: str, *arguments: Any) -> None:
    if getattr(_libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function)


# -- processes
def in_child(work: Callable[[], None], timeout_s: float = 60) -> int:
    """Do it in a forked process; its exit status, negative for a signal. A hang is killed: -9."""
    child = _fork.Process(target=work)
    child.start()
    child.join(timeout_s)
    if child.is_alive():
        child.kill()
        child.join()
    status = child.exitcode
    child.close()
    assert status is not None
    return status


def isolated(work: Callable[[Path, Outcome], None], outcome: Outcome, timeout_s: float) -> None:
    """Run ``work(place, outcome)`` in a forked process with mounts of its own; ``place`` is a tmpfs there.

    A fork has the patches of this process: mutants work. Whatever becomes of it, no mount is left; an
    exception or a hang is a violation.
    """
    if os.geteuid() != 0:
        raise Unavailable("only root may mount")
    if not os.path.exists("/dev/loop-control"):
        raise Unavailable("there are no loop devices")
    here, there = _fork.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="atomsync-proof-") as place:
        child = _fork.Process(target=_in_namespace, args=(work, outcome, Path(place), there))
        child.start()
        there.close()
        assert child.pid is not None
        try:
            if here.poll(timeout_s):
                outcome.counts, outcome.violations, unavailable = here.recv()
                if unavailable:
                    raise Unavailable(unavailable)
            else:
                outcome.judged("hung", f"nothing was heard for {timeout_s:g} s")
        except EOFError:
            outcome.judged("died", "the process that judges died")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.join()
            here.close()


def _in_namespace(work: Callable[[Path, Outcome], None], outcome: Outcome, place: Path, there: Any) -> None:
    os.setsid()
    unavailable = ""
    try:
        _own_mounts(place)
        work(place, outcome)
    except Unavailable as error:
        unavailable = str(error)
    except BaseException:
        outcome.judged("failed", traceback.format_exc())
    there.send((outcome.counts, outcome.violations, unavailable))
    there.close()


def _own_mounts(place: Path) -> None:
    try:
        _call("unshare", _CLONE_NEWNS)
        mount("none", Path("/"), "none", _MS_REC | _MS_PRIVATE)
        mount("none", place, "tmpfs")
    except PermissionError as error:
        raise Unavailable(f"cannot mount: {error}") from None
