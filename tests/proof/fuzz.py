"""``python -m tests.proof.fuzz journal|filters --seconds N``: coverage-guided, with atheris (libFuzzer).

Exits 0 if nothing was found; otherwise the input is kept in the directory given, or the working one.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["atomsync", "pathspec"]):
    import pathspec  # noqa: F401  # loaded late by the product, and must be instrumented too

    from tests.proof.fuzz_targets import JOURNAL, TARGETS

HANG_S = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=Path, default=Path())
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as seeds:
        rng = random.Random(1)
        Path(seeds, "whole").write_bytes(b"\0\0" + JOURNAL)
        for number in range(50):
            Path(seeds, str(number)).write_bytes(rng.randbytes(rng.choice((4, 16, 64))))
        options = [f"-max_total_time={asked.seconds}", f"-timeout={HANG_S}", "-max_len=4096", "-verbosity=1"]
        atheris.Setup(
            [sys.argv[0], *options, f"-artifact_prefix={asked.keep}/", seeds], TARGETS[asked.target]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
