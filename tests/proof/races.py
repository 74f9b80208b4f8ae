"""Real editors in another process race real commits: each race's bytes are its own, so a loss shows.

The editor is released either when the commit begins or in the instant before the first swap, and edits
after a short random while. What it wrote must then be at its path; or, if it wrote through a descriptor
it had opened before the swap, in the history, and in the conflicts when the history is given up.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from atomsync.errors import Drift
from atomsync.testing import HookedDisk
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from tests.proof.figures import Outcome

FILES = ("a", "b", "c")  # replaced by every unit; "made" is created by one and removed by the next
KINDS = ("save", "write", "late", "create", "unlink")
_FIRST_FREE = ("begin", "swap")
_SPAN_NS = {"begin": 2_500_000, "swap": 500_000}  # about as long as the rest of a commit takes
_REPLY_BYTES = 8


class Editor:
    """A process that does one edit each time it is released."""

    def __init__(self, dst: Path) -> None:
        self._dst = dst
        ours, theirs = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(ours[1])  # or it would never see our end
                self._serve(ours[0], theirs[1])
            finally:
                os._exit(0)
        os.close(ours[0])
        os.close(theirs[1])
        self._out, self._in = ours[1], theirs[0]

    def prepare(self, kind: str, name: str, data: bytes, wait_ns: int) -> None:
        """It has opened what it opens early when this returns."""
        os.write(self._out, f"{kind} {name} {data.decode()} {wait_ns}\n".encode())
        os.read(self._in, _REPLY_BYTES)

    def release(self) -> None:
        os.write(self._out, b"go")

    def result(self) -> bool:
        """Whether it found what it wanted to edit."""
        return os.read(self._in, _REPLY_BYTES) == b"done"

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        os.waitpid(self.pid, 0)

    def _serve(self, commands: int, replies: int) -> None:
        while line := os.read(commands, 1000):
            kind, name, data, wait_ns = line.decode().split()
            path = self._dst / name
            early = os.open(path, os.O_WRONLY) if kind == "late" and path.exists() else None
            os.write(replies, b"ready")
            os.read(commands, _REPLY_BYTES)
            until = time.perf_counter_ns() + int(wait_ns)
            while time.perf_counter_ns() < until:
                pass
            try:
                _edit(kind, path, data.encode(), early)
                os.write(replies, b"done")
            except OSError:
                os.write(replies, b"failed")


def _edit(kind: str, path: Path, data: bytes, early: int | None) -> None:
    if kind == "save":
        fresh = path.with_name("editor.tmp")
        fresh.write_bytes(data)
        fresh.replace(path)
    elif kind == "create":
        with path.open("xb") as file:
            file.write(data)
    elif kind == "unlink":
        path.unlink()
    elif early is not None or kind == "write":
        fd = os.open(path, os.O_WRONLY) if early is None else early
        try:
            os.pwrite(fd, data, 0)
        finally:
            os.close(fd)
    else:
        raise FileNotFoundError(path)


def races(outcome: Outcome, dst: Path, count: int, seed: int) -> None:
    """``count`` races of one edit against one unit in ``dst``, which must be empty."""
    rng = random.Random(seed)
    editor = Editor(dst)
    try:
        for name in FILES:
            (dst / name).write_bytes(b"before")
        for number in range(count):
            if outcome.done:
                break
            _race(outcome, dst, editor, number, rng)
    finally:
        editor.close()


def _race(outcome: Outcome, dst: Path, editor: Editor, number: int, rng: random.Random) -> None:
    kind, name = rng.choice(KINDS), rng.choice((*FILES, "made"))
    ours, foreign = f"unit-{number:08}".encode(), f"foreign-{number:08}".encode()
    moment = rng.choice(_FIRST_FREE)
    editor.prepare(kind, name, foreign, rng.randrange(_SPAN_NS[moment]))
    old = _visible(dst)
    free = _Once(editor)

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if moment == "swap" and names[1:] == ("unit",):
            free()

    unit = UnitOfWork(open_store(dst, durability="none", keep=2, disk=HookedDisk(hook)))
    for path in FILES:
        unit.write(path, ours)
    new = {**old, **dict.fromkeys(FILES, ours)}
    if "made" in old:
        unit.remove("made")
        del new["made"]
    else:
        unit.write("made", ours)
        new["made"] = ours
    if moment == "begin":
        free()
    told, failure = "", ""
    try:
        unit.commit()
    except Drift as error:
        told = str(error)
    except Exception as error:  # whatever else it is, is wrong
        failure = repr(error)
    unit.rollback()
    free()
    edited = editor.result()
    wrote = edited and kind != "unlink"
    expected = old if told else new
    now = _visible(dst)
    kept = ("path" if now.get(name) == foreign else _kept(dst, foreign)) if wrote else "none"
    what = "drift" if told else "no collision" if kept != "history" else "late write"
    wrong = [failure] * bool(failure)
    if told and not edited:
        wrong.append(f"nobody edited, and yet: {told}")
    if wrote:
        wrong += _misplaced(dst, foreign, kept, told, late=kind in ("late", "write"))
    if {**now, name: b""} != {**expected, name: b""}:
        wrong.append(f"mixed: {now}, expected {expected}")
    if now.get(name) not in (expected.get(name), foreign, *([None] if kind == "unlink" else [])):
        wrong.append(f"{name} holds {now.get(name)!r}, expected {expected.get(name)!r}")
    where = f"race {number}, {kind} {name}, {what}"
    outcome.judged(what if edited else "nothing to edit", *(f"{where}: {each}" for each in wrong))
    shutil.rmtree(dst / ".atomsync" / "conflicts", ignore_errors=True)


class _Once:
    def __init__(self, editor: Editor) -> None:
        self._editor, self._done = editor, False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._editor.release()


def _misplaced(dst: Path, foreign: bytes, kept: str, told: str, *, late: bool) -> Iterator[str]:
    if not kept:
        yield "its bytes are lost"
    elif kept == "conflicts" and "conflicts/" not in told:
        yield "its bytes were kept aside, and nobody was told"
    elif kept == "history":
        if not late:
            yield "its bytes were displaced in silence"
        with open_store(dst, durability="none", keep=0, disk=HookedDisk()).begin() as unit:
            unit.write("later", foreign[::-1])
        if _kept(dst, foreign) != "conflicts":
            yield "its bytes went with the history"


def _visible(dst: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dst.iterdir() if path.is_file() and path.name != "later"}


def _kept(dst: Path, data: bytes) -> str:
    """Where below the control directory a file with these bytes is."""
    for place in ("history", "conflicts", "unit", "retired"):
        for directory, _, names in os.walk(dst / ".atomsync" / place):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    if (Path(directory) / name).read_bytes() == data:
                        return place
    return ""
