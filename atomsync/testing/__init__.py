"""For tests of atomsync, and of programs that embed it: a store in memory that can fail and lose its power.

docs/testing.md is the guide. For programs that use a store:

simstore  ``simulated_store``: a ``Store`` without a disk
stores    what a test does with a store, simulated or real: look at it, let it fail, end its process
faults    faults by meaning and by index; hooks that kill, fail a call or lose what a sync should have written
trees     trees as literals, built and read over any disk

Below them, and for tests of atomsync itself:

simdisk   ``SimDisk``, an ``fs.Disk`` in memory with a write-back cache
hooked    the real disk with the same hooks
crash     which states a power cut may leave
effects   what the simulated disk is made of: inodes and what happens to them
medium    the write-back cache and what is below it
lookup    finding names in it
snapshot  the whole tree of a simulated disk as a literal
selftest  what ``atomsync selftest`` tries on a real filesystem, on ``ground`` of its own

    store = simulated_store(Dir({"a": File(b"one")}))
    with pytest.raises(NoSpace), faults(store, fail("rename", errno.ENOSPC, name="a")):
        with store.begin() as unit:
            unit.write("a", b"two")
    assert tree_of(store) == Dir({"a": File(b"one")})
"""

from atomsync.testing.crash import Choice
from atomsync.testing.effects import SimStat
from atomsync.testing.faults import (
    Fault,
    Hook,
    Killed,
    NeverStruck,
    PagesLost,
    VerbFailed,
    crash_at,
    fail,
    fail_at,
    fail_sync_at,
    kill_at,
)
from atomsync.testing.hooked import HookedDisk
from atomsync.testing.simdisk import Profile, SimDisk
from atomsync.testing.simstore import SimulatedStore, simulated_store
from atomsync.testing.snapshot import snapshot
from atomsync.testing.stores import (
    Trial,
    every_crash,
    every_failure,
    every_reboot,
    fault_point,
    faults,
    rebooted,
    restarted,
    tree_of,
)
from atomsync.testing.trees import Dir, File, Link, Special, Tree, build, read

__all__ = [
    "Choice",
    "Dir",
    "Fault",
    "File",
    "Hook",
    "HookedDisk",
    "Killed",
    "Link",
    "NeverStruck",
    "PagesLost",
    "Profile",
    "SimDisk",
    "SimStat",
    "SimulatedStore",
    "Special",
    "Tree",
    "Trial",
    "VerbFailed",
    "build",
    "crash_at",
    "every_crash",
    "every_failure",
    "every_reboot",
    "fail",
    "fail_at",
    "fail_sync_at",
    "fault_point",
    "faults",
    "kill_at",
    "read",
    "rebooted",
    "restarted",
    "simulated_store",
    "snapshot",
    "tree_of",
]
