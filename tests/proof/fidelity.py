"""A tree with links, attributes, ACLs and devices, as it was and as it shall be, and what tells them apart.

Shares no code with the product.
"""

from __future__ import annotations

import collections
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

T = 10**18

State = dict[str, tuple[object, ...]]


def state(root: Path) -> State:
    """Everything about a tree that -aHAX is about, inode numbers left aside."""
    names: dict[int, list[str]] = collections.defaultdict(list)
    found: State = {}
    for path in [root, *sorted(root.rglob("*"))]:
        if ".atomsync" in path.parts:
            continue
        here, seen = str(path.relative_to(root)), path.lstat()
        regular = stat.S_ISREG(seen.st_mode)
        if regular:
            names[seen.st_ino].append(here)
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in _names(path)}
        what = path.read_bytes() if regular else os.readlink(path) if path.is_symlink() else seen.st_rdev
        found[here] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, what, xattrs)
    return found | {f"links of {group[0]}": tuple(group) for group in names.values()}


def _names(path: Path) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def given_to(user: int, root: Path) -> None:
    """It belongs to a user who is not root, and has no devices; what has attributes is closed to writing."""
    (root / "fifo").unlink()
    times = {path: path.lstat().st_mtime_ns for path in [root, *root.rglob("*")]}
    for path in times:
        os.chown(path, user, user, follow_symlinks=False)
    for name in ("dir", "bare", "a"):
        (root / name).chmod((root / name).stat().st_mode & 0o7555)
    for path, time_ns in times.items():
        os.utime(path, ns=(time_ns, time_ns))


def setfacl(*words: object) -> None:
    program = shutil.which("setfacl")
    if program is None:
        pytest.skip("setfacl is not installed")
    subprocess.run([program, *map(str, words)], check=True)


def old_tree(root: Path) -> None:
    (root / "dir").mkdir(parents=True)
    (root / "bare").mkdir()
    for name in ("a", "dir/b", "split", "copy", "gone"):
        (root / name).write_text(name)
    os.link(root / "split", root / "dir" / "split")
    os.mkfifo(root / "fifo")
    os.setxattr(root / "dir", "user.gone", b"1")
    os.setxattr(root / "dir", "user.stays", b"1")
    os.setxattr(root / "a", "user.a", b"1")
    setfacl("-m", "u:1:rwx,d:u:2:r", root / "bare")
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(T, T))


def new_tree(root: Path) -> None:
    old_tree(root)
    (root / "split").unlink()
    (root / "split").write_text("split")
    os.link(root / "a", root / "dir" / "another")
    (root / "copy").unlink()
    os.link(root / "dir" / "b", root / "copy")
    (root / "gone").unlink()
    (root / "fifo").unlink()
    os.mknod(root / "fifo", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    (root / "made").mkdir()
    os.link(root / "a", root / "made" / "third")
    os.removexattr(root / "dir", "user.gone")
    os.setxattr(root / "dir", "user.new", b"2")
    setfacl("-m", "u:3:r-x", root / "dir")
    setfacl("-b", root / "bare")
    os.setxattr(root / "a", "user.a", b"2")
    for number, path in enumerate([root, *sorted(root.rglob("*"))]):
        os.utime(path, ns=(T, T + number * 10**9), follow_symlinks=False)
