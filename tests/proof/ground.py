"""Where a real command is killed: a fresh copy of one destination for every run, and its judgement."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import atomsync
from atomsync.cli import planfile
from atomsync.fs.posix import PosixDisk
from atomsync.store.access import open_control
from atomsync.store.recovery import CLEAN
from atomsync.sync.applying import plan_of
from atomsync.sync.saved import OPTIONS
from atomsync.unit.store import open_store
from tests.proof import judge, traced
from tests.proof.judge import Tree
from tests.proof.scenario import Scenario, T
from tests.proof.traced import Call, Ended

PUSHED, PLAIN, MISSING, EARLIER = "pushed", "plain", "missing", "earlier"
APPLY, REPAIR = "apply", "repair"
STAGED, MIDWAY, COMMITTED = "staged", "midway", "committed"
UNDO, RESTORE = "undo", "restore"
CHECKED = "checked"
_AFTER = {STAGED: "old", MIDWAY: "old", COMMITTED: "new"}

_DEFAULTS = {name: inspect.signature(atomsync.push).parameters[name].default for name in OPTIONS}

Runner = Callable[..., Ended]


class Setting(NamedTuple):
    """What is swept. ``dst``: it has a control directory, or none yet, or is not there, or has a unit in
    its history that this push gives up. ``cut``: what is swept is the recovery of a push killed there.
    ``instead``: of a push, a saved plan is applied, what was damaged after a push is repaired, or
    a push is taken back, or one is made with a check."""

    small: bool = False
    dst: str = PUSHED
    durability: str = "full"
    state_dir: bool = False
    cut: str = ""
    instead: str = ""


class Ground:
    """``base`` is an existing directory on the filesystem under test; each process has a place in it."""

    def __init__(
        self, base: Path, setting: Setting, command: Sequence[str] = ("atomsync",), run: Runner = traced.warm
    ) -> None:
        self.base, self.setting, self.run = base.resolve(), setting, run
        self.command: Sequence[str] = ("atomsync",)  # what is learnt is how the real one goes about it
        self.scenario = Scenario(self.base, small=setting.small)
        self.scenario.build()
        self.new: Tree = {}
        self._cut: Call | None = None
        reverts = setting.instead in (UNDO, RESTORE)  # then what is new is what it leaves
        pushing = self._learnt(self.words if reverts else self._push_words())
        self.new = judge.look(self.dst)
        if setting.cut:
            self._cut = _cut(pushing, setting.cut)
        self.calls = self._learnt(self.words) if setting.cut or setting.instead else pushing
        self.command = command

    @property
    def dst(self) -> Path:
        return self.base / f"at-{os.getpid()}" / "dst"

    @property
    def words(self) -> list[str]:
        """The command that is swept."""
        if self._cut is not None:
            return [*self.command, "recover", *self._state_words(), str(self.dst)]
        if self.setting.instead == APPLY:
            return [*self.command, "apply", str(self.dst.parent / "plan")]
        if self.setting.instead == REPAIR:
            return [*self.command, "verify", "--repair", str(self.scenario.src), str(self.dst)]
        if self.setting.instead in (UNDO, RESTORE):
            to = ["--to", "@~1"] if self.setting.instead == RESTORE else []
            return [*self.command, self.setting.instead, *to, str(self.dst)]
        if self.setting.instead == CHECKED:
            return [*self._push_words(), "--check", "test -e same"]
        return self._push_words()

    @property
    def aim(self) -> str:
        """What DST is when the command was successful."""
        return _AFTER.get(self.setting.cut, "new")

    def fresh(self) -> Tree:
        """A new copy of the destination in this process's place; what it is before the push."""
        place = self.dst.parent
        if place.exists():
            if os.geteuid() != 0:
                subprocess.run(["chmod", "-R", "u+rwx", place], check=True)
            shutil.rmtree(place)
        place.mkdir()
        if self.setting.dst != MISSING:
            subprocess.run(["cp", "-a", self.scenario.dst, self.dst], check=True)
        if self.setting.dst in (PUSHED, EARLIER):
            control = open_control(PosixDisk(), str(self.dst), self._state_dir)
            assert control is not None
            control.close()
        if self.setting.dst == EARLIER:
            with atomsync.open_store(self.dst).begin() as unit:
                unit.write("earlier", b"of an earlier unit")
                unit.commit()
        if self.setting.instead == REPAIR and self.new:  # not while it is learnt what a push makes
            atomsync.push(self.scenario.src, self.dst, delete=True)
            damage(self.dst)
        if self.setting.instead in (UNDO, RESTORE):
            self._push_to_be_undone()
        old = self.look()
        if self.setting.instead == APPLY:
            report = atomsync.push(self.scenario.src, self.dst, delete=True, dry_run=True)
            options = {**_DEFAULTS, "delete": True}
            places = str(self.scenario.src), str(self.dst)
            planfile.write(
                str(place / "plan"), plan_of(report, *places, (), gitignore=False, options=options)
            )
        if self._cut is not None:
            self.run(self._push_words(), *traced.inject(self._cut, "signal=KILL"))
        return old

    def _push_to_be_undone(self) -> None:
        with atomsync.open_store(self.dst).begin() as unit:
            unit.utime("same", T + 1)
        before = self.look()
        atomsync.push(self.scenario.src, self.dst, delete=True)
        if self.new and not judge.is_same(self.new, before):
            raise AssertionError(f"undone is not what it was: {judge.differences(self.new, before)}")

    def look(self) -> Tree:
        return judge.look(self.dst)

    def recovered(self, old: Tree) -> tuple[str, list[str]]:
        """What recovery makes of the place ("old" or "new" or an exception the guarantee names), and every
        invariant that is broken on the way. The push after it must go through."""
        wrong = judge.torn(self.look(), old, self.new)
        if self.setting.dst == MISSING:  # it is made beside its place: no recovery is needed there
            wrong += judge.verdict(self.look(), old, self.new)[1]
        just_made = self.setting.dst == PLAIN and not any((self.dst / judge.CONTROL).glob("*"))
        try:
            with limited():
                self._recover()
                now = self.look()
                what, more = judge.verdict(now, old, self.new)
                if just_made and what == "mixed" and _but_for_its_time(now) == _but_for_its_time(old):
                    what, more = "old but for DST's own time", []
                wrong += more + self._left_behind()
                again = self._recover()
                if again != CLEAN or self.look() != now:
                    wrong.append(f"I4: the second recovery was {again!r}")
                atomsync.push(self.scenario.src, self.dst, delete=True, **self._options())
                after, more = judge.verdict(self.look(), old, self.new)
                if self.setting.instead in (UNDO, RESTORE):  # what was undone is there again, in other inodes
                    after, more = ("new" if judge.is_same(self.look(), old) else "something else"), []
                wrong += more + self._left_behind()
                if after != "new":
                    wrong.append(f"after one more push DST is {after}")
        except (Exception, Hung) as error:
            return "unjudged", [*wrong, f"after it: {type(error).__name__}: {error}"]
        if self._cut is not None and what != self.aim:
            wrong.append(f"I2: a push cut when {self.setting.cut} became {what}")
        return what, wrong

    def _recover(self) -> str:
        return open_store(self.dst, state_dir=self._state_dir).recover().action

    def _left_behind(self) -> list[str]:
        if self._state_dir is None:
            beside = [f"litter: {at.name}" for at in self.dst.parent.glob("*.atomsync-new")]
            return judge.left_behind(self.dst) + beside
        view = self.dst.parent / "view"
        view.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (view / judge.CONTROL).symlink_to(self._state_dir)
        return judge.left_behind(view)

    @property
    def _state_dir(self) -> str | None:
        return str(self.dst.parent / "state") if self.setting.state_dir else None

    def _state_words(self) -> list[str]:
        return ["--state-dir", self._state_dir] if self._state_dir else []

    def _options(self) -> dict[str, Any]:
        more: dict[str, Any] = {"keep": 1} if self.setting.dst == EARLIER else {}
        if self.setting.instead == REPAIR:
            more["checksum"] = True  # without it a push does not see what rotted
        return {"durability": self.setting.durability, "state_dir": self._state_dir, **more}

    def _push_words(self) -> list[str]:
        keep = ["--keep", "1"] if self.setting.dst == EARLIER else []
        options = ["--delete", "--durability", self.setting.durability, *keep, *self._state_words()]
        return [*self.command, "push", *options, str(self.scenario.src), str(self.dst)]

    def _learnt(self, words: list[str]) -> list[Call]:
        """The calls of an undisturbed run that touch SRC, DST or the state directory."""
        self.fresh()
        log = self.base / "log"
        ended = self.run(words, "-y", "-s", "300", log=log)
        assert ended.status == 0, ended
        return [
            call for call in traced.calls(log) if str(self.base) in call.line or "/proc/self/fd/" in call.line
        ]


class Hung(BaseException):
    """Not an ``Exception``: the product must not take it for an error of the disk."""


@contextlib.contextmanager
def limited(seconds: int = traced.TIMEOUT_S) -> Iterator[None]:
    """An exception instead of a hang."""

    def stop(number: int, frame: object) -> None:
        raise Hung(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _cut(calls: list[Call], when: str) -> Call:
    swaps = [call for call in calls if call.name == "renameat2" and "/slots>" in call.line]
    if when == MIDWAY:
        return swaps[len(swaps) // 2]
    behind = calls[calls.index(swaps[-1]) :]
    found = [call for call in behind if call.name == "renameat" and "history" in call.line]
    return found[0] if when == COMMITTED else swaps[0]


def _but_for_its_time(tree: Tree) -> dict[str, object]:
    return {path: seen._replace(mtime_ns=0) if path == "" else seen for path, seen in tree.items()}


def damage(dst: Path) -> None:
    """What bad disks and careless operators do: one file rots, others are edited, lose their mode, or go."""
    rotten = dst / "deep/a/b/replaced"
    before = rotten.stat()
    with rotten.open("r+b") as file:
        file.write(b"ROT")
    os.utime(rotten, ns=(before.st_atime_ns, before.st_mtime_ns))
    (dst / "mode").chmod(0o600)
    (dst / "made").unlink()
    (dst / "same").write_bytes(b"edited")
