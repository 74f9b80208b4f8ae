"""Which filesystems do not tell of every change, and so must be polled.

Only local changes make events: what another machine writes to a shared filesystem makes none here, nor
does what is done beneath an overlay, nor what the kernel makes up when it is read. What may be one of
these counts as one: FUSE says nothing about where its files come from.
"""

from __future__ import annotations

import os

from atomsync.fs.mounts import Mount, below, mounts

_SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"}
    | {"afs", "beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs"}
)
_MADE_UP = frozenset({"cgroup", "cgroup2", "configfs", "debugfs", "proc", "sysfs", "tracefs"})


def gives_no_events(path: str) -> str:
    """Why not every change on the filesystem of directory ``path`` makes an event; "" if all do."""
    number = _mount_id(path)
    return next((_why(mount) for mount in mounts() if mount.id == number), "")


def silent_below(root: str) -> dict[str, str]:
    """The mount points below ``root`` (relative paths) that do not tell of every change, and why not."""
    silent = {path: _why(mount) for path, mount in below(root).items()}
    return {path: why for path, why in silent.items() if why}


def mount_identities(root: str) -> dict[str, int]:
    """The mount points below ``root`` (relative paths) and the number of the device mounted there.

    From the kernel's table alone: a server that does not answer cannot hold us up.
    """
    return {path: mount.device for path, mount in below(root).items()}


def _why(mount: Mount) -> str:
    kind = mount.fs_type
    if kind in _SHARED or kind.startswith("fuse."):
        return f"on {kind}, changes made elsewhere give no events"
    if kind == "overlay":
        return "on overlay, changes made beneath it give no events"
    return f"{kind} gives no events" if kind in _MADE_UP else ""


def _mount_id(path: str) -> int | None:
    """Of the mount that holds ``path``: longer names in the table may be hidden by what is mounted over."""
    try:
        fd = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            return next((int(line[7:]) for line in info if line.startswith("mnt_id:")), None)
    except OSError:
        return None
    finally:
        os.close(fd)
