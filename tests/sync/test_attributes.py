"""Extended attributes and POSIX ACLs, when they are asked for; judged by getfattr, getfacl and rsync."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import Report, open_store, push
from atomsync.errors import DestinationLimit, StaleEntry
from atomsync.fs.posix import PosixDisk
from atomsync.store.copying import Source
from atomsync.store.progress import Progress
from atomsync.sync.phases import Phases
from atomsync.sync.safety import Safety
from atomsync.sync.settle import FAIL, settle
from atomsync.testing import Dir, File, Killed, SimDisk, kill_at
from atomsync.tree.xattrs import attributes_at, decode, difference, encode, families, way_back
from tests.store.world import RULES, T, World

KINDS = ["ext4", "xfs", "btrfs", "tmpfs"]
NOBODY = 65534
BOTH = {"xattrs": True, "acls": True}


def run(*words: object, cwd: Path | None = None) -> str:
    program = shutil.which(str(words[0]))
    if program is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run([program, *words[1:]], cwd=cwd, check=True, capture_output=True)  # type: ignore[list-item]
    return done.stdout.decode("utf-8", "surrogateescape")


def attributes(root: Path) -> str:
    """What getfattr and getfacl say of everything, the control directory left aside."""
    every = [path for path in root.rglob("*") if ".atomsync" not in path.parts]
    paths = [".", *sorted(str(path.relative_to(root)) for path in every)]
    kept = [path for path in paths if not (root / path).is_symlink()]
    said = run("getfattr", "-h", "-d", "-m", "-", "-e", "hex", *paths, cwd=root)
    said = "".join(line for line in said.splitlines(keepends=True) if "trusted.SGI_ACL" not in line)
    return said + run("getfacl", "-n", "-p", *kept, cwd=root)


def rsync(src: Path, dst: Path) -> list[str]:
    line = [
        "rsync",
        "-aniHAX",
        "--delete",
        "--exclude=/.atomsync",
        "--filter=-x trusted.SGI_ACL_*",
        f"{src}/",
        f"{dst}/",
    ]
    return run(*line).splitlines()


def nothing_to_do(report: Report) -> bool:
    return report.receipt is not None and report.receipt.unit_id == ""


@pytest.fixture
def dressed(tmp_path: Path, needs_root: None) -> Path:
    """A tree with attributes of every kind on every kind of thing."""
    src = tmp_path / "src"
    (src / "dir" / "closed").mkdir(parents=True)
    for name in ("plain", "dir/file", "dir/closed/in", "tool"):
        (src / name).write_text(name)
    (src / "link").symlink_to("plain")
    os.setxattr(src / "plain", "user.empty", b"")
    os.setxattr(src / "plain", "user.binary", bytes(range(256)))
    os.setxattr(src / "dir", "user.é\n=", b"a name that needs care")
    os.setxattr(src / "dir" / "file", "trusted.of-root", b"1")
    os.setxattr(src / "link", "trusted.link", b"2", follow_symlinks=False)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(src / "tool", "security.capability", capability)
    run("setfacl", "-m", "u:nobody:rw,g:daemon:r", src / "plain")
    run("setfacl", "-m", "u:nobody:rwx,d:u:daemon:rx,d:o:-", src / "dir")
    run("setfacl", "-m", "u:daemon:r,m:-", src / "dir" / "file")
    (src / "dir" / "closed").chmod(0o2555)
    (src / "tool").chmod(0o4755)
    return src


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_attributes_and_acls_arrive_whole_and_then_there_is_nothing_to_do(
    kind: str, small_fs: Any, dressed: Path, assert_same_tree: Callable[..., None]
) -> None:
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    push(dressed, dst, **BOTH)
    assert attributes(dst) == attributes(dressed)
    assert_same_tree(dressed, dst)
    assert rsync(dressed, dst) == []
    assert nothing_to_do(push(dressed, dst, delete=True, **BOTH))


def test_without_the_options_they_are_neither_copied_nor_removed(tmp_path: Path, dressed: Path) -> None:
    dst = tmp_path / "dst"
    push(dressed, dst)
    assert os.listxattr(dst / "plain") == []
    os.setxattr(dst / "dir", "user.own", b"1")
    (dressed / "dir").chmod(0o700)  # changed in place
    push(dressed, dst)
    assert os.listxattr(dst / "dir") == ["user.own"]


def test_each_option_keeps_its_own_and_leaves_the_other_alone(tmp_path: Path, dressed: Path) -> None:
    push(dressed, tmp_path / "acls", acls=True)
    assert os.listxattr(tmp_path / "acls" / "plain") == ["system.posix_acl_access"]
    push(dressed, tmp_path / "xattrs", xattrs=True)
    assert sorted(os.listxattr(tmp_path / "xattrs" / "plain")) == ["user.binary", "user.empty"]
    assert nothing_to_do(push(dressed, tmp_path / "acls", acls=True))
    assert nothing_to_do(push(dressed, tmp_path / "xattrs", xattrs=True))


def test_a_change_of_attributes_only_is_a_change(tmp_path: Path, dressed: Path) -> None:
    dst = tmp_path / "dst"
    push(dressed, dst, **BOTH)
    times = dressed.joinpath("dir").stat().st_mtime_ns
    inode = (dst / "dir").stat().st_ino
    os.setxattr(dressed / "plain", "user.binary", b"other")
    os.removexattr(dressed / "dir", "user.é\n=")
    run("setfacl", "-b", dressed / "dir")
    run("setfacl", "-m", "u:games:rwx", dressed / "dir" / "closed")
    report = push(dressed, dst, **BOTH)
    assert sorted(change.path for change in report.changes if change.visible) == [
        "dir",
        "dir/closed",
        "plain",
    ]
    assert attributes(dst) == attributes(dressed)
    assert (dst / "dir").stat().st_ino == inode  # a directory is changed in place
    assert (dst / "dir").stat().st_mtime_ns == times
    assert rsync(dressed, dst) == []
    assert nothing_to_do(push(dressed, dst, delete=True, **BOTH))


def test_what_a_new_object_inherits_is_taken_from_it_again(tmp_path: Path, dressed: Path) -> None:
    dst = tmp_path / "dst"
    dst.mkdir()
    run("setfacl", "-m", "d:u:games:rwx", dst)
    push(dressed, dst, **BOTH)
    assert attributes(dst) == attributes(dressed)


def test_nothing_new_inherits_a_default_acl_that_was_there_when_the_store_was_made(
    tmp_path: Path, needs_root: None
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "new" / "below").mkdir(parents=True)
    (src / "new" / "below" / "file").write_text("x")
    dst.mkdir()
    run("setfacl", "-m", "d:u:games:rwx,d:g::-", dst)
    push(src, dst)
    (src / "later").write_text("x")
    push(src, dst)
    assert all(os.listxattr(path) == [] for path in dst.rglob("*") if ".atomsync" not in path.parts)
    assert os.listxattr(dst) == ["system.posix_acl_default"]


def test_another_user_keeps_user_attributes_and_acls_of_what_is_closed_to_writing(
    public_dir: Path, atomsync: Any
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    src, dst = public_dir / "src", public_dir / "dst"
    (src / "d").mkdir(parents=True)
    (src / "d" / "f").write_text("x")
    for path in (src / "d", src / "d" / "f"):
        os.setxattr(path, "user.a", b"1")
        run("setfacl", "-m", "u:daemon:rx", path)
        path.chmod(0o555)
    dst.mkdir()
    for path in (src, src / "d", src / "d" / "f", dst):
        os.chown(path, NOBODY, NOBODY)
    for _ in range(2):
        done = atomsync("push", "-X", "-A", src, dst, user=NOBODY)
        assert done.returncode == 0, done.stderr
        assert attributes(dst) == attributes(src)
        os.setxattr(src / "d", "user.a", b"2")  # and now in place
        run("setfacl", "-m", "u:games:x", src / "d")
        (src / "d").chmod(0o555)
    assert "nothing to do" not in done.stdout
    atomsync("push", "-X", "-A", src, dst, user=NOBODY)
    assert "nothing to do" in atomsync("push", "-X", "-A", src, dst, user=NOBODY).stdout


def test_a_filesystem_that_cannot_hold_an_attribute_is_told_with_the_option_to_leave_out(
    tmp_path: Path, dressed: Path, unchanged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vfat does, and any other that has none."""
    dst = tmp_path / "dst"
    dst.mkdir()

    def none(self: PosixDisk, at: int, name: str, changes: Any, ino: int = 0) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), next(iter(changes)))

    monkeypatch.setattr(PosixDisk, "set_xattrs", none)
    with unchanged(dst), pytest.raises(DestinationLimit, match="--xattrs"):
        push(dressed, dst, xattrs=True)
    with pytest.raises(DestinationLimit, match="--acls"):
        push(dressed, dst, acls=True)


@pytest.mark.root
def test_an_attribute_too_large_for_the_destination_is_told(small_fs: Any, tmp_path: Path) -> None:
    src = small_fs("xfs", 320) / "src"
    dst = small_fs("ext4", 32) / "dst"
    src.mkdir()
    (src / "f").write_text("1")
    os.setxattr(src / "f", "user.large", bytes(60_000))
    with pytest.raises(DestinationLimit, match=r"user\.large"):
        push(src, dst, xattrs=True)
    assert not dst.exists()


class At(Progress):
    """Does something when a phase begins, once."""

    def __init__(self, phase: str, act: Callable[[], object]) -> None:
        self._phase, self._act = phase, act

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        if name == self._phase:
            self._act()
            self._phase = ""


@pytest.mark.parametrize("path", ["plain", "dir"])
@pytest.mark.parametrize("phase", ["seal", "commit"])
def test_an_attribute_another_program_sets_meanwhile_is_drift_and_stays(
    path: str, phase: str, tmp_path: Path, dressed: Path
) -> None:
    dst = tmp_path / "dst"
    push(dressed, dst, **BOTH)
    os.setxattr(dressed / path, "user.new", b"1")
    edit = At(phase, lambda: os.setxattr(dst / path, "user.foreign", b"2"))
    with pytest.raises(StaleEntry):
        push(dressed, dst, progress=edit, **BOTH)
    names = os.listxattr(dst / path)
    assert "user.foreign" in names
    assert "user.new" not in names


def test_a_source_whose_attributes_change_while_it_is_staged_is_staged_again(
    tmp_path: Path, dressed: Path
) -> None:
    dst = tmp_path / "dst"
    change = At("check", lambda: os.setxattr(dressed / "plain", "user.empty", b"late"))
    push(dressed, dst, progress=change, **BOTH)
    assert os.getxattr(dst / "plain", "user.empty") == b"late"


# -- the text


def test_a_text_reads_back_and_is_the_same_in_any_order() -> None:
    asked = families(acls=True, xattrs=True, root=True)
    found = {"user.b": b"\0=", "user.a=\n": b"", "trusted.x": b"1", "system.posix_acl_access": b"2"}
    text = encode(asked, found)
    assert decode(text) == (asked, found)
    assert encode(asked, dict(reversed(found.items()))) == text
    assert decode(encode("X", {})) == ("X", {})


def test_the_way_back_leaves_what_somebody_else_did() -> None:
    old, new = encode("X", {"user.a": b"1", "user.b": b"1"}), encode("X", {"user.a": b"2", "user.c": b"2"})
    assert way_back({"user.a": b"2", "user.c": b"2"}, new, old) == {
        "user.c": None,
        "user.a": b"1",
        "user.b": b"1",
    }
    assert way_back({"user.a": b"1", "user.b": b"1"}, new, old) == {}
    assert way_back({"user.a": b"foreign", "user.c": b"2", "user.d": b"3"}, new, old) == {
        "user.c": None,
        "user.b": b"1",
    }
    assert difference({"user.a": b"1"}, {"user.b": b"1"}) == {"user.a": None, "user.b": b"1"}


# -- crashes


def put(world: World, where: str, path: str, **attributes: bytes) -> None:
    with world.place(path, where) as (at, name):
        world.disk.set_xattrs(at, name, {f"user.{key}": value for key, value in attributes.items()})


def texts(world: World, where: str) -> dict[str, str]:
    found = {}
    for path in ("d", "d/f", "g"):
        with world.place(path, where) as (at, name):
            found[path] = attributes_at(world.disk, at, name, "X")
    return found


def push_attributes(world: World) -> None:
    with world.root(world.src) as at, world.unit() as unit:
        unit._turn.exclusive = True
        origin = unit.source = Source(world.disk, at)
        settle(unit, origin, RULES._replace(attributes="X"), FAIL, Phases(Progress()), Safety())
        origin.cursor.close()
        unit.commit()


@pytest.mark.parametrize("traits", [{}, {"syncfs_trusted": False}])
def test_a_power_cut_at_any_verb_leaves_all_old_or_all_new_attributes(
    traits: dict[str, bool], tmp_path: Path
) -> None:
    (tmp_path / "dst").mkdir()
    tree = Dir({"d": Dir({"f": File(b"f", mtime_ns=T)}, mtime_ns=T), "g": File(b"g", mtime_ns=T)}, mtime_ns=T)
    world = World.made(SimDisk("weak", **traits), str(tmp_path), tree, tree)
    put(world, "dst", "d", a=b"old", b=b"old", c=b"same")
    put(world, "src", "d", a=b"new", c=b"same", d=b"new")
    put(world, "src", "d/f", a=b"new")
    put(world, "dst", "g", a=b"old")
    world = world.on(world.sim.crash(range(len(world.sim.pending))))
    old = texts(world, "dst")
    whole = world.on(world.sim.copy())
    whole.sim.log.clear()
    push_attributes(whole)
    new = texts(whole, "dst")
    assert new == texts(world, "src") != old
    rng, seen = random.Random(5), set()
    for at in range(len(whole.sim.log)):
        disk = world.sim.copy()
        disk.hook = kill_at(at)
        with pytest.raises(Killed):
            push_attributes(world.on(disk))
        for keep, torn in disk.crash_states(rng, 10):
            after = world.on(disk.crash(keep, torn))
            assert after.recover().conflicts == ()
            assert texts(after, "dst") in (old, new)
            assert after.tree() == tree
            seen.add(texts(after, "dst") == new)
    assert seen == {False, True}


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def test_a_file_that_gets_another_owner_keeps_its_capabilities_and_nothing_is_left_to_do(
    tmp_path: Path, dressed: Path
) -> None:
    dst = tmp_path / "dst"
    push(dressed, dst, **BOTH)
    os.chown(dressed / "tool", 1, 1)
    (dressed / "tool").chmod(0o755)
    os.setxattr(dressed / "tool", "security.capability", CAPABILITY)
    push(dressed, dst, **BOTH)
    assert attributes(dst) == attributes(dressed)
    assert nothing_to_do(push(dressed, dst, delete=True, **BOTH))


def test_a_change_of_the_mode_leaves_capabilities_that_nobody_asked_for(
    tmp_path: Path, needs_root: None
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    (src / "tool").write_text("tool")
    push(src, dst)
    os.setxattr(dst / "tool", "security.capability", CAPABILITY)
    (src / "tool").chmod(0o700)
    push(src, dst)
    assert (dst / "tool").stat().st_mode & 0o777 == 0o700
    assert os.getxattr(dst / "tool", "security.capability") == CAPABILITY


@pytest.mark.parametrize("options", [{}, BOTH], ids=["plain", "-AX"])
def test_an_owner_that_is_undone_takes_no_capabilities_along(
    tmp_path: Path, needs_root: None, options: dict[str, bool]
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    (src / "tool").write_text("tool")
    push(src, dst, **options)
    for root in (src, dst):
        os.setxattr(root / "tool", "security.capability", CAPABILITY)
    before = attributes(dst)
    os.chown(src / "tool", 1, 1)
    push(src, dst, **options)
    open_store(dst).undo()
    assert attributes(dst) == before


@pytest.mark.parametrize("change", ["attributes", "owner", "kind"])
def test_an_undo_gives_links_and_special_files_their_attributes_back(
    tmp_path: Path, needs_root: None, change: str
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "d").mkdir(parents=True)
    (src / "d" / "link").symlink_to("x")
    os.mkfifo(src / "d" / "fifo")
    os.setxattr(src / "d" / "link", "trusted.a", b"1", follow_symlinks=False)
    os.setxattr(src / "d" / "fifo", "trusted.a", b"1")
    run("setfacl", "-m", "u:nobody:rw", src / "d" / "fifo")
    push(src, dst, archive=True, **BOTH)
    before, time = attributes(dst), (dst / "d").stat().st_mtime_ns
    for name in ("link", "fifo"):
        path = src / "d" / name
        if change == "attributes":
            os.setxattr(path, "trusted.a", b"2", follow_symlinks=False)
        elif change == "owner":
            os.chown(path, 1, 1, follow_symlinks=False)
        else:
            path.unlink()
            path.write_text("a file")
    push(src, dst, archive=True, delete=True, **BOTH)
    after = attributes(dst)
    assert after == attributes(src)
    open_store(dst).undo()
    assert attributes(dst) == before
    assert os.getxattr(dst / "d" / "link", "trusted.a", follow_symlinks=False) == b"1"
    assert (dst / "d").stat().st_mtime_ns == time
    open_store(dst).undo()
    assert attributes(dst) == after


def test_an_undo_copies_a_file_with_other_names_with_its_attributes(tmp_path: Path, dressed: Path) -> None:
    dst = tmp_path / "dst"
    push(dressed, dst, **BOTH)
    before, time = attributes(dst), (dst / "dir").stat().st_mtime_ns
    (dressed / "dir" / "file").chmod(0o600)
    push(dressed, dst)
    os.link(dst / "dir" / "file", tmp_path / "elsewhere")
    open_store(dst).undo()
    assert attributes(dst) == before
    assert (dst / "dir").stat().st_mtime_ns == time


def test_a_fifo_that_was_changed_and_then_removed_can_be_restored(tmp_path: Path, needs_root: None) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    os.mkfifo(src / "fifo", 0o600)
    first = push(src, dst, archive=True).receipt
    (src / "fifo").chmod(0o640)
    push(src, dst, archive=True)
    (src / "fifo").unlink()
    push(src, dst, delete=True, max_delete="100%", archive=True)
    assert first is not None
    open_store(dst).restore(first.unit_id)
    found = (dst / "fifo").lstat()
    assert stat.S_ISFIFO(found.st_mode)
    assert found.st_mode & 0o777 == 0o600


def test_an_undo_gives_a_successor_to_what_belongs_to_somebody_else_by_now(
    public_dir: Path, atomsync: Any, needs_root: None
) -> None:
    src, dst = public_dir / "src", public_dir / "dst"
    for root in (src, dst):
        root.mkdir()
        os.chown(root, NOBODY, NOBODY)
    (src / "file").write_text("x")
    os.mkfifo(src / "fifo")
    for mode in (0o644, 0o664):
        for name in ("file", "fifo"):
            os.chown(src / name, NOBODY, NOBODY)
            (src / name).chmod(mode)
        assert atomsync("push", "-a", src, dst, user=NOBODY).returncode == 0
    for name in ("file", "fifo"):
        os.chown(dst / name, 1, -1)
    done = atomsync("undo", "--force", dst, user=NOBODY)
    assert done.returncode == 0, done.stderr
    assert [(dst / name).stat().st_mode & 0o777 for name in ("file", "fifo")] == [0o644, 0o644]
