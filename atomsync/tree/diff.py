"""Two listings of one directory compared. Pure: no disk, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from atomsync.tree.entry import DIR, SEEN, Entry

SETUID, SETGID = 0o4000, 0o2000


class Ownership(NamedTuple):
    """Whose owners we may give a file: everybody's (root), or ours and our groups' (anybody else);
    and the step in which the destination keeps times, in ns."""

    everybody: bool
    uid: int
    groups: frozenset[int]
    time_step_ns: int = 1

    def may_change(self, existing: Entry) -> bool:
        """Whether we may set mode and times of what is there: only its owner may."""
        return self.everybody or existing.uid == self.uid

    def wanted(self, source: Entry, existing: Entry | None = None) -> Entry:
        """``source`` as the destination can have it: as a new inode, or as ``existing`` with changes.

        An owner that may not be set stays that of ``existing`` (or becomes our own), and the bits
        that lend its rights go with it, as with ``cp -p``.
        """
        if self.time_step_ns != 1:
            source = source._replace(mtime_ns=source.mtime_ns - source.mtime_ns % self.time_step_ns)
        if self.everybody:
            return source
        if existing is not None and existing.kind == DIR and not self.may_change(existing):
            return existing  # a directory of somebody else: its names are ours to change, it is not
        uid, gid, mode = source.uid, source.gid, source.mode
        if uid != self.uid:
            uid = existing.uid if existing else self.uid
        if gid not in self.groups:
            gid = existing.gid if existing else -1
        if source.kind != DIR:
            mode &= ~((SETUID if uid != source.uid else 0) | (SETGID if gid != source.gid else 0))
        return source._replace(uid=uid, gid=gid, mode=mode)


class DirectoryDiff(NamedTuple):
    """Names by what they need. ``both`` are directories on both sides, to be compared in turn."""

    created: tuple[str, ...]
    replaced: tuple[str, ...]
    metadata: tuple[str, ...]
    removed: tuple[str, ...]
    both: tuple[str, ...]
    unchanged: int


def diff(
    source: Mapping[str, Entry],
    destination: Mapping[str, Entry],
    ownership: Ownership,
    verdicts: Mapping[str, bool],
) -> DirectoryDiff:
    """What would make ``destination`` hold ``source``, by the quick check.

    Equal kind, size, mtime (to the nanosecond), mode, owner and link target count as unchanged.
    ``verdicts`` (name → contents differ) come from reading, and outrank it where they are given.
    Names are in sorted order, so a plan is the same each time.
    """
    created: list[str] = []
    replaced: list[str] = []
    metadata: list[str] = []
    both: list[str] = []
    unchanged = 0
    for name, new in source.items():
        old = destination.get(name)
        if old is None:
            created.append(name)
        elif new[0] == DIR == old[0]:
            both.append(name)
        elif new[:SEEN] == old[:SEEN] and not verdicts.get(name):
            unchanged += 1
        else:
            wanted = ownership.wanted(new, old)
            differ = verdicts[name] if name in verdicts else content_differs(wanted, old)
            if wanted[0] != old[0] or differ or wanted.xattrs != old.xattrs:
                replaced.append(name)  # attributes too come with a new inode: a swap, and a way back
            elif wanted[:SEEN] != old[:SEEN]:
                in_place = ownership.may_change(old) and not (wanted.mode & (SETUID | SETGID))
                # Content that another user may have written must not get the rights of a new owner.
                (metadata if in_place or verdicts.get(name) is False else replaced).append(name)
            else:
                unchanged += 1
    removed = sorted(destination.keys() - source.keys())
    return DirectoryDiff(
        tuple(sorted(created)),
        tuple(sorted(replaced)),
        tuple(sorted(metadata)),
        tuple(removed),
        tuple(sorted(both)),
        unchanged,
    )


def content_differs(new: Entry, old: Entry) -> bool:
    """Whether the quick check sees other content: size or mtime of a file, target of a link."""
    return (new.size, new.mtime_ns, new.target) != (old.size, old.mtime_ns, old.target)
