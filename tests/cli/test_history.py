"""log, show, undo, restore and gc, as people and programs use them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from atomsync.cli.quantities import size, unit_or_time

Plant = Callable[..., Path]
UNIT = r"\d{8}-\d{6}-\d{3}"
COMMANDS = (["log"], ["show"], ["undo"], ["restore", "--to", "@"], ["gc"])


@pytest.fixture
def dst(tmp_path: Path, plant: Plant, atomsync: Any) -> Path:
    """Pushed to three times; the third time was a mistake."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    trees: list[dict[str, bytes | str]] = [
        {"index.html": b"<h1>one</h1>\n", "img/a.png": b"\x89PNG\0\1"},
        {"index.html": b"<h1>one</h1>\n<p>two</p>\n", "img/a.png": b"\x89PNG\0\2", "new": b"n\n"},
        {"index.html": b""},
    ]
    for number, tree in enumerate(trees, 1):
        if src.exists():
            os.rename(src, tmp_path / f"src-{number}")
        plant(src, tree)
        done = atomsync("push", "--delete", "-m", f"release {number}\nfor all", src, dst)
        assert done.returncode == 0, done.stderr
    return dst


def files(dst: Path) -> dict[str, bytes]:
    found = {path.relative_to(dst).as_posix(): path for path in dst.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".atomsync/")}


def units(dst: Path, atomsync: Any) -> list[str]:
    """The last first."""
    return [each["unit_id"] for each in objects(atomsync("log", "--json", dst))]


def objects(done: Any) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- looking
def test_the_log_shows_units_as_git_does(dst: Path, atomsync: Any) -> None:
    done = atomsync("log", dst)
    assert done.stderr == ""
    first, *others = done.stdout.split("\n\nunit ")
    assert len(others) == 2
    assert re.fullmatch(
        rf"unit {UNIT}\ndate: \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{{4}}\nwho:  \S+@\S+\n"
        r"      created 0 · updated 1 · removed 3 · old versions occupy [\d.]+ k?B\n\n"
        r"    release 3\n    for all",
        first,
    ), first


def test_the_log_fits_a_line_and_shows_as_many_as_are_wanted(dst: Path, atomsync: Any) -> None:
    lines = atomsync("log", "--oneline", "-n", "2", dst).stdout.splitlines()
    assert [
        re.fullmatch(rf"{UNIT} created \d · updated \d · removed \d · (.*)", line)[1] for line in lines
    ] == [  # type: ignore[index]
        "release 3",
        "release 2",
    ]
    assert atomsync("log", "-n", "0", dst).stdout == ""


def test_a_program_reads_the_log(dst: Path, atomsync: Any) -> None:
    found = objects(atomsync("log", "--json", dst))
    assert [each["message"] for each in found] == [f"release {number}\nfor all" for number in (3, 2, 1)]
    assert {*found[0]} == {
        *("schema", "event", "unit_id", "committed_ns", "who", "message", "created", "updated", "removed"),
        *("bytes_kept", "undoes", "restores"),
    }
    assert abs(found[0]["committed_ns"] / 1e9 - time.time()) < 60
    assert (found[0]["event"], found[0]["undoes"]) == ("unit", None)


def test_show_tells_the_paths_of_a_unit_and_their_digests(dst: Path, atomsync: Any) -> None:
    digests = {each["path"]: each for each in objects(atomsync("show", "--json", dst, "@~1"))[1:]}
    assert {path: (each["change"], each["kind"]) for path, each in digests.items()} == {
        "img/a.png": ("update", "file"),
        "index.html": ("update", "file"),
        "new": ("create", "file"),
    }
    import xxhash

    html = digests["index.html"]
    assert html["old_digest"] == xxhash.xxh3_128_hexdigest(b"<h1>one</h1>\n")
    assert html["new_digest"] == xxhash.xxh3_128_hexdigest(b"<h1>one</h1>\n<p>two</p>\n")
    assert digests["new"]["old_digest"] is None
    lines = atomsync("show", dst, "@~1").stdout.splitlines()
    assert lines[-1] == f"created  new  - → {digests['new']['new_digest'][:12]}"


def test_show_compares_texts_and_says_of_others_why_not(dst: Path, atomsync: Any) -> None:
    out = atomsync("show", "--diff", dst, "@~1").stdout
    assert "--- a/index.html\n+++ b/index.html\n@@ -1 +1,2 @@\n <h1>one</h1>\n+<p>two</p>\n" in out
    assert re.search(r"updated  img/a.png  \w+ → \w+\n  \(binary\)\n", out)
    assert "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+n\n" in out
    changes = {each.get("path"): each for each in objects(atomsync("show", "--diff", "--json", dst, "@~1"))}
    assert changes["index.html"]["diff"][-1] == "+<p>two</p>"
    assert (changes["img/a.png"]["diff"], changes["img/a.png"]["note"]) == (None, "binary")


def test_texts_that_would_take_minutes_to_compare_are_not_compared(
    tmp_path: Path, plant: Plant, atomsync: Any
) -> None:
    src = plant(tmp_path / "src", {"f": "".join(f"{n % 110}\n" for n in range(80_000)).encode()})
    atomsync("push", src, tmp_path / "dst")
    plant(src, {"f": "".join(f"{n * 7 % 113}\n" for n in range(80_000)).encode()})
    atomsync("push", src, tmp_path / "dst")
    out = atomsync("show", "--diff", tmp_path / "dst").stdout
    assert out.endswith("(too many lines that repeat to compare)\n")


def test_a_text_cannot_write_to_the_terminal(tmp_path: Path, plant: Plant, atomsync: Any) -> None:
    src = plant(tmp_path / "src", {"f": b"\x1b[31mred\x07\ttab\r\nno end \xff"})
    atomsync("push", src, tmp_path / "dst")
    out = atomsync("show", "--diff", tmp_path / "dst").stdout
    assert "+\\x1b[31mred\\x07\ttab\\r\n" in out
    assert out.endswith("+no end \\xff\n\\ No newline at end of file\n")


def test_looking_changes_nothing_and_needs_no_lock(dst: Path, atomsync: Any, tmp_path: Path) -> None:
    import fcntl

    before = sorted((path.as_posix(), path.lstat().st_ctime_ns) for path in dst.rglob("*"))
    with (dst / ".atomsync/lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (
            ["log"],
            ["show"],
            ["show", "--diff"],
            ["undo", "-n"],
            ["restore", "-n", "--to", "@~1"],
        ):
            assert atomsync(*words, dst).returncode == 0
    assert sorted((path.as_posix(), path.lstat().st_ctime_ns) for path in dst.rglob("*")) == before


# -- going back
def test_a_mistake_is_undone_and_done_again(dst: Path, atomsync: Any) -> None:
    wrong = files(dst)
    dry = atomsync("undo", "-n", dst)
    assert dry.stdout.splitlines()[:2] == ["created  img/", "created  img/a.png"]
    assert "would create 3 · update 1 · remove 0 · nothing was touched" in dry.stdout
    assert files(dst) == wrong
    done = atomsync("undo", dst)
    assert re.fullmatch(
        rf"undo of unit {UNIT}: created 3 · updated 1 · removed 0 · mixed window [\d.]+ ms · unit {UNIT}\n",
        done.stdout,
    ), done.stdout
    assert files(dst)["index.html"] == b"<h1>one</h1>\n<p>two</p>\n"
    assert re.search(rf"^unit {UNIT} \(undoes {UNIT}\)$", atomsync("log", "-n1", dst).stdout, re.M)
    assert atomsync("undo", "-q", dst).stdout == ""
    assert files(dst) == wrong


def test_an_undo_in_the_way_of_others_is_refused_with_a_list(dst: Path, atomsync: Any) -> None:
    (dst / "index.html").write_bytes(b"mended by hand")
    done = atomsync("undo", dst)
    assert done.returncode == 25
    assert "1 path was changed since: index.html (changed by somebody else)" in done.stderr
    assert "--force" in done.stderr
    forced = atomsync("undo", "--force", dst)
    assert "in the history of this unit now: index.html" in forced.stderr
    assert atomsync("undo", dst).returncode == 0
    assert files(dst)["index.html"] == b"mended by hand"


def test_to_go_back_gives_up_nothing_of_what_one_could_go_back_to(dst: Path, atomsync: Any) -> None:
    for _ in range(2):
        assert atomsync("undo", dst).returncode == 0
        assert atomsync("restore", "--to", "@~1", dst).returncode == 0
    assert len(units(dst, atomsync)) == 7
    assert atomsync("undo", "--keep", "2", dst).returncode == 0
    assert len(units(dst, atomsync)) == 2


def test_a_program_reads_an_undo(dst: Path, atomsync: Any) -> None:
    last, *_ = units(dst, atomsync)
    *changes, plan = objects(atomsync("undo", "-n", "--json", dst))
    assert (plan["event"], plan["undoes"], plan["created"], plan["lost"]) == ("plan", last, 3, [])
    assert len(changes) == 4
    (receipt,) = objects(atomsync("undo", "--json", dst))
    assert (receipt["event"], receipt["undoes"], receipt["created"]) == ("receipt", last, 3)
    assert receipt["unit"] == units(dst, atomsync)[0]


def test_everything_or_some_paths_go_back_to_a_unit(dst: Path, atomsync: Any) -> None:
    first = units(dst, atomsync)[-1]
    done = atomsync("restore", "--to", first, dst, "img/")
    assert done.stdout.startswith(f"back to unit {first}: created 2 · updated 0 · removed 0")
    assert files(dst) == {"index.html": b"", "img/a.png": b"\x89PNG\0\1"}
    assert atomsync("restore", "--to", first[:-1], dst).returncode in (0, 1)  # if no other begins so
    atomsync("restore", "--to", first, dst)
    assert files(dst) == {"index.html": b"<h1>one</h1>\n", "img/a.png": b"\x89PNG\0\1"}


def test_a_time_before_the_history_is_refused(dst: Path, atomsync: Any) -> None:
    done = atomsync("restore", "--to", "2h", dst)
    assert done.returncode == 1
    assert f"the history goes back to unit {units(dst, atomsync)[-1]}" in done.stderr
    assert atomsync("restore", "--to", "0s", dst).stdout.endswith("nothing to do\n")


def test_a_time_to_come_is_refused(dst: Path, atomsync: Any) -> None:
    done = atomsync("restore", "--to", "2999-01-01", dst)
    assert (done.returncode, done.stderr) == (
        1,
        "atomsync: cannot go back to 2999-01-01 00:00:00: it is still to come\n",
    )


@pytest.mark.parametrize("words", [["show", "@~9"], ["undo", "19990101"], ["restore", "--to", "x"]])
def test_a_unit_that_there_is_not_is_refused_and_the_way_to_find_one_is_told(
    dst: Path, atomsync: Any, words: list[str]
) -> None:
    verb, *rest = words
    done = atomsync(verb, dst, *rest)
    assert done.returncode == 1
    assert "atomsync log DST" in done.stderr
    assert json.loads(atomsync(verb, dst, *rest, "--json").stdout)["code"] == "usage"


def test_a_misspelt_path_is_not_taken_for_one_that_needs_nothing(dst: Path, atomsync: Any) -> None:
    done = atomsync("restore", "--to", "@~1", dst, "index.html", "idx.html")
    assert done.returncode == 1
    assert "cannot restore idx.html: it is not there" in done.stderr
    assert files(dst) == {"index.html": b""}
    assert "created 2 " in atomsync("restore", "--to", "@~1", dst, "img/").stdout
    assert atomsync("restore", "--to", "@", dst, "img", "index.html").returncode == 0


def test_numbers_and_words_agree_where_the_history_is_too_short(dst: Path, atomsync: Any) -> None:
    atomsync("gc", "--keep", "1", dst)
    assert (
        "cannot go back 1 unit from the last one: the history has 1 unit\n"
        in atomsync("show", dst, "@~1").stderr
    )
    assert atomsync("gc", dst).stdout == "nothing to give up · 1 unit kept\n"


def test_a_log_of_nothing_says_so(tmp_path: Path, atomsync: Any) -> None:
    done = atomsync("log", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("the history is empty")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_where_there_is_no_destination_it_says_so_and_makes_none(
    tmp_path: Path, atomsync: Any, words: list[str]
) -> None:
    done = atomsync(*words, tmp_path / "none")
    assert done.returncode == 3
    assert "it does not exist" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_where_no_unit_ever_was_nothing_is_made(tmp_path: Path, atomsync: Any, words: list[str]) -> None:
    (tmp_path / "dst").mkdir()
    assert atomsync(*words, tmp_path / "dst").returncode == (0 if words[0] in ("log", "gc") else 1)
    assert [*(tmp_path / "dst").iterdir()] == []


# -- tidying
def test_gc_says_what_it_gave_up(dst: Path, atomsync: Any) -> None:
    before = files(dst)
    assert atomsync("gc", dst).stdout == "nothing to give up · 3 units kept\n"
    found = units(dst, atomsync)
    (told,) = objects(atomsync("gc", "--json", "--keep", "1", dst))
    assert (told["event"], told["units"], told["left"], told["warnings"]) == ("gc", found[:0:-1], 1, [])
    assert told["bytes"] > 0
    assert atomsync("gc", "--keep-bytes", "0", dst).stdout.startswith("gave up 1 unit, ")
    assert files(dst) == before


def test_a_push_keeps_no_more_than_it_is_told(dst: Path, tmp_path: Path, plant: Plant, atomsync: Any) -> None:
    plant(tmp_path / "src", {"index.html": b"x" * 100_000})
    assert atomsync("push", "--keep-bytes", "1MB", tmp_path / "src", dst).returncode == 0
    assert len(units(dst, atomsync)) == 4
    plant(tmp_path / "src", {"index.html": b"y" * 100})
    done = atomsync("push", "--keep-bytes", "10kB", tmp_path / "src", dst)
    assert "it cannot be undone" in done.stderr
    assert units(dst, atomsync) == []


def test_a_state_directory_serves_every_command(tmp_path: Path, plant: Plant, atomsync: Any) -> None:
    src, dst = plant(tmp_path / "src", {"f": b"1"}), tmp_path / "dst"
    state = ["--state-dir", tmp_path / "state"]
    for data in (b"1", b"2"):
        plant(src, {"f": data})
        time.sleep(0.01)
        assert atomsync("push", "-c", *state, src, dst).returncode == 0
    for words in COMMANDS:
        done = atomsync(*words, *state, dst)
        assert done.returncode == 0, done.stderr
    assert files(dst) == {"f": b"1"}
    assert not (dst / ".atomsync").exists()


# -- words
def test_times_are_read_as_people_write_them() -> None:
    now = datetime.now().astimezone()
    for text, ago in (("2h", timedelta(hours=2)), ("1d", timedelta(days=1)), ("90s", timedelta(seconds=90))):
        found = unit_or_time(text)
        assert isinstance(found, datetime)
        assert abs(now - ago - found) < timedelta(seconds=5)
    assert unit_or_time("2026-11-21") == datetime(2026, 11, 21).astimezone()
    assert unit_or_time("2026-11-21 14:30") == datetime(2026, 11, 21, 14, 30).astimezone()
    assert unit_or_time("2026-11-21T14:30:05Z") == datetime.fromisoformat("2026-11-21T14:30:05Z")
    assert unit_or_time("9:05") == now.replace(hour=9, minute=5, second=0, microsecond=0)
    for unit in ("@", "@~1", "20261121-090403-542", "20261121", "2026", "nonsense", "25:99", "2026-13-01"):
        assert unit_or_time(unit) == unit
    for unit in ("0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"):
        assert unit_or_time(unit) == unit


@pytest.mark.parametrize(("text", "wanted"), [("0", 0), ("12", 12), ("10GB", 10**10), ("1.5 KiB", 1536)])
def test_sizes_are_read_as_people_write_them(text: str, wanted: int) -> None:
    assert size(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "-1", "5 parsecs", "GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size(text)


def test_whoever_has_the_store_is_named_and_nothing_is_done(dst: Path, atomsync: Any, tmp_path: Path) -> None:
    import fcntl

    before = files(dst)
    with (dst / ".atomsync/lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["undo"], ["restore", "--to", "@~1"], ["gc", "--keep", "0"]):
            assert atomsync(*words, dst).returncode == 40
    assert files(dst) == before
    assert len(units(dst, atomsync)) == 3


def test_who_is_not_root_takes_back_what_is_theirs(public_dir: Path, plant: Plant, atomsync: Any) -> None:
    src, dst = public_dir / "src", public_dir / "dst"
    user: dict[str, Any] = {"user": 65534, "cwd": public_dir}
    plant(src, {"closed/keep": b"1", "closed/change": b"1", "gone/deep/f": b"1", "link": "closed"})
    os.chmod(src / "closed", 0o555)
    os.chown(public_dir, 65534, 65534)
    assert atomsync("push", "--delete", src, dst, **user).returncode == 0
    before = files(dst)
    times = {path.as_posix(): path.lstat().st_mtime_ns for path in [dst, *dst.rglob("[!.]*")]}
    plant(src, {"closed/change": b"22", "closed/new": b"2"})
    (src / "gone/deep/f").unlink()
    (src / "gone/deep").rmdir()
    assert atomsync("push", "--delete", src, dst, **user).returncode == 0
    for wanted in (before, None, before):
        done = atomsync("undo", dst, **user)
        assert done.returncode == 0, done.stderr
        assert wanted in (None, files(dst))
    found = {path.as_posix(): path.lstat().st_mtime_ns for path in [dst, *dst.rglob("[!.]*")]}
    assert {path: when for path, when in found.items() if "/.atomsync/" not in path} == {
        path: when for path, when in times.items() if "/.atomsync/" not in path
    }
    assert (dst / "closed").stat().st_mode & 0o7777 == 0o555


def test_a_closed_directory_that_went_as_a_whole_comes_back_again_and_again(
    public_dir: Path, plant: Plant, atomsync: Any
) -> None:
    """Whoever is not root may not drop a name in a directory that is closed to its owner."""
    src, dst = public_dir / "src", public_dir / "dst"
    user: dict[str, Any] = {"user": 65534, "cwd": public_dir}
    os.chown(public_dir, 65534, 65534)
    plant(src, {"closed/f": b"1", "closed/below/g": b"2", "h": b"3"})
    for name in ("closed/below", "closed"):
        (src / name).chmod(0o555)
    assert atomsync("push", src, dst, **user).returncode == 0
    os.rename(src, public_dir / "first")
    plant(src, {"h": b"3"})
    assert atomsync("push", "--delete", src, dst, **user).returncode == 0
    for wanted in (True, False, True):
        done = atomsync("undo", dst, **user)
        assert (done.returncode, done.stderr) == (0, "")
        assert (dst / "closed/below/g").exists() == wanted
    assert (dst / "closed").stat().st_mode & 0o777 == 0o555
    assert (dst / "closed/below/g").stat().st_nlink == 1
