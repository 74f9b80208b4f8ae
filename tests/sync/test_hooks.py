"""Commands around a commit: a check that sees the tree as it will be and may refuse it; one that follows."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store, push
from atomsync.errors import AfterFailed, CheckFailed, DiskError, UsageError
from atomsync.store.progress import Progress
from tests.conftest import NOBODY, Cli

Plant = Callable[..., Path]
Same = Callable[[Path, Path], None]
Wait = Callable[..., Any]


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a/f": b"1", "b/g": b"1", "top": b"1", "link": "a/f"})


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


def names(dst: Path) -> list[str]:
    """What is in the control directory."""
    return sorted(os.listdir(dst / ".atomsync"))


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def number_in(path: Path) -> int:
    """A process's number, as its shell wrote it; 0 if it has not yet."""
    return int(path.read_text().strip() or 0) if path.exists() else 0


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


# -- what a check sees


@pytest.mark.parametrize(
    ("before", "after"), [("website", "stdlib"), ("config", "website"), ("stdlib", "website")]
)
def test_the_view_of_a_mirror_reads_as_the_source_does(
    real_tree: Callable[[str], Path], dst: Path, before: str, after: str, assert_same_tree: Same
) -> None:
    push(real_tree(before), dst)
    source = real_tree(after)
    judge = f"diff -r . {shlex.quote(str(source))} && test $(ls -A | wc -l) = {len(os.listdir(source))}"
    push(source, dst, delete=True, max_delete="100%", check=judge)
    assert_same_tree(source, dst)


def test_a_program_that_looks_where_it_lies_finds_the_new_files_beside_it(
    tmp_path: Path, dst: Path, plant: Plant
) -> None:
    src = plant(
        tmp_path / "src", {"app/main.py": b"import part; print(part.WORD)", "app/part.py": b"WORD = 'old'"}
    )
    push(src, dst)
    (src / "app" / "part.py").write_bytes(b"WORD = 'newer'")
    run = f"test $({shlex.quote(sys.executable)} app/main.py) = newer"
    push(src, dst, check=run)
    (src / "app" / "part.py").write_bytes(b"WORD = 'newest'")
    with pytest.raises(CheckFailed):
        push(src, dst, check=run)


def test_what_a_check_adds_to_the_view_goes_with_it(src: Path, dst: Path, assert_same_tree: Same) -> None:
    push(
        src,
        dst,
        check="mkdir -p a/cache/deep && touch a/cache/deep/x new && chmod 000 a/cache/deep",
    )
    assert_same_tree(src, dst)
    assert "view" not in names(dst)


def test_python_leaves_no_caches_in_the_directories_that_the_view_shares(
    tmp_path: Path, dst: Path, plant: Plant, assert_same_tree: Same
) -> None:
    src = plant(tmp_path / "src", {"same/__init__.py": b"", "x": b"1"})
    push(src, dst)
    (src / "x").write_bytes(b"22")
    push(src, dst, check=f"{shlex.quote(sys.executable)} -c 'import same'")
    assert_same_tree(src, dst)


@pytest.mark.parametrize(
    "spoil",
    [
        "echo more >> a/f",
        "chmod 600 a/f",
        "touch -d 2001-01-01 a/f",
        "cp -p a/f /tmp/.$$ && echo x > a/f && cat /tmp/.$$ > a/f && touch -r /tmp/.$$ a/f; rm /tmp/.$$",
        "rm a/f",
        "sed -i s/2/3/ a/f",
    ],
)
def test_a_check_that_changes_a_staged_file_is_found_out(
    src: Path, dst: Path, spoil: str, unchanged: Callable[[Path], Any]
) -> None:
    push(src, dst)
    (src / "a" / "f").write_bytes(b"22")
    with unchanged(dst, ctime=False), pytest.raises(CheckFailed, match="a/f is not as it was staged"):  # type: ignore[call-arg]
        push(src, dst, check=spoil)
    assert not {"view", "unit"} & set(names(dst))


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_a_check_works_on_every_filesystem(
    small_fs: Any, src: Path, kind: str, assert_same_tree: Same
) -> None:
    disk = small_fs(kind, 320 if kind == "xfs" else 160)
    look = f"diff -r --exclude=lost+found . {shlex.quote(str(src))}"
    push(src, disk / "dst", check=look)
    (src / "a" / "f").write_bytes(b"22")
    push(src, disk / "dst", check=look)
    (src / "a" / "f").write_bytes(b"333")
    with pytest.raises(CheckFailed, match="a/f is not as it was staged"):
        push(src, disk / "dst", check="printf 334 > a/f")
    assert (disk / "dst" / "a" / "f").read_bytes() == b"22"
    push(src, disk / "dst", check=look)
    assert_same_tree(src, disk / "dst")


def test_on_an_overlay_a_check_copies_no_unchanged_file_up(
    small_fs: Any, tmp_path: Path, src: Path, dst: Path, assert_same_tree: Same
) -> None:
    base = tmp_path / "base"
    for path in (base, dst):
        path.mkdir()
    small_fs.tmpfs(base)
    lower, upper, work = (base / name for name in ("lower", "upper", "work"))
    for path in (upper, work):
        path.mkdir()
    shutil.copytree(src, lower, symlinks=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(dst)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("overlay cannot be mounted here")
    small_fs.points.append(dst)
    (src / "a" / "f").write_bytes(b"22")
    push(src, dst, check=f"diff -r . {shlex.quote(str(src))}")
    assert_same_tree(src, dst)
    assert (upper / "a" / "f").read_bytes() == b"22"
    assert not (upper / "top").exists()


def test_the_view_lies_in_the_state_directory_if_there_is_one(tmp_path: Path, src: Path, dst: Path) -> None:
    state = tmp_path / "state"
    push(src, dst, state_dir=state, check=f'test "$ATOMSYNC_VIEW" = {state}/view && test -e a/f')
    assert "view" not in os.listdir(state)
    assert not (dst / ".atomsync").exists()


def test_a_file_that_has_other_names_is_in_the_view_and_keeps_them(
    src: Path, dst: Path, tmp_path: Path
) -> None:
    push(src, dst)
    os.link(dst / "top", tmp_path / "other-name")
    (src / "new").write_bytes(b"new")
    push(src, dst, check="test $(cat top) = 1")
    assert (dst / "top").stat().st_nlink == 2
    assert (dst / "top").samefile(tmp_path / "other-name")


def test_as_another_user_also_what_he_may_not_read_is_in_the_view(
    atomsync: Cli, public_dir: Path, plant: Plant
) -> None:
    src = plant(public_dir / "src", {"a": b"1"})
    dst = plant(public_dir / "dst", {"roots": b"secret", "own": b"closed", "hidden/x": b"1"})
    (dst / "roots").chmod(0o600)
    (dst / "own").chmod(0)
    (dst / "hidden").chmod(0o700)
    for path in (dst, dst / "own"):
        os.chown(path, NOBODY, NOBODY)
    done = atomsync(
        "push", "--check", "ls | tr '\\n' ' ' | grep '^a hidden own roots $'", src, dst, user=NOBODY
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unchanged_directory_costs_one_link_however_much_it_holds(
    atomsync: Cli, tmp_path: Path, plant: Plant, strace: Callable[..., list[str]]
) -> None:
    src = plant(tmp_path / "src", {f"many/{number}": b"" for number in range(10_000)} | {"few/f": b"1"})
    dst = tmp_path / "dst"
    push(src, dst, durability="none")
    (src / "few" / "f").write_bytes(b"22")
    log = tmp_path / "log"
    calls = "trace=link,linkat,symlink,symlinkat,mkdir,mkdirat,lstat,newfstatat,unlinkat"
    done = atomsync("push", "--check", "true", src, dst, under=strace("-e", calls, log=log))
    assert done.returncode == 0, done.stderr
    about = [line for line in log.read_text().splitlines() if re.search(r"many/|\"\d+\", \d+<|/view", line)]
    made = [line for line in log.read_text().splitlines() if re.search(r"\b(link|symlink)(at)?\(", line)]
    assert len(made) < 10, made
    assert len(about) < 100, about[:20]


# -- what a check is told


def test_a_check_is_told_the_plan_and_the_environment(src: Path, dst: Path, tmp_path: Path) -> None:
    push(src, dst)
    (src / "a" / "f").write_bytes(b"22")
    (src / "new").mkdir()
    (src / "new" / "x").write_bytes(b"x")
    (src / "top").unlink()
    told = tmp_path / "told"
    report = push(
        src, dst, delete=True, check=f"cat > {told}; env | grep ^ATOMSYNC_ | sort >> {told}; pwd >> {told}"
    )
    assert report.receipt is not None
    unit, view = report.receipt.unit_id, f"{dst}/.atomsync/view"
    line, *rest = told.read_text().splitlines()
    assert json.loads(line) == {
        "schema": 1,
        "event": "check",
        "unit": unit,
        "source": str(src),
        "destination": str(dst),
        "view": view,
        "created": 2,
        "updated": 1,
        "removed": 1,
        "changes": [
            {"change": "update", "path": "a/f", "kind": "file", "content": True},
            {"change": "create", "path": "new", "kind": "dir", "content": True},
            {"change": "create", "path": "new/x", "kind": "file", "content": True},
            {"change": "remove", "path": "top", "kind": "file", "content": True},
        ],
    }
    assert rest == [
        "ATOMSYNC_CREATED=2",
        f"ATOMSYNC_DST={dst}",
        "ATOMSYNC_REMOVED=1",
        f"ATOMSYNC_SRC={src}",
        f"ATOMSYNC_UNIT={unit}",
        "ATOMSYNC_UPDATED=1",
        f"ATOMSYNC_VIEW={view}",
        view,
    ]


def test_a_check_need_not_read_what_it_is_told(tmp_path: Path, dst: Path, plant: Plant) -> None:
    src = plant(tmp_path / "src", {f"a-name-of-some-length-{number}": b"" for number in range(5_000)})
    push(src, dst, check="exec 0<&-; true", durability="none")


def test_nothing_is_run_where_nothing_is_to_do(src: Path, dst: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    push(src, dst, dry_run=True, check=f"touch {ran}", after=f"touch {ran}")
    push(src, dst)
    push(src, dst, check=f"touch {ran}", after=f"touch {ran}")
    assert not ran.exists()


# -- a check that says no


def test_a_check_that_fails_rolls_the_whole_unit_back_and_is_quoted(
    atomsync: Cli, src: Path, dst: Path, unchanged: Callable[..., Any]
) -> None:
    atomsync("push", src, dst)
    (src / "b" / "g").write_bytes(b"22")
    with unchanged(dst, ctime=False):
        done = atomsync("push", "--check", "echo out; echo 'err\x1b[31m' >&2; exit 3", src, dst)
    assert (done.returncode, done.stdout) == (43, "")
    assert done.stderr == (
        "atomsync: the check failed: echo out; echo 'err\\x1b[31m' >&2; exit 3: exit status 3\n"
        "  Nothing was committed. It said:\n"
        "    out\n"
        "    err\\x1b[31m\n"
    )
    assert not {"view", "unit"} & set(names(dst))
    told = json.loads(atomsync("push", "--json", "--check", "echo no; false", src, dst).stdout)
    assert (told["event"], told["code"], told["exit_status"]) == ("error", "check", 43)
    assert (told["what"], told["why"]) == ("the check failed: echo no; false", "exit status 1")
    assert told["hint"].endswith("It said:\n    no")


def test_of_much_output_the_last_lines_are_shown(atomsync: Cli, src: Path, dst: Path) -> None:
    done = atomsync("push", "--check", "seq 1 300000; false", src, dst)
    assert done.returncode == 43
    said = [line.strip() for line in done.stderr.splitlines()[2:]]
    assert said == [str(number) for number in range(299_981, 300_001)]
    assert "the last 20 lines:" in done.stderr
    assert not dst.exists(), "the first push made it, so its end takes it away"


def test_a_check_that_says_much_and_succeeds_is_not_heard(atomsync: Cli, src: Path, dst: Path) -> None:
    done = atomsync("push", "--check", "seq 1 300000", src, dst)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n" not in done.stdout.strip()


def test_a_check_that_is_killed_has_failed(atomsync: Cli, src: Path, dst: Path) -> None:
    done = atomsync("push", "--check", "kill -SEGV $$", src, dst)
    assert done.returncode == 43
    assert "killed by SIGSEGV" in done.stderr
    assert "It said nothing." in done.stderr


def test_a_command_that_is_not_there_has_failed(atomsync: Cli, src: Path, dst: Path) -> None:
    done = atomsync("push", "--check", "no-such-command-here", src, dst)
    assert done.returncode == 43
    assert "exit status 127" in done.stderr
    assert "not found" in done.stderr


def test_a_check_that_takes_too_long_is_ended_with_all_it_started(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait
) -> None:
    pid = tmp_path / "pid"
    line = f"echo before; sleep 300 & echo $! > {pid}; wait"
    done = atomsync("push", "--hook-timeout", "300ms", "--check", line, src, dst)
    assert done.returncode == 43
    assert "it did not end within 0.3 s and was stopped" in done.stderr
    assert done.stderr.endswith("It said:\n    before\n")
    wait_until(lambda: not lives(number_in(pid)))


def test_one_that_hears_no_signal_is_killed(atomsync: Cli, src: Path, dst: Path) -> None:
    done = atomsync(
        "push", "--hook-timeout", "0.2", "--check", "trap '' TERM; while :; do sleep 0.1; done", src, dst
    )
    assert done.returncode == 43


def test_one_that_became_another_user_is_not_waited_for_for_ever(
    atomsync: Cli, src: Path, public_dir: Path
) -> None:
    if os.statvfs(public_dir).f_flag & os.ST_NOSUID:
        pytest.skip("no program can change its user here")
    program = public_dir / "as-root"
    shutil.copy(os.path.realpath(sys.executable), program)
    program.chmod(0o4755)
    home, pid = public_dir / "home", public_dir / "home" / "pid"
    shutil.copytree(src, home / "src", symlinks=True)
    shutil.chown(home, NOBODY, NOBODY)
    code = (
        "import os, time; os.setresuid(0, 0, 0); print(os.getpid(), file=open('pid', 'w')); time.sleep(300)"
    )
    line = f"cd {home}; PYTHONHOME={shlex.quote(sys.base_prefix)} exec {program} -c {shlex.quote(code)}"
    done = atomsync(
        "push",
        "--hook-timeout",
        "0.5",
        "--check",
        line,
        home / "src",
        home / "dst",
        user=NOBODY,
        timeout_s=30,
    )
    os.kill(number_in(pid), signal.SIGKILL)
    assert done.returncode == 43
    assert "it did not end within 0.5 s and goes on: it may not be signalled" in done.stderr
    assert not (home / "dst").exists()


@pytest.mark.parametrize(("line", "status"), [("true", 0), ("false", 43)])
def test_whoever_starts_us_may_ignore_what_becomes_of_children(
    atomsync: Cli, src: Path, dst: Path, line: str, status: int
) -> None:
    ignoring = (
        "import os, sys; from signal import *; signal(SIGCHLD, SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = atomsync("push", "--check", line, src, dst, under=[sys.executable, "-c", ignoring])
    assert done.returncode == status, done.stderr


def test_a_program_that_ignores_its_children_cannot_have_a_check(src: Path, dst: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(DiskError, match="SIGCHLD is ignored"):
            push(src, dst, check="true")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert not dst.exists()


def test_what_a_check_leaves_running_is_not_waited_for_and_ended(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait
) -> None:
    pid = tmp_path / "pid"
    done = atomsync("push", "--check", f"sleep 300 & echo $! > {pid}", src, dst, timeout_s=30)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not lives(number_in(pid)))


_WRITER = """
import os, sys, time
busy, stop, far = sys.argv[1:]
if far and os.fork():
    while not os.path.exists(busy): time.sleep(0.01)
    sys.exit()
if far:
    os.setsid()
    for fd in range(3): os.close(fd)
number = 0
while not os.path.exists(stop):
    number += 1
    for name in (f"x{number}", f"a/x{number}"):
        try: open(name, "w").close()
        except OSError: pass
    if number == 300: open(busy, "w").close()
"""


def writer(tmp_path: Path, *, far: bool) -> tuple[str, Path, Path]:
    """The line of a process that never stops adding to its directory, the file it makes when it is under
    way, and the file that ends it. ``far``: it gets out of reach."""
    busy, stop = tmp_path / "busy", tmp_path / "stop"
    return (
        shlex.join([*shlex.split(script(tmp_path, _WRITER)), str(busy), str(stop), "far" * far]),
        busy,
        stop,
    )


def test_one_who_is_left_behind_and_adds_to_the_view_is_in_nobodys_way(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, assert_same_tree: Same
) -> None:
    line, _, stop = writer(tmp_path, far=True)
    try:
        done = atomsync("push", "--check", line, src, dst)
        assert (done.returncode, done.stderr) == (0, "")
        (src / "a" / "f").write_bytes(b"22")
        assert atomsync("push", src, dst).returncode == 0
        assert "view" not in names(dst)
    finally:
        stop.touch()
    assert_same_tree(src, dst)


def test_a_check_that_outlives_us_and_adds_to_the_view_is_not_in_the_way_of_recovery(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait, assert_same_tree: Same
) -> None:
    atomsync("push", src, dst)
    (src / "a" / "f").write_bytes(b"22")
    line, busy, stop = writer(tmp_path, far=False)
    process = atomsync.start("push", "--check", line, src, dst)
    try:
        wait_until(busy.exists)
        process.kill()
        process.wait()
        done = atomsync("push", src, dst)
        assert done.returncode == 0, done.stderr
        assert "was rolled back" in done.stderr
    finally:
        stop.touch()
    assert_same_tree(src, dst)
    wait_until(lambda: atomsync("gc", dst).returncode == 0 and not os.listdir(dst / ".atomsync" / "retired"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_check_runs_ends_it_and_rolls_back(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait, number: signal.Signals
) -> None:
    atomsync("push", src, dst)
    (src / "top").write_bytes(b"22")
    pid = tmp_path / "pid"
    process = atomsync.start("push", "--check", f"echo $$ > {pid}; sleep 300; true", src, dst)
    wait_until(lambda: number_in(pid))
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 20
    assert (
        told
        == f"atomsync: stopped by {number.name}: the unit was rolled back, the destination is unchanged\n"
    )
    assert (dst / "top").read_bytes() == b"1"
    assert not {"view", "unit"} & set(names(dst))
    wait_until(lambda: not lives(number_in(pid)))


def test_after_a_kill_in_a_check_recovery_rolls_back_and_clears_the_view_away(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait, assert_same_tree: Same
) -> None:
    atomsync("push", src, dst)
    (src / "top").write_bytes(b"22")
    pid = tmp_path / "pid"
    process = atomsync.start("push", "--check", f"echo $$ > {pid}; exec sleep 300", src, dst)
    wait_until(lambda: number_in(pid))
    process.kill()
    process.wait()
    os.kill(number_in(pid), signal.SIGKILL)  # which outlives it, and holds nothing
    assert {"view", "unit"} <= set(names(dst))
    done = atomsync("recover", dst)
    assert "rolled back: it was cut before its commit point" in done.stdout + done.stderr
    assert (dst / "top").read_bytes() == b"1"
    assert not {"view", "unit"} & set(names(dst))
    assert atomsync("push", src, dst).returncode == 0
    assert_same_tree(src, dst)


@pytest.mark.parametrize(
    "options",
    [
        {"check": "a\0b"},
        {"after": "a\0b"},
        {"check": "true", "hook_timeout": -1},
        {"undo_on_failure": True},
        {"after": "true", "undo_on_failure": True, "keep": 0},
    ],
)
def test_what_could_never_run_is_refused_before_anything_is_done(
    src: Path, dst: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        push(src, dst, **options)
    assert not dst.exists()


# -- the command that follows


def test_what_follows_runs_once_for_each_unit_in_the_new_tree(src: Path, dst: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    report = push(
        src,
        dst,
        after=f"cat >> {told}; env | grep ^ATOMSYNC_ | sort >> {told}; pwd >> {told}; cat top >> {told}",
    )
    assert report.receipt is not None
    receipt = report.receipt
    line, *rest = told.read_text().splitlines()
    found = json.loads(line)
    assert found["changes"][0] == {"change": "create", "path": "a", "kind": "dir", "content": True}
    assert [change["path"] for change in found.pop("changes")] == ["a", "a/f", "b", "b/g", "link", "top"]
    assert found == {
        "schema": 1,
        "event": "after",
        "source": str(src),
        "destination": str(dst),
        "unit": receipt.unit_id,
        "created": 6,
        "updated": 0,
        "removed": 0,
        "bytes": 3,
        "window_ms": round(receipt.window_ms, 3),
        "swap_class": receipt.swap_class,
        "durability": "full",
        "warnings": [],
    }
    assert rest == [
        "ATOMSYNC_CREATED=6",
        f"ATOMSYNC_DST={dst}",
        "ATOMSYNC_REMOVED=0",
        f"ATOMSYNC_SRC={src}",
        f"ATOMSYNC_UNIT={receipt.unit_id}",
        "ATOMSYNC_UPDATED=0",
        str(dst),
        "1",
    ]


def test_what_follows_may_use_the_store_itself(src: Path, dst: Path) -> None:
    again = f"{shlex.quote(sys.executable)} -m atomsync push {shlex.quote(str(src))} {shlex.quote(str(dst))}"
    push(src, dst, after=again)


def test_if_what_follows_fails_the_unit_stays_and_is_told_of(
    atomsync: Cli, src: Path, dst: Path, assert_same_tree: Same, history: Callable[[Path], list[str]]
) -> None:
    done = atomsync("push", "--after", "echo reload failed; false", src, dst)
    (unit,) = history(dst)
    assert done.returncode == 52
    assert done.stdout.startswith("created 6 ")
    assert done.stderr == (
        "atomsync: the command after the commit failed: echo reload failed; false: exit status 1\n"
        f"  Unit {unit} is committed all the same. It said:\n"
        "    reload failed\n"
    )
    assert_same_tree(src, dst)
    (src / "top").write_bytes(b"22")
    receipt, error = map(
        json.loads, atomsync("push", "--json", "--after", "false", src, dst).stdout.splitlines()
    )
    assert (receipt["event"], receipt["updated"]) == ("receipt", 1)
    assert (error["event"], error["code"], error["exit_status"]) == ("error", "after", 52)
    (src / "top").write_bytes(b"333")
    with pytest.raises(AfterFailed) as raised:
        push(src, dst, after="false")
    assert raised.value.report.receipt.updated == 1


def test_with_undo_on_failure_the_tree_is_as_it_was_before_the_unit(
    atomsync: Cli,
    src: Path,
    dst: Path,
    tmp_path: Path,
    assert_same_tree: Same,
    history: Callable[[Path], list[str]],
) -> None:
    push(src, dst, touch="reload")
    before = tmp_path / "before"
    subprocess.run(["cp", "-a", dst, before], check=True)
    (src / "a" / "f").write_bytes(b"22")
    (src / "new").mkdir()
    (src / "new" / "x").write_bytes(b"x")
    (src / "top").unlink()
    follow = "grep -q 22 a/f && echo no; false"
    options = "--delete", "--touch", "reload", "--after", follow, "--undo-on-failure"
    done = atomsync("push", *options, src, dst)
    _, unit, undo = history(dst)
    assert done.returncode == 52
    assert done.stdout.startswith("created 2 · updated 2 · removed 1 ")
    assert f"Unit {unit} was undone, by unit {undo}. It said:\n    no\n" in done.stderr
    assert_same_tree(before, dst)
    with pytest.raises(AfterFailed) as raised:
        push(src, dst, delete=True, after="false", undo_on_failure=True)
    assert raised.value.undone == history(dst)[-1]
    push(src, dst, delete=True, touch="reload", after="true", undo_on_failure=True)
    assert (dst / "a" / "f").read_bytes() == b"22"


def test_what_others_changed_since_is_not_undone_but_told(atomsync: Cli, src: Path, dst: Path) -> None:
    push(src, dst)
    (src / "top").write_bytes(b"22")
    done = atomsync("push", "--after", "echo theirs > top; false", "--undo-on-failure", src, dst)
    assert done.returncode == 52
    assert "is committed, and could not be undone: " in done.stderr
    assert (dst / "top").read_bytes() == b"theirs\n"


def test_a_signal_is_no_failure_to_undo_for(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait, assert_same_tree: Same
) -> None:
    pid = tmp_path / "pid"
    line = f"echo $$ > {pid}; sleep 300; true"
    process = atomsync.start("push", "--undo-on-failure", "--after", line, src, dst)
    wait_until(lambda: number_in(pid))
    process.terminate()
    assert process.wait(20) == 20
    assert_same_tree(src, dst)


@pytest.mark.parametrize("hook", ["check", "after"])
def test_whoever_waits_for_a_sign_of_life_has_it_while_a_command_runs(
    src: Path, dst: Path, hook: str
) -> None:
    class Asked(Progress):
        times = 0

        def check(self) -> None:
            self.times += 1

    progress = Asked()
    push(src, dst, progress=progress)
    (src / "top").write_bytes(b"22")
    before, progress.times = progress.times, 0
    push(src, dst, progress=progress, **{hook: "sleep 1"})  # type: ignore[arg-type]
    assert progress.times > before + 10


def test_what_it_leaves_running_is_left_alone(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait
) -> None:
    pid = tmp_path / "pid"
    assert atomsync("push", "--after", f"sleep 300 & echo $! > {pid}", src, dst, timeout_s=30).returncode == 0
    assert lives(number_in(pid))
    os.kill(number_in(pid), signal.SIGTERM)


def test_a_signal_while_it_runs_ends_it_and_says_that_the_unit_is_committed(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path, wait_until: Wait, assert_same_tree: Same
) -> None:
    pid = tmp_path / "pid"
    process = atomsync.start("push", "--after", f"echo $$ > {pid}; sleep 300; true", src, dst)
    wait_until(lambda: number_in(pid))
    process.terminate()
    _, told = process.communicate(timeout=20)
    assert process.returncode == 20
    assert "is committed, but the command after it was ended" in told
    assert_same_tree(src, dst)
    wait_until(lambda: not lives(number_in(pid)))


def test_a_saved_plan_is_carried_out_with_hooks_of_its_own(
    atomsync: Cli, src: Path, dst: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan"
    push(src, dst, touch="reload")
    (src / "top").write_bytes(b"22")
    assert (
        atomsync("push", "-n", "--delete", "--touch", "reload", "--save-plan", plan, src, dst).returncode == 0
    )
    assert atomsync("apply", "--touch", "reload", "--check", "false", plan).returncode == 43
    assert (dst / "top").read_bytes() == b"1"
    done = atomsync("apply", "--touch", "reload", "--check", "grep 22 top", "--after", "false", plan)
    assert done.returncode == 52, done.stderr
    assert done.stdout.startswith("created 0 · updated 2 ")
    assert (dst / "top").read_bytes() == b"22"


# -- in a program of one's own


def test_a_program_checks_its_units_in_their_view(tmp_path: Path) -> None:
    store = open_store(tmp_path / "site")

    @store.listens_for("after_seal")
    def complete(unit: Any, sealed: Any) -> None:
        with sealed.preview() as view:
            subprocess.run(["grep", "-q", "</html>", f"{view}/index.html"], check=True)

    with store.begin() as unit:
        unit.write("index.html", "<html></html>")
    with pytest.raises(subprocess.CalledProcessError), store.begin() as unit:
        unit.write("index.html", "<html>")
    assert (tmp_path / "site" / "index.html").read_text() == "<html></html>"
