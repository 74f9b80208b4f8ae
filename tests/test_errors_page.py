"""The page of errors: every class has its place there, and what it shows is what is raised."""

from __future__ import annotations

import errno
import inspect
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from atomsync import ABSENT, PreparedUnit, UnitOfWork, errors, open_store, push
from atomsync.daemon.client import ask
from atomsync.errors import AtomSyncError
from atomsync.store.progress import Progress
from atomsync.sync.applying import apply, plan_of
from atomsync.sync.saved import OPTIONS
from atomsync.testing import fail_at, fail_sync_at, simulated_store

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
CLASSES = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, AtomSyncError)
}
# Shown, but nothing to bring about in a moment: a mount, a restless file, a slow watch, a bad disk.
NOT_RAISED_HERE = {"limit", "unstable", "timeout", "digest"}


class Section(NamedTuple):
    kind: str
    exit_status: int
    verdict: str
    text: str

    @property
    def messages(self) -> list[str]:
        return re.findall(r"^```text\n(.*?)\n```$", self.text, re.M | re.S)


def sections() -> dict[str, Section]:
    """By the anchor of their headings."""
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, line, text = re.split(r"\n+", part, maxsplit=2)
        told = re.fullmatch(r"`(\w+)` · exit status (\d+) · (.*)", line)
        assert told, f"under {heading}: {line}"
        assert heading not in found, f"{heading} is there twice"
        found[heading] = Section(told[1], int(told[2]), told[3], text)
    return found


def test_every_error_has_its_anchor_and_no_other_heading_is_there() -> None:
    assert sections().keys() == CLASSES.keys()
    public = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert public == {kind.__name__ for kind in CLASSES.values()}


@pytest.mark.parametrize("code", CLASSES)
def test_each_section_names_the_class_its_status_and_what_becomes_of_the_unit(code: str) -> None:
    section = sections()[code]
    assert section.kind == CLASSES[code].__name__
    assert section.exit_status == CLASSES[code].exit_status
    assert re.search(
        r"the unit: \*\*(by the step|goes on|must roll back|recovery decides)\*\*|only from|the unit is over"
        r"|the class above all",
        section.verdict,
    )
    assert "**What to do:**" in section.text


def test_the_table_of_exit_statuses_leads_here() -> None:
    assert "(errors.md)" in (PAGE.parent / "exit-statuses.md").read_text(encoding="utf-8")


# -- the messages are real


def usage() -> None:
    with open_store("site").begin() as unit:
        unit.write("letters/a.txt", "...")


def root() -> None:
    push("site", "copy")


def overlap() -> None:
    os.mkdir("site")
    push("site", "site/copy")


def on_a_failing_disk(number: int, what: str) -> None:
    """The first error of this text, as one call after the other fails."""
    for at in itertools.count():
        store = simulated_store()
        with store.begin() as unit:
            unit.write("other.txt", "...")
        store.disk.hook = fail_at(len(store.disk.log) + at, number)
        try:
            with store.begin() as unit:
                unit.write("a.txt", "...")
        except AtomSyncError as error:
            if error.what == what:
                raise
        assert at < 100


def io() -> None:
    on_a_failing_disk(errno.EIO, "cannot stage a.txt")


def access() -> None:
    on_a_failing_disk(errno.EACCES, "cannot stage a.txt")


def space() -> None:
    on_a_failing_disk(errno.ENOSPC, "cannot stage a.txt")


def limit() -> None:
    with simulated_store(name_max=16).begin() as unit:
        unit.mkdir("reports")
        unit.write("reports/september.report.txt", "...")


def interrupted() -> None:
    progress = Progress()
    with open_store("site").begin(progress=progress) as unit:
        unit.write("a.txt", "...")
        progress.stopping = "SIGTERM"


def guard() -> None:
    os.makedirs("src")
    os.makedirs("dst/photos/summer")
    Path("src/photos").write_text("a file now")
    Path("dst/photos/a.jpg").write_text("...")
    push("src", "dst")


def locked() -> None:
    store = open_store("site", timeout=0)
    with UnitOfWork(store, exclusive=True) as first, UnitOfWork(store) as second:
        second.write("b.txt", "...")
        first.write("a.txt", "...")
        try:
            second.commit()
        finally:
            assert second.state == "pending"


def stale() -> None:
    with open_store("site").begin() as unit:
        unit.write("a.txt", "...")
        unit.write("a.txt", "...", expected=ABSENT)


def stale_at_the_commit() -> None:
    store = open_store("site")
    with store.begin() as unit:
        unit.write("a.txt", "...")
    with store.begin() as unit:
        unit.write("a.txt", unit.read("a.txt") + b"ours")
        Path("site/a.txt").write_text("theirs")


def journal() -> None:
    store = open_store("site")
    with store.begin() as unit:
        unit.write("a.txt", "...")
    os.mkdir("site/.atomsync/unit")
    Path("site/.atomsync/unit/journal").write_bytes(b"nonsense" * 100)
    store.recover()


def moved() -> None:
    os.mkdir("src")
    os.mkdir("dst")
    Path("src/a.txt").write_text("...")
    defaults = {name: inspect.signature(push).parameters[name].default for name in OPTIONS}
    report = push("src", "dst", dry_run=True)
    plan = plan_of(report, "src", "dst", (), gitignore=False, options=defaults)
    os.utime("src/a.txt", ns=(1, 1))
    apply(plan)


def control() -> None:
    store = open_store("site")
    with store.begin() as unit:
        unit.write("a.txt", "...")
    os.chmod("site/.atomsync", 0o777)
    with store.begin() as unit:
        unit.write("a.txt", "...")


def prepared() -> None:
    store = open_store("site")
    with UnitOfWork(store) as rests, store.begin() as unit:
        rests.write("prices.txt", "...")
        rests.prepare()
        unit.write("prices.txt", "others")


def resolver() -> None:
    def silent(unit: PreparedUnit) -> bool:
        raise ConnectionError("the ledger does not answer")

    store = simulated_store(resolver=silent)
    with UnitOfWork(store) as unit:
        unit.write("prices.txt", "1")
        unit.prepare("ledger")
    store.recover()


def version_gone() -> None:
    store = open_store("site")
    for text in ("one", "another"):
        with store.begin() as unit:
            unit.write("index.html", text)
    (kept,) = Path("site/.atomsync/history", store.history()[0].unit_id, "slots").iterdir()
    with kept.open("a") as file:
        file.write(" line, written late")
    store.undo()


def not_watched() -> None:
    os.mkdir("site")
    ask("site", "flush")


def check() -> None:
    os.makedirs("src")
    Path("src/nginx.conf").write_text("listen")
    push("src", "site", check="cat nginx.conf && false")


def after() -> None:
    os.makedirs("src")
    Path("src/nginx.conf").write_text("listen")
    push("src", "site", after="echo no such service; exit 5")


def state() -> None:
    with open_store("site").begin() as unit:
        unit.commit()
        unit.write("a.txt", "...")


def pending_rollback() -> None:
    store = open_store("site")

    @store.listens_for("before_flush")
    def refuse(unit: UnitOfWork) -> None:
        raise ValueError

    with UnitOfWork(store) as unit:
        unit.write("a.txt", "...")
        with pytest.raises(ValueError):
            unit.flush()
        unit.commit()


def compensation() -> None:
    def take_back() -> None:
        raise ConnectionError("the provider does not answer")

    with UnitOfWork(open_store("site")) as unit:
        unit.on_rollback(take_back)


def in_doubt() -> None:
    for at in itertools.count():
        store = simulated_store()
        store.disk.hook = fail_sync_at(at)
        try:
            with store.begin() as unit:
                unit.write("a.txt", "...")
        except AtomSyncError as error:
            if isinstance(error, errors.InDoubt):
                raise
        assert at < 100


RAISED = [
    usage,
    root,
    overlap,
    io,
    access,
    limit,
    interrupted,
    guard,
    locked,
    stale,
    stale_at_the_commit,
    space,
    journal,
    moved,
    control,
    prepared,
    resolver,
    version_gone,
    not_watched,
    check,
    after,
    state,
    pending_rollback,
    compensation,
    in_doubt,
]


def shape(message: str) -> str:
    """Without what differs from one run to the next, or between a real and a simulated disk."""
    message = message.replace(os.getcwd() + "/", "/srv/")
    message = re.sub(r"process \d+ \(.*\) since .*", "PROCESS", message)
    message = message.replace("recover /simulated", "recover /srv/site")
    return re.sub(r"\d{8}-\d{6}-\d{3}", "UNIT", message)


def code_of(raises: Callable[[], None]) -> str:
    return raises.__name__.partition("_at_")[0].replace("_", "-")


@pytest.mark.parametrize("raises", RAISED)
def test_the_message_that_is_shown_is_the_one_that_is_raised(
    raises: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AtomSyncError) as raised:
        raises()
    assert raised.value.code == code_of(raises)
    shown = [shape(message) for message in sections()[code_of(raises)].messages]
    assert shape(str(raised.value)) in shown


def test_every_message_on_the_page_is_raised_here_or_cannot_be() -> None:
    raised = [code_of(raises) for raises in RAISED]
    shown = [code for code, section in sections().items() for _ in section.messages]
    assert sorted([*raised, *NOT_RAISED_HERE]) == sorted(shown)


# -- what becomes of the unit


@pytest.mark.parametrize("where", ["no/such/directory", "a-file"])
def test_a_store_that_cannot_be_a_directory_is_told_as_its_root(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("...")
    with pytest.raises(errors.RootError), open_store(where).begin() as unit:
        unit.write("a.txt", "...")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_a_verb_that_fails_leaves_the_unit_as_it_was_and_a_flush_does_not(number: int) -> None:
    store = simulated_store()
    disk = store.disk
    with UnitOfWork(store) as unit:
        unit.write("a.txt", "...")
        disk.hook = fail_at(len(disk.log), number)
        with pytest.raises(AtomSyncError):
            unit.write("b.txt", "...")
        assert (unit.state, unit.new) == ("pending", {"a.txt"})
        unit.mkdir("d")
        disk.hook = fail_at(len(disk.log), number)
        with pytest.raises(AtomSyncError):
            unit.flush()
        assert unit.state == "failed"
