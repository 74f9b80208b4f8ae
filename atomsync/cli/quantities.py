"""Durations, batch sizes and addresses as people write them, on the command line and in a config file.

Each is a type of an option: it takes what was given and raises ``click.BadParameter`` with an example.
"""

from __future__ import annotations

import contextlib
import math
import re
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple

import click

from atomsync.errors import UsageError
from atomsync.plan.limit import limit_of

_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 366 * 86400.0
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)"


def duration(value: Any) -> float:
    """Seconds, from ``2``, ``0.5``, ``250ms``, ``2s``, ``5m``, ``1h`` or ``1d``; a year at most."""
    found = None if isinstance(value, bool) else re.fullmatch(_NUMBER, str(value).strip())
    if found is None or found[2].lower() not in _SECONDS:
        raise click.BadParameter(f"{value!r} is no time such as 250ms, 2s, 5m or 1h.")
    seconds = float(found[1]) * _SECONDS[found[2].lower()]
    if seconds > _LONGEST_S:
        raise click.BadParameter(f"{value!r} is longer than a year.")
    return seconds


def interval(value: Any) -> float:
    """A duration of at least 10 ms."""
    seconds = duration(value)
    if seconds < 0.01:
        raise click.BadParameter(f"{value!r} is shorter than 10ms.")
    return seconds


def unit_or_time(text: str) -> str | datetime:
    """A point in time, from ``2026-11-21``, ``2026-11-21 14:30``, ``14:30`` (today), all local, or an age
    such as ``2h``; anything else names a unit."""
    now = datetime.now().astimezone()
    found = re.fullmatch(_NUMBER, text.strip())
    if found is not None and found[2] and found[2].lower() in _SECONDS:
        return now - timedelta(seconds=duration(text))
    with contextlib.suppress(ValueError, OverflowError):
        if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text, re.ASCII):
            at = time.fromisoformat(text.zfill(5) if text.count(":") == 1 else text.zfill(8))
            return datetime.combine(now.date(), at).astimezone()
        if re.match(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return datetime.fromisoformat(text).astimezone()
    return text


class Batch(NamedTuple):
    """The most a batch may hold, in paths and in bytes; None where the default decides."""

    paths: int | None = None
    size: int | None = None


def batch(value: Any) -> Batch:
    """From ``20000`` (paths), ``500MB`` (bytes) or ``20000,500MB``."""
    found: dict[str, int] = {}
    for part in ["?"] if isinstance(value, bool) else str(value).split(","):
        match = re.fullmatch(_NUMBER, part.strip())
        amount = 0
        if match and not match[2] and match[1].isdecimal():
            kind, amount = "paths", int(match[1])
        elif match and match[2].lower() in _BYTES:
            kind, amount = "size", math.floor(float(match[1]) * _BYTES[match[2].lower()])
        if amount < 1 or kind in found:
            raise click.BadParameter(f"{value!r} is no size such as 20000 (paths), 500MB or 20000,500MB.")
        found[kind] = amount
    return Batch(**found)


def most(value: Any) -> str:
    """How much may be removed, ``100`` or ``20%``; checked here, read where it is used."""
    try:
        limit_of(value)
    except UsageError as error:
        raise click.BadParameter(
            f"{value!r} is neither a number such as 100 nor a share such as 20%."
        ) from error
    return str(value)


def rate(value: Any) -> int:
    """Bytes a second, from ``50MB``, ``800kB`` or ``20MiB``, a ``/s`` at the end or not."""
    found = re.fullmatch(_NUMBER, str(value).strip().removesuffix("/s"))
    if found is None or found[2].lower() not in _BYTES:
        raise click.BadParameter(f"{value!r} is no rate such as 50MB or 800kB (a second).")
    size = math.floor(float(found[1]) * _BYTES[found[2].lower()])
    if size < 1:
        raise click.BadParameter(f"{value!r} is less than a byte a second.")
    return size


def percent(value: Any) -> float:
    """From ``5%`` or ``5``: more than 0, and 100 at most."""
    found = re.fullmatch(_NUMBER + "%?", str(value).strip())
    if found is None or found[2] or not 0 < float(found[1]) <= 100:
        raise click.BadParameter(f"{value!r} is no share such as 5% or 0.5%.")
    return float(found[1])


def size(value: Any) -> int:
    """Bytes, from ``0``, ``500MB``, ``10GiB``."""
    found = None if isinstance(value, bool) else re.fullmatch(_NUMBER, str(value).strip())
    unit = (found[2].lower() or "b") if found else ""
    if found is None or unit not in _BYTES:
        raise click.BadParameter(f"{value!r} is no size such as 500MB, 10GB or 2GiB.")
    return math.floor(float(found[1]) * _BYTES[unit])


def address(value: Any) -> tuple[str, int]:
    """``(host, port)``, from ``9184``, ``127.0.0.1:9184`` or ``[::1]:9184``; without a host the loopback."""
    found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):)?(\d{1,5})", str(value).strip())
    if isinstance(value, bool) or found is None or int(found[2]) > 65535:
        raise click.BadParameter(f"{value!r} is no address such as 9184, 127.0.0.1:9184 or [::1]:9184.")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])
