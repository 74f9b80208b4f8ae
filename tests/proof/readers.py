"""Readers hammer paths while units commit: no path is ever missing, and no file is ever torn.

Every version of a file says which unit and which path it belongs to, how long it is, and its digest; a
reader needs nothing else to judge it. Readers use plain system calls and share no code with the product.

``seen`` of several files read one after the other is measured, not judged: a unit is not atomic for a
reader of several files, and the mixed window says for how long it is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from atomsync.errors import AtomSyncError
from atomsync.unit.store import open_store
from tests.proof.figures import Outcome

FILES = tuple(f"dir/file-{number}" for number in range(4))
LINK, SHAPE, COMES, TREE = "link", "shape", "comes-and-goes", "tree"
_STRIDE = 7919  # makes versions of very different lengths follow each other
_LENGTH_MAX = 12_000


def version(unit: int, path: str) -> bytes:
    """What unit number ``unit`` writes to ``path``."""
    filling = bytes([65 + unit % 26]) * (unit * _STRIDE % _LENGTH_MAX)
    text = f"{unit} {path} {len(filling)} ".encode() + filling
    return text + hashlib.blake2b(text, digest_size=16).hexdigest().encode()


def unit_of(data: bytes, path: str) -> int | None:
    """The unit a version is of; None if these bytes are no version of this path."""
    text, digest = data[:-32], data[-32:]
    if hashlib.blake2b(text, digest_size=16).hexdigest().encode() != digest:
        return None
    unit, of, length, filling = text.split(b" ", 3)
    return int(unit) if of == path.encode() and len(filling) == int(length) else None


# -- the writer
def write_unit(root: Path, number: int, durability: str) -> float:
    """One unit: it replaces every file and the link, gives ``shape`` another kind, rebuilds a tree and
    creates or removes a path. Returns the mixed window in ms."""
    with open_store(root, durability=durability, keep=2).begin() as unit:
        if number == 0:
            unit.mkdir("dir")
        else:
            unit.remove(SHAPE)
            unit.remove(TREE)
        for path in FILES:
            unit.write(path, version(number, path))
        unit.symlink(LINK, f"unit-{number}")
        if number % 3 == 0:
            unit.write(SHAPE, version(number, SHAPE))
        elif number % 3 == 1:
            unit.mkdir(SHAPE)
            unit.write(f"{SHAPE}/in", version(number, f"{SHAPE}/in"))
        else:
            unit.symlink(SHAPE, f"unit-{number}")
        unit.mkdir(TREE)
        unit.write(f"{TREE}/in", version(number, f"{TREE}/in"))
        if number % 2:
            unit.remove(COMES)
        else:
            unit.write(COMES, version(number, COMES))
        return unit.commit().window_ms


# -- the readers
class Reader:
    """A process that reads until it is stopped, then tells what it saw."""

    def __init__(self, root: Path, look: Callable[[Path, Counter[str]], Iterator[str]]) -> None:
        told, tell = os.pipe()
        stopped, self._stop = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.nice(5)  # the units set the pace
                os.set_blocking(stopped, False)
                os.write(tell, json.dumps(_read_on(root, look, stopped)).encode())
            finally:
                os._exit(0)
        os.close(tell)
        os.close(stopped)
        self._told = told

    def gave_up(self) -> bool:
        """Whether it saw something wrong, and told it."""
        return bool(select.select([self._told], [], [], 0)[0])

    def stop(self) -> tuple[Counter[str], list[str]]:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stop, b"x")
        os.close(self._stop)
        with open(self._told, "rb") as file:
            seen, wrong = json.loads(file.read())
        os.waitpid(self._pid, 0)
        return Counter(seen), wrong


def _read_on(
    root: Path, look: Callable[[Path, Counter[str]], Iterator[str]], stopped: int
) -> tuple[Counter[str], list[str]]:
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    parent = os.getppid()
    try:
        while not wrong and os.getppid() == parent:  # or we were left behind
            with contextlib.suppress(BlockingIOError):
                if os.read(stopped, 1):
                    break
            for _ in range(50):
                wrong += look(root, seen)
    except Exception as error:  # whatever a reader meets that it did not expect, is wrong
        wrong.append(repr(error))
    return seen, wrong[:10]


def whole_files(root: Path, seen: Counter[str]) -> Iterator[str]:
    """Each file by size and digest; then two of one unit, one after the other."""
    units: list[int | None] = []
    for path in (*FILES, FILES[0]):
        size, data = _read(root / path)
        units.append(unit_of(data, path))
        seen["files read"] += 1
        if units[-1] is None or size != len(data):
            yield f"{path} is torn: {size} bytes by its size, {len(data)} read"
    seen["rounds of files"] += 1
    seen["rounds with files of two units"] += len({*units}) > 1
    seen["rounds inside a mixed window"] += units[0] == units[-1] and len({*units}) > 1


def every_kind(root: Path, seen: Counter[str]) -> Iterator[str]:
    """Paths that are replaced by another kind: never missing. What is in a directory may go with it."""
    for path in (SHAPE, TREE):
        found = os.lstat(root / path)
        seen["lookups"] += 1
        if not found.st_mode & 0o400:
            yield f"{path} has mode {found.st_mode:o}"
    if not os.readlink(root / LINK).startswith("unit-"):
        yield f"{LINK} leads to {os.readlink(root / LINK)!r}"
    seen["links read"] += 1
    for path in (f"{SHAPE}/in", f"{TREE}/in", COMES):
        try:
            _, data = _read(root / path)
        except (FileNotFoundError, NotADirectoryError):
            seen["removed by the unit"] += 1
            continue
        seen["files read"] += 1
        if unit_of(data, path) is None:
            yield f"{path} is torn"


def never_missing(root: Path, seen: Counter[str]) -> Iterator[str]:
    """Nothing but looking whether the path of changing kind is there, as fast as it goes."""
    path = os.fspath(root / SHAPE)
    for _ in range(200):
        os.lstat(path)
    seen["lookups"] += 200
    yield from ()


def _read(path: Path) -> tuple[int, bytes]:
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        return size, os.read(fd, 4 * _LENGTH_MAX)
    finally:
        os.close(fd)


def everything(root: Path, seen: Counter[str]) -> Iterator[str]:
    yield from whole_files(root, seen)
    yield from every_kind(root, seen)


LOOKS = (everything, never_missing)


def readers(outcome: Outcome, root: Path, units: int, durability: str = "none") -> dict[str, int | float]:
    """``units`` units in ``root``, which must be empty, under the eyes of two readers.

    The units judge themselves by committing; returned is what was measured.
    """
    windows = [write_unit(root, 0, durability)]
    watching = [Reader(root, look) for look in LOOKS]
    seen: Counter[str] = Counter()
    try:
        for number in range(1, units):
            if outcome.done or any(reader.gave_up() for reader in watching):
                break
            windows.append(write_unit(root, number, durability))
            outcome.judged("units")
    except AtomSyncError as error:
        outcome.judged("failed", repr(error))
    finally:
        for reader in watching:
            told, wrong = reader.stop()
            seen.update(told)
            outcome.violations += wrong
    return {
        **seen,
        "median window ms": round(statistics.median(windows), 3),
        "longest window ms": round(max(windows), 3),
    }
