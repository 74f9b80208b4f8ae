"""Reading one's own writes: what a unit says is there is what its commit would make."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from atomsync.errors import AtomSyncError, PendingRollback, StaleEntry, UnitStateError, UsageError
from atomsync.testing import Dir, File, Link
from atomsync.unit.expected import digest
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
T = 1_600_000_000_000_000_000

BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir({"inner": File(b"inner"), "deep": Dir({"leaf": File(b"leaf")})}),
        "empty": Dir({}),
        "link": Link("file"),
        "dirlink": Link("dir"),
    }
)
CANARY = Dir({"secret": File(b"secret"), "sub": Dir({"leaf": File(b"secret")})})
flushed = pytest.mark.parametrize("flushed", [False, True], ids=["pending", "flushed"])


def walked(unit: UnitOfWork, top: str = "") -> list[tuple[str, list[str], list[str]]]:
    return list(unit.walk(top))


def is_gone(unit: UnitOfWork, path: str) -> None:
    """No way of looking finds anything."""
    assert not unit.exists(path)
    for look in (unit.read, unit.digest, unit.listdir, lambda path: list(unit.walk(path))):
        with pytest.raises(UsageError, match="there is nothing"):
            look(path)
    with pytest.raises(UsageError, match="there is nothing"):
        unit.open(path, "rb")
    parent, _, name = path.rpartition("/")
    for at, directories, others in unit.walk():
        assert at != parent or name not in [*directories, *others]


def is_file(unit: UnitOfWork, path: str, data: bytes) -> None:
    """Every way of looking finds this file."""
    assert unit.exists(path)
    assert unit.read(path) == data
    assert unit.digest(path) == digest(data)
    with unit.open(path, "rb") as file:
        assert file.read() == data
    parent, _, name = path.rpartition("/")
    assert name in unit.listdir(parent)
    (here,) = [others for at, _, others in unit.walk() if at == parent]
    assert name in here
    with pytest.raises(UsageError, match="it is a file"):
        unit.listdir(path)


# -- what is on the disk


def test_without_changes_a_unit_sees_what_is_there(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    is_file(unit, "file", b"content")
    is_file(unit, "dir/deep/leaf", b"leaf")
    is_gone(unit, "none")
    is_gone(unit, "dir/none")
    is_gone(unit, "file/none")
    assert unit.listdir() == unit.listdir(".") == ["dir", "dirlink", "empty", "file", "link", "other"]
    assert unit.listdir("empty") == []
    assert walked(unit) == [
        ("", ["dir", "empty"], ["dirlink", "file", "link", "other"]),
        ("dir", ["deep"], ["inner"]),
        ("dir/deep", [], ["leaf"]),
        ("empty", [], []),
    ]
    assert walked(unit, "dir/deep") == [("dir/deep", [], ["leaf"])]
    assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    unit.commit()
    assert world.control_names("history") == []


def test_the_control_directory_is_not_there(make: Make) -> None:
    unit = make(BASE).unit()
    unit.write("x", b"x")
    assert ".atomsync" not in unit.listdir()
    assert not any(".atomsync" in [*directories, *names] for _, directories, names in unit.walk())
    for look in (unit.exists, unit.read, unit.digest, unit.listdir, lambda path: list(unit.walk(path))):
        for path in (".atomsync", ".atomsync/history", "dir/.ATOMSYNC"):
            with pytest.raises(UsageError, match="own name"):
                look(path)
    unit.rollback()


@pytest.mark.parametrize("path", ["../src", "/etc", "dir/../file", "./file", "dir//inner", "file/", "x\0"])
def test_no_look_takes_a_path_that_leads_out(make: Make, path: str) -> None:
    unit = make(BASE).unit()
    for look in (
        unit.exists,
        unit.read,
        unit.digest,
        unit.listdir,
        lambda path: list(unit.walk(path)),
        lambda path: unit.open(path, "r"),
        lambda path: unit.open(path, "rb"),
    ):
        with pytest.raises(UsageError):
            look(path)


@pytest.mark.parametrize("pending", [False, True], ids=["on the disk", "pending"])
@pytest.mark.parametrize("target", ["../src", "absolute"])
def test_no_look_goes_through_a_link(make: Make, target: str, pending: bool) -> None:
    world = make(BASE, CANARY)
    unit = world.unit()
    target = world.src if target == "absolute" else target
    for name, to in (("evil", target), ("evil-file", f"{target}/secret"), ("dangling", "none")):
        unit.symlink(name, to) if pending else world.symlink(name, to)
    for name in ("evil", "evil-file", "dangling", "link", "dirlink"):
        assert unit.exists(name)  # the link itself
        for look in (unit.read, unit.digest, unit.listdir, lambda path: list(unit.walk(path))):
            with pytest.raises(UsageError, match="it is a link"):
                look(name)
        with pytest.raises(UsageError, match="it is a link"):
            unit.open(name, "rb")
    for path in ("evil/secret", "evil/sub", "evil/sub/leaf", "dirlink/inner"):
        is_gone(unit, path)
    assert all("evil" not in directories for _, directories, _ in unit.walk())
    unit.rollback()


@pytest.mark.parametrize("flush", [False, True])
def test_a_directory_that_became_a_link_meanwhile_shows_nothing_outside(make: Make, flush: bool) -> None:
    world = make(BASE, CANARY)
    unit = world.unit()
    unit.write("dir/mine", b"mine")
    if flush:
        unit.flush()
    world.rename("dir", "hidden")
    world.symlink("dir", "../src")
    for look in (unit.read, unit.digest):
        with pytest.raises(AtomSyncError):
            look("dir/secret")
    assert not unit.exists("dir/secret")
    assert not unit.exists("dir/sub/leaf")
    unit.rollback()


# -- what is pending


@flushed
def test_what_was_written_is_read(make: Make, flushed: bool) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("new", b"new")
    unit.write("file", b"v2")
    unit.write("dir/inner", "grün")
    unit.mkdir("made")
    unit.write("made/f", b"")
    with unit.open("streamed") as file:
        file.write(b"s" * 300_000)
    if flushed:
        unit.flush()
    is_file(unit, "new", b"new")
    is_file(unit, "file", b"v2")
    is_file(unit, "dir/inner", "grün".encode())
    is_file(unit, "made/f", b"")
    is_file(unit, "streamed", b"s" * 300_000)
    assert world.tree() == BASE
    unit.rollback()


@flushed
def test_the_last_write_is_what_is_read(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    for number in range(4):
        unit.write("file", b"%d" % number)
        unit.write("new", b"%d" % number)
        if flushed:
            unit.flush()
        is_file(unit, "file", b"%d" % number)
        is_file(unit, "new", b"%d" % number)
    unit.rollback()


@flushed
def test_what_was_removed_is_gone_and_what_is_made_there_again_is_there(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    unit.remove("file")
    unit.remove("dir")
    if flushed:
        unit.flush()
    for path in ("file", "dir", "dir/inner", "dir/deep", "dir/deep/leaf"):
        is_gone(unit, path)
    unit.mkdir("dir")
    unit.mkdir("dir/deep")
    unit.write("file", b"again")
    if flushed:
        unit.flush()
    assert walked(unit, "dir") == [("dir", ["deep"], []), ("dir/deep", [], [])]
    is_gone(unit, "dir/inner")
    is_gone(unit, "dir/deep/leaf")
    is_file(unit, "file", b"again")
    unit.rollback()


@flushed
def test_a_moved_file_is_where_it_went_and_nowhere_else(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    unit.move("file", "dir/moved")
    if flushed:
        unit.flush()
    is_file(unit, "dir/moved", b"content")
    is_gone(unit, "file")
    unit.move("dir/moved", "other")
    if flushed:
        unit.flush()
    is_file(unit, "other", b"content")
    is_gone(unit, "dir/moved")
    unit.rollback()


@flushed
def test_a_moved_directory_is_where_it_went_with_all_that_is_in_it(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    unit.write("dir/deep/more", b"more")
    unit.write("dir/inner", b"v2")
    unit.symlink("dir/deep/l", "leaf")
    if flushed:
        unit.flush()
    unit.move("dir", "empty/moved")
    if flushed:
        unit.flush()
    assert walked(unit, "empty") == [
        ("empty", ["moved"], []),
        ("empty/moved", ["deep"], ["inner"]),
        ("empty/moved/deep", [], ["l", "leaf", "more"]),
    ]
    is_file(unit, "empty/moved/deep/leaf", b"leaf")
    is_file(unit, "empty/moved/deep/more", b"more")
    is_file(unit, "empty/moved/inner", b"v2")
    for path in ("dir", "dir/inner", "dir/deep", "dir/deep/leaf", "dir/deep/more"):
        is_gone(unit, path)
    unit.rollback()


@flushed
def test_files_that_change_places_are_read_at_their_new_ones(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    for path, to in (("file", "aside"), ("other", "file"), ("aside", "other")):
        unit.move(path, to)
        if flushed:
            unit.flush()
    is_file(unit, "file", b"other")
    is_file(unit, "other", b"content")
    unit.rollback()


@flushed
def test_another_mode_or_time_changes_nothing_of_what_is_read(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    unit.write("new", b"new")
    for path in ("file", "dir", "new", "dir/deep"):
        unit.chmod(path, 0o700)
        unit.utime(path, T)
    if flushed:
        unit.flush()
    is_file(unit, "file", b"content")
    is_file(unit, "new", b"new")
    is_file(unit, "dir/deep/leaf", b"leaf")
    unit.rollback()


@flushed
def test_what_is_of_another_kind_now_is_seen_as_that(make: Make, flushed: bool) -> None:
    unit = make(BASE).unit()
    unit.write("dir", b"a file")
    unit.symlink("file", "dir")
    unit.remove("other")
    unit.mkdir("other")
    unit.write("link", b"was a link")
    unit.remove("dirlink")
    unit.mkdir("dirlink")
    if flushed:
        unit.flush()
    is_file(unit, "dir", b"a file")
    is_file(unit, "link", b"was a link")
    is_gone(unit, "dir/inner")
    is_gone(unit, "dirlink/inner")
    assert walked(unit) == [
        ("", ["dirlink", "empty", "other"], ["dir", "file", "link"]),
        ("dirlink", [], []),
        ("empty", [], []),
        ("other", [], []),
    ]
    unit.rollback()


def test_what_is_still_being_written_is_not_there_yet(make: Make) -> None:
    unit = make(BASE).unit()
    with unit.open("new") as new, unit.open("file") as file:
        new.write(b"x" * (1 << 20))
        file.write(b"x" * (1 << 20))
        is_gone(unit, "new")
        is_file(unit, "file", b"content")
    is_file(unit, "new", b"x" * (1 << 20))
    unit.rollback()


def test_reading_stays_possible_in_the_order_of_every_pair_of_verbs(make: Make) -> None:
    verbs: dict[str, Callable[[UnitOfWork], object]] = {
        "write": lambda unit: unit.write("file", b"v2"),
        "chmod": lambda unit: unit.chmod("file", 0o600),
        "utime": lambda unit: unit.utime("file", T),
        "move there and back": lambda unit: (unit.move("file", "aside"), unit.move("aside", "file")),
        "flush": lambda unit: unit.flush(),
    }
    world = make(BASE)
    for one, two, three in itertools.permutations(verbs, 3):
        unit = world.unit()
        for name in (one, two, three):
            verbs[name](unit)
            before = (
                b"v2" if "write" in (one, two, three)[: (one, two, three).index(name) + 1] else b"content"
            )
            is_file(unit, "file", before)
        unit.rollback()
    assert world.tree() == BASE


# -- walk


def test_a_walk_is_pruned_as_that_of_os_is(make: Make) -> None:
    world = make(Dir({name: Dir({"x": Dir({"y": File(b"")})}) for name in ("a", "b", "c")}))
    with world.begin() as unit:
        unit.mkdir("d/x", parents=True)
        seen = []
        for path, directories, _ in unit.walk():
            seen.append(path)
            if path == "":
                assert directories == ["a", "b", "c", "d"]
                directories.remove("b")
                directories.reverse()
            elif path == "c":
                directories.clear()
        assert seen == ["", "d", "d/x", "c", "a", "a/x"]


def test_a_walk_of_a_directory_starts_with_its_own_path(make: Make) -> None:
    unit = make(BASE).unit()
    unit.mkdir("made/sub", parents=True)
    assert walked(unit, "made") == [("made", ["sub"], []), ("made/sub", [], [])]
    assert next(unit.walk("."))[0] == ""
    for path in ("file", "link", "none"):
        with pytest.raises(UsageError):
            next(unit.walk(path))
    unit.rollback()


def test_a_unit_may_be_changed_while_it_is_walked(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        for path, _, names in unit.walk():
            for name in names:
                at = f"{path}/{name}".lstrip("/")
                if name not in ("link", "dirlink"):
                    unit.write(at, unit.read(at).upper())
    assert world.content("dir/deep/leaf") == b"LEAF"
    assert world.content("file") == b"CONTENT"


@pytest.mark.parametrize("end", [UnitOfWork.commit, UnitOfWork.rollback])
def test_a_walk_does_not_outlive_its_unit(simulate: Make, end: Callable[[UnitOfWork], object]) -> None:
    world = simulate(BASE)
    unit = world.unit()
    steps = unit.walk()
    next(steps)
    unit.write("new", b"x")
    end(unit)
    with pytest.raises(UnitStateError):
        next(steps)
    assert world.sim.open_descriptors == 0
    assert world.control_names("pending") == []


def test_a_walk_sees_what_others_commit_meanwhile(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    steps = unit.walk("dir")
    assert next(steps) == ("dir", ["deep"], ["inner"])
    with world.begin() as other:
        other.remove("dir")
        other.mkdir("dir/deep", parents=True)
        other.write("dir/deep/fresh", b"x")
    assert next(steps) == ("dir/deep", [], ["fresh"])
    unit.rollback()


# -- others meanwhile


def test_what_others_commit_is_seen_where_nothing_is_pending(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("mine", b"mine")
    assert unit.exists("dir/inner")
    with world.begin() as other:
        other.write("theirs", b"theirs")
        other.remove("dir")
        other.write("other", b"theirs")
    assert not unit.exists("dir/inner")  # first: the last look was into a directory that is gone
    is_file(unit, "theirs", b"theirs")
    is_file(unit, "other", b"theirs")
    is_gone(unit, "dir/inner")
    is_file(unit, "mine", b"mine")
    unit.commit()


@flushed
def test_what_others_put_where_the_unit_removes_or_makes_a_directory_is_not_seen(
    make: Make, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.remove("dir")
    unit.remove("empty")
    unit.mkdir("empty")
    unit.remove("file")
    unit.mkdir("file")
    unit.move("other", "file/other")
    if flushed:
        unit.flush()
    world.create("dir/theirs", b"theirs")
    world.create("dir/deep/theirs", b"theirs")
    is_gone(unit, "dir/theirs")
    is_gone(unit, "dir/deep/theirs")
    is_gone(unit, "file/theirs")
    assert unit.listdir("file") == ["other"]
    with pytest.raises(StaleEntry):
        unit.commit()
    unit.rollback()
    assert world.content("dir/theirs") == b"theirs"


def test_two_units_do_not_see_each_other_before_a_commit(make: Make) -> None:
    world = make(BASE)
    one, two = world.unit(), world.unit()
    one.write("one", b"1")
    one.remove("file")
    one.flush()
    is_gone(two, "one")
    is_file(two, "file", b"content")
    one.commit()
    is_file(two, "one", b"1")
    two.rollback()


def test_what_was_read_and_is_gone_is_gone_by_every_look(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.read("file")
    with world.begin() as other:
        other.remove("file")
    there = unit.exists("file")
    assert ("file" in unit.listdir()) is there
    with pytest.raises((UsageError, StaleEntry)):
        unit.read("file")
    with pytest.raises((UsageError, StaleEntry)):
        unit.open("file", "rb")
    unit.rollback()


def test_a_read_is_of_what_is_there_now_and_binds_the_commit_to_it(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    assert unit.read("file") == b"content"
    world.save("file", b"theirs")
    unit.write("file", b"mine")
    with pytest.raises(StaleEntry):
        unit.commit()
    unit.rollback()
    assert world.content("file") == b"theirs"


# -- states


def test_a_failed_or_ended_unit_cannot_be_read(make: Make) -> None:
    world = make(BASE)
    looks: list[Callable[[UnitOfWork], Any]] = [
        lambda unit: unit.exists("file"),
        lambda unit: unit.read("file"),
        lambda unit: unit.digest("file"),
        lambda unit: unit.listdir(),
        lambda unit: next(unit.walk()),
        lambda unit: unit.open("file", "rb"),
        lambda unit: unit.open("file", "r"),
    ]
    unit = world.unit()
    unit.write("file", b"mine")
    world.save("file", b"content")
    with pytest.raises(StaleEntry):
        unit.commit()
    for look in looks:
        with pytest.raises(PendingRollback):
            look(unit)
    unit.rollback()
    for look in looks:
        with pytest.raises(UnitStateError, match="rolled back"):
            look(unit)


def test_to_look_at_a_unit_needs_no_change_and_leaves_none(simulate: Make) -> None:
    world = simulate(BASE)
    before = world.control_tree()
    with world.unit() as unit:
        unit.read("file")
        list(unit.walk())
        with unit.open("file", "r") as file:
            assert isinstance(file, io.TextIOWrapper)
            file.read()
    assert world.tree() == BASE
    assert set(world.control_names()) - {"pending", "lock"} == set(before.names) - {"pending", "lock"}
    assert world.sim.open_descriptors == 0
