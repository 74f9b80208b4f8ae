"""What a watch makes of errors, by a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from atomsync.errors import (
    AccessError,
    AfterFailed,
    AtomSyncError,
    DiskError,
    GuardTripped,
    NoSpace,
    RootError,
    RootReplaced,
    SourceUnstable,
    StoreLocked,
)
from atomsync.follow.trouble import FIRST_S, LOCKED_LONGEST_S, LONGEST_S, UNDONE_S, Trouble


def meet_often(trouble: Trouble, error: AtomSyncError, times: int) -> list[float]:
    """How long it waits after each, met when the time for the next try has come."""
    now_s, waits = 100.0, []
    for _ in range(times):
        waits.append(trouble.meet(error, now_s)[0])
        assert trouble.next_try_s == now_s + waits[-1]
        now_s = trouble.next_try_s
    return waits


def test_all_is_well_at_first() -> None:
    trouble = Trouble()
    assert (trouble.why, trouble.paused, trouble.next_try_s, trouble.errors) == ("", False, None, 0)
    trouble.over()


def test_the_waits_double_up_to_the_longest_and_stay_there() -> None:
    waits = meet_often(Trouble(), DiskError("it failed"), 2000)
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert all(later >= sooner for sooner, later in pairwise(waits))
    assert waits[-1] == max(waits) == LONGEST_S


def test_a_unit_that_was_undone_does_not_come_and_go_all_the_time_but_is_tried_when_the_source_changes() -> (
    None
):
    trouble = Trouble()
    assert meet_often(trouble, AfterFailed("the command after the commit failed"), 3) == [UNDONE_S] * 3
    trouble.heard(200.0)
    assert trouble.next_try_s == 200.0


def test_an_error_that_repeats_counts_once_and_is_news_once() -> None:
    trouble = Trouble()
    news = [trouble.meet(DiskError("it failed"), float(at))[1] for at in range(5)]
    assert news == [True, False, False, False, False]
    assert trouble.errors == 1


def test_an_error_whose_numbers_change_is_the_same_error() -> None:
    trouble = Trouble()
    for free in range(5):
        trouble.meet(NoSpace("the destination is full", f"{free} bytes are free"), float(free))
    assert trouble.errors == 1
    assert "4 bytes" in trouble.why


def test_another_error_is_news_and_waits_from_the_beginning() -> None:
    trouble = Trouble()
    meet_often(trouble, DiskError("it failed"), 10)
    assert trouble.meet(NoSpace("it is full"), 1000.0) == (FIRST_S, True)
    assert trouble.errors == 2
    assert "full" in trouble.why


def test_an_error_after_a_long_pause_does_not_inherit_its_tries() -> None:
    trouble = Trouble()
    meet_often(trouble, RootError("the source is gone"), 3600)
    assert trouble.meet(DiskError("it failed"), 9000.0)[0] == FIRST_S


@pytest.mark.parametrize("kind", [RootError, RootReplaced])
def test_a_root_that_is_away_pauses_and_is_looked_for_each_second(kind: type[AtomSyncError]) -> None:
    trouble = Trouble()
    assert set(meet_often(trouble, kind("it is away"), 100)) == {FIRST_S}
    assert trouble.paused


def test_a_locked_store_is_tried_again_soon() -> None:
    trouble = Trouble()
    assert max(meet_often(trouble, StoreLocked("somebody is at work"), 100)) == LOCKED_LONGEST_S
    assert not trouble.paused


@pytest.mark.parametrize("kind", [DiskError, NoSpace, AccessError, SourceUnstable, StoreLocked])
def test_what_may_end_by_itself_is_no_pause(kind: type[AtomSyncError]) -> None:
    trouble = Trouble()
    trouble.meet(kind("it failed"), 0.0)
    assert not trouble.paused
    assert trouble.why


def test_what_was_set_aside_holds_nothing_up() -> None:
    trouble = Trouble()
    assert trouble.meet(AccessError("it may not be read"), 5.0, at_once=True)[0] == 0.0
    assert trouble.next_try_s == 5.0


def test_a_guard_is_tried_again_when_the_source_changes() -> None:
    trouble = Trouble()
    meet_often(trouble, GuardTripped("the source is empty"), 6)
    assert trouble.paused
    trouble.heard(150.0)
    assert trouble.next_try_s is not None
    assert trouble.next_try_s <= 150.0
    trouble.heard(1e6)  # a later change puts nothing off
    assert trouble.next_try_s <= 150.0


def test_another_error_is_not_tried_sooner_because_the_source_changes() -> None:
    trouble = Trouble()
    trouble.meet(GuardTripped("the source is empty"), 0.0)
    meet_often(trouble, DiskError("it failed"), 6)
    due_s = trouble.next_try_s
    trouble.heard(0.1)
    assert trouble.next_try_s == due_s


def test_who_is_in_a_hurry_waits_no_more() -> None:
    trouble = Trouble()
    meet_often(trouble, DiskError("it failed"), 6)
    trouble.hurry()
    assert trouble.next_try_s is not None
    assert trouble.next_try_s <= 0.0


def test_where_nothing_is_wrong_nothing_is_tried_again_in_a_hurry() -> None:
    trouble = Trouble()
    trouble.hurry()
    assert trouble.next_try_s is None


def test_what_is_over_is_forgotten_but_for_the_books() -> None:
    trouble = Trouble()
    meet_often(trouble, RootError("the source is gone"), 6)
    trouble.over()
    assert (trouble.why, trouble.paused, trouble.next_try_s) == ("", False, None)
    trouble.over()
    assert (trouble.errors, trouble.last_error) == (1, "the source is gone")
    assert trouble.meet(DiskError("it failed"), 0.0) == (FIRST_S, True)
    trouble.over()
    trouble.meet(DiskError("it failed"), 9.0)
    assert trouble.errors == 3  # the same once more after all was well is news
