"""What atomsync refuses: the documented exit status, what and why and what to do, and DST as it was."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
MIB = 1 << 20
Plant = Callable[..., Path]
Unchanged = Callable[..., Any]
Strace = Callable[..., list[str]]


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> str:
    """The message of a refusal, which has what, why and a hint, and holds these words."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert re.match(r"atomsync: [^\n:]+.*: .+\n  \S.*", done.stderr), f"what: why, hint? {done.stderr!r}"
    assert "internal error" not in done.stderr
    for word in words:
        assert word in done.stderr
    return done.stderr


def no_trace(dst: Path) -> bool:
    """Whether a destination has nothing left of an unfinished unit."""
    control = dst / ".atomsync"
    waste = control / "retired"
    return (
        not (control / "unit").exists()
        and not any(control.glob("pending/*"))
        and not (waste.exists() and os.listdir(waste))
    )


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"new a", "d/b": b"new b", "d/c": b"c", "link": "a", "e": None})


@pytest.fixture
def dst(tmp_path: Path, plant: Plant, atomsync: Any) -> Path:
    """A destination that has seen a push before, of other content."""
    old = plant(tmp_path / "old", {"a": b"old a", "d/b": b"old b", "gone/x": b"gone"})
    assert atomsync("push", old, tmp_path / "dst").returncode == 0
    shutil.rmtree(old)
    return tmp_path / "dst"


# -- the two directories
def test_a_source_that_does_not_exist(atomsync: Any, tmp_path: Path, dst: Path, unchanged: Unchanged) -> None:
    with unchanged(dst, control=True):
        refused(atomsync("push", tmp_path / "none", dst), 3, "none", "does not exist")


def test_an_empty_name_is_no_directory(atomsync: Any, src: Path, dst: Path, unchanged: Unchanged) -> None:
    """As from an unset variable."""
    with unchanged(dst, control=True):
        refused(atomsync("push", "", dst), 3, "SRC", "it is empty")
        refused(atomsync("push", src, ""), 3, "DST", "it is empty")


@pytest.mark.parametrize("option", ["--check", "--after", "--touch"])
def test_an_empty_hook_is_an_unset_variable(
    option: str, atomsync: Any, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    with unchanged(dst, control=True):
        refused(atomsync("push", option, "", src, dst), 1, option, "it is empty")


@pytest.mark.parametrize("place", ["you@host:/srv/www", "host:www", "https://example.org/www"])
def test_who_takes_it_for_rsync_over_a_network_is_told(
    place: str, atomsync: Any, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    with unchanged(dst, control=True):
        refused(atomsync("push", place, dst), 3, "no network")
    refused(atomsync("push", src, place + "/x"), 3, "no network")


def test_a_pattern_that_cannot_be_read_names_its_own_option(atomsync: Any, src: Path, dst: Path) -> None:
    assert "the patterns of --last: " in atomsync("push", "--last", "!", src, dst).stderr


def test_a_state_directory_on_another_filesystem_is_refused_before_a_destination_is_made(
    atomsync: Any, src: Path, tmp_path: Path, small_fs: Any
) -> None:
    (tmp_path / "other").mkdir()
    state = small_fs.tmpfs(tmp_path / "other") / "state"
    refused(atomsync("push", "--state-dir", state, src, tmp_path / "new"), 1, "not on the destination's")
    assert not (tmp_path / "new").exists()


def test_without_a_command_the_help_is_shown_as_it_is(atomsync: Any) -> None:
    done = atomsync()
    assert done.returncode == 1
    assert "\nCommands:\n" in done.stderr


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to file", "fifo"])
def test_a_source_that_is_no_directory(
    kind: str, atomsync: Any, tmp_path: Path, dst: Path, unchanged: Unchanged
) -> None:
    path = tmp_path / "bad"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        (tmp_path / "target").write_bytes(b"")
        path.symlink_to("target" if kind == "link to file" else "nowhere")
    with unchanged(dst, control=True):
        refused(atomsync("push", path, dst), 3, "bad", "SRC")


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to file"])
def test_a_destination_that_is_no_directory(
    kind: str, atomsync: Any, tmp_path: Path, src: Path, unchanged: Unchanged
) -> None:
    path = tmp_path / "bad"
    (tmp_path / "target").write_bytes(b"kept")
    if kind == "file":
        path.write_bytes(b"kept")
    else:
        path.symlink_to("target" if kind == "link to file" else "nowhere")
    with unchanged(tmp_path, control=True):
        refused(atomsync("push", src, path), 3, "bad", "Remove it, or name another DST")
        refused(atomsync("push", "-n", src, path), 3, "bad")


@pytest.mark.parametrize("above", ["none", "file"])
def test_a_destination_below_something_that_is_no_directory(
    above: str, atomsync: Any, tmp_path: Path, src: Path, unchanged: Unchanged
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with unchanged(tmp_path, control=True):
        refused(atomsync("push", src, tmp_path / above / "dst"), 3, above)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("src", "src"),
        ("src", "src/d"),
        ("src", "src/new"),
        ("src/d", "src"),
        ("src", "to-src"),
        ("to-src", "src"),
        ("src", "to-src/d"),
        ("src", "to-d"),
        ("to-d", "src"),
        ("src", "to-d/new"),
        ("src", "src/../src/./d"),
        ("src", "src/d/../../src"),
    ],
)
def test_directories_that_are_the_same_or_contain_each_other(
    source: str, destination: str, atomsync: Any, tmp_path: Path, src: Path, unchanged: Unchanged
) -> None:
    (tmp_path / "to-src").symlink_to("src")
    (tmp_path / "to-d").symlink_to("src/d")
    with unchanged(tmp_path, control=True):
        for more in ([], ["-n"], ["--delete"]):
            refused(atomsync("push", *more, tmp_path / source, tmp_path / destination), 4, "SRC", "DST")


def test_the_same_directory_through_a_bind_mount(
    atomsync: Any, public_dir: Path, plant: Plant, unchanged: Unchanged, small_fs: Any
) -> None:
    src = plant(small_fs("tmpfs") / "src", {"a": b"1"})
    other = public_dir / "other"
    other.mkdir()
    subprocess.run(["mount", "--bind", src, other], check=True)
    small_fs.points.append(other)
    with unchanged(src, control=True):
        refused(atomsync("push", src, other), 4, "same directory")


def test_a_state_directory_on_another_filesystem(
    atomsync: Any, src: Path, dst: Path, small_fs: Any, unchanged: Unchanged
) -> None:
    state = small_fs("tmpfs") / "state"
    with unchanged(dst, control=True):
        refused(atomsync("push", "--state-dir", state, src, dst), 1, "--state-dir")
    assert not state.exists()


# -- permissions
@pytest.fixture
def nobodys(public_dir: Path, plant: Plant, atomsync: Any, needs_root: None) -> tuple[Path, Path]:
    """SRC that everybody can read, and DST of nobody's that has seen a push."""
    src = plant(public_dir / "src", {"a": b"1", "d/b": b"2"})
    dst = public_dir / "dst"
    dst.mkdir()
    os.chown(dst, NOBODY, NOBODY)
    assert atomsync("push", src, dst, user=NOBODY).returncode == 0
    plant(src, {"a": b"new", "more/x": b"3"})
    return src, dst


@pytest.mark.parametrize("what", ["", "d", "a", "d/b", "more", "more/x"])
def test_something_unreadable_in_the_source(
    what: str, atomsync: Any, nobodys: tuple[Path, Path], unchanged: Unchanged
) -> None:
    src, dst = nobodys
    (src / what).chmod(0)
    if what == "d/b":
        os.utime(src / what, ns=(1, 1))  # else it is not read at all
    with unchanged(dst):
        message = refused(atomsync("push", src, dst, user=NOBODY), 13, "Permission denied")
    assert what in message
    assert no_trace(dst)


@pytest.mark.parametrize("what", ["d", "d/b"])
def test_something_unreadable_in_the_destination(
    what: str, atomsync: Any, nobodys: tuple[Path, Path], unchanged: Unchanged
) -> None:
    src, dst = nobodys
    os.chown(dst / what, 0, 0)
    (dst / what).chmod(0)
    with unchanged(dst):
        refused(atomsync("push", "-c", src, dst, user=NOBODY), 13, what, "Permission denied")


def test_a_destination_we_may_not_write(
    atomsync: Any, public_dir: Path, plant: Plant, unchanged: Unchanged
) -> None:
    src = plant(public_dir / "src", {"a": b"1"})
    dst = plant(public_dir / "dst", {"old": b"1"})
    with unchanged(public_dir, control=True):
        refused(atomsync("push", src, dst, user=NOBODY), 13, "dst", "Permission denied")
        refused(atomsync("push", src, public_dir / "new", user=NOBODY), 13, "new", "Permission denied")


def test_a_directory_in_the_destination_we_may_not_write(
    atomsync: Any, nobodys: tuple[Path, Path], plant: Plant, unchanged: Unchanged
) -> None:
    src, dst = nobodys
    plant(src, {"d/b": b"new"})
    os.chown(dst / "d", 0, 0)
    with unchanged(dst, ctime=False):
        refused(atomsync("push", src, dst, user=NOBODY), 13, "d/b (its directory may not be written)")
    assert no_trace(dst)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_read_only_filesystem(
    kind: str, atomsync: Any, src: Path, plant: Plant, small_fs: Any, unchanged: Unchanged
) -> None:
    point = small_fs(kind)
    known, fresh = point / "known", plant(point / "fresh", {"old": b"1"})
    assert atomsync("push", src, known).returncode == 0
    (src / "a").write_bytes(b"newer")
    small_fs.remount(point, "ro")
    with unchanged(point, control=True):
        for dst in (known, fresh, point / "new"):
            refused(atomsync("push", src, dst), 13, dst.name, "ead-only", "remount")


def test_status_and_dry_run_of_a_store_on_a_read_only_filesystem(
    atomsync: Any, src: Path, small_fs: Any, unchanged: Unchanged
) -> None:
    point = small_fs("tmpfs")
    dst = point / "dst"
    assert atomsync("push", src, dst).returncode == 0
    small_fs.remount(point, "ro")
    with unchanged(point, control=True):
        assert atomsync("push", "-n", src, dst).returncode == 0
        done = atomsync("status", dst)
    assert (done.returncode, done.stderr) == (0, "")
    assert "last unit: 2" in done.stdout


def test_an_immutable_file_in_the_destination(
    atomsync: Any, src: Path, small_fs: Any, unchanged: Unchanged
) -> None:
    dst = small_fs("ext4") / "dst"
    assert atomsync("push", src, dst).returncode == 0
    for name in ("a", "d/b"):
        (src / name).write_bytes(b"even newer")
    subprocess.run(["chattr", "+i", dst / "d" / "b"], check=True)
    try:
        with unchanged(dst, ctime=False):
            refused(atomsync("push", src, dst), 13, "d/b", "lsattr")
        assert no_trace(dst)
    finally:
        subprocess.run(["chattr", "-i", dst / "d" / "b"], check=True)


# -- space
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_too_few_blocks(
    kind: str, atomsync: Any, src: Path, small_fs: Any, unchanged: Unchanged, assert_same_tree: Any
) -> None:
    dst = small_fs(kind, 8) / "dst"
    assert atomsync("push", src, dst).returncode == 0
    (src / "a").write_bytes(b"changed too")
    (src / "huge").write_bytes(b"x" * (9 * MIB))
    with unchanged(dst):
        refused(atomsync("push", src, dst), 44, "not enough space", "unchanged")
    assert no_trace(dst)
    (src / "huge").unlink()
    assert atomsync("push", src, dst).returncode == 0
    assert_same_tree(src, dst)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_too_few_inodes(
    kind: str, atomsync: Any, src: Path, plant: Plant, small_fs: Any, unchanged: Unchanged
) -> None:
    dst = small_fs(kind, 8, inodes=64) / "dst"
    assert atomsync("push", src, dst).returncode == 0
    plant(src, {f"many/{number}": b"" for number in range(64)})
    with unchanged(dst):
        refused(atomsync("push", src, dst), 44, "not enough inodes", "unchanged")
    assert no_trace(dst)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "btrfs"])
def test_space_that_runs_out_in_the_middle(
    kind: str, atomsync: Any, src: Path, plant: Plant, small_fs: Any, unchanged: Unchanged
) -> None:
    """The plan counts the blocks of files; directories and the journal take some as well."""
    point = small_fs(kind, 128 if kind == "btrfs" else 8)
    dst = point / "dst"
    assert atomsync("push", src, dst).returncode == 0
    plant(src, {f"dir {number}/{'a long name ' * 4}": b"x" for number in range(500)})
    filler = point / "filler"
    fill(filler)
    found = os.statvfs(point)
    needed = (500 - 20) * found.f_frsize  # fewer than 500 files need, then a little more than they need
    for spare in range(needed, needed + 80 * found.f_frsize, 20 * found.f_frsize):
        leave_free(point, filler, spare)
        with unchanged(dst):
            done = atomsync("push", src, dst)
            if done.returncode == 0:
                pytest.fail(f"fits in {spare} bytes: this test proves nothing")
            refused(done, 44)
        assert no_trace(dst)
    filler.unlink()
    os.sync()  # btrfs gives room back when it commits
    assert atomsync("push", src, dst).returncode == 0


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_filesystem_without_a_single_free_block(
    kind: str, fresh: bool, atomsync: Any, src: Path, small_fs: Any, unchanged: Unchanged
) -> None:
    point = small_fs(kind, 4)
    dst = point / "dst"
    if not fresh:
        assert atomsync("push", src, dst).returncode == 0
        shutil.rmtree(dst / ".atomsync" / "history")  # also the manifest may have to be made anew
        (dst / ".atomsync" / "manifest.sqlite").unlink()
    (src / "a").write_bytes(b"newer")
    fill(point / "filler")
    with unchanged(point):
        refused(atomsync("push", src, dst), 44)


def test_a_filesystem_without_a_single_free_inode(
    atomsync: Any, src: Path, small_fs: Any, unchanged: Unchanged
) -> None:
    point = small_fs("tmpfs", 4, inodes=40)
    dst = point / "dst"
    assert atomsync("push", src, dst).returncode == 0
    (src / "a").write_bytes(b"newer")
    for number in range(40):
        try:
            (point / str(number)).touch()
        except OSError:
            break
    with unchanged(dst):
        refused(atomsync("push", src, dst), 44)
    assert no_trace(dst)


def fill(path: Path) -> None:
    """Let a file take all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"f" * size) == size:
                    pass
    os.sync()


def leave_free(point: Path, filler: Path, size: int) -> None:
    fill(filler)
    found = os.statvfs(point)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - max(0, size - found.f_bavail * found.f_frsize)))
    os.sync()


# -- what DST cannot hold
def test_a_name_too_long_for_the_destination(
    atomsync: Any, src: Path, dst: Path, strace: Strace, unchanged: Unchanged
) -> None:
    """A real filesystem with shorter names is rare: the kernel's answer about this one is rewritten."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("struct statfs is known here for 64-bit x86 and ARM only")
    (src / "short").write_bytes(b"")
    (src / "d" / ("n" * 31)).write_bytes(b"")
    found = os.statvfs(dst)
    head = struct.pack("8Q", 0xEF53, found.f_bsize, *[10**6] * 5, 0) + struct.pack("Q", 30)
    poke = f"inject=fstatfs:poke_exit=@arg2={head.hex()}"
    with unchanged(dst):
        message = refused(
            atomsync("push", src, dst, under=strace("-e", "trace=fstatfs", "-e", poke)), 14, "n" * 31
        )
    assert "30 bytes" in message
    assert "--exclude" in message


def test_a_destination_that_finds_a_name_too_long_only_when_it_is_made(
    atomsync: Any, src: Path, dst: Path, strace: Strace, unchanged: Unchanged
) -> None:
    (src / "long").mkdir()
    fails = "inject=mkdirat:error=ENAMETOOLONG:when=3"  # 1 and 2: the stage; 3: a new directory
    with unchanged(dst):
        refused(atomsync("push", src, dst, under=strace("-e", "trace=mkdirat", "-e", fails)), 14, "--exclude")
    assert no_trace(dst)


MOUNTED = {
    "changes below": {"sub/x": b"new"},
    "changes its own attributes": {"sub": None},
    "replaces it": {"sub": b"a file"},
    "replaces what is above": {"up": b"a file"},
    "deletes what is above": {},
}


@pytest.mark.parametrize("case", MOUNTED)
def test_a_mount_point_in_the_destination_in_the_way(
    case: str, atomsync: Any, public_dir: Path, plant: Plant, small_fs: Any, unchanged: Unchanged
) -> None:
    above = "up/" if "above" in case else ""
    dst = plant(public_dir / "dst", {f"{above}sub": None, "z": b"1"})
    src = plant(public_dir / "src", {"a": b"1", **MOUNTED[case]})
    plant(small_fs.tmpfs(dst / above / "sub", "size=1m,mode=0700"), {"mounted": b"kept"})
    with unchanged(dst):
        message = refused(atomsync("push", "--delete", src, dst), 14, "mount point", "--exclude")
    assert f"/{above}sub/" in message


def test_the_hint_about_a_mount_point_helps(
    atomsync: Any, public_dir: Path, plant: Plant, small_fs: Any
) -> None:
    dst = plant(public_dir / "dst", {"sub": None, "z": b"1"})
    src = plant(public_dir / "src", {"a": b"1"})
    plant(small_fs.tmpfs(dst / "sub"), {"mounted": b"kept"})
    hint = re.search(r"--exclude '(.*)'", atomsync("push", "--delete", src, dst).stderr)
    assert hint
    assert atomsync("push", "--delete", "--exclude", hint[1], src, dst).returncode == 0
    assert (dst / "sub" / "mounted").read_bytes() == b"kept"
    assert not (dst / "z").exists()


# -- somebody else has it
HOLDS = """
import sys
from atomsync import open_store
with open_store(sys.argv[1]).session():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(dst: Path) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", HOLDS, str(dst)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_locked_store_names_its_holder(
    held: subprocess.Popen[str], atomsync: Any, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    with unchanged(dst):
        refused(atomsync("push", src, dst), 40, f"process {held.pid} ", "Wait")
        refused(atomsync("recover", dst), 40, f"process {held.pid} ")
        status = atomsync("status", dst)
        assert status.returncode == 0
        assert f"lock: process {held.pid} " in status.stdout
        assert atomsync("push", "-n", src, dst).returncode == 0
    held.kill()
    held.wait()
    assert atomsync("push", src, dst).returncode == 0


# -- the control directory
def test_a_control_directory_of_another_user(
    atomsync: Any, src: Path, dst: Path, needs_root: None, unchanged: Unchanged
) -> None:
    os.chown(dst / ".atomsync", NOBODY, NOBODY)
    with unchanged(dst, control=True):
        for command in (["push", src, dst], ["recover", dst], ["status", dst]):
            refused(atomsync(*command), 48, ".atomsync", f"user {NOBODY}", "chown")


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o755, 0o777])
def test_a_control_directory_others_may_use(
    mode: int, atomsync: Any, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    (dst / ".atomsync").chmod(mode)
    with unchanged(dst, control=True):
        for command in (["push", src, dst], ["recover", dst], ["status", dst]):
            refused(atomsync(*command), 48, ".atomsync", f"{mode:04o}", "chmod")


@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "fifo"])
def test_a_control_directory_that_is_none(
    kind: str, atomsync: Any, tmp_path: Path, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    control, aside = dst / ".atomsync", tmp_path / "aside"
    control.rename(aside)
    if kind == "file":
        control.write_bytes(b"")
    elif kind == "fifo":
        os.mkfifo(control)
    else:
        control.symlink_to("../aside" if kind == "link" else "../nowhere")
    with unchanged(dst, control=True), unchanged(aside, control=True):
        for command in (["push", src, dst], ["recover", dst], ["status", dst]):
            refused(atomsync(*command), 48, ".atomsync")
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_file_that_is_a_link_or_a_fifo(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path, unchanged: Unchanged
) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"kept")
    lock = dst / ".atomsync" / "lock"
    lock.unlink()
    lock.symlink_to(canary)
    with unchanged(dst):
        assert atomsync("push", src, dst).returncode not in (0, 70)
    assert canary.read_bytes() == b"kept"


# -- a journal nobody should believe
@pytest.fixture
def cut(atomsync: Any, src: Path, dst: Path, strace: Strace) -> Path:
    """A destination in which a push was killed behind its seal, some of its swaps done."""
    before = (dst / "a").stat().st_ino
    for number in range(6, 20):  # the first few are those of the probe and of the seal
        kill = f"inject=renameat2:signal=KILL:when={number}"
        atomsync("push", "--delete", src, dst, under=strace("-e", "trace=renameat2", "-e", kill))
        if (dst / ".atomsync" / "unit" / "journal").exists() and (dst / "a").stat().st_ino != before:
            return dst
        atomsync("recover", dst)
    pytest.fail("no push was cut between its swaps")


def broken(data: bytes) -> dict[str, bytes]:
    """Journals that look like this one and are not."""
    version = bytearray(data)
    version[4] = 99
    frames = [at.start() for at in re.finditer(b"atsj", data)]
    places = [0, 5, 8, 20, len(data) // 2, frames[-1] + 5, frames[-1] + 9, len(data) - 70]
    found = {
        "unknown version": bytes(version),
        "empty": b"",
        "one byte": data[:1],
        "a head only": data[:12],
        "cut in half": data[: len(data) // 2],
        "cut before END": data[: frames[-1]],
        "cut inside END": data[: frames[-1] + 20],
        "torn": data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        "zeros": bytes(len(data)),
        "a record twice": data[: frames[2]] + data[frames[1] :],
        "a record less": data[: frames[1]] + data[frames[2] :],
        "garbage behind": data + b"x" * 200,
        "text": b"This is not a journal.\n" * 20,
    }
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        found[f"bit flipped at {place}"] = bytes(flipped)
    return found


def test_a_journal_that_cannot_be_trusted_stops_every_command_and_nothing_is_touched(
    atomsync: Any, src: Path, cut: Path, unchanged: Unchanged, assert_same_tree: Any
) -> None:
    journal = cut / ".atomsync" / "unit" / "journal"
    whole = journal.read_bytes()
    wrong = []
    for number, (name, data) in enumerate(broken(whole).items()):
        journal.write_bytes(data)
        command = ["push", src, cut] if number % 2 else ["recover", cut]
        try:
            with unchanged(cut), unchanged(cut / ".atomsync" / "unit"):
                message = refused(atomsync(*command), 46, "dst", "Nothing was touched")
            if name == "unknown version":
                assert "version 99" in message
            status = atomsync("status", cut)
            assert status.returncode == 0
            assert "cannot be trusted" in status.stdout
        except AssertionError as error:
            wrong.append((name, str(error)[:200]))
    assert not wrong
    journal.write_bytes(whole)
    assert atomsync("push", "--delete", src, cut).returncode == 0
    assert_same_tree(src, cut)


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_a_journal_that_is_no_file(
    kind: str, atomsync: Any, tmp_path: Path, src: Path, cut: Path, unchanged: Unchanged
) -> None:
    journal = cut / ".atomsync" / "unit" / "journal"
    journal.rename(tmp_path / "aside")
    if kind == "directory":
        journal.mkdir()
    elif kind == "fifo":
        os.mkfifo(journal)
    else:
        journal.symlink_to(tmp_path / "aside")
    with unchanged(cut), unchanged(cut / ".atomsync" / "unit"):
        for command in (["push", src, cut], ["recover", cut]):
            done = atomsync(*command, timeout_s=20)
            assert done.returncode == 46, done.stderr


def test_a_unit_whose_slots_are_gone_is_not_guessed_at(
    atomsync: Any, tmp_path: Path, src: Path, cut: Path, unchanged: Unchanged
) -> None:
    (cut / ".atomsync" / "unit" / "slots").rename(tmp_path / "slots")
    with unchanged(cut), unchanged(cut / ".atomsync" / "unit"):
        for command in (["push", src, cut], ["recover", cut]):
            done = atomsync(*command)
            assert done.returncode not in (0, 70), done.stderr
            assert "internal error" not in done.stderr


# -- signals
@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("phase", ["scan", "staging", "read back", "links"])
def test_a_signal_before_the_seal_rolls_back_and_leaves_nothing(
    name: str,
    phase: str,
    atomsync: Any,
    tmp_path: Path,
    src: Path,
    dst: Path,
    strace: Strace,
    unchanged: Unchanged,
    assert_same_tree: Any,
) -> None:
    (src / "d" / "big").write_bytes(b"x" * (4 * MIB))
    call, *only = {
        "scan": ("getdents64", "-P", str(src / "d")),
        "staging": ("pread64", "-P", str(src / "d" / "b")),
        "read back": ("pwrite64", "-P", str(dst / ".atomsync" / "pending" / "0" / "slots" / "0")),
        "links": ("symlinkat",),
    }[phase]
    if phase == "read back":
        call, only = "pread64", ["-P", str(src / "d" / "big")]
    options = [*only, "-e", f"trace={call}", "-e", f"inject={call}:signal={name}:when=1"]
    with unchanged(dst):
        done = atomsync("push", "--delete", src, dst, under=strace(*options))
        refused_by_signal(done, name, "rolled back")
    assert no_trace(dst)
    new = tmp_path / "new"
    refused_by_signal(atomsync("push", src, new, under=strace(*options)), name, "rolled back")
    assert not new.exists()
    assert atomsync("push", "--delete", src, dst).returncode == 0
    assert_same_tree(src, dst)


@pytest.mark.parametrize(("name", "call"), [("INT", "renameat2"), ("TERM", "fsync")])
def test_a_signal_at_any_rename_or_sync_leaves_all_old_or_all_new_and_says_which(
    name: str,
    call: str,
    atomsync: Any,
    tmp_path: Path,
    src: Path,
    strace: Strace,
    snapshot: Callable[..., Any],
    plant: Plant,
    assert_same_tree: Any,
) -> None:
    said = set()
    for number in range(1, 40):
        dst = tmp_path / f"dst{number}"
        old = plant(tmp_path / f"old{number}", {"a": b"old a", "d/b": b"old b", "gone/x": b"gone"})
        assert atomsync("push", old, dst).returncode == 0
        before = snapshot(dst, ctime=False)
        under = strace("-e", f"trace={call}", "-e", f"inject={call}:signal={name}:when={number}")
        done = atomsync("push", "--delete", src, dst, under=under)
        assert no_trace(dst)
        if done.returncode == 0:
            assert "SIG" not in done.stderr
            break
        assert done.returncode == 20, (number, done.returncode, done.stderr)
        if "rolled back" in done.stderr:
            assert snapshot(dst, ctime=False) == before
            assert done.stdout == ""
        else:
            assert "so it was finished" in done.stderr
            assert "created" in done.stdout
            assert_same_tree(src, dst)
        said.add(done.stderr)
    else:
        pytest.fail("more renames and syncs than a push can need")
    assert len(said) == 2, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_outside_while_a_large_file_is_staged(
    number: signal.Signals,
    atomsync: Any,
    src: Path,
    dst: Path,
    unchanged: Unchanged,
    wait_until: Callable[..., Any],
) -> None:
    slots = dst / ".atomsync" / "pending" / "0" / "slots"
    large(src, "huge", 600)
    with unchanged(dst):
        process = atomsync.start("push", src, dst)
        wait_until(lambda: largest(slots) > MIB)
        process.send_signal(number)
        reached = 0
        while process.poll() is None:
            reached = max(reached, largest(slots))
        out, err = process.communicate(timeout=30)
        done = subprocess.CompletedProcess([], process.returncode, out, err)
        refused_by_signal(done, number.name[3:], "rolled back")
    assert no_trace(dst)
    assert reached < 400 * MIB, "it did not stop before the whole file was staged"


def large(src: Path, name: str, size_mib: int) -> None:
    """Bytes that must be written: holes would stay holes."""
    with (src / name).open("wb") as file:
        for _ in range(size_mib):
            file.write(b"x" * MIB)


def largest(slots: Path) -> int:
    size = 0
    for directory, _, files in os.walk(slots):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                size = max(size, os.lstat(os.path.join(directory, name)).st_size)
    return size


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_helper_that_is_killed_costs_nothing_but_time(
    atomsync: Any, src: Path, dst: Path, wait_until: Callable[..., Any], assert_same_tree: Any
) -> None:
    for name in ("huge 1", "huge 2", "huge 3"):
        large(src, name, 150)
    process = atomsync.start("push", "--delete", src, dst)
    with contextlib.suppress(AssertionError, FileNotFoundError):  # a machine with one processor has none
        (helper,) = wait_until(lambda: children(process.pid))
        wait_until(lambda: largest(dst / ".atomsync" / "pending" / "0" / "slots") > MIB)
        os.kill(helper, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert_same_tree(src, dst)


def test_a_push_that_is_killed_leaves_no_helper_behind_and_the_next_one_does_the_work(
    atomsync: Any, src: Path, dst: Path, wait_until: Callable[..., Any], assert_same_tree: Any
) -> None:
    for name in ("huge 1", "huge 2", "huge 3"):
        large(src, name, 150)
    process = atomsync.start("push", "--delete", src, dst)
    wait_until(lambda: largest(dst / ".atomsync" / "pending" / "0" / "slots") > MIB)
    process.kill()
    process.wait()
    wait_until(lambda: atomsync("recover", dst).returncode != 40)
    done = atomsync("push", "--delete", src, dst)
    assert done.returncode == 0, done.stderr
    assert_same_tree(src, dst)


def test_a_second_signal_does_not_spoil_what_the_first_began(
    atomsync: Any, src: Path, dst: Path, strace: Strace, unchanged: Unchanged
) -> None:
    first = ["-e", "inject=symlinkat:signal=TERM:when=1"]
    more = ["-e", "inject=unlinkat,rmdir:signal=INT:when=1+"]
    under = strace("-e", "trace=symlinkat,unlinkat,rmdir", *first, *more)
    with unchanged(dst):
        done = atomsync("push", src, dst, under=under)
        assert done.returncode == 20, done.stderr
    assert no_trace(dst)


def test_an_interrupted_push_in_json_says_so(
    atomsync: Any, src: Path, dst: Path, strace: Strace, unchanged: Unchanged
) -> None:
    options = ["-e", "trace=symlinkat", "-e", "inject=symlinkat:signal=INT:when=1"]
    with unchanged(dst):
        done = atomsync("push", "--json", src, dst, under=strace(*options))
    assert done.returncode == 20
    assert '"code": "interrupted"' in done.stdout


def refused_by_signal(done: subprocess.CompletedProcess[str], name: str, words: str) -> None:
    assert done.returncode == 20, (done.returncode, done.stderr)
    assert f"stopped by SIG{name}" in done.stderr
    assert words in done.stderr
    assert done.stdout == ""


# -- names
ODD = {
    b"caf\xe9": "caf\\xe9",
    b"two\nlines": "two\\nlines",
    b"\x1b[31mred": "\\x1b[31mred",
    b"-rf": "-rf",
    b"--delete": "--delete",
    "\u202egnp".encode(): "\\u202egnp",
    b"tab\there": "tab\\there",
}


def test_odd_names_round_trip_and_are_printed_escaped_on_one_line(
    atomsync: Any, tmp_path: Path, plant: Plant, assert_same_tree: Any
) -> None:
    src = plant(tmp_path / "src", dict.fromkeys(ODD, b"1"))
    plant(src, {b"dir " + name + b"/link": "x" for name in ODD})
    done = atomsync("push", "-v", src, tmp_path / "dst")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert not [char for line in lines for char in line if not char.isprintable()]
    for shown in ODD.values():
        assert f"created  {shown}" in lines
        assert f"created  dir {shown}/" in lines
    assert len(lines) == 3 * len(ODD) + 2
    assert_same_tree(src, tmp_path / "dst")


def test_odd_names_of_the_directories_themselves(
    atomsync: Any, tmp_path: Path, plant: Plant, assert_same_tree: Any
) -> None:
    for number, name in enumerate(ODD):
        src = plant(tmp_path / "all", {os.fsencode(str(number)) + name + b"/a": b"1"}) / os.fsdecode(
            os.fsencode(str(number)) + name
        )
        dst = tmp_path / os.fsdecode(name)
        before = ["--"] if name.startswith(b"-") else []
        done = atomsync("push", *before, os.fsencode(src), name)
        assert done.returncode == 0, (name, done.stderr)
        assert_same_tree(src, dst)


def test_a_refusal_about_an_odd_name_stays_on_its_line(
    atomsync: Any, tmp_path: Path, dst: Path, plant: Plant
) -> None:
    for name, shown in ODD.items():
        done = atomsync("push", tmp_path / ("no " + os.fsdecode(name)), dst)
        assert done.returncode == 3
        assert f"no {shown}" in done.stderr
        assert len(done.stderr.splitlines()) == 2
    done = atomsync("push", "no \x1b[31mred", dst, "--state-dir", "x\ny", "extra\x1b[31m")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr


# -- deep
DEPTH = 1500


def grow_deep(root: Path, content: bytes) -> None:
    """1,500 directories in each other, far beyond PATH_MAX, made name by name."""
    os.makedirs(root, exist_ok=True)
    at = os.open(root, os.O_RDONLY)
    for level in range(DEPTH):
        name = f"level {level:04d}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=at)
    os.write(file, content)
    os.close(file)
    os.close(at)


def look_deep(root: Path) -> tuple[int, bytes]:
    at, depth = os.open(root, os.O_RDONLY), 0
    while True:
        try:
            below = os.open(f"level {depth:04d}", os.O_RDONLY, dir_fd=at)
        except FileNotFoundError:
            break
        os.close(at)
        at, depth = below, depth + 1
    try:
        file = os.open("bottom", os.O_RDONLY, dir_fd=at)
        content = os.read(file, 100)
        os.close(file)
    except FileNotFoundError:
        content = b""
    os.close(at)
    return depth, content


def test_paths_deeper_than_path_max(atomsync: Any, public_dir: Path, plant: Plant) -> None:
    src, dst = public_dir / "src", public_dir / "dst"
    grow_deep(src, b"one")
    (src / "keep").write_bytes(b"")
    done = atomsync("push", src, dst)
    assert done.returncode == 0, done.stderr
    assert look_deep(dst) == (DEPTH, b"one")
    assert atomsync("push", src, dst).stdout.startswith("nothing to do")
    grow_deep(src, b"two")
    done = atomsync("push", src, dst)
    assert done.returncode == 0, done.stderr
    assert look_deep(dst) == (DEPTH, b"two")
    subprocess.run(["rm", "-rf", src / "level 0000"], check=True)
    assert atomsync("push", src, dst).returncode == 0
    assert look_deep(dst) == (DEPTH, b"two")
    done = atomsync("push", "--delete", "--max-delete", "100%", "--keep", "0", src, dst)
    assert done.returncode == 0, done.stderr
    assert look_deep(dst) == (0, b"")
    assert (dst / "keep").exists()


# -- the call itself
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["src"],
        ["src", "dst", "more"],
        ["--no-such-option", "src", "dst"],
        ["--durability", "some", "src", "dst"],
        ["--keep", "-1", "src", "dst"],
        ["--exclude-from", "missing", "src", "dst"],
        ["--on-unstable", "hope", "src", "dst"],
    ],
)
def test_a_wrong_call(words: list[str], atomsync: Any, src: Path, dst: Path, unchanged: Unchanged) -> None:
    with unchanged(dst, control=True):
        done = atomsync("push", *words)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("atomsync: ")
    assert "\n  " in done.stderr, "no hint"


@pytest.mark.parametrize("command", ["recover", "status"])
def test_recover_and_status_of_what_is_no_directory(command: str, atomsync: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "none"):
        done = atomsync(command, tmp_path / name)
        assert done.returncode == 3
        assert name in done.stderr


def test_a_push_that_fails_leaves_a_directory_it_never_knew_exactly_as_it_was(
    atomsync: Any, src: Path, tmp_path: Path, plant: Plant, strace: Strace, snapshot: Callable[..., Any]
) -> None:
    dst = plant(tmp_path / "fresh", {"old": b"1"})
    before = snapshot(dst, ctime=False, control=True)
    options = ["-e", "trace=symlinkat", "-e", "inject=symlinkat:signal=INT:when=1"]
    assert atomsync("push", src, dst, under=strace(*options)).returncode == 20
    assert snapshot(dst, ctime=False, control=True) == before


def test_a_socket_as_destination_or_source(atomsync: Any, tmp_path: Path, src: Path, dst: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            listening.bind("sock")
        finally:
            os.chdir(here)
        refused(atomsync("push", tmp_path / "sock", dst), 3)
        refused(atomsync("push", src, tmp_path / "sock"), 3)


def test_a_limit_on_file_sizes_is_named(
    atomsync: Any, src: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    plant(src, {"large": bytes(MIB)})
    with unchanged(dst):
        done = atomsync("push", src, dst, under=["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh"])
        refused(done, 14, "ulimit")
    assert no_trace(dst)


def test_names_of_bytes_arrive_under_a_locale_that_is_not_utf_8(
    tmp_path: Path, plant: Any, atomsync: Any, assert_same_tree: Any
) -> None:
    src, dst = plant(tmp_path / "src", {"caf\u00e9": b"x", b"\xff": b"y"}), tmp_path / "dst"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = atomsync("push", src, dst, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert_same_tree(src, dst)
    assert atomsync("verify", dst, env=ascii_only).returncode == 0
