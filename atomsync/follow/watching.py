"""What a watch is told and what it tells: values only."""

from __future__ import annotations

from typing import NamedTuple

from atomsync.store.options import FULL, KEEP_UNITS, READBACK
from atomsync.sync.drift import OVERWRITE
from atomsync.sync.hooks import TIMEOUT_S, Hooks
from atomsync.sync.settle import FAIL
from atomsync.tree.filters import Filters

STARTING, WATCHING, SYNCING, RETRYING, PAUSED, STOPPED = (
    "starting",
    "watching",
    "syncing",
    "retrying",
    "paused",
    "stopped",
)
EVENTS, POLLING, BOTH = "events", "polling", "events and polling"
POLL_S = 10.0  # where events do not come and nobody said how often to look


class WatchOptions(NamedTuple):
    """The options of ``push`` that apply, and those of ``watch``; times in seconds.

    ``settle_s``: quiet time before a batch; ``max_wait_s``: its greatest age; ``batch_paths``,
    ``batch_bytes``: its greatest size. ``rescan_s``: how often everything is compared all the same
    (0: never). ``poll_s``: None to hear events where they come, a number to look that often instead.
    """

    delete: bool = False
    checksum: bool = False
    filters: Filters = Filters()
    one_file_system: bool = False
    archive: bool = False
    hard_links: bool = False
    xattrs: bool = False
    acls: bool = False
    on_unstable: str = FAIL
    durability: str = FULL
    verify: str = READBACK
    state_dir: str | None = None
    keep: int = KEEP_UNITS
    keep_bytes: int | None = None
    message: str = ""
    last: tuple[str, ...] = ()
    max_delete: str | None = None
    on_drift: str = OVERWRITE
    accept_roots: bool = False
    expect_store: bool = False
    check: str = ""
    after: str = ""
    undo_on_failure: bool = False
    hook_timeout: float = TIMEOUT_S
    touch: str = ""
    settle_s: float = 0.1
    max_wait_s: float = 2.0
    batch_paths: int = 50_000
    batch_bytes: int = 4_000_000_000
    rescan_s: float = 3600.0
    poll_s: float | None = None

    @property
    def hooks(self) -> Hooks:
        return Hooks(self.check, self.after, self.hook_timeout, self.undo_on_failure)


class Coverage(NamedTuple):
    """Whether every change would be noticed, and how. ``gaps`` say for a person what is not covered by
    events, why, and what is done instead; ``complete`` is True if there are none.

    ``proved_s``: seconds since an event of our own last came through, None if never. ``missed``: changes
    that a rescan found and no event had announced.
    """

    complete: bool
    mode: str
    directories: int
    gaps: tuple[str, ...]
    proved_s: float | None
    overflows: int
    reattached: int
    rescans: int
    missed: int


class WatchStatus(NamedTuple):
    """How a watch stands. ``why`` says why it is paused or retrying. Counts are of this run.

    ``lag_s`` is the age of the oldest hint that is not committed yet, ``queue`` how many there are;
    ``held`` are paths still being written, ``set_aside`` those that keep failing, with the reason.
    """

    state: str
    why: str
    source: str
    destination: str
    pid: int
    since_ns: int
    coverage: Coverage
    units: int
    bytes: int
    last_unit: str
    last_ns: int
    lag_s: float
    queue: int
    held: tuple[str, ...]
    set_aside: dict[str, str]
    errors: int
    last_error: str
    next_try_s: float | None


class Flushed(NamedTuple):
    """What a flush came to; ``exit_status`` 0 if all is committed, else that of what is in the way."""

    committed: bool
    unit: str
    why: str
    exit_status: int
