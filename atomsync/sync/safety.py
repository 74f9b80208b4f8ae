"""What a push must not do without being told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from atomsync.errors import UsageError
from atomsync.plan.change import Change
from atomsync.plan.limit import DEFAULT, Limit
from atomsync.sync.drift import KEEP, OVERWRITE, REFUSE


class Safety(NamedTuple):
    """``limit``: how much of the destination one unit may take away; ``even_all``: all of it, too, if the
    source is empty. ``on_drift``: what to do where somebody else changed the destination since the last unit:
    "overwrite", "refuse" or "keep". ``agreed`` is shown the changes whenever the trees were compared, before
    anything is staged; it raises if they are not what the caller agreed to. ``lost``: paths in the source
    where a filesystem was mounted, and is not."""

    limit: Limit = DEFAULT
    on_drift: str = OVERWRITE
    agreed: Callable[[Iterable[Change]], None] | None = None
    even_all: bool = False
    lost: frozenset[str] = frozenset()

    def checked(self) -> Safety:
        """Itself. Raises UsageError for a word that means nothing."""
        if self.on_drift not in (OVERWRITE, REFUSE, KEEP):
            raise UsageError(
                f"cannot use on_drift={self.on_drift!r}", f"it is one of {(OVERWRITE, REFUSE, KEEP)}"
            )
        return self
