"""A process that changes a tree at random: ``mutator.py TREE OUTSIDE SEED CHANGES THREADS``.

Everything that has a name may be written, replaced, renamed, swapped, moved out of the tree and back in,
removed; whole trees are made and filled at once. Hard links are left out: what is written through another
name of a file is announced for that name only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import sys
import threading
from pathlib import Path

EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Mutator(threading.Thread):
    def __init__(self, tree: Path, outside: Path, seed: int, changes: int) -> None:
        super().__init__()
        self._tree, self._outside, self._changes = tree, outside, changes
        self._dice = random.Random(seed)
        self._kinds = [
            *[self._write] * 6, self._append, self._mode, self._symlink, self._directory, *[self._deep] * 3,
            *[self._rename] * 5, *[self._swap] * 2, self._move_out, self._move_in, self._remove,
        ]  # fmt: skip

    def run(self) -> None:
        for _ in range(self._changes):
            with contextlib.suppress(OSError, shutil.Error):  # somebody else was there before us
                self._dice.choice(self._kinds)()

    def _place(self) -> Path:
        """A directory that is there."""
        here = self._tree
        while self._dice.random() < 0.7:
            below = [entry.path for entry in os.scandir(here) if entry.is_dir(follow_symlinks=False)]
            if not below:
                break
            here = Path(self._dice.choice(sorted(below)))
        return here

    def _there(self) -> Path:
        """Something that is there."""
        names = sorted(os.listdir(place := self._place()))
        return place / self._dice.choice(names) if names else self._new()

    def _new(self) -> Path:
        return self._place() / self._dice.choice("abcdef")

    def _write(self) -> None:
        self._new().write_bytes(self._dice.randbytes(self._dice.randrange(9)))

    def _append(self) -> None:
        with self._there().open("ab") as file:
            file.write(b"more")

    def _mode(self) -> None:
        self._there().chmod(self._dice.choice([0o700, 0o755, 0o777]))

    def _symlink(self) -> None:
        self._new().symlink_to(self._dice.choice("xyz"))

    def _directory(self) -> None:
        self._new().mkdir()

    def _deep(self) -> None:
        top = self._new()
        deep = top.joinpath(*(self._dice.choice("abc") for _ in range(self._dice.randrange(1, 5))))
        deep.mkdir(parents=True)
        (deep / "file").write_bytes(b"deep")
        (top / "file").write_bytes(b"top")

    def _rename(self) -> None:
        self._there().rename(self._new())

    def _swap(self) -> None:
        one, other = os.fsencode(self._there()), os.fsencode(self._there())
        _libc.renameat2(-100, one, -100, other, EXCHANGE)

    def _move_out(self) -> None:
        self._there().rename(self._outside / str(self._dice.random()))

    def _move_in(self) -> None:
        names = sorted(os.listdir(self._outside))
        if names:
            (self._outside / self._dice.choice(names)).rename(self._new())

    def _remove(self) -> None:
        there = self._there()
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            there.unlink()


if __name__ == "__main__":
    _tree, _outside, _seed, _changes, _threads = sys.argv[1:]
    mutators = [
        Mutator(Path(_tree), Path(_outside), int(_seed) * 1000 + number, int(_changes))
        for number in range(int(_threads))
    ]
    for mutator in mutators:
        mutator.start()
    for mutator in mutators:
        mutator.join()
