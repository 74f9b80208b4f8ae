"""The inotify watcher against the real kernel, with other processes changing the tree."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.watch.covered import Covered
from atomsync.watch.hint import ENTRY, EVERYWHERE, TREE, Hint
from atomsync.watch.inotify import InotifyWatcher
from tests.watch.listener import Listener

Watch = Callable[..., tuple[InotifyWatcher, Listener]]
Plant = Callable[..., Path]
Mount = Callable[..., Path]
MUTATOR = Path(__file__).with_name("mutator.py")
QUEUE_MAX = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def shell(commands: str, where: Path) -> None:
    """Another process."""
    subprocess.run(["sh", "-ec", commands], cwd=where, check=True)


def until(condition: Callable[[], object], within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true in time"
        time.sleep(0.005)


def hold(listener: Listener, src: Path) -> None:
    """Keep the listener busy, until the gate is opened: what happens meanwhile is handled at once."""
    listener.gate.clear()
    (src / "held").symlink_to("f")
    until(lambda: listener.waiting)


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    outside = {"out/file": b"2", "out/dir/sub/file": b"3"}
    plant(tmp_path, outside)
    return plant(tmp_path / "src", {"f": b"1", "l": "f", "d/g": b"1", "d/sub/h": b"1", "e": None})


# -- what is said of each kind of change


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ("echo 1 >> f", {Hint("f", writing=False)}),
        ("truncate -s 0 f", {Hint("f", writing=False)}),
        ("echo 1 > new", {Hint("new", writing=False)}),
        ("touch f", {Hint("f", writing=False)}),
        ("chmod 600 f", {Hint("f")}),
        ("ln -s f new", {Hint("new")}),
        ("ln f d/new", {Hint("d/new")}),
        ("mkfifo new", {Hint("new")}),
        ("rm f", {Hint("f")}),
        ("mv f new", {Hint("f"), Hint("new", ENTRY, "f", False)}),
        ("mv -f f d/g", {Hint("f"), Hint("d/g", ENTRY, "f", False)}),
        ("mv l d/l", {Hint("l"), Hint("d/l", ENTRY, "l", False)}),
        ("mv f ../out/away", {Hint("f")}),
        ("mv ../out/file d/new", {Hint("d/new", writing=False)}),
        ("mkdir new", {Hint("new", TREE)}),
        ("rmdir e", {Hint("e")}),
        ("mv d new", {Hint("d"), Hint("new", TREE, "d")}),
        ("mv d/sub e/new", {Hint("d/sub"), Hint("e/new", TREE, "d/sub")}),
        ("mv -T d/sub e", {Hint("d/sub"), Hint("e", TREE, "d/sub")}),
        ("mv d ../out/away", {Hint("d")}),
        ("mv ../out/dir new", {Hint("new", TREE)}),
        ("chmod 700 e", {Hint("e")}),
        ("chmod 700 .", {Hint("")}),
        ("sed -i s/1/2/ d/g", {Hint("d/g", writing=False)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_is_told_by_the_path_it_happened_at(
    commands: str, expected: set[Hint], src: Path, watch: Watch
) -> None:
    watcher, listener = watch(src)
    shell(commands, src)
    last = {hint.path: hint for hint in listener.heard(watcher) if "/sed" not in hint.path}
    if commands.startswith("sed"):
        last = {path: hint._replace(moved_from="") for path, hint in last.items()}
    assert set(last.values()) == expected
    assert listener.differences() == set()


def test_a_file_that_is_open_for_writing_is_said_to_be(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    with (src / "f").open("ab", buffering=0) as old, (src / "new").open("wb", buffering=0):
        old.write(b"1")
        assert listener.heard(watcher) == [Hint("new", writing=True), Hint("f", writing=True)]
    assert listener.heard(watcher) == [Hint("new", writing=False), Hint("f", writing=False)]


def test_the_metadata_of_a_file_being_written_does_not_end_the_writing(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    with (src / "f").open("ab", buffering=0) as file:
        hold(listener, src)
        file.write(b"1")
        (src / "f").chmod(0o600)
        until(lambda: len(watcher._backlog._events) == 2 * 32)  # both were read
        listener.gate.set()
        assert listener.heard(watcher)[-1] == Hint("f", writing=True)


def test_reading_is_not_told(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    shell("cat f d/g; ls -lR; find . -type f; tar c . | cat; sha1sum f < f; stat *", src)
    watch(src)
    assert listener.heard(watcher) == []


def test_our_own_names_are_not_told(src: Path, plant: Plant, watch: Watch) -> None:
    plant(src, {".atomsync/units/file": b"1"})
    watcher, listener = watch(src)
    directories = watcher.directories
    shell("touch .atomsync/x; mkdir d/.atomsync d/.ATOMSYNC; touch d/.atomsync/x; mv f .atomsync/f", src)
    assert listener.heard(watcher) == [Hint("f")]
    shell("mv .atomsync/f f; rm -r .atomsync", src)
    assert listener.heard(watcher) == [Hint("f", writing=False)]
    assert watcher.directories == directories


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b" ", "é".encode(), b"n" * 255])
def test_any_name_is_told_as_it_is(name: bytes, src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    text = os.fsdecode(name)
    (src / text).mkdir()
    assert listener.heard(watcher) == [Hint(text, TREE)]
    (src / text / text).write_bytes(b"1")
    assert listener.heard(watcher)[-1] == Hint(f"{text}/{text}", writing=False)
    assert listener.differences() == set()


def test_a_storm_on_one_file_is_few_hints(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    hold(listener, src)
    for _ in range(1000):
        (src / "f").write_bytes(b"1")
    listener.gate.set()
    hints = listener.heard(watcher)
    assert len(hints) < 500
    assert hints[-1] == Hint("f", writing=False)


# -- directories


def test_nothing_is_missed_in_directories_made_and_filled_at_once(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    dice = random.Random(1)
    for number in range(200):
        names = [f"t{number}", *(dice.choice("abc") for _ in range(dice.randrange(8)))]
        deep = "/".join(names)
        files = " ".join("/".join(names[: dice.randrange(1, len(names) + 1)]) + f"/{n}" for n in range(5))
        shell(f"mkdir -p {deep}; touch {files}", src)
    listener.heard(watcher)
    assert listener.differences() == set()
    assert watcher.directories == 1 + sum(stat.S_ISDIR(seen[0]) for seen in listener.picture.values())


def test_what_happens_below_a_moved_directory_is_told_at_its_new_place(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    shell("mv d e/moved", src)
    listener.heard(watcher)
    shell("echo 2 > e/moved/sub/h", src)
    assert listener.heard(watcher)[-1] == Hint("e/moved/sub/h", writing=False)
    shell("mv e n; echo 3 > n/moved/sub/h; mkdir -p n/moved/sub/deep/er; echo 3 > n/moved/sub/deep/er/x", src)
    paths = {hint.path for hint in listener.heard(watcher)}
    assert {"e", "n", "n/moved/sub/h", "n/moved/sub/deep"} <= paths
    assert listener.differences() == set()


def test_a_moved_directory_keeps_its_watches(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    for number in range(500):
        (src / "d" / f"s{number}").mkdir()
    listener.heard(watcher)
    before = _descriptors(watcher)
    shell("mv d e/moved", src)
    listener.heard(watcher)
    assert _descriptors(watcher) == before


def test_a_directory_moved_out_is_watched_no_more(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    shell("mv d ../out/away", src)
    assert listener.heard(watcher) == [Hint("d")]
    shell("echo 2 > ../out/away/g; mkdir ../out/away/sub/new", src)
    assert listener.heard(watcher) == []
    assert listener.heard(watcher) == []
    assert watcher.directories == 2
    assert _kernel_watches() == 2 + 1  # and one of our own
    shell("mv ../out/away d; echo 3 > d/sub/new/file", src)
    listener.heard(watcher)
    assert listener.differences() == set()
    assert watcher.directories == 5


def test_directories_that_change_places_are_told_apart(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    for _ in range(20):
        done = subprocess.run(["mv", "--exchange", "d", "e"], cwd=src, check=False, capture_output=True)
        if done.returncode != 0:
            shell("mv d x; mv e d; mv x e", src)
    shell("mv d x; mv e d; mv x e", src)
    listener.heard(watcher)
    shell("touch e/sub/in-e d/in-d", src)
    assert {hint.path for hint in listener.heard(watcher)} == {"e/sub/in-e", "d/in-d"}


def test_renames_of_parents_are_followed_while_their_events_are_pending(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    hold(listener, src)
    shell(
        "mkdir -p d/new/deep; mv d d1; mkdir d1/new/deep/er; mv d1/new n; mv d1 d2; touch n/deep/er/x;"
        "mkdir d; touch d/other; mv n d2/n; mkdir -p d2/n/deep/late; mv d2 d/d2; mv e d/d2/n/deep/late/e;"
        "touch d/d2/n/deep/late/e/y",
        src,
    )
    listener.gate.set()
    listener.heard(watcher)
    shell("touch d/d2/n/deep/er/later d/d2/n/deep/late/e/later d/d2/sub/later", src)
    assert {hint.path for hint in listener.heard(watcher)} == {
        "d/d2/n/deep/er/later",
        "d/d2/n/deep/late/e/later",
        "d/d2/sub/later",
    }
    assert listener.differences() == set()
    assert watcher.directories == 9


def test_a_name_taken_by_a_link_is_not_followed(src: Path, tmp_path: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    shell("mv d ../out/away; ln -s ../out/away d; mkdir e/new; ln -s ../../out e/new/link", src)
    listener.heard(watcher)
    listener.heard(watcher)
    shell("touch ../out/away/sub/x ../out/y", src)
    assert listener.heard(watcher) == []
    assert watcher.directories == 3


def test_excluded_directories_are_not_watched(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src, excludes=lambda path: path == "d/sub")
    assert watcher.directories == 3
    shell("echo 2 > d/sub/h; echo 2 > d/g", src)
    assert {hint.path for hint in listener.heard(watcher)} == {"d/g"}


def test_a_move_can_make_a_directory_excluded_or_not(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src, excludes=lambda path: path == "d/sub")
    shell("mv d n", src)
    listener.heard(watcher)
    assert watcher.directories == 4
    shell("echo 2 > n/sub/h", src)
    assert listener.heard(watcher)[-1] == Hint("n/sub/h", writing=False)
    shell("mv n d", src)
    listener.heard(watcher)
    listener.heard(watcher)
    assert watcher.directories == 3
    shell("echo 3 > d/sub/h", src)
    assert listener.heard(watcher) == []


def test_paths_longer_than_the_system_takes_are_watched(src: Path, watch: Watch) -> None:
    names = ["n" * 200] * 30
    fd = os.open(src, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    heard: list[Hint] = []
    watcher = InotifyWatcher(str(src), heard.append)
    try:
        watcher.start()
        assert watcher.directories == 4 + 30
        os.mkdir("new", dir_fd=fd)
        os.close(os.open("new/file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        assert watcher.barrier(10)
        assert Hint("/".join([*names, "new"]), TREE) in heard
    finally:
        os.close(fd)
        watcher.stop()


@pytest.mark.parametrize("excluded", [False, True], ids=["everything", "with exclusions"])
def test_a_hundred_writers_cannot_change_anything_unheard(
    excluded: bool, tmp_path: Path, watch: Watch
) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.mkdir()

    def left_out(path: str) -> bool:
        return excluded and path.startswith("a/b")

    watcher, listener = watch(tree, excludes=left_out if excluded else None)
    writers = [
        subprocess.Popen([sys.executable, MUTATOR, tree, outside, str(seed), "40", "25"]) for seed in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    listener.heard(watcher)
    assert {path for path in listener.differences() if not left_out(path)} == set()
    assert watcher.uncovered == ()
    # And from now on everything is heard at its right place.
    listener.heard(watcher)
    directories = [path for path, seen in listener.picture.items() if stat.S_ISDIR(seen[0])]
    watched = [path for path in ["", *directories] if not left_out(path)]
    assert watcher.directories == len(watched)
    for path in watched:
        (tree / path / "probe").touch()
    expected = {f"{path}/probe" if path else "probe" for path in watched}
    assert {hint.path for hint in listener.heard(watcher)} >= expected


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_a_directory_made_between_the_opening_of_another_and_its_watch_is_covered(
    kind: str, small_fs: Callable[..., Path]
) -> None:
    """Of it no event comes: so it must be listed, and btrfs lists what was there at the opening."""
    root = small_fs(kind, 320 if kind == "xfs" else 160)
    numbers: dict[tuple[int, int], int] = {}

    def watch(fd: int) -> int:
        found = os.fstat(fd)
        if len(numbers) < 3:
            with contextlib.suppress(FileExistsError):
                os.mkdir("between", dir_fd=fd)
        return numbers.setdefault((found.st_dev, found.st_ino), len(numbers) + 1)

    covered = Covered(str(root), watch, lambda number: None)
    covered.cover_all()
    paths = {covered.path(node) for node in covered.nodes.values()}
    assert {"", "between", "between/between"} <= paths


# -- what cannot be covered


def _limited(script: str, cwd: Path) -> Any:
    """What ``script`` prints as JSON; it runs where limits may be set without anybody else noticing."""
    prelude = (
        "import json, os, sys, pathlib\n"
        "from atomsync.watch.inotify import InotifyWatcher\n"
        "def limit(name, value): pathlib.Path('/proc/sys/user/max_inotify_' + name).write_text(str(value))\n"
        "heard = []\n"
        "watcher = InotifyWatcher('src', heard.append)\n"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", prelude + script],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_more_directories_than_may_be_watched_are_uncovered_and_said(src: Path, tmp_path: Path) -> None:
    for number in range(20):
        (src / f"n{number}" / "sub").mkdir(parents=True)
    found = _limited(
        "limit('watches', 11)\n"
        "watcher.start()\n"
        "first = watcher.directories, [list(where) for where in watcher.uncovered]\n"
        "pathlib.Path('src/f').write_text('2')\n"
        "passed = [watcher.barrier(10), watcher.barrier(10)]\n"
        "early = list(heard)\n"
        "watcher.retry()\n"
        "still = watcher.directories, len(watcher.uncovered), len(heard) - len(early)\n"
        "limit('watches', 1000)\n"
        "watcher.retry()\n"
        "print(json.dumps([first, passed, early, still, watcher.directories, watcher.uncovered,"
        " heard[len(early):], watcher.broken]))\n"
        "watcher.stop()\n",
        tmp_path,
    )
    (directories, uncovered), passed, early, still, later, nothing, covered, broken = found
    limit = Path("/proc/sys/fs/inotify/max_user_watches").read_text().strip()
    assert directories == 10
    assert {why for _, why in uncovered} == {
        f"no more directories can be watched: sysctl fs.inotify.max_user_watches is {limit}"
    }
    every = {str(path.relative_to(src)) for path in src.rglob("*") if path.is_dir()}
    unwatched = {path for path in every if any(f"{path}/".startswith(f"{top}/") for top, _ in uncovered)}
    assert len(every) + 1 == directories + len(unwatched)
    assert passed == [True, True]
    assert {hint[0] for hint in early} == {"f"}
    assert still == [10, len(uncovered), 0]
    assert later == 44
    assert nothing == []
    assert {(hint[0], hint[1]) for hint in covered} == {(top, TREE) for top, _ in uncovered}
    assert broken == ""


def test_a_root_that_cannot_be_watched_is_uncovered(src: Path, tmp_path: Path) -> None:
    found = _limited(
        "limit('watches', 0)\n"
        "watcher.start()\n"
        "first = [watcher.directories, watcher.uncovered[0][0], watcher.barrier(10), watcher.broken]\n"
        "limit('watches', 1000)\n"
        "watcher.retry()\n"
        "print(json.dumps([first, [watcher.directories, watcher.uncovered, heard, watcher.barrier(10)]]))\n",
        tmp_path,
    )
    assert found == [[0, "", False, ""], [4, [], [list(EVERYWHERE)], True]]


def test_no_instance_left_is_an_error_that_names_the_limit(src: Path, tmp_path: Path) -> None:
    found = _limited(
        "limit('instances', 0)\n"
        "try:\n"
        "    watcher.start()\n"
        "except OSError as error:\n"
        "    print(json.dumps([error.errno, error.strerror]))\n"
        "watcher.stop()\n",
        tmp_path,
    )
    assert found[0] == errno.EMFILE
    assert "fs.inotify.max_user_instances" in found[1]


def test_a_directory_we_may_not_read_is_uncovered_until_we_may(
    src: Path, tmp_path: Path, needs_root: None
) -> None:
    script = (
        "import ctypes, json, os, sys\n"
        "from atomsync.watch.inotify import InotifyWatcher\n"
        "os.chdir('src'); os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # as after an exec: /proc/self is ours
        "heard = []\n"
        "watcher = InotifyWatcher('.', heard.append)\n"
        "watcher.start()\n"
        "first = watcher.directories, watcher.uncovered\n"
        "os.chmod('mine', 0o700)\n"
        "assert watcher.barrier(10)\n"
        "watcher.retry()\n"
        "print(json.dumps([first, watcher.directories, watcher.uncovered, heard[-1]]))\n"
        "watcher.stop()\n"
    )
    (src / "mine" / "sub").mkdir(parents=True)
    for path in (src, src / "mine", src / "mine" / "sub"):
        os.chown(path, 65534, 65534)
    (src / "mine").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[4, [["mine", "Permission denied"]]], 6, [], list(Hint("mine", TREE))]


def test_the_same_directory_in_two_places_is_covered_in_one(src: Path, mount: Mount, watch: Watch) -> None:
    mount("bind", src / "again", source=src / "d")
    watcher, listener = watch(src)
    (uncovered,) = watcher.uncovered
    assert {uncovered.path, uncovered.why} in (
        {"again", "it is the same directory as d"},
        {"d", "it is the same directory as again"},
    )
    shell("touch d/x", src)
    assert len({hint.path for hint in listener.heard(watcher)}) == 1


def test_a_directory_bound_into_itself_does_not_lead_round_and_round(
    src: Path, mount: Mount, watch: Watch
) -> None:
    mount("bind", src / "e", source=src)
    watcher, _ = watch(src)
    assert [where.path for where in watcher.uncovered] == ["e"]


def test_other_filesystems_are_entered_unless_told_otherwise(src: Path, mount: Mount, watch: Watch) -> None:
    (mount("tmpfs", src / "m") / "sub").mkdir()
    everything, listener = watch(src)
    one, silent = watch(src, device=src.stat().st_dev)
    assert (everything.directories, one.directories) == (6, 4)
    shell("touch m/sub/x", src)
    assert listener.heard(everything)[-1] == Hint("m/sub/x", writing=False)
    assert silent.heard(one) == []


# -- what breaks


def _broken(watcher: InotifyWatcher, listener: Listener) -> str:
    until(lambda: watcher.broken)
    until(lambda: listener.hints[-1:] == [EVERYWHERE])
    assert not watcher.barrier(10)
    return watcher.broken


def test_an_overflow_of_the_kernels_queue_is_noticed(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    assert watcher._reader is not None
    listener.looks = False
    with watcher._reader._lock:  # it cannot read
        shell(f"seq {QUEUE_MAX + 10_000} | xargs touch; rm f", src)
        assert not watcher.overflowed
    assert "the kernel's event queue overflowed" in _broken(watcher, listener)
    assert watcher.overflowed
    said = len(listener.hints)
    shell("touch x", src)
    assert len(listener.hints) == said


def test_a_file_that_was_linked_into_its_place_is_not_taken_for_one_being_written(
    src: Path, watch: Watch
) -> None:
    """So git makes its objects: by the time it is looked at, the first name is gone."""
    watcher, listener = watch(src)
    listener.looks = False
    hold(listener, src)
    shell("printf 1 > tmp; ln tmp final; rm tmp", src)
    listener.gate.set()
    assert watcher.barrier(20)
    assert [hint.writing for hint in listener.hints if hint.path == "final"] == [None]


def test_asking_for_a_watch_once_more_loses_no_event(src: Path, watch: Watch) -> None:
    """A directory is known again by its watch. The kernel would empty the mask of that for an instant."""
    watcher, listener = watch(src)
    listener.looks = False
    over = threading.Event()
    fd = os.open(src, os.O_RDONLY)

    def ask() -> None:
        while not over.is_set():
            watcher._watch(fd)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        code = "import os; [os.symlink('f', str(number)) for number in range(10_000)]"
        subprocess.run([sys.executable, "-c", code], cwd=src, check=True)
        assert watcher.barrier(60)
    finally:
        over.set()
        asking.join()
        os.close(fd)
    assert {str(number) for number in range(10_000)} <= {hint.path for hint in listener.hints}


def test_more_than_the_kernels_queue_holds_may_happen_while_nobody_listens(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    listener.looks = False
    hold(listener, src)
    shell(f"seq {QUEUE_MAX + 10_000} | xargs touch", src)
    listener.gate.set()
    if watcher.barrier(60):
        assert len({hint.path for hint in listener.hints}) == QUEUE_MAX + 10_000 + 1
    else:  # this machine was too busy
        assert watcher.overflowed


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ("rm -r src/*; rmdir src", "the source directory was removed"),
        ("mv src other", "the source directory was moved to another place"),
        ("mv src other; mkdir src", "the source directory was moved to another place"),
    ],
)
def test_a_root_that_goes_away_breaks_it(
    commands: str, reason: str, src: Path, tmp_path: Path, watch: Watch
) -> None:
    watcher, listener = watch(src)
    shell(commands, tmp_path)
    # What went before it may be looked at when the root has gone already.
    assert _broken(watcher, listener) in (
        reason,
        "the source can no longer be reached: No such file or directory",
    )
    assert not watcher.overflowed


def test_a_root_whose_parent_is_moved_is_noticed_with_the_next_directory(
    tmp_path: Path, watch: Watch
) -> None:
    (tmp_path / "parent" / "src").mkdir(parents=True)
    watcher, listener = watch(tmp_path / "parent" / "src")
    shell("mv parent other; mkdir other/src/new", tmp_path)
    assert _broken(watcher, listener).startswith("the source can no longer be reached")


@pytest.mark.parametrize("lazy", ["", "-l"])
def test_an_unmounted_root_breaks_it(lazy: str, tmp_path: Path, mount: Mount, watch: Watch) -> None:
    point = mount("tmpfs", tmp_path / "m")
    (point / "sub").mkdir()
    watcher, listener = watch(point)
    shell(f"umount {lazy} m", tmp_path)
    assert "was unmounted" in _broken(watcher, listener)


def test_an_unmounted_filesystem_below_breaks_it_and_is_named(src: Path, mount: Mount, watch: Watch) -> None:
    mount("tmpfs", src / "d" / "m")
    watcher, listener = watch(src)
    shell("umount d/m", src)
    assert _broken(watcher, listener) == "d/m was unmounted"


def test_an_end_of_its_thread_breaks_it(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    assert watcher._reader is not None
    os.write(watcher._reader._kill_w, b"!")
    assert _broken(watcher, listener) == "the thread that reads its events has ended"


def test_a_listener_that_fails_breaks_it(src: Path) -> None:
    heard: list[Hint] = []

    def hear(hint: Hint) -> None:
        heard.append(hint)
        if hint.path == "f":
            raise RuntimeError("no room")

    watcher = InotifyWatcher(str(src), hear)
    try:
        watcher.start()
        shell("touch f", src)
        until(lambda: watcher.broken)
        assert "no room" in watcher.broken
        until(lambda: heard[-1] == EVERYWHERE)
    finally:
        watcher.stop()


def test_without_a_root_it_does_not_start(src: Path, tmp_path: Path) -> None:
    for path, number in ((src / "missing", errno.ENOENT), (src / "f", errno.ENOTDIR)):
        watcher = InotifyWatcher(str(path), lambda hint: None)
        with pytest.raises(OSError) as error:
            watcher.start()
        assert error.value.errno == number


# -- start and stop


def test_what_changes_during_the_start_is_heard(src: Path, watch: Watch) -> None:
    for number in range(200):
        (src / f"n{number}" / "a" / "b").mkdir(parents=True)
    change = "echo 1 > n$i/a/b/x; mkdir -p n$i/c/d; echo 1 > n$i/c/d/y; mv n$i m$i"
    with subprocess.Popen(["sh", "-ec", f"for i in $(seq 0 199); do {change}; done"], cwd=src) as writer:
        watcher, listener = watch(src)
        listener.look_everywhere()  # it is looked at when it is watched
        assert writer.wait() == 0
    listener.heard(watcher)
    assert listener.differences() == set()
    assert watcher.directories == 4 + 200 * 5


def test_everything_before_a_barrier_is_heard_when_it_returns(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    for number in range(300):
        (src / "e" / str(number)).touch()
        (src / f"n{number}").mkdir()
        assert {hint.path for hint in listener.heard(watcher)} == {f"e/{number}", f"n{number}"}


def test_a_barrier_waits_no_longer_than_it_may(src: Path, watch: Watch) -> None:
    watcher, listener = watch(src)
    hold(listener, src)
    start_s = time.monotonic()
    assert not watcher.barrier(0.2)
    assert time.monotonic() - start_s < 5
    listener.gate.set()
    assert watcher.barrier(10)


def test_nothing_is_left_when_it_has_stopped(src: Path, watch: Watch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    watcher, listener = watch(src)
    listener.heard(watcher)
    watcher.stop()
    shell("touch f", src)
    watcher.stop()
    assert listener.hints == []
    assert (watcher.broken, watcher.barrier(10)) == ("", False)
    watcher.retry()
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_one_that_was_never_started_can_be_stopped(src: Path) -> None:
    InotifyWatcher(str(src), lambda hint: None).stop()


def test_it_does_not_keep_a_filesystem_from_being_unmounted(
    tmp_path: Path, mount: Mount, watch: Watch
) -> None:
    point = mount("tmpfs", tmp_path / "m")
    (point / "sub").mkdir()
    watcher, listener = watch(point)
    listener.heard(watcher)
    subprocess.run(["umount", point], check=True)


def test_other_programs_do_not_inherit_its_descriptors(src: Path, watch: Watch) -> None:
    watch(src)
    seen = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, check=True, capture_output=True, text=True
    )
    assert "inotify" not in seen.stdout


# -- cost


def test_a_directory_costs_less_than_a_kilobyte_and_a_file_nothing(tmp_path: Path, watch: Watch) -> None:
    for number in range(2000):
        (tmp_path / f"src/{number % 50}/directory{number}").mkdir(parents=True)
    for number in range(2000):
        (tmp_path / f"src/{number % 50}/file{number}").touch()
    tracemalloc.start()
    try:
        watcher = InotifyWatcher(str(tmp_path / "src"), lambda hint: None)
        watcher.start()
        used, _ = tracemalloc.get_traced_memory()
        assert watcher.directories == 2051
        assert used / 2051 < 1000
        watcher.stop()
    finally:
        tracemalloc.stop()


def test_a_storm_of_creations_is_heard_whole_or_said_not_to_have_been(src: Path) -> None:
    heard: list[Hint] = []
    watcher = InotifyWatcher(str(src), heard.append)
    watcher.start()
    try:
        line = f"import os\nfor n in range(20000): os.close(os.open(f'n{{n}}', {os.O_CREAT | os.O_WRONLY}))"
        subprocess.run([sys.executable, "-c", line], cwd=src, check=True)
        if watcher.barrier(60):
            assert {hint.path for hint in heard if hint.writing is False} == {f"n{n}" for n in range(20000)}
        else:  # this machine was too busy
            assert watcher.overflowed
    finally:
        watcher.stop()


def _descriptors(watcher: InotifyWatcher) -> list[int]:
    return sorted(watcher._covered.nodes)


def _kernel_watches() -> int:
    """How many watches this process has, by the kernel's count."""
    count = 0
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            count += Path(f"/proc/self/fdinfo/{fd}").read_text().count("inotify wd:")
        except OSError:
            continue
    return count
