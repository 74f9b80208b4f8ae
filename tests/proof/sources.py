"""Sources that change while they are read: what is committed was whole at one moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from atomsync.errors import AtomSyncError, SourceUnstable
from atomsync.store.progress import Progress
from atomsync.sync.push import push
from tests.proof.figures import Outcome

_SIZE = (5 << 19) + 1  # read in three pieces
_FILES = ("large", "small")

Change = Callable[[Path, bytes], None]


def _in_place(path: Path, data: bytes) -> None:
    """Both ends, as a database writes: the one that was read already and the one that was not."""
    with path.open("r+b") as file:
        file.write(data[:100])
        file.flush()
        file.seek(-100, os.SEEK_END)
        file.write(data[-100:])


def _cut(path: Path, data: bytes) -> None:
    os.truncate(path, len(data) // 2)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data[:100])


def _save(path: Path, data: bytes) -> None:
    fresh = path.with_name("editor.tmp")
    fresh.write_bytes(data)
    fresh.rename(path)


CHANGES: tuple[Change, ...] = (_in_place, _cut, _append, _save)


class _Meddling(Progress):
    """Makes one change to one source file when the push says for the ``nth`` time that it got on."""

    def __init__(self, nth: int, change: Callable[[], None]) -> None:
        self._left, self._change = nth, change

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._left -= 1
        if self._left == 0:
            self._change()

    @property
    def came_to_it(self) -> bool:
        return self._left <= 0


def changing_sources(base: Path, outcome: Outcome, *, stride: int) -> None:
    """Each kind of change to each file, at every ``stride``-th moment that a push says it got on."""
    for number, change in enumerate(CHANGES):
        for name in _FILES:
            nth = 1 - stride
            came_to_it = True
            while came_to_it and not outcome.done:
                nth += stride
                case = base / f"{number}-{name}-{nth}"
                came_to_it = _one(case, change, name, nth, outcome)


def _one(case: Path, change: Change, name: str, nth: int, outcome: Outcome) -> bool:
    src, dst = case / "src", case / "dst"
    src.mkdir(parents=True)
    dst.mkdir()
    for at, each in enumerate(_FILES):
        (src / each).write_bytes(bytes([65 + at]) * (_SIZE if each != "small" else 1000))
        (dst / each).write_bytes(b"old")
    moments = [{each: (src / each).read_bytes() for each in _FILES}]

    def meddle() -> None:
        change(src / name, b"z" * len(moments[0][name]))
        moments.append({each: (src / each).read_bytes() for each in _FILES})

    progress = _Meddling(nth, meddle)
    where = f"{change.__name__[1:]} of {name} at {nth}"
    try:
        push(src, dst, progress=progress)
    except SourceUnstable:
        found = {(dst / each).read_bytes() for each in _FILES}
        outcome.judged("refused", *([] if found == {b"old"} else [f"{where}: failed, but DST is not old"]))
    except AtomSyncError as error:
        outcome.judged("failed", f"{where}: {error!r}")
    else:
        now = {each: (dst / each).read_bytes() for each in _FILES}
        torn = [each for each in _FILES if all(now[each] != moment[each] for moment in moments)]
        outcome.judged("committed", *(f"{where}: {each} was never like that" for each in torn))
    for path in (*src.iterdir(), *(dst / each for each in _FILES)):
        path.unlink()
    return progress.came_to_it
