"""Somebody who reads at DST all the time: ``reader.py ROOT PATH...``, in a process of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType


class Reader:
    """After the ``with``: ``seen`` are the contents each path had, one after the other, None for a moment
    without it; ``names`` are all the paths that were ever there."""

    def __init__(self, root: Path, *paths: str) -> None:
        line = [sys.executable, __file__, str(root), *paths]
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen: dict[str, list[str | None]] = {}
        self.names: set[str] = set()

    def __enter__(self) -> Reader:
        assert self._process.stdout is not None
        assert self._process.stdout.readline()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told, _ = self._process.communicate(timeout=20)
        assert self._process.returncode == 0
        self.seen, names = json.loads(told)
        self.names = set(names)


def _content(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode("latin-1")
    except FileNotFoundError:
        return None


def _main(root: str, paths: list[str]) -> None:
    seen: dict[str, list[str | None]] = {path: [] for path in paths}
    names: set[str] = set()

    def look() -> None:
        for path in paths:
            now = _content(os.path.join(root, path))
            if seen[path][-1:] != [now]:
                seen[path].append(now)
        for top, directories, files in os.walk(root):
            directories[:] = [name for name in directories if name != ".atomsync"]
            names.update(os.path.relpath(os.path.join(top, name), root) for name in directories + files)

    look()
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        look()
    look()
    json.dump([seen, sorted(names)], sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
