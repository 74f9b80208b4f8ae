"""How much is said: -q, -v, -vv; in which colours; and to whom asks on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from atomsync.cli.app import group
from atomsync.cli.say import painted
from tests.cli.test_output import objects, on_terminal

Plant = Callable[..., Path]
MIB = 1 << 20
TOP = click.Context(group)


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"12345", "d/b": b"678", "d/link": "../a", "e": None})


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


# -- the same everywhere
@pytest.mark.parametrize("name", group.list_commands(TOP))
def test_the_options_of_output_mean_the_same_in_every_command(name: str) -> None:
    found = group.get_command(TOP, name)
    assert found is not None
    options = {param.opts[-1]: param for param in found.params if isinstance(param, click.Option)}
    if name != "completion":  # whose output is for a program anyhow
        assert options["--json"].name == "as_json"
    if "--quiet" in options:
        assert options["--quiet"].opts == ["-q", "--quiet"]
    if "--verbose" in options:
        assert options["--verbose"].opts == ["-v", "--verbose"]
        assert "--quiet" in options
    if name in ("push", "watch", "apply", "undo", "restore"):  # which commit units
        assert options["--verbose"].count


# -- -vv
def test_twice_verbose_gives_the_reasons_and_what_was_left(
    atomsync: Any, src: Path, dst: Path, plant: Plant
) -> None:
    done = atomsync("push", "-vv", src, dst)
    *paths, summary, phases = done.stdout.splitlines()
    assert paths == [
        "created  a (5 B)",
        "created  d/ (dir)",
        "created  d/b (3 B)",
        "created  d/link -> ../a (link)",
        "created  e/ (dir)",
    ]
    assert phases.startswith("phases in ms: scan ")
    plant(src, {"x.tmp": b"", "d/y.tmp/z": b""})
    (src / "a").write_bytes(b"1234567")
    (src / "d" / "link").unlink()
    (src / "d" / "link").symlink_to("b")
    os.utime(src / "d", ns=(1, 1))
    done = atomsync("push", "-vv", "--exclude", "*.tmp", src, dst)
    *paths, summary, phases = done.stdout.splitlines()
    assert paths == [
        "updated  a (size 5 → 7, time)",
        "unchanged  d/b",
        "updated  d/link -> b (was -> ../a, time)",
        "excluded  d/y.tmp",
        "unchanged  e",
        "excluded  x.tmp",
    ]
    count = re.search(r"unchanged ([\d,]+)", summary)
    assert count
    assert int(count[1]) == sum(line.startswith("unchanged ") for line in paths)


def test_content_that_no_time_shows_is_a_reason_of_its_own(atomsync: Any, src: Path, dst: Path) -> None:
    atomsync("push", src, dst)
    found = (dst / "a").stat()
    (dst / "a").write_bytes(b"54321")
    os.utime(dst / "a", ns=(found.st_mtime_ns, found.st_mtime_ns))
    assert "updated  a (content)" in atomsync("push", "-c", "-vv", src, dst).stdout.splitlines()


def test_the_unchanged_paths_of_a_real_tree_are_as_many_as_the_summary_says(
    atomsync: Any, real_tree: Callable[[str], Path], dst: Path
) -> None:
    src = real_tree("website")
    atomsync("push", src, dst)
    (dst / "index.html").write_bytes(b"other")
    found = objects(atomsync("push", "-vv", "--json", src, dst))
    unchanged = [each["path"] for each in found if each["event"] == "unchanged"]
    assert len(unchanged) == len(set(unchanged)) == found[-1]["unchanged"] > 3
    assert [each["path"] for each in found if each["event"] == "change"] == ["index.html"]


def test_once_verbose_says_nothing_of_what_was_left(atomsync: Any, src: Path, dst: Path) -> None:
    atomsync("push", src, dst)
    (src / "a").write_bytes(b"1234567")
    done = atomsync("push", "-v", src, dst)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["updated", "created", "phases"]


# -- colours
def colours(shown: str) -> list[str]:
    return re.findall(r"\x1b\[[39]\dm", shown)


def on_both(line: list[str | bytes], cwd: Path, **env: str) -> tuple[int, str]:
    """Standard output and error on one terminal."""
    ours, theirs = os.openpty()
    environment = {
        **{k: v for k, v in os.environ.items() if k != "NO_COLOR"},
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    with subprocess.Popen(
        line, cwd=cwd, env={**environment, **env}, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return process.returncode, shown.decode(errors="replace")


def test_a_terminal_shows_what_comes_and_what_goes_in_colours(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path, plant: Plant
) -> None:
    plant(dst, {"extra": b""})
    line = atomsync.line("push", "-v", "--delete", src, dst)
    status, shown = on_both(line, tmp_path)
    assert status == 0
    assert "\x1b[32mcreated\x1b[0m  a" in shown
    assert "\x1b[31mremoved\x1b[0m  extra" in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_none(
    env: dict[str, str], atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    for words in (["push", "-v", src, dst], ["push", tmp_path / "none", dst], ["doctor", dst]):
        _, shown = on_both(atomsync.line(*words), tmp_path, **env)
        assert colours(shown) == []
        if env.get("TERM") == "dumb":
            assert "\x1b" not in shown


def test_an_error_is_red_and_a_pipe_is_plain(atomsync: Any, tmp_path: Path, dst: Path) -> None:
    _, shown = on_both(atomsync.line("push", tmp_path / "none", dst), tmp_path)
    assert "\x1b[31matomsync:\x1b[0m cannot push" in shown
    _, out, shown = on_terminal(atomsync.line("doctor", tmp_path), tmp_path)
    assert "\x1b" not in out


def test_a_name_cannot_be_taken_for_a_word_of_ours() -> None:
    assert painted("created  removed  x") == "\x1b[32mcreated\x1b[0m  removed  x"
    assert painted("created 3 · updated 0") == "created 3 · updated 0"
    assert painted("14:02:09 removed  x") == "14:02:09 \x1b[31mremoved\x1b[0m  x"
    assert painted("updated  atomsync: x") == "updated  atomsync: x"


def test_what_a_verification_found_outlives_its_bar(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path, plant: Plant
) -> None:
    atomsync("push", src, dst)
    plant(dst, {"extra": b""})
    _, shown = on_both(atomsync.line("verify", dst), tmp_path, NO_COLOR="1")
    assert re.fullmatch(r"extra     extra\r\nextra 1 · .*\r\n", shown.rpartition("\x1b[2K")[2])


def test_an_answer_is_not_written_behind_the_bar(atomsync: Any, tmp_path: Path, src: Path, dst: Path) -> None:
    line = atomsync.line("push", "--check", "kill -USR2 $PPID; sleep 0.3", src, dst)
    _, shown = on_both(line, tmp_path, NO_COLOR="1")
    assert re.search(r"\r\x1b\[2Katomsync: hook · \d\.\d s\r\n", shown), shown


# -- SIGUSR2
PROGRESS = r"atomsync: (start|scan|stage|check|seal|commit) .*· \d+\.\d s.*"


@pytest.mark.parametrize("option", ["", "-q", "--json"])
def test_who_asks_a_push_gets_one_line_and_the_push_goes_on(
    option: str, atomsync: Any, src: Path, dst: Path, strace: Any, assert_same_tree: Callable[..., None]
) -> None:
    with (src / "large").open("wb") as file:
        file.truncate(64 * MIB)
    ask = strace("-e", "trace=fsync,syncfs,renameat2", "-e", "inject=fsync,syncfs,renameat2:signal=USR2")
    done = atomsync("push", *([option] if option else []), src, dst, under=ask)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines
    assert all(re.fullmatch(PROGRESS, line) for line in lines), lines
    assert_same_tree(src, dst)


def test_the_line_tells_the_phase_the_bytes_and_how_long_it_will_take(
    atomsync: Any, src: Path, dst: Path, strace: Any
) -> None:
    (src / "large").write_bytes(os.urandom(MIB) * 64)
    ask = strace("-e", "trace=pwrite64,write", "-e", "inject=pwrite64:signal=USR2:when=30")
    done = atomsync("push", src, dst, under=ask)
    assert done.returncode == 0
    form = (
        r"atomsync: stage · \d of 3 files · (\d+)(\.\d)? MB of 67\.1 MB · \d+\.\d s"
        r" · about \d+ s left of this phase\n"
    )
    lines = done.stderr.splitlines(keepends=True)  # one for each of the threads that stage it
    found = [re.fullmatch(form, line) for line in lines]
    assert 1 <= len(lines) <= 2, lines
    assert all(found), lines
    assert all(0 < int(line[1]) < 67 for line in found if line)


def test_the_helper_of_a_large_push_is_asked_too_and_goes_on(
    atomsync: Any,
    tmp_path: Path,
    dst: Path,
    wait_until: Callable[..., Any],
    assert_same_tree: Callable[..., None],
) -> None:
    src = tmp_path / "many"
    src.mkdir()
    for number in range(3000):
        (src / f"f{number}").write_bytes(b"%d" % number * 100)
    process = atomsync.start("push", "--durability", "none", src, dst, start_new_session=True)
    wait_until(lambda: any(dst.parent.glob(".*/.atomsync/pending/*/slots/*")))
    for _ in range(5):
        os.killpg(process.pid, signal.SIGUSR2)
        assert re.fullmatch(PROGRESS + "\n", process.stderr.readline())
    assert process.wait(60) == 0
    assert_same_tree(src, dst)


def test_a_question_that_nobody_answers_kills_nobody(atomsync: Any, dst: Path, strace: Any) -> None:
    dst.mkdir()
    ask = strace("-e", "trace=flock,newfstatat", "-e", "inject=flock:signal=USR2")
    for verb in ("recover", "status", "doctor"):
        done = atomsync(verb, dst, under=ask)
        assert done.returncode == 0, done.stderr


def test_a_watch_tells_of_each_pair(
    atomsync: Any, src: Path, dst: Path, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    process = atomsync.start("watch", "--json", src, dst)
    for line in process.stdout:
        if json.loads(line)["event"] == "receipt":
            break
    process.send_signal(signal.SIGUSR2)
    found = next(each for line in process.stdout if (each := json.loads(line))["event"] == "watch-progress")
    assert found["destination"] == str(dst)
    assert found["state"] in ("syncing", "watching")
    assert found["phase"] == "commit"
    assert {"queue", "lag_s", "files", "of_files", "bytes", "of_bytes", "phase_s", "left_s"} <= found.keys()
    process.terminate()
    assert process.wait(20) == 0
    process = atomsync.start("watch", "-q", src, dst)
    wait_until(lambda: "watching" in atomsync("status", dst).stdout)
    process.send_signal(signal.SIGUSR2)
    line = process.stderr.readline()
    assert re.fullmatch(r"\d\d:\d\d:\d\d watching · 0 hints waiting · lag 0\.0 s\n", line)
    process.terminate()
    assert process.wait(20) == 0
