"""Rows and files are committed together whatever kills the process; the whole of it is in ``both``."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install 'atomsync[sqlalchemy]'")

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from atomsync.ext.sqlalchemy import Outcomes
from atomsync.store.prepared import PreparedUnit
from atomsync.unit.work import UnitOfWork
from tests.ext.conftest import Postgres, postgres, url
from tests.proof import both
from tests.proof.both import Place
from tests.proof.figures import Figures, Outcome, scaled

__all__ = ["postgres", "url"]


@pytest.fixture
def place(tmp_path: Path, url: str) -> Place:
    return Place(tmp_path, url).made()


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: Postgres) -> Place:
    return Place(tmp_path, postgres.database()).made()


def kind(place: Place) -> str:
    return place.url.partition(":")[0].partition("+")[0]


def test_a_kill_at_any_step_leaves_both_old_or_both_new(place: Place, figures: Figures) -> None:
    outcome = Outcome()
    both.kills(outcome, place, every=scaled(5, 1), around=scaled(6, 0))
    figures.add("both", f"kills {kind(place)}", outcome)
    assert {*outcome.counts} == {"old", "new"}


def test_a_kill_of_the_recovery_changes_nothing_in_that(place: Place, figures: Figures) -> None:
    outcome = Outcome()
    both.double_kills(outcome, place, before=scaled(1, 12), every=scaled(13, 1), inner=scaled(7, 3))
    figures.add("both", f"double kills {kind(place)}", outcome)
    assert {*outcome.counts} == {"old", "new"}


@pytest.mark.parametrize("lands", [True, False], ids=["lands", "is ended"])
def test_a_commit_still_under_way_when_recovery_asks_decides(
    on_postgres: Place, figures: Figures, lands: bool
) -> None:
    outcome = Outcome()
    for _ in range(scaled(1, 20)):
        both.under_way(outcome, on_postgres, lands=lands)
    figures.add("both", f"a commit under way {'lands' if lands else 'is ended'}", outcome)


def test_a_kill_at_any_system_call_leaves_both_old_or_both_new(tmp_path: Path, figures: Figures) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    outcome = Outcome()
    place = Place(tmp_path, f"sqlite:///{tmp_path}/rows.db").made()
    both.system_calls(outcome, place, every=scaled(11, 1))
    figures.add("both", "system calls sqlite", outcome)
    assert {*outcome.counts} == {"old", "new"}


# -- the proof itself


class FilesFirst(Outcomes):
    """The unit is committed before the session."""

    def _commit_both(self, session: Session, unit: UnitOfWork, *_: object) -> None:
        unit.commit()
        session.commit()


class RowsFirst(Outcomes):
    """The outcome is written down behind the session's commit, not with it."""

    def _commit_both(self, session: Session, unit: UnitOfWork, *_: object) -> None:
        token = uuid.uuid4().hex
        unit.prepare(coordinator=f"sqlalchemy:{self.name}:{token}")
        session.commit()
        with self.engine.begin() as connection:
            connection.execute(insert(self.table).values(token=token, committed=True, written_s=0))
        unit.commit()


class AsksNobody(Outcomes):
    """What the database says does not matter to recovery."""

    def resolver(self, prepared: PreparedUnit) -> bool | None:
        return False


class OnlyLooks(Outcomes):
    """A row that is not to be seen is taken for one that never will be."""

    def _decided(self, token: str) -> bool:
        with self.engine.connect() as connection:
            return bool(connection.execute(select(self.table).where(self.table.c.token == token)).all())


@pytest.mark.parametrize("mutant", [FilesFirst, RowsFirst, AsksNobody])
def test_an_order_that_is_wrong_is_noticed(tmp_path: Path, mutant: type[Outcomes]) -> None:
    outcome = Outcome(first=True)
    place = Place(tmp_path, f"sqlite:///{tmp_path}/rows.db").made()
    both.kills(outcome, place, every=1000, around=5, outcomes=mutant)
    assert outcome.counts["mixed"]


def test_a_resolver_that_only_looks_is_noticed(on_postgres: Place) -> None:
    outcome = Outcome()
    both.under_way(outcome, on_postgres, lands=True, outcomes=OnlyLooks)
    assert outcome.counts["mixed"]
