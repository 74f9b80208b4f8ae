"""A push on real trees: what lands, what is found changed, what is left alone, what a moving source does."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from atomsync import Filters, Report, push
from atomsync.errors import DiskError, Drift, GuardTripped, SourceUnstable
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.tree.racy import TICK_NS as RACY_NS

NOBODY = 65534
MIB = 1 << 20
TREES = ["website", "config", "awkward", "stdlib"]

KINDS: dict[str, dict[str, bytes | str | None]] = {
    "file": {"x": b"content"},
    "empty dir": {"x": None},
    "full dir": {"x/a": b"1", "x/sub/b": b"2", "x/link": "a"},
    "link to file": {"x": "beside"},
    "link to dir": {"x": "beside.d"},
    "dangling link": {"x": "nowhere"},
}


class At(Progress):
    """Does something at the moment a phase begins, once for each."""

    def __init__(self, **actions: Callable[[], object]) -> None:
        self._actions = actions

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        action = self._actions.pop(name, None)
        if action is not None:
            action()


class Growing(Progress):
    """Appends to files whenever a phase begins: whenever atomsync looks, they have changed."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        for path in self._paths:
            with path.open("ab") as file:
                file.write(b"x")


def changed(report: Report) -> list[str]:
    return sorted(change.path for change in report.changes if change.visible)


def did_nothing(report: Report) -> bool:
    return report.receipt is not None and not report.receipt.unit_id and not report.changes


def rewrite(path: Path, data: bytes, mtime_ns: int) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


@contextlib.contextmanager
def script(text: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python program beside us that says a line when it has begun; killed at the end if need be."""
    line = [sys.executable, "-c", text, *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


# -- what lands
@pytest.mark.parametrize("name", TREES)
def test_a_first_push_makes_a_tree_in_which_no_judge_finds_a_difference(
    name: str, real_tree: Callable[[str], Path], dst: Path, assert_same_tree: Callable[..., None]
) -> None:
    if name == "awkward" and os.geteuid() != 0:
        pytest.skip("only root can read files without permission bits")
    src = real_tree(name)
    push(src, dst)
    assert_same_tree(src, dst)


@pytest.mark.parametrize("name", TREES)
def test_a_second_push_does_nothing_and_writes_nothing_in_the_tree(
    name: str,
    real_tree: Callable[[str], Path],
    dst: Path,
    history: Callable[[Path], list[str]],
    unchanged: Callable[..., Any],
) -> None:
    if name == "awkward" and os.geteuid() != 0:
        pytest.skip("only root can read files without permission bits")
    src = real_tree(name)
    push(src, dst)
    units = history(dst)
    with unchanged(dst), unchanged(src):
        report = push(src, dst)
    assert did_nothing(report)
    assert history(dst) == units
    assert not (dst / ".atomsync" / "unit").exists()


@pytest.mark.parametrize("options", [{"durability": "none"}, {"verify": "media"}, {"keep": 0}], ids=str)
def test_every_way_to_commit_gives_the_same_tree(
    options: dict[str, Any],
    real_tree: Callable[[str], Path],
    dst: Path,
    assert_same_tree: Callable[..., None],
) -> None:
    push(real_tree("config"), dst, **options)
    assert_same_tree(real_tree("config"), dst)
    push(real_tree("website"), dst, delete=True, max_delete="100%", **options)
    assert_same_tree(real_tree("website"), dst)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_each_filesystem_takes_one_tree_after_the_other(
    kind: str,
    small_fs: Callable[..., Path],
    real_tree: Callable[[str], Path],
    assert_same_tree: Callable[..., None],
) -> None:
    dst = small_fs(kind, 512) / "dst"
    for name in ("awkward", "config", "website"):
        report = push(real_tree(name), dst, delete=True, max_delete="100%")
        assert report.receipt is not None
        assert report.receipt.swap_class == "exchange"
        assert_same_tree(real_tree(name), dst)
        assert did_nothing(push(real_tree(name), dst, delete=True))


def test_the_state_directory_can_be_elsewhere_and_then_the_tree_holds_nothing_of_ours(
    real_tree: Callable[[str], Path], tmp_path: Path, dst: Path, assert_same_tree: Callable[..., None]
) -> None:
    state = tmp_path / "state"
    push(real_tree("config"), dst, state_dir=state)
    assert not (dst / ".atomsync").exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert did_nothing(push(real_tree("config"), dst, state_dir=state))
    push(real_tree("website"), dst, delete=True, max_delete="100%", state_dir=state)
    assert_same_tree(real_tree("website"), dst)


def test_a_slash_at_the_end_of_either_directory_means_nothing(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"a": b"1"})
    push(f"{src}/", f"{dst}/")
    assert (dst / "a").read_bytes() == b"1"
    assert did_nothing(push(src, f"{dst}///"))


def test_one_who_is_not_root_gives_files_the_owner_he_can_and_takes_the_lent_rights_away(
    public_dir: Path, plant: Callable[..., Path], atomsync: Any, needs_root: None
) -> None:
    src, dst = public_dir / "src", public_dir / "dst"
    plant(src, {"tool": b"1", "mine": b"2", "d/shut/file": b"3"})
    dst.mkdir()
    for path in (dst, src / "mine"):
        os.chown(path, NOBODY, NOBODY)
    os.chmod(src / "tool", 0o6755)
    os.chmod(src / "mine", 0o4755)
    os.chmod(src / "d" / "shut", 0o555)
    assert atomsync("push", src, dst, user=NOBODY).returncode == 0
    assert (dst / "tool").stat().st_uid == NOBODY
    assert stat.S_IMODE((dst / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((dst / "mine").stat().st_mode) == 0o4755
    assert stat.S_IMODE((dst / "d" / "shut").stat().st_mode) == 0o555
    assert atomsync("push", src, dst, user=NOBODY).stdout.startswith("nothing to do")
    (src / "d" / "shut" / "file").write_bytes(b"33")
    (src / "d" / "shut" / "more").write_bytes(b"4")
    assert atomsync("push", src, dst, user=NOBODY).returncode == 0
    assert (dst / "d" / "shut" / "file").read_bytes() == b"33"
    assert stat.S_IMODE((dst / "d" / "shut").stat().st_mode) == 0o555
    assert (dst / "d" / "shut").stat().st_mtime_ns == (src / "d" / "shut").stat().st_mtime_ns


# -- removal
def test_without_delete_nothing_is_removed_and_with_it_all_that_the_source_lacks(
    src: Path, dst: Path, plant: Callable[..., Path], assert_same_tree: Callable[..., None]
) -> None:
    plant(src, {"kept": b"1", "d/kept": b"2"})
    push(src, dst)
    plant(dst, {"extra": b"x", "d/extra": b"x", "more/deep/er": b"x", "empty": None, "link": "kept"})
    os.mkfifo(dst / "fifo")
    push(src, dst)
    assert {"extra", "more", "empty", "link", "fifo"} <= set(os.listdir(dst))
    report = push(src, dst, delete=True)
    gone = ["d/extra", "empty", "extra", "fifo", "link", "more", "more/deep", "more/deep/er"]
    assert changed(report) == gone
    assert_same_tree(src, dst)
    assert did_nothing(push(src, dst, delete=True))


def test_excluded_paths_in_the_destination_are_protected_from_delete(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"kept": b"1"})
    plant(dst, {"a.log": b"x", "gone": b"x", "d/b.log": b"x", "d/gone": b"x", "cache/all/of/it": b"x"})
    plant(dst, {"empty/e": None, "d/e/f/c.log": b"x"})
    push(src, dst, delete=True, filters=Filters(["*.log", "/cache/"]))
    left = sorted(str(path.relative_to(dst)) for path in dst.rglob("*") if ".atomsync" not in path.parts)
    assert left == [
        "a.log", "cache", "cache/all", "cache/all/of", "cache/all/of/it",
        "d", "d/b.log", "d/e", "d/e/f", "d/e/f/c.log", "kept",
    ]  # fmt: skip


def test_a_directory_with_content_gives_way_to_a_file_only_with_delete(
    src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    plant(src, {"x": b"file"})
    plant(dst, {"x/a": b"1"})
    with unchanged(dst), pytest.raises(GuardTripped):
        push(src, dst)
    push(src, dst, delete=True)
    assert (dst / "x").read_bytes() == b"file"


def test_a_directory_with_excluded_content_does_not_give_way_at_all(
    src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    plant(src, {"x": b"file"})
    plant(dst, {"x/a": b"1", "x/b.log": b"1"})
    with unchanged(dst), pytest.raises(GuardTripped):
        push(src, dst, delete=True, filters=Filters(["*.log"]))


# -- kinds
@pytest.mark.parametrize(("before", "after"), list(permutations(KINDS, 2)))
def test_every_kind_gives_way_to_every_other(
    before: str,
    after: str,
    tmp_path: Path,
    dst: Path,
    plant: Callable[..., Path],
    assert_same_tree: Callable[..., None],
) -> None:
    common = {"beside": b"beside", "beside.d/inner": b"inner"}
    old = plant(tmp_path / "old", {**common, **KINDS[before]})
    new = plant(tmp_path / "new", {**common, **KINDS[after]})
    push(old, dst)
    push(new, dst, delete=True)
    assert_same_tree(new, dst)
    assert did_nothing(push(new, dst, delete=True))


WATCHER = """
import os, sys
path, stop = sys.argv[1:]
looks = misses = 0
print("ready", flush=True)
while not os.path.lexists(stop):
    for _ in range(500):
        looks += 1
        try:
            os.lstat(path)
        except OSError:
            misses += 1
print(looks, misses)
"""


def test_a_path_is_never_missing_while_its_kind_changes_two_hundred_times(
    tmp_path: Path, src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"d/x": b"start", "beside": b"1"})
    push(src, dst)
    order = random.Random(7)
    kinds = [{f"d/{path}": what for path, what in spec.items()} for spec in KINDS.values()]
    with script(WATCHER, dst / "d" / "x", tmp_path / "stop") as watcher:
        for _ in range(200):
            subprocess.run(["rm", "-rf", src / "d"], check=True)
            plant(src, order.choice(kinds))
            push(src, dst, delete=True, keep=1)
        (tmp_path / "stop").touch()
        assert watcher.stdout is not None
        looks, misses = map(int, watcher.stdout.readline().split())
    assert looks > 10_000
    assert misses == 0


# -- what counts as a change
def test_content_of_the_same_size_and_time_is_found_by_checksum_only(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"a": b"one", "b": b"two"})
    for name in ("a", "b"):
        os.utime(src / name, ns=(10**18, 10**18))
    push(src, dst)
    rewrite(src / "a", b"ONE", 10**18)
    assert did_nothing(push(src, dst))
    assert (dst / "a").read_bytes() == b"one"
    assert changed(push(src, dst, checksum=True)) == ["a"]
    assert (dst / "a").read_bytes() == b"ONE"


def test_with_checksum_a_touched_file_gets_its_time_and_keeps_its_inode(
    src: Path, dst: Path, plant: Callable[..., Path], assert_same_tree: Callable[..., None]
) -> None:
    plant(src, {"a": b"one", "b": b"two"})
    push(src, dst)
    inode = (dst / "a").stat().st_ino
    os.utime(src / "a", ns=(10**18 + 1, 10**18 + 1))
    report = push(src, dst, checksum=True)
    assert [(change.path, change.content) for change in report.changes] == [("a", False)]
    assert (dst / "a").stat().st_ino == inode
    assert_same_tree(src, dst)


def test_without_checksum_a_touched_file_is_staged_again(
    src: Path, dst: Path, plant: Callable[..., Path], assert_same_tree: Callable[..., None]
) -> None:
    plant(src, {"a": b"one"})
    push(src, dst)
    os.utime(src / "a", ns=(10**18 + 1, 10**18 + 1))
    assert changed(push(src, dst)) == ["a"]
    assert_same_tree(src, dst)


def test_checksum_repairs_content_that_somebody_changed_in_the_destination(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"a": b"one"})
    push(src, dst)
    rewrite(dst / "a", b"bad", (src / "a").stat().st_mtime_ns)
    assert changed(push(src, dst, checksum=True)) == ["a"]
    assert (dst / "a").read_bytes() == b"one"


@pytest.mark.parametrize(
    "what", ["mode", "one ns", "dir mode", "dir time", "link time", "link target", "owner"]
)
def test_each_attribute_alone_is_seen_and_carried_over(
    what: str,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    assert_same_tree: Callable[..., None],
) -> None:
    plant(src, {"file": b"1", "dir/inner": b"2", "link": "file"})
    push(src, dst)
    inode = (dst / "file").stat().st_ino
    moment = (src / "file").stat().st_mtime_ns + 1
    if what == "mode":
        os.chmod(src / "file", 0o711)
    elif what == "one ns":
        os.utime(src / "file", ns=(moment, moment))
    elif what == "dir mode":
        os.chmod(src / "dir", 0o1751)
    elif what == "dir time":
        os.utime(src / "dir", ns=(1, 1))
    elif what == "link time":
        os.utime(src / "link", ns=(5, 5), follow_symlinks=False)
    elif what == "link target":
        (src / "link").unlink()
        (src / "link").symlink_to("dir")
    elif os.geteuid() == 0:
        for name in ("file", "dir", "link"):
            os.chown(src / name, 4711, 4712, follow_symlinks=False)
    else:
        pytest.skip("only root may give files away")
    push(src, dst)
    assert_same_tree(src, dst)
    if what in ("mode", "owner"):
        assert (dst / "file").stat().st_ino == inode
    assert did_nothing(push(src, dst))


def test_a_file_written_just_now_is_trusted_only_when_its_tick_is_over(src: Path, dst: Path) -> None:
    """Else a later write could get the same times, and would never be seen."""
    path = src / "young"
    for attempt in range(20):
        moments: list[int] = []

        def write(content: bytes = b"%04d" % attempt) -> None:
            path.write_bytes(content)

        def sealed(moments: list[int] = moments) -> None:
            moments.append(time.time_ns())

        push(src, dst, progress=At(scan=write, seal=sealed))
        assert moments[0] - path.stat().st_ctime_ns >= RACY_NS
        assert (dst / "young").read_bytes() == path.read_bytes()


def test_a_racy_file_found_equal_is_no_longer_read(src: Path, dst: Path, plant: Callable[..., Path]) -> None:
    plant(src, {"a": b"one"})
    push(src, dst)
    while time.time_ns() - (src / "a").stat().st_mtime_ns < 2 * RACY_NS:
        pass
    assert did_nothing(push(src, dst))
    rewrite(src / "a", b"ONE", (src / "a").stat().st_mtime_ns)  # a forgery now, not a race
    assert did_nothing(push(src, dst))


def test_a_file_whose_time_is_not_past_yet_stays_racy_however_often_it_is_pushed(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    soon = time.time_ns() + 3600 * 10**9
    plant(src, {"a": b"one"})
    os.utime(src / "a", ns=(soon, soon))
    for _ in range(3):
        push(src, dst)
    rewrite(src / "a", b"ONE", soon)
    assert changed(push(src, dst)) == ["a"]


def test_a_lost_manifest_costs_nothing_but_time(
    src: Path, dst: Path, plant: Callable[..., Path], assert_same_tree: Callable[..., None]
) -> None:
    plant(src, {"a": b"one", "d/b": b"two"})
    push(src, dst)
    (dst / ".atomsync" / "manifest.sqlite").write_bytes(b"not a database, longer than a header " * 20)
    assert did_nothing(push(src, dst))
    (dst / ".atomsync" / "manifest.sqlite").unlink()
    (src / "a").write_bytes(b"three")
    assert changed(push(src, dst)) == ["a"]
    assert_same_tree(src, dst)


# -- patterns, judged by git
NAMES = ["a", "b", "build", "c.txt", "d.log", "e.tmp", "#h", "!i", "x y", "caf\u00e9"]
PATTERNS = [
    "a", "b/", "/a", "/b/", "a/b", "a/*", "/*", "*", "!*/", "!*.txt", "*.log", "*.tmp", "!d.log", "**/b",
    "a/**", "a/**/c.txt", "**/a/*.txt", "build/", "/build", "!build/", "!/a/", "!a/b", "!/a/b/", "[ab]",
    "[!ab].txt", "?", "\\#h", "\\!i", "!\\!i", "x y", "x\\ y", "*.txt ", "# comment", "", "caf*", "!a/**",
    "**", "!**/c.txt", "b/**/d.log", "/a/b/c.txt", "c.*", "!c.*", "[a-c]*",
]  # fmt: skip


def grown(root: Path, chance: random.Random, depth: int = 3) -> Path:
    root.mkdir(exist_ok=True)
    for name in NAMES:
        draw = chance.random()
        if draw < 0.3 and depth:
            grown(root / name, chance, depth - 1)
        elif draw < 0.7:
            (root / name).write_bytes(b"")
    return root


def git(root: Path, *words: str) -> list[str]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": os.devnull}
    line = ["git", "-c", "init.defaultBranch=main", "-c", "core.fsmonitor=false", *words]
    done = subprocess.run(line, cwd=root, env={**os.environ, **quiet}, check=True, capture_output=True)
    return sorted(os.fsdecode(name) for name in done.stdout.split(b"\0") if name)


def would_push(src: Path, dst: Path, filters: Filters) -> list[str]:
    report = push(src, dst, dry_run=True, filters=filters)
    return sorted(change.path for change in report.changes if change.new and change.new.kind == "file")


@pytest.mark.parametrize("seed", range(40))
def test_nested_gitignore_files_mean_what_git_takes_them_to_mean(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    src = grown(tmp_path / "src", chance)
    directories = [src, *sorted(path for path in src.rglob("*") if path.is_dir())]
    for directory in directories:
        if directory == src or chance.random() < 0.25:
            lines = chance.choices(PATTERNS, k=chance.randint(1, 5))
            (directory / ".gitignore").write_text("\n".join(lines) + "\n")
    git(src, "init", "-q")
    expected = git(src, "ls-files", "-z", "--others", "--exclude-standard")
    assert would_push(src, tmp_path / "dst", Filters(["/.git/"], gitignore=True)) == expected


@pytest.mark.parametrize("seed", range(40))
def test_patterns_of_the_caller_mean_what_git_takes_them_to_mean(seed: int, tmp_path: Path) -> None:
    chance = random.Random(1000 + seed)
    src = grown(tmp_path / "src", chance)
    lines = [*chance.choices(PATTERNS, k=chance.randint(1, 6)), "/.git/"]
    (tmp_path / "patterns").write_text("\n".join(lines) + "\n")
    git(src, "init", "-q")
    expected = git(src, "ls-files", "-z", "--others", f"--exclude-from={tmp_path / 'patterns'}")
    assert would_push(src, tmp_path / "dst", Filters(lines)) == expected


@pytest.mark.parametrize("seed", range(8))
def test_exclude_include_and_exclude_from_count_in_the_order_they_stand(
    seed: int, tmp_path: Path, atomsync: Any
) -> None:
    chance = random.Random(2000 + seed)
    src = grown(tmp_path / "src", chance, 2)
    words: list[str] = []
    lines: list[str] = []
    for number in range(5):
        found = chance.choices(PATTERNS, k=2)
        if chance.random() < 0.4:
            (tmp_path / f"from{number}").write_text("\n".join(found) + "\n")
            words += ["--exclude-from", str(tmp_path / f"from{number}")]
            lines += found
            continue
        for pattern in found:
            if pattern.startswith("!"):
                words += ["--include", pattern[1:]]
                lines.append(pattern)
            elif pattern and not pattern.startswith("#"):
                words.append(f"--exclude={pattern}")
                lines.append(pattern)
    (tmp_path / "patterns").write_text("\n".join([*lines, "/.git/"]) + "\n")
    git(src, "init", "-q")
    expected = git(src, "ls-files", "-z", "--others", f"--exclude-from={tmp_path / 'patterns'}")
    dst = tmp_path / "dst"
    assert atomsync("push", *words, "--exclude", "/.git/", src, dst).returncode == 0
    landed = [path for path in dst.rglob("*") if path.is_file() and ".atomsync" not in path.parts]
    assert sorted(str(path.relative_to(dst)) for path in landed) == expected


@pytest.mark.parametrize("name", ["#h", "!i"])
def test_exclude_takes_a_hash_or_a_bang_as_part_of_a_name(name: str, tmp_path: Path, atomsync: Any) -> None:
    src = grown(tmp_path / "src", random.Random(3), 0)
    for each in NAMES:
        (src / each).write_bytes(b"")
    assert atomsync("push", "--exclude", name, src, tmp_path / "dst").returncode == 0
    assert sorted(set(NAMES) - set(os.listdir(tmp_path / "dst"))) == [name]


def test_a_value_that_looks_like_a_pattern_option_is_still_a_value(
    tmp_path: Path, plant: Callable[..., Path], atomsync: Any
) -> None:
    plant(tmp_path / "src", {"src": b"1", "a": b"2"})
    assert atomsync("push", "-m", "--exclude", "src", "dst").returncode == 0
    assert (tmp_path / "dst" / "src").exists()


def test_patterns_of_the_caller_outrank_gitignore_files(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {".gitignore": b"*.log\n", "a.log": b"1", "b.log": b"2", "c.txt": b"3"})
    push(src, dst, filters=Filters(["!a.log", "c.txt"], gitignore=True))
    assert sorted(os.listdir(dst)) == [".atomsync", ".gitignore", "a.log"]


def test_a_gitignore_that_is_a_link_or_a_fifo_is_not_read(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"a.log": b"1", "patterns": b"*.log\n", ".gitignore": "patterns", "sub/b.log": b"2"})
    os.mkfifo(src / "sub" / ".gitignore")
    report = push(src, dst, filters=Filters(gitignore=True))
    assert (dst / "a.log").exists()
    assert report.left_out == {"sub/.gitignore": "FIFO"}


# -- what is not copied
def test_special_files_are_reported_and_never_opened(
    tmp_path: Path,
    real_tree: Callable[[str], Path],
    atomsync: Any,
    strace: Callable[..., list[str]],
    unchanged: Callable[..., Any],
) -> None:
    src, log = real_tree("awkward") / "special", tmp_path / "log"
    for _ in range(2):
        with unchanged(src):
            done = atomsync(
                "push", "-c", src, tmp_path / "dst", under=strace("-e", "trace=open,openat,openat2", log=log)
            )
        assert done.returncode == 0
        assert "fifo (FIFO)" in done.stderr
        assert "socket (socket)" in done.stderr
        opened = log.read_text(errors="replace")
        assert '"beside them"' in opened
        assert not [name for name in ('"fifo"', '"socket"', '"device"') if name in opened]
    assert sorted(os.listdir(tmp_path / "dst")) == [".atomsync", "beside them"]


def test_what_is_at_the_path_of_a_special_file_stays(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(dst, {"pipe": b"kept", "pipe2/inner": b"kept"})
    os.mkfifo(src / "pipe")
    os.mkfifo(src / "pipe2")
    report = push(src, dst, delete=True)
    assert report.left_out == {"pipe": "FIFO", "pipe2": "FIFO"}
    assert (dst / "pipe").read_bytes() == b"kept"
    assert (dst / "pipe2" / "inner").read_bytes() == b"kept"


@pytest.mark.parametrize("checksum", [False, True])
def test_a_fifo_in_the_destination_gives_way_to_a_file_and_hangs_nobody(
    checksum: bool, tmp_path: Path, src: Path, dst: Path, plant: Callable[..., Path], atomsync: Any
) -> None:
    plant(src, {"x": b""})
    dst.mkdir()
    os.mkfifo(dst / "x")
    done = atomsync("push", src, dst, *(["-c"] if checksum else []), timeout_s=20)
    assert done.returncode == 0
    assert (dst / "x").is_file()


def test_the_control_directory_of_a_source_is_not_copied(
    src: Path,
    tmp_path: Path,
    dst: Path,
    plant: Callable[..., Path],
    history: Callable[[Path], list[str]],
) -> None:
    plant(tmp_path / "first", {"a": b"1"})
    push(tmp_path / "first", src)
    push(src, dst, delete=True)
    assert len(history(dst)) == 1
    assert history(dst) != history(src)
    assert (dst / "a").read_bytes() == b"1"


def test_one_file_system_makes_the_mount_point_but_does_not_enter_it(
    public_dir: Path, plant: Callable[..., Path], small_fs: Any
) -> None:
    src, dst = plant(public_dir / "src", {"a": b"1", "mnt": None, "d/mnt": None}), public_dir / "dst"
    for point in (src / "mnt", src / "d" / "mnt"):
        plant(small_fs.tmpfs(point), {"inner": b"2", "sub/x": b"3"})
    push(src, dst, one_file_system=True)
    assert os.listdir(dst / "mnt") == os.listdir(dst / "d" / "mnt") == []
    assert did_nothing(push(src, dst, one_file_system=True))
    push(src, dst)
    assert (dst / "mnt" / "inner").read_bytes() == b"2"
    push(src, dst, one_file_system=True, delete=True)
    assert (dst / "mnt" / "inner").read_bytes() == b"2"


def test_one_file_system_does_not_open_what_is_mounted_either(
    public_dir: Path, plant: Callable[..., Path], small_fs: Any, atomsync: Any
) -> None:
    src, dst = plant(public_dir / "src", {"d/a": b"1", "d/mnt": None}), public_dir / "dst"
    small_fs.tmpfs(src / "d" / "mnt", "mode=0700")
    dst.mkdir()
    os.chown(dst, NOBODY, NOBODY)
    done = atomsync("push", "--one-file-system", src, dst, user=NOBODY)
    assert done.returncode == 0, done.stderr
    assert os.listdir(dst / "d" / "mnt") == []


# -- a source that moves
GROWS = """
import sys, time
files = [open(path, "ab", buffering=0) for path in sys.argv[1:]]
print("ready", flush=True)
while True:
    for file in files:
        file.write(b"x")
    time.sleep(0.0002)
"""
# Beside a file that grows: without them a push is so quick that it may catch it at rest.
BALLAST: dict[str, bytes] = {f"ballast/{number}": b"" for number in range(1500)}


def test_a_file_that_keeps_growing_fails_the_push_and_leaves_the_destination_alone(
    src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    plant(src, {**BALLAST, "a": b"1", "growing.log": b"1"})
    push(src, dst)
    (src / "a").write_bytes(b"new")
    with script(GROWS, src / "growing.log"), unchanged(dst), pytest.raises(SourceUnstable) as caught:
        push(src, dst)
    assert "growing.log" in caught.value.why
    assert "--on-unstable skip" in caught.value.hint
    assert not (dst / ".atomsync" / "unit").exists()


def test_a_first_push_that_fails_leaves_no_directory(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {**BALLAST, "a": b"1"})
    with script(GROWS, src / "growing.log"), pytest.raises(SourceUnstable):
        push(src, dst)
    assert not dst.exists()


def test_a_file_that_keeps_growing_can_be_skipped_and_the_rest_is_committed(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"a": b"1", "d/growing.log": b"1", "d/b": b"2", "old.log": b"1"})
    push(src, dst, filters=Filters(["growing.log"]))
    (src / "a").write_bytes(b"new")
    progress = Growing(src / "d" / "growing.log", src / "old.log")
    report = push(src, dst, on_unstable="skip", delete=True, progress=progress)
    assert report.skipped == ("d/growing.log", "old.log")
    assert (dst / "a").read_bytes() == b"new"
    assert (dst / "old.log").read_bytes() == b"1"
    assert sorted(os.listdir(dst / "d")) == ["b"]
    push(src, dst)
    assert (dst / "old.log").read_bytes() == (src / "old.log").read_bytes()


@pytest.mark.parametrize("phase", ["scan", "stage", "check"])
@pytest.mark.parametrize("change", ["rewrite", "grow", "replace", "vanish", "appear", "retype", "vanish dir"])
def test_a_source_that_changes_once_during_the_push_ends_consistent(
    phase: str,
    change: str,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    assert_same_tree: Callable[..., None],
) -> None:
    plant(src, {"a": b"old", "d/b": b"old", "big": b"o" * (3 * MIB), "d/sub/c": b"old"})

    def act() -> None:
        if change == "rewrite":
            (src / "big").write_bytes(b"n" * (3 * MIB))
        elif change == "grow":
            with (src / "a").open("ab") as file:
                file.write(b"more")
        elif change == "replace":
            (src / "aside").write_bytes(b"new")
            os.replace(src / "aside", src / "d" / "b")
        elif change == "vanish":
            (src / "a").unlink()
        elif change == "appear":
            (src / "d" / "new").write_bytes(b"new")
        elif change == "retype":
            (src / "a").unlink()
            plant(src, {"a/inner": b"new"})
        else:
            shutil.rmtree(src / "d")

    push(src, dst, delete=True, progress=At(**{phase: act}))
    assert_same_tree(src, dst)


def test_a_change_after_the_last_check_is_found_by_the_next_push(
    src: Path, dst: Path, plant: Callable[..., Path], assert_same_tree: Callable[..., None]
) -> None:
    plant(src, {"a": b"old"})
    push(src, dst, progress=At(seal=lambda: (src / "a").write_bytes(b"new")))
    assert (dst / "a").read_bytes() == b"old"
    push(src, dst)
    assert_same_tree(src, dst)


REWRITES = """
import os, random, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
chance = random.Random(5)
print("ready", flush=True)
while True:
    data = bytes([chance.randrange(256)]) * (1 << 20)
    for part in range(8):
        os.pwrite(fd, data, part << 20)
    time.sleep(chance.random() * 0.08)
"""


def test_no_torn_version_of_a_file_is_ever_committed(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"big": b"\0" * (8 * MIB)})
    committed = 0
    with script(REWRITES, src / "big"):
        for _ in range(20):
            try:
                report = push(src, dst, durability="none", keep=0)
            except SourceUnstable:
                continue
            committed += report.receipt is not None and bool(report.receipt.unit_id)
            data = (dst / "big").read_bytes()
            assert data == data[:1] * (8 * MIB)
    assert committed


# -- nothing is touched
@pytest.mark.parametrize("there", ["nothing", "a directory", "a store"])
def test_a_dry_run_touches_nothing_anywhere(
    there: str,
    tmp_path: Path,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    unchanged: Callable[..., Any],
) -> None:
    plant(src, {"a": b"1", "d/b": b"2", "link": "a"})
    if there != "nothing":
        plant(dst, {"old": b"1", "d/b": b"1"})
    if there == "a store":
        push(src, dst)
        (src / "a").write_bytes(b"new")
    with unchanged(tmp_path, control=True):
        report = push(src, dst, delete=True, dry_run=True)
    assert report.receipt is None
    assert "a" in changed(report)
    assert ("old" in changed(report)) == (there != "nothing")


def test_a_dry_run_foretells_what_the_push_then_does(real_tree: Callable[[str], Path], dst: Path) -> None:
    push(real_tree("website"), dst)
    foretold = push(real_tree("config"), dst, delete=True, max_delete="100%", dry_run=True)
    done = push(real_tree("config"), dst, delete=True, max_delete="100%")
    assert changed(foretold) == changed(done)
    assert foretold.unchanged == done.unchanged


def test_a_dry_run_refuses_what_the_push_would_refuse(
    src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    plant(src, {"x": b"file"})
    plant(dst, {"x/a": b"1"})
    with unchanged(dst, control=True), pytest.raises(GuardTripped):
        push(src, dst, dry_run=True)


# -- links in the destination lead nowhere
def test_a_link_planted_in_the_destination_is_replaced_and_never_followed(
    tmp_path: Path, src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    outside = plant(tmp_path / "outside", {"f": b"canary", "d/g": b"canary"})
    plant(src, {"d/f": b"1", "d/d/g": b"2", "f": b"3", "e/x": b"4"})
    plant(dst, {"d": "../outside", "f": "../outside/f", "e": None})
    plant(dst, {"e/x": "../../outside/f"})
    with unchanged(outside):
        push(src, dst, delete=True)
    assert not (dst / "d").is_symlink()
    assert (dst / "d" / "d" / "g").read_bytes() == b"2"
    assert (dst / "e" / "x").read_bytes() == b"4"


def test_a_directory_that_turns_into_a_link_during_the_run_never_leads_outside(
    tmp_path: Path, src: Path, dst: Path, plant: Callable[..., Path], unchanged: Callable[..., Any]
) -> None:
    outside = plant(tmp_path / "outside", {"f": b"canary", "sub/g": b"canary"})
    plant(src, {"d/f": b"0", "d/sub/g": b"0"})
    plant(dst, {"d/f": b"0", "d/sub/g": b"0", "link": "../outside"})
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(dst / "d", tmp_path / "aside")
                os.symlink("../outside", dst / "d")
            with contextlib.suppress(OSError):
                os.unlink(dst / "d")
                os.rename(tmp_path / "aside", dst / "d")

    flipper = threading.Thread(target=flip)
    with unchanged(outside):
        flipper.start()
        try:
            for number in range(40):
                (src / "d" / "f").write_bytes(b"%d" % number)
                (src / "d" / "sub" / "g").write_bytes(b"%d" % number)
                with contextlib.suppress(Exception):
                    push(src, dst, delete=True, durability="none")
        finally:
            stop.set()
            flipper.join()


def test_staged_content_is_never_more_readable_than_its_final_form(
    src: Path, dst: Path, plant: Callable[..., Path]
) -> None:
    plant(src, {"secret": b"1", "d/secret": b"2"})
    dst.mkdir()
    seen = []

    def look() -> None:
        unit = dst / ".atomsync" / "pending" / "0"
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in (dst / ".atomsync", unit, unit / "slots"))

    push(src, dst, progress=At(check=look))
    assert seen == [0o700, 0o700, 0o700]


# -- errors and other writers while the trees are compared
@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_link_that_cannot_be_read_fails_the_push_and_removes_nothing(
    side: str, src: Path, dst: Path, plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(src, {"link": "target", "a": b"1"})
    push(src, dst)
    (src / "a").write_bytes(b"22")
    bad = (src if side == "src" else dst).stat().st_ino
    real = PosixDisk.readlink

    def readlink(self: PosixDisk, at: int, name: str) -> str:
        if os.fstat(at).st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, at, name)

    monkeypatch.setattr(PosixDisk, "readlink", readlink)
    with pytest.raises(DiskError, match="system log"):
        push(src, dst, delete=True)
    assert os.readlink(dst / "link") == "target"
    assert (dst / "a").read_bytes() == b"1"


@pytest.mark.parametrize("which", ["src", "dst"])
def test_a_root_that_cannot_be_looked_at_is_not_taken_for_missing(
    which: str, src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def dying(path: Any, **options: Any) -> os.stat_result:
        if path == str(src.parent / which):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", dying)
    with pytest.raises(DiskError):
        push(src, dst)
    monkeypatch.undo()
    assert not dst.exists()


@pytest.mark.parametrize("becomes", ["nothing", "a file", "a link"])
@pytest.mark.parametrize("wanted", ["removed", "replaced"])
def test_a_directory_that_is_to_go_and_changes_meanwhile_is_drift(
    wanted: str,
    becomes: str,
    src: Path,
    dst: Path,
    plant: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(dst, {"x/sub/f": b"1"})
    if wanted == "replaced":
        plant(src, {"x": b"file"})
    real = PosixDisk.open_dir

    def open_dir(self: PosixDisk, at: int, name: str) -> int:
        if name == "x" and (dst / "x" / "sub").exists():
            shutil.rmtree(dst / "x")
            if becomes != "nothing":
                plant(dst, {"x": b"other" if becomes == "a file" else "nowhere"})
        return real(self, at, name)

    monkeypatch.setattr(PosixDisk, "open_dir", open_dir)
    with pytest.raises(Drift):
        push(src, dst, delete=True)
    assert os.path.lexists(dst / "x") is (becomes != "nothing")
