"""Messages between a process and its second one: a length, then a marshalled value.

Marshal, since both ends are the same interpreter, and it costs a fraction of what pickle does. Built-in
types only: a named tuple arrives as a plain one if it is made one before. In a module of its own, since the
second process should carry as little as it can; for that reason nobody here imports ``typing`` or ``socket``.
"""

from __future__ import annotations

import marshal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a message of the second process is: the answer to the first task that has none; what that task raised,
# as one of ours or as the system's; or how much of it is done.
ANSWER, REFUSED, FAILED, TOLD = range(4)
# What a message to it is: a task, descriptors that come along, the names of some that are wanted no more.
TASK, GIVE, DROP = range(3)

_LENGTH = struct.Struct("<I")
HEAD = _LENGTH.size


def like() -> str:
    """What must be the same at both ends: a program may be upgraded while it runs, and names are text."""
    version: str = sys.modules["atomsync"].__version__
    encoding = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    return " ".join([version, sys.version, *encoding])


def packed(*message: Any) -> bytes:
    """The bytes of a message; ValueError for what is of no built-in type."""
    data = marshal.dumps(message)
    return _LENGTH.pack(len(data)) + data


def length(head: bytes | bytearray) -> int:
    """How many bytes follow the first ``HEAD`` of a message."""
    return int(_LENGTH.unpack_from(head)[0])


def unpacked(data: bytes | bytearray | memoryview) -> tuple[Any, ...]:
    found = marshal.loads(data)
    assert isinstance(found, tuple)
    return found
