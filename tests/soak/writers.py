"""Processes that change a living source: a crowd that does everything at random, and one that makes files.

Each writer has a place of its own, whose paths are never missing at the source: replaced by rename, written
in place by one call, appended to, swapped. In ``chaos`` all of them meet, and nothing lasts.

Left out is what no watch can hear or no push can see, and docs say so: a file written through another of
its names, and a change that restores size and time. So names that begin with ``h`` may have other names,
and are replaced, moved and removed, but never changed in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.soak.whole import next_generation, record

WRITERS = 4
REPLACED = ("replaced", "deep/er/replaced")
IN_PLACE, LOG, SLOW, LINK = "in-place", "log", "slow", "link"
SWAPPED = ("left", "right", "one/in", "other/in")
_IN_PLACE_LENGTH = 5_000
_LENGTH_MAX = 20_000
_STEPS, _PAUSE_S = 10, 0.04  # operations a round, and the longest pause behind it
_EXCHANGE = 2
_AT_FDCWD = -100
_FORK = multiprocessing.get_context("fork")
_libc = ctypes.CDLL(None, use_errno=True)


def prepare(tree: Path) -> None:
    """What the writers find, and never leave without."""
    (tree / "chaos").mkdir(parents=True)
    for number in range(WRITERS):
        place = tree / f"w{number}"
        for name in (*REPLACED, IN_PLACE, LOG, SLOW, *SWAPPED):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(record(next_generation(), _IN_PLACE_LENGTH))
        (place / LINK).symlink_to(str(next_generation()))


class Crowd:
    """Four writers at work for so many rounds each, and never longer than the ``with``.

    ``slow``: also files that are written in pieces, with pauses, before they are closed.
    """

    def __init__(self, tree: Path, outside: Path, seed: int, rounds: int, *, slow: bool) -> None:
        writers = [_Writer(tree, outside, number, seed, slow) for number in range(WRITERS)]
        self._processes = [Work(partial(writer.rounds, rounds)) for writer in writers]

    def __enter__(self) -> Crowd:
        for process in self._processes:
            process.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes:
            process.__exit__(*raised)

    def finish(self) -> None:
        for process in self._processes:
            process.finish()


class Work:
    """``work`` in a process of its own, which ends with the ``with`` at the latest."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._process = _FORK.Process(target=work)

    def __enter__(self) -> Work:
        self._process.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.join()

    def finish(self) -> None:
        self._process.join()
        assert self._process.exitcode == 0, f"a writer ended with {self._process.exitcode}"


def create(tree: Path, count: int, directories: int) -> None:
    """So many new files, spread over so many directories that are new as well."""
    for number in range(directories):
        place = tree / f"d{number}"
        place.mkdir(parents=True)
        for name in range(count // directories):
            (place / str(name)).write_bytes(record(next_generation(), 50))


def flicker(tree: Path, events: int) -> None:
    """At least so many events, no two alike in a row, which the kernel would make one of."""
    names = [tree / "flicker-0", tree / "flicker-1"]
    for number in range(events):
        names[number % 2].touch()


class _Writer:
    def __init__(self, tree: Path, outside: Path, number: int, seed: int, slow: bool) -> None:
        self._place, self._chaos, self._outside = tree / f"w{number}", tree / "chaos", outside
        self._dice = random.Random(seed * 1000 + number)
        self._kinds: list[Callable[[], object]] = [
            *[self._replace] * 4, *[self._write_in_place] * 2, *[self._append] * 3, self._truncate,
            *[self._flip] * 2, self._swap_files, self._swap_directories, self._attributes,
            *[self._new_file] * 5, *[self._save] * 4, *[self._grow] * 2, self._shorten, self._mode,
            self._time, self._symlink, *[self._directory] * 2, *[self._deep] * 2, *[self._rename] * 5,
            *[self._exchange] * 2, *[self._link] * 2, *[self._remove] * 3, self._move_out, self._move_in,
        ]  # fmt: skip
        self._slow = slow

    def rounds(self, count: int) -> None:
        for number in range(count):
            for _ in range(_STEPS):
                kind = self._dice.choice(self._kinds)
                with contextlib.suppress(OSError, shutil.Error):  # somebody else was there before us
                    kind()
            if self._slow and number % 10 == 0:
                self._write_slowly()
            time.sleep(self._dice.uniform(0, _PAUSE_S))

    # -- in the writer's own place
    def _replace(self) -> None:
        path = self._place / self._dice.choice(REPLACED)
        new = path.with_name(".new")
        new.write_bytes(self._record())
        new.replace(path)

    def _write_in_place(self) -> None:
        fd = os.open(self._place / IN_PLACE, os.O_WRONLY)
        os.pwrite(fd, record(next_generation(), _IN_PLACE_LENGTH), 0)
        os.close(fd)

    def _append(self) -> None:
        with (self._place / LOG).open("ab", buffering=0) as file:
            file.write(self._record())

    def _truncate(self) -> None:
        os.truncate(self._place / LOG, 0)

    def _write_slowly(self) -> None:
        data = self._record()
        with (self._place / SLOW).open("wb", buffering=0) as file:
            for at in range(0, len(data), len(data) // 5 + 1):
                file.write(data[at : at + len(data) // 5 + 1])
                time.sleep(0.03)

    def _flip(self) -> None:
        new = self._place / ".flip"
        new.symlink_to(str(next_generation()))
        new.replace(self._place / LINK)

    def _swap_files(self) -> None:
        _exchange(self._place / "left", self._place / "right")

    def _swap_directories(self) -> None:
        _exchange(self._place / "one", self._place / "other")

    def _attributes(self) -> None:
        path = self._place / self._dice.choice((*REPLACED, "one", "deep"))
        path.chmod(self._dice.choice([0o700, 0o750, 0o755]))
        os.utime(path, ns=(1, self._any_time_ns()))

    # -- where all meet
    def _new_file(self) -> None:
        self._put(self._new("f"))

    def _save(self) -> None:
        path = self._new("fh")
        new = path.with_name(f"{path.name}.new{self._dice.random()}")
        self._put(new)
        new.replace(path)

    def _grow(self) -> None:
        with self._there("f").open("ab", buffering=0) as file:
            file.write(self._record())

    def _shorten(self) -> None:
        os.truncate(self._there("f"), 0)

    def _mode(self) -> None:
        os.chmod(self._there("fd"), self._dice.choice([0o700, 0o755, 0o711]))

    def _time(self) -> None:
        os.utime(self._there("fds"), ns=(1, self._any_time_ns()), follow_symlinks=False)

    def _symlink(self) -> None:
        self._new("s").symlink_to(str(next_generation()))

    def _directory(self) -> None:
        self._new("d").mkdir()

    def _deep(self) -> None:
        top = self._new("d")
        deep = top.joinpath(*(self._dice.choice(["da", "db"]) for _ in range(self._dice.randrange(1, 5))))
        deep.mkdir(parents=True)
        for directory in (deep, top):
            self._put(directory / "f")

    def _rename(self) -> None:
        path = self._there()
        path.rename(self._new(path.name[0]))

    def _exchange(self) -> None:
        one = self._there()
        _exchange(one, self._there("h" if one.name[0] == "h" else "fds"))

    def _link(self) -> None:
        os.link(self._there("h"), self._new("h"), follow_symlinks=False)

    def _remove(self) -> None:
        path = self._there()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _move_out(self) -> None:
        path = self._there()
        path.rename(self._outside / f"{path.name[0]}{self._dice.random()}")

    def _move_in(self) -> None:
        name = self._dice.choice(os.listdir(self._outside) or ["none"])
        (self._outside / name).rename(self._new(name[0]))

    def _put(self, path: Path) -> None:
        """Always at the end, in one call: others may append to the same file just then."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.write(fd, self._record())
        os.close(fd)

    # -- what to do it to
    def _record(self) -> bytes:
        return record(next_generation(), self._dice.randrange(_LENGTH_MAX))

    def _any_time_ns(self) -> int:
        return self._dice.randrange(10**18, 16 * 10**17)

    def _directory_there(self) -> Path:
        here = self._chaos
        while self._dice.random() < 0.7:
            below = [entry.path for entry in os.scandir(here) if entry.is_dir(follow_symlinks=False)]
            if not below:
                break
            here = Path(self._dice.choice(below))
        return here

    def _there(self, kinds: str = "fhds") -> Path:
        """Something that is there; its name begins with one of these letters."""
        place = self._directory_there()
        names = [name for name in os.listdir(place) if name[0] in kinds]
        return place / self._dice.choice(names) if names else self._new(kinds)

    def _new(self, kinds: str) -> Path:
        """A path at which nothing need be."""
        return self._directory_there() / f"{self._dice.choice(kinds)}{self._dice.randrange(6)}"


def _exchange(one: Path, other: Path) -> None:
    _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
