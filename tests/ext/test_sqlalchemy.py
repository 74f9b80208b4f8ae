"""A session and a unit commit together or not at all, on SQLite and on PostgreSQL."""

# ruff: noqa: PT012 -- where an exception comes from is said by its type

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install 'atomsync[sqlalchemy]'")

from sqlalchemy import (
    Connection,
    Engine,
    ForeignKey,
    create_engine,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool, QueuePool

from atomsync import ANY, Store, UnitOfWork, open_store
from atomsync.errors import (
    AtomSyncError,
    HeldByPrepared,
    InDoubt,
    PendingRollback,
    RootError,
    StaleEntry,
    UnitStateError,
    UsageError,
)
from atomsync.ext.sqlalchemy import Outcomes
from atomsync.store.prepared import PreparedUnit
from atomsync.testing import HookedDisk, fail_at
from tests.ext.conftest import Postgres, Wire

Content = dict[str, str]
A_DAY_S = 86_400


class Base(DeclarativeBase):
    pass


class Page(Base):
    """A row for each file. ``parent`` is looked at only by the database's commit."""

    __tablename__ = "page"
    name: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str]
    parent: Mapped[str | None] = mapped_column(
        ForeignKey("page.name", deferrable=True, initially="DEFERRED"), default=None
    )


def engine_on(url: str, **options: Any) -> Engine:
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def settings(connection: Any, _: object) -> None:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = EXTRA")

    return engine


class World:
    """A database, a store, and what is in both as somebody else sees it."""

    def __init__(self, url: str, path: Path, **options: Any) -> None:
        self.url, self.path = url, path
        self.engine = engine_on(url, **options)
        self.outcomes = Outcomes(self.engine)
        self.store = self.opened()
        self.others = engine_on(url, poolclass=NullPool)

    def opened(self, **options: Any) -> Store:
        return open_store(self.path, **{"resolver": self.outcomes.resolver, "timeout": 5, **options})

    @contextlib.contextmanager
    def together(self, **options: Any) -> Iterator[tuple[Session, UnitOfWork]]:
        with Session(self.engine) as session, self.outcomes.together(session, self.store, **options) as unit:
            yield session, unit

    def put(self, **pages: str) -> None:
        with self.together() as (session, unit):
            save(session, unit, **pages)

    def rests(self, token: str, name: str = "resting", coordinator: str = "") -> PreparedUnit:
        """A unit whose process has gone, that would write a file of this name."""
        unit = UnitOfWork(self.store)
        unit.write(name, name)
        prepared = unit.prepare(coordinator=coordinator or f"sqlalchemy:atomsync_units:{token}")
        unit.close()
        return prepared

    def row(self, token: str, *, committed: bool = True, age_s: int = 0) -> Any:
        """The statement that says what became of a unit."""
        values = {"token": token, "committed": committed, "written_s": int(time.time()) - age_s}
        return insert(self.outcomes.table).values(values)

    def write_row(self, token: str, **options: Any) -> None:
        with self.others.begin() as connection:
            connection.execute(self.row(token, **options))

    # -- looking
    @property
    def rows(self) -> Content:
        with Session(self.others) as session:
            return {page.name: page.body for page in session.scalars(select(Page))}

    @property
    def files(self) -> Content:
        found = self.path.glob("*") if self.path.is_dir() else ()
        return {path.name: path.read_text() for path in found if path.name != ".atomsync"}

    @property
    def outcome_rows(self) -> dict[str, bool]:
        table = self.outcomes.table
        with self.others.connect() as connection:
            return {row.token: row.committed for row in connection.execute(select(table))}

    @property
    def both(self) -> Content:
        """What both hold, if they agree and nothing is left over."""
        assert self.rows == self.files
        assert self.store.prepared() == ()
        return self.rows


def save(session: Session, unit: UnitOfWork, **pages: str) -> None:
    """The same into both."""
    for name, body in pages.items():
        session.merge(Page(name=name, body=body))
        unit.write(name, body)


def made(world: World) -> World:
    Base.metadata.create_all(world.engine)
    world.outcomes.create_table()
    world.put(old="one")
    return world


@pytest.fixture
def world(url: str, tmp_path: Path) -> Iterator[World]:
    """Both hold ``old``."""
    world = made(World(url, tmp_path / "files"))
    yield world
    world.engine.dispose()


class Stop(Exception):
    """Of the program that uses all this."""


def raising(error: BaseException) -> Callable[..., None]:
    def listener(*_: object) -> None:
        raise error

    return listener


# -- both or neither


def test_rows_and_files_are_committed_together(world: World) -> None:
    with world.together(message="two pages") as (session, unit):
        save(session, unit, old="two", new="one")
        assert world.rows == world.files == {"old": "one"}
    assert world.both == {"old": "two", "new": "one"}


def test_a_block_that_raises_changes_neither(world: World) -> None:
    with pytest.raises(Stop), world.together() as (session, unit):
        save(session, unit, old="two", new="one")
        session.flush()
        unit.flush()
        raise Stop
    assert world.both == {"old": "one"}


def test_a_row_that_the_database_refuses_takes_the_files_with_it(world: World) -> None:
    with pytest.raises(IntegrityError), world.together() as (session, unit):
        session.add(Page(name="old", body="again"))
        unit.write("old", "again")
        unit.write("new", "one")
    assert world.both == {"old": "one"}


def test_a_row_that_the_database_refuses_is_refused_before_the_unit_is_sealed(world: World) -> None:
    told: list[UnitOfWork] = []
    world.store.listens_for("before_commit")(told.append)
    with pytest.raises(IntegrityError), world.together() as (session, unit):
        session.add(Page(name="old", body="again"))
        unit.write("old", "again")
    assert told == []


def test_a_session_that_failed_can_be_used_again(world: World) -> None:
    with Session(world.engine) as session:
        with pytest.raises(Stop), world.outcomes.together(session, world.store) as unit:
            save(session, unit, new="one")
            session.flush()
            raise Stop
        assert not session.in_transaction()
        with world.outcomes.together(session, world.store) as unit:
            save(session, unit, old="two")
    assert world.both == {"old": "two"}


def test_a_row_that_only_the_databases_commit_refuses_takes_the_files_with_it(world: World) -> None:
    with pytest.raises(IntegrityError), world.together() as (session, unit):
        session.add(Page(name="new", body="one", parent="nobody"))
        unit.write("new", "one")
    assert world.both == {"old": "one"}
    world.put(new="two")
    assert world.both == {"old": "one", "new": "two"}


def test_a_path_that_is_stale_takes_the_rows_with_it(world: World) -> None:
    with pytest.raises(StaleEntry), world.together() as (session, unit):
        unit.read("old")
        save(session, unit, old="two", new="one")
        session.flush()
        (world.path / "old").write_text("another's")
    assert world.rows == {"old": "one"}
    assert world.files == {"old": "another's"}
    assert world.store.prepared() == ()


def test_a_path_that_is_held_takes_the_rows_with_it(world: World) -> None:
    resting = world.rests("", "new", coordinator="somebody else")
    with pytest.raises(HeldByPrepared), world.together() as (session, unit):
        save(session, unit, new="one")
    assert world.rows == world.files == {"old": "one"}
    assert world.store.prepared() == (resting._replace(live=False),)


def test_a_listener_that_refuses_the_unit_takes_the_rows_with_it(world: World) -> None:
    world.store.listens_for("before_commit")(raising(Stop()))
    with pytest.raises(Stop), world.together() as (session, unit):
        save(session, unit, new="one")
    assert world.both == {"old": "one"}


def test_a_listener_that_refuses_the_session_takes_the_files_with_it(world: World) -> None:
    with pytest.raises(Stop), world.together() as (session, unit):
        event.listen(session, "before_commit", raising(Stop()))
        save(session, unit, new="one")
    assert world.both == {"old": "one"}


def test_a_disk_that_is_full_takes_the_rows_with_it(world: World) -> None:
    disk = HookedDisk()
    world.store.disk = disk
    with pytest.raises(AtomSyncError), world.together() as (session, unit):
        save(session, unit, new="one")
        disk.hook = fail_at(len(disk.log) + 3, errno.ENOSPC)
    disk.hook = None
    world.store.recover()
    assert world.both == {"old": "one"}


def test_with_nothing_pending_in_the_unit_the_session_is_committed(world: World) -> None:
    before = world.outcome_rows
    with world.together() as (session, _):
        session.add(Page(name="new", body="one"))
    assert world.rows == {"old": "one", "new": "one"}
    assert world.files == {"old": "one"}
    assert world.outcome_rows == before


def test_with_nothing_in_the_session_the_files_are_committed(world: World) -> None:
    with world.together() as (_, unit):
        unit.write("new", "one")
    assert world.rows == {"old": "one"}
    assert world.files == {"old": "one", "new": "one"}


def test_with_nothing_at_all_nothing_happens(world: World) -> None:
    before = world.outcome_rows
    with world.together():
        pass
    assert world.both == {"old": "one"}
    assert world.outcome_rows == before


def test_compensations_run_if_the_database_refuses_and_only_then(world: World) -> None:
    called: list[str] = []
    with pytest.raises(IntegrityError), world.together() as (session, unit):
        unit.on_rollback(called.append, "refused")
        save(session, unit, new="one")
        session.add(Page(name="child", body="one", parent="nobody"))
    with world.together() as (session, unit):
        unit.on_rollback(called.append, "committed")
        save(session, unit, new="one")
    assert called == ["refused"]


def test_savepoints_of_both_are_taken_back_and_the_rest_is_committed(world: World) -> None:
    with world.together() as (session, unit):
        save(session, unit, first="one")
        with pytest.raises(Stop), session.begin_nested(), unit.begin_nested():
            save(session, unit, old="never", second="never")
            session.flush()
            unit.flush()
            raise Stop
        with session.begin_nested(), unit.begin_nested():
            save(session, unit, third="one")
    assert world.both == {"old": "one", "first": "one", "third": "one"}


def test_a_session_with_a_savepoint_still_open_is_committed_as_a_whole(world: World) -> None:
    with world.together() as (session, unit):
        save(session, unit, first="one")
        session.begin_nested()
        unit.begin_nested()
        save(session, unit, second="one")
    assert world.both == {"old": "one", "first": "one", "second": "one"}


def test_what_the_session_did_before_the_block_goes_with_it(world: World) -> None:
    with Session(world.engine) as session:
        session.add(Page(name="new", body="one"))
        session.flush()
        with world.outcomes.together(session, world.store) as unit:
            unit.write("new", "one")
        session.add(Page(name="later", body="one"))
        session.commit()
    assert world.rows == {"old": "one", "new": "one", "later": "one"}
    assert world.files == {"old": "one", "new": "one"}


def test_threads_that_share_it_each_have_both(world: World) -> None:
    crowd(world)


def test_threads_do_not_get_in_each_others_way_where_that_is_an_error(
    postgres: Postgres, tmp_path: Path
) -> None:
    """To delete a row that another has deleted meanwhile fails there."""
    crowd(made(World(postgres.database(), tmp_path / "files", isolation_level="REPEATABLE READ")))


def crowd(world: World) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                world.put(**{f"page{number}": str(turn), f"page{number}-{turn}": "one"})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    pages = {f"page{number}": "2" for number in range(4)}
    versions = {f"page{number}-{turn}": "one" for number in range(4) for turn in range(3)}
    assert world.both == {"old": "one", **pages, **versions}
    world.put(last="one")
    assert len(world.outcome_rows) == 1


# -- a commit that raises


def test_what_raises_behind_the_databases_commit_is_told_and_both_are_committed(world: World) -> None:
    with pytest.raises(Stop) as raised, world.together() as (session, unit):
        event.listen(session, "after_commit", raising(Stop()))
        save(session, unit, new="one")
    assert world.both == {"old": "one", "new": "one"}
    assert raised.value.__notes__ == ["Both the database and the files are committed."]


def test_a_failed_compensation_does_not_hide_why_there_was_one(world: World) -> None:
    with pytest.raises(IntegrityError) as raised, world.together() as (session, unit):
        unit.on_rollback(raising(Stop("compensation")))
        save(session, unit, new="one")
        session.add(Page(name="child", body="one", parent="nobody"))
    assert "compensation" in raised.value.__notes__[0]


def test_a_listener_that_raises_does_not_hide_that_the_files_are_missing(world: World) -> None:
    world.store = world.opened(timeout=0)
    with contextlib.ExitStack() as locked, pytest.raises(InDoubt), world.together() as (session, unit):

        @event.listens_for(session, "after_commit")
        def lock(_: object) -> None:
            locked.enter_context(world.opened().session())
            raise Stop

        save(session, unit, new="one")


@pytest.fixture
def wired(postgres: Postgres, wire: Wire, tmp_path: Path) -> Iterator[World]:
    """On a PostgreSQL whose line can be cut; those who only look go another way."""
    url = postgres.database()
    world = World(url.replace(str(postgres.where), str(wire.where)), tmp_path / "files")
    world.others = engine_on(url, poolclass=NullPool)
    yield made(world)
    world.engine.dispose()


def mending(wire: Wire) -> Callable[..., None]:
    return lambda *_: wire.mend()


def test_a_connection_lost_before_the_commit_leaves_neither(wired: World, wire: Wire) -> None:
    with pytest.raises(DBAPIError), wired.together() as (session, unit):
        save(session, unit, new="one")
        wire.cut = "before"
        event.listen(session, "after_rollback", mending(wire))
    assert wired.both == {"old": "one"}


def test_a_connection_lost_with_the_answer_to_the_commit_leaves_both(wired: World, wire: Wire) -> None:
    with wired.together() as (session, unit):
        save(session, unit, new="one")
        wire.cut = "after"
        event.listen(session, "after_rollback", mending(wire))
    assert wired.both == {"old": "one", "new": "one"}


@pytest.mark.parametrize(
    ("cut", "then"),
    [("before", {"old": "one"}), ("after", {"old": "one", "new": "one"})],
    ids=["before the commit", "with its answer"],
)
def test_a_database_that_is_gone_leaves_the_unit_in_doubt_until_it_is_back(
    wired: World, wire: Wire, cut: str, then: Content
) -> None:
    with pytest.raises(InDoubt), wired.together() as (session, unit):
        save(session, unit, new="one")
        wire.cut = cut
    assert wired.files == {"old": "one"}
    assert wired.store.recover().settled == ()  # still nobody can say
    (resting,) = wired.store.prepared()
    wire.mend()
    (settled,) = wired.store.recover().settled
    assert settled == (resting.id, "new" in then)
    assert wired.both == then


@pytest.mark.parametrize("committed", [True, False])
def test_a_database_that_somebody_has_locked_leaves_the_unit_in_doubt(
    committed: bool, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/rows.db"
    world = made(World(url, tmp_path / "files", connect_args={"timeout": 0.05}))
    blocker = world.others.connect()

    def instead_of_the_commit(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.commit() if committed else driver.rollback()
        blocker.exec_driver_sql("BEGIN EXCLUSIVE")
        raise OperationalError("COMMIT", {}, Exception("the answer is lost"))

    with pytest.raises(InDoubt), world.together() as (session, unit):
        save(session, unit, new="one")
        event.listen(world.engine, "commit", instead_of_the_commit, once=True)
    assert world.files == {"old": "one"}
    assert world.store.recover().settled == ()
    blocker.close()
    (settled,) = world.store.recover().settled
    assert settled.committed is committed
    assert world.both == ({"old": "one", "new": "one"} if committed else {"old": "one"})


def test_a_store_that_is_locked_behind_the_databases_commit_is_in_doubt(world: World) -> None:
    world.store = world.opened(timeout=0)
    with contextlib.ExitStack() as locked:
        with pytest.raises(InDoubt, match="the database has committed"), world.together() as (session, unit):
            save(session, unit, new="one")
            other = world.opened().session()
            event.listen(session, "after_commit", lambda _: locked.enter_context(other) and None)
        assert world.rows == {"old": "one", "new": "one"}
        assert world.files == {"old": "one"}
    (settled,) = world.store.recover().settled
    assert settled.committed
    assert world.both == {"old": "one", "new": "one"}


def test_a_disk_that_fails_behind_the_databases_commit_is_in_doubt_wherever_it_fails(world: World) -> None:
    """At each verb of the unit's commit in turn, until failing does it no harm any more."""
    disk = HookedDisk()
    world.store.disk = disk
    in_doubt = True
    at = 0
    while in_doubt:

        def begin(_: object, at: int = at) -> None:
            disk.hook = fail_at(len(disk.log) + at, errno.EIO, sticky=True)

        try:
            with world.together() as (session, unit):
                save(session, unit, **{f"page{at}": "one"})
                event.listen(session, "after_commit", begin)
            in_doubt = False
        except InDoubt:
            assert f"page{at}" in world.rows
        disk.hook = None
        world.store.recover()
        assert world.both[f"page{at}"] == "one"
        at += 1
    assert at > 3


# -- recovery


@pytest.mark.parametrize("committed", [True, False])
def test_recovery_does_as_the_database_says(world: World, committed: bool) -> None:
    if committed:
        world.write_row("asked for")
    resting = world.rests("asked for", "new")
    assert world.files == {"old": "one"}
    assert world.store.recover().settled == ((resting.id, committed),)
    assert world.files == ({"old": "one", "new": "new"} if committed else {"old": "one"})
    assert world.store.prepared() == ()


def test_once_it_was_rolled_back_no_commit_can_come_any_more(world: World) -> None:
    world.rests("late")
    world.store.recover()
    with pytest.raises(IntegrityError):
        world.write_row("late")
    assert world.outcome_rows["late"] is False


def test_a_unit_rolled_back_by_one_recovery_is_so_for_the_next(world: World) -> None:
    resting = world.rests("asked twice")
    assert [world.outcomes.resolver(resting), world.outcomes.resolver(resting)] == [False, False]


def test_the_units_of_other_coordinators_are_left_alone(world: World) -> None:
    before = world.outcome_rows
    foreign = [
        world.rests("", f"file{number}", coordinator=name)
        for number, name in enumerate(["somebody", "sqlalchemy:", "sqlalchemy:another_table:token"])
    ]
    assert [world.outcomes.resolver(unit) for unit in foreign] == [None, None, None]
    assert world.store.recover().settled == ()
    assert len(world.store.prepared()) == 3
    assert world.outcome_rows == before


def test_a_database_without_the_table_leaves_the_unit_resting(world: World) -> None:
    resting = world.rests("asked")
    world.outcomes.table.drop(world.engine)
    assert world.outcomes.resolver(resting) is None
    assert world.store.recover().settled == ()
    assert len(world.store.prepared()) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_recovery_waits_for_a_commit_that_is_still_under_way(
    world: World, committed: bool, wait_until: Callable[..., Any]
) -> None:
    """The process is dead, its COMMIT is not: it has written the row, and nobody sees that yet."""
    world.rests("under way", "new")
    asked = threading.Event()
    event.listen(world.engine, "before_cursor_execute", lambda *_: asked.set())
    settled: list[Any] = []
    with world.others.connect() as dead:
        dead.execute(insert(Page).values(name="new", body="new"))
        dead.execute(world.row("under way"))
        recovery = threading.Thread(target=lambda: settled.extend(world.store.recover().settled))
        recovery.start()
        assert asked.wait(20)
        if world.engine.dialect.name == "postgresql":
            wait_until(lambda: waiting(world.others))
        assert settled == []
        assert recovery.is_alive()
        if committed:
            dead.commit()
        else:
            dead.rollback()
    recovery.join()
    assert [found.committed for found in settled] == [committed]
    assert world.both == ({"old": "one", "new": "new"} if committed else {"old": "one"})


def waiting(engine: Engine) -> int:
    """How many connections wait for a lock in PostgreSQL."""
    waits = "wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        return int(
            connection.execute(text(f"SELECT count(*) FROM pg_stat_activity WHERE {waits}")).scalar_one()
        )


# -- the table


def test_a_row_goes_with_the_next_unit_of_the_same_program(world: World) -> None:
    for number in range(5):
        world.put(old=str(number))
    assert [*world.outcome_rows.values()] == [True]


def test_a_row_of_an_earlier_program_goes_with_the_first_unit_of_the_next(world: World) -> None:
    for number in range(5):
        world.outcomes = Outcomes(world.engine)
        world.store = world.opened(keep=1)
        world.put(old=str(number))
    assert [*world.outcome_rows.values()] == [True]


def test_a_row_that_was_to_go_stays_until_a_commit_takes_it(world: World) -> None:
    before = world.outcome_rows
    with pytest.raises(IntegrityError), world.together() as (session, unit):
        save(session, unit, new="one")
        session.add(Page(name="child", body="one", parent="nobody"))
    assert before.items() <= world.outcome_rows.items()
    world.put(new="one")
    assert not before.keys() & world.outcome_rows.keys()


def test_tidying_takes_the_rows_nobody_will_ask_for(world: World) -> None:
    world.write_row("by recovery")
    world.rests("by recovery", "new")
    world.store.recover()
    world.write_row("rolled back long ago", committed=False, age_s=2 * A_DAY_S)
    assert len(world.outcome_rows) == 3
    assert world.outcomes.tidy(world.store) == 3
    assert world.outcome_rows == {}
    assert world.outcomes.tidy(world.store) == 0


def test_tidying_leaves_the_rows_that_somebody_may_ask_for(world: World) -> None:
    world.outcomes.tidy(world.store)
    world.write_row("rests")
    resting = world.rests("rests", "new")
    world.write_row("of another store", age_s=2 * A_DAY_S)
    world.write_row("rolled back just now", committed=False)
    before = world.outcome_rows
    assert len(before) == 3
    assert world.outcomes.tidy(world.store) == 0
    assert world.outcome_rows == before
    (settled,) = world.store.recover().settled
    assert settled == (resting.id, True)


def test_tidying_up_for_a_store_that_is_not_there_leaves_its_rows(world: World, tmp_path: Path) -> None:
    before = world.outcome_rows
    (tmp_path / "files").rename(tmp_path / "away")
    for _ in range(2):  # without the directory, and with an empty one, as a mount point is
        with contextlib.suppress(RootError):
            world.outcomes.tidy(world.store)
        (tmp_path / "files").mkdir(exist_ok=True)
    assert world.outcome_rows == before


def test_tidying_leaves_the_rows_of_another_machines_store_at_the_same_path(
    world: World, tmp_path: Path
) -> None:
    world.write_row("of machine A")
    world.rests("of machine A", "new")
    world.path.rename(tmp_path / "machine A")
    with world.store.begin() as unit:  # machine B has another store at that path, and the same database
        unit.write("other", "one")
    world.outcomes.tidy(world.store)
    world.path.rename(tmp_path / "machine B")
    (tmp_path / "machine A").rename(world.path)
    (settled,) = world.store.recover().settled
    assert settled.committed


def test_making_the_table_twice_and_naming_it_otherwise_is_fine(world: World) -> None:
    world.outcomes.create_table()
    named = Outcomes(world.engine, name="files_committed", metadata=Base.metadata)
    try:
        assert named.table in Base.metadata.sorted_tables
        named.create_table()
        store = world.opened(resolver=named.resolver)
        with Session(world.engine) as session, named.together(session, store) as unit:
            save(session, unit, new="one")
        with world.others.connect() as connection:
            assert connection.execute(select(func.count()).select_from(named.table)).scalar_one() == 1
    finally:
        Base.metadata.remove(named.table)
    assert world.both == {"old": "one", "new": "one"}


# -- refused


def test_a_store_without_a_resolver_is_refused(world: World) -> None:
    world.store = world.opened(resolver=None)
    with pytest.raises(UsageError, match="resolver"), world.together():
        pytest.fail("the block was entered")


def test_a_session_of_another_engine_is_refused(world: World, tmp_path: Path) -> None:
    other = create_engine(f"sqlite:///{tmp_path}/another.db")
    with (
        Session(other) as session,
        pytest.raises(UsageError, match="engine"),
        world.outcomes.together(session, world.store),
    ):
        pytest.fail("the block was entered")


def test_a_session_on_a_connection_is_refused_since_its_commit_is_not_the_databases(world: World) -> None:
    with (
        world.engine.connect() as connection,
        connection.begin(),
        Session(connection) as session,
        pytest.raises(UsageError, match="connection"),
        world.outcomes.together(session, world.store),
    ):
        pytest.fail("the block was entered")


def test_a_session_that_commits_each_statement_is_refused(world: World) -> None:
    by_itself = world.engine.execution_options(isolation_level="AUTOCOMMIT")
    with (
        Session(by_itself) as session,
        pytest.raises(UsageError, match="AUTOCOMMIT"),
        world.outcomes.together(session, world.store),
    ):
        pytest.fail("the block was entered")


def test_a_session_of_the_same_engine_with_other_options_is_taken(world: World) -> None:
    strict = world.engine.execution_options(isolation_level="SERIALIZABLE")
    with Session(strict) as session, world.outcomes.together(session, world.store) as unit:
        save(session, unit, new="one")
    assert world.both == {"old": "one", "new": "one"}


def test_a_store_whose_resolver_asks_another_database_is_refused(world: World, tmp_path: Path) -> None:
    other = Outcomes(create_engine(f"sqlite:///{tmp_path}/another.db"))
    for asked in (other, Outcomes(world.engine, name="another_table")):
        world.store = world.opened(resolver=asked.resolver)
        with pytest.raises(UsageError, match="another"), world.together():
            pytest.fail("the block was entered")


def test_a_resolver_that_asks_for_several_is_taken(world: World) -> None:
    world.store = world.opened(resolver=lambda prepared: world.outcomes.resolver(prepared))
    world.put(new="one")
    assert world.both == {"old": "one", "new": "one"}


# -- ended inside the block


def test_a_unit_that_was_rolled_back_inside_takes_the_rows_with_it(world: World) -> None:
    with pytest.raises(UnitStateError), world.together() as (session, unit):
        save(session, unit, new="one")
        unit.rollback()
    assert world.both == {"old": "one"}


def test_a_unit_that_was_committed_inside_does_not_commit_the_rows(world: World) -> None:
    with pytest.raises(UnitStateError), world.together() as (session, unit):
        save(session, unit, new="one")
        unit.commit()
    assert world.rows == {"old": "one"}


@pytest.mark.parametrize("end", [Session.commit, Session.rollback], ids=["committed", "rolled back"])
def test_a_session_that_was_ended_inside_takes_the_files_with_it(
    world: World, end: Callable[[Session], None]
) -> None:
    with pytest.raises(UsageError, match="inside the block"), world.together() as (session, unit):
        save(session, unit, new="one")
        end(session)
        session.add(Page(name="more", body="one"))
    assert world.files == {"old": "one"}
    assert "more" not in world.rows


def test_a_session_in_need_of_a_rollback_takes_the_files_with_it(world: World) -> None:
    with pytest.raises(PendingRollbackError), world.together() as (session, unit):
        save(session, unit, new="one")
        session.add(Page(name="old", body="again"))
        with contextlib.suppress(IntegrityError):
            session.flush()
    assert world.both == {"old": "one"}


def test_a_unit_in_need_of_a_rollback_takes_the_rows_with_it(world: World) -> None:
    world.store.listens_for("before_flush")(raising(Stop()))
    with pytest.raises(PendingRollback), world.together() as (session, unit):
        save(session, unit, new="one")
        with contextlib.suppress(Stop):
            unit.flush()
    assert world.both == {"old": "one"}


def test_a_listener_of_the_unit_is_heard_with_nothing_pending(world: World) -> None:
    @world.store.listens_for("before_commit")
    def more(unit: UnitOfWork) -> None:
        unit.write("new", "one")

    with world.together() as (session, _):
        session.add(Page(name="new", body="one"))
    assert world.both == {"old": "one", "new": "one"}


def test_a_unit_that_rests_is_decided_before_the_session_holds_the_database(world: World) -> None:
    """SQLite could not be asked any more once a row is written."""
    world.write_row("resting")
    world.rests("resting", "old")
    with world.together() as (session, unit):
        session.merge(Page(name="old", body="two"))
        session.flush()
        assert unit.read("old") == b"old"
        unit.write("old", "two")
    assert world.both == {"old": "two"}


def test_a_file_that_is_still_being_written_takes_the_rows_with_it(world: World) -> None:
    with pytest.raises(UsageError), world.together() as (session, unit):
        session.add(Page(name="new", body="one"))
        file = unit.open("new", "w")
        file.write("one")
    assert world.both == {"old": "one"}


def test_a_unit_with_nothing_left_to_do_lets_the_session_commit(world: World) -> None:
    with world.together() as (session, unit):
        session.execute(update(Page).values(body="two"))
        unit.mkdir("made", expected=ANY)
        (world.path / "made").mkdir()
    assert world.rows == {"old": "two"}


def test_a_store_may_stand_where_the_path_is_not_unicode(world: World, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    world.path = tmp_path / os.fsdecode(b"\xff") / "files"
    world.store = world.opened()
    world.put(new="one")
    assert world.files == {"new": "one"}


# -- who holds what while a unit is decided about


def small_pool(url: str, path: Path) -> World:
    """Of one connection, and who finds it taken fails at once."""
    return World(url, path, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1)


def test_a_pool_of_one_connection_is_enough_also_where_a_unit_rests(url: str, tmp_path: Path) -> None:
    world = made(small_pool(url, tmp_path / "files"))
    world.write_row("resting")
    world.rests("resting", "old")
    with world.together() as (session, unit):
        assert unit.read("old") == b"old"
        save(session, unit, old="two")
    assert world.both == {"old": "two"}
    world.engine.dispose()


def test_while_nothing_rests_a_block_begins_beside_who_has_the_store_locked(world: World) -> None:
    with world.store.session(), Session(world.engine) as session:
        opened = world.opened(timeout=0)
        together = world.outcomes.together(session, opened)
        with pytest.raises(Stop), together as unit:
            assert unit.read("old") == b"one"
            raise Stop
    assert world.both == {"old": "one"}


def test_a_session_that_commits_in_two_phases_is_refused(world: World) -> None:
    with (
        Session(world.engine, twophase=True) as session,
        pytest.raises(UsageError, match="twophase"),
        world.outcomes.together(session, world.store),
    ):
        pytest.fail("the block was entered")
    assert world.both == {"old": "one"}
