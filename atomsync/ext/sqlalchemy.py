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
import threading
import time
import uuid
from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from atomsync.errors import AtomSyncError, InDoubt, UsageError
from atomsync.store.prepared import PreparedUnit
from atomsync.tree.path import shown
from atomsync.unit.compensation import blame
from atomsync.unit.state import PREPARE, after
from atomsync.unit.store import Store
from atomsync.unit.work import UnitOfWork

_LATE_S = 86_400  # after that no commit of a dead process is on its way any more


class Outcomes:
    """The table in which a database says which units it committed.

    Give ``resolver`` to ``open_store``, in every program that opens the store. The database is to be durable:
    PostgreSQL with its defaults, SQLite with ``synchronous=EXTRA`` or, in WAL mode, ``FULL``. Threads may
    share it.

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
            Column("written_s", BigInteger, nullable=False),  # since the epoch
        )
        # Tokens of units that are visible: nobody asks for their rows any more.
        self._served: set[str] = set()
        self._stores: set[str] = set()  # those whose history was looked at for such tokens
        self._guard = threading.Lock()

    def create_table(self) -> None:
        """Make the table if it does not exist."""
        self.table.create(self.engine, checkfirst=True)

    @contextlib.contextmanager
    def together(self, session: Session, store: Store, *, message: str = "") -> Iterator[UnitOfWork]:
        """A unit that commits with ``session``: both at the end of the block, or neither. Neither may be
        ended inside it.

        Raises what either raises; both are rolled back then. Raises InDoubt if the database could not be
        asked whether it committed, or the files could not be made visible after it had: the unit rests, and
        the next recovery with this ``resolver`` ends it.
        """
        if store.prepared():
            store.recover()  # before the session holds what a resolver may want
        self._check(session, store)
        served = self._known_served(store)  # none that the session's snapshot may not have yet
        begun = session.get_transaction() or session.begin()
        try:
            with UnitOfWork(store, message=message) as unit:
                yield unit
                if session.get_transaction() is not begun:
                    why = "it was committed or rolled back inside the block"
                    raise UsageError("cannot commit this session together with files", why)
                session.flush()
                after(unit.state, PREPARE)
                self._commit_both(session, unit, served)
        except BaseException:
            with contextlib.suppress(SQLAlchemyError):  # whatever it says hides why
                session.rollback()
            raise

    def resolver(self, prepared: PreparedUnit) -> bool | None:
        """Whether the database committed this unit; None if that is not for it to say, or it is silent."""
        token = self._token(prepared.coordinator)
        try:
            return None if token is None else self._decided(token)
        except SQLAlchemyError:
            return None

    def tidy(self, store: Store) -> int:
        """Delete rows that nobody will ask for any more: of units that ``store`` has in its history, and of
        those rolled back more than a day ago. Returns how many."""
        tokens, table = self._tokens(store), self.table
        old = ~table.c.committed & (table.c.written_s < int(time.time()) - _LATE_S)
        with self.engine.begin() as connection:
            return connection.execute(delete(table).where(table.c.token.in_(tokens) | old)).rowcount

    def _known_served(self, store: Store) -> set[str]:
        """Tokens whose rows have served, to be deleted with a commit; at first those of earlier processes."""
        earlier = set() if store.path in self._stores else self._tokens(store)
        with self._guard:
            self._stores.add(store.path)
            self._served |= earlier
            return set(self._served)

    def _tokens(self, store: Store) -> set[str]:
        """Of the units in the history of ``store``."""
        return {token for name in store.coordinators() if (token := self._token(name)) is not None}

    def _commit_both(self, session: Session, unit: UnitOfWork, served: set[str]) -> None:
        token = uuid.uuid4().hex
        prepared = unit._prepare_if_pending(f"{self._prefix}{token}")
        if prepared is None:
            session.commit()
            return
        with self._guard:
            served &= self._served
            self._served -= served
        try:
            if served:
                session.execute(delete(self.table).where(self.table.c.token.in_(served)))
            session.execute(insert(self.table).values(_row(token, committed=True)))
            session.commit()
        except BaseException as error:
            with self._guard:
                self._served |= served
            if not self._did_commit(error, session, unit, prepared, token):
                with blame(error):
                    unit.rollback()
                raise
            self._make_visible(unit, prepared, token)
            if not isinstance(error, DBAPIError):  # else only the answer was lost
                error.add_note("Both the database and the files are committed.")
                raise
        else:
            self._make_visible(unit, prepared, token)

    def _make_visible(self, unit: UnitOfWork, prepared: PreparedUnit, token: str) -> None:
        try:
            unit.commit()
        except AtomSyncError as error:
            raise InDoubt(
                f"the database has committed, but the files of unit {prepared.id} are not visible yet",
                str(error),
                f"It rests in {shown(unit.store.path)}: its next recovery with this resolver makes them so.",
            ) from error
        with self._guard:
            self._served.add(token)

    def _did_commit(
        self, error: BaseException, session: Session, unit: UnitOfWork, prepared: PreparedUnit, token: str
    ) -> bool:
        """The commit raised ``error``, which leaves open whether it took place."""
        with contextlib.suppress(SQLAlchemyError):
            session.rollback()
        try:
            return self._decided(token)
        except SQLAlchemyError as unanswered:
            raise InDoubt(
                f"the database does not say whether it committed unit {prepared.id}",
                str(unanswered),
                f"It rests in {shown(unit.store.path)}: its next recovery with this resolver decides.",
            ) from error

    def _decided(self, token: str) -> bool:
        """Whether the unit is committed; if it is not by now, it never will be."""
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(self.table).values(_row(token, committed=False)))
            return False
        except IntegrityError:
            with self.engine.connect() as connection:
                ask = select(self.table.c.committed).where(self.table.c.token == token)
                return bool(connection.execute(ask).scalar_one())

    @property
    def _prefix(self) -> str:
        return f"sqlalchemy:{self.name}:"

    def _token(self, coordinator: str) -> str | None:
        return coordinator.removeprefix(self._prefix) if coordinator.startswith(self._prefix) else None

    def _check(self, session: Session, store: Store) -> None:
        """Whether the session's commit is one, in the database that the store's resolver asks."""
        what = f"cannot commit files in {shown(store.path)} together with this session"
        resolver = store.options.resolver
        if resolver is None:
            why = "the store has no resolver, and nobody could tell after a crash what was committed"
            raise UsageError(what, why, "Open it with open_store(..., resolver=outcomes.resolver).")
        asked = getattr(resolver, "__self__", self)
        if isinstance(asked, Outcomes) and (asked.engine.pool, asked.name) != (self.engine.pool, self.name):
            raise UsageError(what, "the store's resolver asks another database, or another table")
        bind = session.get_bind(clause=self.table)
        if isinstance(bind, Connection):
            why = "it is bound to a connection, whose own transaction may outlast the session's commit"
            raise UsageError(what, why, "Bind it to the engine.")
        if bind.pool is not self.engine.pool:
            why = "it would write the outcome to another engine than the one that is asked for it"
            raise UsageError(what, why, "Bind it to the engine that Outcomes was given.")
        if session.twophase:
            why = "it uses two-phase commits of the database, which hold what the resolver must ask for"
            raise UsageError(what, why, "Make it without twophase=True.")
        if _commits_by_itself(session.connection()):
            raise UsageError(what, "its connection commits each statement by itself (AUTOCOMMIT)")


def _commits_by_itself(connection: Connection) -> bool:
    """Whether it is in AUTOCOMMIT, which no server knows of: the driver does it."""
    detect = getattr(connection.dialect, "detect_autocommit_setting", None)  # since SQLAlchemy 2.0.43
    if detect is not None:
        return bool(detect(connection.connection.dbapi_connection))
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


def _row(token: str, *, committed: bool) -> dict[str, object]:
    return {"token": token, "committed": committed, "written_s": int(time.time())}
