"""What goes on at a destination while its power is about to go: pushes, undisturbed and disturbed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from atomsync.fs.disk import Disk
from atomsync.store import commit, sibling, store
from atomsync.sync.push import push
from atomsync.testing import Hook, HookedDisk
from atomsync.unit.store import open_store
from tests.proof.mounting import in_child
from tests.proof.scenario import Scenario

OLD, NEW = "old", "new"
_DIED = 9
_NAMING = {"exchange", "rename_new", "replace", "unlink", "rmdir", "set_meta_at"}
_BTRFS_START_SYNC, _BTRFS_WAIT_SYNC = 0x80089418, 0x40089416
Workload = Callable[[Path, Callable[[str], object]], None]
"""Given the root of the filesystem, and what to say ``OLD`` or ``NEW`` with as soon as the product has
promised it: from then on a power cut must leave that. Runs in a forked process."""


def build(root: Path, *, small: bool, missing: bool = False) -> None:
    """A scenario whose destination has a history and a manifest already, or is ``missing``."""
    scenario = Scenario(root, small=small)
    scenario.build()
    if missing:
        shutil.rmtree(scenario.dst)
        return
    earlier = root / "earlier"
    earlier.mkdir()
    (earlier / "pushed-earlier").write_bytes(b"by a unit that is in the history")
    push(earlier, root / "dst")


def pushed(root: Path, say: Callable[[str], object]) -> None:
    """The promise begins at the commit point: what tidies up behind it syncs files of its own, and with them
    what the barriers should have."""
    to_its_commit_point = commit.commit

    def committed(*arguments: Any) -> Any:
        result = to_its_commit_point(*arguments)
        say(NEW)
        return result

    commit.commit = committed  # type: ignore[assignment]
    push(root / "src", root / "dst", delete=True)
    say(NEW)


def pushed_anew(root: Path, say: Callable[[str], object]) -> None:
    """There is no destination: the promise begins when its name is durable."""
    settle = sibling.Sibling.settle

    def settled(new: Any, control: Any, *, durable: bool) -> None:
        settle(new, control, durable=durable)
        say(NEW)

    sibling.Sibling.settle = settled  # type: ignore[method-assign]
    push(root / "src", root / "dst", delete=True)


def pushed_anew_beside_a_neighbour(root: Path, say: Callable[[str], object]) -> None:
    store.PosixDisk = partial(HookedDisk, _neighbour(root))  # type: ignore[assignment, attr-defined]
    pushed_anew(root, say)


def pushed_beside_a_neighbour(root: Path, say: Callable[[str], object]) -> None:
    pushed_with(_neighbour(root), root, say)


def recovered(root: Path, say: Callable[[str], object], disk: Disk | None = None) -> None:
    open_store(root / "dst", disk=disk).recover()
    say(NEW if (root / "dst/made").exists() else OLD)


def recovered_beside_a_neighbour(root: Path, say: Callable[[str], object]) -> None:
    recovered(root, say, HookedDisk(_neighbour(root)))


def killed_at_commit_then_recovered(root: Path, say: Callable[[str], object]) -> None:
    """The dead process has written COMMIT, but not synced it: recovery reads it from the page cache, and
    must not say that the unit is finished before it is."""
    verbs: list[tuple[str, str]] = [("", "")]

    def die(index: int, verb: str, names: tuple[str, ...]) -> None:
        verbs.append((verbs[-1][1], verb))
        if verbs.count(("write", "fsync")) == 2:  # the first is the journal's draft
            os._exit(_DIED)

    assert in_child(partial(pushed_with, die, root, say)) == _DIED
    recovered(root, say)


def pushed_with(hook: Hook, root: Path, say: Callable[[str], object]) -> None:
    """The push with a hook before each of its verbs. For a process of its own: nothing is put back."""
    store.PosixDisk = partial(HookedDisk, hook)  # type: ignore[assignment, attr-defined]
    pushed(root, say)


def verbs_of_a_push(root: Path) -> list[str]:
    """The verbs of the push, in order; it really happens."""
    log = root.parent / "verbs"
    with log.open("w") as file:
        in_child(partial(pushed_with, lambda _, verb, __: print(verb, file=file, flush=True), root, str))
    return log.read_text().split()


def _neighbour(root: Path) -> Hook:
    """Before every change of a name another program makes the filesystem commit its journal, as its timer
    would some day: every intermediate state reaches the medium."""
    file = (root / "neighbour").open("wb", buffering=0)

    def commit_journal(index: int, verb: str, names: tuple[str, ...]) -> None:
        if verb in _NAMING:
            file.write(b"a line\n")
            os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # ENOTTY: only btrfs needs it, where fsync has its own log
                fcntl.ioctl(file, _BTRFS_START_SYNC, transaction := bytearray(8))
                fcntl.ioctl(file, _BTRFS_WAIT_SYNC, transaction)

    return commit_journal
