"""Names that are one file in the source are one file at the destination; judged by stat and rsync -H."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from atomsync import Report, push
from atomsync.errors import DestinationLimit, StaleEntry
from atomsync.store.copying import Source
from atomsync.store.progress import Progress
from atomsync.sync.links import Links
from atomsync.sync.phases import Phases
from atomsync.sync.safety import Safety
from atomsync.sync.settle import FAIL, settle
from atomsync.testing import Dir, File, Killed, SimDisk, kill_at
from atomsync.tree.entry import DIR, FILE, Entry
from tests.store.world import RULES, T, World

KINDS = ["ext4", "xfs", "btrfs", "tmpfs"]
Groups = set[frozenset[str]]


def linked(root: Path) -> Groups:
    """The names that share an inode, those of the control directory left aside."""
    names: dict[int, set[str]] = defaultdict(set)
    for path in root.rglob("*"):
        if ".atomsync" not in path.parts and path.is_file() and not path.is_symlink():
            names[path.stat().st_ino].add(str(path.relative_to(root)))
    return {frozenset(group) for group in names.values() if len(group) > 1}


def made(root: Path, *groups: str, old: bool = True) -> Path:
    """A file for each group of names, with the first one's name in it."""
    for group in groups:
        first, *others = group.split()
        (root / first).parent.mkdir(parents=True, exist_ok=True)
        (root / first).write_text(first)
        if old:
            os.utime(root / first, ns=(T, T))
        for name in others:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(root / first, root / name)
    return root


def nothing_to_do(report: Report) -> bool:
    return report.receipt is not None and report.receipt.unit_id == ""


def rsync_finds_nothing(src: Path, dst: Path) -> bool:
    program = shutil.which("rsync")
    if program is None:
        pytest.skip("rsync is not installed")
    line = [program, "-aniHc", "--delete", "--exclude=/.atomsync", f"{src}/", f"{dst}/"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout == ""


def groups(*named: str) -> Groups:
    return {frozenset(group.split()) for group in named}


@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
def test_names_of_one_file_stay_names_of_one_file(kind: str, small_fs: Any, tmp_path: Path) -> None:
    src = made(tmp_path / "src", "a b x/c", "x/p y/z/q", "single")
    dst = small_fs(kind, 320 if kind == "xfs" else 160) / "dst"
    report = push(src, dst, hard_links=True)
    assert linked(dst) == groups("a b x/c", "x/p y/z/q")
    assert report.receipt is not None
    assert report.receipt.bytes == len("a" + "x/p" + "single")  # each content staged once
    assert rsync_finds_nothing(src, dst)
    assert nothing_to_do(push(src, dst, hard_links=True, delete=True))


def test_without_the_option_each_name_gets_a_file_of_its_own(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b"), tmp_path / "dst"
    push(src, dst)
    assert linked(dst) == set()


def test_copies_that_should_be_one_file_become_one_and_nothing_is_staged_for_it(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b c"), tmp_path / "dst"
    push(src, dst)
    kept = (dst / "a").stat().st_ino
    report = push(src, dst, hard_links=True)
    assert linked(dst) == groups("a b c")
    assert (dst / "c").stat().st_ino == kept
    assert report.receipt is not None
    assert (report.receipt.updated, report.receipt.bytes) == (2, 0)
    assert nothing_to_do(push(src, dst, hard_links=True))


def test_names_that_are_no_longer_one_file_are_split_though_their_contents_are_equal(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b", "c d"), tmp_path / "dst"
    push(src, dst, hard_links=True)
    (src / "b").unlink()
    shutil.copy2(src / "a", src / "b")
    push(src, dst, hard_links=True)
    assert linked(dst) == groups("c d")
    assert rsync_finds_nothing(src, dst)


def test_groups_that_trade_names_are_put_right(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b c d"), tmp_path / "dst"
    push(src, dst, hard_links=True)
    for name in ("c", "d"):
        (src / name).unlink()
    shutil.copy2(src / "a", src / "c")
    os.link(src / "c", src / "d")
    push(src, dst, hard_links=True)
    assert linked(dst) == groups("a b", "c d")
    assert nothing_to_do(push(src, dst, hard_links=True))


@pytest.mark.parametrize("change", ["content", "mode", "both"])
def test_a_change_of_the_file_reaches_all_its_names_by_a_successor(change: str, tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b", "other"), tmp_path / "dst"
    push(src, dst, hard_links=True)
    before = (dst / "a").stat()
    if change != "mode":
        (src / "b").write_text("changed")
    if change != "content":
        (src / "a").chmod(0o600)
    push(src, dst, hard_links=True)
    assert linked(dst) == groups("a b")
    assert (dst / "a").stat().st_ino != before.st_ino
    assert rsync_finds_nothing(src, dst)


def test_a_new_name_of_a_file_that_is_there_costs_no_copy(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b"), tmp_path / "dst"
    push(src, dst, hard_links=True)
    (src / "new").mkdir()
    os.link(src / "a", src / "new" / "c")
    report = push(src, dst, hard_links=True)
    assert linked(dst) == groups("a b new/c")
    assert report.receipt is not None
    assert report.receipt.bytes == 0


def test_a_name_outside_the_scope_is_no_part_of_it(tmp_path: Path) -> None:
    from atomsync import Filters

    src, dst = made(tmp_path / "src", "a b.tmp c", "d e.tmp"), tmp_path / "dst"
    push(src, dst, hard_links=True, filters=Filters(["*.tmp"]))
    assert linked(dst) == groups("a c")
    assert sorted(os.listdir(dst)) == [".atomsync", "a", "c", "d"]


def test_a_directory_in_which_only_links_change_keeps_the_time_of_its_source(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "x/a x/b"), tmp_path / "dst"
    push(src, dst)
    os.utime(src / "x", ns=(T, T))
    push(src, dst)
    push(src, dst, hard_links=True)
    assert (dst / "x").stat().st_mtime_ns == T


def test_a_file_with_a_name_outside_the_destination_is_left_to_it(tmp_path: Path) -> None:
    src, dst, outside = made(tmp_path / "src", "a", "b"), tmp_path / "dst", tmp_path / "outside"
    push(src, dst)
    os.link(dst / "a", outside)
    (src / "a").chmod(0o600)
    push(src, dst, hard_links=True)
    assert outside.stat().st_mode & 0o777 != 0o600
    assert (dst / "a").stat().st_mode & 0o777 == 0o600


def test_a_file_edited_before_it_gets_its_second_name_is_drift(tmp_path: Path) -> None:
    src, dst = made(tmp_path / "src", "a b"), tmp_path / "dst"
    push(src, dst, filters=None)
    (dst / "b").unlink()

    class Editing(Progress):
        def phase(self, name: str, files: int = 0, size: int = 0) -> None:
            if name == "stage":
                (dst / "a").write_text("edited")

    with pytest.raises(StaleEntry):
        push(src, dst, hard_links=True, progress=Editing())
    assert not (dst / "b").exists()
    assert (dst / "a").read_text() == "edited"


def test_where_links_are_refused_the_message_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from atomsync.fs.posix import PosixDisk

    src, dst = made(tmp_path / "src", "a b"), tmp_path / "dst"

    def refused(self: PosixDisk, *_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(PosixDisk, "link", refused)
    with pytest.raises(DestinationLimit, match="--hard-links"):
        push(src, dst, hard_links=True)


def test_any_regrouping_of_a_tree_arrives_and_is_then_up_to_date(tmp_path: Path) -> None:
    rng = random.Random(11)
    src, dst = made(tmp_path / "src", "a0", "a1"), tmp_path / "dst"
    for _ in range(25):
        names = [f"{directory}a{number}" for directory in ("", "x/", "x/y/") for number in range(4)]
        for _ in range(rng.randrange(1, 5)):
            name, other = src / rng.choice(names), src / rng.choice(names)
            name.parent.mkdir(parents=True, exist_ok=True)
            if other.exists() and name != other and rng.random() < 0.6:
                name.unlink(missing_ok=True)
                os.link(other, name)
            elif name.exists() and rng.random() < 0.5:
                data, times = name.read_bytes(), name.stat()
                name.unlink()  # the same once more, but not the same file
                name.write_bytes(data)
                os.utime(name, ns=(times.st_mtime_ns, times.st_mtime_ns))
            elif rng.random() < 0.3:
                name.unlink(missing_ok=True)
            else:
                name.write_text(f"{rng.random()}")
        push(src, dst, hard_links=True, delete=True)
        assert linked(dst) == linked(src)
        assert rsync_finds_nothing(src, dst)
        assert nothing_to_do(push(src, dst, hard_links=True, delete=True))


# -- crashes


def links(world: World, where: str) -> Groups:
    """``linked`` on a simulated disk."""
    names: dict[int, set[str]] = defaultdict(set)

    def look(at: int, above: str) -> None:
        for name, found in world.disk.scandir(at):
            if name == ".atomsync":
                continue
            if found.st_mode & 0o170000 == 0o040000:
                below = world.disk.open_dir(at, name)
                look(below, f"{above}{name}/")
                world.disk.close(below)
            else:
                names[found.st_ino].add(above + name)

    with world.root(where) as at:
        look(at, "")
    return {frozenset(group) for group in names.values() if len(group) > 1}


def link(world: World, where: str, *named: str) -> None:
    for group in named:
        first, *others = group.split()
        for name in others:
            with world.place(first, where) as (at, old), world.place(name, where) as (to, new):
                world.disk.link(at, old, to, new)


def push_links(world: World) -> None:
    with world.root(world.src) as at, world.unit() as unit:
        unit._turn.exclusive = True
        origin = unit.source = Source(world.disk, at)
        settle(unit, origin, RULES._replace(hard_links=True), FAIL, Phases(Progress()), Safety())
        origin.cursor.close()
        unit.commit()


def simulated(
    base: Path, old: Dir, old_links: list[str], new: Dir, new_links: list[str], **traits: bool
) -> World:
    (base / "dst").mkdir()  # the system is asked whether it is there
    world = World.made(SimDisk("weak", **traits), str(base), old, new)
    link(world, "dst", *old_links)
    link(world, "src", *new_links)
    disk = world.sim
    return world.on(disk.crash(range(len(disk.pending))))


def file(text: str, at: int) -> File:
    return File(text.encode(), mtime_ns=T + at)


STORIES: Mapping[str, Callable[..., World]] = {
    "new names, inside new directories too": lambda base, **traits: simulated(
        base,
        Dir({"a": file("old", 1)}, mtime_ns=T),
        [],
        Dir({"a": file("new", 2), "d": Dir({}, mtime_ns=T + 4)}, mtime_ns=T + 5),
        ["a b d/c"],
        **traits,
    ),
    "all names replaced": lambda base, **traits: simulated(
        base,
        Dir({"a": file("old", 1)}, mtime_ns=T),
        ["a b c"],
        Dir({"a": file("new", 2)}),
        ["a b c"],
        **traits,
    ),
    "copies become one": lambda base, **traits: simulated(
        base,
        Dir({"a": file("same", 1), "b": file("same", 1), "c": file("same", 1)}, mtime_ns=T),
        [],
        Dir({"a": file("same", 1)}),
        ["a b c"],
        **traits,
    ),
    "one becomes two": lambda base, **traits: simulated(
        base,
        Dir({"a": file("same", 1)}, mtime_ns=T),
        ["a b c d"],
        Dir({"a": file("same", 1), "c": file("same", 1)}),
        ["a b", "c d"],
        **traits,
    ),
}


@pytest.mark.parametrize("traits", [{}, {"exchange": False}, {"generations": False}])
@pytest.mark.parametrize("story", STORIES)
def test_a_power_cut_at_any_verb_leaves_all_old_or_all_new_links(
    story: str, traits: dict[str, bool], tmp_path: Path
) -> None:
    world = STORIES[story](tmp_path, **traits)
    old = world.tree(), links(world, world.dst)
    whole = world.on(world.sim.copy())
    whole.sim.log.clear()
    push_links(whole)
    new = whole.tree(), links(whole, whole.dst)
    assert new[1] == links(world, world.src)
    assert new[0] == world.tree("src")
    assert old != new
    rng, seen = random.Random(3), set()
    for at in range(len(whole.sim.log)):
        disk = world.sim.copy()
        disk.hook = kill_at(at)
        with pytest.raises(Killed):
            push_links(world.on(disk))
        for keep, torn in disk.crash_states(rng, 6):
            after = world.on(disk.crash(keep, torn))
            assert after.recover().conflicts == ()
            found = after.tree(), links(after, after.dst)
            assert found in (old, new), at
            seen.add(found == new)
    assert seen == {False, True}


def test_a_group_of_many_names_takes_no_longer_than_as_many_files() -> None:
    def member(name: str) -> tuple[str, Entry, Entry]:
        entry = Entry(FILE, 0o644, 0, T, 0, 0, "", ino=1, dev=1)
        return name, entry, entry

    names = [member(f"{number:05}") for number in range(20_000)]
    links = Links()
    links.several.update(name for name, _, _ in names)
    root = Entry(DIR, 0o755, 0, T, 0, 0, "")
    links.note("", root, root, {name: new for name, new, _ in names}, {name: old for name, _, old in names})
    began = time.process_time()
    assert links.agreed([], RULES.ownership) == ([], {}, 0)
    assert time.process_time() - began < 2
