"""The changes of a unit with grafts are a sequence like any other."""

from __future__ import annotations

import pytest

from atomsync.plan.change import Change
from atomsync.plan.changes import Changes
from atomsync.tree import graft as module
from tests.tree.entries import file, folder, graft


def test_they_are_asked_for_by_their_numbers_without_being_made_anew_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    real = module.unpacked
    monkeypatch.setattr(module, "unpacked", lambda records: made.append(1) or real(records))
    members = {f"{number:03}": file(number) for number in range(300)}
    changes = Changes([Change("d", None, folder())], {"d": graft("d", members)})
    assert [changes[number].path for number in range(len(changes))] == [
        "d",
        *(f"d/{name}" for name in members),
    ]
    assert [*reversed(changes)] == [*changes][::-1]
    assert changes.index(changes[-1]) == 300
    assert len(made) < 5
