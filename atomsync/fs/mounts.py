"""Which paths below a directory are mount points.

``st_dev`` alone does not show a bind mount of the same filesystem, yet no rename crosses it (EXDEV)
and the mount point itself cannot be renamed (EBUSY). The kernel's own table shows them all.
"""

from __future__ import annotations

import os
import re

_TABLE = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


def mounts_below(directory: str) -> frozenset[str]:
    """Relative paths of the mount points strictly below ``directory``; empty where no table exists."""
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as table:
            lines = table.readlines()
    except OSError:
        return frozenset()
    root = os.path.realpath(directory).rstrip("/") + "/"
    points = (_OCTAL.sub(lambda m: chr(int(m[1], 8)), line.split(" ")[4]) for line in lines)
    return frozenset(point[len(root) :] for point in points if point.startswith(root) and point != root)
