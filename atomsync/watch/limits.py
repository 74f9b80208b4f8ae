"""What the kernel allows a user to watch."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Of one user: directories, processes that watch (instances), and events that may wait to be read; each
    is None where the kernel has no such limit, or no inotify."""

    watches: int | None
    instances: int | None
    queued_events: int | None


def limits() -> Limits:
    return Limits(limit("max_user_watches"), limit("max_user_instances"), limit("max_queued_events"))


def limit(name: str) -> int | None:
    """``sysctl fs.inotify.<name>``."""
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
