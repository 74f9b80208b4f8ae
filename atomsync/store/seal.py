"""(4) The seal: from here on a unit can only go forward or be undone whole.

The journal is written and synced while the unit is one of many pending, where it means nothing; only then
the unit moves to where it is recovered or decided about. So there it is whole: a torn journal cannot come
from a crash, only from a fault. It holds, for each step, the identity of the object in the slot and of
the one at the path, which is all that undoing needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import DestinationLimit, DigestMismatch
from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.plan.plan import Plan
from atomsync.plan.step import META, REMOVE, Step
from atomsync.store.barrier import staged_is_durable
from atomsync.store.control import HISTORY, JOURNAL, PREPARED, RETIRED, UNIT, Control
from atomsync.store.copying import digest_file
from atomsync.store.dressing import attributes_of
from atomsync.store.drift import drifted
from atomsync.store.journal import JOURNAL_MAX_BYTES, Header, encode
from atomsync.store.looks import looks
from atomsync.store.options import MEDIA, NONE
from atomsync.store.progress import Progress
from atomsync.store.staging import Stage
from atomsync.tree.entry import DIR, FILE, PLAIN, SEEN, Entry, entry_of, look_deep, untouched
from atomsync.tree.graft import Graft
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from atomsync.fs.second import Second

_WRITE_BYTES = 1 << 20
_made = tuple.__new__  # past what a named tuple puts before it: a unit may have many steps


class SealedUnit(NamedTuple):
    """A unit whose stage and journal are durable. Only ``seal`` makes one.

    ``steps`` carry deep entries (with generation); ``commit_record`` goes into the journal at ``commit_at``.
    """

    header: Header
    steps: tuple[Step, ...]
    commit_at: int
    commit_record: bytes
    durability: str


def seal(
    control: Control,
    stage: Stage,
    plan: Plan,
    header: Header,
    progress: Progress,
    *,
    durability: str,
    verify: str,
    second: Second | None = None,
) -> SealedUnit:
    """Write the journal of a staged plan, move it to its place, and pass barrier B1. ``second`` may help.

    That place is ``unit``, or below ``prepared`` if the header names a coordinator. Raises StaleEntry if the
    destination is no longer what the plan expects, DigestMismatch if the medium (``verify="media"``) does not
    hold what was written; nothing is visible yet in either case. Needs the store's lock.
    """
    disk = control.disk
    control.tree.close()  # walk anew: a directory on the way may have been moved or replaced since
    time_step_ns = control.capabilities.time_step_ns  # probed here, where failing is still free of cost
    steps: list[Step] = []

    def looked_at() -> Iterator[Step]:
        """Written down as they are looked at: meanwhile the second process looks at the next."""
        with contextlib.closing(
            looks(control.tree, stage.slots, plan.steps, second, progress.check)
        ) as found:
            for step, now, staged in found:
                steps.append(_deep(control, stage, step, now, staged, time_step_ns))
                yield steps[-1]
        for path in plan.parents:
            steps.append(_parent(control, path))
            yield steps[-1]
        progress.check()

    commit_at, commit_record = _write_journal(
        disk, stage.unit, header, looked_at(), durable=durability != NONE
    )
    for name in (HISTORY, RETIRED):  # durable with B1: neither may be missing when the unit goes there
        with control.opened(name, make=True):
            pass
    stage.move(*((UNIT,) if header.coordinator is None else (PREPARED, header.id)))
    sealed = SealedUnit(header, tuple(steps), commit_at, commit_record, durability)
    staged_is_durable(control, stage.unit, stage.slots, sealed.steps, durability)
    if verify == MEDIA:
        _verify_media(stage, progress)
    progress.check()
    return sealed


def _write_journal(
    disk: Disk, unit: int, header: Header, steps: Iterable[Step], *, durable: bool
) -> tuple[int, bytes]:
    """In pieces of a megabyte: a unit may have more steps than should be in memory once more."""
    piece, written = bytearray(), 0
    fd = disk.create(unit, JOURNAL)

    def flush() -> None:
        nonlocal written
        if written + len(piece) > JOURNAL_MAX_BYTES:
            raise DestinationLimit("this unit is too large", "its journal would exceed what recovery reads")
        disk.write(fd, bytes(piece), written)
        written += len(piece)
        piece.clear()

    def write(frame: bytes) -> None:
        piece.extend(frame)
        if len(piece) >= _WRITE_BYTES:
            flush()

    try:
        commit = encode(header, steps, write)
        flush()
        if durable:
            disk.fsync(fd)
    finally:
        disk.close(fd)
    return commit


def _deep(
    control: Control, stage: Stage, step: Step, now: Entry | None, found: Entry | None, time_step_ns: int
) -> Step:
    """``now``: what is at its path; ``found``: what is in its slot."""
    kind, path, old, new, inside, displaced, slot = step
    if old is not None:
        if now is None or not untouched(old, now):
            raise drifted(path)
        if old.xattrs and attributes_of(control, path, old.xattrs) != old.xattrs:
            raise drifted(path, "its extended attributes were changed")
        old = _known_as(now, old.digest, old.xattrs)
    elif now is not None:
        raise drifted(path)
    if kind == META:
        if old is not None and new is not None and new.xattrs and not old.xattrs:
            old = old._replace(xattrs=attributes_of(control, path, new.xattrs))
        if old is not None:
            check_content(control.disk, *control.tree.split(path), path, old)
        return step._replace(old=old, new=new and _rounded(new, time_step_ns))
    if kind != REMOVE:
        assert found is not None, "a staged step has something in its slot"
        assert new is not None
        new = _known_as(found, stage.digest_of(path), new.xattrs)
    if inside:
        if not isinstance(inside, Graft):  # which has its digests
            inside = tuple([(path, _sealed(entry, stage.digest_of(path))) for path, entry in inside])
        if time_step_ns != 1:
            inside = tuple([(path, _rounded(entry, time_step_ns)) for path, entry in inside])
    return _made(Step, (kind, path, old, new, inside, displaced, slot))


def _known_as(found: Entry, digest: str, xattrs: str) -> Entry:
    """``found``, with what a look does not tell."""
    if not digest and not xattrs:
        return found
    return _made(Entry, (*found[:PLAIN], xattrs, *found[SEEN:-1], digest))


def _rounded(entry: Entry, time_step_ns: int) -> Entry:
    """As the destination's filesystem keeps it: recovery compares with what it finds there."""
    return entry._replace(mtime_ns=entry.mtime_ns - entry.mtime_ns % time_step_ns)


def _sealed(entry: Entry, digest: str) -> Entry:
    return Entry._make((*entry[:SEEN], 0, 0, 0, 0, digest))


def _parent(control: Control, path: str) -> Step:
    now = look_at(control.tree, path)
    if now is None or now.kind != DIR:
        raise drifted(path)
    return Step(META, path, now, None)


def look_at(tree: Cursor, path: str) -> Entry | None:
    """What is at a path of the destination now, with generation; None if nothing, or no way there."""
    if not path:
        return entry_of(tree.disk.fstat(tree.root))
    try:
        at, name = tree.split(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return look_deep(tree.disk, at, name)


def check_content(disk: Disk, at: int, name: str, path: str, old: Entry) -> None:
    """StaleEntry if ``old`` was a file read to its digest, and what is at the name has another: an edit
    within one tick of the clock shows nowhere else."""
    if old.kind == FILE and old.digest:
        fd = disk.open_file(at, name)
        try:
            if digest_file(disk, fd)[0] != old.digest:
                raise drifted(path)
        finally:
            disk.close(fd)


def _verify_media(stage: Stage, progress: Progress) -> None:
    for path, location, entry, wrote in stage.evidence():
        if entry.kind != FILE or not wrote:
            continue
        progress.check()
        at, name = stage.cursor.split(location)
        fd = stage.disk.open_file(at, name)
        try:
            digest, _ = digest_file(stage.disk, fd, media=True)
        finally:
            stage.disk.close(fd)
        if digest != wrote:
            raise DigestMismatch(
                f"{shown(path)} does not read back from the medium as it was written",
                f"wrote {wrote}, the medium gives {digest}",
                "Nothing was committed. Check the hardware before you trust it again.",
            )
