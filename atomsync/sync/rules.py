"""What a comparison heeds."""

from __future__ import annotations

from typing import NamedTuple

from atomsync.tree.diff import Ownership
from atomsync.tree.filters import Filters


class Rules(NamedTuple):
    """What is in scope and what counts as a difference. ``skipped`` paths are left alone on both sides;
    with ``rest_ns`` so are source files that changed less than that before the scan. ``touch`` is written by
    the unit itself (see ``sync.touch``). ``hard_links``: which names are one file counts; ``attributes``:
    which families of extended attributes do (see the text of ``tree.xattrs``), or "". ``specials``: FIFOs,
    sockets and, as root, devices are in scope too."""

    filters: Filters
    ownership: Ownership
    delete: bool = False
    checksum: bool = False
    one_file_system: bool = False
    skipped: frozenset[str] = frozenset()
    rest_ns: int = 0
    touch: str = ""
    hard_links: bool = False
    attributes: str = ""
    specials: bool = False

    @property
    def look_at_names(self) -> bool:
        """Whether the names of a directory that only the source has must be looked at, one by one."""
        return bool(
            self.filters.active
            or self.hard_links
            or self.attributes
            or self.specials
            or self.skipped
            or self.rest_ns
            or self.touch
        )
