"""What the command tells and does about prepared units, which only programs can make."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from atomsync.store.prepared import PreparedUnit
from atomsync.unit.store import open_store
from atomsync.unit.work import UnitOfWork

LEDGER = "the ledger"
UNKNOWN = "20260101-000000-000"


@pytest.fixture
def src(tmp_path: Path, plant: Any) -> Path:
    return plant(tmp_path / "src", {"a": b"new a", "b": b"b"})


@pytest.fixture
def dst(tmp_path: Path, plant: Any) -> Path:
    return plant(tmp_path / "dst", {"a": b"old", "b": b"b"})


def prepared(dst: Path, coordinator: str = LEDGER, **contents: bytes) -> PreparedUnit:
    """A unit that rests; nobody holds it any more."""
    unit = UnitOfWork(open_store(dst))
    for name, data in (contents or {"a": b"prepared"}).items():
        unit.write(name, data)
    found = unit.prepare(coordinator)
    unit.close()
    return found


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one object on the output."""
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["schema"] == 1
    return found


def resting(dst: Path) -> list[str]:
    return [unit.id for unit in open_store(dst).prepared()]


# -- what rests is told


def test_status_names_every_unit_that_rests_and_who_decides(atomsync: Any, dst: Path) -> None:
    one, two = prepared(dst), prepared(dst, "ü\n", c=b"c")
    done = atomsync("status", dst)
    lines = [line for line in done.stdout.splitlines() if line.startswith("prepared:")]
    assert done.returncode == 0
    assert lines[0] == (
        f"prepared: unit {one.id} · created 0 · updated 1 · removed 0 · {LEDGER} decides, its process is gone"
    )
    assert two.id in lines[1]
    assert len(lines) == 2


def test_status_lists_what_rests_for_programs(atomsync: Any, dst: Path) -> None:
    one = prepared(dst)
    with UnitOfWork(open_store(dst)) as unit:
        unit.write("c", b"c")
        two = unit.prepare()
        found = told(atomsync("status", "--json", dst))
    assert found["prepared"] == [{**one._asdict(), "live": False}, {**two._asdict(), "live": True}]


def test_where_nothing_rests_the_list_is_empty(atomsync: Any, dst: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    prepared(dst, a=b"gone")
    open_store(dst).rollback_prepared(resting(dst)[0])
    for place in (dst, tmp_path / "plain"):
        assert told(atomsync("status", "--json", place))["prepared"] == []


def test_recover_leaves_what_rests_and_says_so(atomsync: Any, dst: Path) -> None:
    one = prepared(dst)
    done = atomsync("recover", dst)
    assert done.returncode == 0
    assert "a prepared unit rests" in done.stdout
    assert one.id in done.stdout
    assert told(atomsync("recover", "--json", dst))["settled"] == []
    assert resting(dst) == [one.id]
    assert (dst / "a").read_bytes() == b"old"


def test_recover_gives_up_what_nobody_decides_about_and_says_so(atomsync: Any, dst: Path) -> None:
    two, one = prepared(dst, c=b"c"), prepared(dst, "")
    done = atomsync("recover", dst)
    assert done.returncode == 0
    assert f"recovered: prepared unit {one.id} was rolled back" in done.stdout
    assert two.id in done.stdout
    assert resting(dst) == [two.id]


# -- deciding


def test_recover_commits_a_prepared_unit(atomsync: Any, dst: Path) -> None:
    one, two = prepared(dst), prepared(dst, c=b"c")
    done = atomsync("recover", "--commit", one.id, dst)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"unit {one.id} was committed\n", "")
    assert (dst / "a").read_bytes() == b"prepared"
    assert resting(dst) == [two.id]
    again = atomsync("recover", "--json", "--commit", one.id, dst)  # whoever lost the answer asks again
    assert again.returncode == 0
    assert told(again) == {
        "schema": 1,
        "event": "decided",
        "unit": one.id,
        "committed": True,
        "warnings": [],
    }
    late = atomsync("recover", "--rollback", one.id, dst)
    assert late.returncode == 1
    assert "it was committed" in late.stderr
    assert (dst / "a").read_bytes() == b"prepared"


def test_recover_rolls_a_prepared_unit_back(atomsync: Any, dst: Path) -> None:
    one = prepared(dst)
    done = atomsync("recover", "--rollback", one.id, dst)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"unit {one.id} was rolled back\n", "")
    assert (dst / "a").read_bytes() == b"old"
    assert resting(dst) == []
    other = prepared(dst)
    assert told(atomsync("recover", "--json", "--rollback", other.id, dst))["committed"] is False


def test_what_a_decision_keeps_aside_is_told(atomsync: Any, dst: Path) -> None:
    one = prepared(dst)
    (dst / "theirs").write_bytes(b"theirs")
    os.replace(dst / "theirs", dst / "a")
    done = atomsync("recover", "--commit", one.id, dst)
    assert f"conflicts/{one.id}/" in done.stderr
    assert (dst / "a").read_bytes() == b"prepared"
    assert (dst / ".atomsync/conflicts" / one.id / "0").read_bytes() == b"theirs"


def test_a_decision_that_keeps_another_version_aside_ends_as_a_recovery_that_does(
    atomsync: Any, dst: Path
) -> None:
    one = prepared(dst)
    (dst / "theirs").write_bytes(b"theirs")
    os.replace(dst / "theirs", dst / "a")
    assert atomsync("recover", "--commit", one.id, dst).returncode == 41


def test_of_two_decisions_at_once_neither_is_taken(atomsync: Any, dst: Path) -> None:
    one = prepared(dst)
    done = atomsync("recover", "--commit", one.id, "--rollback", one.id, dst)
    assert done.returncode == 1
    assert "exclude each other" in done.stderr
    assert resting(dst) == [one.id]


@pytest.mark.parametrize("option", ["--commit", "--rollback"])
@pytest.mark.parametrize("unit", [UNKNOWN, "x", "..", "../history", "a\nb"])
def test_a_unit_that_is_not_there_cannot_be_decided_about(
    atomsync: Any, dst: Path, option: str, unit: str
) -> None:
    one = prepared(dst)
    done = atomsync("recover", option, unit, dst)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no prepared unit of that name" in done.stderr
    assert "a\nb" not in done.stderr
    failed = atomsync("recover", "--json", option, unit, dst)
    assert failed.returncode == 1
    assert (told(failed)["event"], told(failed)["code"]) == ("error", "usage")
    assert resting(dst) == [one.id]


@pytest.mark.parametrize("option", ["--commit", "--rollback"])
def test_a_decision_about_an_empty_name_is_refused_and_nothing_is_recovered(
    atomsync: Any, dst: Path, option: str
) -> None:
    one = prepared(dst, "")
    assert atomsync("recover", option, "", dst).returncode == 1
    assert resting(dst) == [one.id]


# -- what a push makes of it


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--delete", "--dry-run"]])
def test_a_push_of_what_is_held_is_refused_dry_or_not(
    atomsync: Any, src: Path, dst: Path, words: list[str], unchanged: Any
) -> None:
    one = prepared(dst)
    with unchanged(dst, control="--dry-run" in words):
        done = atomsync("push", *words, src, dst)
    assert done.returncode == 49
    assert one.id in done.stderr
    assert str(dst) in done.stderr
    assert told(atomsync("push", "--json", *words, src, dst))["code"] == "prepared"


def test_a_push_of_other_paths_goes_on(atomsync: Any, src: Path, dst: Path) -> None:
    one = prepared(dst, c=b"c")
    assert atomsync("push", "--dry-run", src, dst).returncode == 0
    assert atomsync("push", src, dst).returncode == 0
    assert (dst / "a").read_bytes() == b"new a"
    assert resting(dst) == [one.id]


def test_a_dry_run_says_that_a_push_would_decide_first(
    atomsync: Any, src: Path, dst: Path, unchanged: Any
) -> None:
    prepared(dst, "", c=b"c")
    with unchanged(dst, control=True):
        done = atomsync("push", "--dry-run", src, dst)
    assert done.returncode == 0
    assert "a push would recover it first" in done.stdout + done.stderr


def test_a_dry_run_is_not_refused_for_what_a_push_would_give_up_first(
    atomsync: Any, src: Path, dst: Path, unchanged: Any
) -> None:
    prepared(dst, "")
    with unchanged(dst, control=True):
        assert atomsync("push", "--dry-run", src, dst).returncode == 0
    assert atomsync("push", src, dst).returncode == 0
    assert (dst / "a").read_bytes() == b"new a"


def test_once_it_is_decided_the_push_goes_on(atomsync: Any, src: Path, dst: Path) -> None:
    one = prepared(dst)
    assert atomsync("push", src, dst).returncode == 49
    assert atomsync("recover", "--rollback", one.id, dst).returncode == 0
    assert atomsync("push", src, dst).returncode == 0
    assert (dst / "a").read_bytes() == b"new a"


# -- what is no store


@pytest.mark.parametrize("what", ["nothing", "a file", "a link to nothing"])
@pytest.mark.parametrize("words", [["recover"], ["status"], ["recover", "--json"], ["status", "--json"]])
def test_what_is_no_directory_has_nothing_to_recover_or_to_show(
    atomsync: Any, tmp_path: Path, plant: Any, what: str, words: list[str]
) -> None:
    plant(tmp_path, {"nothing": {}, "a file": {"it": b"x"}, "a link to nothing": {"it": "nowhere"}}[what])
    done = atomsync(*words, tmp_path / "it")
    assert done.returncode == 3
    if "--json" in words:
        assert told(done)["code"] == "root"
    else:
        why = {
            "nothing": "does not exist",
            "a file": "is not a directory",
            "a link to nothing": "is a symbolic link",
        }
        assert f"it {why[what]}" in done.stderr
    assert os.listdir(tmp_path) == ([] if what == "nothing" else ["it"])


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("nothing", 1),
        ("a file", 3),
    ],
)
def test_where_there_is_no_store_nothing_can_be_decided_about(
    atomsync: Any, tmp_path: Path, plant: Any, what: str, status: int
) -> None:
    plant(tmp_path, {"it": b"x"} if what == "a file" else {})
    done = atomsync("recover", "--commit", UNKNOWN, tmp_path / "it")
    assert done.returncode == status
    assert os.listdir(tmp_path) == ([] if what == "nothing" else ["it"])
