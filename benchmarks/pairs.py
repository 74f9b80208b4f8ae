"""Contenders that take turns in one run, and what their turns say about each other.

Two benchmarks run one after the other compare two states of the machine. Taking turns, A B C A B C …,
whatever disturbs the machine meets all of them, and a ratio is formed within a round, never across.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import Run, quietly, run

WARM_UP = 0


@dataclass(frozen=True, slots=True)
class Contender:
    """A command under the name it has in the report."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of ``values``, which are at least one."""
        return cls(median(values), min(values), max(values))

    def text(self, form: str) -> tuple[str, str]:
        """The median and the range, each value written with ``form``."""
        return format(self.median, form), f"{self.low:{form}}–{self.high:{form}}"


Turn = Callable[[int, Contender], None]
Finished = Callable[[int, Contender, Run], None]


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    before: Turn | None = None,
    after: Finished | None = None,
    watch: bool = False,
) -> dict[str, list[Run]]:
    """One warm-up round and ``rounds`` that count, everybody once in each; the runs by contender.

    ``before`` and ``after`` see each turn, the warm-up included, and are not timed.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            if before:
                before(number, contender)
            finished = run(contender.argv, watch=watch)
            label = f"round {number}/{rounds}" if number != WARM_UP else "warm-up"
            print(f"  {label:12}{contender.name:28}{finished.seconds:9.3f} s", file=sys.stderr, flush=True)
            if after:
                after(number, contender, finished)
            if number != WARM_UP:
                runs[contender.name].append(finished)
    return runs


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours ÷ theirs, round by round."""
    return Spread.of([our / their for our, their in zip(ours, theirs, strict=True)])


class Tools:
    """The commands that take part, and why a peer does not."""

    def __init__(self) -> None:
        script = Path(sys.executable).parent / "atomsync"
        self._own = (str(script),) if script.exists() else (sys.executable, "-m", "atomsync")

    def lacking(self, peer: str) -> str | None:
        """Why ``peer`` is skipped, or None when it can take part."""
        program = peer.split()[0]
        if not shutil.which(program):
            return f"{peer}: skipped, {program} is not installed"
        if "--fsync" in peer and "--fsync" not in quietly("rsync", "--help"):
            return f"{peer}: skipped, this rsync does not know --fsync"
        return None

    def atomsync(self, source: Path, target: Path, *options: str) -> Contender:
        """Our own push, with the defaults a user gets."""
        return Contender(
            "atomsync push", (*self._own, "push", "--quiet", *options, f"{source}/", str(target))
        )

    def rsync(self, source: Path, target: Path, *options: str) -> Contender:
        """``rsync -a`` with ``options``."""
        name = " ".join(("rsync -a", *options))
        return Contender(name, ("rsync", "-a", *options, f"{source}/", f"{target}/"))

    def rsync_then_sync(self, source: Path, target: Path) -> Contender:
        """``rsync -a``, then one flush of the target's filesystem.

        Of that one only: a plain ``sync`` would also wait for what other programs wrote elsewhere.
        """
        line = 'rsync -a -- "$1/" "$2/" && sync --file-system -- "$2"'
        return Contender("rsync -a, then sync", ("sh", "-c", line, "sh", str(source), str(target)))

    def cp(self, source: Path, target: Path) -> Contender:
        """``cp -a``; the target must not exist yet."""
        return Contender("cp -a", ("cp", "-a", "--", str(source), str(target)))

    def rclone(self, source: Path, target: Path) -> Contender:
        """``rclone sync`` that keeps links, modes, owners and empty directories, as the others do."""
        options = ("--links", "--metadata", "--create-empty-src-dirs", "--config", "")
        return Contender("rclone sync", ("rclone", "sync", "--quiet", *options, str(source), str(target)))

    def version(self, program: str) -> str:
        """The first line in which ``program`` names its version."""
        argv = (*self._own, "--version") if program == "atomsync" else (program, "--version")
        if program != "atomsync" and not shutil.which(program):
            return "not installed"
        return " ".join(quietly(*argv).splitlines()[0].split())
