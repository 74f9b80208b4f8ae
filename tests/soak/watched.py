"""The real ``atomsync watch`` of one pair, and what it must have made of its source when all rests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.proof.judge import differences, look

FULL = os.environ.get("SOAK") == "full"
_FLUSH_S = 300


def scaled(short: int, full: int) -> int:
    """How much of something: ``short`` inside ``make test``, ``full`` under ``make soak``."""
    return full if FULL else short


class Watched:
    """``src`` is followed to ``dst`` from ``start`` on, until ``stop`` or ``kill``; then perhaps again."""

    def __init__(self, cli: Any, wait: Callable[..., Any], base: Path, *options: str) -> None:
        self.src, self.dst, self.outside = base / "src", base / "dst", base / "outside"
        for path in (self.src, self.outside):
            path.mkdir()
        self._cli, self._wait, self._options = cli, wait, options
        self._log, self._errors = base / "log", base / "errors"
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        words = ("watch", "--json", "--delete", "--max-delete", "100%", *self._options, self.src, self.dst)
        with self._log.open("ab") as log, self._errors.open("ab") as errors:
            self.process = self._cli.start(*words, stdout=log, stderr=errors)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert (self.process.wait(60), self._errors.read_text()) == (0, "")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def flush(self) -> None:
        """Until all is committed that SRC holds now; the watch may only just have started."""
        self._wait(lambda: self.status() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self._errors.read_text()
        done = self._cli("flush", "--timeout", f"{_FLUSH_S}s", self.dst, timeout_s=_FLUSH_S + 30)
        assert done.returncode == 0, done.stderr

    def status(self) -> dict[str, Any]:
        """What ``atomsync status`` shows of the watch; empty while there is none."""
        done = self._cli("status", "--json", self.dst)
        return (json.loads(done.stdout)["watch"] or {}) if done.returncode == 0 else {}

    def assert_equal_at_rest(self) -> None:
        """DST is what SRC is: kinds, bytes, modes, owners, times, targets. Other names become files."""
        self.flush()
        left, right = (
            {path: seen._replace(linked="", ino=0) for path, seen in look(root).items()}
            for root in (self.src, self.dst)
        )
        assert not differences(right, left), differences(right, left)

    def told(self, event: str) -> list[dict[str, Any]]:
        """What it told of this kind, in every run of it."""
        lines = map(json.loads, self._log.read_text().splitlines())
        return [line for line in lines if line["event"] == event]
