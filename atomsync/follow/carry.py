"""One batch from SRC to DST, as one unit: what ``watch`` does with what it heard."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection

from atomsync.errors import RootReplaced
from atomsync.follow.ground import Ground, identity
from atomsync.follow.watching import WatchOptions
from atomsync.fs.capabilities import Capabilities
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.sync.compare import Comparison, Rules
from atomsync.sync.look import Look
from atomsync.sync.phases import Phases
from atomsync.sync.push import Report, attributes, committed, opened_source, ownership
from atomsync.sync.settle import Heard, settle_look
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
        self._time_step_ns = 1
        self._able: Capabilities | None = None  # of the destination stood on
        self._store = open_store(
            destination,
            durability=options.durability,
            verify=options.verify,
            keep=options.keep,
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
        self._must_stand()  # before the store is opened: where none is, one would be made
        with (
            opened_source(PosixDisk(), self._source) as origin,
            UnitOfWork(
                self._store, source=origin, message=options.message, progress=phases, exclusive=True
            ) as unit,
        ):
            self._ground.must_be_source(origin.root)
            control = unit.session.control
            fresh = control.made_ns is not None
            self._ground.must_be_destination(control.root, fresh=fresh)
            if self._ground.destination is not None and self._able is not None:
                control.adopt(self._able)
            rules = self.rules(skipped, resting=resting)

            def heard(found: Comparison) -> Heard:
                self._must_stand()
                since = self._since(batch, found)
                return since if resting else since._replace(written=frozenset())

            settled = settle_look(unit, origin, rules, look, phases, heard)
            self._time_step_ns = unit.session.manifest.time_step_ns
            self._able = control.capabilities
            found = self._ground.destination or identity(control.root)
            report = committed(unit, settled, phases)
        if batch.looks.get("") == TREE:
            self._ground.is_other_source = False
        if not fresh or (report.receipt and report.receipt.unit_id):  # else it was unmade again
            self._ground.destination = found
        if len(report.changes) > _MANY:
            gc.collect()  # so much garbage is not left lying in a process that will run for months
        return report

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
            options.hard_links,
            attributes(acls=options.acls, xattrs=options.xattrs),
            options.archive,
        )

    def _must_stand(self) -> None:
        if why := self._ground.check():
            raise RootReplaced("not following the source", why, "It is covered anew, and looked at again.")
