"""Atomsync and its peers as processes that keep a target equal to a source."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import watch_processes
from measure import ENVIRONMENT, BenchError, quietly

_START_S = 300.0
_STOP_S = 40.0
_POLL_S = 0.002


class Follower(ABC):
    """A process that makes ``target`` equal to ``source`` and keeps it so, between `start` and `stop`.

    ``name`` is what it is called in the report; ``room`` is a directory for what it needs besides.
    """

    def __init__(self, name: str, source: Path, target: Path, room: Path) -> None:
        self.name, self.source, self.target = name, source, target
        self.room = room
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._child is not None
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._child is not None

    def start(self) -> float:
        """Start it; seconds from then until it watches, and the target is equal to the source."""
        self.target.mkdir(exist_ok=True)
        self.room.mkdir(exist_ok=True)
        argv = self._argv()
        self._expect()
        with self._log.open("wb") as log:
            began = time.perf_counter()
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=ENVIRONMENT | self._environment(),
            )
        deadline = began + _START_S
        while not self._ready():
            if self._child.poll() is not None or time.perf_counter() > deadline:
                last = " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])
                raise BenchError(f"{self.name} did not start: {last}")
            time.sleep(_POLL_S)
        return time.perf_counter() - began

    def stop(self) -> None:
        """End it, and whatever it started; nothing to do when it does not run."""
        child, self._child = self._child, None
        if child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):  # a shell may have left something behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_S)

    def rests(self, within_s: float = 60.0) -> bool:
        """Wait until it has nothing more to do for the moment; whether that came."""
        return watch_processes.rests(self.pid, within_s)

    def lacking(self) -> str:
        """The program that would have to be installed, or ""."""
        return ""

    @property
    def _log(self) -> Path:
        return self.room / "log"

    @abstractmethod
    def _argv(self) -> tuple[str, ...]:
        """The command line."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether it watches."""

    def _expect(self) -> None:
        """Prepare for `_ready`."""
        return

    def _environment(self) -> dict[str, str]:
        return {}


class Atomsync(Follower):
    """``atomsync watch`` with the options a case is about, and else the defaults."""

    def __init__(self, source: Path, target: Path, room: Path, *options: str) -> None:
        super().__init__(" ".join(("atomsync watch", *options)), source, target, room)
        script = Path(sys.executable).parent / "atomsync"
        self._own = (str(script),) if script.exists() else (sys.executable, "-m", "atomsync")
        self._options = options
        self._notices: socket.socket | None = None

    def status(self) -> Any:
        """What ``atomsync status`` says of the watch."""
        argv = (*self._own, "status", "--json", str(self.target))
        done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT | self._environment())
        if done.returncode:
            raise BenchError(f"atomsync status ended with {done.returncode}: {done.stdout.strip()}")
        return json.loads(done.stdout)["watch"]

    def _argv(self) -> tuple[str, ...]:
        return (*self._own, "watch", *self._options, f"{self.source}/", str(self.target))

    def _environment(self) -> dict[str, str]:
        return {"RUNTIME_DIRECTORY": str(self.room), "NOTIFY_SOCKET": str(self.room / "notify")}

    def _expect(self) -> None:
        """As systemd does: it says when every pair has caught up."""
        (self.room / "notify").unlink(missing_ok=True)
        self.room.chmod(0o700)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(self.room / "notify"))
        self._notices.setblocking(False)

    def _ready(self) -> bool:
        assert self._notices is not None
        with contextlib.suppress(BlockingIOError):
            return b"READY=1" in self._notices.recv(4096)
        return False

    def stop(self) -> None:
        super().stop()
        if self._notices is not None:
            self._notices.close()


class Lsyncd(Follower):
    """lsyncd with rsync and a delay of one second, the least it allows."""

    def __init__(self, source: Path, target: Path, room: Path) -> None:
        super().__init__("lsyncd, delay 1", source, target, room)

    def lacking(self) -> str:
        return "" if shutil.which("lsyncd") else "lsyncd"

    def _argv(self) -> tuple[str, ...]:
        config = self.room / "lsyncd.lua"
        config.write_text(
            "settings { nodaemon = true }\n"
            f'sync {{ default.rsync, source = "{self.source}", target = "{self.target}",'
            " delay = 1, rsync = { archive = true } }\n"
        )
        return ("lsyncd", str(config))

    def _ready(self) -> bool:
        return b" finished." in self._log.read_bytes()


class Loop(Follower):
    """``inotifywait`` in a shell loop, as people write it; it does not make the target equal first."""

    SCRIPT = """\
inotifywait -m -r -e close_write,create,delete,move --format %w "$1" |
while read -r folder; do
    rsync -aR "$1/./${folder#"$1"/}" "$2/"
done
"""

    def __init__(self, source: Path, target: Path, room: Path) -> None:
        super().__init__("inotifywait loop, rsync", source, target, room)

    def lacking(self) -> str:
        return "" if shutil.which("inotifywait") else "inotifywait"

    def start(self) -> float:
        self.target.mkdir(exist_ok=True)
        quietly("rsync", "-a", f"{self.source}/", f"{self.target}/")
        return super().start()

    def _argv(self) -> tuple[str, ...]:
        return ("sh", "-c", self.SCRIPT, "sh", str(self.source), str(self.target))

    def _ready(self) -> bool:
        return b"Watches established" in self._log.read_bytes()


def versions() -> list[tuple[str, str]]:
    """Of the peers."""
    found = []
    for program, option in (("lsyncd", "--version"), ("inotifywait", "--help")):
        text = "not installed"
        if shutil.which(program):  # inotifywait gives its help with status 1
            done = subprocess.run([program, option], capture_output=True, text=True)
            text = (done.stdout or done.stderr).splitlines()[0].removeprefix("Version: ")
        found.append((program, text))
    return found
