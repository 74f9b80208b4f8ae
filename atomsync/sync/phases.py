"""How long each phase took; everything else is passed on to whoever listens."""

from __future__ import annotations

import time

from atomsync.store.progress import Progress


class Phases(Progress):
    """``ms`` maps a phase to its milliseconds so far; a phase ends where the next begins."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self.ms: dict[str, float] = {}
        self._name = ""
        self._started = self._began = time.perf_counter()
        self.advance = inner.advance  # type: ignore[method-assign]  # called for each file
        self.check = inner.check  # type: ignore[method-assign]
        self.curious = inner.curious
        self.unchanged = inner.unchanged  # type: ignore[method-assign]
        self.excluded = inner.excluded  # type: ignore[method-assign]

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        self.finish()
        self._name = name
        self._inner.phase(name, files, size)

    def finish(self) -> None:
        now = time.perf_counter()
        if self._name:
            self.ms[self._name] = self.ms.get(self._name, 0.0) + (now - self._started) * 1000
        self._started = now

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began
