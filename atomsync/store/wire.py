"""Messages over a pipe between a push and its helper: a length, then a marshalled value.

Marshal, since both ends are the same interpreter, and it costs a fraction of what pickle does. In a
module of its own, since the helper should carry as little as it can.
"""

from __future__ import annotations

import marshal
import os
import struct
from typing import Any

_LENGTH = struct.Struct("<I")


def write_message(fd: int, message: Any) -> None:
    """``message`` of built-in types only."""
    data = marshal.dumps(message)
    data = _LENGTH.pack(len(data)) + data
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_message(fd: int) -> Any:
    """The next message, or None when the other side is gone."""
    head = _read(fd, _LENGTH.size)
    if head is None:
        return None
    body = _read(fd, _LENGTH.unpack(head)[0])
    return None if body is None else marshal.loads(body)


def _read(fd: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, size - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
