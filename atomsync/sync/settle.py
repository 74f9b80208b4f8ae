"""Compare and stage until every member of the unit was seen unchanged after the last was staged.

What is staged and still fits stays staged over the rounds.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from atomsync.errors import AccessError, GuardTripped, SourceUnstable
from atomsync.plan.guards import check_displaced, check_losses, check_mounted
from atomsync.store.content import Linked, Shared
from atomsync.store.copying import Source, digest_of, is_unchanged
from atomsync.store.progress import Progress
from atomsync.sync.compare import Comparer, Comparison
from atomsync.sync.drift import KEEP, Drifted, Reckoned, reckoned
from atomsync.sync.phases import Phases
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.touch import touch
from atomsync.tree.entry import DIR, FILE, SEEN, Entry
from atomsync.tree.filters import Filters
from atomsync.tree.path import parent_of, shown
from atomsync.tree.racy import COARSE_TICK_NS, TICK_NS, may_be_racy
from atomsync.unit.work import UnitOfWork

if TYPE_CHECKING:
    from atomsync.fs.disk import Disk
    from atomsync.plan.change import Change
    from atomsync.sync.look import Look, LookComparer

FAIL = "fail"  # the other way is "skip"
_TRIES = 4
_PAUSE_S = 0.1


class Settled(NamedTuple):
    """What was found and staged; ``skipped``: paths left as they are, for they kept changing; ``drifted``:
    what somebody else changed since the last unit, which is overwritten, or with ``kept`` left as it is."""

    found: Comparison
    skipped: tuple[str, ...]
    drifted: tuple[Drifted, ...]
    kept: bool


class Heard(NamedTuple):
    """What was heard while a unit was made. ``looks``: where else to look, for what it is about to remove
    may only have moved; ``written``: files in it that somebody writes to by now; ``stirred``: of which
    anything else was heard, so that they may have been copied in the midst of a save that is over."""

    looks: Mapping[str, int]
    written: frozenset[str]
    stirred: frozenset[str] = frozenset()


def settle(
    unit: UnitOfWork, origin: Source, rules: Rules, on_unstable: str, phases: Phases, safety: Safety
) -> Settled:
    """Everything. A source that moves is compared again, and at last refused or, with "skip", left out."""
    tolerated: set[str] = set()
    rounds = _Rounds(unit, origin, phases, safety)
    for attempt in range(1, 3 * _TRIES):
        found, unstable = rounds.run(rules, None, graft=attempt == 1)
        unstable -= tolerated
        if not unstable:
            return rounds.settled(found, {*rules.skipped, *tolerated})
        if attempt >= _TRIES:
            if on_unstable == FAIL or attempt == 3 * _TRIES - 1:
                raise _unstable(unstable)
            directories = _directories(found)
            tolerated |= unstable & directories  # taken as they were read; each member is checked itself
            rules = rules._replace(skipped=rules.skipped | (unstable - directories))
        else:
            time.sleep(_PAUSE_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def settle_look(
    unit: UnitOfWork,
    origin: Source,
    rules: Rules,
    look: Look,
    phases: Phases,
    heard: Callable[[Comparison], Heard],
    safety: Safety,
    comparer: Callable[..., LookComparer] | None = None,
) -> Settled:
    """Where ``look`` says, for a caller who hears of whatever changes meanwhile.

    So directories are taken as they were read, and a file that changes is left out at once. What was
    ``heard`` is asked last, when all is staged: a file that rests while it is copied may be half written
    all the same, by somebody who began after the batch was made.
    """
    rules = rules._replace(skipped=rules.skipped | look.held)
    known = rules.skipped
    unstable: set[str] = set()
    rounds = _Rounds(unit, origin, phases, safety, comparer)
    for _ in range(3 * _TRIES):
        found, unstable = rounds.run(rules, look)
        unstable -= _directories(found) | set(found.unstable)
        looks, written, stirred = heard(found)
        unstable |= written - rules.skipped
        unstable.update(_changed(origin, (change for change in found.changes if change.path in stirred)))
        missed = {path: reach for path, reach in looks.items() if look.reaches.get(path, -1) < reach}
        if not unstable and not missed:
            return rounds.settled(found, rules.skipped - known)
        rules = rules._replace(skipped=rules.skipped | unstable)
        look = look._replace(reaches={**look.reaches, **missed})
    raise _unstable(unstable)


class _Rounds:
    """Compares and stages, as often as it takes."""

    def __init__(
        self,
        unit: UnitOfWork,
        origin: Source,
        phases: Phases,
        safety: Safety,
        comparer: Callable[..., LookComparer] | None = None,
    ) -> None:
        self._unit, self._origin, self._phases, self._safety = unit, origin, phases, safety
        self._comparer = comparer
        self._reckoned: Reckoned | None = None

    def settled(self, found: Comparison, skipped: Collection[str]) -> Settled:
        drift = self._reckoned.drifted if self._reckoned else ()
        return Settled(found, tuple(sorted(skipped)), drift, self._safety.on_drift == KEEP)

    def run(self, rules: Rules, look: Look | None, *, graft: bool = False) -> tuple[Comparison, set[str]]:
        """Compare and stage once; what of it turned out to be unstable. ``graft``: what does not go well then
        is to be tried again without."""
        unit, origin, phases = self._unit, self._origin, self._phases
        phases.phase("scan")
        began_ns = time.time_ns()
        compare = functools.partial(self._compared, rules, look, began_ns, graft)
        unit.session.stay_behind()  # of the last try
        manifest = unit.session.manifest
        self._reckoned = reckoned(compare, manifest, self._safety.on_drift, self._reckoned)
        found = self._reckoned.found
        self._check(found, rules, look)
        unit.expunge_all()
        unit._register_all(found.changes, found.grafts)
        _register_links(unit, found, phases)
        if look is not None and rules.delete:
            _take_along(unit, origin, found, look, phases)
        touched = touch(unit, rules.touch, found.changes)
        try:
            unit._flush()
        except AccessError as error:
            if error.path is not None:
                error.also = _unreadable(origin, found)
            raise
        unit._write_ahead()
        phases.phase("check")
        young = _torn_within_a_tick(unit, origin, found, began_ns, phases)
        unit.checked_ns = time.time_ns()
        unstable = {*young, *found.unstable, *unit.unstable, *_moved(origin, found, phases)}
        if touched is not None:  # only now: the source has no part in it
            found.changes.append(touched)
        return found, unstable

    def _compared(
        self, rules: Rules, look: Look | None, now_ns: int, graft: bool, kept: frozenset[str]
    ) -> Comparison:
        session, origin = self._unit.session, self._origin
        step_ns = session.manifest.time_step_ns
        rules = rules._replace(
            ownership=rules.ownership._replace(time_step_ns=step_ns), skipped=rules.skipped | kept
        )
        racy = session.manifest.racy()
        both = origin.cursor, session.control.tree
        if look is None:
            disk = session.control.disk
            compare = functools.partial(
                Comparer, *both, rules, racy, now_ns, self._phases, functools.partial(origin.second, disk)
            )
            found = compare(functools.partial(_grafted, origin, disk) if graft else None).run()
            if any(map(session.manifest.has_below, found.grafts)):  # somebody took it away: name by name
                found = compare().run()
        else:
            origin.cursor.close()  # it may stand where something else is by now
            from atomsync.sync.look import LookComparer

            comparer = (self._comparer or LookComparer)(*both, rules, racy, now_ns, self._phases)
            found = comparer.compare(look)
            if comparer.links is not None and comparer.links.members:  # its other names may be anywhere
                origin.cursor.close()
                found = Comparer(*both, rules, racy, now_ns, self._phases).run()
        if found.settled:
            session.manifest.settle(found.settled)
        return found

    def _check(self, found: Comparison, rules: Rules, look: Look | None) -> None:
        if self._safety.agreed is not None:
            self._safety.agreed(found.all)
        wary = look is not None and look.wary
        try:
            check_taken(self._origin, found, rules, self._safety, wary=wary)
        except GuardTripped:
            if look is None:
                raise
            known = self._in_scope(rules.filters)  # a look does not see what stays
            check_taken(self._origin, found, rules, self._safety, known, wary=wary)

    def _in_scope(self, filters: Filters) -> int:
        """How many entries the destination has, as far as the manifest knows, that are not excluded."""
        outside: set[str] = set()
        inside = 0
        for path, is_dir in self._unit.session.manifest.paths():
            if parent_of(path) in outside or filters.excludes(path, is_dir=is_dir):
                outside.add(path)
            else:
                inside += 1
        return inside


def _grafted(origin: Source, target: Disk, *what: Any) -> Any:
    from atomsync.sync.grafting import grafted

    return grafted(origin, target, *what)


def check_taken(
    origin: Source, found: Comparison, rules: Rules, safety: Safety, known: int = 0, *, wary: bool = False
) -> None:
    """The guards that ask what a unit would take away, of at least ``known`` entries. Raises GuardTripped,
    RootReplaced."""
    removes = any(change.new is None for change in found.changes)
    changes = found.all if removes else found.changes  # what comes may be what goes
    check_mounted(changes, safety.lost)
    # A directory that only gets back the time it had counts as unchanged already; the root is no entry of it.
    met = sum(
        old is not None and path != "" and (new is None or new[:SEEN] != old[:SEEN])
        for path, old, new, _ in changes
    )
    there = found.unchanged + met
    empty = removes and not origin.disk.scandir(origin.root)
    check_losses(
        changes, max(there, known), safety.limit, source_is_empty=empty, even_all=safety.even_all, wary=wary
    )
    check_displaced(changes, found.protected, delete=rules.delete)


def _register_links(unit: UnitOfWork, found: Comparison, phases: Progress) -> None:
    """What is to be a second name, with the digest of the file it is one of, where that is there already."""
    session = unit.session
    digests: dict[str, str] = {}
    for change in found.changes if found.contents else ():
        content = found.contents.get(change.path)
        if content is None or change.new is None:
            continue
        new = change.new
        if isinstance(content, Linked):
            if content.path not in digests:
                tree = Source(session.control.disk, session.control.root, session.control.tree)
                known = session.manifest.digest(content.path)
                digests[content.path] = known or digest_of(tree, content.path, phases.check)
            new = new._replace(digest=digests[content.path])
        unit.register(change._replace(new=new), content)


def _take_along(unit: UnitOfWork, origin: Source, found: Comparison, look: Look, phases: Progress) -> None:
    """A file that moved gets a second name at the destination instead of a copy, if it still is what was
    committed by its old name, to the digest, and that name goes or gets something else in this unit.

    Where no event told of the move, a file that goes and one that comes with the same size and times are
    taken for a pair; the digest shows whether they are.
    """
    session = unit.session
    goes = {change.path: change for change in found.changes if _is_file(change.old) and change.content}
    if not goes or not session.control.capabilities.link:
        return
    firsts = {content.path for content in found.contents.values() if isinstance(content, Shared)}
    linked = firsts.union(found.contents)  # these have their inode by what their other names are
    alike = {change.old[:SEEN]: path for path, change in goes.items() if change.old and change.new is None}
    for change in found.changes:
        if change.new is None or not _is_file(change.new) or not change.content:
            continue
        path = change.path
        if path in linked:
            continue
        before = look.before(path)
        if before not in goes:
            before = alike.get(change.new[:SEEN], "")
        gone = goes.get(before)
        if gone is None or gone.old is None:
            continue
        digest = session.manifest.digest(before)
        if not digest or gone.old[:SEEN] != change.new[:SEEN]:
            continue
        if digest_of(origin, path, phases.check) == digest:
            unit.register(change._replace(new=change.new._replace(digest=digest)), Linked(before))
            del goes[before]  # two files that were one must not share an inode


def _unreadable(origin: Source, found: Comparison) -> tuple[str, ...]:
    """Every file of a unit that may not be read: who leaves such out need not come back for each."""
    refused = []
    for change in found.all:
        if _is_file(change.new) and change.content:
            try:
                origin.disk.close(origin.disk.open_file(*origin.cursor.split(change.path)))
            except PermissionError:
                refused.append(change.path)
            except OSError:
                pass
    return tuple(refused)


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == FILE


def _directories(found: Comparison) -> set[str]:
    names = {change.path for change in found.changes if change.new and change.new.kind == DIR}
    return names | {path for path, _ in found.scanned}


def _torn_within_a_tick(
    unit: UnitOfWork, origin: Source, found: Comparison, began_ns: int, progress: Progress
) -> list[str]:
    """Files changed so shortly before they were copied that a change meanwhile need not show in their
    times. Waits until their tick is over, and reads them once more; what differs is staged again."""
    files = [
        *((change.path, change.new) for change in found.changes if change.new and change.content),
        *(each for graft in found.grafts.values() for each in graft.changed_since(began_ns - COARSE_TICK_NS)),
    ]
    young = [
        (path, entry) for path, entry in files if entry.kind == FILE and may_be_racy(entry.ctime_ns, began_ns)
    ]
    if not young:
        return []
    # A stamp from the future (a clock set back) is never over: wait a tick at most.
    over_ns = time.time_ns() + COARSE_TICK_NS
    while any(may_be_racy(entry.ctime_ns, now := time.time_ns()) and now < over_ns for _, entry in young):
        progress.check()
        time.sleep(TICK_NS / 1e9)
    staged = unit.session.stage
    torn = [path for path, _ in young if digest_of(origin, path, progress.check) != staged.digest_of(path)]
    for path in torn:
        staged.forget(path)
    return torn


def _moved(origin: Source, found: Comparison, progress: Progress) -> Iterator[str]:
    yield from _changed(origin, found.changes)
    if found.grafts:
        from atomsync.sync.grafting import moved_in_grafts

        yield from moved_in_grafts(origin, found.grafts.values(), progress)
    if any(change.new is None for change in found.changes):
        for path, entry in found.scanned:
            if not is_unchanged(origin, path, entry):
                yield path
    progress.check()


def _changed(origin: Source, changes: Iterable[Change]) -> Iterator[str]:
    """The paths that are not as they were read any more."""
    origin.cursor.close()  # walk anew: a directory on the way may have been replaced since
    for path, _, new, _ in changes:
        if new is not None and not is_unchanged(origin, path, new):
            yield path


def _unstable(paths: Collection[str]) -> SourceUnstable:
    first = sorted(paths)[:10]
    more = f" and {len(paths) - 10:,} more" if len(paths) > 10 else ""
    return SourceUnstable(
        "the source kept changing while it was staged",
        ", ".join(shown(path or ".") for path in first) + more,
        "Nothing was committed. Run it when the writer rests, or leave these out: --on-unstable skip",
    )
