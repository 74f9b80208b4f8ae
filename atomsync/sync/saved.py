"""A plan on paper: what a push would do, saved, to be carried out later exactly so or not at all. Pure.

    line 1      what the plan is of: SRC, DST, the options of the push
    line 2...   a change each: [path, old, new, content]
    last line   how many changes there are, and the digest of all lines before

It is never acted upon: the trees are compared anew, and what is found is compared with it. So whatever it
says, nothing is done that a push with these options would not do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import xxhash

from atomsync.errors import JournalError, PlanMoved, UsageError
from atomsync.plan.change import Change
from atomsync.store.about import is_text
from atomsync.store.journal import checked_entry, checked_path, written_entry
from atomsync.tree.entry import Entry
from atomsync.tree.path import shown

VERSION = 1
MAKE_ANEW = "Nothing was touched. Make a new one: atomsync push -n --save-plan FILE SRC DST"
_LISTED_MAX = 10
OPTIONS: dict[str, tuple[type, ...]] = {
    "delete": (bool,),
    "checksum": (bool,),
    "one_file_system": (bool,),
    "archive": (bool,),
    "hard_links": (bool,),
    "xattrs": (bool,),
    "acls": (bool,),
    "on_unstable": (str,),
    "durability": (str,),
    "verify": (str,),
    "state_dir": (str, type(None)),
    "keep": (int,),
    "keep_bytes": (int, type(None)),
    "message": (str,),
    "last": (list, tuple),
    "max_delete": (str, type(None)),
    "on_drift": (str,),
    "accept_roots": (bool,),
    "expect_store": (bool,),
}
"""The options of ``push`` that a plan keeps, with their types."""
_CHOICES = {"on_unstable": ("fail", "skip"), "durability": ("full", "none"), "verify": ("readback", "media")}
_HEAD = {
    "source": str,
    "destination": str,
    "there": bool,
    "made_ns": int,
    "patterns": list,
    "gitignore": bool,
    "options": dict,
}


class SavedPlan(NamedTuple):
    """``source`` and ``destination`` are absolute paths. ``there``: whether the destination was. ``patterns``
    are gitignore lines; ``options`` are those of ``push``, by name."""

    source: str
    destination: str
    there: bool
    made_ns: int
    patterns: tuple[str, ...]
    gitignore: bool
    options: Mapping[str, Any]
    changes: tuple[Change, ...]

    def agree(self, changes: Iterable[Change]) -> None:
        """PlanMoved unless these are the changes of the plan, to the inode and ctime of both sides."""
        planned, found = self._by_path(self.changes), self._by_path(changes)
        moved = sorted(path for path in planned.keys() | found.keys() if planned.get(path) != found.get(path))
        if moved:
            more = f" and {len(moved) - _LISTED_MAX:,} more" if len(moved) > _LISTED_MAX else ""
            paths = ", ".join(shown(path or ".") for path in moved[:_LISTED_MAX]) + more
            raise PlanMoved(
                "the plan does not hold any more",
                f"SRC or DST is not as the plan saw it: {paths}",
                MAKE_ANEW,
            )

    def _by_path(self, changes: Iterable[Change]) -> dict[str, Change]:
        # What a plan brings about by itself: a destination made for it; a store made in its root, which
        # moves the root's ctime. Device numbers are given anew at every mount.
        return {
            change.path: change._replace(old=_settled(change, change.old), new=_settled(change, change.new))
            for change in changes
            if change.path or self.there
        }


def _settled(change: Change, entry: Entry | None) -> Entry | None:
    if entry is None:
        return None
    return entry._replace(dev=0, digest="", ctime_ns=entry.ctime_ns if change.path else 0)


def encode(plan: SavedPlan) -> Iterator[bytes]:
    """The lines of the file."""
    hasher, count = xxhash.xxh3_128(), 0
    head = {"atomsync_plan": VERSION, **plan._asdict()}
    changes = head.pop("changes")
    written = ((path, written_entry(old), written_entry(new), content) for path, old, new, content in changes)
    for value in (head, *sorted(written, key=lambda change: change[0])):
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        hasher.update(line)
        yield line
        count += 1
    yield _end(count - 1, hasher.hexdigest())


def decode(data: bytes, name: str) -> SavedPlan:
    """Read the file ``name`` back; UsageError unless it is exactly as it was written."""
    *lines, end = data.splitlines(keepends=True) or [b""]
    if end != _end(len(lines) - 1, xxhash.xxh3_128_hexdigest(b"".join(lines))):
        raise _bad(name, "it was cut short, or edited, or never was a plan")
    try:
        head = json.loads(lines[0])
        if head.pop("atomsync_plan") != VERSION:
            raise _bad(name, "it is of another version of atomsync")
        changes = tuple(_change(json.loads(line)) for line in lines[1:])
        return _checked(SavedPlan(**head, changes=changes), name)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, JournalError):
        raise _bad(name, "it is not a saved plan") from None


def _end(changes: int, digest: str) -> bytes:
    return json.dumps({"changes": changes, "xxh3_128": digest}).encode() + b"\n"


def _change(fields: Any) -> Change:
    path, old, new, content = fields
    change = Change(checked_path(path), checked_entry(old), checked_entry(new), content)
    if not isinstance(content, bool) or (change.old is None and change.new is None):
        raise TypeError
    return change


def _checked(plan: SavedPlan, name: str) -> SavedPlan:
    if any(type(getattr(plan, field)) is not kind for field, kind in _HEAD.items()):
        raise TypeError
    if plan.options.keys() != OPTIONS.keys():
        raise _bad(name, "it is of another version of atomsync")
    texts = [value for value in plan.options.values() if isinstance(value, str)]
    for text in (plan.source, plan.destination, *plan.patterns, *plan.options["last"], *texts):
        if not is_text(text) or "\0" in text:
            raise TypeError
    for option, value in plan.options.items():
        if type(value) not in OPTIONS[option] or value not in _CHOICES.get(option, (value,)):
            raise TypeError
    return plan._replace(patterns=tuple(plan.patterns))


def _bad(name: str, why: str) -> UsageError:
    return UsageError(f"cannot use the plan in {shown(name)}", why, MAKE_ANEW)
