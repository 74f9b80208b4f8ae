"""A follower in a process of its own: to be stopped or killed, to run as another user or under a limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.follow.following import QUICK

# Modules first: another user may be unable to reach them. PR_SET_DUMPABLE: or /proc/self/fd is closed to us.
_SCRIPT = """
import ctypes, importlib, json, os, pkgutil, sys, threading
import pathspec, atomsync
for _, name, _ in pkgutil.walk_packages(atomsync.__path__, "atomsync."):
    if name.startswith(("atomsync.sync", "atomsync.watch", "atomsync.store", "atomsync.unit")):
        importlib.import_module(name)
from atomsync.follow.follower import Follower
from atomsync.follow.watching import WatchOptions

source, destination, options, uid = sys.argv[1:]
sys.modules["atomsync.follow.attachment"].POLL_S = 1.0  # not 10 s
if int(uid):
    os.setgroups([]); os.setresgid(*[int(uid)] * 3); os.setresuid(*[int(uid)] * 3)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
speaking = threading.Lock()

def say(**fields):
    with speaking:
        print(json.dumps(fields), flush=True)

def tell(event, **fields):
    say(event=event, why=str(fields.get("why") or fields.get("error") or ""))

def status():
    found = follower.status()
    return found._asdict() | {"coverage": found.coverage._asdict()}

def flush(timeout_s):
    return follower.flush(timeout_s)._asdict()

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

def obey():
    verbs = {"status": status, "flush": flush, "write": write}
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        say(answer=(verbs.get(verb) or getattr(follower, verb))(*arguments))
    follower.stop("nobody is there any more")

follower = Follower(source, destination, WatchOptions(**json.loads(options)), tell)
threading.Thread(target=obey, daemon=True).start()
follower.run()
"""


class Apart:
    """``told``: (event, why) of all it told. ``under``: a program to run it under; ``user``: whose rights."""

    def __init__(
        self, source: Path, destination: Path, *, user: int = 0, under: Iterable[str] = (), **options: Any
    ) -> None:
        wanted = {"settle_s": QUICK.settle_s, "max_wait_s": QUICK.max_wait_s, "durability": "none", **options}
        line = [*under, sys.executable, "-c", _SCRIPT, str(source), str(destination), json.dumps(wanted)]
        self.told: list[tuple[str, str]] = []
        self._answers: queue.Queue[Any] = queue.Queue()
        self.process = subprocess.Popen(
            [*line, str(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def ask(self, verb: str, *arguments: object, timeout_s: float = 30) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()
        return self._answers.get(timeout=timeout_s)

    def settled(self) -> None:
        flushed = self.ask("flush", 20)
        assert flushed["committed"], flushed

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 20) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert self.process.poll() is None, self.told[-3:]
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {self.told[-3:]}"
            time.sleep(0.01)
        return found

    def wait_for(self, event: str) -> str:
        """Its why."""
        found: str = self.wait_until(lambda: [(why,) for name, why in self.told if name == event])[0][0]
        return found

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.told.append((said["event"], said["why"]))
            else:
                self._answers.put(said["answer"])
