"""What a caller expects to be at a path it changes: compare and swap, by content."""

from __future__ import annotations

import enum
import re

import xxhash

from atomsync.errors import StaleEntry, UsageError
from atomsync.tree.entry import FILE, Entry
from atomsync.tree.path import shown

_DIGEST = r"[0-9a-f]{32}"


class Expectation(enum.Enum):
    """``ABSENT``: nothing is there. ``ANY``: whatever is there by the time of the commit may go."""

    ABSENT = "absent"
    ANY = "any"

    def __repr__(self) -> str:
        return self.name


ABSENT, ANY = Expectation.ABSENT, Expectation.ANY
Expected = str | Expectation | None
"""A digest (of a file's content), ABSENT or ANY; None: what was there when the unit first looked."""


def digest(data: bytes) -> str:
    """The digest by which atomsync knows a content: xxh3-128, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def check_expected(path: str, expected: str | Expectation, found: Entry | None, content: str) -> None:
    """StaleEntry if ``found`` (with this digest, if a file) is not as ``expected``. Pure."""
    if expected is ANY:
        return
    if expected is ABSENT:
        if found is not None:
            raise stale(path, f"nothing was expected there, but a {found.kind} is")
        return
    if not isinstance(expected, str) or not re.fullmatch(_DIGEST, expected):
        raise UsageError(
            f"cannot expect {expected!r} at {shown(path)}", "it is no digest, ABSENT or ANY", "See digest()."
        )
    if found is None or found.kind != FILE:
        there = "nothing" if found is None else f"a {found.kind}"
        raise stale(path, f"a file was expected there, but {there} is")
    if content != expected:
        raise stale(path, f"the digest {expected} was expected, it is {content}")


def stale(path: str, why: str) -> StaleEntry:
    return StaleEntry(
        f"{shown(path)} is not as expected", why, "Read it again, and decide anew; nothing was changed."
    )
