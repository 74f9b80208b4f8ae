"""What else is good to know of a unit, kept in its journal: who made it, and what roots it saw.

It is a JSON object: texts, integers and nulls by name, and objects of those, at most three deep in all.
``who`` is written by the store itself; what callers add is theirs.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
from collections.abc import Mapping
from typing import Any, TypeGuard

from atomsync.errors import UsageError

ABOUT_MAX_BYTES = 1 << 16
_DEPTH_MAX = 3
_NAMES_MAX = 64  # in one object
_INTEGER_MAX = 1 << 64

About = Mapping[str, Any]


def recorded(about: About) -> dict[str, Any]:
    """``about`` as a journal is to hold it, with ``who``. Raises UsageError if it may not."""
    found = {"who": who(), **about}
    if not is_about(found) or len(json.dumps(found)) > ABOUT_MAX_BYTES:
        raise UsageError(
            "cannot record this about a unit of work",
            f"it is no object of text and integers, three deep and {ABOUT_MAX_BYTES:,} bytes at most",
        )
    return found


def is_about(value: object, depth: int = _DEPTH_MAX) -> TypeGuard[dict[str, Any]]:
    """Whether it may stand in a journal. Pure."""
    if not isinstance(value, dict) or not depth or len(value) > _NAMES_MAX:
        return False
    return all(is_text(name) and _is_value(found, depth - 1) for name, found in value.items())


def is_text(value: object) -> TypeGuard[str]:
    """Whether the system can be asked for it: only the surrogates that stand for bytes have any."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def who() -> str:
    """``user@host``: as whom this process acts, and where."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except (KeyError, OSError):  # in a container a user may have no name
        user = str(os.geteuid())
    return f"{user}@{os.uname().nodename}"


def _is_value(value: object, depth: int) -> bool:
    if value is None or is_text(value):
        return True
    if type(value) is int:
        return abs(value) <= _INTEGER_MAX
    return is_about(value, depth)
