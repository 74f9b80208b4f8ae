"""A push that knows where to look: the same tree as a push of everything, for the price of the paths."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from atomsync import Filters, Report, open_store, push
from atomsync.errors import GuardTripped
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.sync.look import Look
from atomsync.sync.origin import opened_source, ownership
from atomsync.sync.phases import Phases
from atomsync.sync.push import committed
from atomsync.sync.rules import Rules
from atomsync.sync.safety import Safety
from atomsync.sync.settle import Heard, settle_look
from atomsync.unit.work import UnitOfWork
from atomsync.watch.hint import ENTRY, NAMES, TREE

MIB = 1 << 20


def look_push(
    src: Path,
    dst: Path,
    reaches: Mapping[str, int] | Iterable[str],
    *,
    delete: bool = True,
    rest_ns: int = 0,
    filters: Filters | None = None,
    heard: Callable[[Any], Heard] = lambda found: Heard({}, frozenset()),
    **look: Any,
) -> Report:
    """Push what the paths point to; by name only, unless they come with a reach."""
    if not isinstance(reaches, Mapping):
        reaches = dict.fromkeys(reaches, ENTRY)
    rules = Rules((filters or Filters()).anew(), ownership(), delete, rest_ns=rest_ns)
    phases = Phases(Progress())
    with (
        opened_source(PosixDisk(), str(src)) as origin,
        UnitOfWork(open_store(dst), source=origin, progress=phases, exclusive=True).begin() as unit,
    ):
        settled = settle_look(unit, origin, rules, Look(reaches, **look), phases, heard, Safety())
        return committed(unit, settled, phases)


def visible(report: Report) -> list[str]:
    return sorted(change.path for change in report.changes if change.visible)


@pytest.fixture
def pair(tmp_path: Path, plant: Callable[..., Path]) -> tuple[Path, Path]:
    """A source, and a destination that holds the same."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    plant(
        src,
        {
            "top": b"top",
            "a/one": b"1",
            "a/two": b"2",
            "a/deep/er/leaf": b"leaf",
            "b/three": b"3",
            "empty": None,
            "link": "top",
        },
    )
    old = 1_600_000_000
    for path in [*src.rglob("*"), src]:
        os.utime(path, (old, old), follow_symlinks=False)
    push(src, dst)
    return src, dst


def test_only_what_is_named_is_looked_at(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    (src / "a/one").write_bytes(b"new")
    (src / "b/three").write_bytes(b"not told of")
    assert visible(look_push(src, dst, ["a/one"])) == ["a/one"]
    assert (dst / "a/one").read_bytes() == b"new"
    assert (dst / "b/three").read_bytes() == b"3"


def test_the_directory_of_a_new_name_gets_its_time(pair: tuple[Path, Path], assert_same_tree: Any) -> None:
    src, dst = pair
    (src / "a/new").write_bytes(b"new")
    (src / "a/two").unlink()
    look_push(src, dst, ["a/new", "a/two"])
    assert_same_tree(src, dst)


def test_a_path_below_what_the_destination_lacks_brings_all_of_that(
    pair: tuple[Path, Path], plant: Callable[..., Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    plant(src, {"n/e/w/file": b"x", "n/e/other": b"y"})
    look_push(src, dst, ["n/e/w/file"])
    assert_same_tree(src, dst)


def test_a_path_below_what_the_source_lost_takes_all_of_that_away(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    shutil.rmtree(src / "a")
    look_push(src, dst, ["a/deep/er/leaf"])
    assert_same_tree(src, dst)


@pytest.mark.parametrize("reach", [NAMES, TREE])
def test_a_directory_turned_into_a_file_and_back_is_taken_whole(
    pair: tuple[Path, Path], reach: int, plant: Callable[..., Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    shutil.rmtree(src / "a")
    (src / "a").write_bytes(b"now a file")
    look_push(src, dst, {"a": reach, "a/deep": ENTRY})
    assert_same_tree(src, dst)
    (src / "a").unlink()
    plant(src, {"a/x/y": b"z"})
    look_push(src, dst, {"a": reach})
    assert_same_tree(src, dst)


def test_names_reach_one_directory_and_tree_all_below(pair: tuple[Path, Path], assert_same_tree: Any) -> None:
    src, dst = pair
    (src / "a/one").write_bytes(b"uno")
    (src / "a/deep/er/leaf").write_bytes(b"foglia")
    (src / "a/deep").chmod(0o700)
    assert visible(look_push(src, dst, {"a": NAMES})) == ["a/deep", "a/one"]
    assert visible(look_push(src, dst, {"a": TREE})) == ["a/deep/er/leaf"]
    assert_same_tree(src, dst)


def test_a_directory_that_went_and_came_back_leaves_no_trace_in_the_time_of_its_parent(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    (src / "a/deep").rename(src.parent / "aside")
    (src.parent / "aside").rename(src / "a/deep")
    look_push(src, dst, {"a/deep": TREE})
    assert_same_tree(src, dst)


def test_held_paths_are_left_alone_also_inside_what_is_new(
    pair: tuple[Path, Path], plant: Callable[..., Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    plant(src, {"new/half": b"ha", "new/whole": b"whole", "new/dir/x": b"x"})
    look_push(src, dst, {"new": TREE}, held=frozenset(["new/half", "new/dir"]))
    assert sorted(os.listdir(dst / "new")) == ["whole"]
    look_push(src, dst, ["new/half", "new/dir"])
    assert_same_tree(src, dst)


def test_what_changed_just_now_is_left_alone_where_it_was_not_named(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    hour_ns = 3_600_000_000_000
    (src / "a/one").write_bytes(b"fresh")
    (src / "a/two").write_bytes(b"fresh")
    report = look_push(src, dst, {"a": NAMES, "a/one": ENTRY}, rest_ns=hour_ns)
    assert visible(report) == ["a/one"]
    assert report.restless == ("a/two",)


def test_bytes_max_leaves_looks_for_the_next_unit_and_takes_one_at_least(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    for name in ("a/one", "a/two", "b/three"):
        (src / name).write_bytes(os.urandom(MIB))
    looks: Mapping[str, int] = dict.fromkeys(["a/one", "a/two", "b/three"], ENTRY)
    rounds = []
    while looks:
        report = look_push(src, dst, looks, bytes_max=MIB // 2)
        rounds.append(visible(report))
        looks = report.left
    assert rounds == [["a/one"], ["a/two"], ["b/three"]]
    assert_same_tree(src, dst)


def test_a_move_is_a_second_name_and_no_copy(pair: tuple[Path, Path], assert_same_tree: Any) -> None:
    src, dst = pair
    inode = (dst / "a/one").stat().st_ino
    (src / "a/one").rename(src / "b/uno")
    report = look_push(src, dst, ["a/one", "b/uno"], moves={"b/uno": "a/one"})
    assert report.receipt is not None
    assert report.receipt.bytes == 0
    assert (dst / "b/uno").stat().st_ino == inode
    assert_same_tree(src, dst)


def test_a_moved_directory_takes_its_files_along(pair: tuple[Path, Path], assert_same_tree: Any) -> None:
    src, dst = pair
    inode = (dst / "a/deep/er/leaf").stat().st_ino
    (src / "a").rename(src / "b/moved")
    (src / "b/moved/two").write_bytes(b"changed since")
    report = look_push(src, dst, {"a": ENTRY, "b/moved": TREE}, moves={"b/moved": "a"})
    assert report.receipt is not None
    assert report.receipt.bytes == len(b"changed since")
    assert (dst / "b/moved/deep/er/leaf").stat().st_ino == inode
    assert_same_tree(src, dst)


def test_two_files_that_trade_places_are_both_second_names(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    (src / "a/one").rename(src / "a/tmp")
    (src / "a/two").rename(src / "a/one")
    (src / "a/tmp").rename(src / "a/two")
    moves = {"a/one": "a/two", "a/two": "a/one"}
    report = look_push(src, dst, ["a/one", "a/two", "a/tmp"], moves=moves)
    assert report.receipt is not None
    assert report.receipt.bytes == 0
    assert_same_tree(src, dst)


def test_a_move_that_no_event_told_of_is_no_copy_either(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    inode = (dst / "a/deep/er/leaf").stat().st_ino
    (src / "a/deep/er/leaf").rename(src / "b/leaf")
    report = look_push(src, dst, {"": TREE})
    assert report.receipt is not None
    assert report.receipt.bytes == 0
    assert (dst / "b/leaf").stat().st_ino == inode
    assert_same_tree(src, dst)


def test_two_files_that_were_one_do_not_share_an_inode(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    src, dst = pair
    shutil.copy2(src / "a/one", src / "b/copy")
    (src / "a/one").rename(src / "b/uno")
    os.utime(src / "b", (1, 1))
    look_push(src, dst, {"": TREE}, moves={"b/uno": "a/one", "b/copy": "a/one"})
    assert_same_tree(src, dst)
    assert (dst / "b/uno").stat().st_ino != (dst / "b/copy").stat().st_ino


def test_files_that_only_look_alike_are_copied(pair: tuple[Path, Path], assert_same_tree: Any) -> None:
    src, dst = pair
    (src / "a/one").unlink()
    (src / "b/uno").write_bytes(b"!")
    os.utime(src / "b/uno", (1_600_000_000, 1_600_000_000))
    report = look_push(src, dst, {"": TREE})
    assert report.receipt is not None
    assert report.receipt.bytes == 1
    assert_same_tree(src, dst)


@pytest.mark.parametrize("what", ["content", "mode", "time", "stays"])
def test_a_move_that_is_not_quite_one_is_a_copy(
    pair: tuple[Path, Path], what: str, assert_same_tree: Any
) -> None:
    src, dst = pair
    (src / "a/one").rename(src / "uno")
    if what == "content":
        (src / "uno").write_bytes(b"!")
    elif what == "mode":
        (src / "uno").chmod(0o600)
    elif what == "time":
        os.utime(src / "uno", (1, 1))
    else:
        shutil.copy2(src / "uno", src / "a/one")
    look_push(src, dst, ["a/one", "uno"], moves={"uno": "a/one"})
    assert_same_tree(src, dst)
    assert (dst / "uno").stat().st_nlink == 1


def test_directories_of_equal_sizes_and_times_that_trade_places_are_told_apart(
    pair: tuple[Path, Path], plant: Callable[..., Path], assert_same_tree: Any
) -> None:
    """As with builds whose times are all set to one: the quick check sees no difference."""
    src, dst = pair
    plant(src, {"live/x": b"1", "next/x": b"2"})
    for path in (src / "live/x", src / "next/x", src / "live", src / "next", src):
        os.utime(path, (1, 1))
    push(src, dst)
    (src / "live").rename(src / "tmp")
    (src / "next").rename(src / "live")
    (src / "tmp").rename(src / "next")
    for path in (src / "live", src / "next", src):
        os.utime(path, (1, 1))
    look_push(src, dst, {"live": TREE, "next": TREE}, moves={"live": "next", "next": "live"})
    assert_same_tree(src, dst)


def test_without_delete_a_moved_file_is_a_copy_beside_the_old_one(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    (src / "a/one").rename(src / "uno")
    look_push(src, dst, ["a/one", "uno"], delete=False, moves={"uno": "a/one"})
    assert (dst / "a/one").stat().st_nlink == (dst / "uno").stat().st_nlink == 1


def test_what_is_about_to_go_is_asked_for_elsewhere_first(
    pair: tuple[Path, Path], assert_same_tree: Any
) -> None:
    """The hint of the new name came after the batch: without it the file would be gone for a while."""
    src, dst = pair
    (src / "a/one").rename(src / "uno")
    asked = []

    def heard(found: Any) -> Heard:
        asked.append([change.path for change in found.changes if change.new is None])
        return Heard({"uno": ENTRY} if len(asked) == 1 else {}, frozenset())

    report = look_push(src, dst, ["a/one"], heard=heard)
    assert asked[0] == ["a/one"]
    assert visible(report) == ["a/one", "uno"]
    assert_same_tree(src, dst)


def test_what_somebody_writes_to_by_now_is_left_out_however_still_it_holds(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    (src / "a/one").write_bytes(b"half of it")
    (src / "a/two").write_bytes(b"whole")
    report = look_push(src, dst, ["a/one", "a/two"], heard=lambda found: Heard({}, frozenset({"a/one"})))
    assert visible(report) == ["a/two"]
    assert report.skipped == ("a/one",)


def test_what_was_copied_in_the_midst_of_a_save_that_is_over_by_now_is_left_out(
    pair: tuple[Path, Path],
) -> None:
    """Nobody writes to it any more, and when it was looked at last it was as it had been copied."""
    src, dst = pair
    for name in ("one", "two", "three"):
        (src / "a" / name).write_bytes(b"half of it")

    def heard(found: Any) -> Heard:
        if (src / "a/one").read_bytes() == b"half of it":
            (src / "a/one").write_bytes(b"half of it, and the other half")
        return Heard({}, frozenset(), frozenset({"a/one", "a/two"}))

    report = look_push(src, dst, ["a/one", "a/two", "a/three"], heard=heard)
    assert visible(report) == ["a/three", "a/two"]
    assert report.skipped == ("a/one",)


def test_an_emptied_source_removes_nothing(pair: tuple[Path, Path], snapshot: Any) -> None:
    src, dst = pair
    shutil.rmtree(src)
    src.mkdir()
    before = snapshot(dst)
    with pytest.raises(GuardTripped, match="the source is empty"):
        look_push(src, dst, {"": TREE})
    assert snapshot(dst) == before


def test_excluded_and_ignored_paths_are_out_of_scope_wherever_the_look_begins(
    pair: tuple[Path, Path], plant: Callable[..., Path]
) -> None:
    src, dst = pair
    plant(src, {"a/.gitignore": b"*.tmp\nbuild/\n", "a/deep/x.tmp": b"x", "a/build/o": b"o", "b/no": b"n"})
    filters = Filters(["/b/"], gitignore=True)
    report = look_push(src, dst, ["a/deep/x.tmp", "a/build/o", "b/no"], filters=filters)
    assert visible(report) == []


def test_a_changed_gitignore_puts_all_beside_and_below_it_in_question(
    pair: tuple[Path, Path], plant: Callable[..., Path]
) -> None:
    src, dst = pair
    plant(src, {"a/.gitignore": b"*.tmp\n", "a/deep/x.tmp": b"x"})
    look_push(src, dst, {"": TREE}, filters=Filters(gitignore=True))
    assert not (dst / "a/deep/x.tmp").exists()
    (src / "a/.gitignore").unlink()
    look_push(src, dst, ["a/.gitignore"], filters=Filters(gitignore=True))
    assert (dst / "a/deep/x.tmp").exists()


def test_very_deep_paths_can_be_looked_at(tmp_path: Path) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    deep = "/".join(["d" * 40] * 400)
    at = os.open(src, os.O_RDONLY)
    for name in deep.split("/"):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    push(src, dst)
    fd = os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at)
    os.write(fd, b"leaf")
    os.close(fd)
    os.close(at)
    assert visible(look_push(src, dst, [f"{deep}/leaf"])) == [f"{deep}/leaf"]


# -- the same as a push of everything


def mutate(root: Path, chance: random.Random) -> list[str]:
    """One random change; the paths a watcher would hint at."""
    dirs = [path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()] + [root]
    files = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
    everything = [*dirs[:-1], *files]
    at = chance.choice(dirs) / f"n{chance.randrange(6)}"
    what = chance.randrange(8)
    if what == 0 and not os.path.lexists(at):
        at.mkdir()
    elif what == 1 and not (at.is_dir() and not at.is_symlink()):
        at.unlink(missing_ok=True)
        at.write_bytes(chance.randbytes(chance.randrange(50)))
    elif what == 2 and not os.path.lexists(at):
        at.symlink_to(f"t{chance.randrange(3)}")
    elif what == 3 and everything:
        at = chance.choice(everything)
        shutil.rmtree(at) if at in dirs else at.unlink()
    elif what == 4 and files and not (at := chance.choice(files)).is_symlink():
        at.chmod(chance.choice([0o600, 0o644, 0o755]))
    elif what == 5 and dirs[:-1]:
        at = chance.choice(dirs[:-1])
        at.chmod(chance.choice([0o700, 0o755]))
    elif what == 6 and everything:
        old = chance.choice(everything)
        if os.path.lexists(at) or old in at.parents:
            return []
        old.rename(at)
        return [str(old.relative_to(root)), str(at.relative_to(root))]
    else:
        return []
    return [str(at.relative_to(root))]


@pytest.mark.parametrize("seed", range(12))
def test_looking_at_what_changed_gives_what_a_push_of_everything_would(
    seed: int, tmp_path: Path, assert_same_tree: Any
) -> None:
    chance = random.Random(seed)
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    for _ in range(60):
        mutate(src, chance)
    push(src, dst)
    for _ in range(12):
        hinted: dict[str, int] = {}
        for _ in range(chance.randrange(1, 8)):
            hinted |= dict.fromkeys(mutate(src, chance), ENTRY)
        look_push(src, dst, hinted)
        assert_same_tree(src, dst)
