"""Large files by two threads: the same bytes and the same digest as by one, and the same errors."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import xxhash

from atomsync import push
from atomsync.errors import AtomSyncError, DigestMismatch, DiskError, Interrupted, NoSpace
from atomsync.fs.posix import PosixDisk
from atomsync.store import blocks, pool, streams
from atomsync.store.copying import Job
from atomsync.store.dealing import by_thread_or_process
from atomsync.store.progress import Progress
from atomsync.store.streams import LARGE_BYTES, PIECE_BYTES
from atomsync.testing import simulated_store
from atomsync.tree.entry import FILE, Entry

MIB = 1 << 20
T = 10**18


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if "stream" in thread.name] == []


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_processors", lambda: 2)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, two_processors: None) -> list[str]:
    """The names of the threads that streams have started."""
    names: list[str] = []
    start = threading.Thread.start

    def starting(self: threading.Thread) -> None:
        names.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", starting)
    return names


def random_file(path: Path, size: int, seed: int, *, holes: bool = False) -> bytes:
    """Random pieces, some of them zeros; with ``holes``, those have no place."""
    dice = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        at = 0
        while at < size:
            length = dice.choice([1, 4096, 5000, 300_000, 3 * MIB])
            if dice.random() < 0.5:
                file.seek(at)
                file.write(
                    (bytes(length) if not holes and dice.random() < 0.3 else dice.randbytes(length))[
                        : size - at
                    ]
                )
            at += length
    return path.read_bytes()


def slot_of(tmp_path: Path, name: str, content: bytes) -> int:
    (tmp_path / name).write_bytes(content)
    return os.open(tmp_path / name, os.O_RDWR)


def data_in(fd: int) -> list[tuple[int, int]]:
    """Where the file is no hole."""
    os.fsync(fd)
    found, end = [], 0
    with contextlib.suppress(OSError):  # ENXIO: there is none behind that
        while True:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, end))
    return found


# -- the same as by one


@pytest.mark.parametrize("seed", range(12))
def test_two_threads_leave_the_file_and_the_digest_that_one_leaves(
    seed: int, tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LARGE_BYTES", MIB)
    dice = random.Random(seed)
    size = dice.choice([MIB, 5 * PIECE_BYTES, MIB + dice.randrange(8 * MIB)])
    data = random_file(tmp_path / "src", size, seed, holes=bool(seed % 2))
    base = bytearray(data[: dice.choice([0, size // 2, size])])
    for _ in range(dice.randrange(5) if base else 0):
        at = dice.randrange(len(base))
        base[at : at + 10_000] = dice.randbytes(len(base[at : at + 10_000]))
    disk, reading = PosixDisk(), os.open(tmp_path / "src", os.O_RDONLY)
    found = []
    for two in (False, True):
        written = {}
        for name, way in (
            ("copied", partial(blocks.copy, two=two)),
            ("filled", partial(blocks.fill, sparse=False, two=two)),
            ("sparse", partial(blocks.fill, sparse=True, two=two)),
        ):
            slot = slot_of(tmp_path, name, b"" if name == "copied" else bytes(base))
            digest = way(disk, reading, disk, slot, size, "f", Progress())
            written[name] = digest, (tmp_path / name).read_bytes(), data_in(slot)
            clone = blocks.hash_clone(disk, slot, size, Progress(), two=two)
            assert clone == digest == xxhash.xxh3_128_hexdigest(data)
            assert written[name][1] == data
            os.close(slot)
        found.append(written)
    assert found[0] == found[1]
    assert started == ["atomsync-stream"] * 6
    os.close(reading)


@pytest.mark.parametrize("size", [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 12_345])
def test_a_second_thread_is_for_large_files_only(
    size: int, tmp_path: Path, started: list[str], assert_same_tree: Callable[..., None]
) -> None:
    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(random.Random(1).randbytes(size))
    push(src, tmp_path / "dst")
    assert len(started) == (size >= LARGE_BYTES)
    assert_same_tree(src, tmp_path / "dst")


def test_another_disk_than_the_systems_is_used_by_one_thread_only(tmp_path: Path, started: list[str]) -> None:
    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(random.Random(1).randbytes(LARGE_BYTES))
    with simulated_store().begin() as unit:
        unit.put("f", src / "f")
    assert started == []


def test_where_no_thread_can_be_had_one_does_it_all(
    tmp_path: Path,
    two_processors: None,
    monkeypatch: pytest.MonkeyPatch,
    assert_same_tree: Callable[..., None],
) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(random.Random(1).randbytes(LARGE_BYTES + 1))
    monkeypatch.setattr(threading.Thread, "start", refused)
    push(src, tmp_path / "dst")
    assert_same_tree(src, tmp_path / "dst")


def test_the_progress_of_both_threads_adds_up_and_is_told_by_the_callers(
    tmp_path: Path, two_processors: None
) -> None:
    class Adding(Progress):
        size = 0

        def advance(self, files: int = 0, size: int = 0) -> None:
            assert threading.current_thread() is threading.main_thread()
            self.size += size

    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(random.Random(1).randbytes(LARGE_BYTES + 1))
    adding = Adding()
    push(src, tmp_path / "dst", progress=adding)
    assert adding.size == LARGE_BYTES + 1


# -- errors


@pytest.mark.parametrize("piece", [0, 1, 2, 3, 30, 31])
def test_a_piece_that_does_not_read_back_is_found_by_whichever_thread(
    piece: int, tmp_path: Path, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PosixDisk.write

    def failing(self: PosixDisk, fd: int, data: bytes, offset: int) -> None:
        write(self, fd, b"?" + data[1:] if offset == piece * PIECE_BYTES else data, offset)

    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(bytes(LARGE_BYTES))
    (src / "g").write_bytes(b"small")
    monkeypatch.setattr(PosixDisk, "write", failing)
    with pytest.raises(DigestMismatch, match="f does not read back"):
        push(src, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("verb", ["write", "pread"])
@pytest.mark.parametrize("calls", [5, 6])
def test_an_error_in_either_thread_is_the_error_of_the_push(
    number: int, verb: str, calls: int, tmp_path: Path, two_processors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = getattr(PosixDisk, verb)
    left = list(range(calls))

    def failing(*arguments: Any) -> Any:
        if os.path.samestat(os.fstat(arguments[-3]), file) or verb == "write":
            try:
                left.pop()
            except IndexError:
                raise OSError(number, os.strerror(number)) from None
        return real(*arguments)

    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(bytes(LARGE_BYTES))
    file = (src / "f").stat()
    monkeypatch.setattr(PosixDisk, verb, failing if verb == "write" else staticmethod(failing))
    with pytest.raises(AtomSyncError) as raised:
        push(src, tmp_path / "dst")
    assert type(raised.value) is (NoSpace if number == errno.ENOSPC else DiskError)
    assert raised.value.what == "cannot stage f"
    assert not (tmp_path / "dst").exists()


@pytest.mark.root
def test_a_destination_that_fills_up_meanwhile_ends_as_ever(
    small_fs: Any, tmp_path: Path, two_processors: None
) -> None:
    point, src = small_fs("tmpfs", 40), tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(random.Random(1).randbytes(32 * MIB))

    class Filling(Progress):
        def advance(self, files: int = 0, size: int = 0) -> None:
            if size and not (point / "theirs").exists():
                (point / "theirs").write_bytes(bytes(20 * MIB))

    with pytest.raises(NoSpace):
        push(src, point / "dst", progress=Filling())
    assert [path.name for path in point.iterdir()] == ["theirs"]


@pytest.mark.parametrize("size", [LARGE_BYTES // 2, LARGE_BYTES + 1, LARGE_BYTES * 2])
def test_a_source_that_is_cut_or_grows_meanwhile_is_read_again(
    size: int, tmp_path: Path, two_processors: None, assert_same_tree: Callable[..., None]
) -> None:
    src = tmp_path / "src"
    src.mkdir()
    (src / "f").write_bytes(b"x" * LARGE_BYTES)

    class Changing(Progress):
        times = 0

        def advance(self, files: int = 0, size_: int = 0, **more: int) -> None:
            if more.get("size", size_) and not self.times:
                self.times += 1
                os.truncate(src / "f", size)

    push(src, tmp_path / "dst", progress=Changing())
    assert (tmp_path / "dst" / "f").stat().st_size == size
    assert_same_tree(src, tmp_path / "dst")


# -- stopping


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_who_stops_it_waits_for_a_piece_and_not_for_the_file(
    error: type[BaseException],
    tmp_path: Path,
    two_processors: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, written = PosixDisk.write, []

    def counting(self: PosixDisk, fd: int, data: bytes, offset: int) -> None:
        written.append(offset)
        write(self, fd, data, offset)

    class Stopping(Progress):
        at: int | None = None

        def advance(self, files: int = 0, size: int = 0) -> None:
            if size and self.at is None:
                self.at = len(written)
                if error is KeyboardInterrupt:
                    raise KeyboardInterrupt
                self.stopping = "SIGINT"

    src, stopping = tmp_path / "src", Stopping()
    src.mkdir()
    (src / "f").write_bytes(bytes(4 * LARGE_BYTES))
    monkeypatch.setattr(PosixDisk, "write", counting)
    with pytest.raises(error):
        push(src, tmp_path / "dst", progress=stopping)
    assert stopping.at is not None
    pieces = [offset for offset in written[stopping.at :] if offset % PIECE_BYTES == 0]
    assert len(pieces) <= 3
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_the_midst_of_a_large_file_leaves_the_destination_as_it_was(
    number: signal.Signals,
    tmp_path: Path,
    atomsync: Any,
    wait_until: Any,
    unchanged: Any,
    assert_same_tree: Callable[..., None],
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    (src / "f").write_bytes(b"old")
    assert atomsync("push", src, dst).returncode == 0
    with (src / "f").open("wb") as file:
        for seed in range(16):
            file.write(bytes([seed]) * (16 * MIB))
    slot = dst / ".atomsync" / "pending" / "0" / "slots" / "0"
    with unchanged(dst):
        process = atomsync.start("push", src, dst)
        wait_until(lambda: slot.exists() and slot.stat().st_size > MIB)
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 20)
    assert atomsync("push", src, dst).returncode == 0
    assert_same_tree(src, dst)


# -- who does what


def jobs(*sizes: int) -> list[Job]:
    entry = Entry(FILE, 0o644, 0, T, 0, 0, "")
    return [Job(str(at), str(at), entry._replace(size=size * MIB)) for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "alone"),
    [
        ([], []),
        ([1, 2, 3], []),
        ([1024], [1024]),
        ([1024, 1, 2, 3], [1024]),
        ([1024] * 2, []),
        ([1024] * 3, [1024]),
        ([1024] * 4, []),
        ([64, 4096, 64, 64, 64], [4096]),
        ([4096, 2048, 1024, 512], []),
        ([20, *[15] * 100], []),
    ],
    ids=str,
)
def test_two_processes_share_what_can_be_shared_evenly(sizes: list[int], alone: list[int]) -> None:
    given = jobs(*sizes)
    here, shared = by_thread_or_process(given)
    assert [job.entry.size // MIB for job in here] == alone
    assert sorted([*here, *shared]) == sorted(given)


def test_large_and_small_files_together_are_all_staged(
    tmp_path: Path, started: list[str], assert_same_tree: Callable[..., None]
) -> None:
    src = tmp_path / "src"
    (src / "d").mkdir(parents=True)
    for number in range(pool.WORTH_FILES):
        (src / "d" / str(number)).write_bytes(b"%d" % number)
    for name, size in (("a", 64), ("b", 17), ("z", 17)):
        (src / name).write_bytes(name.encode() * (size * MIB))
    push(src, tmp_path / "dst", hard_links=True)  # so that files are staged one by one
    assert started.count("atomsync-stream") == 1
    assert_same_tree(src, tmp_path / "dst")
