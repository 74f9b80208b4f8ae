"""One batch from SRC to DST, as one unit: what ``watch`` does with what it heard."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection

from atomsync.errors import AfterFailed, Interrupted, RootReplaced
from atomsync.follow.ground import Ground
from atomsync.follow.watching import WatchOptions
from atomsync.fs.capabilities import Capabilities
from atomsync.fs.identity import identity
from atomsync.fs.posix import PosixDisk
from atomsync.plan.limit import NO_LIMIT, limit_of
from atomsync.store.progress import Progress
from atomsync.sync.compare import Comparison
from atomsync.sync.hooks import Place, check_hooks, listeners
from atomsync.sync.known import about, check_known, check_store
from atomsync.sync.look import Look
from atomsync.sync.origin import attributes, opened_source, ownership
from atomsync.sync.phases import Phases
from atomsync.sync.push import committed, followed, later
from atomsync.sync.report import Report
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.settle import Heard, settle_look
from atomsync.sync.touch import check_touch
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork
from atomsync.watch.batching import Batch
from atomsync.watch.hint import TREE

_MANY = 10_000
Since = Callable[[Batch, Comparison], Heard]


class Carrier:
    """``since`` is asked, before a commit, what was heard since the batch was made."""

    def __init__(
        self,
        source: str,
        destination: str,
        options: WatchOptions,
        ground: Ground,
        since: Since,
        progress: Progress,
    ) -> None:
        self._source, self._options, self._ground = source, options, ground
        self._since, self._progress = since, progress
        self._place = Place.of(source, destination)
        check_hooks(options.hooks, options.keep)
        check_touch(options.touch)
        self._time_step_ns = 1
        self._able: Capabilities | None = None  # of the destination stood on
        self._order = later(options.last)
        self._safety = Safety(limit_of(options.max_delete), options.on_drift).checked()
        self._accepts_roots, self._accepts_losses = options.accept_roots, False
        self._store = open_store(
            destination,
            durability=options.durability,
            verify=options.verify,
            keep=options.keep,
            keep_bytes=options.keep_bytes,
            state_dir=options.state_dir,
            timeout=0,
        )

    def carry(self, batch: Batch, skipped: Collection[str], *, resting: bool) -> Report:
        """Commit what ``batch`` points to, but for ``skipped``. ``resting``: only what rests, as far as the
        batch does not say otherwise. Raises AtomSyncError; RootReplaced if SRC or DST is not what it was."""
        options = self._options
        wary = self._ground.is_other_source
        look = Look(batch.looks, batch.held, batch.moves, options.batch_bytes, wary)
        phases = Phases(self._progress)
        heard_seal = listeners(options.hooks, self._place, phases)
        self._must_stand()  # before the store is opened: where none is, one would be made
        if options.expect_store and self._ground.destination is None:
            check_store(self._store)
        with (
            opened_source(PosixDisk(), self._source) as origin,
            UnitOfWork(
                self._store,
                source=origin,
                message=options.message,
                progress=phases,
                exclusive=True,
                last=self._order,
                listeners=heard_seal,
            ) as unit,
        ):
            self._ground.must_be_source(origin.root)
            control = unit.session.control
            fresh = control.made_ns is not None
            self._ground.must_be_destination(control.root, fresh=fresh)
            if self._ground.destination is not None and self._able is not None:
                control.adopt(self._able)
            unit.about = about(self._source, origin.root, control.root)
            safety = self._safety
            if self._accepts_losses:
                safety = safety._replace(limit=NO_LIMIT, even_all=True)
            if self._ground.destination is None and not self._accepts_roots:
                lost = check_known(unit.session.manifest, unit.about, self._store.path)
                safety = safety._replace(lost=lost)
            rules = self.rules(skipped, resting=resting)

            def heard(found: Comparison) -> Heard:
                self._must_stand()
                since = self._since(batch, found)
                return since if resting else since._replace(written=frozenset())

            settled = settle_look(unit, origin, rules, look, phases, heard, safety)
            self._time_step_ns = unit.session.manifest.time_step_ns
            self._able = control.capabilities
            found = self._ground.destination or identity(control.root)
            report = committed(unit, settled, phases)
            self._accepts_losses = False
        if batch.looks.get("") == TREE:
            self._ground.is_other_source = False
        if not fresh or (report.receipt and report.receipt.unit_id):  # else it was unmade again
            self._ground.destination = found
        try:
            report = followed(report, options.hooks, self._place, self._store, self._progress)
        except Interrupted as stopped:  # the unit is to be told of all the same
            report = report._replace(failed=AfterFailed(stopped.what, stopped.why))
        if len(report.changes) > _MANY:
            gc.collect()  # so much garbage is not left lying in a process that will run for months
        return report

    def accept(self) -> None:
        """What is there now is right: whatever roots it has, and, for once, whatever goes with it."""
        self._accepts_roots = self._accepts_losses = True

    def rules(self, skipped: Collection[str] = (), *, resting: bool = True) -> Rules:
        """What is in scope and what counts as a difference, as the options say."""
        options = self._options
        return Rules(
            options.filters.anew(),
            ownership()._replace(time_step_ns=self._time_step_ns),
            options.delete,
            options.checksum,
            options.one_file_system,
            frozenset(skipped),
            int(options.settle_s * 1e9) if resting else 0,
            options.touch,
            options.hard_links,
            attributes(acls=options.acls, xattrs=options.xattrs),
            options.archive,
        )

    def _must_stand(self) -> None:
        if why := self._ground.check():
            raise RootReplaced("not following the source", why, "It is covered anew, and looked at again.")
