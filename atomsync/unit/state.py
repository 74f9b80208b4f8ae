"""The life of a unit as a table: which verb is allowed in which state, and where it leads."""

from __future__ import annotations

from atomsync.errors import PendingRollback, UnitStateError

PENDING, FAILED, PREPARED = "pending", "failed", "prepared"
COMMITTED, ROLLED_BACK = "committed", "rolled back"
STATES = PENDING, FAILED, PREPARED, COMMITTED, ROLLED_BACK

READ, CHANGE, FLUSH, NEST = "read", "change", "flush", "begin_nested"
PREPARE, COMMIT, ROLLBACK, CLOSE = "prepare", "commit", "rollback", "close"
VERBS = READ, CHANGE, FLUSH, NEST, PREPARE, COMMIT, ROLLBACK, CLOSE

# (state, verb) → the state after success. What is missing is refused.
LIFE = {
    (PENDING, READ): PENDING,
    (PENDING, CHANGE): PENDING,
    (PENDING, FLUSH): PENDING,
    (PENDING, NEST): PENDING,
    (PENDING, PREPARE): PREPARED,
    (PENDING, COMMIT): COMMITTED,
    (PENDING, ROLLBACK): ROLLED_BACK,
    (PENDING, CLOSE): ROLLED_BACK,
    (FAILED, ROLLBACK): ROLLED_BACK,
    (FAILED, CLOSE): ROLLED_BACK,
    (PREPARED, COMMIT): COMMITTED,
    (PREPARED, ROLLBACK): ROLLED_BACK,
    (PREPARED, CLOSE): PREPARED,  # it rests, and survives
    (COMMITTED, ROLLBACK): COMMITTED,  # as in SQLAlchemy: nothing is pending any more
    (COMMITTED, CLOSE): COMMITTED,
    (ROLLED_BACK, ROLLBACK): ROLLED_BACK,
    (ROLLED_BACK, CLOSE): ROLLED_BACK,
}


def after(state: str, verb: str) -> str:
    """The state that ``verb`` leads to; raises if ``state`` does not allow it."""
    try:
        return LIFE[state, verb]
    except KeyError:
        pass
    if state == FAILED:
        raise PendingRollback(
            f"cannot {verb} this unit of work",
            "a step of it failed",
            "Call rollback() first; of a savepoint, if the step failed inside one.",
        )
    hint = "Call commit() or rollback() on it." if state == PREPARED else "Begin a new unit of work."
    raise UnitStateError(f"cannot {verb} this unit of work", f"it is {state}", hint)


def drawn() -> str:
    """The table as Markdown, for the documents: a row for each state, a column for each verb."""
    rows = [["", *(f"`{verb}`" for verb in VERBS)], ["---"] * (1 + len(VERBS))]
    rows += [[f"**{state}**", *(LIFE.get((state, verb), "refused") for verb in VERBS)] for state in STATES]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
