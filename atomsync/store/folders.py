"""A folder of a graft as the text of a journal's record: by columns, which are half as long. Pure.

    [path, names, kinds, modes, sizes, mtimes, uids, gids, targets, digests]

A column is a list, or one value if all are the same. The digests are one text, 32 digits for each name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from atomsync.tree.entry import FILE
from atomsync.tree.graft import Folder, Record, unpacked
from atomsync.tree.path import joined

_COLUMNS = 10
_ENTRY_BYTES = 160  # more than the numbers and the digest of an entry take
_DIGITS = 32
_text = json.JSONEncoder(separators=(",", ":")).encode


def texts(folder: Folder, apart: Mapping[str, str], bytes_max: int) -> Iterator[str]:
    """The records of a staged folder, each of so many bytes at most. ``apart``: see ``Graft``."""
    digests = folder.digests.hex()
    records = unpacked(folder.records)
    for name in folder.large:
        start = next(place for place, record in enumerate(records) if record[0] == name) * _DIGITS
        digests = digests[:start] + apart[joined(folder.path, name)] + digests[start + _DIGITS :]
    if records:
        yield from _cut(folder.path, records, digests, bytes_max)


def _cut(path: str, records: list[Record], digests: str, bytes_max: int) -> Iterator[str]:
    names, kinds, modes, sizes, mtimes, uids, gids, targets, *_ = zip(*records)
    # JSON writes up to 12 bytes a character: two escapes for what is beyond U+FFFF
    letters = len(path) + sum(map(len, names)) + sum(map(len, targets))
    if 12 * letters + _ENTRY_BYTES * len(names) > bytes_max and len(names) > 1:
        half = len(names) // 2
        yield from _cut(path, records[:half], digests[: half * _DIGITS], bytes_max)
        yield from _cut(path, records[half:], digests[half * _DIGITS :], bytes_max)
        return
    columns = kinds, modes, sizes, mtimes, uids, gids, targets
    yield _text([path, names, *map(_column, columns), digests])


def _column(values: tuple[Any, ...]) -> Any:
    return values[0] if values.count(values[0]) == len(values) else values


def rows(payload: Any) -> Iterator[tuple[str, list[Any]]]:
    """Paths and the fields of entries, unchecked but for their number. Raises TypeError or ValueError for
    what is no such record."""
    if len(payload) != _COLUMNS:
        raise ValueError
    path, names, *columns, digests = payload
    if not path or len(digests) != _DIGITS * len(names):
        raise ValueError
    whole = [column if isinstance(column, list) else [column] * len(names) for column in columns]
    for place, (name, kind, *fields) in enumerate(zip(names, *whole, strict=True)):
        if not isinstance(name, str) or "/" in name:
            raise ValueError
        digest = digests[place * _DIGITS : (place + 1) * _DIGITS] if kind == FILE else ""
        yield f"{path}/{name}", [kind, *fields, 0, 0, 0, 0, digest]
