"""Commands of the operator around a commit: one that may refuse it, one that follows it.

The check runs between the seal and the commit, in a view of the tree as it will be; the other one behind the
commit point, when the store is free again, so that it may use atomsync itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import AfterFailed, AtomSyncError, CheckFailed, Interrupted, UsageError, reported
from atomsync.sync.facts import SCHEMA, change_facts, receipt_facts
from atomsync.tree.path import shown
from atomsync.unit.events import AFTER_SEAL, Listeners

if TYPE_CHECKING:
    from atomsync.plan.change import Change
    from atomsync.store.commit import Receipt
    from atomsync.store.progress import Progress
    from atomsync.store.store import BaseStore
    from atomsync.sync.running import Ended
    from atomsync.unit.sealed import Sealed
    from atomsync.unit.work import UnitOfWork

TIMEOUT_S = 300.0
_LINES_MAX = 20
_LINE_MAX = 500
# The view shares directories with the destination, and an interpreter must not leave its caches there.
_CHECKS_ONLY = {"PYTHONDONTWRITEBYTECODE": "1"}


class Hooks(NamedTuple):
    """Commands for the shell, "" for none. ``timeout_s``: how long one may take; 0 is no limit.
    ``undo_on_failure``: a unit whose ``after`` fails is taken back by another."""

    check: str = ""
    after: str = ""
    timeout_s: float = TIMEOUT_S
    undo_on_failure: bool = False


class Place(NamedTuple):
    """The pair that hooks are told of, by absolute paths."""

    source: str
    destination: str

    @classmethod
    def of(cls, source: str, destination: str) -> Place:
        return cls(os.path.abspath(source), os.path.abspath(destination))

    def env(self, unit_id: str, counts: tuple[int, int, int]) -> dict[str, str]:
        created, updated, removed = counts
        return {
            "ATOMSYNC_SRC": self.source,
            "ATOMSYNC_DST": self.destination,
            "ATOMSYNC_UNIT": unit_id,
            "ATOMSYNC_CREATED": str(created),
            "ATOMSYNC_UPDATED": str(updated),
            "ATOMSYNC_REMOVED": str(removed),
        }


def check_hooks(hooks: Hooks, keep: int) -> None:
    """UsageError for what could never run. Loads what is needed behind the commit: another program may be
    where ours was by then."""
    for option, command in (("--check", hooks.check), ("--after", hooks.after)):
        if "\0" in command:
            raise UsageError(f"cannot use the command of {option}", "it has a NUL in it")
    if hooks.undo_on_failure and not hooks.after:
        raise UsageError("cannot undo on failure", "nothing is run that may fail", "Name it: --after CMD")
    if hooks.undo_on_failure and not keep:
        raise UsageError("cannot undo on failure", "no unit is kept", "Keep at least one: --keep 1")
    if hooks.timeout_s < 0:
        raise UsageError("cannot wait a negative time for a hook", f"{hooks.timeout_s:g} s")
    if hooks.after:
        importlib.import_module("atomsync.sync.running")
    if hooks.undo_on_failure:
        importlib.import_module("atomsync.unit.reverting")


def listeners(hooks: Hooks, place: Place, progress: Progress) -> list[Listeners]:
    """What a unit needs to be checked: its listeners."""
    if not hooks.check:
        return []
    from atomsync.sync.running import run

    heard = Listeners()

    @heard.listens_for(AFTER_SEAL)
    def check(_unit: UnitOfWork, sealed: Sealed) -> None:
        progress.phase("hook")
        with sealed.preview() as view:
            counts = sealed.counts
            told = {
                "unit": sealed.id,
                "source": place.source,
                "destination": place.destination,
                "view": view,
                **dict(zip(("created", "updated", "removed"), counts)),
            }
            env = {**place.env(sealed.id, counts), "ATOMSYNC_VIEW": view, **_CHECKS_ONLY}
            with reported("cannot run the check"):
                ended = run(
                    hooks.check,
                    cwd=view,
                    env=env,
                    told=_line("check", told, sealed.changes),
                    timeout_s=hooks.timeout_s,
                    check=progress.check,
                    leave=False,
                )
            if ended.why:
                said = _said(ended, "Nothing was committed.")
                raise CheckFailed(f"the check failed: {shown(hooks.check)}", ended.why, said)
        progress.check()

    return [heard]


def undo_unit(store: BaseStore, unit_id: str, progress: Progress) -> str:
    """Take a committed unit back by another, whose id is returned. Waits for whoever has the store. Raises
    AtomSyncError, such as GuardTripped if others have changed the same paths since."""
    from atomsync.unit.reverting import receipt_of, undo
    from atomsync.unit.store import TIMEOUT_S as STORE_TIMEOUT_S
    from atomsync.unit.store import Store

    patient = Store(store.path, store.options._replace(timeout_s=STORE_TIMEOUT_S), store.disk)
    message = f"the command after unit {unit_id} failed"
    return receipt_of(undo(patient, unit_id, message=message, progress=progress)).unit_id


def run_after(
    hooks: Hooks,
    place: Place,
    store: BaseStore,
    receipt: Receipt,
    changes: Iterable[Change],
    progress: Progress,
) -> AfterFailed | None:
    """Run the command that follows a committed unit of ``store``; how it failed, if it did.

    Raises Interrupted if a signal comes while it runs; one that came before does not stop it, since the
    unit is committed.
    """
    from atomsync.sync.running import Ended, run

    told = {"source": place.source, "destination": place.destination, **receipt_facts(receipt)}
    counts = (receipt.created, receipt.updated, receipt.removed)
    stopping = progress.stopping

    def go_on() -> None:
        with contextlib.suppress(Interrupted):  # asked all the same: it shows that we live
            progress.check()
        if progress.stopping and not stopping:
            raise Interrupted(
                f"stopped by {progress.stopping}",
                f"unit {receipt.unit_id} is committed, but the command after it was ended",
            )

    try:
        ended = run(
            hooks.after,
            cwd=place.destination,
            env=place.env(receipt.unit_id, counts),
            told=_line("after", told, changes),
            timeout_s=hooks.timeout_s,
            check=go_on,
            leave=True,
        )
    except OSError as error:
        ended = Ended(f"it cannot be run: {error.strerror or error}", b"")
    if not ended.why:
        return None
    what = f"the command after the commit failed: {shown(hooks.after)}"
    undone, became = "", f"Unit {receipt.unit_id} is committed all the same."
    if hooks.undo_on_failure:
        try:
            undone = undo_unit(store, receipt.unit_id, progress)
            became = f"Unit {receipt.unit_id} was undone, by unit {undone}."
        except AtomSyncError as error:
            became = (
                f"Unit {receipt.unit_id} is committed, and could not be undone: {error.what}: {error.why}."
            )
    failed = AfterFailed(what, ended.why, _said(ended, became))
    failed.undone = undone
    return failed


def _line(event: str, told: dict[str, object], changes: Iterable[Change]) -> bytes:
    found = [change_facts(change) for change in sorted(changes) if change.visible]
    return json.dumps({"schema": SCHEMA, "event": event, **told, "changes": found}).encode() + b"\n"


def _said(ended: Ended, became: str) -> str:
    """The hint of an error: what became of the unit, and the last lines the command said."""
    lines = ended.output.decode("utf-8", "surrogateescape").rstrip().splitlines()
    if not lines:
        return f"{became} It said nothing."
    more = f", the last {_LINES_MAX} lines" if len(lines) > _LINES_MAX else ""
    last = "".join(f"\n    {shown(line[:_LINE_MAX])}" for line in lines[-_LINES_MAX:])
    return f"{became} It said{more}:{last}"
