"""Several processes on one store: one after the other, or refused with the name of the holder; never mixed,
and never blocked by what a dead process left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import AtomSyncError, StoreLocked
from atomsync.fs.posix import PosixDisk
from atomsync.store.access import open_control
from atomsync.sync.push import push
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.judge import differences, left_behind, look

COMMAND = (sys.executable, "-m", "atomsync")
SOURCES, FILES = 4, 40
ROUNDS, LIBRARY_ROUNDS = scaled(3, 60), scaled(12, 400)
_PATIENCE_S = 30
_WHAT = {0: "done", 40: "refused"}

Act = Callable[[], Any]


def build(src: Path, number: int) -> Path:
    """A tree that is another one at every path for every ``number``, in kind where it can be."""
    for at in range(FILES):
        path = src / f"d{at % 7}" / f"f{at}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"source {number}, file {at}".encode() * (number + 1))
    kind = src / "kind"
    if number % 3 == 0:
        kind.write_bytes(b"source %d" % number)
    elif number % 3 == 1:
        kind.symlink_to(f"source-{number}")
    else:
        kind.mkdir()
        (kind / "in").write_bytes(b"source %d" % number)
    (src / f"only-{number}").write_bytes(b"source %d" % number)
    return src


def together(acts: Sequence[Act]) -> list[int]:
    """Run each in a process of its own, all released at once; the exit statuses. 70 is a bug, 71 a hang."""
    ready, go = os.pipe()
    pids = []
    for act in acts:
        pid = os.fork()
        if not pid:
            status = 70
            try:
                os.close(go)
                signal.alarm(_PATIENCE_S)
                os.read(ready, 1)
                act()
                status = 0
            except AtomSyncError as error:
                status = error.exit_status
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(ready)
    os.close(go)  # nobody holds it any more: they all read the end
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def pushes_together(
    outcome: Outcome, base: Path, rounds: int, *, state_dir: bool = False, fresh: bool = False
) -> None:
    """Pushes of different sources into one destination, and a recovery, by the library."""
    sources = [build(base / f"src{number}", number) for number in range(SOURCES)]
    trees = [look(src) for src in sources]
    dst = base / "dst"
    state = base / "state" if state_dir else None
    if not fresh:
        push(sources[0], dst, state_dir=state)
    for number in range(rounds):
        if outcome.done:
            return
        if fresh:
            subprocess.run(["rm", "-rf", dst, base / "state"], check=True)
        acts: list[Act] = [
            lambda src=src: push(src, dst, delete=True, durability="none", state_dir=state)  # type: ignore[misc]
            for src in sources
        ]
        if not fresh:
            acts.append(lambda: open_store(dst, state_dir=state).recover())
        before = look(dst) if dst.exists() else {}
        statuses = together(acts)
        winners = [tree for tree, status in zip(trees, statuses) if status == 0] or [before]
        where = f"round {number}, {statuses}"
        judge_round(outcome, dst, state, statuses, winners, where)


def judge_round(
    outcome: Outcome, dst: Path, state: Path | None, statuses: list[int], winners: list[Any], where: str
) -> None:
    wrong = [f"{where}: neither done nor refused"] * (not {0, 40}.issuperset(statuses))
    now = look(dst) if dst.exists() else {}
    if not any(differences(now, tree) == [] for tree in winners):
        wrong.append(f"{where}: mixed: {differences(now, winners[0])}")
    wrong += [f"{where}: {each}" for each in left_behind(dst)] if state is None else []
    outcome.violations += wrong
    for status in statuses:
        outcome.judged(_WHAT.get(status, "failed"))


def commands_together(
    outcome: Outcome,
    base: Path,
    rounds: int,
    *,
    command: Sequence[str] = COMMAND,
    options: Sequence[str] = (),
) -> None:
    """The same with the real command, and a ``status`` among them."""
    sources = [build(base / f"src{number}", number) for number in range(SOURCES)]
    dst = base / "dst"
    push(sources[0], dst)
    for number in range(rounds):
        if outcome.done:
            return
        before = look(dst)
        lines = [["push", "--delete", *options, src, dst] for src in sources] + [["status", dst, *options]]
        running = [
            subprocess.Popen(
                [*command, *map(str, line)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for line in lines
        ]
        said = [process.communicate(timeout=_PATIENCE_S)[1] for process in running]
        statuses = [process.returncode for process in running]
        winners = [look(src) for src, status in zip(sources, statuses) if status == 0] or [before]
        where = f"round {number}, {statuses}"
        judge_round(outcome, dst, None, statuses, winners, where)
        pids = {str(process.pid) for process in running}
        for text in (text for text, status in zip(said, statuses) if status == 40):
            named = re.search(r"process (\d+) \(", text)
            if named is None or named[1] not in pids:
                # Between taking a lock and signing it, and between two holders, it has no name.
                outcome.counts["refused without a name"] += 1
                if "left no name" not in text:
                    outcome.violations.append(f"{where}: {text}")


def pushes_of_nothing(outcome: Outcome, base: Path, rounds: int) -> None:
    """Pushes with nothing to do make a control directory and take it away again, under each other's feet."""
    src, dst = build(base / "src0", 0), base / "dst"
    subprocess.run(["cp", "-a", src, dst], check=True)
    for number in range(rounds):
        if outcome.done:
            return
        statuses = together([lambda: push(src, dst, durability="none")] * SOURCES)
        judge_round(outcome, dst, None, statuses, [look(src)], f"round {number}, {statuses}")


def locks_beside_a_status(outcome: Outcome, dst: Path, rounds: int) -> None:
    """The lock is taken again and again, and somebody asks for the status all the time: nobody is refused."""
    dst.mkdir()
    _lock(dst)
    asking = os.fork()
    if not asking:
        parent = os.getppid()
        try:
            while os.getppid() == parent:
                open_store(dst).status()
        finally:
            os._exit(1)
    try:
        for number in range(rounds):
            if outcome.done:
                return
            try:
                _lock(dst)
                outcome.judged("locked")
            except StoreLocked as error:
                outcome.judged("refused", f"lock {number} beside a status: {error}")
        if os.waitid(os.P_PID, asking, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            outcome.violations.append("a status failed")
    finally:
        os.kill(asking, signal.SIGKILL)
        os.waitpid(asking, 0)


def _lock(dst: Path) -> None:
    control = open_control(PosixDisk(), str(dst))
    assert control is not None
    try:
        control.lock()
    finally:
        control.close()


def stale_locks(outcome: Outcome, base: Path) -> None:
    """What a dead holder left in the lock file, whomever it names, blocks nobody."""
    sources = [build(base / f"src{number}", number) for number in range(2)]
    dst = base / "dst"
    push(sources[1], dst)
    since = "2001-01-01 00:00:00"  # before this boot
    living = [
        json.dumps({"pid": pid, "command": "atomsync push", "since": since}) for pid in (1, os.getpid())
    ]
    for number, text in enumerate(["", "no json", "{}", "\0" * 5000, "4194304", *living]):
        (dst / ".atomsync" / "lock").write_text(text)
        status = together([lambda src=sources[number % 2]: push(src, dst, delete=True)])  # type: ignore[misc]
        judge_round(outcome, dst, None, status, [look(sources[number % 2])], f"stale {text[:40]!r}")
        outcome.violations += [f"stale {text[:40]!r} blocks"] * (status != [0])


def dead_holders(outcome: Outcome, base: Path, rounds: int) -> None:
    """A process with a unit at hand is stopped: others are refused. It is killed: the next gets in."""
    sources = [build(base / f"src{number}", number) for number in range(2)]
    dst = base / "dst"
    push(sources[1], dst)
    for number in range(rounds):
        if outcome.done:
            return
        src = sources[number % 2]
        told, tell = os.pipe()
        holder = os.fork()
        if not holder:
            try:
                unit = UnitOfWork(open_store(dst), exclusive=True)
                unit.write("staged", b"never seen")
                os.write(tell, b"x")
                os.close(tell)
                signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        os.read(told, 1)
        os.close(told)
        os.kill(holder, signal.SIGSTOP)
        before = look(dst)
        said: list[str] = []
        for act in (lambda src=src: push(src, dst, delete=True), open_store(dst, timeout=0).recover):  # type: ignore[misc]
            try:
                act()
                said.append("got in")
            except StoreLocked as error:
                said.append(str(error))
        named = all(f"process {holder} " in text for text in said)
        wrong = [f"refused, but not by name: {said}"] * (not named)
        wrong += [f"changed beside a holder: {each}" for each in differences(look(dst), before)]
        outcome.judged("refused", *wrong)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        statuses = together([lambda src=src: push(src, dst, delete=True)])  # type: ignore[misc]
        outcome.violations += [f"blocked by a dead holder: {statuses}"] * (statuses != [0])
        judge_round(outcome, dst, None, statuses, [look(src)], f"after the death of holder {number}")


def killed_helpers(outcome: Outcome, base: Path, *, command: Sequence[str] = COMMAND) -> float:
    """A push is killed while its helper stages. Returns how long the store stayed locked, in ms."""
    src, dst = base / "src", base / "dst"
    for at in range(4_000):
        path = src / f"d{at % 40}" / f"f{at}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % at * 100)
    process = subprocess.Popen(
        [*command, "push", src, dst], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not _children(process.pid):
        if process.poll() is not None:
            outcome.judged("no helper", "the push ended without a helper")
            return 0.0
    process.kill()
    process.wait()
    began = time.monotonic()
    while (statuses := together([open_store(dst).recover])) == [40]:
        if time.monotonic() > began + _PATIENCE_S:
            break
    locked_ms = (time.monotonic() - began) * 1000
    judge_round(outcome, dst, None, statuses, [{}], "after a killed push")
    outcome.violations += ["the helper kept the store locked"] * (statuses != [0])
    return locked_ms


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


# -- tests
@pytest.mark.parametrize("state_dir", [False, True], ids=["", "state-dir"])
def test_pushes_at_once_are_serialised_or_refused(tmp_path: Path, state_dir: bool, figures: Figures) -> None:
    outcome = Outcome()
    pushes_together(outcome, tmp_path, LIBRARY_ROUNDS, state_dir=state_dir)
    figures.add("at once", f"library{', state-dir' * state_dir}", outcome)
    assert outcome.counts["refused"] > LIBRARY_ROUNDS / 2, "they never met"


@pytest.mark.parametrize("state_dir", [False, True], ids=["", "state-dir"])
def test_first_pushes_at_once_are_too(tmp_path: Path, state_dir: bool, figures: Figures) -> None:
    outcome = Outcome()
    pushes_together(outcome, tmp_path, LIBRARY_ROUNDS, state_dir=state_dir, fresh=True)
    figures.add("at once", f"first pushes{', state-dir' * state_dir}", outcome)


def test_commands_at_once_are_serialised_or_refused_by_name(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    commands_together(outcome, tmp_path, ROUNDS)
    figures.add("at once", "commands", outcome)


def test_pushes_of_nothing_do_not_stumble_over_each_other(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    pushes_of_nothing(outcome, tmp_path, LIBRARY_ROUNDS)
    figures.add("at once", "nothing to do", outcome)


def test_a_status_never_gets_in_anybodys_way(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    locks_beside_a_status(outcome, tmp_path / "dst", scaled(3_000, 60_000))
    figures.add("at once", "beside a status", outcome)


def test_what_a_dead_holder_left_in_the_lock_blocks_nobody(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    stale_locks(outcome, tmp_path)
    figures.add("at once", "stale lock files", outcome)


def test_a_holder_keeps_others_out_until_it_dies(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    dead_holders(outcome, tmp_path, scaled(3, 100))
    figures.add("at once", "killed holders", outcome)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: a push has no helper")
def test_the_helper_of_a_killed_push_does_not_keep_the_store(tmp_path: Path, figures: Figures) -> None:
    outcome = Outcome()
    locked_ms = killed_helpers(outcome, tmp_path)
    figures.add("at once", "killed helpers", outcome, **{"locked for ms": round(locked_ms, 1)})
