"""What is staged, kept or journaled is nobody else's to read, whatever its mode will be in the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from atomsync.errors import AtomSyncError
from atomsync.testing import HookedDisk
from tests.proof.figures import Outcome
from tests.proof.scenario import Scenario
from tests.store.world import World

_NOBODY = 65534


def never_open_to_others(outcome: Outcome, base: Path) -> None:
    """Before every verb of a push by root, another user tries to get into the control directory."""
    Scenario(base).build()
    disk = HookedDisk()

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        if not outcome.done:
            where = f"before {index}: {verb} {' '.join(names)}"
            outcome.judged("looked", *(f"{where}: {path} is open to others" for path in _open(base / "dst")))

    disk.hook = hook
    try:
        World(disk, str(base)).push(durability="none")
    except AtomSyncError as error:
        outcome.judged("failed", str(error))


def _open(dst: Path) -> Iterator[Path]:
    """The directories of the store another user may enter or list."""
    control = dst / ".atomsync"
    os.seteuid(_NOBODY)
    try:
        for path in (control, *(control / name for name in ("pending", "pending/0", "unit", "history"))):
            try:
                os.listdir(path)
            except (PermissionError, FileNotFoundError):
                continue
            yield path
    finally:
        os.seteuid(0)
