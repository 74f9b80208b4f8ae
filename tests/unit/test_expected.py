"""Compare and swap: what a unit expects to find, and that a foreign change is told and never lost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import Drift, StaleEntry, UsageError
from atomsync.testing import Dir, File, Link, SimDisk, Tree
from atomsync.unit.expected import ABSENT, ANY, check_expected, digest
from atomsync.unit.work import UnitOfWork
from tests.store.world import World

Make = Callable[..., World]
Verb = Callable[..., object]
T = 1_600_000_000_000_000_000

BASE = Dir(
    {
        "file": File(b"content", 0o640, T + 1),
        "other": File(b"other", 0o600, T + 2),
        "dir": Dir(
            {"inner": File(b"inner", 0o644, T + 3), "deep": Dir({"leaf": File(b"leaf", mtime_ns=T + 5)})}
        ),
        "empty": Dir({}),
        "link": Link("file", T + 4),
    }
)
CONTENT = digest(b"content")
WRONG = digest(b"something else")

# Every verb that changes a path, with what it is expected to find at it.
VERBS: dict[str, Verb] = {
    "write": lambda unit, path, **more: unit.write(path, b"mine", **more),
    "open": lambda unit, path, **more: stream(unit, path, **more),
    "put": lambda unit, path, **more: unit.put(path, f"{unit.store.path}/other", **more),
    "mkdir": lambda unit, path, **more: unit.mkdir(path, **more),
    "symlink": lambda unit, path, **more: unit.symlink(path, "mine", **more),
    "move here": lambda unit, path, expected: unit.move("other", path, expected_there=expected),
}
NEEDING: dict[str, Verb] = {
    "remove": lambda unit, path, **more: unit.remove(path, **more),
    "move away": lambda unit, path, **more: unit.move(path, "moved", **more),
    "chmod": lambda unit, path, **more: unit.chmod(path, 0o711, **more),
    "utime": lambda unit, path, **more: unit.utime(path, T + 99, **more),
}
ALL = {**VERBS, **NEEDING}
every_verb = pytest.mark.parametrize("verb", [*ALL.values()], ids=[*ALL])
making = pytest.mark.parametrize("verb", [*VERBS.values()], ids=[*VERBS])
needing = pytest.mark.parametrize("verb", [*NEEDING.values()], ids=[*NEEDING])
flushed = pytest.mark.parametrize("flushed", [False, True], ids=["before the flush", "behind the flush"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    """BASE on one simulated disk: for sweeps over many cases."""
    (tmp_path / "dst").mkdir()
    return World.made(SimDisk("weak"), str(tmp_path), BASE)


def stream(unit: UnitOfWork, path: str, **more: Any) -> None:
    with unit.open(path, **more) as file:
        file.write(b"mine")


def edit_unseen(world: World, path: str, data: bytes) -> None:
    """As long as what was there, and with its time: a look at the entry shows nothing."""
    before = world.entry(path)
    assert before is not None
    assert before.size == len(data)
    world.write_into(path, data)
    with world.place(path) as (at, name):
        world.disk.set_meta_at(at, name, -1, -1, None, before.mtime_ns)
    after = world.entry(path)
    assert after is not None
    assert after[:7] == before[:7]


def refused(world: World, unit: UnitOfWork) -> None:
    """The commit is stale; nothing of the unit is left, and it can be begun anew."""
    there = world.tree()
    with pytest.raises(StaleEntry) as failure:
        unit.commit()
    assert isinstance(failure.value, Drift)
    assert failure.value.code == "stale"
    assert unit.state == "failed"
    unit.rollback()
    assert world.tree() == there
    assert world.control_names("pending") == world.control_names("conflicts") == []
    with world.begin() as again:
        again.write("again", b"x")
    assert world.content("again") == b"x"


# -- the comparison


@pytest.mark.parametrize("found", [None, "file", "dir", "link"])
def test_any_is_satisfied_by_everything(make: Make, found: str | None) -> None:
    entry = make(BASE).entry(found) if found else None
    check_expected("p", ANY, entry, "")


@pytest.mark.parametrize("expected", ["", "x" * 32, CONTENT.upper(), CONTENT[:-1], CONTENT + "0", b"x", 7])
def test_what_is_neither_a_digest_nor_a_word_is_refused(make: Make, expected: Any) -> None:
    unit = make(BASE).unit()
    for path in ("file", "none", "dir"):
        with pytest.raises(UsageError, match="cannot expect"):
            unit.write(path, b"x", expected=expected)
    assert (unit.new, unit.dirty) == (set(), set())
    unit.rollback()


def test_a_digest_is_that_of_the_bytes() -> None:
    assert digest(b"") == "99aa06d3014798d86001c324468d497f"  # of the reference implementation
    assert digest(b"content") != digest(b"Content")
    assert (repr(ABSENT), repr(ANY)) == ("ABSENT", "ANY")


# -- at the verb


@every_verb
def test_a_verb_that_finds_what_it_expects_goes_on(make: Make, verb: Verb) -> None:
    world = make(BASE)
    unit = world.unit()
    verb(unit, "file", expected=CONTENT)
    unit.commit()
    assert world.tree() != BASE


@every_verb
def test_a_verb_that_finds_another_content_is_refused_and_the_unit_goes_on(make: Make, verb: Verb) -> None:
    world = make(BASE)
    unit = world.unit()
    for path, expected in (
        ("file", WRONG),
        ("file", ABSENT),
        ("dir", CONTENT),
        ("dir", ABSENT),
        ("link", CONTENT),
        ("link", ABSENT),
        ("none", CONTENT),
    ):
        with pytest.raises(StaleEntry, match="not as expected"):
            verb(unit, path, expected=expected)
    assert (unit.new, unit.dirty, unit.removed) == (set(), set(), set())
    assert unit.state == "pending"
    unit.write("good", b"x")
    unit.commit()
    assert world.tree() == Dir({**BASE.names, "good": File(b"x")})


@making
def test_absent_is_what_a_new_path_is(make: Make, verb: Verb) -> None:
    world = make(BASE)
    unit = world.unit()
    verb(unit, "new", expected=ABSENT)
    assert "new" in unit.new
    unit.commit()
    assert world.entry("new") is not None


@every_verb
def test_what_is_expected_is_what_the_unit_itself_left_there(make: Make, verb: Verb) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("file", b"v2")
    with pytest.raises(StaleEntry):
        verb(unit, "file", expected=CONTENT)
    verb(unit, "file", expected=digest(b"v2"))
    unit.commit()


def test_what_the_unit_removed_is_absent_and_what_it_moved_is_where_it_went(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.move("file", "moved")
        with pytest.raises(StaleEntry):
            unit.write("file", b"x", expected=CONTENT)
        unit.write("file", b"new", expected=ABSENT)
        unit.chmod("moved", 0o600, expected=CONTENT)
        unit.flush()
        unit.remove("moved", expected=CONTENT)
    assert world.tree() == Dir({**BASE.names, "file": File(b"new")})


def test_both_ends_of_a_move_can_be_expected(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        for ends in ({"expected": WRONG}, {"expected_there": WRONG}, {"expected_there": ABSENT}):
            with pytest.raises(StaleEntry):
                unit.move("file", "other", **ends)
        unit.move("file", "other", expected=CONTENT, expected_there=digest(b"other"))
    assert world.content("other") == b"content"


@pytest.mark.parametrize("mode", ["x", "xb"])
def test_the_exclusive_modes_expect_nothing_there(make: Make, mode: Any) -> None:
    world = make(BASE)
    with world.begin() as unit:
        for path in ("file", "dir", "link"):
            with pytest.raises(StaleEntry):
                unit.open(path, mode)
        with unit.open("new", mode) as file:
            file.write("x" if mode == "x" else b"x")
        with pytest.raises(StaleEntry):
            unit.open("new", mode)
    assert world.content("new") == b"x"


# -- at the commit


EDITS: dict[str, Callable[[World], None]] = {
    "saved": lambda world: world.save("file", b"theirs"),
    "written into": lambda world: world.write_into("file", b"theirs!"),
    "appended to": lambda world: world.write_into("file", b"more", 7),
    "unlinked": lambda world: world.unlink("file"),
    "moved away": lambda world: world.rename("file", "elsewhere"),
    "made anew with the same bytes": lambda world: world.save("file", b"content"),
    "its mode changed": lambda world: world.chmod("file", 0o600),
    "replaced by a link": lambda world: (world.unlink("file"), world.symlink("file", "other"))[0],
    "replaced by a directory": lambda world: (world.unlink("file"), world.rename("dir", "file"))[0],
}
edited = pytest.mark.parametrize("edit", [*EDITS.values()], ids=[*EDITS])


SAID = [
    pytest.param(verb, expected, id=f"{name}, {'nothing said' if expected is None else 'a digest'}")
    for name, verb in ALL.items()
    for expected in (None, CONTENT)
    if name != "mkdir" or expected  # where something is, it says so itself
]


@flushed
@edited
@pytest.mark.parametrize(("verb", "expected"), SAID)
def test_a_foreign_edit_between_verb_and_commit_is_stale(
    world: World, verb: Verb, edit: Callable[[World], None], flushed: bool, expected: Any
) -> None:
    unit = world.unit()
    verb(unit, "file", expected=expected)
    if flushed:
        unit.flush()
    edit(world)
    refused(world, unit)


@flushed
@every_verb
def test_a_foreign_edit_that_shows_nowhere_is_stale_if_a_digest_was_expected(
    make: Make, verb: Verb, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    verb(unit, "file", expected=CONTENT)
    if flushed:
        unit.flush()
    edit_unseen(world, "file", b"CONTENT")
    refused(world, unit)
    assert world.content("file") == b"CONTENT"


@pytest.mark.parametrize("when", ["before the verb", "behind the verb", "behind the flush"])
@pytest.mark.parametrize("look", [UnitOfWork.read, UnitOfWork.digest], ids=["read", "digest"])
@pytest.mark.parametrize("name", [name for name in ALL if name != "mkdir"])
def test_a_foreign_edit_after_a_read_is_stale_even_if_it_shows_nowhere(
    world: World, name: str, look: Callable[[UnitOfWork, str], object], when: str
) -> None:
    unit = world.unit()
    look(unit, "file")
    if when == "before the verb":
        edit_unseen(world, "file", b"CONTENT")
    ALL[name](unit, "file", expected=None)
    if when == "behind the flush":
        unit.flush()
    if when != "before the verb":
        edit_unseen(world, "file", b"CONTENT")
    refused(world, unit)
    assert world.content("file") == b"CONTENT"


@edited
def test_a_foreign_edit_between_read_and_verb_is_stale(make: Make, edit: Callable[[World], None]) -> None:
    world = make(BASE)
    unit = world.unit()
    data = unit.read("file")
    edit(world)
    unit.write("file", data + b"!")
    refused(world, unit)


@pytest.mark.parametrize(
    "touch",
    [
        lambda unit: unit.chmod("file", 0o600),
        lambda unit: unit.utime("file", T + 9),
        lambda unit: unit.begin_nested() and unit.chmod("file", 0o600),
    ],
)
def test_a_read_after_the_path_was_touched_binds_the_commit_too(make: Make, touch: Verb) -> None:
    world = make(BASE)
    unit = world.unit()
    touch(unit)
    data = unit.read("file")
    edit_unseen(world, "file", b"CONTENT")
    unit.write("file", data + b"!")
    refused(world, unit)
    assert world.content("file") == b"CONTENT"


@flushed
@pytest.mark.parametrize(
    ("path", "top", "to"), [("file", "file", "moved"), ("dir/deep/leaf", "dir", "moved/deep/leaf")]
)
def test_a_read_by_a_moved_name_binds_the_commit_too(
    make: Make, path: str, top: str, to: str, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.move(top, "moved")
    if flushed:
        unit.flush()
    data = unit.read(to)
    edit_unseen(world, path, data.upper())
    unit.write(to, data + b"!")
    refused(world, unit)
    assert world.content(path) == data.upper()


@pytest.mark.parametrize("verb", [lambda unit: unit.remove("dir"), lambda unit: unit.move("dir", "moved")])
@flushed
def test_a_file_that_was_read_and_goes_with_its_directory_is_compared_too(
    make: Make, verb: Verb, flushed: bool
) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.read("dir/inner")
    unit.read("dir/deep/leaf")
    verb(unit)
    if flushed:
        unit.flush()
    edit_unseen(world, "dir/deep/leaf", b"LEAF")
    refused(world, unit)
    assert world.content("dir/deep/leaf") == b"LEAF"


@flushed
@making
@pytest.mark.parametrize("expected", [None, ABSENT])
def test_a_path_that_came_meanwhile_is_stale_where_nothing_was(
    world: World, verb: Verb, expected: Any, flushed: bool
) -> None:
    unit = world.unit()
    verb(unit, "new", expected=expected)
    if flushed:
        unit.flush()
    world.create("new", b"theirs")
    refused(world, unit)
    assert world.content("new") == b"theirs"


def test_what_was_looked_for_in_vain_and_came_before_the_verb_is_not_replaced(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with unit.open("new") as file:
        file.write(b"mine")
        world.create("new", b"theirs")  # while it is written
    refused(world, unit)
    assert world.content("new") == b"theirs"


def test_a_file_that_was_saved_while_it_was_being_written_is_stale(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    with unit.open("file", expected=CONTENT) as file:
        file.write(b"mine")
        world.save("file", b"theirs")
    refused(world, unit)
    assert world.content("file") == b"theirs"


def test_what_is_only_read_may_change(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.read("other")
        unit.write("file", b"mine", expected=CONTENT)
        world.save("other", b"theirs")
    assert world.content("file") == b"mine"
    assert world.content("other") == b"theirs"


def test_two_units_that_read_the_same_cannot_both_write_it(make: Make) -> None:
    world = make(BASE)
    one, two = world.unit(), world.unit()
    for unit in (one, two):
        unit.write("file", unit.read("file") + b"!")
    one.commit()
    refused(world, two)
    assert world.content("file") == b"content!"


def test_a_write_expected_of_the_digest_that_was_read_is_a_compare_and_swap(make: Make) -> None:
    world = make(Dir({"counter": File(b"0")}))
    for _ in range(5):
        one, two = world.unit(), world.unit()
        seen = [(unit, int(unit.read("counter")), unit.digest("counter")) for unit in (one, two)]
        for unit, count, at in seen:
            unit.write("counter", b"%d" % (count + 1), expected=at)
        one.commit()
        with pytest.raises(StaleEntry):
            two.commit()
        two.rollback()
    assert world.content("counter") == b"5"


# -- ANY


WHATEVER: dict[str, tuple[str, Callable[[World], None], bytes | None]] = {
    "saved": ("file", EDITS["saved"], b"theirs"),
    "written into": ("file", EDITS["written into"], b"theirs!"),
    "its mode changed": ("file", EDITS["its mode changed"], b"content"),
    "gone": ("file", EDITS["unlinked"], None),
    "a link": ("file", EDITS["replaced by a link"], None),
    "a directory with content": ("file", EDITS["replaced by a directory"], b"inner"),
    "a new file": ("new", lambda world: world.create("new", b"theirs"), b"theirs"),
    "a new link": ("new", lambda world: world.symlink("new", "other"), None),
    "a new directory with content": ("new", lambda world: world.rename("dir", "new"), b"leaf"),
    "still nothing": ("new", lambda world: None, None),
    "still the same": ("file", lambda world: None, b"content"),
    "a directory that got more": ("dir", lambda world: world.create("dir/more", b"theirs"), b"theirs"),
    "a directory that lost some": ("dir", lambda world: world.unlink("dir/inner"), b"leaf"),
    "a directory that was changed below": (
        "dir",
        lambda world: world.save("dir/deep/leaf", b"theirs"),
        b"theirs",
    ),
    "a directory that became a file": (
        "dir",
        lambda world: (world.rename("dir", "away"), world.create("dir", b"theirs"))[0],
        b"theirs",
    ),
    "a link that leads elsewhere": (
        "link",
        lambda world: (world.unlink("link"), world.symlink("link", "other"))[0],
        None,
    ),
}
MADE: dict[str, Tree] = {
    "write": File(b"mine", None),
    "open": File(b"mine", None),
    "put": File(b"other", 0o600, T + 2),
    "symlink": Link("mine"),
    "move here": File(b"other", 0o600, T + 2),
}


@flushed
@pytest.mark.parametrize("case", [*WHATEVER])
@pytest.mark.parametrize("name", ["write", "open", "put", "symlink"])
def test_any_overwrites_whatever_came_and_keeps_it_in_the_history(
    world: World, name: str, case: str, flushed: bool
) -> None:
    path, edit, lost = WHATEVER[case]
    unit = world.unit()
    VERBS[name](unit, path, expected=ANY)
    if flushed:
        unit.flush()
    edit(world)
    there = {at: tree for at, tree in world.tree().names.items() if at != path}
    unit.commit()
    assert world.tree() == Dir({**there, path: MADE[name]})
    if lost is not None:
        assert lost in world.all_contents()
    assert world.control_names("conflicts") == []


@flushed
@pytest.mark.parametrize("case", ["saved", "written into", "a link", "gone", "a new file", "still nothing"])
def test_any_where_a_file_is_moved_to_overwrites_whatever_came(make: Make, case: str, flushed: bool) -> None:
    path, edit, lost = WHATEVER[case]
    world = make(BASE)
    unit = world.unit()
    unit.move("other", path, expected_there=ANY)
    if flushed:
        unit.flush()
    edit(world)
    unit.commit()
    assert world.tree().names[path] == BASE.names["other"]
    assert lost is None or lost in world.all_contents()


@flushed
@pytest.mark.parametrize("case", [case for case in WHATEVER if WHATEVER[case][0] != "new"])
def test_any_removes_whatever_is_there_and_keeps_it_in_the_history(
    world: World, case: str, flushed: bool
) -> None:
    path, edit, lost = WHATEVER[case]
    unit = world.unit()
    unit.remove(path, expected=ANY)
    if flushed:
        unit.flush()
    edit(world)
    there = {at: tree for at, tree in world.tree().names.items() if at != path}
    unit.commit()
    assert world.tree() == Dir(there)
    assert lost is None or lost in world.all_contents()


@flushed
@pytest.mark.parametrize("case", ["saved", "written into", "its mode changed", "still the same"])
def test_any_changes_the_mode_or_time_of_whatever_file_is_there_and_leaves_its_content(
    make: Make, case: str, flushed: bool
) -> None:
    _, edit, _ = WHATEVER[case]
    world = make(BASE)
    unit = world.unit()
    unit.chmod("file", 0o711, expected=ANY)
    unit.utime("file", T + 99, expected=ANY)
    if flushed:
        unit.flush()
    edit(world)
    content = world.content("file")
    unit.commit()
    assert world.tree().names["file"] == File(content, 0o711, T + 99)


@pytest.mark.parametrize("case", ["gone", "a link", "a directory with content"])
@pytest.mark.parametrize("verb", [NEEDING["chmod"], NEEDING["utime"]], ids=["chmod", "utime"])
def test_the_mode_of_what_is_gone_or_of_another_kind_cannot_be_changed(
    make: Make, verb: Verb, case: str
) -> None:
    _, edit, _ = WHATEVER[case]
    world = make(BASE)
    unit = world.unit()
    verb(unit, "file", expected=ANY)
    edit(world)
    refused(world, unit)


def test_any_takes_a_directory_that_came_meanwhile_for_the_one_it_was_to_make(make: Make) -> None:
    """With its mode and with what is in it, as if it had been there when the verb was called."""
    world = make(BASE)
    with world.begin() as unit:
        unit.mkdir("new", mode=0o711, expected=ANY)
        unit.write("new/mine", b"mine")
        world.rename("dir", "new")
    inside = BASE.names["dir"].names  # type: ignore[union-attr]
    assert world.tree().names["new"] == Dir({**inside, "mine": File(b"mine")}, 0o755)


def test_a_directory_removed_and_made_anew_is_empty_whatever_came_into_it(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.remove("dir", expected=ANY)
        unit.mkdir("dir")
        unit.write("dir/fresh", b"mine")
        world.create("dir/foreign", b"theirs")
    assert world.tree().names["dir"] == Dir({"fresh": File(b"mine")})
    assert {b"theirs", b"inner", b"leaf"} <= world.all_contents()


def test_permissions_for_a_directory_and_for_what_is_in_it_go_together(make: Make) -> None:
    world = make(BASE)
    with world.begin() as unit:
        unit.remove("dir/inner", expected=ANY)
        unit.write("dir/deep/leaf", b"mine", expected=ANY)
        unit.remove("dir", expected=ANY)
        world.unlink("dir/inner")
        world.save("dir/deep/leaf", b"theirs")
    assert "dir" not in world.tree().names
    assert b"theirs" in world.all_contents()


@pytest.mark.parametrize("path", ["file", "none"])
def test_a_verb_that_is_refused_gives_no_permission(make: Make, path: str) -> None:
    world = make(BASE)
    unit = world.unit()
    refusals: list[Callable[[], object]] = [
        lambda: unit.move(path, "none/x", expected=ANY),
        lambda: unit.move(path, f"{path}/x", expected=ANY),
    ]
    if path == "none":
        refusals += [functools.partial(verb, unit, path, expected=ANY) for verb in NEEDING.values()]
    for refusal in refusals:
        with pytest.raises(UsageError):
            refusal()
    with pytest.raises(KeyError), unit.open(path, expected=ANY) as file:  # noqa: PT012
        file.write(b"half")
        raise KeyError
    unit.write(path, b"mine")
    world.save(path, b"theirs")
    refused(world, unit)
    assert world.content(path) == b"theirs"


def test_any_at_one_path_gives_no_permission_at_another(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("file", b"mine", expected=ANY)
    unit.write("other", b"mine")
    world.save("file", b"theirs")
    world.save("other", b"theirs")
    refused(world, unit)


def test_a_path_with_any_below_a_directory_that_is_gone_is_stale(make: Make) -> None:
    world = make(BASE)
    unit = world.unit()
    unit.write("dir/inner", b"mine", expected=ANY)
    world.rename("dir", "away")
    refused(world, unit)
    assert world.content("away/inner") == b"inner"


def test_a_path_with_any_below_a_directory_that_became_a_link_leads_nowhere(make: Make) -> None:
    world = make(BASE, Dir({"inner": File(b"canary")}))
    unit = world.unit()
    unit.write("dir/inner", b"mine", expected=ANY)
    world.rename("dir", "away")
    world.symlink("dir", "../src")
    refused(world, unit)
    assert world.tree("src").names["inner"] == File(b"canary")


def test_a_name_that_came_meanwhile_for_a_hard_linked_file_is_left_as_it_is(make: Make) -> None:
    """chmod with ANY of a path that has become a second name of something else."""
    world = make(BASE)
    unit = world.unit()
    unit.chmod("file", 0o711, expected=ANY)
    world.unlink("file")
    with world.place("other") as (at, name):
        world.disk.link(at, name, at, "file")
    there = world.tree()
    try:
        unit.commit()
    except StaleEntry:
        unit.rollback()
        assert world.tree() == there
    else:
        assert world.tree().names["file"] == File(b"other", 0o711)
    assert world.tree().names["other"] == BASE.names["other"]


def test_the_mode_of_a_hard_linked_file_never_takes_its_content_back(make: Make) -> None:
    world = make(BASE)
    with world.place("file") as (at, name):
        world.disk.link(at, name, at, "second")
    unit = world.unit()
    unit.chmod("file", 0o711, expected=ANY)
    world.save("file", b"theirs")
    try:
        unit.commit()
    except StaleEntry:
        unit.rollback()
    assert world.content("file") == b"theirs"
