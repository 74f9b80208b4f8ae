"""``python -m tests.proof.mutated MUTANT push …``: the real command, one safeguard switched off."""

from __future__ import annotations

import sys

from atomsync.cli.app import main
from tests.proof.mutants import applied

if __name__ == "__main__":
    with applied(sys.argv.pop(1)):
        main()
