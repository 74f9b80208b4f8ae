"""The product with one safeguard switched off. Each of these must be caught by some layer of the proof:
a checker that lets one pass proves nothing about the rest.

``with applied("no B1"):`` patches this process; ``python -m tests.proof.mutated "no B1" push …`` another.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from atomsync.fs import posix
from atomsync.fs.posix import PosixDisk
from atomsync.plan.step import META
from atomsync.store import (
    access,
    commit,
    conflicts,
    control,
    copying,
    decision,
    journal,
    planting,
    recovery,
    retention,
    seal,
    sibling,
    staging,
    swapping,
    undo,
    window,
)
from atomsync.store.options import NONE
from atomsync.store.removal import remove_tree
from atomsync.sync import settle as settling
from atomsync.testing import SimDisk

Put = Callable[[object, str, Any], None]
MUTANTS: dict[str, Callable[[Put], None]] = {}


def mutant(name: str) -> Callable[[Callable[[Put], None]], Callable[[Put], None]]:
    def register(change: Callable[[Put], None]) -> Callable[[Put], None]:
        MUTANTS[name] = change
        return change

    return register


@contextlib.contextmanager
def applied(name: str) -> Iterator[None]:
    """The product without one safeguard, for the time of a ``with``."""
    former: list[tuple[object, str, Any]] = []

    def put(owner: object, attribute: str, value: Any) -> None:
        former.append((owner, attribute, vars(owner)[attribute]))
        setattr(owner, attribute, value)

    try:
        if name:
            MUTANTS[name](put)
        yield
    finally:
        for owner, attribute, value in reversed(former):
            setattr(owner, attribute, value)


def _nothing(*_: object, **__: object) -> None:
    """What a safeguard does that is switched off."""


# -- barriers and their order


@mutant("no B1: the stage is not synced before the swaps")
def _(put: Put) -> None:
    put(seal, "staged_is_durable", _nothing)


@mutant("no B2: the swaps are not synced before COMMIT")
def _(put: Put) -> None:
    put(commit, "_make_durable", _nothing)


@mutant("no B3: COMMIT is not synced before success is said")
def _(put: Put) -> None:
    write = commit._write_commit
    put(commit, "_write_commit", lambda c, stage, sealed: write(c, stage, sealed._replace(durability=NONE)))


@mutant("COMMIT is written before B2")
def _(put: Put) -> None:
    sync = commit._make_durable

    def early(c: Any, stage: Any, sealed: Any) -> None:
        commit._write_commit(c, stage, sealed)
        sync(c, stage, sealed)

    put(commit, "_make_durable", early)


@mutant("COMMIT is written before the swaps")
def _(put: Put) -> None:
    swap_all = commit._swap_all
    held: list[Any] = []
    real = commit.commit

    def remember(c: Any, stage: Any, sealed: Any) -> Any:
        held[:] = [stage, sealed]
        return real(c, stage, sealed)

    def early(c: Any, slots: int, steps: Any) -> float:
        commit._write_commit(c, *held)
        return swap_all(c, slots, steps)

    put(commit, "commit", remember)
    put(commit, "_swap_all", early)


@mutant("the unit gets its place before its journal is synced")
def _(put: Put) -> None:
    write = seal._write_journal
    put(seal, "_write_journal", lambda *what, durable: write(*what, durable=False))


@mutant("times of directories are set behind the commit point")
def _(put: Put) -> None:
    swap_all, write = commit._swap_all, commit._write_commit

    def without(c: Any, slots: int, steps: Any) -> float:
        return swap_all(c, slots, tuple(step for step in steps if step.kind != META))

    def late(c: Any, stage: Any, sealed: Any) -> None:
        write(c, stage, sealed)
        for step in sealed.steps:
            if step.kind == META and step.new is not None:
                commit._set_meta(c, step, step.new)

    put(commit, "_swap_all", without)
    put(commit, "_write_commit", late)


@mutant("the name of a new destination is not synced")
def _(put: Put) -> None:
    put(sibling, "settle_in", _nothing)


# -- recovery


@mutant("the decision is not synced")
def _(put: Put) -> None:
    write = decision.write_decision
    put(
        recovery,
        "write_decision",
        lambda c, unit, name, what, durable: write(c, unit, name, what, durable=False),
    )


@mutant("no decision file: COMMIT is believed as the page cache shows it")
def _(put: Put) -> None:
    put(recovery, "write_decision", _nothing)


@mutant("what recovery undid is not synced before its decision")
def _(put: Put) -> None:
    put(recovery, "swaps_are_durable", _nothing)


@mutant("attributes set by half are taken for somebody else's")
def _(put: Put) -> None:
    put(undo, "between", lambda old, now, new: False)


@mutant("recovery rolls back by the plan, not by identity")
def _(put: Put) -> None:
    def by_plan(step: Any, at_path: Any, in_slot: Any) -> str:
        if step.kind == "create":
            return undo.TAKE_OUT if at_path is not None else undo.NOTHING
        if in_slot is None:
            return undo.NOTHING
        return undo.SWAP_BACK if at_path is not None else undo.PUT_BACK

    put(undo, "decide", by_plan)


# -- swaps and other writers


@mutant("a plain rename instead of a swap")
def _(put: Put) -> None:
    def replacing(disk: Any, able: Any, slots: int, at: int, names: Any) -> None:
        for slot, name in names:
            disk.replace(slots, os.fsdecode(slot), at, os.fsdecode(name))

    put(window, "swap_all", replacing)


@mutant("an exchange that other filesystems lack is replaced without a second name")
def _(put: Put) -> None:
    swap = swapping.swap

    def weaker(disk: Any, able: Any, slots: int, slot: str, at: int, name: str) -> None:
        if able.exchange:
            swap(disk, able, slots, slot, at, name)
        else:
            aside = slot + swapping.ASIDE
            swapping.move(disk, able, at, name, slots, aside)
            swapping.move(disk, able, slots, slot, at, name)
            swapping.move(disk, able, slots, aside, slots, slot)

    put(swapping, "swap", weaker)


@mutant("what a swap displaced is not looked at")
def _(put: Put) -> None:
    put(commit, "_check_displaced", _nothing)


@mutant("a rename that may replace (no RENAME_NOREPLACE)")
def _(put: Put) -> None:
    def replacing(disk: Any, able: Any, at: int, to: int, names: Any) -> None:
        for name, new_name in names:
            disk.replace(at, os.fsdecode(name), to, os.fsdecode(new_name))

    put(PosixDisk, "rename_new", PosixDisk.replace)
    put(SimDisk, "rename_new", SimDisk.replace)
    put(window, "move_all", replacing)


@mutant("an inode is known by its number alone, without generation")
def _(put: Put) -> None:
    put(PosixDisk, "generation", lambda self, at, name: 0)
    put(SimDisk, "generation", lambda self, at, name: 0)


@mutant("a rollback deletes what is not the unit's own")
def _(put: Put) -> None:
    def destroy(c: Any, slots: int, slot: str, unit_id: str, path: str, why: str) -> conflicts.Conflict:
        remove_tree(c.disk, slots, slot)
        return conflicts.Conflict(path, "", why)

    put(undo, "keep_aside", destroy)


@mutant("what is kept aside is not synced")
def _(put: Put) -> None:
    def unsynced(c: Any, slots: int, slot: str, unit_id: str, path: str, why: str) -> conflicts.Conflict:
        with c.opened(control.CONFLICTS, unit_id, make=True) as kept:
            swapping.move(c.disk, c.capabilities, slots, slot, kept, slot)
        return conflicts.Conflict(path, f"{control.CONFLICTS}/{unit_id}/{slot}", why)

    put(undo, "keep_aside", unsynced)


@mutant("late writes into an old version go with it")
def _(put: Put) -> None:
    put(retention, "_rescue_late_writes", lambda c, unit_id, leaving: ([], []))


@mutant("the lock is not taken")
def _(put: Put) -> None:
    put(PosixDisk, "try_lock", lambda self, fd: True)
    put(SimDisk, "try_lock", lambda self, fd: True)


# -- bytes


@mutant("what was written is not read back")
def _(put: Put) -> None:
    class Trusting:
        """The destination's disk; asked what it holds, it is believed to hold what it was given."""

        def __init__(self, disk: Any) -> None:
            self._disk, self._last = disk, b""

        def write(self, fd: int, data: bytes, offset: int) -> None:
            self._last = bytes(data)
            self._disk.write(fd, data, offset)

        def pread(self, fd: int, size: int, offset: int) -> bytes:
            found, self._last = self._last, b""
            return found

        def __getattr__(self, verb: str) -> Any:
            return getattr(self._disk, verb)

    transfer, write = copying._transfer, planting._Bed._write

    def believing(disk: Any, reading: int, target: Any, writing: int, *rest: Any) -> Any:
        return transfer(disk, reading, Trusting(target), writing, *rest)

    def believing_too(bed: Any, *rest: Any) -> None:
        disk, bed.target = bed.target, Trusting(bed.target)
        try:
            write(bed, *rest)
        finally:
            bed.target = disk

    put(copying, "_transfer", believing)
    put(planting._Bed, "_write", believing_too)


@mutant("a source that changes while it is read is taken as it comes")
def _(put: Put) -> None:
    put(copying, "_is", lambda found, entry: True)
    put(settling, "is_unchanged", lambda source, path, entry: True)
    put(settling, "_torn_within_a_tick", lambda *_: [])


# -- trust


@mutant("the journal's digests are not checked")
def _(put: Put) -> None:
    put(journal, "_digest", lambda unit_id, number, kind, payload: bytes(16))


@mutant("a journal's paths may lead anywhere")
def _(put: Put) -> None:
    put(journal, "checked_path", lambda path: path)


@mutant("a journal's steps may lie below each other")
def _(put: Put) -> None:
    put(journal, "_check_antichain", _nothing)


@mutant("anybody's control directory is trusted")
def _(put: Put) -> None:
    put(access, "_check_trust", _nothing)


@mutant("directories are opened through symbolic links")
def _(put: Put) -> None:
    put(posix, "_DIR", posix._DIR & ~os.O_NOFOLLOW)


@mutant("attributes go to whatever the name leads to by now")
def _(put: Put) -> None:
    set_meta_at = PosixDisk.set_meta_at

    def unpinned(
        self: PosixDisk, at: int, name: str, uid: int, gid: int, mode: Any, mtime_ns: Any, ino: int = 0
    ) -> None:
        set_meta_at(self, at, name, uid, gid, mode, mtime_ns)

    put(PosixDisk, "set_meta_at", unpinned)


@mutant("the stage is open to everybody")
def _(put: Put) -> None:
    made = staging.Stage.__init__

    def opened(self: Any, c: Any) -> None:
        made(self, c)
        for fd in (c.fd, self.unit, self.slots):
            c.disk.set_meta(fd, -1, -1, 0o777, None)

    put(staging.Stage, "__init__", opened)
