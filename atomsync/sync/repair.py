"""``verify --repair``: what rotted, drifted or went, staged anew from the source in one unit.

Only what the source still has as it was committed: to its digest, where one is known. What changed there
since is a push's business. What is displaced goes to the history, as in every unit.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from atomsync.errors import RootError
from atomsync.fs.posix import PosixDisk
from atomsync.fs.roots import is_dir
from atomsync.plan.change import Change
from atomsync.store.commit import Receipt
from atomsync.store.options import MEDIA
from atomsync.store.progress import Progress
from atomsync.store.rows import Rows
from atomsync.sync.compare import Comparison, Pairs
from atomsync.sync.judging import CONTENT, DRIFT, MISSING, ROT, Finding, drift_of
from atomsync.sync.look import Look, LookComparer
from atomsync.sync.origin import attributes, opened_source, ownership
from atomsync.sync.phases import Phases
from atomsync.sync.roots import check_roots
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.settle import Heard, settle_look
from atomsync.tree.entry import DIR, FILE, Entry
from atomsync.tree.filters import Filters
from atomsync.tree.path import ancestors, joined, shown
from atomsync.unit.store import Store, open_store
from atomsync.unit.work import UnitOfWork
from atomsync.watch.hint import ENTRY

_TIMEOUT_S = 30.0
_ALL_UNITS = 1 << 31  # a repair gives up nothing of the history: how much is kept, a push says
_UNFIT = {
    "gone": "SRC does not have it",
    "changed": "it changed in SRC since it was committed; push does that",
    "content": "in SRC, too, its content is another than was committed",
    "directory": "a directory is there now; move it away",
    "committed": "it was committed anew since it was looked at",
    "above": "its directory is left",
    "edited": "somebody changed it since it was looked at",
    "mended": "it is as SRC has it by now",
    "restless": "it keeps changing in SRC",
}


class Repair(NamedTuple):
    """``repaired``: paths. ``left``: path → why it was not. ``receipt`` is None if nothing could be done."""

    repaired: tuple[str, ...]
    left: dict[str, str]
    receipt: Receipt | None


class _Restorer(LookComparer):
    """Compares what was found wrong, and nothing beside it. ``left`` learns what the source cannot mend."""

    def __init__(self, *arguments: Any, found: Mapping[str, Finding], left: dict[str, str]) -> None:
        super().__init__(*arguments)
        self._found, self._left = found, left

    def _names(
        self, path: str, new: Entry, old: Entry | None, want: dict[str, Entry], have: dict[str, Entry]
    ) -> Pairs:
        names = {
            name
            for name in want.keys() | have.keys()
            if self._is_fit(joined(path, name), want.get(name), have.get(name))
        }
        return super()._names(
            path,
            new,
            old,
            {name: entry for name, entry in want.items() if name in names},
            {name: entry for name, entry in have.items() if name in names},
        )

    def _verdicts(self, path: str, want: Mapping[str, Entry], have: Mapping[str, Entry]) -> dict[str, bool]:
        """What rotted is other content, and was read already; it may not be readable at all."""
        found = {name: self._found.get(joined(path, name)) for name in want.keys() & have.keys()}
        return {name: True for name, finding in found.items() if finding and CONTENT in finding.differs}

    def _directory_metadata(self, path: str, new: Entry, old: Entry, *, touched: bool) -> None:
        """A directory in which names change gets the time it has in the source; its mode if that drifted."""
        wanted = self.rules.ownership.wanted(new, old)
        if path not in self._found or not self._is_fit(path, new, old):
            wanted = old._replace(mtime_ns=wanted.mtime_ns if touched else old.mtime_ns)
        if self.rules.ownership.may_change(old) and (touched or wanted != old):
            self.result.changes.append(Change(path, old, wanted, content=False))

    def _is_fit(self, path: str, new: Entry | None, old: Entry | None) -> bool:
        finding = self._found.get(path)
        if finding is None or finding.known is None:
            return False
        if new is None:
            self._left[path] = _UNFIT["gone"]
        elif drift_of(finding.known, self.rules.ownership.wanted(new, old)):
            self._left[path] = _UNFIT["changed"]
        elif old is not None and old.kind == DIR != new.kind:
            self._left[path] = _UNFIT["directory"]
        elif _was_edited(finding, old):
            self._left[path] = _UNFIT["edited"]
        return path not in self._left


def repair(
    source: str | os.PathLike[str],
    store: Store,
    findings: Collection[Finding],
    rows: Rows,
    *,
    filters: Filters,
    archive: bool = False,
    xattrs: bool = False,
    acls: bool = False,
    progress: Progress | None = None,
) -> Repair:
    """Commit what is to be mended in one unit of ``store``, all or nothing. EXTRA paths stay as they are.
    ``rows``: the manifest, which may have gone on since the ``findings`` were made.

    ``archive``, ``xattrs`` and ``acls`` as in ``push``. Raises as that does; then nothing was changed.
    """
    src, options = os.fspath(source), store.options
    check_roots(src, store.path, options.state_dir)
    if not is_dir(store.path):
        raise RootError(f"cannot repair {shown(store.path)}", "it does not exist")
    found = {finding.path: finding for finding in findings if finding.verdict in (ROT, DRIFT, MISSING)}
    if not found:
        return Repair((), {}, None)
    phases = Phases(progress or Progress())
    left: dict[str, str] = {}
    rules = Rules(
        filters.anew(),
        ownership(),
        attributes=attributes(acls=acls, xattrs=xattrs),
        specials=archive,
    )
    where = open_store(
        store.path, verify=MEDIA, keep=_ALL_UNITS, state_dir=options.state_dir, timeout=_TIMEOUT_S
    )
    with (
        opened_source(PosixDisk(), src) as origin,
        UnitOfWork(where, source=origin, message="verify --repair", progress=phases, exclusive=True) as unit,
    ):
        _ = unit.session.manifest  # from here on it stays as it is
        for path, finding in found.items():
            known = rows.at(path)
            if known is None or known.entry != finding.known:
                left[path] = _UNFIT["committed"]
        comparer = functools.partial(_Restorer, found=found, left=left)
        while True:
            look = Look(dict.fromkeys(found.keys() - left.keys(), ENTRY), frozenset(left))
            settled = settle_look(unit, origin, rules, look, phases, _nothing_heard, Safety(), comparer)
            changes, restless = settled[:2]
            left |= dict.fromkeys(found.keys() & set(restless) - left.keys(), _UNFIT["restless"])
            wrong = _wrong_content(unit, changes, found)
            if not wrong:
                break
            left |= dict.fromkeys(wrong, _UNFIT["content"])
        receipt = unit.commit() if changes.changes else None
    changed = {change.path for change in changes.changes}
    for path in sorted(found.keys() - changed - left.keys()):
        above = any(name in left for name in ancestors(path))
        left[path] = _UNFIT["above" if above else "gone" if found[path].verdict == MISSING else "mended"]
    return Repair(tuple(sorted(found.keys() & changed)), left, receipt)


def _was_edited(finding: Finding, now: Entry | None) -> bool:
    """Whether what is there is not what was found, and may be somebody's new work."""
    if now is None or (finding.differs == (CONTENT,) and finding.found is None):
        return False  # what cannot be read was not looked at
    return finding.found is None or bool(drift_of(finding.found, now))


def _nothing_heard(_found: Comparison) -> Heard:
    return Heard({}, frozenset())


def _wrong_content(unit: UnitOfWork, changes: Comparison, found: Mapping[str, Finding]) -> list[str]:
    """Files whose size and time in the source are right, and whose content is not."""
    return [
        change.path
        for change in changes.changes
        if change.new is not None
        and change.new.kind == FILE
        and change.content
        and (known := found[change.path].known) is not None
        and known.digest not in ("", unit.session.stage.digest_of(change.path))
    ]
