"""Rows and files committed together, by a process that is killed at each step of it.

A child runs ``Outcomes.together`` and counts its steps: every change to the disk, and in the database every
connection, statement and commit, before and after. At one of them it is killed, with SIGKILL. At the step
"COMMIT sent" PostgreSQL has the COMMIT, and goes on with it while its client is dead already. Then another
process recovers, perhaps to be killed in its turn, and what is there is judged:

B1 before recovery every path is complete, old or new
B2 afterwards rows and files are both old or both new: old if the COMMIT was not sent, new if it was answered
B3 they are both new from the moment ``together`` has returned, before any recovery
B4 nothing rests, nothing is left over, and a second recovery finds nothing to do

Rows and files hold the same: a row for every file, with its content.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from atomsync import Store, UnitOfWork, open_store
from atomsync.ext.sqlalchemy import Outcomes
from atomsync.store.recovery import CLEAN
from atomsync.testing import HookedDisk
from tests.proof import traced
from tests.proof.figures import Outcome
from tests.proof.judge import left_behind

Content = dict[str, str]
Work = Callable[["Member"], None]
OLD: Content = {"same": "same", "replaced": "old", "gone": "gone", "moved": "moved", "sub/touched": "old"}
NEW: Content = {
    "same": "same",
    "replaced": "new",
    "made/moved": "moved",
    "sub/touched": "new " * 20_000,
    "made/one": "one",
    "made/deep/two": "two",
}
COMMIT_SENT = "COMMIT sent"
OLD_ONLY, NEW_ONLY, BOTH = ("old",), ("new",), ("old", "new")
_NEVER = -1
_THROUGH, _FAILED = 42, 1
_PATIENCE_S = 20
_LOCK = 4711  # of the judge, for the trigger
_MINE = "application_name = :name"
_WAITING = f"""
CREATE OR REPLACE FUNCTION waiting() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_advisory_xact_lock_shared({_LOCK}); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER waiting AFTER INSERT OR UPDATE OR DELETE ON page
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION waiting();
"""


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "page"
    name: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str]


class Place:
    """A store and a database. ``made`` once, and put back to OLD before each trial."""

    def __init__(self, base: Path, url: str) -> None:
        self.base, self.url = base, url
        self.name = url.partition("application_name=")[2].partition("&")[0]
        self.files, self._template = base / "files", base / "template"

    def made(self) -> Place:
        with self.judging() as engine:
            Base.metadata.create_all(engine)
            Outcomes(engine).create_table()
        for path, body in OLD.items():
            (self._template / path).parent.mkdir(parents=True, exist_ok=True)
            (self._template / path).write_text(body)
        return self

    @contextlib.contextmanager
    def judging(self) -> Iterator[Engine]:
        """An engine that is nobody's but the judge's."""
        engine = create_engine(
            self.url.replace("application_name=", "application_name=judge_"), poolclass=NullPool
        )
        yield engine
        engine.dispose()

    def reset(self) -> None:
        shutil.rmtree(self.files, ignore_errors=True)
        shutil.copytree(self._template, self.files)
        with self.judging() as engine, engine.begin() as connection:
            connection.execute(delete(Outcomes(engine).table))
            connection.execute(delete(Page))
            connection.execute(insert(Page), [{"name": name, "body": body} for name, body in OLD.items()])

    def rest(self) -> None:
        """Wait until the database has done all that dead processes had asked it for."""
        if self.url.startswith("sqlite"):
            return
        ask = text(f"SELECT count(*) FROM pg_stat_activity WHERE {_MINE}")
        deadline = time.monotonic() + _PATIENCE_S
        with self.judging() as engine, engine.connect() as connection:
            looking = connection.execution_options(isolation_level="AUTOCOMMIT")
            while looking.execute(ask, {"name": self.name}).scalar_one():
                assert time.monotonic() < deadline, "the backends of dead processes do not end"
                time.sleep(0.001)

    def rows(self) -> Content:
        with self.judging() as engine, Session(engine) as session:
            return {page.name: page.body for page in session.scalars(select(Page))}

    def tree(self) -> Content:
        found = {}
        for directory, names, files in os.walk(self.files):
            if ".atomsync" in names:
                names.remove(".atomsync")
            for name in files:
                path = Path(directory, name)
                found[str(path.relative_to(self.files))] = path.read_text()
        return found


class Steps:
    """Counts, and ends the process before step ``at``; ``names`` are those it has got behind it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.names: list[str] = []

    def __call__(self, name: str, before: Callable[[], object] = lambda: None) -> None:
        """``before``: done if it is this step that the process ends at."""
        if len(self.names) == self.at:
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)


class Member:
    """A process at work on a place, each of whose steps is counted."""

    def __init__(self, place: Place, at: int, outcomes: type[Outcomes] = Outcomes) -> None:
        self.place, self.steps = place, Steps(at)
        self.engine = create_engine(place.url)
        self.outcomes = outcomes(self.engine)
        disk = HookedDisk(lambda _, verb, names: self.steps(f"{verb} {' '.join(names)}"))
        self.store: Store = open_store(place.files, disk=disk, resolver=self.outcomes.resolver)
        _count(self.engine, self.steps)

    def commit(self) -> None:
        with Session(self.engine) as session:
            event.listen(session, "after_commit", lambda _: self.steps("after the session's commit"))
            with self.outcomes.together(session, self.store) as unit:
                change(session, unit)

    def recover(self) -> None:
        self.store.recover()


def change(session: Session, unit: UnitOfWork) -> None:
    """From OLD to NEW, with a step of every kind in both."""
    unit.mkdir("made/deep", parents=True)
    for path in NEW.keys() - OLD.keys() - {"made/moved"}:
        session.add(Page(name=path, body=NEW[path]))
        unit.write(path, NEW[path])
    for path in ("replaced", "sub/touched"):
        page = session.get_one(Page, path)
        page.body = NEW[path]
        unit.write(path, NEW[path])
    session.delete(session.get_one(Page, "gone"))
    unit.remove("gone")
    session.get_one(Page, "moved").name = "made/moved"
    unit.move("moved", "made/moved")


def _count(engine: Engine, steps: Steps) -> None:
    def statement(when: str) -> Callable[..., None]:
        return lambda _, __, said, *___: steps(f"{when} {' '.join(said.split())[:40]}")

    def commit(connection: Connection) -> None:
        steps("before COMMIT")
        steps("COMMIT sent", before=lambda: _send_commit(connection))

    event.listen(engine, "connect", lambda *_: steps("connected"))
    event.listen(engine, "before_cursor_execute", statement("before"))
    event.listen(engine, "after_cursor_execute", statement("after"))
    event.listen(engine, "commit", commit)
    event.listen(engine, "rollback", lambda _: steps("before ROLLBACK"))
    event.listen(engine.pool, "checkin", lambda *_: steps("connection given back"))


def _send_commit(connection: Connection) -> None:
    """All that the client does for it; SQLite has no other side that could go on alone."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        driver.pgconn.send_query(b"COMMIT")
        while driver.pgconn.flush():
            pass


class Cut(NamedTuple):
    """How a process ended: ``returned``, what it had come through by then, () if it was killed before."""

    returned: tuple[str, ...] = ()


def killed(place: Place, work: Work, at: int, outcomes: type[Outcomes] = Outcomes) -> Cut:
    """``work`` in a process of its own, killed before step ``at``, or at once behind its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            member = Member(place, at, outcomes)
            work(member)
            os.write(writing, "\n".join(member.steps.names).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(_FAILED)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, f"exit status {status}, to be killed at step {at}: {said}"
    return Cut(tuple(said.splitlines()))


# -- layers


def kills(
    outcome: Outcome, place: Place, *, every: int, around: int = 0, outcomes: type[Outcomes] = Outcomes
) -> None:
    """Killed at every ``every``-th step, and at each of those ``around`` the database's commit."""
    place.reset()
    names = killed(place, Member.commit, _NEVER, outcomes).returned
    judge(outcome, place, Cut(names), NEW_ONLY, "behind its end", outcomes)
    commit = names.index(COMMIT_SENT)
    for at, name in enumerate(names):
        if at % every == 0 or abs(at - commit) <= around:
            place.reset()
            cut = killed(place, Member.commit, at, outcomes)
            judge(outcome, place, cut, _allowed(place, at - commit), f"killed at {at}: {name}", outcomes)
        if outcome.done:
            return


def double_kills(outcome: Outcome, place: Place, *, before: int, every: int, inner: int) -> None:
    """Killed from ``before`` steps before the database's commit on; then the recovery is killed at every
    ``inner``-th of its steps, and so is the recovery after that one."""
    place.reset()
    names = killed(place, Member.commit, _NEVER).returned
    commit = names.index(COMMIT_SENT)
    for at in range(commit - before, len(names), every):
        place.reset()
        killed(place, Member.commit, at)
        steps = killed(place, Member.recover, _NEVER).returned
        for inside in range(at % inner, len(steps), inner):
            place.reset()
            killed(place, Member.commit, at)
            killed(place, Member.recover, inside)
            killed(place, Member.recover, inside // 2)
            where = f"killed at {at}: {names[at]}, its recovery at {inside}: {steps[inside]}"
            judge(outcome, place, Cut(), _allowed(place, at - commit), where)


def under_way(outcome: Outcome, place: Place, *, lands: bool, outcomes: type[Outcomes] = Outcomes) -> None:
    """PostgreSQL has the COMMIT of a dead process, and takes its time: a trigger waits for a lock that the
    judge has. When recovery waits, or is done without, the commit ``lands``, or its backend is ended."""
    place.reset()
    at = killed(place, Member.commit, _NEVER, outcomes).returned.index(COMMIT_SENT)
    place.reset()
    name = {"name": place.name}
    with place.judging() as engine, engine.connect() as connection:
        holding = connection.execution_options(isolation_level="AUTOCOMMIT")
        holding.exec_driver_sql(_WAITING)
        holding.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
        killed(place, Member.commit, at, outcomes)
        recovery = os.fork()
        if recovery == 0:
            try:
                Member(place, _NEVER, outcomes).recover()
                os._exit(_THROUGH)
            finally:
                os._exit(_FAILED)
        asks = text(f"SELECT count(*) FROM pg_stat_activity WHERE {_MINE} AND wait_event = 'transactionid'")
        ended = status = 0
        deadline = time.monotonic() + _PATIENCE_S
        while not ended and not holding.execute(asks, name).scalar_one():
            ended, status = os.waitpid(recovery, os.WNOHANG)
            assert time.monotonic() < deadline, "recovery neither ends nor waits"
            time.sleep(0.001)
        if not lands:
            dead = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_MINE}"
            holding.execute(text(f"{dead} AND wait_event = 'advisory'"), name)
        holding.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")
        if not ended:
            _, status = os.waitpid(recovery, 0)
        place.rest()
        holding.exec_driver_sql("DROP TRIGGER waiting ON page")
    told = "lands" if lands else "is ended"
    assert os.waitstatus_to_exitcode(status) == _THROUGH
    judge(outcome, place, Cut(), NEW_ONLY if lands else OLD_ONLY, f"a commit under way {told}", outcomes)


def system_calls(outcome: Outcome, place: Place, *, every: int = 1) -> None:
    """The same, killed at each system call that changes something: of the store, and of SQLite."""
    words = ["tests.proof.both", str(place.base), place.url]
    log = place.base / "trace"
    place.reset()
    ended = traced.warm(words, log=log)
    assert ended.status == 0, ended.errors
    calls = [call for call in traced.calls(log) if call.name in traced.MUTATING]
    for call in calls[::every]:
        place.reset()
        options = ["-e", f"trace=getppid,{call.name}", *traced.inject(call, "signal=KILL")]
        status = traced.warm(words, *options).status
        where = f"killed at {call.name} {call.number}: {call.line[:100]}"
        if status == -signal.SIGKILL:
            judge(outcome, place, Cut(), BOTH, where)
        else:
            judge(outcome, place, Cut(("it came through",)), NEW_ONLY, where)
    assert outcome.counts["old"] + outcome.counts["new"] > 0.9 * len(calls[::every])


# -- the judge


def judge(
    outcome: Outcome,
    place: Place,
    cut: Cut,
    allowed: tuple[str, ...],
    where: str,
    outcomes: type[Outcomes] = Outcomes,
) -> None:
    """Recover what a dead process left, and look at both."""
    wrong = [f"B1: {said}" for said in _torn(place.tree())]
    if cut.returned:
        place.rest()
        if (found := _verdict(place)) != "new":
            wrong.append(f"B3: together had returned, and they are {found}")
    engine = create_engine(place.url, poolclass=NullPool)
    store = open_store(place.files, resolver=outcomes(engine).resolver)
    what = "refused"
    try:
        store.recover()
        place.rest()
        what = _verdict(place)
        if what not in allowed:
            wrong.append(f"B2: {what}, where only {allowed} may be: {place.rows()} {place.tree()}"[:300])
        if store.prepared():
            wrong.append(f"B4: {store.prepared()} rests")
        again = store.recover()
        if again.action != CLEAN or again.settled or _verdict(place) != what:
            wrong.append(f"B4: the second recovery found something to do: {again}")
        control = place.files / ".atomsync"
        littered = [name for name in ("pending", "prepared") if any((control / name).glob("*"))]
        wrong += [f"B4: {name}/ is not empty" for name in littered]
        wrong += [f"B4: {said}" for said in left_behind(place.files)]
    except Exception as error:
        wrong.append(f"recovery failed: {error!r}")
    outcome.judged(what, *[f"{said} ({where})" for said in wrong])


def _verdict(place: Place) -> str:
    rows, tree = place.rows(), place.tree()
    made = (place.files / "made").exists()
    if rows == tree == OLD and not made:
        return "old"
    return "new" if rows == tree == NEW and made else "mixed"


def _torn(tree: Content) -> list[str]:
    wrong = [
        f"{path} is neither old nor new"
        for path, body in tree.items()
        if body not in (OLD.get(path), NEW.get(path))
    ]
    return wrong + [f"{path} is missing" for path in OLD.keys() & NEW.keys() if path not in tree]


def _allowed(place: Place, behind: int) -> tuple[str, ...]:
    """By the number of steps behind the one at which the database has the COMMIT."""
    if behind == 0 and not place.url.startswith("sqlite"):
        return BOTH
    return NEW_ONLY if behind > 0 else OLD_ONLY


if __name__ == "__main__":
    Member(Place(Path(sys.argv[1]), sys.argv[2]), _NEVER).commit()
