"""Extended attributes, POSIX ACLs among them, as one text that an entry can carry.

    text = families [NUL name "=" value in hexadecimal]...

The families say what was asked for, so a text without names means "none", and "" that nobody asked.
Names are sorted: two texts are equal when the attributes are.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from atomsync.fs.disk import Disk

ACLS, USER, SYSTEM = "A", "X", "S"
"""POSIX ACLs; ``user.*``; what only root may set: ``trusted.*`` and ``security.*``."""
TEXT_MAX = 400_000  # two of them, and the paths, fit into a record of the journal
_FAMILIES = ACLS + USER + SYSTEM
_ACCESS = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
_ACL_NAMES = {_ACCESS, DEFAULT_ACL}
_NOT_OURS = {
    *("security.evm", "security.ima"),  # the kernel computes them, of each inode
    *("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"),  # the ACLs once more, on XFS
}
_CAPABILITY = "security.capability"
_USER_OBJ, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20
_HEAD, _ACL_ENTRY = struct.Struct("<I"), struct.Struct("<HHI")


def families(*, acls: bool, xattrs: bool, root: bool) -> str:
    """What is asked for, as the beginning of a text; "" if nothing is."""
    return (ACLS if acls else "") + (USER if xattrs else "") + (SYSTEM if xattrs and root else "")


def is_asked_for(name: str, asked: str) -> bool:
    """Whether attribute ``name`` belongs to the families that were asked for."""
    if name in _ACL_NAMES:
        return ACLS in asked
    if name.startswith("user."):
        return USER in asked
    return SYSTEM in asked and name.startswith(("trusted.", "security.")) and name not in _NOT_OURS


def read_attributes(disk: Disk, at: int, name: str, asked: str) -> dict[str, bytes]:
    """Those of a name (of a directory itself as ".") that were asked for."""
    found = {}
    for attribute in disk.xattr_names(at, name):
        if is_asked_for(attribute, asked):
            try:
                found[attribute] = disk.xattr(at, name, attribute)
            except OSError as error:
                if error.errno != errno.ENODATA:  # else it has just gone
                    raise
    return found


def attributes_at(disk: Disk, at: int, name: str, asked: str) -> str:
    """The same as a text."""
    return encode(asked, read_attributes(disk, at, name, asked))


def encode(asked: str, found: Mapping[str, bytes]) -> str:
    """The text of ``found``."""
    return "\0".join([asked, *(f"{name}={value.hex()}" for name, value in sorted(found.items()))])


def decode(text: str) -> tuple[str, dict[str, bytes]]:
    """``(families, name → value)``; raises ValueError for what is no such text."""
    asked, *items = text.split("\0")
    if not set(asked) <= set(_FAMILIES) or not asked:
        raise ValueError("no families")
    found = {}
    for item in items:
        name, equals, value = item.rpartition("=")
        if not equals or not is_asked_for(name, asked):
            raise ValueError("no attribute that was asked for")
        found[name] = bytes.fromhex(value)
    return asked, found


def overlaid(every: str, known: str) -> str:
    """The text ``every`` with what ``known``, which may be "", says of its families."""
    asked, found = decode(every)
    families, told = decode(known) if known else ("", {})
    kept = {name: value for name, value in found.items() if not is_asked_for(name, families)}
    return encode(asked, kept | told)


def may_change_in_place(disk: Disk, at: int, name: str, *, owner: bool) -> bool:
    """Whether mode, time and, with ``owner``, the owner of a file may be set where it is, and set back. If it
    has other names, perhaps outside the destination, that would change what no plan names; and another owner
    takes its capabilities away."""
    if disk.lstat(at, name).st_nlink > 1:
        return False
    if not owner:
        return True
    try:
        disk.xattr(at, name, _CAPABILITY)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return True
        raise
    return False


def difference(have: Mapping[str, bytes], want: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """What makes ``want`` of ``have``; None for what is to go. That comes first, for room may be scarce, and
    ACLs come last: they may take the right to set the others."""
    gone: dict[str, bytes | None] = dict.fromkeys(sorted(have.keys() - want.keys()))
    names = sorted(want, key=lambda name: (name in _ACL_NAMES, name))
    return gone | {name: want[name] for name in names if have.get(name) != want[name]}


def way_back(now: Mapping[str, bytes], new: str, old: str) -> dict[str, bytes | None]:
    """What undoes a change from ``old`` to ``new``, cut anywhere. An attribute that has neither the one value
    nor the other is somebody else's doing, and stays."""
    before, after = decode(old)[1], decode(new)[1]
    return {
        name: value
        for name, value in difference(after, before).items()
        if _alike(name, now.get(name), after.get(name)) and now.get(name) != value
    }


def _alike(name: str, one: bytes | None, other: bytes | None) -> bool:
    """Equal, but for what a chmod changes in an ACL."""
    if one is None or other is None or name != _ACCESS:
        return one == other
    return _without_mode(one) == _without_mode(other)


def _without_mode(acl: bytes) -> list[tuple[int, int, int]]:
    body = acl[_HEAD.size :]
    entries = [
        _ACL_ENTRY.unpack_from(body, at) for at in range(0, len(body) - _ACL_ENTRY.size + 1, _ACL_ENTRY.size)
    ]
    masked = _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP_OBJ
    by_mode = {_USER_OBJ, _OTHER, masked}
    return [(tag, 0 if tag in by_mode else perm, who) for tag, perm, who in entries]
