"""What a simulated disk is made of: inodes that never change, and effects that replace them.

A state maps an inode's *serial* (a number for life, never given twice) to its ``Inode``. Inodes are
immutable, so a copy of a state is a copy of one dict, however much the files hold. The same effect is
applied to what programs see and, later or never, to what the medium holds: one meaning, two states.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

ROOT = 1
_DEVICE, _BLOCK = 0x51D, 4096
REGULAR, DIRECTORY, SYMLINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK


class SimStat(NamedTuple):
    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_blocks: int
    st_rdev: int
    st_mtime_ns: int
    st_ctime_ns: int


class Inode(NamedTuple):
    """``data`` is a file's bytes or a link's target; ``names`` are a directory's, by serial.

    ``decided_ns`` is when the mtime was last decided, by a change or by a program: effects may reach the
    medium in another order than they happened, and the mtime must be the last one's all the same.
    ``home`` is the one place a directory has (its parent's serial, its name): where ``..`` leads.
    """

    kind: int
    number: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    decided_ns: int
    data: bytes
    names: Mapping[str, int]
    home: tuple[int, str]
    links: int
    xattrs: Mapping[str, bytes] = MappingProxyType({})

    def changed(self, when: int, data: bytes, names: Mapping[str, int]) -> Inode:
        """With other content, and with the times that a change of content gives."""
        kind, number, mode, uid, gid, mtime_ns, ctime_ns, decided_ns, _, _, home, links, xattrs = self
        if when > decided_ns:
            mtime_ns = decided_ns = when
        ctime_ns = max(when, ctime_ns)
        return Inode(
            kind, number, mode, uid, gid, mtime_ns, ctime_ns, decided_ns, data, names, home, links, xattrs
        )  # _replace would take three times as long

    def stat(self) -> SimStat:
        """What ``lstat`` gives."""
        size = _BLOCK if self.kind == DIRECTORY else len(self.data)
        return SimStat(
            self.kind | self.mode,
            self.number,
            _DEVICE,
            self.links,
            self.uid,
            self.gid,
            size,
            -(-size // _BLOCK) * (_BLOCK // 512),
            0,
            self.mtime_ns,
            self.ctime_ns,
        )


State = dict[int, Inode]


class Naming(NamedTuple):
    """Names given and taken away in one step. A slot is (directory, name, serial or None)."""

    when: int
    slots: tuple[tuple[int, str, int | None], ...]

    def apply(self, state: State, torn: bytes | None = None) -> None:
        when = self.when
        references: dict[int, int] = {}
        for at, name, serial in self.slots:
            directory = state[at]
            names = {**directory.names}
            former = names.pop(name, None)
            if former is not None:
                references[former] = references.get(former, 0) - 1
            if serial is not None:
                names[name] = serial
                references[serial] = references.get(serial, 0) + 1
            state[at] = directory.changed(when, b"", names)
        for serial, change in references.items():
            inode = state[serial]
            state[serial] = inode._replace(ctime_ns=max(when, inode.ctime_ns), links=inode.links + change)
        for at, name, child in self.slots:
            if child is not None and state[child].kind == DIRECTORY:
                self._move_in(state, child, (at, name))

    @staticmethod
    def _move_in(state: State, serial: int, home: tuple[int, str]) -> None:
        # A directory has one name. If the effect that took the former one away did not survive,
        # this one does it: no filesystem lets a directory be in two places.
        inode = state[serial]
        parent, name = inode.home
        if (parent, name) != home and parent in state and state[parent].names.get(name) == serial:
            names = {**state[parent].names}
            del names[name]
            state[parent] = state[parent]._replace(names=names)
        state[serial] = state[serial]._replace(home=home)


class Attributes(NamedTuple):
    """Owner, mode or mtime of one inode. -1 for an owner and None leave that one as it is."""

    when: int
    serial: int
    uid: int
    gid: int
    mode: int | None
    mtime_ns: int | None

    @property
    def idle(self) -> bool:
        """Whether nothing but the ctime changes."""
        return self[2:] == (-1, -1, None, None)

    def apply(self, state: State, torn: bytes | None = None) -> None:
        inode = state[self.serial]
        mode = inode.mode
        if inode.kind == REGULAR and (self.uid != -1 or self.gid != -1):
            mode &= ~0o4000 if not mode & 0o010 else ~0o6000  # chown takes the lent rights away
        mtime_ns, decided_ns = inode.mtime_ns, inode.decided_ns
        if self.mtime_ns is not None and self.when > decided_ns:
            mtime_ns, decided_ns = self.mtime_ns, self.when
        state[self.serial] = inode._replace(
            uid=inode.uid if self.uid == -1 else self.uid,
            gid=inode.gid if self.gid == -1 else self.gid,
            mode=mode if self.mode is None else self.mode & 0o7777,
            mtime_ns=mtime_ns,
            decided_ns=decided_ns,
            ctime_ns=max(self.when, inode.ctime_ns),
        )


class Extended(NamedTuple):
    """One extended attribute of an inode set, or removed by None."""

    when: int
    serial: int
    name: str
    value: bytes | None

    def apply(self, state: State, torn: bytes | None = None) -> None:
        inode = state[self.serial]
        xattrs = {name: value for name, value in inode.xattrs.items() if name != self.name}
        if self.value is not None:
            xattrs[self.name] = self.value
        state[self.serial] = inode._replace(xattrs=xattrs, ctime_ns=max(self.when, inode.ctime_ns))


class Write(NamedTuple):
    """Bytes at an offset. ``torn``, if given, is what survives in their place: see ``crash.damaged``."""

    when: int
    serial: int
    offset: int
    data: bytes

    def apply(self, state: State, torn: bytes | None = None) -> None:
        inode = state[self.serial]
        old, offset = inode.data, self.offset
        new = self.data if torn is None else torn
        data = old[:offset].ljust(offset, b"\0") + new + old[offset + len(new) :]
        state[self.serial] = inode.changed(self.when, data, {})


class Cut(NamedTuple):
    """A file's size set: cut off, or filled with zeros."""

    when: int
    serial: int
    size: int

    def apply(self, state: State, torn: bytes | None = None) -> None:
        inode = state[self.serial]
        data = inode.data[: self.size].ljust(self.size, b"\0")
        state[self.serial] = inode.changed(self.when, data, {})


Effect = Naming | Attributes | Extended | Write | Cut
DATA = (Write, Cut)  # the effects on the bytes of files; the others are metadata


def survivors(state: State) -> State:
    """What a filesystem check leaves: the inodes that have a name, with the right number of links."""
    links = Counter({ROOT: 1})
    found: State = {}
    pending = [ROOT]
    while pending:
        serial = pending.pop()
        if serial not in found:
            inode = found[serial] = state[serial]
            if inode.names:
                children = inode.names.values()
                links.update(children)
                pending.extend(children)
    return {
        serial: inode if inode.links == links[serial] else inode._replace(links=links[serial])
        for serial, inode in found.items()
    }
