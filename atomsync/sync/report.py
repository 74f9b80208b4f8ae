"""What came of a push: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from atomsync.errors import AfterFailed
from atomsync.plan.change import Change
from atomsync.store.commit import Receipt
from atomsync.store.recovery import Recovery
from atomsync.sync.drift import Drifted


class Report(NamedTuple):
    """What a push did, or with ``dry_run`` would do (then ``receipt`` is None).

    ``left_out``: special files, path → kind. ``skipped``: paths left as they are because they kept
    changing. ``seconds`` is wall time, ``phases_ms`` what of it each phase took. Of a push that was
    told where to look, ``restless`` are the files left alone because they changed so lately, and ``left``
    the looks for which it had no room. ``drifted``: what somebody else had changed at the destination,
    and which was overwritten, or with ``kept`` left as it is. ``failed``: how the command after the commit
    failed, if it did.
    """

    receipt: Receipt | None
    changes: Sequence[Change]
    unchanged: int
    left_out: dict[str, str]
    skipped: tuple[str, ...]
    recovery: Recovery
    seconds: float
    phases_ms: dict[str, float]
    restless: tuple[str, ...] = ()
    left: Mapping[str, int] = MappingProxyType({})
    drifted: tuple[Drifted, ...] = ()
    kept: bool = False
    failed: AfterFailed | None = None
