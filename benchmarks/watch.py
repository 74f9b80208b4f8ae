"""Time ``atomsync watch`` beside lsyncd and an inotifywait loop; see README.md beside this file."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mounts
import watch_followers
from contenders import Tools
from machine import environment
from measure import BenchError, Skipped
from watch_bench import QUICK, Bench, Scale
from watch_latency import in_memory, on_disk
from watch_report import Part, markdown
from watch_sizes import by_size
from watch_storm import storm

CASES: dict[str, Callable[[Bench], Iterator[Part]]] = {
    "tmpfs": in_memory,
    "ext4": on_disk,
    "sizes": by_size,
    "storm": storm,
}


def main() -> int:
    """Run the cases asked for, print the report; 0 unless one of them failed."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, frame: sys.exit(128 + received))
    facts = [fact for fact in environment(Tools()) if fact[0] not in ("cp", "rclone", "unison")]
    facts += watch_followers.versions()
    parts: list[Part] = []
    try:
        with mounts.tmpfs() as (room, _):
            bench = Bench(QUICK if options.quick else Scale(), room)
            for name in options.case or CASES:
                parts += _run(name, bench)
    except (BenchError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    text = markdown(facts, parts, quick=options.quick)
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 1 if any(part.failed for part in parts) else 0


def _run(name: str, bench: Bench) -> list[Part]:
    """One case; what goes wrong in it is its result, and the others still get their turn."""
    parts = []
    try:
        print(f"{name}: {(CASES[name].__doc__ or '').splitlines()[0]}", file=sys.stderr, flush=True)
        for part in CASES[name](bench):
            parts.append(part)
            print("\n".join(part.markdown()), file=sys.stderr, flush=True)
    except Skipped as reason:
        parts.append(Part(f"Case {name}", notes=[f"Skipped: {reason}."]))
    except (BenchError, OSError) as error:
        print(f"  failed: {error}", file=sys.stderr, flush=True)
        parts.append(Part(f"Case {name}", notes=[f"Failed: {error}"], failed=True))
    return parts


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time atomsync watch against lsyncd and inotifywait.")
    parser.add_argument("--case", action="append", choices=CASES, help="only this case; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small trees, few changes")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="also write the report to a file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
