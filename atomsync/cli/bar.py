"""The progress bar on a terminal: the phase, the files, the bytes."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from atomsync.cli.render_progress import amount
from atomsync.store.progress import Counted

_REDRAW_S = 0.1


class BarProgress(Counted):
    """Hands what it adds up to rich ten times a second: it is told of every file."""

    drawn = True

    def __init__(self, *, curious: bool = False) -> None:
        super().__init__(curious=curious)
        self._bar = RichProgress(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("start", total=None, told="")
        self._drawn = 0.0
        self._bar.start()

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        super().phase(name, files, size)
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=size or None, told="")
        self._drawn = 0.0
        self.advance()

    def advance(self, files: int = 0, size: int = 0) -> None:
        super().advance(files, size)
        now = time.monotonic()
        if now - self._drawn > _REDRAW_S:
            self._drawn = now
            self._bar.update(self._task, completed=self._size, told=amount(self.done))

    def close(self) -> None:
        self._bar.stop()
