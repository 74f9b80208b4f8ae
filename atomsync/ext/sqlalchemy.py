"""Files and a database, committed together, whatever crashes (``pip install 'atomsync[sqlalchemy]'``).

The database decides. The unit is prepared first: all it needs is durable, nothing is visible. Then a row
that says "committed" goes into the database, in the very transaction of the session; so that
transaction's commit is the commit of both. Then the unit's files become visible. Whoever recovers the store
after a crash asks for the row.

That the row is missing is not yet an answer: the commit of a process that died may still be under way in the
database. So whoever asks writes down "rolled back" in its place. The key lets only one of the two in: either
the commit is first, or it can no longer happen.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator

from sqlalchemy import BigInteger, Boolean, Column, Engine, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from atomsync.errors import AtomSyncError, InDoubt, RootError, UsageError
from atomsync.store.prepared import PreparedUnit
from atomsync.tree.path import shown
from atomsync.unit.store import Store
from atomsync.unit.work import UnitOfWork

_ANY_STORE = ""  # in a row of the resolver, who is not told which store it is
_LATE_S = 86_400  # after that no commit of a dead process is on its way any more


class Outcomes:
    """The table in which a database says which units it committed.

    Give ``resolver`` to ``open_store``, in every program that opens the store. The database is to be durable
    (SQLite's ``synchronous`` not OFF, PostgreSQL's ``synchronous_commit`` not off). Threads may share this.

    >>> outcomes = Outcomes(engine)                                        # doctest: +SKIP
    ... outcomes.create_table()
    ... store = open_store("media", resolver=outcomes.resolver)
    ... with Session(engine) as session, outcomes.together(session, store) as unit:
    ...     session.add(Photo(name="a.jpg"))
    ...     unit.write("a.jpg", data)
    """

    def __init__(
        self, engine: Engine, *, name: str = "atomsync_units", metadata: MetaData | None = None
    ) -> None:
        """``name``: of the table, and of the coordinator in prepared units: the same in all programs.
        ``metadata``: where the table is to belong, for a migration tool to see it."""
        self.engine, self.name = engine, name
        self.table = Table(
            name,
            MetaData() if metadata is None else metadata,
            Column("token", String(32), primary_key=True),
            Column("committed", Boolean, nullable=False),
            Column("store", String(4096), nullable=False),
            Column("written_s", BigInteger, nullable=False),  # since the epoch
        )
        self._done: set[str] = set()  # tokens whose units are visible: their rows have served

    def create_table(self) -> None:
        """Make the table if it does not exist."""
        self.table.create(self.engine, checkfirst=True)

    @contextlib.contextmanager
    def together(self, session: Session, store: Store, *, message: str = "") -> Iterator[UnitOfWork]:
        """A unit that commits with ``session``: both at the end of the block, or neither.

        Raises what either raises; both are rolled back then. Raises InDoubt if the database could not be
        asked whether it committed, or the files could not be made visible after it had: the unit rests, and
        the next recovery with this ``resolver`` ends it.
        """
        self._check(session, store)
        try:
            with UnitOfWork(store, message=message) as unit:
                yield unit
                session.flush()
                if unit.new or unit.dirty or unit.removed:
                    self._commit_both(session, unit)
                else:
                    session.commit()
        except BaseException:
            session.rollback()
            raise

    def resolver(self, prepared: PreparedUnit) -> bool | None:
        """Whether the database committed this unit; None if that is not for it to say, or it is silent."""
        token = self._token(prepared)
        try:
            return None if token is None else self._decided(token, _ANY_STORE)
        except SQLAlchemyError:
            return None

    def tidy(self, store: Store) -> int:
        """Delete the rows of ``store`` nobody will ask for any more; returns how many. Raises RootError if
        the store is not there to be looked at."""
        if not store.status().exists:
            raise RootError(f"cannot tidy up for {shown(store.path)}", "it has no store", "Is it mounted?")
        where = os.path.realpath(store.path)
        late = int(time.time()) - _LATE_S
        table = self.table
        with self.engine.begin() as connection:
            mine = select(table.c.token, table.c.committed, table.c.written_s).where(
                table.c.store.in_([where, _ANY_STORE])
            )
            rows = connection.execute(mine).all()
        # Looked at after the rows: a unit with a row that rests no more has become visible.
        resting = {self._token(prepared) for prepared in store.prepared()}
        gone = [
            token
            for token, committed, written_s in rows
            if token not in resting and (committed or written_s < late)
        ]
        if gone:
            with self.engine.begin() as connection:
                connection.execute(delete(table).where(table.c.token.in_(gone)))
        return len(gone)

    def _commit_both(self, session: Session, unit: UnitOfWork) -> None:
        token = uuid.uuid4().hex
        prepared = unit.prepare(coordinator=f"{self._prefix}{token}")
        served = set(self._done)
        try:
            if served:
                session.execute(delete(self.table).where(self.table.c.token.in_(served)))
            row = self._row(token, committed=True, store=os.path.realpath(unit.store.path))
            session.execute(insert(self.table).values(row))
            session.commit()
        except BaseException as error:
            if not self._did_commit_after(error, session, unit, prepared, token):
                raise
        try:
            unit.commit()
        except AtomSyncError as error:
            raise InDoubt(
                f"the database has committed, but the files of unit {prepared.id} are not visible yet",
                str(error),
                f"It rests in {shown(unit.store.path)}: its next recovery with this resolver makes them so.",
            ) from error
        self._done = (self._done - served) | {token}

    def _did_commit_after(
        self, error: BaseException, session: Session, unit: UnitOfWork, prepared: PreparedUnit, token: str
    ) -> bool:
        """The commit raised, which leaves open whether it took place. True if it did, and only the answer
        was lost; False if the caller is to raise ``error``: the unit has been ended as the database has."""
        with contextlib.suppress(SQLAlchemyError):
            session.rollback()
        try:
            committed = self._decided(token, os.path.realpath(unit.store.path))
        except SQLAlchemyError as unanswered:
            raise InDoubt(
                f"the database does not say whether it committed unit {prepared.id}",
                str(unanswered),
                f"It rests in {shown(unit.store.path)}: its next recovery with this resolver decides.",
            ) from error
        if not committed:
            unit.rollback()
            return False
        if isinstance(error, DBAPIError):
            return True
        unit.commit()
        error.add_note("Both the database and the files are committed.")
        return False

    def _decided(self, token: str, store: str) -> bool:
        """Whether the unit is committed; if it is not by now, it never will be."""
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(self.table).values(self._row(token, committed=False, store=store)))
            return False
        except IntegrityError:
            with self.engine.connect() as connection:
                ask = select(self.table.c.committed).where(self.table.c.token == token)
                return bool(connection.execute(ask).scalar_one())

    def _row(self, token: str, *, committed: bool, store: str) -> dict[str, object]:
        return {
            "token": token,
            "committed": committed,
            "store": store,
            "written_s": int(time.time()),
        }

    @property
    def _prefix(self) -> str:
        return f"sqlalchemy:{self.name}:"

    def _token(self, prepared: PreparedUnit) -> str | None:
        prefix = self._prefix
        return prepared.coordinator.removeprefix(prefix) if prepared.coordinator.startswith(prefix) else None

    def _check(self, session: Session, store: Store) -> None:
        if store.options.resolver is None:
            raise UsageError(
                f"cannot commit files in {shown(store.path)} together with a database",
                "the store has no resolver, and nobody could tell after a crash what was committed",
                "Open it with open_store(..., resolver=outcomes.resolver).",
            )
        bind = session.get_bind(clause=self.table)
        if bind.engine is not self.engine:
            raise UsageError(
                "cannot commit this session together with files",
                "it would write the outcome to another engine than the one that is asked for it",
                "Bind the session to the engine that Outcomes was given.",
            )
