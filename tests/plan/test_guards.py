"""Reasons to refuse a plan before anything is staged."""

from __future__ import annotations

import os

import pytest

from atomsync.errors import DestinationLimit, GuardTripped, NoSpace
from atomsync.fs.disk import Space
from atomsync.plan.change import Change
from atomsync.plan.guards import (
    bytes_entering,
    check_displaced,
    check_mounts,
    check_names,
    check_space,
    space_needed,
)
from atomsync.plan.plan import normal_form
from atomsync.plan.step import Step
from atomsync.tree.entry import Entry
from tests.tree.entries import file, folder, graft, link

A, D = file(100), folder()
MUCH = Space(4096, 1 << 40, 1 << 20, 255, False)


def steps(*changes: Change) -> tuple[Step, ...]:
    return normal_form(changes).steps


def grafted(top: str, members: dict[str, Entry]) -> tuple[Step, ...]:
    """The same as steps of its members, with a graft."""
    return normal_form([Change(top, None, D)], None, {top: graft(top, members)}).steps


# -- names


def test_a_name_as_long_as_allowed_passes_and_one_byte_more_does_not() -> None:
    check_names(steps(Change("x" * 255, None, A)), 255)
    with pytest.raises(DestinationLimit) as refusal:
        check_names(steps(Change("x" * 256, None, A)), 255)
    assert "1 name is too long" in refusal.value.what
    assert "255 bytes" in refusal.value.why
    assert "x" * 256 in refusal.value.why
    assert "--exclude" in refusal.value.hint


def test_names_are_measured_in_bytes() -> None:
    check_names(steps(Change("é" * 127, None, A)), 255)
    with pytest.raises(DestinationLimit):
        check_names(steps(Change("é" * 128, None, A)), 255)
    check_names(steps(Change("\udcff" * 255, None, A)), 255)


def test_the_last_name_counts_not_the_path() -> None:
    path = "/".join(["d" * 200] * 5)
    check_names(steps(Change(f"{path}/x", None, A)), 255)


def test_names_inside_a_new_directory_count_too() -> None:
    plan = steps(Change("d", None, D), Change("d/" + "y" * 50, None, A))
    check_names(plan, 50)
    with pytest.raises(DestinationLimit):
        check_names(plan, 49)


def test_names_inside_a_graft_count_too() -> None:
    plan = grafted("d", {"sub": D, "sub/" + "é" * 25: A})
    check_names(plan, 50)
    with pytest.raises(DestinationLimit, match="1 name is too long"):
        check_names(plan, 49)


def test_a_graft_takes_the_space_of_its_members() -> None:
    members = {"a": file(100), "b": file(4097), "sub": D, "sub/c": file(0), "sub/d": file(1)}
    one_by_one = steps(Change("d", None, D), *(Change(f"d/{path}", None, members[path]) for path in members))
    for block_size in (512, 1024, 4096, 65536):
        space = MUCH._replace(block_size=block_size)
        assert space_needed(grafted("d", members), space) == space_needed(one_by_one, space)
    assert bytes_entering(grafted("d", members)) == bytes_entering(one_by_one) == (4, 4198)


def test_names_that_leave_or_stay_do_not_count() -> None:
    check_names(steps(Change("x" * 90, A, None), Change("y" * 90, A, file(mode=0o600), content=False)), 50)


def test_of_many_long_names_ten_are_listed_and_the_rest_counted() -> None:
    with pytest.raises(DestinationLimit) as refusal:
        check_names(steps(*[Change(f"{number:060d}", None, A) for number in range(1234)]), 50)
    assert "1,234 names are" in refusal.value.what
    assert "and 1,224 more" in refusal.value.why
    assert refusal.value.why.count("0" * 50) == 10


# -- mount points


@pytest.mark.parametrize(
    ("change", "point"),
    [
        (Change("m", None, A), "m"),
        (Change("m/x", None, A), "m"),
        (Change("m/x", A, file(mode=0o600), content=False), "m"),
        (Change("m", D, folder(9), content=False), "m"),
        (Change("top", D, None), "top/m"),
        (Change("top", D, A), "top/deep/m"),
    ],
)
def test_no_step_may_touch_a_mount_point(change: Change, point: str) -> None:
    with pytest.raises(DestinationLimit) as refusal:
        check_mounts(steps(change), {point})
    assert change.path in refusal.value.what
    assert f"{point} is a mount point" in refusal.value.why
    assert f"--exclude '/{point}/'" in refusal.value.hint


@pytest.mark.parametrize(
    "change",
    [
        Change("mm", None, A),
        Change("m-x", None, A),
        Change("other/m", None, A),
        Change("top", D, folder(9), content=False),  # the directory above may have its time set
        Change("", D, folder(9), content=False),
    ],
)
def test_steps_beside_a_mount_point_pass(change: Change) -> None:
    check_mounts(steps(change), {"m", "top/m"})


def test_without_mount_points_anything_passes() -> None:
    check_mounts(steps(Change("a", None, A)), ())


# -- space


def test_what_enters_is_counted_in_whole_blocks() -> None:
    plan = steps(Change("a", None, file(1)), Change("b", file(9), file(4097)))
    check_space(plan, MUCH._replace(bytes_free=3 * 4096))
    with pytest.raises(NoSpace) as refusal:
        check_space(plan, MUCH._replace(bytes_free=3 * 4096 - 1))
    assert "not enough space" in refusal.value.what
    assert "12,288 bytes" in refusal.value.why
    assert "12,287 are free" in refusal.value.why


def test_every_file_directory_and_link_that_enters_needs_an_inode() -> None:
    plan = steps(Change("d", None, D), Change("d/a", None, A), Change("d/l", None, link("a")))
    check_space(plan, MUCH._replace(inodes_free=3))
    with pytest.raises(NoSpace) as refusal:
        check_space(plan, MUCH._replace(inodes_free=2))
    assert "not enough inodes" in refusal.value.what
    assert "3 " in refusal.value.why
    assert "2 " in refusal.value.why


def test_where_inodes_are_not_counted_they_are_not_asked_for() -> None:
    check_space(steps(Change("a", None, A)), MUCH._replace(inodes_free=None))


def test_what_leaves_and_what_only_changes_its_attributes_needs_nothing() -> None:
    plan = steps(Change("a", A, None), Change("b", A, file(100, mode=0o600), content=False))
    check_space(plan, MUCH._replace(bytes_free=0, inodes_free=0))


# -- displaced directories


def test_a_directory_with_content_gives_way_only_with_leave() -> None:
    changes = [Change("d", D, A), Change("d/x", A, None), Change("d/y", A, None)]
    check_displaced(changes, (), delete=True)
    with pytest.raises(GuardTripped) as refusal:
        check_displaced(changes, (), delete=False)
    assert "a file in place of d" in refusal.value.what
    assert "2 entries" in refusal.value.why
    assert "--delete" in refusal.value.hint


def test_an_empty_directory_gives_way_without_asking() -> None:
    check_displaced([Change("d", D, link("x"))], (), delete=False)


@pytest.mark.parametrize("delete", [True, False])
def test_a_directory_that_holds_excluded_paths_never_gives_way(delete: bool) -> None:
    changes = [Change("d", D, A)]
    with pytest.raises(GuardTripped) as refusal:
        check_displaced(changes, ["d/secret"], delete=delete)
    assert "cannot replace the directory d" in refusal.value.what
    assert "d/secret" in refusal.value.why


def test_excluded_paths_elsewhere_do_not_matter() -> None:
    check_displaced([Change("d", D, A)], ["dd/x", "x/d/y"], delete=True)


def test_removing_a_directory_was_decided_elsewhere() -> None:
    check_displaced([Change("d", D, None), Change("d/x", A, None)], (), delete=False)


def test_paths_in_messages_are_printable() -> None:
    name = "evil\n\x1b[31m" + os.fsdecode(b"\xff")
    with pytest.raises(GuardTripped) as refusal:
        check_displaced([Change(name, D, A), Change(f"{name}/x", A, None)], (), delete=False)
    assert refusal.value.what.isprintable()
    with pytest.raises(DestinationLimit) as limit:
        check_mounts(steps(Change(name, None, A)), {name})
    assert limit.value.what.isprintable()
    assert limit.value.why.isprintable()
    assert limit.value.hint.isprintable()


def test_the_bar_is_told_the_files_and_bytes_that_staging_copies() -> None:
    plan = steps(
        Change("a", None, file(10)),
        Change("d", None, D),
        Change("d/x", None, file(5)),
        Change("d/l", None, link("x")),
        Change("m", A, file(100, mode=0o600), content=False),
        Change("gone", A, None),
    )
    assert bytes_entering(plan) == (2, 15)
