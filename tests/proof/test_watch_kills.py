"""The real ``atomsync watch``, killed before each call with which one of its units changes something.

The unit is a batch of a source that comes alive once the watch has caught up. strace counts the calls of each
thread for itself, and so do we: the other threads of a watch shift nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atomsync.daemon.client import ask
from atomsync.errors import AtomSyncError
from atomsync.follow.watching import WatchOptions
from atomsync.store.recovery import CLEAN
from atomsync.unit.store import open_store
from tests.follow.following import Following
from tests.proof import judge, traced
from tests.proof.figures import FULL, Figures, Outcome
from tests.proof.ground import Ground, Hung, Setting, limited
from tests.proof.judge import Tree
from tests.proof.kills import kills, sweep
from tests.proof.scenario import T
from tests.proof.traced import MUTATING, Call, Ended

_PATIENCE_S = 20
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)$")
# The short form takes every so many-th call, the full form every one.
SETTINGS = {
    "small": (Setting(small=True), "tmpfs", 4),
    "durability none": (Setting(small=True, durability="none"), "tmpfs", 9),
}
if FULL:
    SETTINGS |= {kind: (Setting(), kind, 1) for kind in ("tmpfs", "ext4", "xfs", "btrfs")}


class Living(Ground):
    """The source is what the destination is; when the watch has caught up, it becomes the scenario's."""

    def __init__(self, base: Path, setting: Setting) -> None:
        super().__init__(base, setting, run=self._followed)

    @property
    def src(self) -> Path:
        return self.dst.with_name("src")

    def fresh(self) -> Tree:
        super().fresh()
        (self.dst / "gone-fifo").unlink(missing_ok=True)  # which would be left out, in a source
        os.utime(self.dst, ns=(T, T))
        subprocess.run(["cp", "-a", self.dst, self.src], check=True)
        shutil.rmtree(self.src / judge.CONTROL)
        os.utime(self.src, ns=(T, T))
        return self.look()

    def recovered(self, old: Tree) -> tuple[str, list[str]]:
        wrong = judge.torn(self.look(), old, self.new)
        try:
            with limited():
                store = open_store(self.dst)
                store.recover()
                now = self.look()
                what, more = judge.verdict(now, old, self.new)
                wrong += more + judge.left_behind(self.dst)
                if (again := store.recover().action) != CLEAN or self.look() != now:
                    wrong.append(f"I4: the second recovery was {again!r}")
                following = Following(self.src, self.dst, WatchOptions(delete=True), lasting=False)
                try:
                    following.settled()
                finally:
                    following.stop()
                wrong += judge.left_behind(self.dst)
                after, more = judge.verdict(self.look(), old, self.new)
                if after != ("new" if self._edited.exists() else "old"):
                    wrong += [f"another watch made it {after}", *more]
        except (Exception, Hung) as error:
            return "unjudged", [*wrong, f"after it: {type(error).__name__}: {error}"]
        return what, wrong

    @property
    def _edited(self) -> Path:
        """Made when the source comes alive; says how long the log is by then."""
        return self.dst.with_name("edited")

    def _push_words(self) -> list[str]:
        options = ["--delete", "--settle=400ms", "--max-wait=10", f"--durability={self.setting.durability}"]
        return [*self.command, "watch", *options, str(self.src), str(self.dst)]

    def _learnt(self, words: list[str]) -> list[Call]:
        if not self.setting.small:  # rsync leaves the time of a link that it made in the same second
            os.utime(self.scenario.src / "made-dir/sub/l", ns=(T, T), follow_symlinks=False)
        self.fresh()
        log = self.base / "log"
        ended = self.run(words, "-y", "-s", "300", log=log)
        assert ended.status == 0, ended
        counts: Counter[tuple[str, str]] = Counter()
        found: dict[str, list[Call]] = {}
        at, mark, ours = 0, int(self._edited.read_text()), (str(self.dst), "/proc/self/fd/")
        for line in log.read_text(errors="replace").splitlines(keepends=True):
            at += len(line.encode(errors="replace"))
            if match := _LINE.match(line):
                thread, name, rest = match.groups()
                counts[thread, name] += 1
                if at > mark and name in MUTATING and any(place in rest for place in ours):
                    found.setdefault(thread, []).append(Call(name, counts[thread, name], rest))
        return max(found.values(), key=len)

    def _followed(self, words: list[str], *options: str, log: Path) -> Ended:
        # Bound here: in the editor ``dst`` would be that of another process.
        edit = partial(_edit, self.scenario.src, self.src, self.dst, self._edited, log)
        editor = os.fork()
        if not editor:
            try:
                edit()
            finally:
                os._exit(0)
        try:
            return traced.warm(words, *options, log=log)
        finally:
            os.kill(editor, signal.SIGKILL)
            os.waitpid(editor, 0)


def _edit(new: Path, src: Path, dst: Path, edited: Path, log: Path) -> None:
    """When the watch has caught up the source comes alive; when that is committed, the watch is ended."""
    caught_up = _when(dst, lambda status: status["state"] == "watching")
    edited.write_text(str(log.stat().st_size))
    os.kill(
        caught_up["pid"], signal.SIGSTOP
    )  # until it is all there, so it is one batch; strace may take a while to do it
    subprocess.run(["rsync", "-a", "--delete", "--force", f"{new}/", f"{src}/"], check=True)
    os.kill(caught_up["pid"], signal.SIGCONT)
    with contextlib.suppress(TimeoutError, ProcessLookupError):  # it was killed
        _when(dst, lambda status: status["units"] > caught_up["units"] and status["state"] == "watching")
        os.kill(caught_up["pid"], signal.SIGTERM)


def _when(dst: Path, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Of the watch, as soon as it is so."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(AtomSyncError):  # not there yet
            if condition(status := ask(str(dst), "status")):
                return status
        time.sleep(0.005)
    raise TimeoutError


@pytest.mark.parametrize("name", SETTINGS)
def test_a_kill_in_a_unit_of_a_watch_leaves_old_or_new_and_the_next_watch_catches_up(
    name: str, small_fs: Any, strace: Any, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    setting, kind, step = SETTINGS[name]
    base = small_fs(kind, 320 if kind == "xfs" else 160)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(base / "run"))
    place = Living(base, setting)
    outcome = Outcome()
    sweep(outcome, place, kills(place.calls)[:: 1 if FULL else step])
    figures.add("kills", f"watch, {name}, {kind}", outcome)
