"""What rsync's users expect of -a, and all options at once, against rsync -aHAX as judge."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from atomsync import Report, push
from atomsync.errors import AccessError

KINDS = ["ext4", "xfs", "btrfs", "tmpfs"]
NOBODY = 65534
T = 10**18
ALL = {"archive": True, "hard_links": True, "xattrs": True, "acls": True}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def rsync(*words: object) -> list[str]:
    line = [tool("rsync"), "-aHAX", "--exclude=/.atomsync", "--filter=-x trusted.SGI_ACL_*", *map(str, words)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()


def nothing_to_do(report: Report) -> bool:
    return report.receipt is not None and report.receipt.unit_id == ""


def seen(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_rdev, found.st_mtime_ns


@pytest.fixture
def specials(tmp_path: Path, needs_root: None) -> Path:
    src = tmp_path / "src"
    (src / "dev").mkdir(parents=True)
    os.mkfifo(src / "fifo", 0o640)
    os.mknod(src / "dev" / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mknod(src / "dev" / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    os.chown(src / "dev" / "null", 12, 34)
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(str(src / "dev" / "socket"))
    for name in ("fifo", "dev/null", "dev/disk", "dev/socket", "dev"):
        os.utime(src / name, ns=(T, T + 5))
    return src


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_fifos_sockets_and_devices_are_taken_in_by_archive(kind: str, small_fs: Any, specials: Path) -> None:
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    push(specials, dst, archive=True)
    for path in specials.rglob("*"):
        assert seen(dst / path.relative_to(specials)) == seen(path)
    assert rsync("-ni", "--delete", f"{specials}/", f"{dst}/") == []
    assert nothing_to_do(push(specials, dst, archive=True, delete=True))


def test_without_archive_they_are_left_out_and_told(specials: Path, tmp_path: Path) -> None:
    report = push(specials, tmp_path / "dst")
    assert report.left_out == {
        "fifo": "FIFO",
        "dev/null": "character device",
        "dev/disk": "block device",
        "dev/socket": "socket",
    }
    assert [path.name for path in (tmp_path / "dst").rglob("*") if ".atomsync" not in path.parts] == ["dev"]


def test_who_is_not_root_gets_all_but_the_devices(specials: Path, public_dir: Path, atomsync: Any) -> None:
    shutil.move(specials, public_dir / "src")
    (public_dir / "dst").mkdir()
    os.chown(public_dir / "dst", NOBODY, NOBODY)
    done = atomsync("push", "-a", public_dir / "src", public_dir / "dst", user=NOBODY)
    assert done.returncode == 0
    assert "null (character device)" in done.stderr
    assert sorted(os.listdir(public_dir / "dst" / "dev")) == ["socket"]
    assert stat.S_ISFIFO((public_dir / "dst" / "fifo").stat().st_mode)


def test_a_special_file_becomes_another_and_changes_its_mode_in_place(specials: Path, tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    push(specials, dst, archive=True)
    (specials / "fifo").unlink()
    (specials / "fifo").write_text("a file now")
    (specials / "dev" / "null").unlink()
    os.mknod(specials / "dev" / "null", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.chmod(specials / "dev" / "disk", 0o600)
    push(specials, dst, archive=True)
    assert (dst / "fifo").read_text() == "a file now"
    for path in specials.rglob("*"):
        assert seen(dst / path.relative_to(specials)) == seen(path)
    assert nothing_to_do(push(specials, dst, archive=True, delete=True))


def test_numeric_ids_are_accepted_and_change_nothing(tmp_path: Path, atomsync: Any) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "f").write_text("1")
    assert atomsync("push", "-a", "--numeric-ids", "src", "dst").returncode == 0
    assert "nothing to do" in atomsync("push", "src", "dst").stdout


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize(("flag", "on"), [("i", "f"), ("a", "f"), ("i", "d"), ("a", "d")])
def test_an_immutable_or_append_only_object_is_refused_at_the_swap_and_all_stays_old(
    kind: str, flag: str, on: str, small_fs: Any, tmp_path: Path, unchanged: Any
) -> None:
    src, dst = tmp_path / "src", small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    (src / "d").mkdir(parents=True)
    for name in ("a", "f", "d/g"):
        (src / name).write_text("old")
    push(src, dst)
    for name in ("a", "f", "d/g"):
        (src / name).write_text("newer")
    subprocess.run([tool("chattr"), f"+{flag}", dst / on], check=True)
    try:
        with unchanged(dst, ctime=False), pytest.raises(AccessError, match="lsattr"):
            push(src, dst)
    finally:
        subprocess.run([tool("chattr"), f"-{flag}", dst / on], check=True)
    push(src, dst)
    assert (dst / on).is_dir() or (dst / on).read_text() == "newer"


# -- everything at once


def grown(rng: random.Random, root: Path) -> None:
    """A random tree with every kind of thing and every attribute."""
    directories = [root]
    for number in range(60):
        above = rng.choice(directories)
        path = above / f"{number}{rng.choice(['', 'é', ' x', '.tmp'])}"
        kind = rng.choice(["file", "file", "file", "dir", "link", "fifo", "device", "hard", "sparse"])
        files = [found for found in root.rglob("*") if found.is_file() and not found.is_symlink()]
        if kind == "dir":
            path.mkdir()
            directories.append(path)
        elif kind == "link":
            path.symlink_to(rng.choice(["nowhere", "..", "0"]))
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, rng.randrange(9)))
        elif kind == "hard" and files:
            os.link(rng.choice(files), path)
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(rng.randrange(3 << 20))
                file.write(rng.randbytes(rng.randrange(9_000)))
        else:
            path.write_bytes(rng.randbytes(rng.randrange(20_000)))
    for path in sorted(root.rglob("*"), reverse=True):
        altered(rng, path)


def altered(rng: random.Random, path: Path) -> None:
    plain = (path.is_file() or path.is_dir()) and not path.is_symlink()
    if rng.random() < 0.3:
        os.chown(path, rng.randrange(5), rng.randrange(5), follow_symlinks=False)
    if plain and rng.random() < 0.5:
        path.chmod(rng.choice([0o644, 0o600, 0o2755, 0o4711, 0o1777, 0o444, 0o555]))
    if plain and rng.random() < 0.4:
        os.setxattr(path, f"user.{rng.randrange(3)}", rng.randbytes(rng.randrange(40)))
    if plain and rng.random() < 0.3:
        entry = f"u:{rng.randrange(1, 5)}:{rng.choice(['r', 'rw', 'rwx', '-'])}"
        default = ["-m", f"d:{entry}"] if path.is_dir() and rng.random() < 0.5 else []
        subprocess.run([tool("setfacl"), "-m", entry, *default, path], check=True)
    os.utime(path, ns=(T, T + rng.randrange(10**9)), follow_symlinks=False)


def changed(rng: random.Random, root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        chance = rng.random()
        if chance < 0.1:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif chance < 0.3:
            altered(rng, path)
        elif chance < 0.4 and path.is_file() and not path.is_symlink():
            path.write_bytes(rng.randbytes(rng.randrange(20_000)))


@pytest.fixture(params=KINDS)
def beside(request: pytest.FixtureRequest, small_fs: Any) -> tuple[Path, Path]:
    """Two destinations on one filesystem: ours, and rsync's."""
    point = small_fs(request.param, 320 if request.param == "xfs" else 160)
    (point / "theirs").mkdir()
    return point / "ours", point / "theirs"


@pytest.mark.root
def test_a_random_tree_with_all_of_it_arrives_as_rsync_copies_it_and_then_there_is_nothing_to_do(
    beside: tuple[Path, Path], tmp_path: Path, needs_root: None
) -> None:
    src, (ours, theirs), rng = tmp_path / "src", beside, random.Random(21)
    src.mkdir()
    grown(rng, src)
    for _ in range(4):
        push(src, ours, delete=True, **ALL)
        rsync("--delete", f"{src}/", f"{theirs}/")
        assert rsync("-nic", "--delete", f"{src}/", f"{ours}/") == []
        assert rsync("-nic", "--delete", f"{theirs}/", f"{ours}/") == []
        assert nothing_to_do(push(src, ours, delete=True, **ALL))
        changed(rng, src)
