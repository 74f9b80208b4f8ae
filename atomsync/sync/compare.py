"""Two trees walked side by side into changes.

One directory at a time, so memory is bounded by what differs and not by what there is. Directories
that only the source has are walked whole (all of it enters); those only the destination has are walked
only if they may be removed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from atomsync.errors import AtomSyncError, DestinationLimit, GuardTripped, UsageError, from_oserror
from atomsync.fs.cursor import Cursor
from atomsync.plan.change import Change
from atomsync.plan.changes import Changes
from atomsync.store.content import Content
from atomsync.store.copying import digest_file
from atomsync.store.drift import drifted
from atomsync.store.progress import Progress
from atomsync.sync.glancing import Glancing, may_glance
from atomsync.sync.links import Links
from atomsync.sync.rules import Rules
from atomsync.tree.diff import diff
from atomsync.tree.entry import DIR, FILE, OTHER, SEEN, Entry, entry_of, is_device
from atomsync.tree.filters import GITIGNORE
from atomsync.tree.graft import Graft
from atomsync.tree.path import is_reserved, joined, parent_of, shown
from atomsync.tree.racy import may_be_racy
from atomsync.tree.scan import listing
from atomsync.tree.xattrs import TEXT_MAX, attributes_at, may_change_in_place

if TYPE_CHECKING:
    from atomsync.fs.second import Second

_GITIGNORE_MAX_BYTES = 1 << 20
Grafting = Callable[[list[tuple[str, Entry]], Rules, int, Progress], tuple[dict[str, Graft], dict[str, str]]]
Pairs = list[tuple[str, Entry, Entry | None]]  # directories with their entries on both sides


class Comparison(NamedTuple):
    """``changes`` in the order met; ``left_out``: path → what it is (special files); ``protected``:
    excluded paths met in directories that would go; ``unstable``: directories that vanished while
    they were read; ``settled``: racy paths found equal by content; ``scanned``: the source's directories,
    if anything may be removed: a name that moves during the scan may be seen in neither place;
    ``restless``: files left alone because they changed so lately; ``left``: looks left for another unit;
    ``contents``: of the changes that are to be second names of a file; ``grafts``: what comes below some of
    the directories that ``changes`` create."""

    changes: list[Change]
    unchanged: int
    left_out: dict[str, str]
    protected: list[str]
    unstable: list[str]
    settled: list[str]
    scanned: list[tuple[str, Entry]]
    restless: list[str]
    left: dict[str, int]
    contents: Mapping[str, Content] = MappingProxyType({})
    grafts: Mapping[str, Graft] = MappingProxyType({})

    @property
    def all(self) -> Sequence[Change]:
        """``changes``, and those that come with the grafts."""
        return Changes(self.changes, self.grafts) if self.grafts else tuple(self.changes)


class Comparer:
    """``source`` and ``destination`` stand at the two roots; ``destination`` is None if there is none yet.

    ``racy`` maps paths whose equality only content can show to the digest the destination has; at
    ``now_ns``, the time of the scan, some of them may be racy no more. ``second`` starts a second process
    for both trees, if there is one to be had.
    """

    def __init__(
        self,
        source: Cursor,
        destination: Cursor | None,
        rules: Rules,
        racy: Mapping[str, str],
        now_ns: int,
        progress: Progress,
        second: Callable[[], Second | None] = lambda: None,
        grafting: Grafting | None = None,
    ) -> None:
        self.source, self.destination, self.rules = source, destination, rules
        self.racy, self.now_ns, self.progress = racy, now_ns, progress
        self._racy_parents = {path.rpartition("/")[0] for path in racy}
        self.result = Comparison([], 0, {}, [], [], [], [], [], {})
        self.links = Links() if rules.hard_links else None
        self._grafting = None if rules.look_at_names else grafting
        self._tops: list[tuple[str, Entry]] = []
        self._unchanged = 0
        self._device = 0
        self._second = second

    def run(self) -> Comparison:
        """Raises AccessError for what may not be read, Interrupted."""
        new, old = self._roots()
        if old is not None and may_glance(self):
            self._glance(new, old)
        else:
            self._walk("", new, old)
        self._graft()
        found = self.result._replace(unchanged=self._unchanged)
        if self.links is None or not self.links.members:
            return found
        changes, contents, fresh = self.links.agreed(found.changes, self.rules.ownership)
        return found._replace(changes=changes, contents=contents, unchanged=self._unchanged - fresh)

    def _glance(self, new: Entry, old: Entry) -> None:
        glancing = Glancing(self, self._device, self._second)
        glancing.walk(new, old)
        if glancing.asked:  # what was met when depends on two processes
            found = self.result
            found.changes.sort(key=_by_names)
            found.scanned.sort(key=_by_names)
            for paths in (found.protected, found.unstable, found.settled):
                paths.sort()
            left_out = sorted(found.left_out.items())
            found.left_out.clear()
            found.left_out.update(left_out)

    def _graft(self) -> None:
        """Read the new directories that were met whole; what does not read so, name by name."""
        if self._grafting is None:
            return
        tops, self._tops = self._tops, []
        if not tops:
            return
        grafts, left_out = self._grafting(
            tops, self.rules, self._device if self.rules.one_file_system else 0, self.progress
        )
        self.result = self.result._replace(grafts={**self.result.grafts, **grafts})
        self.result.left_out.update(left_out)
        self._grafting = None
        for path, entry in tops:
            if path not in grafts:
                self._walk(path, entry, None)

    def _roots(self) -> tuple[Entry, Entry | None]:
        root = self._root(self.source)
        self._device = root.dev
        if self.destination is None:
            return root, None
        return root, self._root(self.destination)

    def _walk(self, path: str, new: Entry, old: Entry | None) -> None:
        """Compare a directory and all that is below it."""
        pending: Pairs = [(path, new, old)]
        while pending:
            self.progress.check()
            path, new, old = pending.pop()
            pending.extend(reversed(self._directory(path, new, old)))

    def _directory(self, path: str, new: Entry, old: Entry | None) -> Pairs:
        """Compare one directory; returns those below it that are to be compared in turn."""
        try:
            have = self._listing(self.destination, path) if old is not None and self.destination else {}
        except (FileNotFoundError, NotADirectoryError):
            raise drifted(path) from None
        try:
            want = self._listing(self.source, path)
        except (FileNotFoundError, NotADirectoryError):  # it changes under us: look again
            self.result.unstable.append(path)
            return []
        return self._names(path, new, old, want, have)

    def _names(
        self, path: str, new: Entry, old: Entry | None, want: dict[str, Entry], have: dict[str, Entry]
    ) -> Pairs:
        """Compare names of one directory, and the directory itself; returns the directories among them."""
        rules, changes = self.rules, self.result.changes
        try:
            self._keep_in_scope(path, want, have)
            verdicts = self._verdicts(path, want, have)
        except (FileNotFoundError, NotADirectoryError):
            self.result.unstable.append(path)
            return []
        if self.links is not None:
            self.links.note(path, new, old, want, have)
        if rules.delete:
            self.result.scanned.append((path, new))
        found = diff(want, have, rules.ownership, verdicts)
        self._unchanged += found.unchanged
        self.progress.advance(len(want))
        if self.progress.curious:
            for name in want.keys() - {*found.created, *found.replaced, *found.metadata, *found.both}:
                self.progress.unchanged(joined(path, name))
        below: Pairs = []
        swaps = len(found.created) + len(found.replaced)
        for name in found.created:
            entry, here = want[name], joined(path, name)
            changes.append(Change(here, None, rules.ownership.wanted(entry)))
            if entry.kind == DIR and self._enters(entry):
                self._enter_new(here, entry, below)
        for name in found.replaced:
            entry, here, gone = want[name], joined(path, name), have[name]
            changes.append(Change(here, gone, rules.ownership.wanted(entry)))
            if gone.kind == DIR:
                self._displace(here, keep_protected=False)
            if entry.kind == DIR and self._enters(entry):
                self._enter_new(here, entry, below)
        for name in found.metadata:
            wanted = rules.ownership.wanted(want[name], have[name])
            swapped = not self._may_change_in_place(path, name, have[name], wanted)
            swaps += swapped
            changes.append(Change(joined(path, name), have[name], wanted, content=swapped))
        if rules.delete:
            swaps += sum(self._remove(joined(path, name), have[name]) for name in found.removed)
        for name in found.both:
            if self._enters(want[name]):
                below.append((joined(path, name), want[name], have[name]))
            else:
                self._directory_metadata(joined(path, name), want[name], have[name], touched=False)
        if old is not None:
            self._directory_metadata(path, new, old, touched=swaps > 0)
        return below

    def _enter_new(self, path: str, entry: Entry, below: Pairs) -> None:
        if self._grafting is None:
            below.append((path, entry, None))
        else:
            self._tops.append((path, self.rules.ownership.wanted(entry)))

    def _may_change_in_place(self, path: str, name: str, old: Entry, new: Entry) -> bool:
        """If not, it gets a successor."""
        assert self.destination is not None
        owner = (old.uid, old.gid) != (new.uid, new.gid)
        try:
            return may_change_in_place(self.destination.disk, self.destination.at(path), name, owner=owner)
        except (FileNotFoundError, NotADirectoryError):
            raise drifted(joined(path, name)) from None

    def _directory_metadata(self, path: str, new: Entry, old: Entry, *, touched: bool) -> None:
        """A directory whose names change gets its time set, also when it has the right one now."""
        wanted = self.rules.ownership.wanted(new, old)
        touched = touched and self.rules.ownership.may_change(old)
        same = wanted[:SEEN] == old[:SEEN]
        if touched or not same:
            self.result.changes.append(Change(path, old, wanted, content=False))
        if same and path:  # DST itself is no entry of DST
            self._unchanged += 1
            if self.progress.curious:
                self.progress.unchanged(path)

    def _keep_in_scope(self, path: str, want: dict[str, Entry], have: dict[str, Entry]) -> None:
        """Take out of both listings what is excluded, reserved, skipped or special."""
        rules = self.rules
        filters, skipped = rules.filters, rules.skipped
        there = set(have) if filters.active else set()
        if filters.gitignore and GITIGNORE in want and want[GITIGNORE].kind == FILE:
            self._learn(path)
        for names in (want, have):
            for name in [name for name in names if name[0] == "." and is_reserved(name)]:
                if names is want:
                    self.result.left_out[joined(path, name)] = "reserved name"
                del names[name]
            if filters.active:
                for name in list(names):
                    if filters.excludes(joined(path, name), is_dir=names[name].kind == DIR):
                        if names is want and self.progress.curious:
                            self.progress.excluded(joined(path, name))
                        del names[name]
        for name in (there - have.keys()) & want.keys():
            self._hidden(joined(path, name))
        if rules.touch and path == parent_of(rules.touch):
            name = rules.touch.rpartition("/")[2]
            if name in want and want[name].kind == DIR:
                raise UsageError(f"cannot touch {shown(rules.touch)}", "it is a directory in SRC")
            want.pop(name, None)
            have.pop(name, None)
        for names in (want, have):
            if skipped:
                for name in [name for name in names if joined(path, name) in skipped]:
                    del names[name]
        if rules.rest_ns:
            for name in [name for name in want if self._is_restless(joined(path, name), want[name])]:
                self.result.restless.append(joined(path, name))
                del want[name]
                have.pop(name, None)
        for name in [name for name, entry in want.items() if entry.kind == OTHER]:
            if rules.specials and (rules.ownership.everybody or not is_device(want[name])):
                continue
            self.result.left_out[joined(path, name)] = want[name].target.rstrip("0123456789: ")
            del want[name]
            have.pop(name, None)

    def _hidden(self, path: str) -> None:
        """What is there at the destination is of another kind, and the patterns exclude it as that."""
        raise GuardTripped(
            f"cannot create {shown(path)}",
            "at the destination something of another kind is there, which the patterns exclude",
            "Remove it by hand, or change the patterns.",
        )

    def _verdicts(self, path: str, want: Mapping[str, Entry], have: Mapping[str, Entry]) -> dict[str, bool]:
        """Name → whether the contents differ, for the names where only reading can tell."""
        verdicts: dict[str, bool] = {}
        names: Collection[str] = want.keys() & have.keys()
        if not self.rules.checksum:
            names = self._doubtful(path, names)
        for name in names:
            new, old, here = want[name], have[name], joined(path, name)
            if new.kind != FILE or old.kind != FILE or new.size != old.size:
                continue
            if not self.rules.checksum and new.mtime_ns != old.mtime_ns:
                continue
            digest = "" if self.rules.checksum else self.racy.get(here, "")
            if not digest:
                assert self.destination is not None
                digest = self._digest(self.destination, here)
            verdicts[name] = self._digest(self.source, here) != digest
            settled = verdicts.get(name) is False and not may_be_racy(new.mtime_ns, self.now_ns)
            if settled and here in self.racy:
                self.result.settled.append(here)
        return verdicts

    def _doubtful(self, path: str, names: Collection[str]) -> Collection[str]:
        """Those of a directory's names whose equality the quick check cannot vouch for."""
        if path not in self._racy_parents:
            return ()
        return [name for name in names if joined(path, name) in self.racy]

    def _remove(self, path: str, entry: Entry) -> bool:
        """Record the removal of what the destination has too much; False if it holds protected paths."""
        kept = self._displace(path, keep_protected=True) if entry.kind == DIR else False
        if not kept:
            self.result.changes.append(Change(path, entry, None))
        return not kept

    def _displace(self, top: str, *, keep_protected: bool) -> bool:
        """Record that all below directory ``top`` goes. Excluded paths in it are protected: with
        ``keep_protected`` they stay, and so do the directories above them. Returns whether any did."""
        assert self.destination is not None
        members: list[tuple[str, Entry]] = []
        kept: set[str] = set()
        skipped = self.rules.skipped | {self.rules.touch} if self.rules.touch else self.rules.skipped
        pending = [top]
        while pending:
            directory = pending.pop()
            try:
                below = self._listing(self.destination, directory)
            except (FileNotFoundError, NotADirectoryError):
                raise drifted(directory) from None
            for name, entry in sorted(below.items()):
                path = joined(directory, name)
                if path in skipped or self.rules.filters.excludes(path, is_dir=entry.kind == DIR):
                    self.result.protected.append(path)
                    while path := path.rpartition("/")[0]:
                        kept.add(path)
                    continue
                members.append((path, entry))
                if entry.kind == DIR:
                    pending.append(path)
        for path, entry in members:
            if not (keep_protected and path in kept):
                self.result.changes.append(Change(path, entry, None))
        return top in kept

    def _enters(self, entry: Entry) -> bool:
        return not self.rules.one_file_system or entry.dev == self._device

    def _listing(self, tree: Cursor | None, path: str) -> dict[str, Entry]:
        assert tree is not None
        try:
            if self.links is None:
                found = listing(tree.disk, tree.at(path))
            else:
                several: set[str] = set()
                found = listing(tree.disk, tree.at(path), several)
                self.links.several.update(joined(path, name) for name in several)
            return self._dressed(tree, path, found) if self.rules.attributes else found
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise self._unreadable(error, tree, path) from None

    def _dressed(self, tree: Cursor, directory: str, found: dict[str, Entry]) -> dict[str, Entry]:
        """The entries with their extended attributes."""
        at, dressed = tree.at(directory), {}
        for name, entry in found.items():
            with contextlib.suppress(FileNotFoundError):  # the next look sees that
                dressed[name] = self._with_attributes(tree, at, name, joined(directory, name), entry)
        return dressed

    def _with_attributes(self, tree: Cursor, at: int, name: str, path: str, entry: Entry) -> Entry:
        try:
            text = attributes_at(tree.disk, at, name, self.rules.attributes)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise
            raise self._unreadable(error, tree, path) from None
        if len(text) > TEXT_MAX:
            told = DestinationLimit(
                f"cannot keep the extended attributes of {shown(path or '.')}",
                f"they are larger than {TEXT_MAX // 2:,} bytes",
                "Leave the path out with --exclude, or all attributes: leave out -X (--xattrs).",
            )
            told.path = path or None
            raise told
        return entry._replace(xattrs=text)

    def _root(self, tree: Cursor) -> Entry:
        root = entry_of(tree.disk.fstat(tree.root))
        return self._with_attributes(tree, tree.root, ".", "", root) if self.rules.attributes else root

    def _digest(self, tree: Cursor, path: str) -> str:
        try:
            fd = tree.disk.open_file(*tree.split(path))
            try:
                return digest_file(tree.disk, fd, check=self.progress.check)[0]
            finally:
                tree.disk.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise self._unreadable(error, tree, path) from None

    def _is_restless(self, path: str, entry: Entry) -> bool:
        """A stamp from the future, by another machine's clock, tells nothing."""
        return entry.kind == FILE and 0 <= self.now_ns - entry.ctime_ns < self.rules.rest_ns

    def _learn(self, directory: str) -> None:
        """Take in the patterns of ``directory/.gitignore``."""
        self.rules.filters.learn(directory, self._text(joined(directory, GITIGNORE)))

    def _text(self, path: str) -> str:
        fd = self.source.disk.open_file(*self.source.split(path))
        try:
            data = self.source.disk.pread(fd, _GITIGNORE_MAX_BYTES, 0)
        finally:
            self.source.disk.close(fd)
        return data.decode("utf-8", "surrogateescape")

    def _unreadable(self, error: OSError, tree: Cursor, path: str) -> AtomSyncError:
        side = "source" if tree is self.source else "destination"
        at_fault = path if tree is self.source else None
        return from_oserror(error, f"cannot read {shown(path or '.')} in the {side}", at_fault)


def _by_names(found: tuple[str, Entry] | Change) -> list[str]:
    """The order of the trees: a directory before what is in it, and that before what follows."""
    return found[0].split("/")
