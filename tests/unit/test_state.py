"""The life of a unit, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from atomsync.errors import PendingRollback, UnitStateError
from atomsync.unit.state import LIFE, STATES, VERBS, after

# Written out once more, by hand: the table of the documents is drawn from the other.
ALLOWED = {
    "pending": {
        "read": "pending",
        "change": "pending",
        "flush": "pending",
        "begin_nested": "pending",
        "prepare": "prepared",
        "commit": "committed",
        "rollback": "rolled back",
        "close": "rolled back",
    },
    "failed": {"rollback": "rolled back", "close": "rolled back"},
    "prepared": {"commit": "committed", "rollback": "rolled back", "close": "prepared"},
    "committed": {"rollback": "committed", "close": "committed"},
    "rolled back": {"rollback": "rolled back", "close": "rolled back"},
}


@pytest.mark.parametrize(("state", "verb"), [*itertools.product(STATES, VERBS)])
def test_each_pair_leads_where_the_table_says_or_is_refused(state: str, verb: str) -> None:
    if verb in ALLOWED[state]:
        assert after(state, verb) == ALLOWED[state][verb]
        return
    with pytest.raises(UnitStateError) as refusal:
        after(state, verb)
    assert verb in refusal.value.what
    assert isinstance(refusal.value, PendingRollback) is (state == "failed")
    assert ("rollback" in refusal.value.hint) is (state in ("failed", "prepared"))


def test_the_table_holds_nothing_else() -> None:
    assert {(state, verb): to for state, verbs in ALLOWED.items() for verb, to in verbs.items()} == LIFE
