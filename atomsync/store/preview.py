"""The tree as a sealed unit will leave it, laid out beside the store for somebody to look at.

Where names change, and on the way there, the view has directories of its own. In them new names lead to
the staged inodes and unchanged ones to those of the destination, by hard links where that is possible: a
program that resolves the path it was started by then stays in the view. An unchanged directory is one
symbolic link. So the cost is that of the directories in which names change, whatever the tree holds.

The staged inodes are the ones that will be committed, so whoever looks must not write to them. What cannot
be prevented is noticed: each staged file must be as it was, to its ctime, which nobody can set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from atomsync.errors import CheckFailed, DestinationLimit
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Stat
from atomsync.plan.step import META, Step
from atomsync.store.control import SLOTS, VIEW, Control
from atomsync.store.drift import drifted
from atomsync.store.staging import Stage, locations
from atomsync.store.waste import remove_view
from atomsync.tree.entry import DIR, LINK
from atomsync.tree.path import CONTROL_NAME, is_reserved, joined, parent_of, shown, upwards
from atomsync.tree.racy import COARSE_TICK_NS, TICK_NS, may_be_racy

_NOT_LINKED = {errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP}
_NO_SYMLINKS = {errno.EPERM, errno.EOPNOTSUPP}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
_OWNER_BITS = 0o700  # of every directory of the view: it is filled, and removed again


class _Shared(NamedTuple):
    """A staged file that the view has too, as it was when the view was ready."""

    path: str
    location: str
    state: tuple[int, ...]


@contextlib.contextmanager
def laid_out(
    control: Control, stage: Stage, steps: Sequence[Step], check: Callable[[], None], *, link_old: bool
) -> Iterator[str]:
    """The absolute path of the view of a unit with these sealed ``steps``, for the time of a ``with``.

    ``check`` is asked as it is made. Without ``link_old`` unchanged files get no other name. Raises OSError,
    StaleEntry if the destination is no longer what the steps expect, and at the end CheckFailed if a staged
    file was changed meanwhile. Needs the store's lock.
    """
    remove_view(control)
    control.disk.mkdir(control.fd, VIEW)
    removed = False
    try:
        layout = _Layout(control, stage, check, link_old)
        layout.fill(steps)
        shared = layout.shared()
        _wait_out_the_tick(shared)
        yield os.path.join(layout.control_path, VIEW)
        for file in shared:  # before the view goes: that changes their ctimes
            if layout.state(file.location) != file.state:
                raise CheckFailed(
                    "the check changed what it was to check",
                    f"{shown(file.path)} is not as it was staged",
                    "Nothing was committed. A check must not write to files of the view; it may add others.",
                )
        remove_view(control)
        removed = True
    finally:
        if not removed:
            with contextlib.suppress(OSError):  # then recovery removes it
                remove_view(control)


class _Layout:
    """Makes the view from the destination and the stage."""

    def __init__(self, control: Control, stage: Stage, check: Callable[[], None], link_old: bool) -> None:
        self.control, self.stage, self.disk, self._check = control, stage, control.disk, check
        self.destination = os.path.realpath(control.at)
        self.control_path = (
            os.path.realpath(control.state_dir)
            if control.state_dir
            else os.path.join(self.destination, CONTROL_NAME)
        )
        self._slots_path = os.path.join(self.control_path, *stage.where, SLOTS)
        self._links = control.capabilities.link
        self._links_old = self._links and link_old
        self._files: list[tuple[str, str]] = []  # staged: path, location in the slots

    def fill(self, steps: Sequence[Step]) -> None:
        changed = {step.path for step in steps if step.kind != META}
        own = {"", *(above for path in changed for above in upwards(parent_of(path)))}
        modes = {step.path: step.new.mode for step in steps if step.kind == META and step.new is not None}
        with self.control.opened(VIEW) as root, Cursor(self.disk, root) as view:
            for directory in sorted(own):
                self._add_unchanged(view, directory, changed, own, modes)
            self._add_staged(view, steps)

    def shared(self) -> list[_Shared]:
        return [_Shared(path, location, self.state(location)) for path, location in self._files]

    def state(self, location: str) -> tuple[int, ...]:
        """What a write, or any other change of the file, does not leave as it is."""
        try:
            found = self.disk.lstat(*self.stage.cursor.split(location))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return ()
        return found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns

    def _add_unchanged(
        self, view: Cursor, directory: str, changed: set[str], own: set[str], modes: dict[str, int]
    ) -> None:
        """What is in one directory of the destination and stays, but for the store."""
        disk, tree = self.disk, self.control.tree
        try:
            here, there = view.at(directory), tree.at(directory)
            for name, found in disk.scandir(there):
                self._check()
                path = joined(directory, name)
                if path in changed or is_reserved(name):
                    continue
                with contextlib.suppress(FileNotFoundError):  # somebody's scratch file, gone meanwhile
                    if stat.S_ISLNK(found.st_mode):
                        self._symlink(disk.readlink(there, name), here, name)
                    elif path in own:
                        self._mkdir(here, name, modes.get(path, _mode(found)))
                    elif stat.S_ISDIR(found.st_mode):
                        self._symlink(os.path.join(self.destination, path), here, name)
                    else:
                        self._link(self._links_old, there, name, here, os.path.join(self.destination, path))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            raise drifted(directory) from None

    def _add_staged(self, view: Cursor, steps: Sequence[Step]) -> None:
        for path, (location, entry) in locations(steps):
            self._check()
            here, name = view.split(path)
            if entry.kind == DIR:
                self._mkdir(here, name, entry.mode)
            elif entry.kind == LINK:
                self._symlink(entry.target, here, name)
            else:
                try:
                    slots, slot = self.stage.cursor.split(location)
                    where = os.path.join(self._slots_path, location)
                    self._link(self._links, slots, slot, here, where, name)
                except PermissionError:  # in a directory that its owner may not search, now or later
                    continue
                self._files.append((path, location))

    def _mkdir(self, at: int, name: str, mode: int) -> None:
        self.disk.mkdir(at, name)
        self.disk.set_meta_at(at, name, -1, -1, mode | _OWNER_BITS, None)

    def _link(self, hard: bool, at: int, name: str, here: int, where: str, as_name: str = "") -> None:
        """A second name in the view; where there can be none, a symbolic link to the absolute ``where``."""
        if hard:
            try:
                self.disk.link(at, name, here, as_name or name)
                return
            except OSError as error:
                if error.errno not in _NOT_LINKED:
                    raise
        self._symlink(where, here, as_name or name)

    def _symlink(self, target: str, at: int, name: str) -> None:
        try:
            self.disk.symlink(target, at, name)
        except OSError as error:
            if error.errno not in _NO_SYMLINKS:
                raise
            raise DestinationLimit(
                "cannot show the tree as it will be",
                "the destination's filesystem has no symbolic links",
                "Push without --check.",
            ) from None


def _mode(found: Stat) -> int:
    return stat.S_IMODE(found.st_mode)


def _wait_out_the_tick(shared: Sequence[_Shared]) -> None:
    """A change from now on must show in the ctime, which a clock gives that ticks."""
    newest_ns = max((file.state[-1] for file in shared if file.state), default=0)
    over_ns = time.time_ns() + COARSE_TICK_NS  # a stamp from the future is never over
    while may_be_racy(newest_ns, now := time.time_ns()) and now < over_ns:
        time.sleep(TICK_NS / 1e9)
