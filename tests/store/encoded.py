"""A journal as it is in the file, in one piece."""

from __future__ import annotations

from collections.abc import Iterable

from atomsync.plan.step import Step
from atomsync.store import journal
from atomsync.store.journal import Header


def encode(header: Header, steps: Iterable[Step]) -> tuple[bytearray, int, bytes]:
    """``(the journal, the offset at which COMMIT belongs, the bytes of COMMIT)``."""
    data = bytearray()
    return data, *journal.encode(header, steps, data.extend)
