"""A command of the operator, run to its end: within a limit, while signals are heard, its last words kept."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

_SHELL = "/bin/sh"
_LOOK_S = 0.02  # how often somebody is asked whether it may go on
_GRACE_S = 3.0  # from SIGTERM to SIGKILL
_KEPT_BYTES = 16384
_READ_BYTES = 65536


class Ended(NamedTuple):
    """How a command ended: ``why`` is "" if well, else for a person; ``output`` are the last bytes of both
    its outputs."""

    why: str
    output: bytes


def run(
    command: str,
    *,
    cwd: str,
    env: Mapping[str, str],
    told: bytes,
    timeout_s: float,
    check: Callable[[], None],
    leave: bool,
) -> Ended:
    """Give ``command`` to the shell, in a session of its own, with ``told`` on its standard input.

    ``env`` is added to our own environment. ``timeout_s`` 0 is no limit. ``check`` is asked all the while,
    and what it raises ends the command. Of the processes it leaves behind those in its process group are
    killed, or with ``leave`` left alone. Raises OSError if it cannot be started.
    """
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        raise OSError(errno.ECHILD, "SIGCHLD is ignored, so nobody could tell how it ended")
    with contextlib.ExitStack() as stack:
        # A file, not a pipe: nobody waits for a command that does not read, or is hurt by one.
        standard_input = stack.enter_context(tempfile.TemporaryFile())
        standard_input.write(told)
        standard_input.seek(0)
        process = subprocess.Popen(
            [_SHELL, "-c", command],
            cwd=cwd,
            env={**os.environ, **env},
            stdin=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # no terminal: what asks for a password fails instead of waiting for ever
        )
        assert process.stdout is not None
        stack.enter_context(process.stdout)
        ear = stack.enter_context(_Ear(process.stdout.fileno()))
        try:
            in_time = _listen(process, ear, timeout_s, check)
        except BaseException:
            _end(process, ear)
            raise
        if not in_time:
            became = "was stopped" if _end(process, ear) else "goes on: it may not be signalled"
            return Ended(f"it did not end within {timeout_s:g} s and {became}", ear.heard)
        if not leave:
            _signal(process, signal.SIGKILL)
        status = process.wait()
        ear.listen(0)
    if status < 0:
        return Ended(f"killed by {_named(-status)}", ear.heard)
    return Ended(f"exit status {status}" if status else "", ear.heard)


class _Ear:
    """Listens to a pipe and remembers the end of what it heard. A process may hold the other end for ever."""

    def __init__(self, fd: int) -> None:
        self._fd, self.heard = fd, b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(fd, selectors.EVENT_READ)
        os.set_blocking(fd, False)

    def __enter__(self) -> _Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def listen(self, seconds: float) -> None:
        """For up to so long, or until something was said."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        if not self._selector.select(seconds):
            return
        for data in self._read():
            self.heard = (self.heard + data)[-_KEPT_BYTES:]

    def _read(self) -> Iterator[bytes]:
        for _ in range(16):  # somebody may say more for ever
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._selector.unregister(self._fd)
                return
            yield data


def _listen(process: subprocess.Popen[bytes], ear: _Ear, timeout_s: float, check: Callable[[], None]) -> bool:
    """Until it has ended; whether it did so in time."""
    until = time.monotonic() + timeout_s if timeout_s else float("inf")
    pause_s = 0.001
    while not _has_ended(process):
        check()
        if time.monotonic() >= until:
            return False
        ear.listen(pause_s)
        pause_s = min(2 * pause_s, _LOOK_S)
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without taking its status: until that is taken, its number is no other group's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes], ear: _Ear) -> bool:
    """End it and its process group, politely at first; whether that could be done."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(process, number)
        ended = _listen(process, ear, _GRACE_S, lambda: None)
    if ended:
        process.wait()
    ear.listen(0)
    return ended


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left, or it changed its user
        os.killpg(process.pid, number)


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
