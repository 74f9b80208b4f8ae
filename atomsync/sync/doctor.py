"""What can be known about a destination, and a source, before anything is pushed: gathered here, judged in
``findings``. Tried in a scratch directory; nothing that it makes stays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from atomsync.errors import AtomSyncError, RootError, from_oserror
from atomsync.fs.capabilities import Capabilities, probe
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk, Space
from atomsync.fs.features import Features, probe_features
from atomsync.fs.folding import Folding, probe_folding
from atomsync.fs.mounts import Mount, below, mount_of
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir, no_dir
from atomsync.store.access import open_control
from atomsync.store.control import HISTORY, UNIT, Control, open_to_others
from atomsync.store.history import read_journal, units
from atomsync.store.scratch import scratch
from atomsync.store.status import NOTHING, Status, status_of
from atomsync.sync.roots import check_overlap
from atomsync.sync.survey import Survey, survey
from atomsync.tree.entry import FILE
from atomsync.tree.path import CONTROL_NAME, shown
from atomsync.tree.scan import subtree
from atomsync.watch.filesystems import gives_no_events, silent_below
from atomsync.watch.limits import Limits, limits

_SCRATCH = ".atomsync-doctor"
Check = Callable[[], None]
T = TypeVar("T")


class Tried(NamedTuple):
    """What was found by trying."""

    able: Capabilities
    features: Features
    folding: Folding


class Kept(NamedTuple):
    """What a store holds: finished units, and the bytes their history takes."""

    status: Status = NOTHING
    units: int = 0
    size: int = 0


class Destination(NamedTuple):
    """``tried`` is None, and ``fault`` says why, if nothing can be made there, or what is there must not be
    used: a push would end with that error. ``inside``: mount points in it, by relative path."""

    path: str
    exists: bool
    mount: Mount | None
    device: int
    space: Space
    tried: Tried | None
    kept: Kept
    inside: tuple[str, ...]
    fault: AtomSyncError | None


class Origin(NamedTuple):
    """The source. ``silent``: mount points (``.`` is its own) whose changes give no events, and why not;
    ``inside``: mount points in it."""

    path: str
    mount: Mount | None
    device: int
    survey: Survey
    silent: dict[str, str]
    inside: tuple[str, ...]


class Facts(NamedTuple):
    """``system`` and its ``release``, as ``uname`` tells them."""

    system: str
    release: str
    destination: Destination
    origin: Origin | None
    limits: Limits


def examine(
    source: str | None, path: str, state_dir: str | None = None, check: Check = lambda: None
) -> Facts:
    """Look, and try. ``check`` is called now and then, and may raise.

    Raises RootError, RootsOverlap, AccessError and other members of the tree for what cannot be looked at.
    """
    disk = PosixDisk()
    for name, given in (("SRC", source), ("DST", path)):
        if given == "":
            raise RootError(f"cannot use {name}", "it is empty", "Is a variable in the command line unset?")
    destination = _destination(disk, path, state_dir, check)
    origin = None
    if source is not None:
        try:
            check_overlap(source, path, state_dir)
        except OSError as error:
            raise from_oserror(error, f"cannot read {shown(str(error.filename or source))}") from None
        folding = destination.tried.folding if destination.tried else Folding()
        origin = _origin(disk, source, folding, destination.space.name_max, check)
    system = os.uname()
    return Facts(system.sysname, system.release, destination, origin, limits())


def _destination(disk: Disk, path: str, state_dir: str | None, check: Check) -> Destination:
    exists = is_dir(path)
    if not exists and os.path.lexists(path):
        raise RootError(f"cannot examine {shown(path)}", no_dir(path), "DST names a directory.")
    where = path if exists else os.path.dirname(os.path.abspath(path))
    tried, kept, fault = None, Kept(), None
    with _opened(disk, where) as root:
        control = None
        try:
            if exists:
                control = _control(disk, path, state_dir)
            if control is not None:
                kept = _kept(control, check)
            check()
            with scratch(disk, root, control, _SCRATCH) as at:
                tried = _try(disk, at, check)
                if (mode := disk.fstat(at).st_mode) & 0o077:
                    raise open_to_others(shown(f"{path}/{CONTROL_NAME}"), mode)
            if control is not None and not kept.status.holder and control.has(UNIT):
                with contextlib.suppress(FileNotFoundError):
                    read_journal(control, UNIT)
        except AtomSyncError as error:
            fault = error
        except OSError as error:
            fault = from_oserror(error, f"cannot make anything in {shown(where)}")
        finally:
            if control is not None:
                control.close()
        inside = tuple(sorted(below(path))) if exists else ()
        device, space = disk.fstat(root).st_dev, disk.space(root)
        return Destination(path, exists, mount_of(root), device, space, tried, kept, inside, fault)


def _control(disk: Disk, path: str, state_dir: str | None) -> Control | None:
    control = open_control(disk, path, state_dir, make=False)
    if control is not None:
        try:
            control.claim(make=False)
        except BaseException:
            control.close()
            raise
    return control


def _try(disk: Disk, at: int, check: Check) -> Tried:
    def within(name: str, verb: Callable[[Disk, int], T]) -> T:
        check()
        disk.mkdir(at, name)
        below = disk.open_dir(at, name)
        try:
            return verb(disk, below)
        finally:
            disk.close(below)

    return Tried(
        within("capabilities", probe), within("features", probe_features), within("folding", probe_folding)
    )


def _kept(control: Control, check: Check) -> Kept:
    size = 0
    status = status_of(control)
    with (
        contextlib.suppress(FileNotFoundError),  # none yet, or a push has just given it up
        control.opened(HISTORY) as history,
        Cursor(control.disk, history) as cursor,
    ):
        for _path, entry in subtree(cursor, ""):
            check()
            size += entry.size if entry.kind == FILE else 0
    return Kept(status, len(units(control)), size)


def _origin(disk: Disk, path: str, folding: Folding, name_max: int, check: Check) -> Origin:
    if not is_dir(path):
        raise RootError(f"cannot examine {shown(path)}", no_dir(path), "SRC names a directory.")
    with _opened(disk, path) as root:
        try:
            found = survey(disk, root, folding, name_max, check)
        except OSError as error:
            raise from_oserror(error, f"cannot read {shown(path)}") from None
        silent = {**silent_below(path)}
        if why := gives_no_events(path):
            silent["."] = why
        return Origin(
            path, mount_of(root), disk.fstat(root).st_dev, found, silent, tuple(sorted(below(path)))
        )


@contextlib.contextmanager
def _opened(disk: Disk, path: str) -> Iterator[int]:
    try:
        root = disk.open_root(path)
    except FileNotFoundError:
        why = "neither it nor the directory above it exists"
        raise RootError(f"cannot examine {shown(path)}", why, "Make that one first.") from None
    except OSError as error:
        raise from_oserror(error, f"cannot open {shown(path)}") from None
    try:
        yield root
    finally:
        disk.close(root)
