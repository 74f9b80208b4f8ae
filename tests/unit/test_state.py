"""The life of a unit, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from atomsync.errors import PendingRollback, UnitStateError
from atomsync.unit.state import (
    CHANGE,
    COMMIT,
    COMMITTED,
    FAILED,
    FLUSH,
    LIFE,
    PENDING,
    ROLLBACK,
    ROLLED_BACK,
    after,
)

STATES = PENDING, FAILED, COMMITTED, ROLLED_BACK
VERBS = CHANGE, FLUSH, COMMIT, ROLLBACK
ALLOWED = {
    (PENDING, CHANGE): PENDING,
    (PENDING, FLUSH): PENDING,
    (PENDING, COMMIT): COMMITTED,
    (PENDING, ROLLBACK): ROLLED_BACK,
    (FAILED, ROLLBACK): ROLLED_BACK,
    (COMMITTED, ROLLBACK): COMMITTED,
    (ROLLED_BACK, ROLLBACK): ROLLED_BACK,
}


@pytest.mark.parametrize(("state", "verb"), [*itertools.product(STATES, VERBS)])
def test_each_pair_leads_where_the_table_says_or_is_refused(state: str, verb: str) -> None:
    if (state, verb) in ALLOWED:
        assert after(state, verb) == ALLOWED[state, verb]
        return
    with pytest.raises(UnitStateError) as refusal:
        after(state, verb)
    assert verb in refusal.value.what
    assert isinstance(refusal.value, PendingRollback) is (state == FAILED)
    assert ("rollback" in refusal.value.hint) is (state == FAILED)


def test_the_table_holds_nothing_else() -> None:
    assert LIFE == ALLOWED
