"""How far an operation is, on one line."""

from __future__ import annotations

from atomsync.store.progress import Done
from atomsync.tree.amount import size


def amount(done: Done) -> str:
    """Files and bytes, of how many."""
    if done.of_size:
        sizes = f"{size(done.size)} of {size(done.of_size)}"
        return f"{done.files:,} of {done.of_files:,} files · {sizes}"
    return f"{done.files:,} files" if done.files else ""


def left(seconds: float | None) -> str:
    """How much longer, as coarsely as an estimate deserves."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"about {max(seconds, 1):.0f} s left"
    if seconds < 3600:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def line(done: Done) -> str:
    """For a signal: the phase, what is done of it, and the time."""
    told = [done.phase]
    if found := amount(done):
        told.append(found)
    told.append(f"{done.seconds:.1f} s")
    if done.left_s is not None:
        told.append(f"about {done.left_s:.0f} s left of this phase")
    return " · ".join(told)
