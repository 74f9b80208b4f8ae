"""The progress bar on a terminal: the phase, the files, the bytes."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from atomsync.store.progress import Progress

_REDRAW_S = 0.1


class BarProgress(Progress):
    """Adds up what it is told and hands it to rich ten times a second: it is told of every file."""

    def __init__(self) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            TextColumn("{task.fields[files]}"),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("start", total=None, files="")
        self._files = self._size = self._of = 0
        self._drawn = 0.0
        self._bar.start()

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self._files = self._size = 0
        self._of = files
        self._bar.reset(self._task, total=size or None, description=name, files="")
        self._drawn = 0.0
        self.advance()

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._files += files
        self._size += size
        now = time.monotonic()
        if now - self._drawn > _REDRAW_S:
            self._drawn = now
            files_text = f"{self._files:,}" + (f"/{self._of:,}" if self._of else "") + " files"
            self._bar.update(self._task, completed=self._size, files=files_text)

    def close(self) -> None:
        self._bar.stop()
