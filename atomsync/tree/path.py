"""Relative paths: their grammar, and how they are shown to a person.

A path is a ``str`` of names joined by ``/``, relative to a root whose own path is ``""``. Bytes that
are not UTF-8 are surrogate escapes, as in ``os.fsdecode``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from atomsync.errors import UsageError

CONTROL_NAME = ".atomsync"
_NEW = ".atomsync-new"


def parse(path: str | os.PathLike[str]) -> str:
    """The normal form of a path given by a caller; raises UsageError if it could leave the root."""
    text = os.fspath(path)
    names = text.split("/")
    if text.startswith("/"):
        raise UsageError(f"cannot use {shown(text)}", "it is absolute; paths are relative to the store")
    if any(name in ("", ".", "..") for name in names) or "\0" in text:
        raise UsageError(f"cannot use {shown(text)!r}", "empty names, '.', '..' and NUL are not allowed")
    if any(is_reserved(name) for name in names):
        raise UsageError(f"cannot use {shown(text)}", f"{CONTROL_NAME} is atomsync's own name")
    return text


def is_reserved(name: str) -> bool:
    """Whether ``name`` is the control directory's, also as a folding filesystem would read it."""
    return name[:1] == "." and name.rstrip(". ").casefold() == CONTROL_NAME


def place_beside(place: str) -> str:
    """Where a destination is made that does not exist yet: in the same directory. "" if its name is none."""
    above, name = os.path.split(place.rstrip("/"))
    return "" if name in ("", ".", "..") else os.path.join(above, f".{name}{_NEW}")


def parent_of(path: str) -> str:
    """The path of the directory that holds ``path``; ``""`` is the root."""
    return path.rpartition("/")[0]


def joined(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def ancestors(path: str) -> list[str]:
    """The directories above ``path``, nearest first, without the root."""
    found = []
    while path := path.rpartition("/")[0]:
        found.append(path)
    return found


def upwards(path: str) -> Iterator[str]:
    """``path`` and all above it, to the root."""
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path


def shown(path: str) -> str:
    """``path`` for a terminal: control characters and undecodable bytes as ``\\x..``, on one line."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() else _escaped(char) for char in path)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
