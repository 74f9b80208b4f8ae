"""What one command costs: wall clock, CPU and memory, of the process and all it starts."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY = 0.01
# What the commands read in the environment is the same on every machine: one language, no options from
# the user's variables, and bytecode kept from the warm-up on, as in an installed program.
PRIVATE = ("RSYNC_", "RCLONE_", "PYTHONDONTWRITEBYTECODE")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)} | {
    "LC_ALL": "C"
}


class BenchError(Exception):
    """The case cannot go on; the message goes into the report as it is."""


class Skipped(BenchError):
    """The machine lacks what the case needs: no failure, and no result either."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished command.

    ``largest`` is the kernel's exact peak of the largest single process, ``together`` the sampled peak
    of the whole process tree (0 when nobody watched). Both in bytes.
    """

    seconds: float
    cpu: float
    largest: int
    together: int
    output: str


def run(argv: Sequence[str], *, watch: bool = False) -> Run:
    """Run ``argv`` to its end; a status other than 0 is a `BenchError`, never a fast result.

    ``watch`` samples the memory of the process tree meanwhile. That takes CPU time of its own, so a
    watched run is good for memory only.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, env=ENVIRONMENT
        )
        try:
            status, usage, together = _wait(child.pid, watch)
        except BaseException:  # an interrupt: leave nothing behind that keeps a mount busy
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output = out.read().decode(errors="replace")
        if child.returncode:
            complaint = " / ".join((err.read().decode(errors="replace") or output).splitlines()[-3:])
            raise BenchError(f"{Path(argv[0]).name} ended with status {child.returncode}: {complaint}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, together, output)


def quietly(*argv: str) -> str:
    """Run an untimed helper command; its output."""
    return run(argv).output


def own_peak() -> int:
    """The runner's own peak RSS: a child starts with it as its maximum, so ``largest`` is never below."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _wait(pid: int, watch: bool) -> tuple[int, resource.struct_rusage, int]:
    together = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG if watch else 0)
        if ended:
            return status, usage, together
        together = max(together, _tree_memory(pid))
        time.sleep(SAMPLE_EVERY)


def _tree_memory(pid: int) -> int:
    """Proportional set size of ``pid`` and its descendants: pages they share count once, not each time."""
    process = Path("/proc", str(pid))
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
        command = (process / "cmdline").read_bytes()
        waits = (process / "stat").read_text().rpartition(")")[2].split()[0] == "D"
        children = [
            int(child)
            for task in (process / "task").iterdir()
            for child in (task / "children").read_text().split()
            # Between vfork and exec a child is its parent (which waits, state D): the same memory.
            if not waits or Path("/proc", child, "cmdline").read_bytes() != command
        ]
    except OSError:  # gone since we learnt of it
        return 0
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return own + sum(_tree_memory(child) for child in children)
