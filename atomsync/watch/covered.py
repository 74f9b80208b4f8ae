"""The directories under watch, as a tree that follows what the disk shows and not what events claim.

Events come late: when one is read, the names it speaks of may already mean something else. So an event
about a directory is never replayed here. It only says at which name to look; what is found there is
known by the kernel's watch descriptor, which stands for the inode: asking for a watch on a directory
that has one returns the same number. After the last event about a name has been looked at, the tree is
right there, whatever happened in between. What cannot be reached where it should be is in doubt, and is
listed anew as soon as it can be.

Memory is a node a directory (a few hundred bytes), nothing for a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.tree.path import is_reserved, joined

NOT_WATCHED = -1
_PASSES = 16
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Node:
    """A directory: watched, or (without a descriptor) one that cannot be."""

    __slots__ = ("children", "name", "parent", "wd")

    def __init__(self, parent: Node | None, name: str, wd: int) -> None:
        self.parent, self.name, self.wd = parent, name, wd
        self.children: dict[str, Node] = {}


class Look(NamedTuple):
    """One name to look at; ``deep``: also at everything below it, even if it is known."""

    parent: Node
    name: str
    deep: bool


class Covered:
    """``watch(fd)`` gives the kernel's number of an open directory, or raises OSError; ``unwatch`` ends it.

    Not for several threads at once. Methods raise OSError if the root is no longer at its path.
    """

    def __init__(
        self,
        root: str,
        watch: Callable[[int], int],
        unwatch: Callable[[int], None],
        excludes: Callable[[str], bool] | None = None,
        device: int | None = None,
    ) -> None:
        self._root, self._watch, self._unwatch = root, watch, unwatch
        self._excludes, self._device = excludes, device
        self._disk = PosixDisk()
        self.top = Node(None, "", NOT_WATCHED)
        self.nodes: dict[int, Node] = {}
        self.uncovered: dict[Node, OSError] = {}
        self._doubtful: set[Node] = set()
        self._astray: list[Node] = []  # taken off their places; most are found at another soon
        self._missing: list[Node] = []  # the ones of before: not found, so outside the tree

    def path(self, node: Node) -> str | None:
        """Where a node is, or None for one that has no place now."""
        names = []
        while (parent := node.parent) is not None:  # read once: other threads ask, too
            names.append(node.name)
            node = parent
        return "/".join(reversed(names)) if node is self.top else None

    def cover_all(self) -> None:
        """Watch the root and everything below; raises OSError if there is no root."""
        fd = self._disk.open_root(self._root)
        try:
            self.top.wd = self._watch(fd)
        except OSError as error:
            self.uncovered[self.top] = error
            return
        finally:
            os.close(fd)
        self.nodes[self.top.wd] = self.top
        self.uncovered.pop(self.top, None)
        self._relist(self.top)

    def look(self, parent: Node, name: str) -> None:
        """See which directory is at a name now, and watch it with all below if it is new."""
        with self._cursor() as cursor:
            self._walk(cursor, [Look(parent, name, False)])

    def settle(self) -> list[Node]:
        """After some looks: list what was in doubt (returned), and let go what has left the tree."""
        listed: list[Node] = []
        for _ in range(_PASSES):  # what one pass puts right may be on the way to another one
            right = [node for node in list(self._doubtful) if self._relist(node)]
            listed += right
            if not right:
                break
        for node in self._missing:
            if node.parent is None:
                self.forget(node)
        self._missing, self._astray = self._astray, []
        return listed

    def retry(self) -> list[Node]:
        """Try the uncovered ones again; returns those that are covered now."""
        before = list(self.uncovered)
        for node in before:
            if node is self.top:
                self.cover_all()
            elif node.parent is not None:
                self.look(node.parent, node.name)
        return [node for node in before if node.wd != NOT_WATCHED]

    def forget(self, node: Node) -> None:
        """A directory that is gone, with all below."""
        self._detach(node)
        for gone in _subtree(node):
            if self.nodes.pop(gone.wd, None) is not None:
                self._unwatch(gone.wd)
            gone.wd = NOT_WATCHED
            self.uncovered.pop(gone, None)
            self._doubtful.discard(gone)

    # -- looking
    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        # Opened by its path each time: a descriptor kept open would keep the filesystem from being unmounted.
        root = self._disk.open_root(self._root)
        try:
            if not self._is(root, self.top):
                raise OSError(errno.ESTALE, "another directory is in its place", self._root)
            with Cursor(self._disk, root) as cursor:
                yield cursor
        finally:
            os.close(root)

    def _walk(self, cursor: Cursor, pending: list[Look]) -> None:
        while pending:
            pending.extend(self._look(cursor, *pending.pop()))

    def _look(self, cursor: Cursor, parent: Node, name: str, deep: bool) -> list[Look]:
        """Returns the looks that must follow."""
        at = self._reach(cursor, parent)
        if at is None:
            if parent.wd in self.nodes:
                self._doubtful.add(parent)
            return []
        if is_reserved(name) or (self._excludes and self._excludes(joined(self.path(parent) or "", name))):
            self._take_off(parent, name)
            return []
        try:
            fd = self._disk.open_dir(at, name)
        except OSError as error:
            if error.errno in _NOT_THERE:
                self._take_off(parent, name)
            else:
                self._fail(parent, name, error)
            return []
        try:
            if self._device is not None and self._disk.fstat(fd).st_dev != self._device:
                self._take_off(parent, name)
                return []
            return self._enter(fd, parent, name, deep)
        except OSError as error:
            self._fail(parent, name, error)
            return []
        finally:
            os.close(fd)

    def _enter(self, fd: int, parent: Node, name: str, deep: bool) -> list[Look]:
        wd = self._watch(fd)
        node, here = self.nodes.get(wd), parent.children.get(name)
        if node is None:
            # Watched before it is listed, so that nothing comes between.
            if here is not None and here.wd != NOT_WATCHED:
                self._take_off(parent, name)
                here = None
            node = here or Node(parent, name, wd)
            node.wd = wd
            self.nodes[wd] = parent.children[name] = node
            self.uncovered.pop(node, None)
            return self._below(fd, node, deep)
        if node is here:
            return self._below(fd, node, deep) if deep else []
        if self._is_at_its_place(node):
            raise OSError(errno.EEXIST, f"it is the same directory as {self.path(node) or '.'}")
        if node in _above(parent):
            self._doubtful.add(parent)  # seen in the middle of moves; their events are still to come
            return []
        self._take_off(parent, name)
        self._detach(node)
        node.parent, node.name = parent, name
        parent.children[name] = node
        # Which directories below are left out may depend on where they are.
        return self._below(fd, node, True) if self._excludes else []

    def _below(self, fd: int, node: Node, deep: bool) -> list[Look]:
        names = set(node.children)
        os.lseek(fd, 0, os.SEEK_SET)  # or btrfs tells only what was there when it was opened
        with os.scandir(fd) as entries:
            names.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return [Look(node, name, deep) for name in names]

    def _relist(self, node: Node) -> bool:
        with self._cursor() as cursor:
            fd = self._reach(cursor, node)
            if fd is None:
                return False
            self._doubtful.discard(node)
            self._walk(cursor, self._below(fd, node, False))
        return True

    def _reach(self, cursor: Cursor, node: Node) -> int | None:
        """The open directory of a node, if it is where the tree has it."""
        path = self.path(node)
        if path is None:
            return None
        for _ in range(2):  # the cursor's descriptors may be of the directories of before
            with contextlib.suppress(OSError):
                fd = cursor.at(path)
                if self._is(fd, node):
                    return fd
            cursor.close()
        return None

    def _is(self, fd: int, node: Node) -> bool:
        try:
            wd = self._watch(fd)
        except OSError:
            return False
        if wd not in self.nodes:
            self._unwatch(wd)
        return wd == node.wd

    def _is_at_its_place(self, node: Node) -> bool:
        with self._cursor() as cursor:
            return self._reach(cursor, node) is not None

    # -- the tree
    def _fail(self, parent: Node, name: str, error: OSError) -> None:
        node = parent.children.get(name)
        if node is None or node.wd != NOT_WATCHED:
            self._take_off(parent, name)
            node = parent.children[name] = Node(parent, name, NOT_WATCHED)
        self.uncovered[node] = error

    def _take_off(self, parent: Node, name: str) -> None:
        node = parent.children.get(name)
        if node is None:
            return
        self._detach(node)
        if node.wd == NOT_WATCHED:
            self.uncovered.pop(node, None)
        else:
            self._astray.append(node)

    @staticmethod
    def _detach(node: Node) -> None:
        if node.parent is not None:
            del node.parent.children[node.name]
            node.parent = None


def _subtree(node: Node) -> Iterator[Node]:
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.children.values())


def _above(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.parent
