"""Extended attributes on their way to the destination: given to what is staged, changed where a directory
stays, and taken back.

They come behind the owner, since a chown takes capabilities away, and before the mode: an ACL changes
the group bits, and who is not root may not add attributes to what has no write bit.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from atomsync.errors import AtomSyncError, DestinationLimit, from_oserror
from atomsync.fs.disk import Disk
from atomsync.store.control import Control
from atomsync.tree.entry import LINK, Entry
from atomsync.tree.path import shown
from atomsync.tree.xattrs import DEFAULT_ACL, attributes_at, decode, difference, read_attributes, way_back

_WRITE_BIT = 0o200
_CANNOT_HOLD = {errno.EOPNOTSUPP, errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EINVAL}


def dress(disk: Disk, at: int, name: str, entry: Entry, path: str) -> None:
    """Give a new object all that ``entry`` says but its kind and content. It may have inherited attributes.

    Raises DestinationLimit, naming the option to leave out, where the filesystem cannot hold them."""
    disk.set_meta_at(at, name, entry.uid, entry.gid, None, None)
    asked, want = decode(entry.xattrs)
    changes = difference(read_attributes(disk, at, name, asked), want)
    if changes:
        try:
            disk.set_xattrs(at, name, changes)
        except OSError as error:
            raise cannot_hold(error, path) from None
    disk.set_meta_at(at, name, -1, -1, None if entry.kind == LINK else entry.mode, entry.mtime_ns)


def take_default_acl(disk: Disk, at: int, name: str) -> None:
    """From a directory of ours: what is made in it shall not inherit what DST had when the store was made."""
    if DEFAULT_ACL in disk.xattr_names(at, name):
        disk.set_xattrs(at, name, {DEFAULT_ACL: None})


def attributes_of(control: Control, path: str, like: str) -> str:
    """The text of what the destination has at a path, of the families in the text ``like``."""
    return attributes_at(control.disk, *_place(control, path), decode(like)[0])


def change_attributes(control: Control, path: str, new: Entry, ino: int) -> None:
    """Give a directory that stays the attributes of ``new``. Its mode is to be set behind this."""
    at, name = _place(control, path)
    asked, want = decode(new.xattrs)
    try:
        have = read_attributes(control.disk, at, name, asked)
        _set(control.disk, at, name, difference(have, want), ino)
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        raise cannot_hold(error, path) from None


def restore_attributes(control: Control, path: str, old: Entry, new: Entry, ino: int) -> None:
    """Take ``change_attributes`` back, whatever of it took place. The mode is to be set behind this."""
    at, name = _place(control, path)
    now = read_attributes(control.disk, at, name, decode(old.xattrs)[0])
    _set(control.disk, at, name, way_back(now, new.xattrs, old.xattrs), ino)


def _set(disk: Disk, at: int, name: str, changes: Mapping[str, bytes | None], ino: int) -> None:
    if not changes:
        return
    mode = disk.lstat(at, name).st_mode
    if os.geteuid() != 0 and not mode & _WRITE_BIT:
        disk.set_meta_at(at, name, -1, -1, mode & 0o7777 | _WRITE_BIT, None, ino)
    disk.set_xattrs(at, name, changes, ino)


def _place(control: Control, path: str) -> tuple[int, str]:
    return control.tree.split(path) if path else (control.root, ".")


def cannot_hold(error: OSError, path: str) -> AtomSyncError:
    """The system's refusal of an attribute, whose name is in ``error.filename``."""
    attribute = str(error.filename or "an attribute")
    what = f"cannot give {shown(path or '.')} its {attribute}"
    if error.errno not in _CANNOT_HOLD:
        return from_oserror(error, what)
    option = "-A (--acls)" if attribute.startswith("system.") else "-X (--xattrs)"
    found = DestinationLimit(
        what,
        f"the destination's filesystem cannot hold it: {error.strerror}",
        f"Leave out {option}, or leave the path out with --exclude.",
    )
    found.path = path or None
    return found
