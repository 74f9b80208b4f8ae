"""The real command, killed, failed and lied to by the kernel at each of its system calls.

A ``Run`` names one call and what happens there. ``sweep`` makes many of them, in processes of their own:
each copies the destination afresh, runs the command under strace, recovers with the real code, and judges.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from atomsync.errors import CheckFailed
from tests.proof import judge, traced
from tests.proof.figures import Outcome
from tests.proof.ground import CHECKED, Ground
from tests.proof.judge import Tree
from tests.proof.traced import MUTATING, Call, Ended

_READING = "flock fstatfs getdents64 name_to_handle_at newfstatat openat pread64 readlinkat"
MAY_FAIL = MUTATING | frozenset(_READING.split())
ERRNOS = ("ENOSPC", "EIO", "EINTR")
REACHED_MIN = 0.9  # of the calls learnt; below that the sweep is no sweep
_IN_DOUBT = 75
# What a failing disk may end in: done, I/O, space, in doubt; a lying one also in "does not read back".
_PROPER = {0, 11, 44, _IN_DOUBT}
_FOUND_OUT = 42
_INJECTED = re.compile(r"^\d+ +(?!getppid).*\(INJECTED", re.MULTILINE)

KILL, ERROR, LIE = "kill", "error", "lie"


class Run(NamedTuple):
    """At ``call``: a SIGKILL before it, or ``error=EIO``, or a write that returns ``retval=N`` and does
    nothing. ``then``: a call at which a process so deceived is killed."""

    kind: str
    call: Call
    what: str
    then: Call | None = None


class Judged(NamedTuple):
    reached: bool
    what: str
    violations: list[str]


def kills(calls: Iterable[Call]) -> list[Run]:
    return [Run(KILL, call, "signal=KILL") for call in calls]


def failures(calls: Iterable[Call], errnos: Sequence[str] = ERRNOS) -> list[Run]:
    return [Run(ERROR, call, f"error={name}") for call in calls if call.name in MAY_FAIL for name in errnos]


def lies(calls: Iterable[Call]) -> list[Run]:
    """Of every write: that a half of it was written, or all of it, while nothing was."""
    found = []
    for call in calls:
        if call.name in ("pwrite64", "write") and (match := re.search(r" = (\d+)$", call.line)):
            size = int(match.group(1))
            found += [Run(LIE, call, f"retval={told}") for told in {max(1, size // 2), size}]
    return found


def deceived(calls: Sequence[Call]) -> list[Run]:
    """The commit record is said to be written, and is not; then the process is killed."""
    record = next(call for call in calls if call.name == "pwrite64" and "/unit/journal>" in call.line)
    retired = next(call for call in calls[calls.index(record) :] if call.name == "renameat")
    return [run._replace(then=retired) for run in lies([record])]


def sweep(outcome: Outcome, ground: Ground, runs: Sequence[Run], *, processes: int = 2) -> None:
    """Make these runs; what was judged goes into ``outcome``."""
    reached = made = 0
    source = judge.look(ground.scenario.src)
    context = multiprocessing.get_context("fork")  # the children have the product as this process has it
    pool = ProcessPoolExecutor(processes, context)
    try:
        pending = [pool.submit(judged, ground, run) for run in runs]
        for run, future in zip(runs, pending):
            try:
                found = future.result()
            except Exception as error:  # of the product, as it was made ready
                found = Judged(False, "unjudged", [f"{type(error).__name__}: {error}"])
            made, reached = made + 1, reached + found.reached
            where = f"{run.what} at {run.call.name} {run.call.number} ({run.call.line[:120]})"
            outcome.judged(found.what, *(f"{where}: {violation}" for violation in found.violations))
            if outcome.done:
                return
    finally:
        pool.shutdown(cancel_futures=True)
    if reached < REACHED_MIN * made:
        outcome.violations.append(f"only {reached} of {made} calls were reached")
    if judge.look(ground.scenario.src) != source:
        outcome.violations.append("SRC is not as it was")


def judged(ground: Ground, run: Run) -> Judged:
    """One run, from a fresh copy to the verdict."""
    old = ground.fresh()
    log = ground.dst.parent / "trace"
    ended = ground.run(ground.words, *_options(run), log=log)
    if ended.status is None:
        return Judged(True, "hung", [f"it did not end within {traced.TIMEOUT_S} s"])
    killed = ended.status == -signal.SIGKILL
    to_be_killed = run.kind == KILL or run.then is not None
    reached = killed if to_be_killed else bool(_INJECTED.search(log.read_text(errors="replace")))
    wrong = [] if killed else _told(ground, run, old, ended)
    what, more = ground.recovered(old)
    if not killed and ended.status == _IN_DOUBT:
        what = f"{what} after doubt"
    return Judged(reached, what if reached else "not reached", wrong + more)


def _told(ground: Ground, run: Run, old: Tree, ended: Ended) -> list[str]:
    """Whether what the command said of its end is true, before any recovery."""
    status, now = ended.status, ground.look()
    said = f"exit status {status} ({ended.errors.strip()[:200]})"
    wrong = []
    proper = status in _PROPER or (status == _FOUND_OUT and run.kind == LIE)
    proper = proper or (status == CheckFailed.exit_status and ground.setting.instead == CHECKED)  # it was hit
    if not proper or "Traceback" in ended.errors or (status and not ended.errors.strip()):
        wrong.append(f"not a proper end: {said}")
    what, more = judge.verdict(now, old, ground.new)
    if status == 0 and what != ground.aim:
        wrong += [f"I3: {said}, but {what}", *more]
    if status not in (0, _IN_DOUBT) and not ground.setting.cut and what != "old":
        wrong += [f"{said}, but DST is {what}", *more]
    return wrong


def _options(run: Run) -> list[str]:
    names = {"getppid", run.call.name, *([run.then.name] if run.then else [])}
    options = ["-e", f"trace={','.join(sorted(names))}", *traced.inject(run.call, run.what)]
    return options + (traced.inject(run.then, "signal=KILL") if run.then else [])
