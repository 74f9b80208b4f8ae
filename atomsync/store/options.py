"""How a store is to be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from atomsync.store.prepared import Resolver

FULL, NONE = "full", "none"  # durability
READBACK, MEDIA = "readback", "media"  # verify
KEEP_UNITS = 5


class Options(NamedTuple):
    """``durability``: "full" survives a power cut, "none" only a killed process. ``verify``:
    "readback" compares what the filesystem gives back, "media" asks the medium itself. ``keep``: how
    many finished units stay in the history, ``keep_bytes``: how much of the disk what they displaced may
    occupy (None: as much as it takes). ``state_dir``: another place for the control directory.
    ``timeout_s``: how long to wait for another's lock, in seconds. ``resolver`` decides about prepared units
    whose process is gone."""

    durability: str = FULL
    verify: str = READBACK
    keep: int = KEEP_UNITS
    state_dir: str | None = None
    timeout_s: float = 0.0
    resolver: Resolver | None = None
    keep_bytes: int | None = None
