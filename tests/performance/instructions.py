"""How many instructions the hot loops take for one entry, counted and not timed: two runs differ by less than
a hundredth, on a busy machine too. ``make instructions`` prints the table.

Counted are those of our own process, not the kernel's. The difference of two sizes leaves out what every push
costs; the sizes are small, for a counted process is fifty times as slow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.performance.workload import FIRST, LOOP, LOOPS, REPLACED, SIZES, UNCHANGED

_WORKLOAD = Path(__file__).with_name("workload.py")
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def counted(valgrind: str, room: Path) -> dict[str, float]:
    """Instructions for one file, by the name of the loop; and for one round of plain Python."""
    out = room / "callgrind"
    command = [valgrind, "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
    done = subprocess.run(
        [*command, sys.executable, "-s", str(_WORKLOAD), str(room)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the workload failed:\n{done.stdout}{done.stderr}")
    names = done.stdout.splitlines()
    # Dump 1 has what was before the first mark, 2 the first case, 3 what was between that and the second …
    totals = {name: _total(Path(f"{out}.{2 * number}")) for number, name in enumerate(names, 1)}
    small, large = SIZES
    found = {LOOP: totals[f"{LOOP} {LOOPS}"] / LOOPS}
    for name in (FIRST, UNCHANGED, REPLACED):
        found[name] = (totals[f"{name} {large}"] - totals[f"{name} {small}"]) / (large - small)
    return found


def _total(dump: Path) -> int:
    found = _TOTALS.search(dump.read_text(encoding="utf-8", errors="replace"))
    assert found is not None, f"{dump} has no total"
    return int(found[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as room:
        found = counted("valgrind", Path(room))
    print(f"Python {sys.version.split()[0]}")
    for name, count in found.items():
        print(f"{name:16} {count:10,.0f}")


if __name__ == "__main__":
    main()
