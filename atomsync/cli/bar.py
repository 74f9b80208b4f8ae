"""The progress bar on a terminal: the phase, the files, the bytes, and how much longer all of it takes."""

from __future__ import annotations

import os
import threading
import time

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from atomsync.cli.estimate import Estimate
from atomsync.cli.render_progress import amount, left
from atomsync.fs.mounts import mount_of
from atomsync.fs.roots import is_dir
from atomsync.store.options import NONE
from atomsync.store.progress import Counted

_REDRAW_S = 0.1
_IN_MEMORY = {"tmpfs", "ramfs"}


class BarProgress(Counted):
    """Hands what it adds up to rich ten times a second: it is told of every file. ``durable``: there are
    barriers to wait for."""

    drawn = True

    def __init__(self, *, curious: bool = False, durable: bool = True) -> None:
        super().__init__(curious=curious)
        self._estimate = Estimate(durable=durable)
        self._one_at_a_time = threading.Lock()  # rich asks from a thread of its own
        self._bar = RichProgress(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            _Left(self),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("start", total=None, told="")
        self._drawn = 0.0
        self._bar.start()

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        with self._one_at_a_time:
            self._estimate.begin(name, files, size, time.monotonic(), self._files)
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

    def left_s(self) -> float | None:
        """How much longer everything takes; None if that cannot be told yet."""
        with self._one_at_a_time:
            return self._estimate.left_s(self._files, self._size, time.monotonic())

    def close(self) -> None:
        self._bar.stop()


class _Left(ProgressColumn):
    """Drawn anew also while nothing advances: barriers take long, and tell nothing."""

    def __init__(self, progress: BarProgress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(left(self._progress.left_s()))


def has_barriers(destination: str, durability: str) -> bool:
    """Whether a push there waits for a medium, as far as can be told before it begins."""
    if durability == NONE:
        return False
    try:
        mount = mount_of(destination if is_dir(destination) else os.path.dirname(destination) or ".")
    except (OSError, ValueError):  # the push will say what is wrong with it
        return True
    return mount is None or mount.fs_type not in _IN_MEMORY
