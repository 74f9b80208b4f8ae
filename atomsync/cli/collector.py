"""How often Python's collector looks for cycles, in a process of our own; the library leaves it alone.

A command makes a tuple for each path and hardly a cycle. To look for those at the usual pace costs a large
push a tenth of its time; not to look at all could cost memory without a bound, so it is done now and then.
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_SELDOM = 50_000  # objects made and not gone: some MB


def seldom() -> None:
    """For a process that does one thing and ends."""
    gc.set_threshold(_SELDOM)


def as_usual() -> None:
    """For one that runs for days."""
    gc.set_threshold(*_USUAL)
