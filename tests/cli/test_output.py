"""What the command prints: for people, for programs, on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import atomsync as package
from atomsync.cli.app import group

Plant = Callable[..., Path]
UNIT = r"\d{8}-\d{6}-\d{3}"
LAST_LINE = (
    r"created (?P<created>[\d,]+) · updated (?P<updated>[\d,]+) · removed (?P<removed>[\d,]+)"
    r" · unchanged (?P<unchanged>[\d,]+) · (?P<size>[\d.]+ [kMGT]?B) in (?P<seconds>\d+\.\d\d) s"
    r" · mixed window (?P<window>\d+\.\d) ms · unit (?P<unit>" + UNIT + ")"
)
MIB = 1 << 20


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"12345", "d/b": b"678", "d/link": "../a", "e": None})


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Every line of the output, read as JSON and checked for what every object must have."""
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found
    for each in found:
        assert each["schema"] == 1
        assert isinstance(each["event"], str)
    return found


def last_line(done: subprocess.CompletedProcess[str]) -> re.Match[str]:
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(LAST_LINE, done.stdout.splitlines()[-1])
    assert found, done.stdout
    return found


# -- people
def test_the_last_line_of_a_push_counts_what_was_done(
    atomsync: Any, src: Path, dst: Path, history: Callable[[Path], list[str]]
) -> None:
    done = atomsync("push", src, dst)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    said = last_line(done)
    assert said.group("created", "updated", "removed", "unchanged") == ("5", "0", "0", "0")
    assert said["size"] == "8 B"
    assert history(dst) == [said["unit"]]
    (src / "a").write_bytes(b"x" * 1500)
    (src / "e").rmdir()
    said = last_line(atomsync("push", "--delete", src, dst))
    assert said.group("created", "updated", "removed") == ("0", "1", "1")
    assert said["size"] == "1.5 kB"
    assert history(dst)[-1] == said["unit"]


def test_the_numbers_of_the_last_line_add_up_on_a_real_tree(
    atomsync: Any, real_tree: Callable[[str], Path], dst: Path
) -> None:
    src = real_tree("stdlib")
    entries = sum(len(dirs) + len(files) for _, dirs, files in os.walk(src))
    said = last_line(atomsync("push", src, dst))
    assert int(said["created"].replace(",", "")) == entries
    (dst / "os.py").unlink()
    (dst / "json" / "decoder.py").write_bytes(b"")
    said = last_line(atomsync("push", src, dst))
    assert said.group("created", "updated") == ("1", "1")
    assert int(said["unchanged"].replace(",", "")) in range(entries - 5, entries + 1)
    done = atomsync("push", src, dst)
    assert re.fullmatch(r"nothing to do: ([\d,]+) unchanged · \d+\.\d\d s\n", done.stdout)


def test_a_push_without_changes_says_that_there_is_nothing_to_do(atomsync: Any, src: Path, dst: Path) -> None:
    atomsync("push", src, dst)
    for more in ([], ["-v"], ["-c"], ["--delete"]):
        done = atomsync("push", *more, src, dst)
        assert (done.returncode, done.stderr) == (0, "")
        said, *phases = done.stdout.splitlines()
        assert re.fullmatch(r"nothing to do: \d+ unchanged · \d+\.\d\d s", said)
        assert len(phases) == (more == ["-v"])


def test_verbose_gives_each_changed_path_its_line(atomsync: Any, src: Path, dst: Path, plant: Plant) -> None:
    done = atomsync("push", "-v", src, dst)
    *paths, summary, phases = done.stdout.splitlines()
    assert paths == [
        "created  a",
        "created  d/",
        "created  d/b",
        "created  d/link -> ../a",
        "created  e/",
    ]
    assert re.fullmatch(
        r"phases in ms: scan \d+ · stage \d+ · verify \d+ · barriers \d+ · commit \d+", phases
    )
    assert re.fullmatch(LAST_LINE, summary)
    (src / "a").chmod(0o600)
    (src / "d" / "b").write_bytes(b"new")
    (src / "d" / "link").unlink()
    plant(src, {"d/link/inner": b""})
    (src / "e").rmdir()
    (src / "e").symlink_to("a")
    plant(dst, {"extra/x": b""})
    os.utime(src / "d", ns=(1, 1))
    done = atomsync("push", "-v", "--delete", src, dst)
    assert done.stdout.splitlines()[:-2] == [
        "updated  a (mode 0644 → 0600)",
        "updated  d/b",
        "updated  d/link/ (was a link)",
        "created  d/link/inner",
        "updated  e -> a (was a dir)",
        "removed  extra/",
        "removed  extra/x",
    ]


def test_verbose_names_the_attributes_that_changed(atomsync: Any, src: Path, dst: Path) -> None:
    atomsync("push", src, dst)
    (src / "d").chmod(0o750)
    os.utime(src / "a", ns=(1, 1))
    if os.geteuid() == 0:
        os.chown(src / "d" / "link", 4711, 4712, follow_symlinks=False)
    done = atomsync("push", "-v", "-c", src, dst)
    assert "updated  a (time)" in done.stdout
    assert "updated  d/ (mode 0755 → 0750)" in done.stdout
    if os.geteuid() == 0:
        assert "updated  d/link -> ../a (owner 0:0 → 4711:4712)" in done.stdout


def test_quiet_prints_nothing_when_all_is_well_and_errors_all_the_same(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    for _ in range(2):
        done = atomsync("push", "-q", src, dst)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = atomsync("push", "-q", tmp_path / "none", dst)
    assert done.returncode == 3
    assert done.stderr.startswith("atomsync: ")


def test_a_dry_run_prints_the_plan(atomsync: Any, src: Path, dst: Path, plant: Plant) -> None:
    done = atomsync("push", "-n", src, dst)
    assert (done.returncode, done.stderr) == (0, "")
    *paths, last = done.stdout.splitlines()
    assert [path.split()[1] for path in paths] == ["a", "d/", "d/b", "d/link", "e/"]
    form = r"would create 5 · update 0 · remove 0 · 0 unchanged · \d+\.\d\d s · nothing was touched"
    assert re.fullmatch(form, last)
    assert not dst.exists()
    atomsync("push", src, dst)
    plant(dst, {"extra": b""})
    (src / "a").write_bytes(b"new")
    *paths, last = atomsync("push", "-n", "--delete", src, dst).stdout.splitlines()
    assert paths == ["updated  a", "removed  extra"]
    assert last.startswith("would create 0 · update 1 · remove 1 · ")
    assert atomsync("push", "-n", "-q", "--delete", src, dst).stdout == ""
    atomsync("push", "--delete", src, dst)
    done = atomsync("push", "-n", "--delete", src, dst)
    assert re.fullmatch(r"nothing would change: \d+ unchanged · \d+\.\d\d s\n", done.stdout)


def test_the_counts_of_a_dry_run_are_those_of_the_push(
    atomsync: Any, real_tree: Callable[[str], Path], dst: Path
) -> None:
    atomsync("push", real_tree("website"), dst)
    line = "--json", "--delete", "--max-delete", "100%", real_tree("config"), dst
    foretold = objects(atomsync("push", "-n", *line))[-1]
    done = objects(atomsync("push", *line))[-1]
    for name in ("created", "updated", "removed", "unchanged"):
        assert foretold[name] == done[name], name


def test_what_was_left_out_is_said_on_stderr(atomsync: Any, src: Path, dst: Path) -> None:
    os.mkfifo(src / "pipe\n")
    done = atomsync("push", src, dst)
    assert done.returncode == 0
    assert done.stderr == "left out: pipe\\n (FIFO)\n"


def test_an_error_is_what_why_and_a_hint(atomsync: Any, tmp_path: Path, dst: Path) -> None:
    done = atomsync("push", tmp_path / "none", dst)
    assert done.stdout == ""
    assert done.stderr == (
        f"atomsync: cannot push from {tmp_path / 'none'}: it does not exist\n"
        "  SRC names a directory; its contents are pushed.\n"
    )


def test_a_closed_output_is_no_catastrophe(atomsync: Any, src: Path, dst: Path) -> None:
    line = " ".join(f"'{word}'" for word in atomsync.line("push", "-v", src, dst))
    done = subprocess.run(["sh", "-c", f"{line} | true"], check=False, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (dst / "a").read_bytes() == b"12345"


# -- programs
def test_a_push_in_json_is_one_receipt(
    atomsync: Any, src: Path, dst: Path, history: Callable[[Path], list[str]]
) -> None:
    (found,) = objects(atomsync("push", "--json", src, dst))
    assert found["event"] == "receipt"
    assert found["bytes"] == 8
    assert [found[name] for name in ("created", "updated", "removed", "unchanged")] == [5, 0, 0, 0]
    assert found["unit"] == history(dst)[0]
    assert found["swap_class"] == "exchange"
    assert found["durability"] == "full"
    assert found["warnings"] == []
    assert found["seconds"] > 0
    assert found["window_ms"] >= 0
    assert list(found["phases_ms"]) == ["scan", "stage", "verify", "barriers", "commit"]
    (found,) = objects(atomsync("push", "--json", src, dst))
    assert found["unit"] is None
    assert found["unchanged"] == 5


def test_verbose_json_has_an_object_for_each_changed_path(atomsync: Any, src: Path, dst: Path) -> None:
    (src / os.fsdecode(b"caf\xe9\n")).write_bytes(b"")
    os.mkfifo(src / "pipe")
    found = objects(atomsync("push", "--json", "-v", src, dst))
    changes = {each["path"]: each for each in found if each["event"] == "change"}
    assert changes.keys() == {"a", "d", "d/b", "d/link", "e", os.fsdecode(b"caf\xe9\n")}
    assert {each["change"] for each in changes.values()} == {"create"}
    assert [changes[path]["kind"] for path in ("a", "d", "d/link")] == ["file", "dir", "link"]
    (left_out,) = [each for each in found if each["event"] == "left-out"]
    assert (left_out["path"], left_out["kind"]) == ("pipe", "FIFO")
    (src / "a").chmod(0o600)
    (src / "d" / "b").unlink()
    found = objects(atomsync("push", "--json", "-v", "--delete", src, dst))
    changes = {each["path"]: (each["change"], each["content"]) for each in found if each["event"] == "change"}
    assert changes == {"a": ("update", False), "d/b": ("remove", True)}


def test_a_dry_run_in_json_is_a_plan(atomsync: Any, src: Path, dst: Path) -> None:
    found = objects(atomsync("push", "--json", "-n", src, dst))
    assert found[-1]["event"] == "plan"
    assert [found[-1][name] for name in ("created", "updated", "removed", "unchanged")] == [5, 0, 0, 0]
    assert not dst.exists()


def test_a_dry_run_in_json_lists_the_changes_as_it_does_for_people(
    atomsync: Any, src: Path, dst: Path
) -> None:
    found = objects(atomsync("push", "--json", "-n", src, dst))
    assert [each["path"] for each in found if each["event"] == "change"] == ["a", "d", "d/b", "d/link", "e"]


@pytest.mark.parametrize("words", [["push", "none", "dst"], ["recover", "none"], ["status", "none"]])
def test_an_error_in_json_is_an_object_too(words: list[str], atomsync: Any) -> None:
    done = atomsync(*words, "--json")
    (found,) = objects(done)
    assert done.returncode == 3
    assert (found["event"], found["code"], found["exit_status"]) == ("error", "root", 3)
    assert "none" in found["what"]
    assert found["why"]


def test_a_wrong_call_in_json_is_an_object_too(atomsync: Any) -> None:
    done = atomsync("push", "--json", "--no-such")
    (found,) = objects(done)
    assert (done.returncode, found["event"], found["code"]) == (1, "error", "usage")


def test_json_as_the_value_of_another_option_does_not_ask_for_json(atomsync: Any, tmp_path: Path) -> None:
    done = atomsync("push", "-m", "--json", tmp_path / "none", tmp_path / "dst")
    assert done.stdout == ""
    assert done.stderr.startswith("atomsync: ")


# -- a terminal
def on_terminal(line: list[str], cwd: Path) -> tuple[int, str, str]:
    """Run with stderr on a terminal: ``(exit status, stdout, what the terminal got)``."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", "COLUMNS": "100"}
    with subprocess.Popen(
        line, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not part:
                break
            shown += part
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, out, shown.decode(errors="replace")


def test_a_terminal_gets_a_bar_with_phase_files_and_bytes(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    for number in range(200):
        with (src / f"large {number}").open("wb") as file:
            file.truncate(8 * MIB)
    status, out, shown = on_terminal(atomsync.line("push", src, dst), tmp_path)
    assert status == 0
    assert re.fullmatch(LAST_LINE + "\n", out)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
    found = re.findall(r"(\d+) of 202 files · (\d+)(?:\.\d)? MB of 1\.7 GB", plain(shown))
    assert "stage" in plain(shown)
    assert any(0 < int(files) < 202 and int(size) > 0 for files, size in found)


def test_the_bar_moves_within_a_large_file(atomsync: Any, tmp_path: Path, src: Path, dst: Path) -> None:
    with (src / "large").open("wb") as file:
        file.truncate(300 * MIB)
    status, _, shown = on_terminal(atomsync.line("push", src, dst), tmp_path)
    assert status == 0
    found = re.findall(r"(\d+)(?:\.\d)? MB of 315 MB", plain(shown))
    assert any(0 < int(size) < 315 for size in found)


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


@pytest.mark.parametrize("option", ["-q", "--json"])
def test_quiet_and_json_have_no_bar_on_a_terminal_either(
    option: str, atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    status, _, shown = on_terminal(atomsync.line("push", option, src, dst), tmp_path)
    assert (status, shown) == (0, "")


def test_an_error_on_a_terminal_leaves_the_cursor_visible(
    atomsync: Any, tmp_path: Path, src: Path, dst: Path
) -> None:
    (src / "x").write_bytes(b"")
    (dst / "x" / "y").mkdir(parents=True)
    status, _, shown = on_terminal(atomsync.line("push", src, dst), tmp_path)
    assert status == 25
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")
    assert "--delete" in shown


def test_what_is_not_a_terminal_gets_no_escape_sequence(atomsync: Any, src: Path, dst: Path) -> None:
    done = atomsync("push", "-v", src, dst, env={"TERM": "xterm"})
    assert "\x1b" not in done.stdout + done.stderr


# -- recover and status
def cut(atomsync: Any, strace: Callable[..., list[str]], src: Path, dst: Path, state: str) -> None:
    """A push of new ``a`` and ``d/b``, killed at the rename that leaves the unit in this state."""
    names, unit = ("a", "d/b"), dst / ".atomsync" / "unit"
    old, new = ([(root / name).read_bytes() for name in names] for root in (dst, src))
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}  # Python renames the modules it has compiled
    for call in ("renameat2", "renameat"):
        for number in range(1, 20):
            kill = strace("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}")
            if atomsync("push", src, dst, under=kill, env=quiet).returncode == 0:
                break
            found = [(dst / name).read_bytes() for name in names]
            sealed = "sealed" if found == old else "whole" if found == new else "between"
            staged = any((dst / ".atomsync").glob("pending/*"))
            if (unit.exists() and state == sealed) or (staged and state == "staged"):
                return
            assert atomsync("recover", dst).returncode == 0
        for content in (old, new):  # it got through: once more from the beginning, with the other call
            for name, data in zip(names, content, strict=True):
                (src / name).write_bytes(data)
            if content is old:
                assert atomsync("push", src, dst).returncode == 0
    pytest.fail(f"no push was cut so that its unit is {state}")


@pytest.fixture
def pushed(atomsync: Any, src: Path, dst: Path) -> Path:
    assert atomsync("push", src, dst).returncode == 0
    (src / "a").write_bytes(b"new a")
    (src / "d" / "b").write_bytes(b"new b")
    return dst


def test_recover_of_a_sound_store_says_that_there_is_nothing(
    atomsync: Any, tmp_path: Path, pushed: Path
) -> None:
    (tmp_path / "plain").mkdir()
    for dst in (pushed, tmp_path / "plain"):
        done = atomsync("recover", dst)
        assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to recover\n", "")
        (found,) = objects(atomsync("recover", "--json", dst))
        assert (found["event"], found["action"], found["unit"]) == ("recovered", "clean", None)
    assert os.listdir(tmp_path / "plain") == []


def test_recover_discards_a_unit_that_was_still_being_staged(
    atomsync: Any, src: Path, pushed: Path, strace: Callable[..., list[str]]
) -> None:
    cut(atomsync, strace, src, pushed, "staged")
    assert "still being staged" in atomsync("status", pushed).stdout
    done = atomsync("recover", pushed)
    assert done.returncode == 0
    assert re.fullmatch(r"recovered: an unfinished unit was discarded: .+\n", done.stdout)
    assert atomsync("recover", pushed).stdout == "nothing to recover\n"
    assert (pushed / "a").read_bytes() == b"12345"


def test_recover_rolls_back_a_unit_cut_between_its_swaps(
    atomsync: Any, src: Path, pushed: Path, strace: Callable[..., list[str]]
) -> None:
    cut(atomsync, strace, src, pushed, "between")
    assert (pushed / "a").read_bytes() == b"new a"
    assert (pushed / "d" / "b").read_bytes() == b"678"
    said = atomsync("status", pushed).stdout
    assert re.search(rf"unfinished: unit {UNIT}, cut during its commit; recovery will roll it back", said)
    (found,) = objects(atomsync("status", "--json", pushed))
    assert "roll it back" in found["unfinished"]
    done = atomsync("recover", pushed)
    assert done.returncode == 0
    assert re.fullmatch(rf"recovered: unit {UNIT} was rolled back: .+\n", done.stdout)
    assert (pushed / "a").read_bytes() == b"12345"


def test_recover_finishes_a_unit_cut_behind_its_commit_point(
    atomsync: Any, src: Path, pushed: Path, strace: Callable[..., list[str]]
) -> None:
    cut(atomsync, strace, src, pushed, "whole")
    (found,) = objects(atomsync("recover", "--json", pushed))
    assert (found["event"], found["action"], found["conflicts"]) == ("recovered", "finished", [])
    assert re.fullmatch(UNIT, found["unit"])
    assert (pushed / "a").read_bytes() == b"new a"
    assert found["unit"] in atomsync("status", pushed).stdout


@pytest.mark.parametrize(
    ("state", "action"),
    [("staged", "discarded"), ("sealed", "rolled back"), ("between", "rolled back"), ("whole", "finished")],
)
def test_a_push_recovers_by_itself_and_says_so(
    state: str,
    action: str,
    atomsync: Any,
    src: Path,
    pushed: Path,
    strace: Callable[..., list[str]],
    assert_same_tree: Callable[..., None],
) -> None:
    cut(atomsync, strace, src, pushed, state)
    done = atomsync("push", src, pushed)
    assert done.returncode == 0
    assert re.match(rf"recovered: .* was {action}: ", done.stderr)
    assert_same_tree(src, pushed)
    (src / "a").write_bytes(b"newer")
    cut(atomsync, strace, src, pushed, "staged")
    found = objects(atomsync("push", "--json", src, pushed))
    assert [each["event"] for each in found] == ["recovered", "receipt"]


def test_recover_tells_of_the_work_of_others_it_met(
    atomsync: Any, src: Path, pushed: Path, strace: Callable[..., list[str]]
) -> None:
    cut(atomsync, strace, src, pushed, "between")
    (pushed / "aside").write_bytes(b"saved by an editor")
    os.replace(pushed / "aside", pushed / "a")
    done = atomsync("recover", pushed)
    assert done.returncode == 41
    assert "conflict: a: " in done.stdout
    assert (pushed / "a").read_bytes() == b"saved by an editor"
    kept = re.search(r"kept as (\S+)", done.stdout)
    assert kept
    assert (pushed / ".atomsync" / kept[1]).read_bytes() == b"12345"
    assert "conflicts kept: " in atomsync("status", pushed).stdout


def test_status_shows_the_last_unit_and_changes_nothing(
    atomsync: Any, tmp_path: Path, pushed: Path, history: Callable[[Path], list[str]], unchanged: Any
) -> None:
    with unchanged(pushed, control=True):
        done = atomsync("status", pushed)
        (found,) = objects(atomsync("status", "--json", pushed))
    assert done.stdout.splitlines() == [
        f"last unit: {history(pushed)[0]} · created 5 · updated 0 · removed 0",
        "unfinished: none",
        "lock: free",
    ]
    assert found["event"] == "status"
    assert found["exists"] is True
    assert (found["unfinished"], found["holder"], found["conflicts"]) == (None, None, [])
    assert found["last"]["unit_id"] == history(pushed)[0]
    assert found["last"]["created"] == 5
    (tmp_path / "plain").mkdir()
    with unchanged(tmp_path / "plain", control=True):
        assert atomsync("status", tmp_path / "plain").stdout == "no unit was ever committed here\n"
        (found,) = objects(atomsync("status", "--json", tmp_path / "plain"))
        assert (found["exists"], found["last"]) == (False, None)


# -- the command itself
def test_the_version_is_that_of_the_package(atomsync: Any) -> None:
    done = atomsync("--version")
    assert (done.returncode, done.stdout) == (0, f"atomsync {package.__version__}\n")


def test_the_installed_command_and_the_module_are_the_same(atomsync: Any) -> None:
    script = Path(sys.executable).parent / "atomsync"
    if not script.exists():
        pytest.skip("atomsync is not installed as a command beside this interpreter")
    for words in (["--version"], ["--help"], ["push", "--help"], ["push", "none", "dst"]):
        environment = {**os.environ, "COLUMNS": "100"}
        other = subprocess.run([script, *words], check=False, capture_output=True, text=True, env=environment)
        done = atomsync(*words)
        assert (other.returncode, other.stdout) == (done.returncode, done.stdout)


COMMANDS = group.list_commands(click.Context(group))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_mentions_every_option_and_says_what_it_does(name: str, atomsync: Any) -> None:
    done = atomsync(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for option in command.params:
        if option.param_type_name == "argument":
            assert option.metavar in done.stdout
            continue
        assert option.help, option.opts
        for word in option.opts:
            assert re.search(rf"(^|[ ,]){re.escape(word)}\b", done.stdout, re.M), word


def test_help_lists_the_commands(atomsync: Any) -> None:
    done = atomsync("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", done.stdout, re.M)
    assert atomsync("-h").stdout == done.stdout


def test_a_command_that_does_not_exist_is_a_wrong_call(atomsync: Any) -> None:
    done = atomsync("pull", "a", "b")
    assert done.returncode == 1
    assert "pull" in done.stderr
    assert "--help" in done.stderr


def test_no_command_at_all_shows_the_help(atomsync: Any) -> None:
    done = atomsync()
    assert "push" in done.stdout + done.stderr
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("more", [(), ("--json",), ("--diff",)])
def test_whoever_reads_only_the_beginning_of_a_show_is_told_of_no_error(
    more: tuple[str, ...], atomsync: Any, tmp_path: Path
) -> None:
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    for number in range(3_000):
        (src / f"{number}").touch()
    assert atomsync("push", src, dst).returncode == 0
    process = atomsync.start("show", *more, dst)
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert (process.wait(timeout=30), said) == (1, "")
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--version", 44),
        ("status {dst}", 44),
        ("log --json {dst}", 44),
        ("push {dst} {src}/none/none", 3),
        ("push {src} {dst}", 0),
        ("push --json {src} {dst}", 0),
        ("push --json {src}/none {dst}", 3),
        ("bogus", 1),
    ],
)
def test_the_exit_status_is_right_also_if_nothing_can_be_told(
    words: str, status: int, tmp_path: Path, src: Path, dst: Path
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    code = "from atomsync.cli import main; main()"
    line = [sys.executable, "-c", code, *words.format(src=src, dst=dst).split()]
    subprocess.run([*line[:3], "push", src, dst], env=env, check=True, capture_output=True)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == status
        assert "Traceback" not in done.stderr
        assert "ignored" not in done.stderr
        assert subprocess.run(line, env=env, stdout=full, stderr=full).returncode == status
