"""Work is dealt out from two ends, and each portion is done once."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from atomsync.fs.second import Second
from atomsync.fs.sharing import InTurn, Portions, shared


def nothing() -> None:
    pass


def test_alone_everything_is_done_here_in_order() -> None:
    found = shared(Portions(range(5)), lambda n: n * n, pytest.fail, lambda: None, nothing)
    assert [*found] == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]


def test_of_two_portions_each_of_us_takes_one() -> None:
    second = Second()
    here: list[int] = []
    away: list[int] = []

    def ask(other: Second, portion: int) -> Any:
        away.append(portion)
        return other.ask("builtins:id")

    found = shared(Portions(range(2)), here.append, ask, lambda: second, nothing)
    assert sorted(portion for portion, _ in found) == [0, 1]
    assert (here, away) == ([0], [1])


def test_what_is_to_be_done_may_grow_as_it_is_done() -> None:
    heap, done = Portions([16]), []
    for portion, _ in shared(heap, lambda n: n, pytest.fail, lambda: None, nothing):
        done.append(portion)
        heap.extend([portion // 2] * 2 if portion > 1 else [])
    assert sorted(done) == [1] * 16 + [2] * 8 + [4] * 4 + [8] * 2 + [16]


def test_in_turn_each_takes_the_next() -> None:
    second = Second()
    heap = InTurn(iter(range(40)))
    found = [
        portion
        for portion, _ in shared(
            heap, lambda n: n, lambda other, n: other.ask("builtins:id"), lambda: second, nothing, ahead=5
        )
    ]
    second.close()
    assert sorted(found) == [*range(40)]
    assert heap.near() is None
    assert heap.far() is None
    assert found[0] == 0


def test_what_the_other_had_in_hand_when_it_died_is_done_once_more_and_all_else_once() -> None:
    second = Second()
    here: list[int] = []
    again: list[int] = []

    def ask(other: Second, portion: int) -> Any:
        task = other.ask("time:sleep", portion)  # no task of ours: it ends there, unanswered
        other.close()
        return task

    found = shared(Portions(range(9)), here.append, ask, lambda: second, nothing, again.append)
    assert sorted(portion for portion, _ in found) == [*range(9)]
    assert again == [8]
    assert here == [*range(8)]


def test_who_stops_in_the_midst_leaves_nobody_at_work() -> None:
    second = Second()
    stops = deque([False, False, True])

    def check() -> None:
        if stops.popleft():
            raise KeyboardInterrupt

    def ask(other: Second, portion: int) -> Any:
        return other.ask("time:sleep", portion)

    with pytest.raises(KeyboardInterrupt):
        for _ in shared(Portions(range(99)), lambda n: n, ask, lambda: second, check):
            pass
    assert not second.alive
