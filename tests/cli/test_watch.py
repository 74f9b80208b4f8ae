"""``atomsync watch``, ``flush``, ``pause``, ``resume``, and what ``status`` shows of them: real commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atomsync as package
from atomsync.cli import records, render_watch
from atomsync.errors import NoSpace, UsageError
from atomsync.follow.watching import Coverage

Wait = Callable[..., Any]
Plant = Callable[..., Path]


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "runtime"))


@pytest.fixture
def src(tmp_path: Path, plant: Plant, wait_until: Wait) -> Path:
    """At rest: a file that was just written would be held back from the first unit."""
    found = plant(tmp_path / "src", {"a": b"12345", "d/b": b"678"})
    wait_until(lambda: time.time() > (found / "d" / "b").stat().st_ctime + 0.3)
    return found


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


def seen(atomsync: Any, dst: Path) -> dict[str, Any]:
    """The watch as ``status --json`` shows it; empty if there is none."""
    done = atomsync("status", "--json", dst)
    return (json.loads(done.stdout).get("watch") or {}) if done.returncode == 0 else {}


@pytest.fixture
def watching(atomsync: Any, src: Path, dst: Path, wait_until: Wait) -> Callable[..., subprocess.Popen[str]]:
    """A watch of SRC and DST that has caught up."""

    def start(*words: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = atomsync.start("watch", *words, src, dst)
        wait_until(lambda: process.poll() is not None or seen(atomsync, dst).get("state") == "watching")
        assert process.poll() is None, process.communicate()
        return process

    return start


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str]:
    """What it printed, after a signal that ends it well."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out, err


# -- following
def test_a_change_arrives_and_gets_its_line(
    atomsync: Any, watching: Any, src: Path, dst: Path, wait_until: Wait
) -> None:
    process = watching()
    (src / "a").write_bytes(b"new")
    wait_until(lambda: (dst / "a").read_bytes() == b"new")
    wait_until(lambda: seen(atomsync, dst)["units"] == 2)
    out, err = ended(process)
    assert err == ""
    lines = [line for line in out.splitlines() if " · unit " in line]
    assert len(lines) == 2
    for line in lines:
        assert re.match(r"\d\d:\d\d:\d\d created \d+ · updated \d+ · removed \d+ · ", line), line
    assert "updated 1" in lines[1]
    assert re.search(r"^\d\d:\d\d:\d\d stopped: SIGTERM$", out, re.M)


def test_in_json_every_line_says_of_which_pair_it_is(
    atomsync: Any, watching: Any, src: Path, dst: Path, wait_until: Wait
) -> None:
    process = watching("--json", "-v")
    (src / "a").write_bytes(b"new")
    wait_until(lambda: seen(atomsync, dst)["units"] == 2)
    out, err = ended(process, signal.SIGINT)
    assert err == ""
    found = [json.loads(line) for line in out.splitlines()]
    assert found[0]["event"] == "watch-started"
    assert (found[-1]["event"], found[-1]["why"]) == ("watch-stopped", "SIGINT")
    for each in found:
        assert (each["schema"], each["source"], each["destination"]) == (1, str(src), str(dst))
    receipts = [each for each in found if each["event"] == "receipt"]
    assert [(each["created"], each["updated"]) for each in receipts] == [(3, 0), (0, 1)]
    changes = [each["path"] for each in found if each["event"] == "change"]
    assert changes == ["a", "d", "d/b", "a"]


def test_quiet_prints_nothing_while_all_is_well(watching: Any) -> None:
    assert ended(watching("--quiet")) == ("", "")


def test_a_watch_whose_output_nobody_reads_goes_on(
    atomsync: Any, src: Path, dst: Path, wait_until: Wait
) -> None:
    process = atomsync.start("watch", src, dst)
    process.stdout.close()
    process.stdout = None
    wait_until(lambda: seen(atomsync, dst).get("units") == 1)
    (src / "a").write_bytes(b"new")
    wait_until(lambda: (dst / "a").read_bytes() == b"new")
    _, err = ended(process)
    assert "Exception ignored" not in err


def test_a_held_terminal_holds_up_no_watch(atomsync: Any, src: Path, dst: Path, wait_until: Wait) -> None:
    reading, writing = os.pipe()
    process = atomsync.start("watch", "--verbose", src, dst, stdout=writing)
    try:
        for number in range(3000):  # their lines are more than a pipe takes
            (src / f"{'long name' * 20} {number}").write_bytes(b"")
        (src / "a").write_bytes(b"new")
        wait_until(lambda: (dst / "a").exists() and (dst / "a").read_bytes() == b"new")
        (src / "a").write_bytes(b"newer")
        wait_until(lambda: (dst / "a").read_bytes() == b"newer")
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        os.close(reading)
        os.close(writing)


def test_options_of_push_are_kept(
    watching: Any, src: Path, dst: Path, plant: Plant, wait_until: Wait
) -> None:
    plant(dst, {"foreign": b""})
    process = watching("--delete", "--exclude", "*.tmp", "--include", "keep.tmp", "-m", "a note")
    assert not (dst / "foreign").exists()
    for name in ("x.tmp", "keep.tmp", "last"):
        (src / name).write_bytes(b"")
    wait_until(lambda: (dst / "last").exists())
    wait_until(lambda: (dst / "keep.tmp").exists())
    assert not (dst / "x.tmp").exists()
    (src / "last").unlink()
    wait_until(lambda: not (dst / "last").exists())
    ended(process)


# -- what it will not start with
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 1, "Missing SRC and DST, or --config FILE"),
        (["src"], 1, "Missing SRC and DST"),
        (["none", "dst"], 3, "none: it does not exist"),
        (["", "dst"], 3, "cannot use SRC: it is empty"),
        (["src", ""], 3, "cannot use DST: it is empty"),
        (["--state-dir", "", "src", "dst"], 3, "cannot use --state-dir: it is empty"),
        (["src", "src/d"], 4, "lies inside"),
        (["src", "none/dst"], 3, "does not exist"),
        (["--settle", "2x", "src", "dst"], 1, "'2x' is no time such as"),
        (["--settle", "3", "--max-wait", "1", "src", "dst"], 1, "--max-wait"),
        (["--batch-max", "many", "src", "dst"], 1, "'many' is no size such as"),
        (["--poll=0", "src", "dst"], 1, "shorter than 10ms"),
        (["--metrics", "x:y", "src", "dst"], 1, "'x:y' is no address"),
        (["--include", "", "src", "dst"], 1, "pattern"),
        (["--dry-run", "src", "dst"], 1, "No such option"),
        (["--config", "none.toml"], 1, "none.toml: No such file"),
        (["--config", "pairs.toml", "src", "dst"], 1, "SRC does not go with --config"),
        (["--config", "pairs.toml", "--delete"], 1, "--delete does not go with --config"),
        (["--config", "pairs.toml", "--exclude", "x"], 1, "--exclude does not go with --config"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_call_is_refused(
    words: list[str], status: int, said: str, atomsync: Any, src: Path, tmp_path: Path
) -> None:
    (tmp_path / "pairs.toml").write_text('[[sync]]\nsource = "src"\ndestination = "dst"\n')
    done = atomsync("watch", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("atomsync: ")
    assert said in done.stderr
    assert not (tmp_path / "dst").exists()
    done = atomsync("watch", "--json", *words)
    assert json.loads(done.stdout.splitlines()[-1])["exit_status"] == status


def test_poll_without_a_time_does_not_take_the_source_for_one(
    atomsync: Any, watching: Any, dst: Path
) -> None:
    process = watching("--poll")
    assert seen(atomsync, dst)["coverage"]["mode"] == "polling"
    ended(process)


def test_a_second_watch_of_a_destination_is_refused_with_the_first_ones_name(
    atomsync: Any, watching: Any, src: Path, dst: Path
) -> None:
    process = watching()
    done = atomsync("watch", src, dst)
    assert done.returncode == 40
    assert f"process {process.pid} (" in done.stderr
    assert "atomsync status DST" in done.stderr
    ended(process)


def test_after_a_kill_the_next_watch_starts_at_once(
    atomsync: Any, watching: Any, src: Path, dst: Path, wait_until: Wait
) -> None:
    process = watching()
    process.kill()
    process.communicate()
    assert seen(atomsync, dst) == {}
    (src / "a").write_bytes(b"changed while it was down")
    ended(watching())
    assert (dst / "a").read_bytes() == b"changed while it was down"


# -- seen from outside
def test_status_shows_the_watch(atomsync: Any, watching: Any, src: Path, dst: Path) -> None:
    process = watching()
    found = seen(atomsync, dst)
    assert (found["state"], found["pid"], found["source"]) == ("watching", process.pid, str(src))
    assert found["coverage"]["complete"] is True
    assert (found["units"], found["bytes"], found["queue"], found["errors"]) == (1, 8, 0, 0)
    lines = atomsync("status", dst).stdout.splitlines()
    assert lines[0] == f"last unit: {found['last_unit']} · created 3 · updated 0 · removed 0"
    assert re.fullmatch(
        rf"watch: watching · from {src} · process {process.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d",
        lines[3],
    )
    assert lines[4].startswith("coverage: complete · by events · 2 directories")
    assert lines[5] == "lag: 0.0 s · 0 hints waiting · 1 unit · 8 B since it started"
    ended(process)
    assert "watch" not in atomsync("status", dst).stdout
    assert json.loads(atomsync("status", "--json", dst).stdout)["watch"] is None


def test_status_shows_the_watch_also_while_the_destination_is_missing(
    atomsync: Any, watching: Any, dst: Path, tmp_path: Path, wait_until: Wait
) -> None:
    process = watching()
    dst.rename(tmp_path / "away")
    wait_until(lambda: seen(atomsync, dst).get("state") in ("paused", "retrying"))
    done = atomsync("status", dst)
    assert done.returncode == 0
    assert re.match(rf"cannot show {dst}: .*\nwatch: (paused|retrying) · ", done.stdout)
    assert "  why: " in done.stdout
    found = json.loads(atomsync("status", "--json", dst).stdout)
    assert found["exists"] is False
    assert str(dst) in found["trouble"]
    (tmp_path / "away").rename(dst)
    wait_until(lambda: seen(atomsync, dst)["state"] == "watching")
    ended(process)
    dst.rename(tmp_path / "away")
    assert atomsync("status", dst).returncode == 3


# -- flush, pause, resume
def test_a_flush_returns_when_all_is_committed(atomsync: Any, watching: Any, src: Path, dst: Path) -> None:
    process = watching("--settle", "3s", "--max-wait", "1m")
    for number in range(20):
        (src / f"more {number}").write_bytes(b"x")
    done = atomsync("flush", dst)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(dst)) == sorted([".atomsync", *os.listdir(src)])
    unit = re.fullmatch(r"committed: unit (\S+)\n", done.stdout)
    assert unit
    assert unit[1] in atomsync("status", dst).stdout
    assert atomsync("flush", "--timeout", "20s", dst).returncode == 0
    found = json.loads(atomsync("flush", "--json", dst).stdout)
    assert found["event"] == "flushed"
    ended(process)


def test_pause_keeps_changes_back_and_resume_commits_them(
    atomsync: Any, watching: Any, src: Path, dst: Path, wait_until: Wait
) -> None:
    process = watching()
    done = atomsync("pause", dst)
    assert (done.returncode, done.stdout) == (0, f"paused: {dst}\n")
    wait_until(lambda: seen(atomsync, dst)["state"] == "paused")
    (src / "a").write_bytes(b"new")
    wait_until(lambda: seen(atomsync, dst)["queue"] > 0)
    done = atomsync("flush", "--timeout", "200ms", dst)
    assert done.returncode != 0
    assert f"not all is committed to {dst}: " in done.stderr
    assert (dst / "a").read_bytes() == b"12345"
    done = atomsync("resume", dst)
    assert (done.returncode, done.stdout) == (0, f"resumed: {dst}\n")
    wait_until(lambda: (dst / "a").read_bytes() == b"new")
    out, _ = ended(process)
    assert " resumed" in out


@pytest.mark.parametrize("verb", ["flush", "pause", "resume"])
def test_where_nobody_watches_that_is_what_is_said(verb: str, atomsync: Any, dst: Path) -> None:
    done = atomsync(verb, dst)
    assert (done.returncode, done.stdout) == (50, "")
    assert str(dst) in done.stderr
    assert "atomsync watch SRC DST" in done.stderr
    found = json.loads(atomsync(verb, "--json", dst).stdout)
    assert (found["code"], found["exit_status"]) == ("not-watched", 50)


def test_flush_says_what_is_in_the_way(
    atomsync: Any, watching: Any, src: Path, dst: Path, small_fs: Any, wait_until: Wait
) -> None:
    point = small_fs("tmpfs", 4)
    process = atomsync.start("watch", src, point / "dst")
    wait_until(lambda: seen(atomsync, point / "dst").get("state") == "watching")
    (src / "large").write_bytes(b"x" * (8 << 20))
    done = atomsync("flush", "--timeout", "20s", point / "dst")
    assert done.returncode == 44, (done.stdout, done.stderr)
    (src / "large").unlink()
    assert atomsync("flush", "--timeout", "20s", point / "dst").returncode == 0
    _, err = ended_with_trouble(process)
    assert "next try in" in err


def ended_with_trouble(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    return out, err


def test_a_watch_stopped_by_job_control_makes_askers_wait_no_longer_than_said(
    atomsync: Any, watching: Any, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = watching()
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = atomsync("status", dst)
        assert done.returncode == 0, "the destination is shown all the same"
        assert "does not answer" in done.stderr
        assert time.monotonic() - began < 30
    finally:
        process.send_signal(signal.SIGCONT)
    ended(process)


# -- what every line looks like
COVERAGE = Coverage(False, "events and polling", 3, ("no events of d: too many; polled",), 2.0, 1, 2, 3, 4)
TOLD: dict[str, dict[str, Any]] = {
    "started": {},
    "retrying": {
        "error": NoSpace("cannot stage", "disk full", "Free some."),
        "next_try_s": 2.0,
        "news": True,
    },
    "paused": {"why": "DST is gone\n  Bring it back."},
    "resumed": {},
    "coverage": {"coverage": COVERAGE, "why": "the queue overflowed"},
    "held": {"paths": ["a\nb"]},
    "set-aside": {"path": "d/e", "why": "too long"},
    "missed": {"paths": ["x"]},
    "stopped": {"why": "SIGTERM"},
    "metrics": {"url": "http://127.0.0.1:9184/metrics"},
    "reloaded": {"kept": 1, "started": 2, "stopped": 3},
    "reload-failed": {"error": UsageError("cannot use x.toml", "unknown key", "Did you mean y?")},
}


@pytest.mark.parametrize("event", TOLD)
def test_what_a_watch_tells_in_json_is_what_the_page_says(event: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    (line,) = records.watch(event, {}, TOLD[event], verbose=False)
    found = json.loads(line)
    (row,) = [row for row in page.splitlines() if row.startswith(f"| `{found['event']}` | watch")]
    named = set(re.findall(r"`(\w+)`", row.split("|", 3)[3]))
    if "as `watch-retrying`" in row:
        named = {"code", "exit_status", "what", "why", "hint"}
    assert found.keys() - {"schema", "event"} == named


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        ("retrying", ["cannot stage: disk full · next try in 2.0 s", "  Free some."]),
        ("paused", ["paused: DST is gone", "  Bring it back."]),
        ("resumed", ["resumed"]),
        ("held", ["still being written, held back: a\\nb"]),
        ("set-aside", ["set aside: d/e: too long"]),
        ("missed", ["found by a rescan, no event had told of them: x"]),
        ("reloaded", ["config read again: 1 kept, 2 started, 3 stopped"]),
        ("reload-failed", ["going on as before: cannot use x.toml: unknown key; Did you mean y?"]),
        (
            "coverage",
            [
                "coverage: with gaps · by events and polling · 3 directories · proved 2 s ago · 1 overflow"
                " · 2 re-attachments · 3 rescans · 4 missed changes (the queue overflowed)",
                "  gap: no events of d: too many; polled",
            ],
        ),
    ],
)
def test_what_a_watch_tells_a_person_is_plain_lines(event: str, lines: list[str]) -> None:
    assert [line for line, _ in render_watch.watch(event, TOLD[event], verbose=False)] == lines


def test_a_watch_goes_on_when_the_program_was_upgraded_or_removed(tmp_path: Path, wait_until: Wait) -> None:
    src, dst, program = tmp_path / "src", tmp_path / "dst", tmp_path / "program"
    shutil.copytree(Path(package.__file__).parent, program / "atomsync")
    src.mkdir()
    (src / "first").touch()
    code = "from atomsync.cli import main; main()"
    hooks = ["--check", "true", "--after", "test ! -e refused", "--undo-on-failure"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "watch", "--delete", *hooks, src, dst],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(program)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until((dst / "first").exists)
        shutil.rmtree(program)
        new = tmp_path / "new"
        new.mkdir()
        for number in range(1_500):
            (new / f"{number}").touch()
        (new / "large").write_bytes(bytes(17 << 20))
        new.rename(src / "new")
        wait_until((dst / "new" / "large").exists)
        (src / "refused").touch()
        (src / "new" / "large").write_bytes(bytes(18 << 20))
        wait_until(lambda: len([*dst.glob(".atomsync/history/*")]) == 4)
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert "internal error" not in said
    assert "was undone" in said
    assert (dst / "new" / "large").stat().st_size == 17 << 20
    assert process.returncode == 0
