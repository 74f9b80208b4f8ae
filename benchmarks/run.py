"""Time atomsync against its peers, as whole commands that take turns; see README.md beside this file."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import mounts
import trees
from cases import CASES, Bench
from measure import BenchError, Skipped
from pairs import Tools
from report import Section, environment, markdown

REAL_FILES = 50_000
SMALL_FILES = 20_000
ROUNDS = 5
QUICK_FILES = 2_000
QUICK_ROUNDS = 2
# The source, two destinations at a time, and what control directories and changes take.
COPIES = 3.5
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the cases asked for, print the report; 0 unless one of them failed."""
    options = _options()
    for number in STOPPING:
        signal.signal(number, _stop)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    tools = Tools()
    facts = environment(tools)
    try:
        with mounts.tmpfs() as (room, size):
            _say("making the tree")
            tree = _tree(options, room / "tree")
            if tree.footprint * COPIES > size:
                raise BenchError(f"memory has no room for {COPIES} copies of this tree: {tree}")
            small_files = QUICK_FILES if options.quick else SMALL_FILES
            bench = Bench(tools, tree, room, rounds, small_files)
            sections = [_section(name, bench) for name in options.case or CASES]
    except (BenchError, OSError) as error:
        _say(f"benchmark: {error}")
        return 1
    text = markdown(facts, sections, rounds, smoke=options.quick)
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 1 if any(section.failed for section in sections) else 0


def _stop(received: int, frame: FrameType | None) -> NoReturn:
    """Leave by way of every ``finally``, so that a kill unmounts too; impatience must not cut that short."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + received)


def _section(name: str, bench: Bench) -> Section:
    """Run one case; what goes wrong in it is its result, and the others still get their turn."""
    case = CASES[name]
    section = Section(case.title, case.target, case.limit)
    _say(f"{name}: {case.title}")
    try:
        case.measure(bench, section)
    except Skipped as reason:
        section.notes.append(f"Skipped: {reason}.")
    except (BenchError, OSError) as error:
        section.failed = True
        section.notes.append(f"Failed: {error}")
        _say(f"  failed: {error}")
    return section


def _tree(options: argparse.Namespace, place: Path) -> trees.Tree:
    """Make the source tree in memory: the one given, the synthetic one, or a real one of this machine."""
    if options.tree:
        trees.copy([options.tree.resolve()], place, None)
        return trees.measured(place, "A tree chosen with --tree")
    if options.quick:
        trees.synthetic(place, QUICK_FILES, 16_384)
        return trees.measured(place, "A synthetic tree")
    trees.copy(trees.default_roots(), place, REAL_FILES)
    return trees.measured(place, "A copy of the Python installation, filled up from /usr/share")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time atomsync against rsync, cp and rclone.")
    parser.add_argument("--case", action="append", choices=CASES, help="only this case; may be repeated")
    parser.add_argument("--rounds", type=_positive, help=f"rounds that count, default {ROUNDS}")
    parser.add_argument("--tree", type=Path, metavar="DIR", help="push a copy of DIR, all of it")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small tree, two rounds")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="also write the report to a file")
    options = parser.parse_args()
    if options.tree and not options.tree.is_dir():
        parser.error(f"--tree: {options.tree} is not a directory")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
