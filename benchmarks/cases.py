"""The cases, with the limits that were set for them before anything was measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bench import Bench
from cases_large import inplace, large
from cases_push import changed, durable, first, memory, unchanged
from cases_size import deep, flat, growth
from cases_start import start
from cases_window import window
from limits import Limit
from results import Result


class Case(NamedTuple):
    """``minutes`` is about what the case takes on two idle cores; ``limits`` may be none."""

    title: str
    measure: Callable[[Bench, Result], None]
    minutes: float
    limits: tuple[Limit, ...] = ()


_WINDOW = (Limit("mixed window ÷ that of rsync -a --delay-updates", 0.15, wanted=0.05),)
_IN_PLACE = (
    Limit("÷ rsync -a --inplace --no-whole-file", 0.3),
    Limit("source there, too: ÷ rsync -a --inplace --no-whole-file", 0.3),
)

CASES = {
    "first": Case(
        "First push, tmpfs",
        first,
        3,
        (
            Limit("÷ rsync -a", 0.65, wanted=0.5),
            Limit("÷ cp -a", 1.1, wanted=0.8),
            Limit("mixed window", 20, "ms"),
        ),
    ),
    "ext4": Case(
        "First push, ext4, full durability",
        durable,
        6,
        (
            Limit("÷ rsync -a, then sync", 0.8, wanted=0.6),
            Limit("÷ rsync -a --fsync", 0.25, wanted=0.15),
        ),
    ),
    "unchanged": Case("Push without changes, tmpfs", unchanged, 1.5, (Limit("÷ rsync -a", 1.3, wanted=0.9),)),
    "changed": Case(
        "1 % of the files changed, tmpfs",
        changed,
        0.7,
        (Limit("÷ rsync -a --delay-updates", 1.2, wanted=0.8),),
    ),
    "memory": Case("Peak memory, tmpfs", memory, 0.5, (Limit("first push: peak memory", 150, "MB"),)),
    "window": Case("Mixed window, tmpfs", partial(window, "tmpfs"), 0.5, _WINDOW),
    "window-disk": Case("Mixed window, disk", partial(window, "disk"), 2, _WINDOW),
    "large": Case("Large files, tmpfs", large, 3.5, (Limit("÷ rsync -a", 0.5), Limit("÷ cp -a", 0.9))),
    "btrfs": Case("1 MiB of a large file changed, btrfs", partial(inplace, "btrfs"), 2, _IN_PLACE),
    "xfs": Case("1 MiB of a large file changed, xfs", partial(inplace, "xfs"), 2, _IN_PLACE),
    "growth": Case(
        "A million small files, and the growth up to there, tmpfs",
        growth,
        20,
        (
            Limit("largest tree, first push: ÷ rsync -a", 0.8, wanted=0.6),
            Limit("largest tree, no change: ÷ rsync -a", 1.5, wanted=1.0),
            Limit("largest tree, first push: peak memory", 600, "MB"),
            Limit("largest tree, no change: peak memory", 250, "MB"),
            Limit("largest tree, first push: mixed window", 20, "ms"),
            Limit("largest tree, push into an empty directory: mixed window", 20, "ms"),
            Limit("first push: growth of the cost per entry", 1.25),
            Limit("no change: growth of the cost per entry", 1.25),
        ),
    ),
    "flat": Case("One directory of 100,000 files, tmpfs", flat, 2),
    "deep": Case("A deep tree, tmpfs", deep, 3),
    "start": Case(
        "Start-up",
        start,
        0.2,
        (
            Limit("start alone: ÷ python -c pass", 4),
            Limit("push of an empty tree: ÷ python -c pass", 7),
        ),
    ),
}
