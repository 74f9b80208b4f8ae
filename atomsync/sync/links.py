"""Hard links: which names of the source are one file, and what makes the destination agree. Pure.

A group is the names of one inode in the source, as far as they are in scope. At the destination it shall
be one inode too, and no other group's. So one inode there that is right already is kept, and the
other names are linked to it; where there is none, the first name is staged and the others are
linked to that. An inode that several groups have stays with the one that has most of its names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from atomsync.plan.change import Change
from atomsync.store.content import Content, Linked, Shared
from atomsync.tree.diff import Ownership
from atomsync.tree.entry import FILE, SEEN, SHARED, Entry
from atomsync.tree.path import joined, parent_of

_Group = tuple[int, int]  # device and inode in the source


class _Member(NamedTuple):
    path: str
    new: Entry
    old: Entry | None


class Links:
    """What a comparison met: files with several names on either side, and the directories they are in."""

    def __init__(self) -> None:
        self.several: set[str] = set()
        self.members: list[_Member] = []
        self._directories: dict[str, tuple[Entry, Entry | None]] = {}

    def note(
        self,
        directory: str,
        new: Entry,
        old: Entry | None,
        want: Mapping[str, Entry],
        have: Mapping[str, Entry],
    ) -> None:
        """Take in one directory's names that are in scope, of which ``several`` knows already."""
        for name, entry in want.items():
            path = joined(directory, name)
            if entry.kind == FILE and path in self.several:
                self.members.append(_Member(path, entry, have.get(name)))
                self._directories[directory] = new, old

    def agreed(
        self, changes: list[Change], ownership: Ownership
    ) -> tuple[list[Change], dict[str, Content], int]:
        """``(changes with those that the links need, contents that are second names, how many of the new
        changes are of paths that had none)``."""
        by_path = {change.path: change for change in changes}
        groups: defaultdict[_Group, list[_Member]] = defaultdict(list)
        for member in sorted(self.members):
            groups[member.new.dev, member.new.ino].append(member)
        owners = _owners(groups, by_path)
        wanted: dict[str, Change] = {}
        contents: dict[str, Content] = {}
        for group, members in groups.items():
            kept: defaultdict[int, list[_Member]] = defaultdict(list)
            for member in members:
                if member.path not in by_path and member.old and owners[member.old.ino] == group:
                    kept[member.old.ino].append(member)
            if kept:
                stay = max(kept.values(), key=len)  # of equals, the first
                staying = {member.path for member in stay}
                others = [member for member in members if member.path not in staying]
                _link_to(stay[0], others, wanted, contents)
            else:
                _share(members, by_path, ownership, wanted, contents)
        fresh = sum(path not in by_path for path in wanted)
        before = dict(by_path)
        by_path.update(wanted)
        for path in wanted:
            if path not in before or not before[path].content:
                self._touch(parent_of(path), by_path, ownership)
        return list(by_path.values()), contents, fresh

    def _touch(self, directory: str, by_path: dict[str, Change], ownership: Ownership) -> None:
        """A directory whose names change gets its time set."""
        new, old = self._directories[directory]
        if directory not in by_path and old is not None and ownership.may_change(old):
            by_path[directory] = Change(directory, old, ownership.wanted(new, old), content=False)


def _owners(groups: Mapping[_Group, list[_Member]], changed: Mapping[str, Change]) -> dict[int, _Group]:
    """Inode of the destination → the group that has most of the names there that need no change."""
    names: defaultdict[int, defaultdict[_Group, int]] = defaultdict(lambda: defaultdict(int))
    for group, members in groups.items():
        for member in members:
            if member.path not in changed and member.old is not None:
                names[member.old.ino][group] += 1
    return {inode: max(counts, key=lambda group: counts[group]) for inode, counts in names.items()}


def _link_to(
    first: _Member, others: list[_Member], wanted: dict[str, Change], contents: dict[str, Content]
) -> None:
    """Every other name becomes one of the file the destination has as ``first``."""
    assert first.old is not None
    for path, new, old in others:
        entry = Entry._make((*first.old[:SEEN], *new[SEEN:]))._replace(digest=SHARED)
        wanted[path] = Change(path, old, entry)
        contents[path] = Linked(first.path, first.old)


def _share(
    members: list[_Member],
    changed: Mapping[str, Change],
    ownership: Ownership,
    wanted: dict[str, Change],
    contents: dict[str, Content],
) -> None:
    """The first name is staged, and the others are linked to that."""
    if len(members) == 1 and members[0].path in changed:
        return
    first = members[0]
    entry = ownership.wanted(first.new)
    wanted[first.path] = Change(first.path, first.old, entry)
    for path, new, old in members[1:]:
        second = Entry._make((*entry[:SEEN], *new[SEEN:]))._replace(digest=SHARED)
        wanted[path] = Change(path, old, second)
        contents[path] = Shared(first.path)
