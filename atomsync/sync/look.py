"""A comparison of some paths instead of everything: a push that knows where to look.

The cost is that of the paths, whatever the trees hold. A path is looked at by its name in its parent
directory; where that is not a directory on both sides, the highest directory above it that differs is
looked at instead, with all below. Each directory in which names are looked at is compared itself, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.sync.compare import Comparer, Comparison, Pairs
from atomsync.tree.entry import DIR, FILE, SEEN, Entry, look
from atomsync.tree.filters import GITIGNORE
from atomsync.tree.path import is_reserved, joined, parent_of, upwards
from atomsync.watch.hint import ENTRY, NAMES, TREE
from atomsync.watch.moves import carried


class Look(NamedTuple):
    """``reaches``: path → ENTRY, NAMES or TREE (see ``watch.hint``). ``held``: paths to leave alone.
    ``moves``: new path → path before, as a watcher said. ``bytes_max``: how much content to take at
    most, beside what directories bring along whole; 0 for all of it. ``wary``: the source is not the
    directory it was, so that most of the destination must not go without leave."""

    reaches: Mapping[str, int]
    held: frozenset[str] = frozenset()
    moves: Mapping[str, str] = MappingProxyType({})
    bytes_max: int = 0
    wary: bool = False

    def before(self, path: str) -> str:
        """Where ``path`` was, if it or a directory above it was moved; else ""."""
        was = carried(path, self.moves)
        return "" if was == path else was


class LookComparer(Comparer):
    """Compares what a ``Look`` names; both trees must exist."""

    def compare(self, look: Look) -> Comparison:
        """Raises as ``run`` does."""
        # Directory → its entries on both sides; None where there is no such pair in scope.
        self._places: dict[str, tuple[Entry, Entry] | None] = {}
        # Directory → the names in it to look at, with what was found there.
        self._wanted: dict[str, dict[str, tuple[Entry | None, Entry | None]]] = {}
        self._look, self._bytes = look, 0
        new, old = self._roots()
        assert old is not None, "there is a destination to compare with"
        self._places[""] = (new, old)
        self._learn_if_there("")
        reaches = dict(look.reaches)
        if self.rules.filters.gitignore:  # its patterns are about all that is beside and below it
            reaches |= {parent_of(path): TREE for path in reaches if _name(path) == GITIGNORE}
        for path in sorted(reaches):
            self.progress.check()
            if self._place(path) is not None:
                self._wanted.setdefault(path, {})
                self._wanted.setdefault(parent_of(path), {})  # it may have gone and come back: their time
        for path in sorted(self._wanted):
            pair = self._places[path]
            within = path and any(reaches.get(above) == TREE for above in upwards(parent_of(path)))
            if pair is not None and not within:
                self._compare_place(path, *pair, reaches.get(path, ENTRY))
        return self.result._replace(unchanged=self._unchanged)

    def _compare_place(self, path: str, new: Entry, old: Entry, reach: int) -> None:
        if reach == TREE:
            self._walk(path, new, old)
            return
        pairs = self._directory(path, new, old) if reach == NAMES else self._some(path, new, old)
        for below, entry, there in pairs:
            if there is None:
                self._walk(below, entry, None)
            elif below not in self._wanted:
                self._directory_metadata(below, entry, there, touched=False)

    def _some(self, path: str, new: Entry, old: Entry) -> Pairs:
        """Compare the names of a directory that were asked for, as far as ``bytes_max`` allows."""
        want: dict[str, Entry] = {}
        have: dict[str, Entry] = {}
        for name, (entry, there) in self._wanted[path].items():
            if entry is not None and entry.kind == FILE and (there is None or entry[:SEEN] != there[:SEEN]):
                if self._bytes and 0 < self._look.bytes_max < self._bytes + entry.size:
                    self.result.left[joined(path, name)] = ENTRY
                    continue
                self._bytes += entry.size
            if self.links is not None:
                self._ask_for_links(path, name, entry, there)
            if entry is not None:
                want[name] = entry
            if there is not None:
                have[name] = there
        return self._names(path, new, old, want, have)

    def _ask_for_links(self, path: str, name: str, *found: Entry | None) -> None:
        assert self.links is not None
        for tree, entry in zip((self.source, self.destination), found):
            if tree is None or entry is None or entry.kind != FILE:
                continue
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # the next look sees that
                if tree.disk.lstat(tree.at(path), name).st_nlink > 1:
                    self.links.several.add(joined(path, name))

    def _is_restless(self, path: str, entry: Entry) -> bool:
        return path not in self._look.reaches and super()._is_restless(path, entry)

    def _doubtful(self, path: str, names: Collection[str]) -> Collection[str]:
        """Another file that was moved here may well have the same size and time."""
        if not self._look.moves:
            return super()._doubtful(path, names)
        here = [(name, joined(path, name)) for name in names]
        return [name for name, full in here if full in self.racy or self._look.before(full)]

    def _place(self, path: str) -> tuple[Entry, Entry] | None:
        """The pair of directory ``path``. Where there is none, the name that stands in the way is noted."""
        if path in self._places:
            return self._places[path]
        above = here = ""
        for name in path.split("/"):
            above, here = here, joined(here, name)
            if here not in self._places:
                self._places[here] = self._judged(above, name, here)
            if self._places[here] is None:
                return None
        return self._places[path]

    def _judged(self, above: str, name: str, path: str) -> tuple[Entry, Entry] | None:
        assert self.destination is not None
        if path in self.rules.skipped:
            return None
        new, old = self._seen(self.source, above, name), self._seen(self.destination, above, name)
        both = new is not None and old is not None and new.kind == DIR == old.kind
        if not (both and new is not None and old is not None and self._enters(new)):
            self._wanted.setdefault(above, {})[name] = (new, old)
            return None
        if is_reserved(name) or self.rules.filters.excludes(path, is_dir=True):
            return None
        self._learn_if_there(path)
        return new, old

    def _seen(self, tree: Cursor, above: str, name: str) -> Entry | None:
        try:
            at = tree.at(above)
            found = look(tree.disk, at, name)
            if found is None or not self.rules.attributes:
                return found
            return self._with_attributes(tree, at, name, joined(above, name), found)
        except (FileNotFoundError, NotADirectoryError):
            return None  # the directory above has just gone: the next look sees that
        except OSError as error:
            raise self._unreadable(error, tree, above) from None  # which may not be searched

    def _learn_if_there(self, directory: str) -> None:
        if self.rules.filters.gitignore:
            found = self._seen(self.source, directory, GITIGNORE)
            if found is not None and found.kind == FILE:
                self._learn(directory)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
