"""A destination that does not exist yet is made beside its place, and takes it by one rename.

Until then nothing of it is to be found under its name, whatever the unit holds and however it ends; from
then on all of it is. So a first push has no mixed window, and needs no recovery: a crash before the rename
leaves a sibling that means nothing, and whoever works there next removes it. It stands in the same
directory, since renames do not cross filesystems, and its name follows from DST's: who comes to work there
meets its lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import ControlUntrusted, Drift, InDoubt, StoreLocked, from_oserror
from atomsync.fs.disk import Disk
from atomsync.store.abandoned import discard_abandoned
from atomsync.store.access import open_control
from atomsync.store.control import CONFLICTS, HISTORY, MAKING, PENDING, PREPARED, UNIT, Control
from atomsync.store.lock import waiting
from atomsync.store.recovery import settle_in
from atomsync.store.removal import remove_tree
from atomsync.store.swapping import move
from atomsync.tree.path import CONTROL_NAME, place_beside, shown

if TYPE_CHECKING:
    from atomsync.store.status import Status

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
_MATTERS = {UNIT, PREPARED, HISTORY, CONFLICTS}
_TRIES = 100  # while others make one and take it away again


class Sibling:
    """The last component of ``path``, in the open directory ``at``; it is to become ``place``."""

    def __init__(self, disk: Disk, at: int, path: str, place: str) -> None:
        self._disk, self._at, self._place, self.path = disk, at, place, path
        self._name = os.path.basename(path)

    def is_ours(self) -> bool:
        """Whether it is this user's, and marked as one, or nothing in it matters. The mark is durable with
        the stage: before that a power cut may have left anything but it. Raises OSError, also if what it has
        for a control directory is none."""
        disk = self._disk
        with contextlib.ExitStack() as opened:

            def enter(at: int, name: str) -> tuple[int, list[str], bool]:
                fd = disk.open_dir(at, name)
                opened.callback(disk.close, fd)
                return fd, disk.names(fd), disk.fstat(fd).st_uid == os.geteuid()

            root, names, mine = enter(self._at, self._name)
            if not names:
                return mine
            if CONTROL_NAME not in names:
                return False
            _, within, mine = enter(root, CONTROL_NAME)  # the owner of all else is as in the source
            return mine and (MAKING in within or (len(names) == 1 and not _MATTERS.intersection(within)))

    def make(self) -> bool:
        """False if something is there."""
        try:
            os.mkdir(self._name, 0o777, dir_fd=self._at)  # as DST is made; what it is to be, the unit says
        except FileExistsError:
            return False
        return True

    def is_still(self, root: int) -> bool:
        """Whether its name leads to this open directory. Who has that locked may rely on it, but for
        programs that are not atomsync."""
        found, now = self._disk.fstat(root), self._disk.lstat(self._at, self._name)
        return (found.st_dev, found.st_ino) == (now.st_dev, now.st_ino)

    def remove(self, control: Control) -> None:
        """It and all that is in it, the mark last; but not what has another name by now. Under its lock, or
        its maker may be at work. Raises OSError."""
        disk = self._disk
        if not self.is_still(control.root):
            return
        disk.set_meta(control.root, -1, -1, 0o700, None)
        for at, last in ((control.root, CONTROL_NAME), (control.fd, MAKING)):
            for name in disk.names(at):
                if name != last:
                    remove_tree(disk, at, name)
        remove_tree(disk, self._at, self._name)

    def remove_empty(self) -> None:
        with contextlib.suppress(OSError):  # in use, or gone already
            self._disk.rmdir(self._at, self._name)

    def take_place(self, control: Control) -> None:
        """One rename. Raises Drift if somebody made something there meanwhile, or took this away, and what
        the system refuses: then nothing is visible."""
        what = f"cannot put {shown(self._place)} in its place"
        name = os.path.basename(self._place.rstrip("/"))
        try:
            # RACE: another program may exchange the sibling between this look and the rename.
            if not self.is_still(control.root):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            move(self._disk, control.capabilities, self._at, self._name, self._at, name)
        except FileNotFoundError:
            why = f"somebody has moved {shown(self.path)} away, in which it was made"
            raise Drift(what, why, "Leave that alone, and run this again.") from None
        except OSError as error:
            if error.errno in _TAKEN:
                hint = "Nothing of the unit is there. Run this again: it goes into what is there now."
                raise Drift(what, "somebody else has made it meanwhile", hint) from None
            found = from_oserror(error, what)
            found.hint = "Nothing of the unit is there. Make the directory, and it is filled in its place."
            raise found from None
        control.at = self._place

    def settle(self, control: Control, *, durable: bool) -> None:
        """Its place is durable, and the mark goes: until then recovery sees to both. Raises InDoubt."""
        try:
            settle_in(control, durable=durable)
        except OSError as error:
            raise InDoubt(
                f"cannot make {shown(self._place)} durable",
                error.strerror or str(error),
                "It is there, and whole, but a power cut may take it. Mend the disk, and run this again.",
            ) from None

    def close(self) -> None:
        self._disk.close(self._at)


class Opened(NamedTuple):
    """``control`` is locked. ``removed``: one that was left over is gone."""

    sibling: Sibling | None = None
    control: Control | None = None
    removed: bool = False


def open_sibling(disk: Disk, place: str, until: float, *, make: bool) -> Opened:
    """The sibling in which ``place`` is to be made: an empty one. None where ``place`` exists, or none can be
    made, and always without ``make``: then only one that was left over is removed.

    Waits for who is at work in it as ``lock.waiting`` does, unless ``place`` exists. Raises StoreLocked and
    its kin.
    """
    removed = False
    for _ in range(_TRIES):
        exists = os.path.lexists(place)
        sibling = _found(disk, place, make=make and not exists)
        if sibling is None:
            break
        control, keep = None, False
        try:
            enter = partial(open_control, disk, place, at=sibling.path)
            control = enter() if exists else waiting(until, enter, patient=True)
            assert control is not None
            if not sibling.is_still(control.root):
                continue
            if not control.root_locked:
                break  # directories cannot be locked, as on NFS: nobody could tell whether its maker lives
            discard_abandoned(control)
            if not sibling.is_ours() or (control.names(PENDING) and not control.has(MAKING)):
                break  # it is somebody's own, or somebody is about to make it so
            fresh = control.made_ns is not None and disk.names(control.root) == [CONTROL_NAME]
            if make and fresh and not os.path.lexists(place):
                disk.close(disk.create(control.fd, MAKING))
                keep = True
                return Opened(sibling, control, removed)
            sibling.remove(control)
            removed = removed or not fresh
            if not make:
                break
        except FileNotFoundError:
            continue  # its maker has put it in its place, or taken it away
        except StoreLocked:
            if not exists:
                raise
            break  # it will see that it came too late
        except (ControlUntrusted, OSError):
            break
        finally:
            if not keep:
                if control is not None:
                    control.unmake()
                sibling.remove_empty()
                sibling.close()
    return Opened(removed=removed)


def being_made(disk: Disk, place: str) -> Status:
    """Whether somebody makes ``place``, or was cut as he did. Only looks."""
    from atomsync.store.status import BEING_STAGED, NOTHING

    sibling = _found(disk, place, make=False)
    if sibling is None:
        return NOTHING
    try:
        control = open_control(disk, place, make=False, at=sibling.path)
    except (FileNotFoundError, ControlUntrusted):
        return NOTHING
    finally:
        sibling.close()
    if control is None:
        return NOTHING
    try:
        holder = control.holder()
        return NOTHING._replace(holder=holder, unfinished="" if holder else BEING_STAGED)
    finally:
        control.close()


def _found(disk: Disk, place: str, *, make: bool) -> Sibling | None:
    """None where there can be none, or something else has its name."""
    path = place_beside(place)
    if not path:
        return None
    try:
        at = disk.open_root(os.path.dirname(path) or ".")
    except OSError:
        return None
    sibling = Sibling(disk, at, path, place)
    with contextlib.suppress(OSError):
        # Of an append-only directory nothing is renamed.
        if (make and not disk.pinned(at, ["."]) and sibling.make()) or sibling.is_ours():
            return sibling
    sibling.close()
    return None
