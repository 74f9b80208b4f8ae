"""A glance finds what a comparison proper finds, in one process and in two: random pairs of trees."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from atomsync import push
from atomsync.errors import AccessError, Drift
from atomsync.fs.cursor import Cursor
from atomsync.fs.posix import PosixDisk
from atomsync.fs.second import Second, Task
from atomsync.store.progress import Progress
from atomsync.sync import compare, glancing
from atomsync.sync.compare import Comparer, Comparison, Rules
from atomsync.sync.origin import opened_source
from atomsync.testing import SimDisk
from atomsync.tree import glance
from atomsync.tree.diff import Ownership
from atomsync.tree.filters import Filters

T = 1_600_000_000_000_000_000
ROOT = Ownership(os.geteuid() == 0, os.geteuid(), frozenset([os.getegid()]))
SOMEBODY = Ownership(False, 1000, frozenset([1000, 4]))
ALONE, TOGETHER, PORTIONS = "alone", "together", "portions"
several_processors = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one processor: there is no second process"
)


class Counted(Progress):
    """What was advanced, in names."""

    files = 0

    def advance(self, files: int = 0, size: int = 0) -> None:
        self.files += files


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Comparison, int]]:
    """``found(src, dst, rules, how)``: the comparison, properly or with glances ("alone", or "together" with
    a second process that is asked as soon as may be; "portions": with which directories are shared), and
    how many names it told of."""

    def run(
        src: Path, dst: Path, rules: Rules, how: str = "", racy: Mapping[str, str] | None = None
    ) -> tuple[Comparison, int]:
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(monkeypatch.context())
            if not how:
                patch.setattr(compare, "may_glance", lambda _: False)
            if how == PORTIONS:
                patch.setattr(glancing, "LARGE_DIRECTORY_BYTES", 0)
                patch.setattr(glance, "_MOST", 0.3)
            if how in (TOGETHER, PORTIONS):
                patch.setattr(glancing, "WORTH_NAMES", 3)
                patch.setattr(glancing, "_BATCH_NAMES", 8)
                patch.setattr(glancing, "_BATCH_PAIRS", 3)
            else:
                patch.setattr(glancing, "WORTH_NAMES", 1 << 40)
            disk = PosixDisk()
            origin = stack.enter_context(opened_source(disk, str(src)))
            root = disk.open_root(str(dst))
            stack.callback(disk.close, root)
            tree = stack.enter_context(Cursor(disk, root))
            progress = Counted()
            second = Comparer(
                origin.cursor, tree, rules, racy or {}, time.time_ns(), progress, lambda: origin.second(disk)
            )
            return second.run(), progress.files

    return run


def in_order(found: Comparison) -> Comparison:
    """The same, whatever was met first."""
    return found._replace(
        changes=sorted(found.changes, key=lambda change: change.path),
        scanned=sorted(found.scanned),
        protected=sorted(found.protected),
        unstable=sorted(found.unstable),
        settled=sorted(found.settled),
    )


def same_all_ways(found: Any, src: Path, dst: Path, rules: Rules, **more: Any) -> Comparison:
    """What all four ways find; the first two even in the same order."""
    slow, alone, together, portions = (
        found(src, dst, rules, how, **more) for how in ("", ALONE, TOGETHER, PORTIONS)
    )
    assert alone == slow
    for shared in (together, portions):
        assert (in_order(shared[0]), shared[1]) == (in_order(slow[0]), slow[1])
    assert found(src, dst, rules, TOGETHER, **more) == together, "its order depends on timing"
    comparison: Comparison = slow[0]
    return comparison


# -- random pairs


def grown(random: random.Random, root: Path, directories: int) -> list[Path]:
    """A tree of every kind of name; returns its directories."""
    root.mkdir()
    places = [root]
    for number in range(directories):
        place = random.choice(places) / f"d{number}"
        place.mkdir()
        places.append(place)
    for place in places:
        for number in range(random.randrange(5)):
            path = place / random.choice([f"f{number}", f".f{number}", os.fsdecode(b"\xff%d" % number)])
            if random.random() < 0.3:
                os.symlink(random.choice(["f0", "..", "no"]), path)
            else:
                path.write_bytes(b"x" * random.randrange(4))
                path.chmod(random.choice([0o644, 0o600, 0o4755]))
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(T, T + random.randrange(3)), follow_symlinks=False)
    return places


def copied(src: Path, dst: Path) -> None:
    """All of it, with owners and times, and a control directory."""
    assert os.system(f"cp -a '{src}' '{dst}'") == 0
    (dst / ".atomsync").mkdir(0o700)
    os.utime(dst, ns=(T, T))


def changed(random: random.Random, place: Path) -> None:
    """Something in a directory is no longer as it was, or hardly."""
    names = [path for path in place.iterdir() if path.name != ".atomsync"]
    path = random.choice(names) if names else place
    kept = path.lstat()
    match random.randrange(12):
        case 0 if names:
            os.rename(path, place / "renamed")
        case 1:
            (place / "new").write_bytes(b"")
        case 2:
            (place / "new directory").mkdir()
        case 3 if path.is_file() and not path.is_symlink():
            path.write_bytes(path.read_bytes() + b"longer")
            os.utime(path, ns=(kept.st_mtime_ns, kept.st_mtime_ns))
        case 4 if path.is_symlink():
            path.unlink()
            os.symlink("another", path)
            os.utime(path, ns=(kept.st_mtime_ns, kept.st_mtime_ns), follow_symlinks=False)
        case 5:
            os.utime(path, ns=(T, kept.st_mtime_ns + 1), follow_symlinks=False)
        case 6 if not path.is_symlink():
            path.chmod(kept.st_mode ^ 0o010)
        case 7 if ROOT.everybody:
            os.chown(path, *random.choice([(1000, 0), (0, 1000), (7, 7)]), follow_symlinks=False)
        case 8:
            os.mkfifo(place / "fifo")
        case 9:
            (place / random.choice([".atomsync", ".AtomSync. ", ".atomsync2"])).mkdir(exist_ok=True)
        case 10 if path.is_file() and not path.is_symlink():
            path.unlink()
            path.mkdir()
            os.utime(path, ns=(kept.st_mtime_ns, kept.st_mtime_ns))
        case _:
            os.utime(place, ns=(T, T))


@pytest.mark.parametrize("seed", range(16))
def test_with_and_without_glances_and_in_two_processes_it_is_the_same(
    seed: int, found: Any, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    src, dst = tmp_path / "src", tmp_path / "dst"
    places = grown(dice, src, dice.randrange(40))
    copied(src, dst)
    for place in dice.sample(places, min(len(places), dice.randrange(6))):
        top = dice.choice([src, dst])
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            changed(dice, top / place.relative_to(src))
    for delete in (False, True):
        rules = Rules(Filters(), ROOT, delete)
        same_all_ways(found, src, dst, rules)
        same_all_ways(found, src, dst, rules._replace(ownership=SOMEBODY))
        same_all_ways(found, src, dst, rules._replace(touch="touched", one_file_system=True))
        same_all_ways(found, src, dst, rules._replace(specials=True, touch="d0/touched"))
    racy = {str(path.relative_to(src)): "no digest" for path in src.rglob("f1")}
    same_all_ways(found, src, dst, rules, racy=racy)


# -- what a glance must not overlook, one by one


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Forty directories alike on both sides."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    for number in range(40):
        place = src / f"d{number % 7}" / f"d{number}"
        place.mkdir(parents=True)
        (place / "file").write_bytes(b"%d" % number)
        os.symlink("file", place / "link")
    copied(src, dst)
    os.utime(dst, ns=(src.stat().st_mtime_ns, src.stat().st_mtime_ns))
    return src, dst


def paths(found: Comparison) -> list[str]:
    return [change.path for change in found.changes]


def test_of_what_is_alike_every_entry_is_counted_once(found: Any, pair: tuple[Path, Path]) -> None:
    entries = len([*pair[0].rglob("*")])
    for how in ("", ALONE, TOGETHER):
        comparison, told = found(*pair, Rules(Filters(), ROOT), how)
        assert (paths(comparison), comparison.unchanged, told) == ([], entries, entries)


def test_a_mount_in_the_source_is_not_entered(found: Any, pair: tuple[Path, Path], needs_root: None) -> None:
    src, dst = pair
    place = src / "d1" / "d1"
    assert os.system(f"mount -t tmpfs none '{place}'") == 0
    try:
        (place / "beyond").write_bytes(b"")
        rules = Rules(Filters(), ROOT, delete=True)
        assert "d1/d1/beyond" in paths(same_all_ways(found, src, dst, rules))
        there = same_all_ways(found, src, dst, rules._replace(one_file_system=True))
        assert "d1/d1/beyond" not in paths(there)
    finally:
        os.system(f"umount '{place}'")


def test_special_files_alike_on_both_sides_are_left_out_all_the_same(
    found: Any, pair: tuple[Path, Path]
) -> None:
    for root in pair:
        os.mkfifo(root / "d2" / "fifo")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(root / "d3" / "socket"))
        os.utime(root / "d2" / "fifo", ns=(T, T))
        os.utime(root / "d3" / "socket", ns=(T, T))
    left_out = same_all_ways(found, *pair, Rules(Filters(), ROOT)).left_out
    assert left_out == {"d2/fifo": "FIFO", "d3/socket": "socket"}


def test_the_file_that_the_unit_writes_itself_is_not_compared(found: Any, pair: tuple[Path, Path]) -> None:
    entries = len([*pair[0].rglob("*")])
    comparison = same_all_ways(found, *pair, Rules(Filters(), ROOT, touch="d1/d1/file"))
    assert (paths(comparison), comparison.unchanged) == ([], entries - 1)


def test_a_reserved_name_on_both_sides_is_left_out_all_the_same(found: Any, pair: tuple[Path, Path]) -> None:
    for root in pair:
        for number, name in enumerate([".atomsync", ".AtomSync", ".atomsync. "]):
            (root / f"d{number}" / name).mkdir()
    left_out = same_all_ways(found, *pair, Rules(Filters(), ROOT, delete=True)).left_out
    assert set(left_out) == {"d0/.atomsync", "d1/.AtomSync", "d2/.atomsync. "}


def test_a_directory_in_the_place_of_something_else_is_no_directory_on_both_sides(
    found: Any, pair: tuple[Path, Path]
) -> None:
    src, dst = pair
    for number, name in enumerate(["file", "link"] * 7):
        for path in (
            src / f"d{number % 7}" / f"d{number}" / name,
            dst / f"d{number % 7}" / f"d{number + 14}" / name,
        ):
            path.unlink()
            path.mkdir()
    comparison = same_all_ways(found, src, dst, Rules(Filters(), ROOT, delete=True))
    assert len([change for change in comparison.changes if change.old and change.content]) == 28


def test_a_directory_that_may_not_be_read_is_told_as_ever(
    found: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = (pair[0] / "d4" / "d11").stat().st_ino
    real = PosixDisk.scandir

    def scandir(self: PosixDisk, fd: int) -> Any:
        if os.fstat(fd).st_ino == closed:
            raise PermissionError(13, os.strerror(13))
        return real(self, fd)

    monkeypatch.setattr(PosixDisk, "scandir", scandir)
    for how in ("", ALONE):
        with pytest.raises(AccessError, match="cannot read d4/d11 in the source"):
            found(*pair, Rules(Filters(), ROOT), how)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_directory_that_goes_meanwhile_is_told_as_ever(
    gone: int, found: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, vanishes = pair[gone] / "d5", pair[gone] / "d5" / "d12"
    inode = parent.stat().st_ino
    real = PosixDisk.scandir

    def scandir(self: PosixDisk, fd: int) -> Any:
        listed = real(self, fd)
        if os.fstat(fd).st_ino == inode:
            os.rename(vanishes, vanishes.parents[1] / f"away{time.time_ns()}")
        return listed

    for how in ("", ALONE):
        with monkeypatch.context() as patch:
            patch.setattr(PosixDisk, "scandir", scandir)
            if gone == 0:
                assert found(*pair, Rules(Filters(), ROOT), how)[0].unstable == ["d5/d12"]
            else:
                with pytest.raises(Drift):
                    found(*pair, Rules(Filters(), ROOT), how)
        (away,) = pair[gone].glob("away*")
        os.rename(away, vanishes)


def test_a_simulated_disk_is_glanced_at_too_and_has_no_second_process() -> None:
    disk = SimDisk()
    at = disk.open_root("/")
    for name in ("src", "dst"):
        disk.mkdir(at, name)
        top = disk.open_dir(at, name)
        for number in range(50):
            disk.mkdir(top, f"d{number}")
            disk.set_meta_at(top, f"d{number}", -1, -1, 0o755, T)
        disk.close(disk.create(top, "file"))
        disk.set_meta_at(top, "file", -1, -1, 0o644, T + (name == "dst"))
    with opened_source(disk, "/src") as origin, Cursor(disk, disk.open_root("/dst")) as tree:
        assert origin.second(disk) is None
        comparer = Comparer(origin.cursor, tree, Rules(Filters(), ROOT), {}, 0, Progress())
        comparison = comparer.run()
    assert (paths(comparison), comparison.unchanged) == (["file", ""], 50)


# -- the second process in the midst of it


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Second]]:
    """Which second process each batch was given to; all of them are small."""
    monkeypatch.setattr(glancing, "WORTH_NAMES", 10)
    monkeypatch.setattr(glancing, "_BATCH_NAMES", 12)
    monkeypatch.setattr(glancing, "_BATCH_PAIRS", 4)
    seen: list[Second] = []
    real = Second.ask

    def ask(self: Second, work: str, *arguments: Any, **options: Any) -> Task:
        if work.endswith(":walk"):
            seen.append(self)
        return real(self, work, *arguments, **options)

    monkeypatch.setattr(Second, "ask", ask)
    yield seen
    assert not any(second.alive for second in seen), "it outlives the push"


@several_processors
def test_a_push_without_changes_is_compared_in_two_processes(
    asked: list[Second], pair: tuple[Path, Path]
) -> None:
    src, dst = pair
    push(src, dst)
    asked.clear()
    report = push(src, dst)
    assert (report.changes, report.unchanged) == ((), len([*src.rglob("*")]))
    assert len(asked) > 3
    assert len(set(asked)) == 1


@several_processors
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_push_whose_second_process_is_killed_while_it_compares_is_as_good(
    at: int,
    asked: list[Second],
    pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    assert_same_tree: Callable[..., None],
) -> None:
    src, dst = pair
    for number in range(0, 40, 3):
        (src / f"d{number % 7}" / f"d{number}" / "file").write_bytes(b"changed")
    (dst / "d6" / "extra").mkdir()
    counting = Second.ask

    def ask(self: Second, work: str, *arguments: Any, **options: Any) -> Task:
        task = counting(self, work, *arguments, **options)
        if len(asked) == at:
            os.kill(self._pid, signal.SIGKILL)
        return task

    monkeypatch.setattr(Second, "ask", ask)
    report = push(src, dst, delete=True)
    assert len(asked) >= at
    assert report.receipt is not None
    assert (report.receipt.updated, report.receipt.removed) == (14, 1)
    assert_same_tree(src, dst)


@several_processors
def test_directories_in_which_much_differs_come_back_from_the_second_process(
    found: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = pair
    real = glancing.Glancing._take
    back: list[str] = []

    def take(self: Any, task: Task, pending: Any) -> None:
        real(self, task, pending)
        back.extend(path for path, *_ in self._proper)

    monkeypatch.setattr(glancing.Glancing, "_take", take)
    for place in src.glob("*/*"):
        for number in range(101):
            (place / f"new{number}").write_bytes(b"")
    comparison = same_all_ways(found, src, dst, Rules(Filters(), ROOT))
    assert len(comparison.changes) == 40 * 102
    assert back


@several_processors
def test_the_names_of_one_large_directory_are_shared_out(
    found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "large").mkdir(parents=True)
    for number in range(300):
        (src / "large" / f"file with a long name {number}").write_bytes(b"%d" % number)
    copied(src, dst)
    (src / "large" / "file with a long name 7").write_bytes(b"changed")
    (src / "large" / "new").write_bytes(b"")
    (dst / "large" / "old").write_bytes(b"")
    shared: list[str] = []
    real = Second.ask

    def ask(self: Second, work: str, *arguments: Any, **options: Any) -> Task:
        if work.endswith(":some"):
            shared.extend(arguments[1])
        return real(self, work, *arguments, **options)

    monkeypatch.setattr(Second, "ask", ask)
    comparison, _ = found(src, dst, Rules(Filters(), ROOT, delete=True), PORTIONS)
    assert paths(comparison) == ["", "large", "large/file with a long name 7", "large/new", "large/old"]
    assert 8 <= len(shared) < 300
    same_all_ways(found, src, dst, Rules(Filters(), ROOT, delete=True))


@several_processors
def test_a_name_that_goes_while_a_large_directory_is_shared_out_is_told_as_ever(
    found: Any, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = pair
    gone = src / "loose"
    for top in pair:
        (top / "loose").write_bytes(b"")
    real = glance.Glance.some

    def some(self: Any, path: str, names: Any) -> Any:
        if path == "":
            gone.unlink(missing_ok=True)
        return real(self, path, names)

    monkeypatch.setattr(glance.Glance, "some", some)
    comparison, _ = found(src, dst, Rules(Filters(), ROOT, delete=True), PORTIONS)
    assert not gone.exists()
    assert paths(comparison) == ["", "loose"]


# -- a name that is told twice


@pytest.fixture
def replaced_meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """What a tmpfs tells, of the directory of this file, if that is replaced while it is read: both."""
    real = PosixDisk.scandir

    def while_it_is_read(file: Path) -> None:
        there = file.parent.stat().st_ino
        done: list[int] = []

        def scandir(self: PosixDisk, fd: int) -> Any:
            listed = real(self, fd)
            if os.fstat(fd).st_ino == there and not done:
                done.append(1)
                (file.parent / ".new").write_bytes(b"replaced")
                (file.parent / ".new").rename(file)
                listed.append((file.name, file.lstat()))
            return listed

        monkeypatch.setattr(PosixDisk, "scandir", scandir)

    return while_it_is_read


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_replaced_while_its_directory_is_read_comes_as_it_is_in_the_end(
    there: bool,
    replaced_meanwhile: Callable[[Path], None],
    tmp_path: Path,
    assert_same_tree: Callable[..., None],
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    (src / "d").mkdir(parents=True)
    for name in "abc":
        (src / "d" / name).write_bytes(b"first")
    if there:
        push(src, dst)
    replaced_meanwhile(src / "d" / "b")
    report = push(src, dst)
    assert report.receipt is not None
    assert (dst / "d" / "b").read_bytes() == b"replaced"
    assert report.receipt.updated == there
    assert_same_tree(src, dst)


@pytest.mark.parametrize("names", [("a",), ("new", "a"), ("sub",)])
def test_of_a_directory_that_tells_a_name_twice_a_glance_says_nothing(
    names: tuple[str, ...], found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    for root in (src, dst):
        (root / "sub").mkdir(parents=True)
        (root / "a").write_bytes(b"")
        for path in (root / "a", root / "sub", root):
            os.utime(path, ns=(T, T))
    if "new" in names:
        (src / "new").touch()
    real = PosixDisk.scandir

    def scandir(self: PosixDisk, fd: int) -> Any:
        listed = real(self, fd)
        return listed + [each for each in listed if each[0] in names]

    listed = PosixDisk.names
    monkeypatch.setattr(PosixDisk, "scandir", scandir)
    monkeypatch.setattr(PosixDisk, "names", lambda self, fd: [*listed(self, fd), *names])
    comparison = same_all_ways(found, src, dst, Rules(Filters(), ROOT))
    assert [change.path for change in comparison.changes if change.path] == list(names[:-1])
