"""When a batch is due, what it holds, and what it leaves behind: by a clock that only the tests turn."""

from __future__ import annotations

import pytest

from atomsync.watch.batching import Batch, Batcher, Limits
from atomsync.watch.hint import ENTRY, EVERYWHERE, NAMES, TREE, Hint
from atomsync.watch.moves import MOVES_MAX

# Binary fractions, so that sums of times are exact.
LIMITS = Limits(settle_s=0.125, max_wait_s=2.0)
SMALL = LIMITS._replace(fold_max=3, directories_max=4)


def batcher(limits: Limits = LIMITS) -> Batcher:
    return Batcher(limits)


def taken(source: Batcher, now_s: float, *, force: bool = False) -> Batch:
    batch = source.take(now_s, force=force)
    assert batch is not None
    return batch


def write(source: Batcher, path: str, now_s: float) -> None:
    """Somebody opened it and wrote, and did not close it yet."""
    source.add(Hint(path, writing=True), now_s)


def close(source: Batcher, path: str, now_s: float) -> None:
    source.add(Hint(path, writing=False), now_s)


def move(source: Batcher, old: str, new: str, now_s: float = 0.0, reach: int = ENTRY) -> None:
    """As a watcher tells it: by two hints."""
    source.add(Hint(old), now_s)
    source.add(Hint(new, reach, moved_from=old), now_s)


def all_moves(source: Batcher) -> dict[str, str]:
    return dict(taken(source, 1000.0, force=True).moves)


def keep_hot(source: Batcher, path: str, until_s: float) -> None:
    """Hints every 1/16 s from 0 on."""
    for sixteenth in range(int(until_s * 16) + 1):
        source.add(Hint(path), sixteenth / 16)


# -- the two clocks


def test_nothing_pending_is_never_due() -> None:
    source = batcher()
    assert source.due_s() is None
    assert source.oldest_s is None
    assert len(source) == 0
    assert source.take(5.0) is None
    assert source.take(5.0, force=True) is None


def test_a_batch_is_due_when_the_source_was_quiet_for_the_settle_time() -> None:
    source = batcher()
    source.add(Hint("a"), 1.0)
    assert source.due_s() == 1.125
    assert source.take(1.124) is None
    assert taken(source, 1.125) == Batch({"a": ENTRY}, frozenset(), {}, frozenset(), 1.0)
    assert len(source) == 0
    assert source.due_s() is None


def test_every_hint_starts_the_quiet_time_anew() -> None:
    source = batcher()
    source.add(Hint("a"), 1.0)
    source.add(Hint("b"), 1.0625)
    assert source.due_s() == 1.1875
    assert source.take(1.125) is None
    assert taken(source, 1.1875).looks == {"a": ENTRY, "b": ENTRY}


def test_a_source_that_is_never_quiet_gives_a_batch_when_its_oldest_hint_is_of_age() -> None:
    source = batcher()
    for sixteenth in range(32):
        source.add(Hint(f"f{sixteenth:02}"), sixteenth / 16)
    assert source.due_s() == 2.0
    assert source.take(1.9375) is None
    batch = taken(source, 2.0)
    assert len(batch.looks) == 31
    assert batch.held == {"f31"}
    assert batch.since_s == 0.0


def test_force_takes_everything_at_once_and_holds_nothing() -> None:
    source = batcher(LIMITS._replace(paths_max=2))
    write(source, "w", 1.0)
    for name in "abc":
        source.add(Hint(name), 1.0)
    batch = taken(source, 1.0, force=True)
    assert batch.looks == {"w": ENTRY, "a": ENTRY, "b": ENTRY, "c": ENTRY}
    assert batch.held == frozenset()
    assert len(source) == 0


def test_the_lag_counts_from_the_oldest_hint() -> None:
    source = batcher()
    source.add(Hint("a"), 1.0)
    source.add(Hint("b"), 2.0)
    source.add(Hint("a"), 3.0)
    assert source.oldest_s == 1.0
    assert len(source) == 2


# -- merging


def test_hints_at_one_path_become_one_look_with_the_longest_reach() -> None:
    source = batcher()
    for reach in (NAMES, TREE, ENTRY):
        source.add(Hint("d", reach), 1.0)
    assert taken(source, 2.0).looks == {"d": TREE}


def test_only_what_no_event_told_of_is_unannounced() -> None:
    source = batcher()
    source.add(Hint("a", announced=False), 1.0)
    source.add(Hint("b", announced=False), 1.0)
    source.add(Hint("b"), 1.0)
    source.add(Hint("c"), 1.0)
    source.add(Hint("c", announced=False), 1.0)
    assert taken(source, 2.0).unannounced == {"a"}


def test_a_tree_takes_in_all_that_is_below_it_and_nothing_beside_it() -> None:
    source = batcher()
    for path in ("d/x", "d/e/f", "d-x", "e"):
        source.add(Hint(path), 1.0)
    source.add(Hint("d", TREE), 1.0)
    assert taken(source, 2.0).looks == {"d": TREE, "d-x": ENTRY, "e": ENTRY}
    assert len(source) == 0


def test_a_look_everywhere_is_the_only_look_of_its_batch() -> None:
    source = batcher()
    source.add(Hint(""), 0.5)
    source.add(Hint("a"), 1.0)
    source.add(EVERYWHERE, 1.0)
    batch = taken(source, 2.0)
    assert batch.looks == {"": TREE}
    assert batch.since_s == 0.5


# -- holding back


def test_a_file_still_being_written_is_held_back_without_holding_back_the_rest() -> None:
    source = batcher()
    write(source, "big", 1.0)
    source.add(Hint("small"), 1.0)
    batch = taken(source, 1.125)
    assert batch.looks == {"small": ENTRY}
    assert batch.held == {"big"}
    assert source.held == ("big",)
    assert len(source) == 1


def test_a_file_that_was_closed_goes_when_it_rests() -> None:
    source = batcher()
    write(source, "f", 1.0)
    assert source.take(1.125) is None
    close(source, "f", 1.5)
    assert source.due_s() == 1.625
    assert taken(source, 1.625).looks == {"f": ENTRY}
    assert source.held == ()


def test_a_hint_that_does_not_tell_leaves_a_file_open_or_closed() -> None:
    source = batcher()
    write(source, "open", 1.0)
    close(source, "closed", 1.0)
    source.add(Hint("open"), 1.0)
    source.add(Hint("closed"), 1.0)
    batch = taken(source, 2.0)
    assert batch.looks == {"closed": ENTRY}
    assert batch.held == {"open"}


def test_a_file_opened_again_before_it_rests_is_held_again() -> None:
    source = batcher()
    write(source, "f", 1.0)
    close(source, "f", 1.0)
    write(source, "f", 1.0625)
    assert source.take(1.5) is None
    assert source.held == ("f",)


def test_a_file_never_closed_goes_when_max_wait_has_passed_twice() -> None:
    source = batcher()
    write(source, "f", 1.0)
    assert source.take(1.125) is None
    assert source.due_s() == 5.0
    assert source.take(4.9375) is None
    assert taken(source, 5.0).looks == {"f": ENTRY}


def test_a_file_never_at_rest_goes_when_max_wait_has_passed_twice() -> None:
    source = batcher()
    given = []
    for sixteenth in range(12 * 16):
        source.add(Hint("log"), sixteenth / 16)
        if source.take(sixteenth / 16) is not None:
            given.append(sixteenth / 16)
    assert given == [4.0, 8.0625]  # and anew from the first hint after that


def test_what_is_held_does_not_delay_the_quiet_time_of_others() -> None:
    source = batcher()
    keep_hot(source, "log", 2.0)
    assert source.take(2.0) is None
    source.add(Hint("saved"), 2.0)
    source.add(Hint("log"), 2.0625)
    source.add(Hint("log"), 2.125)
    batch = taken(source, 2.125)
    assert batch.looks == {"saved": ENTRY}
    assert batch.held == {"log"}


def test_what_is_released_does_not_tear_a_burst_that_is_not_yet_due() -> None:
    source = batcher()
    write(source, "big", 0.0)
    assert source.take(0.125) is None
    close(source, "big", 1.0)
    source.add(Hint("one"), 1.0)
    source.add(Hint("two"), 1.0625)
    batch = taken(source, 1.125)
    assert batch.looks == {"big": ENTRY}
    assert batch.held == {"two"}  # a look that met it must leave it alone too
    assert taken(source, 1.1875).looks == {"one": ENTRY, "two": ENTRY}


def test_all_that_is_held_for_a_moment_is_released_together() -> None:
    source = batcher()
    for sixteenth in range(33):
        source.add(Hint(f"f{sixteenth:02}"), sixteenth / 16)
    assert taken(source, 2.0).held == {"f31", "f32"}
    assert source.due_s() == 2.125
    assert taken(source, 2.125).looks == {"f31": ENTRY, "f32": ENTRY}


def test_below_a_held_directory_everything_is_held() -> None:
    source = batcher()
    source.add(Hint("d/e/f"), 0.0)
    source.add(Hint("other"), 0.0)
    keep_hot(source, "d", 2.0)
    batch = taken(source, 2.0)
    assert batch.looks == {"other": ENTRY}
    assert batch.held == {"d", "d/e/f"}
    assert source.due_s() == 2.125
    assert taken(source, 2.125).looks == {"d": ENTRY, "d/e/f": ENTRY}


def test_a_directory_with_something_held_in_it_is_not_held() -> None:
    source = batcher()
    source.add(Hint("d", TREE), 1.0)
    write(source, "d/w", 1.0)
    source.add(Hint("d/x"), 1.0)
    batch = taken(source, 1.125)
    assert batch.looks == {"d": TREE}
    assert batch.held == {"d/w"}
    assert len(source) == 1


def test_what_a_look_at_a_tree_left_out_is_made_up_for_with_all_below_it() -> None:
    source = batcher()
    source.add(EVERYWHERE, 0.0)
    keep_hot(source, "d", 2.0)
    batch = taken(source, 2.0)
    assert batch.looks == {"": TREE}
    assert batch.held == {"d"}
    assert source.oldest_s == 0.0
    assert taken(source, 2.125).looks == {"d": TREE}


def test_what_was_left_out_is_as_old_as_the_look_that_left_it_out() -> None:
    source = batcher()
    source.add(EVERYWHERE, 0.0)
    source.add(Hint("d"), 1.9375)
    assert taken(source, 2.0).held == {"d"}
    assert source.oldest_s == 0.0


@pytest.mark.parametrize("hot", [False, True])
def test_after_a_take_nothing_is_due_before_something_may_be_takeable(hot: bool) -> None:
    source = batcher()
    for now_s in (0.0, 1.0, 2.0):
        write(source, "w", now_s)
        source.add(Hint("d" if hot else "x"), now_s)
        source.add(Hint("d/x"), now_s)
        source.take(now_s)
        source.take(now_s + 0.0625)
        due_s = source.due_s()
        assert due_s is not None
        assert due_s > now_s + 0.0625


# -- many paths


def test_a_full_batch_is_due_as_soon_as_something_in_it_rests() -> None:
    source = batcher(LIMITS._replace(paths_max=3))
    source.add(Hint("a"), 0.0)
    source.add(Hint("b"), 0.0625)
    assert source.due_s() == 0.1875
    source.add(Hint("c"), 0.09375)
    assert source.due_s() == 0.125
    assert taken(source, 0.125).looks == {"a": ENTRY}


def test_a_batch_holds_no_more_looks_than_it_may_and_the_next_is_due_at_once() -> None:
    source = batcher(LIMITS._replace(paths_max=3))
    for path in ("z", "d/x", "c", "d", "b"):
        source.add(Hint(path), 0.0)
    assert taken(source, 1.0).looks == dict.fromkeys(("b", "c", "d"), ENTRY)
    assert source.held == ()
    due_s = source.due_s()
    assert due_s is not None
    assert due_s <= 1.0
    assert taken(source, 1.0).looks == dict.fromkeys(("d/x", "z"), ENTRY)


def test_what_a_full_batch_left_behind_does_not_wait_for_what_is_held() -> None:
    source = batcher(LIMITS._replace(paths_max=3))
    for path in ("a", "b", "c", "d"):
        source.add(Hint(path), 0.0)
    source.add(Hint("hot"), 0.25)
    assert taken(source, 0.25).looks == {"a": ENTRY, "b": ENTRY, "c": ENTRY}
    assert source.due_s() == 0.125
    assert taken(source, 0.25).looks == {"d": ENTRY}
    assert source.due_s() == 0.375


# -- folding


def test_many_names_in_a_directory_become_a_look_at_its_names() -> None:
    source = batcher(SMALL)
    for name in "abc":
        source.add(Hint(f"d/{name}", announced=False), 0.0)
    assert len(source) == 3
    source.add(Hint("d/d"), 0.0)
    assert len(source) == 1
    batch = taken(source, 1.0)
    assert batch.looks == {"d": NAMES}
    assert batch.unannounced == frozenset()


def test_many_names_of_which_one_reaches_further_become_a_look_at_the_tree() -> None:
    for deep in range(5):
        source = batcher(SMALL)
        for number in range(5):
            source.add(Hint(f"d/{number}", NAMES if number == deep else ENTRY), 0.0)
        assert taken(source, 1.0).looks == {"d": TREE}


def test_a_folded_directory_keeps_its_age_and_is_refreshed_by_what_comes() -> None:
    source = batcher(SMALL)
    for number in range(8):
        source.add(Hint(f"d/{number}"), number / 16)
    assert source.oldest_s == 0.0
    assert source.due_s() == 0.5625
    assert len(source) == 1
    for sixteenth in range(8, 33):
        source.add(Hint(f"d/{sixteenth}"), sixteenth / 16)
    assert source.take(2.0) is None
    assert source.held == ("d",)


def test_what_is_being_written_in_a_folded_directory_is_held() -> None:
    source = batcher(SMALL)
    write(source, "d/before", 0.0)
    for number in range(5):
        source.add(Hint(f"d/{number}"), 0.0)
    write(source, "d/after", 0.0)
    batch = taken(source, 0.125)
    assert batch.looks == {"d": NAMES}
    assert batch.held == {"d/before", "d/after"}
    close(source, "d/before", 0.5)
    assert taken(source, 0.625).looks == {"d/before": ENTRY}


def test_what_was_closed_in_a_folded_directory_is_folded_too() -> None:
    source = batcher(SMALL)
    for number in range(50):
        write(source, f"d/{number}", 0.0)
        close(source, f"d/{number}", 0.0)
    assert len(source) == 1
    assert taken(source, 0.125) == Batch({"d": NAMES}, frozenset(), {}, frozenset(), 0.0)


def test_of_a_folded_directory_no_more_than_a_bounded_number_is_remembered_as_being_written() -> None:
    source = batcher(SMALL)
    for number in range(50):
        write(source, f"d/{number}", 0.0)
    assert len(source) <= 1 + SMALL.fold_max
    assert taken(source, 0.125).looks == {"d": NAMES}


def test_after_a_folded_directory_was_taken_its_names_are_known_again() -> None:
    source = batcher(SMALL)
    for number in range(5):
        source.add(Hint(f"d/{number}"), 0.0)
    taken(source, 1.0)
    source.add(Hint("d/x"), 2.0)
    assert taken(source, 3.0).looks == {"d/x": ENTRY}


def test_the_names_in_the_root_fold_into_a_look_at_the_root() -> None:
    source = batcher(SMALL)
    source.add(Hint(""), 0.0)
    for number in range(5):
        source.add(Hint(str(number)), 0.0)
    assert taken(source, 1.0).looks == {"": NAMES}


def test_when_a_folded_directory_is_folded_into_its_parent_hints_in_it_still_count() -> None:
    source = batcher(SMALL._replace(directories_max=100))
    for number in range(4):
        source.add(Hint(f"p/d/{number}"), 0.0)
    for number in range(4):
        source.add(Hint(f"p/{number}"), 0.0)
    assert len(source) == 1
    source.add(Hint("p/d/late"), 1.9375)
    batch = taken(source, 2.0)
    assert batch.looks == {"p": TREE}
    assert batch.held == {"p/d/late"}
    assert taken(source, 2.0625).looks == {"p/d/late": TREE}


def test_too_many_directories_become_a_look_everywhere() -> None:
    source = batcher(SMALL)
    write(source, "d0/w", 0.0)
    for number in range(4):
        source.add(Hint(f"d{number}/f", announced=False), 0.0)
    assert len(source) == 5
    source.add(Hint("d4/f"), 0.0625)
    batch = taken(source, 0.1875)
    assert batch.looks == {"": TREE}
    assert batch.held == {"d0/w"}
    assert batch.since_s == 0.0


def test_a_look_everywhere_forgets_nothing_below_what_it_must_leave_alone() -> None:
    source = batcher(SMALL)
    write(source, "a", 0.0)
    source.add(Hint("a/x"), 0.0)  # it is a directory by now
    for number in range(4):
        source.add(Hint(f"d{number}/f"), 0.0)
    batch = taken(source, 0.125)
    assert "a" in batch.held
    assert taken(source, 1000.0, force=True).looks["a"] == TREE


def test_memory_is_bounded_whatever_is_hinted_at() -> None:
    limits = Limits(paths_max=50, fold_max=10, directories_max=20)
    source = batcher(limits)
    most = 0
    for number in range(5000):
        source.add(Hint(f"d{number % 19}/{number}"), 0.0)
        most = max(most, len(source))
    for number in range(5000):
        write(source, f"e{number % 37}/{number}", 0.0)
        most = max(most, len(source))
    assert most <= 2 * limits.paths_max + 2 * limits.directories_max
    assert taken(source, 1.0).looks == {"": TREE}


# -- put back


def test_what_is_put_back_keeps_its_age_and_is_due_at_once() -> None:
    source = batcher()
    source.add(Hint("a", announced=False), 1.0)
    source.add(Hint("d", TREE, moved_from="c"), 1.5)
    batch = taken(source, 2.0)
    source.put_back(batch, 9.0)
    assert source.oldest_s == 1.0
    due_s = source.due_s()
    assert due_s is not None
    assert due_s <= 9.0
    assert taken(source, 9.0) == batch


def test_what_is_put_back_does_not_make_its_path_rest_if_it_was_hinted_at_since() -> None:
    source = batcher()
    source.add(Hint("a"), 1.0)
    source.add(Hint("b"), 1.0)
    batch = taken(source, 1.5)
    source.add(Hint("a"), 2.0)
    source.put_back(batch, 2.0)
    assert source.take(2.0625) is None
    again = taken(source, 2.125)
    assert again.looks == {"a": ENTRY, "b": ENTRY}
    assert again.since_s == 1.0


def test_moves_put_back_come_before_those_heard_of_since() -> None:
    source = batcher()
    move(source, "a", "b")
    move(source, "d/x", "y")
    batch = taken(source, 1.0)
    move(source, "b", "c", 1.0)
    move(source, "y", "d/x", 1.0)
    source.put_back(batch, 1.0)
    assert all_moves(source) == {"c": "a"}


def test_a_directory_moved_since_carries_what_was_moved_into_it_before() -> None:
    source = batcher()
    move(source, "a", "d/x")
    batch = taken(source, 1.0)
    move(source, "d", "e", 1.0, TREE)
    source.put_back(batch, 1.0)
    assert all_moves(source) == {"e": "d", "e/x": "a"}


# -- hold


def test_what_a_look_found_changing_is_held_until_it_rests() -> None:
    source = batcher()
    source.hold(["f"], 1.0)
    assert source.held == ("f",)
    assert len(source) == 1
    assert source.due_s() == 1.125
    assert source.take(1.0625) is None
    assert taken(source, 1.125).looks == {"f": ENTRY}


def test_what_is_found_changing_for_ever_is_tried_about_every_two_max_waits() -> None:
    source = batcher()
    tried = []
    for sixteenth in range(13 * 16):
        source.add(Hint("f"), sixteenth / 16)
        batch = source.take(sixteenth / 16)
        if batch is not None:
            tried.append(sixteenth / 16)
            source.hold(batch.looks, sixteenth / 16)
    assert tried == [4.0, 8.0, 12.0]
    assert source.oldest_s == 0.0  # nothing of it was ever taken over


def test_holding_again_what_seemed_to_rest_does_not_prolong_its_patience() -> None:
    source = batcher()
    source.hold(["f"], 0.0)
    for quarter in range(1, 16):
        assert taken(source, quarter / 4).looks == {"f": ENTRY}
        source.hold(["f"], quarter / 4)
    source.add(Hint("f"), 3.9375)
    assert source.take(3.96875) is None
    assert taken(source, 4.0).looks == {"f": ENTRY}


def test_a_file_held_by_a_look_at_its_directory_is_left_out_of_the_next_one() -> None:
    source = batcher()
    source.hold(["d/f"], 1.0)
    source.add(Hint("d", TREE), 1.0)
    write(source, "d/f", 1.0)
    batch = taken(source, 1.125)
    assert batch.looks == {"d": TREE}
    assert batch.held == {"d/f"}


# -- moves


@pytest.mark.parametrize(
    ("steps", "composed"),
    [
        pytest.param([("a", "b")], {"b": "a"}, id="one"),
        pytest.param([("a", "b"), ("b", "c")], {"c": "a"}, id="a chain"),
        pytest.param([("a", "b"), ("b", "a")], {}, id="there and back"),
        pytest.param([("a", "t"), ("b", "a"), ("t", "b")], {"a": "b", "b": "a"}, id="a swap"),
        pytest.param([("a", "c"), ("b", "c")], {"c": "b"}, id="moved over another"),
        pytest.param([("f", "f~"), ("tmp", "f")], {"f~": "f", "f": "tmp"}, id="an editor's save"),
        pytest.param([("d/", "e/")], {"e": "d"}, id="a directory"),
        pytest.param([("d/", "e/"), ("e/x", "y")], {"e": "d", "y": "d/x"}, id="out of a moved directory"),
        pytest.param([("y", "d/x"), ("d/", "e/")], {"e": "d", "e/x": "y"}, id="into one moved later"),
        pytest.param([("d/", "e/"), ("e/", "f/")], {"f": "d"}, id="a chain of directories"),
        pytest.param([("y", "d/x"), ("d/", "e/"), ("e/x", "y")], {"e": "d"}, id="carried there and back"),
        pytest.param([("d/", "e/"), ("e/x", "e/y"), ("e/", "d/")], {"d/y": "d/x"}, id="renamed inside"),
        pytest.param([("d/", "p/q/"), ("p/", "r/")], {"r": "p", "r/q": "d"}, id="directories in each other"),
        pytest.param([("d/", "e/"), ("dd", "f")], {"e": "d", "f": "dd"}, id="a name that only begins alike"),
    ],
)
def test_moves_are_composed(steps: list[tuple[str, str]], composed: dict[str, str]) -> None:
    source = batcher()
    for old, new in steps:
        move(source, old.rstrip("/"), new.rstrip("/"), reach=TREE if new.endswith("/") else ENTRY)
    assert all_moves(source) == composed


def test_a_move_goes_with_the_look_that_sees_it() -> None:
    source = batcher()
    move(source, "a", "b", 0.0)
    move(source, "c", "w", 0.0)
    write(source, "w", 0.0)
    assert taken(source, 0.125).moves == {"b": "a"}
    close(source, "w", 1.0)
    assert taken(source, 2.0).moves == {"w": "c"}
    source.add(Hint("x"), 3.0)
    assert taken(source, 4.0).moves == {}


def test_a_move_goes_with_a_look_at_a_tree_around_it() -> None:
    source = batcher()
    move(source, "a", "d/e/b")
    source.add(Hint("d", TREE), 0.0)
    assert taken(source, 1.0).moves == {"d/e/b": "a"}


def test_a_move_out_of_a_directory_that_went_before_comes_from_where_that_went() -> None:
    source = batcher()
    move(source, "d/x", "w")
    write(source, "w", 0.0)
    move(source, "d", "e", 0.0, TREE)
    assert taken(source, 0.125).moves == {"e": "d"}
    assert all_moves(source) == {"w": "e/x"}


def test_more_moves_than_are_remembered_are_forgotten_but_not_their_looks() -> None:
    source = batcher(Limits(paths_max=10 * MOVES_MAX, fold_max=10 * MOVES_MAX))
    for number in range(MOVES_MAX + 10):
        move(source, f"a{number}", f"b{number}")
    batch = taken(source, 1.0)
    assert len(batch.moves) == MOVES_MAX
    assert len(batch.looks) == 2 * (MOVES_MAX + 10)


@pytest.mark.parametrize("path", ["a", "d/a"])
def test_a_file_moved_while_it_is_written_is_held_under_its_new_name(path: str) -> None:
    source = batcher()
    write(source, path, 0.0)
    if path == "a":
        move(source, "a", "b", 0.0)
    else:
        move(source, "d", "e", 0.0, TREE)
    batch = taken(source, 0.125)
    assert batch.held == {"b" if path == "a" else "e/a"}
    assert batch.looks == ({"a": ENTRY} if path == "a" else {"d": ENTRY, "e": TREE, "d/a": ENTRY})


def test_a_file_closed_before_it_was_moved_is_not_held() -> None:
    source = batcher()
    write(source, "tmp", 0.0)
    source.add(Hint("f", moved_from="tmp", writing=False), 0.0)
    assert taken(source, 0.125) == Batch(
        dict.fromkeys(("tmp", "f"), ENTRY), frozenset(), {"f": "tmp"}, frozenset(), 0.0
    )


def test_no_move_outlives_the_looks() -> None:
    source = batcher()
    move(source, "y", "d/s/x")
    move(source, "d", "e", 0.0, NAMES)  # less than a watcher should say
    assert taken(source, 1.0).moves == {"e": "d", "e/s/x": "y"}
    source.add(EVERYWHERE, 2.0)
    assert taken(source, 3.0).moves == {}


def test_what_was_moved_away_from_removed_paths_is_found() -> None:
    source = batcher()
    move(source, "a", "b")
    move(source, "d", "e", 0.0, TREE)
    move(source, "p/q/f", "g")

    def found(*paths: str) -> dict[str, int]:
        return source.pending_from(paths)

    assert found("a") == {"b": ENTRY}
    assert found("d") == {"e": TREE}
    assert found("d/sub/file") == {"e": TREE}  # something above it was moved
    assert found("p") == {"g": ENTRY}  # something below it was moved
    assert found("a", "p/q") == {"b": ENTRY, "g": ENTRY}
    assert found("b", "dd", "p/q/other") == {}
    assert found() == {}


def test_what_was_moved_into_a_folded_directory_is_found_by_the_look_at_it() -> None:
    source = batcher(SMALL)
    for number in range(6):
        source.add(Hint(f"n/{number}", moved_from=f"o/{number}"), 0.0)
    assert source.pending_from(["o/3"]) == {"n": NAMES}


def test_what_was_moved_and_taken_is_not_pending() -> None:
    source = batcher()
    move(source, "a", "b")
    taken(source, 1.0)
    assert source.pending_from(["a"]) == {}


# -- one who saves again and again


def test_patience_does_not_end_in_the_midst_of_a_short_save() -> None:
    source = batcher(Limits(settle_s=1, max_wait_s=4))
    now = 0.0
    while now < 7.5:  # every save is short and closed, and the next follows before it rests
        write(source, "log", now)
        close(source, "log", now + 0.5)
        source.take(now + 0.5)
        now += 0.75
    write(source, "log", now)
    assert source.take(8.25) is None
    close(source, "log", 8.5)
    assert taken(source, 8.5).looks == {"log": ENTRY}


def test_one_who_never_closes_is_waited_for_from_when_he_began() -> None:
    source = batcher(Limits(settle_s=1, max_wait_s=4))
    source.add(Hint("log"), 0.0)
    write(source, "log", 0.5)
    source.take(1.5)
    assert source.take(8.25) is None
    assert taken(source, 8.5).looks == {"log": ENTRY}


def test_what_is_taken_at_the_end_of_its_patience_is_known_by_that() -> None:
    source = batcher(Limits(settle_s=1, max_wait_s=4))
    write(source, "log", 0.0)
    source.add(Hint("rests"), 0.0)
    assert taken(source, 4.0).impatient == frozenset()
    assert source.is_written("log")
    assert taken(source, 8.0).impatient == {"log"}
    assert not source.is_written("log")


def test_what_was_closed_when_its_patience_ended_may_be_written_to_again_before_the_look() -> None:
    source = batcher(Limits(settle_s=1, max_wait_s=4))
    keep_hot(source, "doc", 7.75)
    assert source.take(7.875) is None
    write(source, "doc", 7.9)
    close(source, "doc", 8.0)
    assert taken(source, 8.0).impatient == frozenset()
    write(source, "doc", 8.1)
    assert source.is_written("doc")


def test_of_what_was_saved_since_it_was_taken_something_is_pending() -> None:
    source = batcher(Limits(settle_s=1, max_wait_s=4, fold_max=3))
    write(source, "a/doc", 0.0)
    close(source, "a/doc", 0.0)
    assert source.is_stirred("a/doc")
    taken(source, 1.0)
    assert not source.is_stirred("a/doc")
    write(source, "a/doc", 2.0)
    close(source, "a/doc", 2.0)
    assert (source.is_stirred("a/doc"), source.is_stirred("a/other")) == (True, False)
    for number in range(4):  # more names than are kept one by one
        source.add(Hint(f"a/{number}"), 2.0)
    assert (source.is_stirred("a/doc"), source.is_stirred("b/doc")) == (True, False)


def test_what_is_wanted_at_once_waits_for_nothing_and_takes_nothing_along() -> None:
    source = batcher()
    write(source, "a/open", 0.0)
    source.add_at_once(EVERYWHERE, 0.0)
    assert source.due_s() is not None
    batch = taken(source, 0.0)
    assert (batch.looks, batch.held, batch.since_s) == ({"": TREE}, {"a/open"}, 0.0)


# -- what an event told of


@pytest.mark.parametrize(
    ("hint", "announced"),
    [
        (Hint("a/b"), True),
        (Hint("a/b/c"), True),
        (Hint("a", NAMES), True),
        (Hint("", TREE), True),
        (Hint("a"), True),  # it may be gone, with all that was in it
        (Hint("a/bc"), False),
        (Hint("a/b", announced=False), False),
    ],
)
def test_a_path_is_announced_by_itself_by_what_is_below_and_by_what_takes_it_along(
    hint: Hint, announced: bool
) -> None:
    source = Batcher(Limits())
    source.add(hint, 0.0)
    assert source.is_announced("a/b") is announced
