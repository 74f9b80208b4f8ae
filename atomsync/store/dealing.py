"""Who stages what: the large files that two threads take together, and those that two processes share."""

from __future__ import annotations

from atomsync.store.copying import Job
from atomsync.store.streams import LARGE_BYTES

_EVEN = 8  # the part of all bytes by which the shares of two processes may differ


def by_thread_or_process(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Large files that two threads had better stage together, one by one; and what two processes share, so
    that neither has to wait long for the other's last. Two processes are a little faster (they write to files
    of their own), two threads never wait."""
    large = [job for job in jobs if job.entry.size >= LARGE_BYTES]
    if not large:
        return [], jobs
    large.sort(key=lambda job: job.entry.size, reverse=True)
    left = sum(job.entry.size for job in jobs)
    alone: list[Job] = []
    while _uneven_by(large) * _EVEN > left:
        alone.append(large.pop(0))
        left -= alone[-1].entry.size
    paths = {job.path for job in alone}
    return alone, [job for job in jobs if job.path not in paths]


def _uneven_by(jobs: list[Job]) -> int:
    """By how many bytes two differ of whom always the one with less takes the next."""
    ours = theirs = 0
    for job in jobs:
        if ours <= theirs:
            ours += job.entry.size
        else:
            theirs += job.entry.size
    return abs(ours - theirs)
