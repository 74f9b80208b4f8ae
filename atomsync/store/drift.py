"""What is raised when another writer was first."""

from __future__ import annotations

from atomsync.errors import StaleEntry
from atomsync.tree.path import shown


def drifted(path: str, why: str = "it changed after it was planned for") -> StaleEntry:
    return StaleEntry(
        f"someone else changed {shown(path or '.')} at the destination",
        why,
        "The unit was rolled back and nothing was lost; run it again to plan with what is there now.",
    )
