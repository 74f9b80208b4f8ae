"""Time atomsync against its peers, as whole commands that take turns; see README.md beside this file."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import mounts
import plots
from bench import Bench
from cases import CASES
from contenders import Tools
from machine import machine
from measure import BenchError, Skipped
from report import markdown
from results import Book, Result, begun

ROOT = Path(__file__).parents[1]
ROUNDS = 5
QUICK_ROUNDS = 1
QUICK_SCALE = 0.001
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the cases asked for, write results, plots and report; 0 unless a case failed."""
    options = _options()
    page = options.output / "benchmarks.md"
    kept = options.output / "benchmarks" / "results.json"
    try:
        if options.render_only:
            book = Book.load(kept)
        else:
            mounts.apart()
            for number in STOPPING:
                signal.signal(number, _stop)
            book = _measured(options, kept)
    except (BenchError, OSError) as error:
        _say(f"benchmark: {error}")
        return 1
    pictures = plots.draw(book, kept.parent)
    page.write_text(markdown(book, pictures, page.parent), encoding="utf-8")
    _say(f"report: {page}")
    return 1 if any(result.failed for result in book.results.values()) else 0


def _measured(options: argparse.Namespace, kept: Path) -> Book:
    """The results of before, where they belong together with new ones, and the new ones."""
    names = options.case or list(CASES)
    tools = Tools()
    book = _book(kept, options.scale, machine(tools))
    minutes = sum(CASES[name].minutes for name in names) * options.scale * options.rounds / ROUNDS
    _say(f"{len(names)} cases, about {max(1, round(minutes))} minutes on two idle cores")
    with mounts.tmpfs() as (room, _):
        bench = Bench(tools, room, options.rounds, options.scale, options.tree)
        for name in names:
            found = book.results | {name: _result(name, bench)}
            book.results = {case: found[case] for case in CASES if case in found}
            book.save(kept)
    return book


def _book(kept: Path, scale: float, here: dict[str, str]) -> Book:
    if kept.exists():
        book = Book.load(kept)
        if (book.scale, book.machine) == (scale, here):
            return book
        _say(f"{kept}: of another machine, its programs or another scale; it begins anew")
    return Book(scale, here)


def _result(name: str, bench: Bench) -> Result:
    """Run one case; what goes wrong in it is its result, and the others still get their turn."""
    _say(f"{name}: {CASES[name].title}")
    result = begun(bench.rounds, bench.tools.version("atomsync"))
    try:
        CASES[name].measure(bench, result)
    except Skipped as reason:
        result.skipped = str(reason)
        _say(f"  skipped: {reason}")
    except (BenchError, OSError) as error:
        result.failed = str(error)
        _say(f"  failed: {error}")
    return result


def _stop(received: int, frame: FrameType | None) -> NoReturn:
    """Leave by way of every ``finally``, so that a kill unmounts too; impatience must not cut that short."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + received)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time atomsync against rsync, cp, rclone and unison.")
    add = parser.add_argument
    add("--case", action="append", choices=CASES, help="only this case; may be repeated")
    add("--rounds", type=_positive, metavar="N", help=f"rounds that count, default {ROUNDS}")
    add("--scale", type=_share, metavar="X", help="everything X times as large, X < 1; no target is judged")
    add("--quick", action="store_true", help=f"a smoke test: --scale {QUICK_SCALE} --rounds {QUICK_ROUNDS}")
    add("--tree", type=Path, metavar="DIR", help="push a copy of DIR where a real tree is pushed")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="where results go, default docs; build for a part or a test",
    )
    add(
        "--render-only",
        action="store_true",
        help="only make report and plots again, of the results there are",
    )
    options = parser.parse_args()
    if options.tree and not options.tree.is_dir():
        parser.error(f"--tree: {options.tree} is not a directory")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    # The page that is published holds the real thing only.
    full = options.scale == 1 and not options.tree
    options.output = options.output or ROOT / ("docs" if full else "build")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("more than 0, at most 1")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
