"""What is at a path, judged by what was last committed there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from atomsync.store.manifest import kept_time
from atomsync.tree.attributes import differences
from atomsync.tree.entry import FILE, SEEN, Entry

if TYPE_CHECKING:
    from atomsync.store.rows import Known

ROT, DRIFT, MISSING, EXTRA = "rot", "drift", "missing", "extra"
CLOSED, RESTLESS = "closed", "restless"  # not judged
VERDICTS = (ROT, DRIFT, MISSING, EXTRA, CLOSED, RESTLESS)
CONTENT = "content"
IN_PLACE = {"mode", "owner"}
"""Differences that say nothing about the content."""


class Finding(NamedTuple):
    """``verdict``: ROT (the content is another, or cannot be read, and nothing shows that anybody wrote),
    DRIFT (somebody changed it), MISSING or EXTRA; or it could not be judged: CLOSED (it may not be read) or
    RESTLESS (it kept changing). ``differs``: "content" and the words of
    ``tree.attributes``. ``known`` was committed, ``found`` is there. ``note``: what else is to be said."""

    verdict: str
    path: str
    differs: tuple[str, ...]
    known: Entry | None
    found: Entry | None
    note: str = ""

    @property
    def kind(self) -> str:
        entry = self.known or self.found
        return entry.kind if entry else "dir"


def drift_of(known: Entry, found: Entry) -> tuple[str, ...]:
    """In what they differ, as far as the manifest can tell."""
    if known[:SEEN] == found[:SEEN]:  # nearly always
        return ()
    kept_ns = kept_time(found.mtime_ns)
    return differences(known, found if kept_ns == found.mtime_ns else found._replace(mtime_ns=kept_ns))


def is_judged_by_content(known: Known | None, found: Entry | None) -> bool:
    """Whether only reading can tell: of a file that looks as if nobody had written to it."""
    if known is None or found is None or known.entry.kind != FILE or not known.entry.digest:
        return False
    return IN_PLACE.issuperset(drift_of(known.entry, found))


def judged(path: str, known: Known | None, found: Entry | None, content: str | None) -> Finding | None:
    """The finding, or None if all is well. ``content``: the digest of what was read, "" if reading failed;
    None if it was not read."""
    if known is None:
        return None if found is None else Finding(EXTRA, path, (), None, found)
    if found is None:
        return Finding(MISSING, path, (), known.entry, None)
    differs = drift_of(known.entry, found)
    if content is not None and content != known.entry.digest:
        note = "it cannot be read" if not content else ""
        if content and known.racy:
            note = "or it was edited within a tick of the clock: it changed just before it was committed"
        return Finding(ROT, path, (CONTENT, *differs), known.entry, found, note)
    return Finding(DRIFT, path, differs, known.entry, found) if differs else None
