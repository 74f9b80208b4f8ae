"""What docs/json.md says there is. Every test that reads ``--json`` is held to it (``Cli`` in conftest)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JSON_PAGE = Path(__file__).parents[1] / "docs" / "json.md"
_COMMON = {"schema", "event", "time_ns", "source", "destination"}
_NAMED_BY_OTHERS = {"phases_ms", "outcomes", "set_aside"}  # whose keys are phases, outcomes, paths


@functools.cache
def events() -> dict[str, set[str]]:
    """Event → every word in its row that could be a field; a row may lean on another by its name."""
    rows = dict(re.findall(r"^\| `([\w-]+)` \|[^|]*\|(.*)\|$", JSON_PAGE.read_text(encoding="utf-8"), re.M))
    words = {event: set(re.findall(r"`([\w-]+)`", row)) for event, row in rows.items()}
    return {
        event: found.union(*(words[other] for other in found & words.keys()))
        for event, found in words.items()
    }


@functools.cache
def _anywhere() -> set[str]:
    return set(re.findall(r"`([\w-]+)`", JSON_PAGE.read_text(encoding="utf-8")))


def undocumented(output: str) -> list[str]:
    """The events of some lines of JSON, and their fields, that the page does not have."""
    missing = []
    for line in output.splitlines():
        found = json.loads(line)
        event = found["event"]
        if event not in events():
            missing.append(event)
            continue
        missing += [f"{event}: {field}" for field in found if field not in _COMMON | events()[event]]
        missing += [f"{event}: {field}" for field in _below(found) if field not in _anywhere()]
    return missing


def _below(value: Any) -> Iterator[str]:
    """The fields of what lies in ``value``; they may be described anywhere on the page."""
    if isinstance(value, list):
        for each in value:
            yield from _below({"": each})
    elif isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict) and name not in _NAMED_BY_OTHERS:
                yield from inner
            if name not in _NAMED_BY_OTHERS:
                yield from _below(inner)
