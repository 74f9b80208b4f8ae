"""Trees written down: what a test expects to find, as one literal, over any disk.

    tree = Dir({"a": File(b"one"), "sub": Dir({"b": Link("../a")})})
    build(disk, at, tree)
    assert read(disk, at) == tree

A field that is None on either side is not compared (and not set when building), so a literal says only
what its test is about.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

from atomsync.fs.disk import Disk, Stat
from atomsync.tree.entry import special_name

_CHUNK = 1 << 20


class _Literal:
    """Equal when the kinds are and every field that both sides name; shown as it would be written."""

    __slots__: tuple[str, ...] = ()
    __hash__ = None  # type: ignore[assignment]  # None equals everything, so no hash could agree

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        for field in self.__slots__:
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs and mine is not None and theirs is not None:
                return False
        return True

    def __repr__(self) -> str:
        shown = []
        for at, field in enumerate(fields(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if at == 0:
                shown.append(repr(value))
            elif value != field.default:
                text = f"{value:#o}" if field.name == "mode" and value is not None else repr(value)
                shown.append(f"{field.name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class File(_Literal):
    data: bytes
    mode: int | None = 0o644
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dir(_Literal):
    names: Mapping[str, Tree]
    mode: int | None = 0o755
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Link(_Literal):
    target: str
    mtime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Special(_Literal):
    """A FIFO, socket or device, by its name. Read, never built."""

    kind: str
    mode: int | None = None


Tree = File | Dir | Link | Special


def build(disk: Disk, at: int, tree: Dir) -> None:
    """Make what ``tree`` holds in the open directory ``at``, and give ``at`` its attributes."""
    for name, child in tree.names.items():
        if isinstance(child, Dir):
            disk.mkdir(at, name)
            below = disk.open_dir(at, name)
            try:
                build(disk, below, child)
            finally:
                disk.close(below)
        elif isinstance(child, File):
            fd = disk.create(at, name)
            try:
                disk.write(fd, child.data, 0)
                disk.set_meta(fd, *_meta(child), child.mode, child.mtime_ns)
            finally:
                disk.close(fd)
        elif isinstance(child, Link):
            disk.symlink(child.target, at, name)
            disk.set_meta_at(at, name, *_meta(child), None, child.mtime_ns)
        else:
            raise ValueError(f"a literal cannot make a {child.kind}: {name!r}")
    disk.set_meta(at, *_meta(tree), tree.mode, tree.mtime_ns)


def read(
    disk: Disk,
    at: int,
    skip: Collection[str] = (".atomsync",),
    *,
    owners: bool = False,
    directory_times: bool = False,
) -> Dir:
    """The tree in the open directory ``at``, without the names in ``skip`` at any depth.

    Owners and the times of directories, which change whenever a name in them does, only if asked for.
    """
    names: dict[str, Tree] = {}
    for name, found in sorted(disk.scandir(at), key=lambda item: item[0]):
        if name in skip:
            continue
        uid, gid = (found.st_uid, found.st_gid) if owners else (None, None)
        mode = found.st_mode & 0o7777
        if stat.S_ISDIR(found.st_mode):
            fd = disk.open_dir(at, name)
            try:
                names[name] = read(disk, fd, skip, owners=owners, directory_times=directory_times)
            finally:
                disk.close(fd)
        elif stat.S_ISREG(found.st_mode):
            names[name] = File(_content(disk, at, name), mode, found.st_mtime_ns, uid, gid)
        elif stat.S_ISLNK(found.st_mode):
            names[name] = Link(disk.readlink(at, name), found.st_mtime_ns, uid, gid)
        else:
            names[name] = Special(special_name(found.st_mode), mode)
    top: Stat = disk.fstat(at)
    uid, gid = (top.st_uid, top.st_gid) if owners else (None, None)
    return Dir(names, top.st_mode & 0o7777, top.st_mtime_ns if directory_times else None, uid, gid)


def _meta(tree: File | Dir | Link) -> tuple[int, int]:
    return -1 if tree.uid is None else tree.uid, -1 if tree.gid is None else tree.gid


def _content(disk: Disk, at: int, name: str) -> bytes:
    fd = disk.open_file(at, name)
    try:
        pieces: list[bytes] = []
        size = 0
        while piece := disk.pread(fd, _CHUNK, size):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)
    finally:
        disk.close(fd)
