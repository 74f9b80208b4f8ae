"""The progress bar on a terminal: the phase, the files, the bytes."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from atomsync.cli.render import size as human_size
from atomsync.store.progress import Progress

_REDRAW_S = 0.1


class BarProgress(Progress):
    """Adds up what it is told and hands it to rich ten times a second: it is told of every file."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("start", total=None, told="")
        self._files = self._size = 0
        self._of_files = self._of_size = 0
        self._drawn = 0.0
        self._bar.start()

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self._files = self._size = 0
        self._of_files, self._of_size = files, size
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=size or None, told="")
        self._drawn = 0.0
        self.advance()

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._files += files
        self._size += size
        now = time.monotonic()
        if now - self._drawn > _REDRAW_S:
            self._drawn = now
            self._bar.update(self._task, completed=self._size, told=self._told())

    def _told(self) -> str:
        if self._of_size:
            sizes = f"{human_size(self._size)} of {human_size(self._of_size)}"
            return f"{self._files:,} of {self._of_files:,} files · {sizes}"
        return f"{self._files:,} files" if self._files else ""

    def close(self) -> None:
        self._bar.stop()
