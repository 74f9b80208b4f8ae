"""How much one unit may take away."""

from __future__ import annotations

import pytest

from atomsync.errors import GuardTripped, UsageError
from atomsync.plan.change import Change
from atomsync.plan.guards import check_losses
from atomsync.plan.limit import DEFAULT, Limit, limit_of, share
from tests.tree.entries import file, folder

A, EMPTY, D = file(100), file(0), folder()


def removals(count: int) -> list[Change]:
    return [Change(f"gone {number:05}", A, None) for number in range(count)]


# -- what people write


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, Limit(10, 50.0)),
        (0, Limit(0, 0.0)),
        ("100", Limit(100, 0.0)),
        (" 20% ", Limit(0, 20.0)),
        ("0.5 %", Limit(0, 0.5)),
        ("100%", Limit(0, 100.0)),
    ],
)
def test_a_limit_is_a_number_or_a_share(given: int | str | None, limit: Limit) -> None:
    assert limit_of(given) == limit


@pytest.mark.parametrize("given", ["", "-1", "many", "101%", "1e3", "nan%", "5 files", "9" * 5000, True])
def test_anything_else_is_refused_and_the_way_out_is_named(given: str) -> None:
    with pytest.raises(UsageError) as refusal:
        limit_of(given)
    assert "--max-delete 100%" in refusal.value.hint


def test_a_share_is_never_rounded_to_nothing_nor_to_all() -> None:
    assert share(1, 1000) == "less than 1 %"
    assert share(999, 1000) == "99 %"
    assert share(1000, 1000) == "100 %"
    assert share(3, 0) == "100 %"


# -- what it lets through


@pytest.mark.parametrize(
    ("limit", "gone", "of", "refused"),
    [
        (DEFAULT, 10, 10, False),
        (DEFAULT, 11, 22, False),
        (DEFAULT, 11, 21, True),
        (DEFAULT, 5_000, 10_000, False),
        (DEFAULT, 5_001, 10_000, True),
        (limit_of(3), 3, 1_000, False),
        (limit_of(3), 4, 1_000, True),
        (limit_of(0), 1, 1_000, True),
        (limit_of("1%"), 10, 1_000, False),
        (limit_of("1%"), 11, 1_000, True),
        (limit_of("50%"), 2, 3, True),
        (limit_of("100%"), 1_000, 1_000, False),
    ],
)
def test_more_than_the_limit_is_refused_and_the_limit_itself_is_not(
    limit: Limit, gone: int, of: int, refused: bool
) -> None:
    if not refused:
        check_losses(removals(gone), of, limit, source_is_empty=False)
        return
    with pytest.raises(GuardTripped) as refusal:
        check_losses(removals(gone), of, limit, source_is_empty=False)
    assert f"remove {gone:,} of {of:,} entries" in refusal.value.what
    assert "gone 00000" in refusal.value.why
    assert ("and 1 more" in refusal.value.why) == (gone == 11)
    assert "--max-delete 100%" in refusal.value.hint


def test_an_empty_source_removes_nothing_unless_somebody_says_how_much() -> None:
    with pytest.raises(GuardTripped, match="the source is empty"):
        check_losses(removals(1), 1, DEFAULT, source_is_empty=True)
    check_losses(removals(1), 1, limit_of(1), source_is_empty=True, even_all=True)
    check_losses([], 5, DEFAULT, source_is_empty=True)


def test_files_that_lose_all_content_count_as_lost() -> None:
    emptied = [Change(f"was full {number}", A, EMPTY) for number in range(11)]
    with pytest.raises(GuardTripped, match="replace by empty files 11 of 20 entries"):
        check_losses(emptied, 20, DEFAULT, source_is_empty=False)
    check_losses(emptied, 22, DEFAULT, source_is_empty=False)


def test_new_empty_files_and_files_that_were_empty_before_are_no_loss() -> None:
    harmless = [Change(f"new {number}", None, EMPTY) for number in range(50)]
    harmless += [Change(f"touched {number}", EMPTY, EMPTY._replace(mtime_ns=5)) for number in range(50)]
    harmless += [Change(f"into a directory {number}", A, D) for number in range(50)]
    check_losses(harmless, 100, limit_of(0), source_is_empty=False)


def test_what_stays_and_what_comes_is_not_counted_as_removed() -> None:
    changes = [*removals(4), *(Change(f"new {n}", None, A) for n in range(100)), Change("x", A, file(5))]
    check_losses(changes, 1_000, limit_of(4), source_is_empty=False)


def test_what_only_moves_is_no_loss() -> None:
    moved = [Change(f"old/{n}", file(n, mtime_ns=n), None) for n in range(30)]
    moved += [Change(f"new/{n}", None, file(n, mtime_ns=n)) for n in range(30)]
    check_losses(moved, 31, DEFAULT, source_is_empty=False)
    check_losses(moved, 31, limit_of(0), source_is_empty=False)


def test_one_file_that_comes_makes_up_for_one_that_goes() -> None:
    changes = [*removals(20), Change("new", None, A)]
    with pytest.raises(GuardTripped, match="remove 19 of 20"):
        check_losses(changes, 20, DEFAULT, source_is_empty=False)
