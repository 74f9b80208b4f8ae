"""For tests of atomsync, and of programs that embed it: a disk that can lose power.

simdisk   ``SimDisk``, an ``fs.Disk`` in memory with a write-back cache
faults    hooks that kill the process, fail a verb or lose what a sync should have written
hooked    the real disk with the same hooks
crash     which states a power cut may leave
effects   what the simulated disk is made of: inodes and what happens to them
medium    the write-back cache and what is below it
lookup    finding names in it
snapshot  the whole tree of a simulated disk as a literal
trees     trees as literals, built and read over any disk
selftest  what ``atomsync selftest`` tries on a real filesystem, on ``ground`` of its own

    disk = SimDisk("ordered")
    at = disk.open_root("/")
    build(disk, at, Dir({"a": File(b"one")}))
    for keep, torn in disk.crash_states(random.Random(0)):
        found = snapshot(disk.crash(keep, torn))
"""

from atomsync.testing.crash import Choice
from atomsync.testing.effects import SimStat
from atomsync.testing.faults import Hook, Killed, PagesLost, VerbFailed, fail_at, fail_sync_at, kill_at
from atomsync.testing.hooked import HookedDisk
from atomsync.testing.simdisk import Profile, SimDisk
from atomsync.testing.snapshot import snapshot
from atomsync.testing.trees import Dir, File, Link, Special, Tree, build, read

__all__ = [
    "Choice",
    "Dir",
    "File",
    "Hook",
    "HookedDisk",
    "Killed",
    "Link",
    "PagesLost",
    "Profile",
    "SimDisk",
    "SimStat",
    "Special",
    "Tree",
    "VerbFailed",
    "build",
    "fail_at",
    "fail_sync_at",
    "kill_at",
    "read",
    "snapshot",
]
