"""A savepoint: a part of a unit that can be taken back by itself."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from atomsync.errors import UnitStateError
from atomsync.unit.compensation import blame

if TYPE_CHECKING:
    from atomsync.unit.work import UnitOfWork


class Savepoint:
    """What ``begin_nested`` gives. As a context manager it is kept on a clean exit, and taken back on an
    exception. It ends with its unit, or with the savepoint around it."""

    def __init__(self, unit: UnitOfWork, mark: int, compensations: int) -> None:
        self._unit, self.mark, self.compensations = unit, mark, compensations
        self.is_active = True

    def commit(self) -> None:
        """Hand what was done inside to whatever it is in. PendingRollback if a step inside failed."""
        self._check("commit")
        self._unit._release(self)

    def rollback(self) -> None:
        """Undo exactly what was done inside, also what was flushed. Raises CompensationFailed."""
        self._check("roll back")
        self._unit._roll_back_to(self)

    def __enter__(self) -> Savepoint:
        self._check("enter")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self.is_active:
            return
        if error is not None:
            with blame(error):
                self.rollback()
            return
        try:
            self.commit()
        except BaseException as failure:
            with blame(failure):
                self.rollback()
            raise

    def _check(self, verb: str) -> None:
        if not self.is_active:
            raise UnitStateError(f"cannot {verb} this savepoint", "it has ended", "Begin another.")
