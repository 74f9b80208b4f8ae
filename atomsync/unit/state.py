"""The life of a unit as a table: which verb is allowed in which state, and where it leads."""

from __future__ import annotations

from atomsync.errors import PendingRollback, UnitStateError

PENDING, FAILED, COMMITTED, ROLLED_BACK = "pending", "failed", "committed", "rolled back"
CHANGE, FLUSH, COMMIT, ROLLBACK = "change", "flush", "commit", "rollback"

# (state, verb) → the state after success. What is missing is refused.
LIFE = {
    (PENDING, CHANGE): PENDING,
    (PENDING, FLUSH): PENDING,
    (PENDING, COMMIT): COMMITTED,
    (PENDING, ROLLBACK): ROLLED_BACK,
    (FAILED, ROLLBACK): ROLLED_BACK,
    (COMMITTED, ROLLBACK): COMMITTED,  # as in SQLAlchemy: nothing is pending any more
    (ROLLED_BACK, ROLLBACK): ROLLED_BACK,
}


def after(state: str, verb: str) -> str:
    """The state that ``verb`` leads to; raises if ``state`` does not allow it."""
    try:
        return LIFE[state, verb]
    except KeyError:
        pass
    if state == FAILED:
        raise PendingRollback(
            f"cannot {verb} this unit of work", "a step of it failed", "Call rollback() first."
        )
    raise UnitStateError(f"cannot {verb} this unit of work", f"it is {state}", "Begin a new UnitOfWork.")
