"""Which filesystems do not tell of every change, and so must be polled.

Only local changes make events: what another machine writes to a shared filesystem makes none here, nor
does what is done beneath an overlay, nor what the kernel makes up when it is read. What may be one of
these counts as one: FUSE says nothing about where its files come from.
"""

from __future__ import annotations

from atomsync.fs.mounts import Mount, below, mount_of

_SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs"}
    | {"afs", "beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs"}
)
_MADE_UP = frozenset({"cgroup", "cgroup2", "configfs", "debugfs", "proc", "sysfs", "tracefs"})


def gives_no_events(path: str) -> str:
    """Why not every change on the filesystem of directory ``path`` makes an event; "" if all do."""
    mount = mount_of(path)
    return why_silent(mount) if mount is not None else ""


def silent_below(root: str) -> dict[str, str]:
    """The mount points below ``root`` (relative paths) that do not tell of every change, and why not."""
    silent = {path: why_silent(mount) for path, mount in below(root).items()}
    return {path: why for path, why in silent.items() if why}


def why_silent(mount: Mount) -> str:
    """Why not every change on this mount makes an event; "" if all do. Such a mount may also not answer."""
    kind = mount.fs_type
    if kind in _SHARED or kind.startswith("fuse."):
        return f"on {kind}, changes made elsewhere give no events"
    if kind == "overlay":
        return "on overlay, changes made beneath it give no events"
    return f"{kind} gives no events" if kind in _MADE_UP else ""
