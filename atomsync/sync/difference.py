"""``diff``: where two trees differ, by the comparison of a push, without its guards and its unit."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from atomsync.errors import Drift, RootError, SourceUnstable
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir
from atomsync.store.access import open_control
from atomsync.store.progress import Progress
from atomsync.store.rows import what_a_push_knows
from atomsync.sync.compare import Comparer, Comparison
from atomsync.sync.origin import attributes, opened_source, ownership
from atomsync.sync.roots import check_roots
from atomsync.sync.rules import Rules
from atomsync.tree.attributes import differences
from atomsync.tree.entry import FILE, Entry
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown

_TRIES = 3  # while others write to one of them


class Difference(NamedTuple):
    """``source`` and ``destination``: what is there, None if nothing. ``differs``: in what, where something
    is on both sides: "content", "links" (which names are one file) and the words of ``tree.attributes``."""

    path: str
    source: Entry | None
    destination: Entry | None
    differs: tuple[str, ...] = ()


class Differences(NamedTuple):
    """``found`` sorted by path; ``same``: entries; ``left_out``: special files of the source, path → kind."""

    found: tuple[Difference, ...]
    same: int
    left_out: dict[str, str]
    seconds: float


class _Differ(Comparer):
    def _hidden(self, path: str) -> None:
        """A push would refuse; here it is in the source only."""

    def _may_change_in_place(self, path: str, name: str, old: Entry, new: Entry) -> bool:
        return True


def diff(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    content: bool = False,
    filters: Filters | None = None,
    one_file_system: bool = False,
    archive: bool = False,
    hard_links: bool = False,
    xattrs: bool = False,
    acls: bool = False,
    state_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Differences:
    """What ``push --delete`` would change, guards aside; changes nothing and takes no lock.

    ``archive``, ``hard_links``, ``xattrs`` and ``acls`` as for ``push``. ``content``: files of one size are
    read, instead of trusting size and time. Raises RootError, RootsOverlap, AccessError; SourceUnstable and
    StaleEntry if one of the two keeps changing.
    """
    began = time.perf_counter()
    src, dst = os.fspath(source), os.fspath(destination)
    state = None if state_dir is None else os.fspath(state_dir)
    check_roots(src, dst, state)
    if not is_dir(dst):
        raise RootError(f"cannot compare with {shown(dst)}", "it does not exist", "DST names a directory.")
    disk, progress = PosixDisk(), progress or Progress()
    racy, step_ns = _known(disk, dst, state)
    rules = Rules(
        (filters or Filters()).anew(),
        ownership()._replace(time_step_ns=step_ns),
        delete=True,
        checksum=content,
        one_file_system=one_file_system,
        hard_links=hard_links,
        attributes=attributes(acls=acls, xattrs=xattrs),
        specials=archive,
    )
    progress.phase("compare")
    with opened_source(disk, src) as origin, opened_source(disk, dst) as there:
        found = _compared(origin.cursor, there.cursor, rules, racy, progress)
    return Differences(
        tuple(
            _difference(*change, checksum=content, linked=change.path in found.contents)
            for change in sorted(found.changes)
            if change.visible
        ),
        found.unchanged,
        found.left_out,
        time.perf_counter() - began,
    )


def _compared(
    source: Cursor, destination: Cursor, rules: Rules, racy: dict[str, str], progress: Progress
) -> Comparison:
    for left in reversed(range(_TRIES)):
        source.close()
        destination.close()
        try:
            rules = rules._replace(filters=rules.filters.anew())
            found = _Differ(source, destination, rules, racy, time.time_ns(), progress).run()
        except Drift:
            if not left:
                raise
            continue
        if not found.unstable:
            return found
    raise SourceUnstable(
        "the source kept changing while it was compared",
        shown(found.unstable[0] or "."),
        "Run it when the writer rests.",
    )


def _known(disk: Disk, dst: str, state: str | None) -> tuple[dict[str, str], int]:
    control = open_control(disk, dst, state, make=False)
    if control is None:
        return {}, 1
    with contextlib.closing(control):
        control.claim(make=False)
        return what_a_push_knows(control)


def _difference(
    path: str, old: Entry | None, new: Entry | None, changed: bool, *, checksum: bool, linked: bool
) -> Difference:
    if old is None or new is None:
        return Difference(path, new, old)
    words = differences(old, new)
    if linked and not words:
        return Difference(path, new, old, ("links",))
    both = old.kind == FILE == new.kind
    if both and changed and (checksum or "size" in words or not words):
        words = ("content", *(word for word in words if word != "size"))
    return Difference(path, new, old, words)
