"""What it takes to give paths back what they held before some units: thought through, nothing touched.

Every path is compared with what is there now, so what is planned is what the commit will find, or refuse.
What others have changed since is told: whoever undoes one unit of several must not lose it unawares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from atomsync.errors import reported
from atomsync.plan.change import Change
from atomsync.store.content import Shared
from atomsync.store.control import Control
from atomsync.store.copying import digest_file
from atomsync.store.dressing import attributes_of
from atomsync.store.journal import Journal
from atomsync.store.kept import KeptObjects, version_gone
from atomsync.store.progress import Progress
from atomsync.store.seal import look_at
from atomsync.store.versions import Kept, Past, fold, put_there
from atomsync.tree.diff import Ownership
from atomsync.tree.entry import DIR, FILE, LINK, OTHER, PLAIN, SEEN, Entry, same_object
from atomsync.tree.path import ancestors, parent_of, shown
from atomsync.tree.scan import subtree
from atomsync.tree.xattrs import attributes_at, families, may_change_in_place, overlaid

_DIR_MODE = 0o755


class Reversal(NamedTuple):
    """``changes`` with the content of those that need any; ``copied`` are paths whose file stays, but as a
    copy: it has other names. ``lost`` tells for a person what others changed since, path by path."""

    changes: tuple[Change, ...]
    contents: dict[str, Kept | Shared]
    copied: frozenset[str]
    lost: tuple[str, ...]


def reversal(
    control: Control,
    wanted: Mapping[str, Past],
    later: Mapping[str, Past],
    known: Mapping[str, Past],
    journals: Sequence[Journal],
    progress: Progress,
) -> Reversal:
    """What makes every path of ``wanted`` hold its ``before`` again. ``later`` tells what units did behind
    those that are taken back, ``known`` what became of directories above; ``journals`` are all there are.

    Raises VersionGone if an object that is needed is not there any more, or is not as it was displaced.
    """
    with KeptObjects(control) as objects:
        return _Thinking(control, objects, wanted, later, known, progress).run(journals)


class _Thinking:
    def __init__(
        self,
        control: Control,
        objects: KeptObjects,
        wanted: Mapping[str, Past],
        later: Mapping[str, Past],
        known: Mapping[str, Past],
        progress: Progress,
    ) -> None:
        self._control, self._objects, self._progress = control, objects, progress
        self._wanted, self._later, self._known = wanted, later, known
        groups = frozenset([os.getegid(), *os.getgroups()])
        self._ownership = Ownership(os.geteuid() == 0, os.geteuid(), groups)
        self._now: dict[str, Entry | None] = {}
        self._changes: dict[str, Change] = {}
        self._contents: dict[str, Kept] = {}
        self._copied: set[str] = set()
        self._lost: dict[str, str] = {}
        self._gone: list[str] = []

    def run(self, journals: Sequence[Journal]) -> Reversal:
        self._control.tree.close()  # walk anew
        paths = sorted(self._wanted)
        for path in paths:
            self._now[path] = look_at(self._control.tree, path)
        for path in paths:
            self._progress.check()
            self._compare(path, self._wanted[path])
        for path in paths:
            past = self._wanted[path]
            if past.before is not None:
                self._need_directories(path)
            self._change(path, past)
        shared = self._shared(journals)
        self._check_objects(journals)
        if self._gone:
            raise version_gone(self._gone)
        lost = tuple(f"{shown(path or '.')} ({why})" for path, why in sorted(self._lost.items()))
        contents: dict[str, Kept | Shared] = {**self._contents, **shared}
        return Reversal(tuple(self._needed()), contents, frozenset(self._copied), lost)

    # -- what others have done
    def _compare(self, path: str, past: Past) -> None:
        """Is it still as the units left it?"""
        now = self._now[path]
        if not past.timed and not self._as_left(path, past.after, now):
            self._lost[path] = self._who(path)
        if now is not None and now.kind == DIR and (past.before is None or past.before.kind != DIR):
            for below, _ in self._below(path):
                if below not in self._wanted:
                    self._lost[below] = self._who(below)

    def _as_left(self, path: str, after: Entry | None, now: Entry | None) -> bool:
        if after is None or now is None:
            return after is now
        owners = all(had in (-1, has) for had, has in ((after.uid, now.uid), (after.gid, now.gid)))
        if (after.kind, after.mode) != (now.kind, now.mode) or not owners:
            return False
        if after.xattrs and attributes_of(self._control, path, after.xattrs) != after.xattrs:
            return False
        if after.kind == DIR:
            return True
        if (after.size, after.mtime_ns, after.target) != (now.size, now.mtime_ns, now.target):
            return False
        if not after.ino or same_object(after, now):
            return True
        return after.digest != "" and after.digest == self._read(path)

    def _read(self, path: str) -> str:
        disk = self._control.disk
        with reported(f"cannot read {shown(path)}"):
            fd = disk.open_file(*self._control.tree.split(path))
            try:
                return digest_file(disk, fd, check=self._progress.check)[0]
            finally:
                disk.close(fd)

    def _who(self, path: str) -> str:
        past = self._later.get(path)
        return "changed by somebody else" if past is None or past.timed else f"changed by unit {past.by}"

    # -- what is to be done
    def _need_directories(self, path: str) -> None:
        """What is above ``path`` has to be a directory, whatever became of it since."""
        for above in sorted(ancestors(path)):
            if not above or above in self._wanted or above in self._changes:
                continue
            now = look_at(self._control.tree, above)
            if now is None or now.kind != DIR:
                past = self._known.get(above)
                before = past.before if past else None
                if before is None or before.kind != DIR:
                    before = Entry(DIR, _DIR_MODE, 0, 0, os.geteuid(), os.getegid(), "")
                self._changes[above] = Change(above, now, self._new(before))
                self._lost.setdefault(above, self._who(above))

    def _change(self, path: str, past: Past) -> None:
        now, before = self._now[path], past.before
        if before is None or before.kind != DIR:
            self._remove_below(path, now)
        if before is None:
            if now is not None:
                self._changes[path] = Change(path, now, None)
        elif now is not None and before.kind == DIR == now.kind:
            self._change_directory(path, past, before, now)
        elif now is not None and before.kind == now.kind != DIR and self._has_content(past, before, now):
            self._change_attributes(path, past, before, now)
        elif before.kind in (DIR, LINK):
            self._changes[path] = Change(path, now, self._dressed(self._new(before), past.places))
        else:
            self._put_back(path, past, before, now)

    def _has_content(self, past: Past, before: Entry, now: Entry) -> bool:
        """Whether what is there has the content it had, or one that was never a unit's business."""
        if before.kind == LINK:
            return before.target == now.target
        same = same_object(before, now) and (before.size, before.mtime_ns) == (now.size, now.mtime_ns)
        return same or not past.displaced

    def _remove_below(self, path: str, now: Entry | None) -> None:
        if now is not None and now.kind == DIR:
            for below, entry in self._below(path):
                self._changes[below] = Change(below, entry, None)

    def _change_directory(self, path: str, past: Past, before: Entry, now: Entry) -> None:
        if before.xattrs and not past.timed:
            now = now._replace(xattrs=attributes_of(self._control, path, before.xattrs))
        new = now._replace(mtime_ns=before.mtime_ns) if past.timed else before
        left = self._time_left(path, past)
        is_later = left is not None and left != now.mtime_ns  # names in it were changed since
        if is_later:
            new = new._replace(mtime_ns=now.mtime_ns)
        new = self._ownership.wanted(new, now)
        if not is_later or new[:SEEN] != now[:SEEN]:
            self._changes[path] = Change(path, now, new, content=False)

    def _time_left(self, path: str, past: Past) -> int | None:
        """The time that the units left a directory with; None where nobody has written it down."""
        later = self._later.get(path)
        if later is not None and later.before is not None:
            return later.before.mtime_ns
        return None if past.loose or past.after is None else past.after.mtime_ns

    def _change_attributes(self, path: str, past: Past, before: Entry, now: Entry) -> None:
        if past.after is not None and past.after.mtime_ns != now.mtime_ns:
            before = before._replace(mtime_ns=now.mtime_ns)  # it was written since
        disk, (at, name) = self._control.disk, self._control.tree.split(path)
        new = self._new(before._replace(size=now.size, xattrs=""), now)
        owner = (new.uid, new.gid) != (now.uid, now.gid)
        in_place = self._ownership.may_change(now) and may_change_in_place(disk, at, name, owner=owner)
        if not in_place or (now.kind == LINK and before.xattrs):  # those of others came with another inode
            every = families(acls=True, xattrs=True, root=os.geteuid() == 0)
            with reported(f"cannot read {shown(path)}"):
                now = now._replace(xattrs=attributes_at(disk, at, name, every))
            kept = now.xattrs if now.kind == FILE else overlaid(now.xattrs, before.xattrs)
            new, in_place = new._replace(xattrs=kept), in_place and kept == now.xattrs
        if new[:SEEN] == now[:SEEN]:
            return
        if not in_place:
            self._keep_time(parent_of(path))
        if now.kind == FILE and not in_place:
            self._copied.add(path)
        self._changes[path] = Change(path, now, new, content=not in_place)

    def _keep_time(self, directory: str) -> None:
        """The units changed no name in it, but what takes them back does."""
        now = look_at(self._control.tree, directory)
        if directory not in self._wanted and now is not None and self._ownership.may_change(now):
            self._changes.setdefault(directory, Change(directory, now, now, content=False))

    def _put_back(self, path: str, past: Past, before: Entry, now: Entry | None) -> None:
        since = self._later[path].displaced if path in self._later else ()
        new = self._new(before, now)
        for went, kept in [*past.places, *past._replace(displaced=since).places]:
            there = self._objects.look(kept)
            if there is None or not same_object(went, there):
                continue
            linked = there[:PLAIN] == new[:PLAIN]
            if (went.size, went.mtime_ns) == (there.size, there.mtime_ns) and (linked or went.kind == FILE):
                if not linked:
                    new = self._dressed(new, [(went, kept)])
                if linked or new.kind == FILE:  # of a special file the entry says all there is to know
                    self._contents[path] = kept._replace(linked=linked)
                self._changes[path] = Change(path, now, new)
                return
        if before.kind == OTHER:  # made anew: there is nothing in it
            self._changes[path] = Change(path, now, new)
        else:
            self._gone.append(path)

    def _dressed(self, new: Entry, places: Sequence[tuple[Entry, Kept]]) -> Entry:
        """With the extended attributes that the object has, which is kept but does not go back itself, as far
        as no unit had a word about them."""
        for went, kept in places:
            there = self._objects.look(kept)
            if there is not None and same_object(went, there):
                every = families(acls=True, xattrs=True, root=os.geteuid() == 0)
                found = attributes_at(self._control.disk, *self._objects.split(kept), every)
                return new._replace(xattrs=overlaid(found, new.xattrs))
        return new

    def _shared(self, journals: Sequence[Journal]) -> dict[str, Shared]:
        """A file of which the history keeps a name, as that of another path, goes back as a copy: whoever
        writes into it would write into the history. Of its names that go back all but the first share the
        copy. One that has names elsewhere has them in the tree, so it goes back as it was."""
        back: dict[int, list[str]] = {}
        links: dict[int, int] = {}
        for path, kept in self._contents.items():
            found = self._control.disk.lstat(*self._objects.split(kept)) if kept.linked else None
            if found is not None and found.st_nlink > 1:
                back.setdefault(found.st_ino, []).append(path)
                links[found.st_ino] = found.st_nlink
        stays: set[int] = set()
        for path, past in fold(reversed(journals)).items() if back else ():
            for went, kept in past.displaced:
                there = self._objects.look(kept) if went.ino in back else None
                if there is not None and same_object(went, there):
                    links[went.ino] -= 1
                    if path not in back[went.ino]:
                        stays.add(went.ino)
        shared: dict[str, Shared] = {}
        for ino in stays:
            if not links[ino]:
                first, *others = back[ino]
                place, change = self._contents[first], self._changes[first]
                assert change.new is not None
                new = self._dressed(change.new, [(change.new._replace(ino=ino), place)])
                self._contents[first] = place._replace(linked=False)
                for name in back[ino]:
                    self._changes[name] = self._changes[name]._replace(new=new)
                shared |= {name: Shared(first) for name in others}
        return shared

    def _check_objects(self, journals: Iterable[Journal]) -> None:
        """Every file is read: what goes back is what was displaced, as far as anybody ever knew it."""
        known = put_there(journals, {path: self._wanted[path].first for path in self._contents})
        for path, kept in self._contents.items():
            change, before, was = self._changes[path], self._wanted[path].before, known.get(path)
            if change.new is None or change.new.kind != FILE:
                continue
            with reported(f"cannot read what {shown(path)} was"):
                digest = self._objects.digest(kept, self._progress)
            if was is not None and was.digest and _is_that(was, before) and digest != was.digest:
                self._gone.append(path)
            elif kept.linked:
                self._changes[path] = change._replace(new=change.new._replace(digest=digest))

    def _needed(self) -> Iterator[Change]:
        """Without the directories that are as they should be, and stay so."""
        parents = {parent_of(path) for path, change in self._changes.items() if change.content}
        for change in self._changes.values():
            same = (
                change.old is not None and change.new is not None and change.old[:SEEN] == change.new[:SEEN]
            )
            if change.content or not same or change.path in parents:
                yield change

    def _new(self, before: Entry, now: Entry | None = None) -> Entry:
        wanted = self._ownership.wanted(before, now if now is not None and now.kind == before.kind else None)
        return wanted._replace(ino=0, dev=0, ctime_ns=0, generation=0, digest="")

    def _below(self, path: str) -> Iterable[tuple[str, Entry]]:
        with reported(f"cannot list {shown(path)}"):
            return list(subtree(self._control.tree, path))


def _is_that(entry: Entry, before: Entry | None) -> bool:
    """Whether what a unit put there is the file that was displaced later."""
    if before is None or (entry.size, entry.mtime_ns) != (before.size, before.mtime_ns):
        return False
    return not entry.ino or same_object(entry, before)
