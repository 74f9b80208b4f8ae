"""Every way atomsync can refuse or fail, as one tree.

The question a caller asks first is "may we go on, and who must act?". So each class stands for one
remedy, not for one place in the code, and carries the exit status of the command line with it.
``docs/exit-statuses.md`` lists them all; a test keeps the two in step.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = [
    "AccessError",
    "AfterFailed",
    "AtomSyncError",
    "CheckFailed",
    "CompensationFailed",
    "ControlUntrusted",
    "DestinationLimit",
    "DigestMismatch",
    "DiskError",
    "Drift",
    "GuardTripped",
    "HeldByPrepared",
    "InDoubt",
    "Interrupted",
    "JournalError",
    "NoSpace",
    "NotWatched",
    "PendingRollback",
    "PlanMoved",
    "ResolverFailed",
    "RootError",
    "RootReplaced",
    "RootsOverlap",
    "SourceUnstable",
    "StaleEntry",
    "StoreLocked",
    "TimedOut",
    "UnitStateError",
    "UsageError",
    "VersionGone",
    "cannot_stage",
    "from_oserror",
    "reported",
]


class AtomSyncError(Exception):
    """The root of the tree: nothing atomsync raises on purpose lies outside it.

    ``what`` says what could not be done and to which path, ``why`` the reason, ``hint`` the next
    step for the person (naming the flag that overrides, where there is one). ``path`` is the one path of
    the source that is at fault, if it is one: without it, and those in ``also``, the others could go on.
    """

    exit_status: ClassVar[int] = 70
    code: ClassVar[str] = "internal"

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.hint = what, why, hint
        self.path: str | None = None
        self.also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (f"{self.what}: {self.why}" if self.why else self.what) + (
            f"\n  {self.hint}" if self.hint else ""
        )


class UsageError(AtomSyncError):
    """The call itself is wrong: an impossible option, path or pattern."""

    exit_status, code = 1, "usage"


class RootError(AtomSyncError):
    """SRC or DST is missing or is not a directory."""

    exit_status, code = 3, "root"


class RootReplaced(AtomSyncError):
    """SRC or DST, or a mount in SRC, is not what it was: unmounted, or another directory by its name."""

    exit_status, code = 45, "replaced"


class RootsOverlap(AtomSyncError):
    """SRC and DST are the same directory, or one lies inside the other."""

    exit_status, code = 4, "overlap"


class DiskError(AtomSyncError):
    """The operating system reported an error that no other class describes (EIO and its kin)."""

    exit_status, code = 11, "io"


class AccessError(AtomSyncError):
    """Something may not be read in SRC or written in DST (permissions, read-only, immutable)."""

    exit_status, code = 13, "access"


class DestinationLimit(AtomSyncError):
    """DST cannot hold this: a name too long, a mount point in the way, names that collapse."""

    exit_status, code = 14, "limit"


class Interrupted(AtomSyncError):
    """A signal asked us to stop; the message says whether the unit was undone or finished."""

    exit_status, code = 20, "interrupted"


class SourceUnstable(AtomSyncError):
    """Source files kept changing while they were staged; nothing torn was committed."""

    exit_status, code = 24, "unstable"


class GuardTripped(AtomSyncError):
    """The unit would remove what the caller did not say may be removed."""

    exit_status, code = 25, "guard"


class TimedOut(AtomSyncError):
    """What was waited for did not happen within the time the caller gave."""

    exit_status, code = 30, "timeout"


class StoreLocked(AtomSyncError):
    """Another process holds the store; ``brief``: for the time of a commit, it said."""

    exit_status, code = 40, "locked"
    brief = False


class Drift(AtomSyncError):
    """Someone else changed the destination between the plan and the commit; nothing was lost."""

    exit_status, code = 41, "drift"


class StaleEntry(Drift):
    """A path is not what this unit read, expected or planned for: another writer was first."""

    code = "stale"


class DigestMismatch(AtomSyncError):
    """A staged file does not read back as it was written: the disk or the memory is bad."""

    exit_status, code = 42, "digest"


class CheckFailed(AtomSyncError):
    """What was to check the unit before its commit refused it, or changed it; it was rolled back."""

    exit_status, code = 43, "check"


class NoSpace(AtomSyncError):
    """Not enough blocks or inodes on the destination's filesystem."""

    exit_status, code = 44, "space"


class JournalError(AtomSyncError):
    """The journal of an unfinished unit cannot be trusted: a person must look; nothing was touched. Or that
    of a finished one, which has to be read for an undo, cannot be."""

    exit_status, code = 46, "journal"


class PlanMoved(AtomSyncError):
    """A saved plan is not what would be done any more: the source or the destination moved on."""

    exit_status, code = 47, "moved"


class ControlUntrusted(AtomSyncError):
    """The control directory could have been prepared by somebody else; it is not used."""

    exit_status, code = 48, "control"


class HeldByPrepared(AtomSyncError):
    """A prepared unit that nobody has decided about yet would change the same paths."""

    exit_status, code = 49, "prepared"


class ResolverFailed(AtomSyncError):
    """Whoever decides about a prepared unit could not be asked; it rests on."""

    exit_status, code = 51, "resolver"


class NotWatched(AtomSyncError):
    """No ``atomsync watch`` answers for this destination."""

    exit_status, code = 50, "not-watched"


class AfterFailed(AtomSyncError):
    """The unit is committed, but the command to be run after it failed; ``report`` is that of the push, and
    ``undone`` the id of the unit that took it back, "" if none did."""

    exit_status, code = 52, "after"
    report: Any = None
    undone = ""


class VersionGone(AtomSyncError):
    """The history does not have an old version any more, or not as it was displaced; nothing was touched."""

    exit_status, code = 53, "version-gone"


class UnitStateError(AtomSyncError):
    """A verb was called on a unit whose state does not allow it."""

    exit_status, code = 70, "state"


class PendingRollback(UnitStateError):
    """A step of this unit failed: it must be rolled back before it is used again (as in SQLAlchemy)."""

    code = "pending-rollback"


class CompensationFailed(AtomSyncError):
    """A unit was rolled back, but what was registered with ``on_rollback`` failed; ``errors`` has it all."""

    exit_status, code = 71, "compensation"

    def __init__(self, what: str, errors: tuple[BaseException, ...]) -> None:
        super().__init__(what, "; ".join(f"{type(error).__name__}: {error}" for error in errors))
        self.errors = errors


class InDoubt(AtomSyncError):
    """The commit record could not be made durable: only recovery may decide old or new."""

    exit_status, code = 75, "in-doubt"


_SPACE = {errno.ENOSPC, errno.EDQUOT}
_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}
_LIMIT = {errno.ENAMETOOLONG, errno.EXDEV, errno.EBUSY, errno.EMLINK, errno.EFBIG, errno.EILSEQ}

_DYING = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}
_HINTS = {
    errno.ENOSPC: "Free some space or inodes there and run it again; the destination is unchanged.",
    errno.EDQUOT: "Your quota there is used up; the destination is unchanged.",
    errno.EROFS: "The filesystem is mounted read-only; remount it read-write. If nobody mounted it so, the "
    "kernel did, after a disk error: see the system log (dmesg).",
    **dict.fromkeys(_DYING, "The disk reported an error: see the system log (dmesg)."),
    errno.EACCES: "Check owner and permission bits, or leave the path out with --exclude.",
    errno.EPERM: "Check the owner, and lsattr for an immutable or append-only flag (chattr -i, chattr -a).",
    errno.ENAMETOOLONG: "Shorten the name, or leave it out with --exclude.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or leave it out with --exclude.",
    errno.EXDEV: "A mount point or subvolume is in the way; push it as a destination of its own.",
    errno.EBUSY: "A mount point is in the way; push it as a destination of its own.",
    errno.EMFILE: "Too many open files; raise the limit (ulimit -n).",
}


def from_oserror(error: OSError, what: str, path: str | None = None) -> AtomSyncError:
    """The member of the tree that tells who must act on ``error``, met while doing ``what``; ``path`` is
    the path of the source that is at fault, if one is."""
    number = error.errno or 0
    kind: type[AtomSyncError] = DiskError
    if number in _SPACE:
        kind = NoSpace
    elif number in _ACCESS:
        kind = AccessError
    elif number in _LIMIT:
        kind = DestinationLimit
    found = kind(what, error.strerror or str(error), _HINTS.get(number, ""))
    found.path = path
    return found


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """What the system refuses in here is raised as ``from_oserror(error, what)``."""
    try:
        yield
    except OSError as error:
        raise from_oserror(error, what) from None


def cannot_stage(error: OSError, what: str, path: str) -> AtomSyncError:
    """``from_oserror`` for the staging of one path: what the destination cannot hold is that path's fault, a
    full or dying disk is not."""
    found = from_oserror(error, what)
    if isinstance(found, DestinationLimit):
        found.path = path
    return found
