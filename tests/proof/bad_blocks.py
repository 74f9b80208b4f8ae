"""Pushes on a disk that fails at one write request after the other, judged when the disk is good again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atomsync.testing.ground import DONE, Child
from atomsync.unit.store import open_store
from tests.proof.bad_disk import BadDisk, Fault, mounted
from tests.proof.figures import Outcome
from tests.proof.judge import left_behind, look, torn, verdict
from tests.proof.scenario import Scenario

SIZE_MIB = {"ext4": 32, "xfs": 300, "btrfs": 128}
MKFS = {"ext4": ["-F", "-b", "4096"], "xfs": ["-f", "-s", "size=4096"], "btrfs": ["-f"]}
OPTIONS = {"ext4": "errors=remount-ro"}
# The frame of COMMIT begins with its magic, its version and its type (docs/on-disk-format.md).
COMMIT_FRAME = b"atsj\x01\x06".hex()
IN_DOUBT = 75
_SAID = {
    11: ("Input/output error", "Structure needs cleaning"),
    13: ("Read-only file system",),
    42: ("",),
    IN_DOUBT: ("atomsync recover",),
}

Push = Callable[[Path, Path], Any]


class Ground:
    """A filesystem of this kind in a file, with the old tree on it; the source is elsewhere."""

    def __init__(self, kind: str, where: Path, *, small: bool = False) -> None:
        self.kind, self._where = kind, where
        self._pristine, self.image = where / "pristine", where / "image"
        scenario = Scenario(where, small=small)
        with self._pristine.open("wb") as file:
            file.truncate(SIZE_MIB[kind] << 20)
        line = [f"mkfs.{kind}", "-q", *MKFS[kind], str(self._pristine)]
        subprocess.run(line, check=True, capture_output=True)
        self.src = scenario.src
        (where / "good").mkdir()
        with self.good(self._pristine) as root:
            scenario.dst = root / "dst"
            scenario.build()
            self.old = look(root / "dst")
        self.new = look(self.src)
        subprocess.run(["fallocate", "--dig-holes", self._pristine], check=True)
        self.restore()
        self.disk = BadDisk(self.image, where)

    def restore(self) -> None:
        """The image as it was at first; the same file, which the server has open."""
        subprocess.run(["cp", "--sparse=always", self._pristine, self.image], check=True)

    @contextmanager
    def good(self, image: Path) -> Iterator[Path]:
        """The filesystem as the next boot finds it, on a disk without faults."""
        root = self._where / "good"
        with mounted(image, root, "defaults"):
            yield root

    def requests_of_a_push(self, push: Push) -> tuple[int, int]:
        """Write and flush requests, when nothing fails."""
        self.restore()
        with self.disk.mounted(OPTIONS.get(self.kind, "defaults")) as root:
            self.disk.arm(Fault())
            assert push(self.src, root / "dst").returncode == 0
            writes, flushes, _ = self.disk.counts()
        return writes, flushes

    def close(self) -> None:
        self.disk.close()


def failing_writes(ground: Ground, faults: Iterable[Fault], push: Push, outcome: Outcome) -> None:
    for fault in faults:
        if outcome.done:
            return
        status, said, wrong = _push(ground, fault, push)
        with ground.good(ground.image) as root:
            dst = root / "dst"
            wrong += torn(look(dst), ground.old, ground.new)
            recovery = Child(open_store(dst).recover).wait()
            if recovery != DONE:
                wrong.append(f"recovery on a good disk: {recovery}")
            what, more = verdict(look(dst), ground.old, ground.new)
            wrong += more + left_behind(dst)
        if status == 0 and what != "new":
            wrong.append(f"I3: success was reported, and the tree is {what}")
        if status not in (0, IN_DOUBT) and what != "old":
            wrong.append(f"exit status {status}, and the tree is {what}")
        outcome.judged(f"{what} after {status}", *(f"{fault}: {text} ({said})" for text in wrong))


def _push(ground: Ground, fault: Fault, push: Push) -> tuple[int, str, list[str]]:
    """Exit status and message of a push on the failing disk, and what is wrong with them."""
    ground.restore()
    wrong: list[str] = []
    try:
        with ground.disk.mounted(OPTIONS.get(ground.kind, "defaults")) as root:
            ground.disk.arm(fault)
            done = push(ground.src, root / "dst")
            if not fault.later:
                ground.disk.arm(Fault())  # what failed once fails no more; a dead disk stays dead
    except subprocess.TimeoutExpired as error:
        return -1, str(error), [f"did not come to an end: {error}"]
    if done.returncode and not any(text in done.stderr for text in _SAID.get(done.returncode, ())):
        wrong.append("status or message is not one for a bad disk")
    return done.returncode, done.stderr.strip(), wrong
