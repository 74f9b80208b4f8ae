"""The real command under strace: its system calls told apart, one of them made to kill, fail or lie.

``warm`` forks this process, where every module is loaded already: what is traced is the command alone, and
a run costs 40 ms. ``cold`` starts an interpreter, as a user does, which costs ten times as much.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

# Loaded here, so that no import is traced: in the next run it would not be there to be counted.
_COMMANDS = [f"atomsync.cli.{name}" for name in ("push", "undo", "restore", "recover")]
for _module in ("_strptime", "atomsync.store.sibling", *_COMMANDS):
    importlib.import_module(_module)

TIMEOUT_S = 30
_SEEN = 7777777  # what getppid answers once strace is there: no process has this id
_LINE = re.compile(r"^\d+ +(\w+)\((.*)$")
# What changes something; open and ioctl may.
_CHANGING = (
    "chmod chown copy_file_range creat fallocate fchmod fchmodat fchmodat2 fchown fchownat fdatasync "
    "fremovexattr fsetxattr fsync ftruncate futimesat lchown link linkat lremovexattr lsetxattr mkdir "
    "mkdirat mknod mknodat pwrite64 pwritev pwritev2 removexattr rename renameat renameat2 rmdir "
    "sendfile setxattr splice symlink symlinkat sync sync_file_range syncfs truncate unlink unlinkat "
    "utime utimensat utimes write writev"
)
MUTATING = frozenset(_CHANGING.split())


class Call(NamedTuple):
    """The ``number``-th system call of its name (from 1), and its line in the log."""

    name: str
    number: int
    line: str


class Ended(NamedTuple):
    """``status`` is the exit status, or minus the signal that ended the process; None if it hung."""

    status: int | None
    errors: str


def warm(words: Sequence[str], *options: str, log: str | Path = os.devnull) -> Ended:
    """``python -m words…`` in a fork of this process, with these options of strace."""
    with tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            _run(words, errors.fileno())
        line = _strace(*options, "-e", f"inject=getppid:retval={_SEEN}:when=1", log=log)
        tracer = subprocess.Popen([*line, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        status = _awaited(pid, tracer)
        _, trouble = tracer.communicate()
        errors.seek(0)
        return Ended(status, errors.read().decode(errors="replace") + trouble)


def cold(words: Sequence[str], *options: str, log: str | Path = os.devnull) -> Ended:
    """``python -m words…`` in a new interpreter, with these options of strace."""
    line = [*_strace(*options, log=log), sys.executable, "-B", "-m", *words]
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(line, check=False, capture_output=True, text=True, env=env, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Ended(None, "")
    return Ended(done.returncode, done.stderr)


def calls(log: Path) -> list[Call]:
    """Every system call of a log, in order, each numbered among those of its name."""
    numbers: Counter[str] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if match := _LINE.match(line):
            name, rest = match.groups()
            numbers[name] += 1
            found.append(Call(name, numbers[name], rest))
    return found


def inject(call: Call, what: str) -> list[str]:
    """The option of strace that does ``what`` at one call."""
    return ["-e", f"inject={call.name}:{what}:when={call.number}"]


def _strace(*options: str, log: str | Path) -> list[str]:
    program = shutil.which("strace")
    assert program is not None, "strace is not installed"
    return [program, "-f", "-qq", "-o", str(log), *options]


def _run(words: Sequence[str], errors: int) -> NoReturn:
    """The child: wait for strace, then be the command."""
    sys.dont_write_bytecode = True  # as ``cold``: what Python keeps of modules is no doing of the command
    status: object = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(errors, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(
            0x59616D61, ctypes.c_ulong(-1), 0, 0, 0
        )  # PR_SET_PTRACER: anybody may trace us
        while os.getppid() != _SEEN:
            time.sleep(0.0005)
        sys.argv[1:] = words[1:]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def _awaited(pid: int, tracer: subprocess.Popen[str]) -> int | None:
    """The child's status; None if it hangs, or strace could not get hold of it. Nothing is left running."""
    child, other = os.pidfd_open(pid), os.pidfd_open(tracer.pid)
    try:
        ended = child in select.select([child, other], [], [], TIMEOUT_S)[0]
    finally:
        os.close(child)
        os.close(other)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        tracer.kill()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None
