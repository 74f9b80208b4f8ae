"""One unit's visit to a store: recovered, staged, and for its commit alone with it."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from atomsync.errors import (
    AtomSyncError,
    DiskError,
    InDoubt,
    NoSpace,
    RootReplaced,
    StoreLocked,
    from_oserror,
    reported,
)
from atomsync.fs.disk import Space
from atomsync.plan.guards import (
    bytes_entering,
    bytes_in,
    check_collapse,
    check_mounts,
    check_names,
    check_space,
    space_needed,
)
from atomsync.plan.plan import Plan
from atomsync.plan.step import CREATE, Step
from atomsync.store import commit as committing
from atomsync.store.abandoned import NO_LOCKS
from atomsync.store.about import About, recorded
from atomsync.store.adoption import others
from atomsync.store.commit import Receipt
from atomsync.store.content import Content
from atomsync.store.control import PENDING, Control
from atomsync.store.copying import Source
from atomsync.store.history import new_id, retire_to_history
from atomsync.store.journal import Header
from atomsync.store.letting_go import let_go
from atomsync.store.lock import waiting
from atomsync.store.looks import WORTH_STEPS
from atomsync.store.manifest import Manifest
from atomsync.store.options import FULL
from atomsync.store.prepared import check_not_held, commit_prepared
from atomsync.store.progress import Progress
from atomsync.store.recovery import CLEAN, Recovery, recover
from atomsync.store.retention import Usage, foreseen, give_up, oldest_for, prune
from atomsync.store.seal import SealedUnit, seal
from atomsync.store.spared import bytes_spared
from atomsync.store.staging import Stage
from atomsync.store.writable import check_writable
from atomsync.tree.path import shown

if TYPE_CHECKING:
    from atomsync.fs.second import Second
    from atomsync.store.ahead import Ahead
    from atomsync.store.leaving import Leaving
    from atomsync.store.sibling import Sibling
    from atomsync.store.store import BaseStore


WORTH_NAMES = 1_000
"""With so many names in it a unit is followed in the manifest by the second process."""


class Session:
    """A unit's visit to a store. ``recovery`` says what was found, ``control.tree`` reads the destination."""

    def __init__(
        self,
        store: BaseStore,
        control: Control,
        progress: Progress,
        made_root: bool,
        exclusive: bool,
        sibling: Sibling | None = None,
    ) -> None:
        self.store, self.control, self.progress = store, control, progress
        self.recovery = Recovery(CLEAN)
        self.exclusive = exclusive
        self.committed = False
        self._news = False
        self._warnings: list[str] = []
        self._made_root = made_root
        self._sibling = sibling
        self._manifest: Manifest | None = None
        self._stage: Stage | None = None
        self._source: Source | None = None
        self._ahead: Ahead | None = None
        self._leaving: Leaving | None = None

    def lock(self, until: float, *, but: str = "") -> None:
        """The store is ours alone, and recovered. Raises StoreLocked if it cannot be had ``until`` then,
        RootReplaced if it is not where it was."""
        try:
            self.take(until, but=but)
        except FileNotFoundError as error:
            why = error.strerror or str(error)
            raise RootReplaced(f"cannot use {shown(self.store.path)} any more", why) from None
        except OSError as error:
            raise from_oserror(error, f"cannot use {shown(self.store.path)}") from None

    def take(self, until: float, *, but: str = "") -> None:
        """``lock``, but what the system refuses comes as it is: what is being made may be tried again."""
        lock = functools.partial(self.control.lock, brief=not self.exclusive)
        waiting(until, lock, patient=self.exclusive)
        try:
            self.control.claim(make=True)
            self.recovery = recover(self.control, self.store.options.resolver, but=but)
            self._news = True
        except BaseException:
            self.control.unlock()
            raise

    def begin(self, until: float) -> None:
        """Go on without the lock. The stage is made now: from here on nobody takes the store away."""
        if self.control.locked:
            with self.control.opened(PENDING, make=True):
                pass
        self.unlock()
        try:
            self._stage = Stage(self.control)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.take(until)  # who could tell whose stage it is?

    def unlock(self) -> None:
        """Others may have the store; listeners, too, so only now they are told what was recovered."""
        self.control.unlock()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, False
        if news and (self.recovery.action != CLEAN or self.recovery.settled):
            try:
                self.store.recovered(self.recovery)
            except Exception as error:  # none of this unit's business
                warnings.warn(f"a listener to recovery failed: {error!r}", RuntimeWarning, stacklevel=2)

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            try:
                self._manifest = Manifest(self.control, durable=self.store.options.durability == FULL)
            except OSError as error:
                raise from_oserror(error, f"cannot use {shown(self.store.path)}") from None
        return self._manifest

    @property
    def stage(self) -> Stage:
        """The stage of the unit at hand, made when first asked for."""
        if self._stage is None:
            try:
                self._stage = Stage(self.control)
            except OSError as error:
                raise from_oserror(error, f"cannot stage in {shown(self.store.path)}") from None
        return self._stage

    def check(self, plan: Plan, source: Source | None = None, needed: Collection[str] = ()) -> None:
        """The guards every plan must pass, before anything is staged. Where it would not fit, units of the
        history are given up for it, but for the ``needed`` ones."""
        with reported(f"cannot use {shown(self.store.path)}"):
            space = self.store.disk.space(self.control.root)
        check_names(plan.steps, space.name_max)
        if self._stage is None or self._stage.is_empty:  # what is staged already has its space
            self._check_space(plan, source, space, needed)
        check_mounts(plan.steps, self.store.mounts())
        if self.control.locked:
            self._check_names_differ(plan)
        check_writable(self.control, plan.steps)

    def _check_names_differ(self, plan: Plan) -> None:
        """Only under the lock can the filesystem be asked."""
        if any(step.kind == CREATE or step.inside for step in plan.steps):
            with reported(f"cannot use {shown(self.store.path)}"):
                check_collapse(plan.steps, self.control.folding)

    def _check_space(self, plan: Plan, source: Source | None, space: Space, needed: Collection[str]) -> None:
        try:
            check_space(plan.steps, space)
        except NoSpace:
            spared = 0
            if source is not None:
                with reported(f"cannot stage in {shown(self.store.path)}"):
                    spared = bytes_spared(self.stage, source, plan.steps)
            try:
                check_space(plan.steps, space, spared)
            except NoSpace:
                self._make_room(plan, space, spared, needed)

    def _make_room(self, plan: Plan, space: Space, spared: int, needed: Collection[str]) -> None:
        """Raises NoSpace if that cannot be helped; then nothing is given up."""
        was_locked = self.control.locked
        if not was_locked:
            self.lock(time.monotonic() + self.store.options.timeout_s)
        try:
            with reported(f"cannot make room in {shown(self.store.path)}"):
                bytes_needed, inodes_needed = space_needed(plan.steps, space)
                inodes_free = inodes_needed if space.inodes_free is None else space.inodes_free
                wanted = Usage(bytes_needed - spared - space.bytes_free, inodes_needed - inodes_free)
                given_up = oldest_for(self.control, wanted, self.store.usage, needed)
                if given_up:
                    self._warnings += give_up(self.control, given_up)
                    told = f"given up, for its space was needed: {', '.join(given_up)}"
                    self._warnings.append(f"the oldest of the history were {told}")
                    self.store.disk.syncfs(self.control.fd)  # btrfs frees nothing before
                    space = self.store.disk.space(self.control.root)
        finally:
            if not was_locked:
                self.unlock()
        check_space(plan.steps, space, spared)

    def flush(
        self, plan: Plan, source: Source | None, contents: Mapping[str, Content], kept: Collection[str]
    ) -> tuple[Plan, list[str]]:
        """Stage and verify; see ``Stage.stage``."""
        self.stay_behind()
        self._source = source
        self.progress.phase("stage", *bytes_entering(plan.steps))
        try:
            return self.stage.stage(plan, source, contents, kept, self.progress)
        except OSError as error:
            raise from_oserror(error, f"cannot stage in {shown(self.store.path)}") from None

    def seal(
        self,
        plan: Plan,
        *,
        checked_ns: int | None = None,
        message: str = "",
        coordinator: str | None = None,
        about: About = MappingProxyType({}),
    ) -> SealedUnit:
        """See ``seal.seal``. ``checked_ns``: when the sources were last seen unchanged. With a
        ``coordinator`` the unit then rests as prepared. ``about``: see there. Needs the lock."""
        self.progress.phase("seal")
        if self._ahead is not None and self._ahead.plan is not plan:
            self.stay_behind()
        if not self.exclusive:
            self._check_names_differ(plan)
        now = time.time_ns()
        checked = now if checked_ns is None else checked_ns
        known = recorded(about)
        header = Header(
            new_id(self.control, now), now, checked, message, coordinator=coordinator, about=known
        )
        options = self.store.options
        try:
            check_not_held(self.control, plan.steps, self.store.held)
            if header.coordinator is not None:
                self.stay_behind()
                self._take_place()  # it may rest for long, and is asked for there
            return seal(
                self.control,
                self.stage,
                plan,
                header,
                self.progress,
                durability=options.durability,
                verify=options.verify,
                second=self._second_for(len(plan.steps)),
            )
        except OSError as error:
            raise from_oserror(error, f"cannot seal a unit in {shown(self.store.path)}") from None

    @contextlib.contextmanager
    def preview(self, sealed: SealedUnit) -> Iterator[str]:
        """See ``preview.laid_out``."""
        from atomsync.store.preview import laid_out

        with contextlib.ExitStack() as stack:
            what = f"cannot show what unit {sealed.header.id} makes of {shown(self.store.path)}"
            with reported(what):
                link_old = not self.store.copies_for_a_link()
                view = laid_out(
                    self.control, self.stage, sealed.steps, self.progress.check, link_old=link_old
                )
                path = stack.enter_context(view)
            yield path
            with reported(what):
                stack.close()

    def commit(self, sealed: SealedUnit) -> Receipt:
        """See ``commit.commit``. Behind the commit point nothing fails: it becomes a warning."""
        self.progress.phase("commit")
        stage = self.stage
        self._stage = None  # whatever happens now, this stage is not for discarding any more
        try:
            swap_class, window_ms = committing.commit(self.control, stage, sealed)
        except OSError as error:
            raise from_oserror(error, f"cannot commit a unit in {shown(self.store.path)}") from None
        except InDoubt as error:
            if self._sibling is None:
                raise
            self.control.deciding = False  # there is no doubt: it never comes to its place
            raise DiskError(error.what, error.why, "Nothing of the unit is there.") from None
        finally:
            stage.close()
        self.committed = self._sibling is None
        warnings = [*self._warnings, *self._retire(sealed)]
        if self._sibling is not None:
            window_ms = 0.0  # nobody saw the swaps
            self._take_place()
            self.committed = True
        return Receipt(
            sealed.header.id,
            *committing.counts(sealed.steps),
            stage.bytes_staged,
            window_ms,
            swap_class,
            sealed.durability,
            tuple(warnings),
        )

    def _take_place(self) -> None:
        """What was made beside the destination's place is there from now on."""
        sibling = self._sibling
        if sibling is None:
            return
        if self._manifest is not None:  # SQLite knows its files by their paths
            self._manifest.close()
            self._manifest = None
        self.control.deciding = True
        try:
            sibling.take_place(self.control)
        except AtomSyncError:
            self.control.deciding = False
            raise
        self._sibling, self._made_root = None, True
        try:
            sibling.settle(self.control, durable=self.store.options.durability == FULL)
        finally:
            sibling.close()

    def commit_prepared(self, unit_id: str) -> Receipt:
        """See ``prepared.commit_prepared``. Needs the lock."""
        durability = self.store.options.durability
        conflicts, window_ms, journal = commit_prepared(self.control, unit_id, durability=durability)
        warnings = [str(conflict) for conflict in conflicts]
        try:
            # Opened first: it follows the new unit, and those it has not seen, before any is given up.
            _ = self.manifest
            warnings += self._prune(unit_id)
        except Exception as error:  # whatever it is: the unit is committed
            warnings.append(f"the unit is committed, but tidying up after it failed: {error}")
        return self.receipt(journal.header, journal.steps, window_ms, warnings)

    def leave(self) -> Stage:
        """Hand over the stage of a prepared unit: for as long as it is open, it is known to be cared for."""
        stage, self._stage = self.stage, None
        stage.rest()
        self.committed = True  # the store is there to stay
        return stage

    def receipt(
        self, header: Header, steps: tuple[Step, ...], window_ms: float, warnings: Iterable[str] = ()
    ) -> Receipt:
        """Of a prepared unit that is committed."""
        swap_class = self.control.capabilities.swap_class
        durability = self.store.options.durability
        staged = bytes_in(steps)
        return Receipt(
            header.id, *committing.counts(steps), staged, window_ms, swap_class, durability, tuple(warnings)
        )

    def reset(self, kept: Collection[str]) -> None:
        """Nothing is staged any more, but for the contents in ``kept``."""
        if self._stage is not None:
            self._stage.reset(kept)

    def discard(self) -> None:
        """Forget what was staged. The destination never saw it."""
        self.stay_behind()
        stage, self._stage = self._stage, None
        if stage is not None:
            try:
                stage.discard()
            except OSError as error:
                raise from_oserror(error, f"cannot tidy up in {shown(self.store.path)}") from None

    def close(self) -> None:
        with contextlib.suppress(AtomSyncError):  # what stays behind, the next session discards
            self.discard()
        if self._leaving is not None:
            self._leaving.close()
        if self._manifest is not None:
            self._manifest.close()
        if self._sibling is not None:
            with contextlib.suppress(OSError, AtomSyncError):  # then the next one who comes removes it
                self._sibling.remove(self.control)
            self._sibling.close()
        if self.committed or self._sibling is not None:
            self.control.close()
            self._tell()
            return
        if not self.control.locked and (self._made_root or self.control.made_ns is not None):
            with contextlib.suppress(StoreLocked, OSError):  # then a trace stays; it does no harm
                self.control.lock()
        self.control.unmake(root=self._made_root)
        self._tell()

    def let_go(self) -> None:
        """In a child of the process whose session it is: let go of it without a word to anybody."""
        if self._stage is not None:
            self._stage.let_go()
        self.control.let_go()
        if self._sibling is not None:
            self._sibling.close()

    def write_ahead(self, plan: Plan, checked_ns: int) -> None:
        """Have the second process follow a staged ``plan`` in the manifest, and read of the unit that its
        commit will push out of the history, while that is checked and committed. ``checked_ns``: behind the
        staging, and before the sources were last seen unchanged."""
        if self._source is None or not _is_worth_it(plan.steps):
            return
        from atomsync.store.ahead import Ahead

        with contextlib.suppress(OSError, ValueError):  # the seal meets it too; or a path is no plain text
            sync, whole = self.manifest.sync, self.control.capabilities.time_step_ns == 1
            second = self._source.second(self.control.disk)
            if second is None:
                return
            if whole and sync is not None:
                self._ahead = Ahead(second, self.control.fd, plan, self.stage.digest_of, checked_ns, sync)
            keep, keep_bytes = self.store.options.keep, self.store.options.keep_bytes
            if self._leaving is None and self.control.locked and keep_bytes is None:
                oldest = foreseen(self.control, keep)
                if oldest is not None:
                    from atomsync.store.leaving import Leaving

                    self._leaving = Leaving(second, self.control, oldest)

    def _second_for(self, steps: int) -> Second | None:
        """The second process, if there is one and so many steps are worth it."""
        if self._source is None or steps < WORTH_STEPS:
            return None
        return self._source.second(self.control.disk)

    def stay_behind(self) -> None:
        """Have nobody write ahead any more: while somebody does, the manifest is not ours to write to."""
        if self._ahead is not None:
            self._ahead.abandon()
            self._ahead = None

    def _retire(self, sealed: SealedUnit) -> Iterable[str]:
        """(8)"""
        try:
            manifest = self.manifest  # opened first: it would read a unit that has retired from its journal
            if let_go(self.control, sealed.header, sealed.steps):
                self.store.usage.clear()
            retire_to_history(self.control, sealed.header.id)
            time_step_ns = self.control.capabilities.time_step_ns
            adopted = None
            if self.exclusive and manifest.is_new:  # who does not lock at once has not looked at everything
                adopted = functools.partial(others, self.control.tree, sealed.steps)
            ahead, steps = self._ahead, sealed.steps
            if ahead is not None:
                steps = ahead.finish(steps, sealed.header.checked_ns)
            manifest.apply(sealed.header, steps, time_step_ns, adopted)
            yield from self._prune(sealed.header.id)
        except Exception as error:  # whatever it is: the unit is committed
            yield f"the unit is committed, but tidying up after it failed: {error}"

    def _prune(self, unit_id: str) -> Iterable[str]:
        """Give up what is beyond the limits of the history; ``unit_id`` was just committed."""
        options = self.store.options
        limits = options.keep, options.keep_bytes
        given_up, warnings = prune(self.control, *limits, self.store.usage, self._leaving)
        yield from warnings
        if unit_id in given_up and options.keep:
            yield "what it displaced is more than may be kept: it cannot be undone"


def _is_worth_it(steps: Collection[Step]) -> bool:
    return len(steps) >= WORTH_NAMES or sum(1 + len(step.inside) for step in steps) >= WORTH_NAMES
