"""``atomsync.toml``: the options of the command line by their names, and every mistake told where it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import pytest

from atomsync.cli import watch
from atomsync.cli.config import PROCESS, Config, keys, read
from atomsync.daemon.pair import Pair
from atomsync.errors import UsageError
from atomsync.follow.watching import POLL_S, WatchOptions

PAIR = '[[sync]]\nsource = "/src"\ndestination = "/dst"\n'


def config(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "atomsync.toml"
    path.write_text(text)
    return read(str(path), watch.command)


def only(tmp_path: Path, text: str) -> Pair:
    (found,) = config(tmp_path, PAIR + text).pairs
    return found


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        config(tmp_path, text)
    assert caught.value.what == f"cannot use {tmp_path}/atomsync.toml"
    assert caught.value.why
    assert caught.value.hint
    return str(caught.value)


# -- what it says
def test_a_pair_without_more_has_the_defaults_of_the_command_line(tmp_path: Path) -> None:
    found = only(tmp_path, "")
    assert found == Pair("/src", "/dst", (), False, WatchOptions())


def test_every_option_of_the_command_is_a_key_and_every_key_reaches_the_follower(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("# comment\nc\n")
    texts = {
        "delete": "true",
        "checksum": "true",
        "exclude": '["a", "#b"]',
        "include": '["d"]',
        "exclude-from": '"rules"',
        "gitignore": "true",
        "one-file-system": "true",
        "on-unstable": '"skip"',
        "durability": '"none"',
        "verify": '"media"',
        "state-dir": '"state"',
        "archive": "true",
        "hard-links": "true",
        "numeric-ids": "true",
        "xattrs": "true",
        "acls": "true",
        "max-delete": '"20%"',
        "on-drift": '"keep"',
        "accept-roots": "true",
        "expect-store": "true",
        "last": '["index.html", "*.htm"]',
        "keep": "7",
        "keep-bytes": '"10GB"',
        "message": '"nightly"',
        "check": '"make check"',
        "after": '"systemctl reload nginx"',
        "undo-on-failure": "true",
        "hook-timeout": '"1m"',
        "touch": '"reload"',
        "settle": '"250ms"',
        "max-wait": "4",
        "batch-max": '"20000,500MB"',
        "rescan": '"1h"',
        "poll": '"2s"',
    }
    options = [option for option in watch.command.params if isinstance(option, click.Option)]
    assert keys([option for option in options if option.name not in PROCESS]).keys() == texts.keys()
    found = only(tmp_path, "\n".join(f"{name} = {value}" for name, value in texts.items()))
    assert found.patterns == ("# comment", "c", "a", "\\#b", "!d")
    assert found.gitignore is True
    assert found.options == WatchOptions(
        delete=True,
        checksum=True,
        one_file_system=True,
        on_unstable="skip",
        durability="none",
        verify="media",
        state_dir=str(tmp_path / "state"),
        archive=True,
        hard_links=True,
        xattrs=True,
        acls=True,
        max_delete="20%",
        on_drift="keep",
        accept_roots=True,
        expect_store=True,
        last=("index.html", "*.htm"),
        keep=7,
        keep_bytes=10_000_000_000,
        message="nightly",
        check="make check",
        after="systemctl reload nginx",
        undo_on_failure=True,
        hook_timeout=60.0,
        touch="reload",
        settle_s=0.25,
        max_wait_s=4.0,
        batch_paths=20_000,
        batch_bytes=500_000_000,
        rescan_s=3600.0,
        poll_s=2.0,
    )


def test_what_the_command_line_and_the_config_say_is_the_same_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Pair] = []

    class Started:
        def __init__(self, pairs: list[Pair], *_more: object, **_options: object) -> None:
            started.extend(pairs)

        def run(self) -> None:
            pass

    monkeypatch.setattr(watch, "Service", Started)
    line = (
        "/src /dst --delete -x --exclude *.tmp --include keep.tmp --settle 1s --batch-max 9 --poll --keep 0"
    )
    watch.command.main(line.split(), standalone_mode=False)
    (tmp_path / "atomsync.toml").write_text(
        PAIR + 'delete = true\none-file-system = true\npatterns = ["*.tmp", "!keep.tmp"]\nsettle = 1\n'
        "batch-max = 9\npoll = true\nkeep = 0\n"
    )
    watch.command.main(["--config", str(tmp_path / "atomsync.toml")], standalone_mode=False)
    assert started[0] == started[1]
    assert started[0].options.poll_s == POLL_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ('"250ms"', 0.25),
        ('"2 s"', 2.0),
        ('"1.5"', 1.5),
        ('".5s"', 0.5),
        ('"2S"', 2.0),
    ],
)
def test_durations(text: str, seconds: float, tmp_path: Path) -> None:
    assert only(tmp_path, f"settle = {text}").options.settle_s == seconds


@pytest.mark.parametrize(
    ("text", "paths", "size"),
    [
        ("100", 100, WatchOptions().batch_bytes),
        ('"100"', 100, WatchOptions().batch_bytes),
        ('"1.5GB"', WatchOptions().batch_paths, 1_500_000_000),
        ('"2 MiB"', WatchOptions().batch_paths, 2 << 20),
        ('"1kib, 7"', 7, 1024),
    ],
)
def test_batch_sizes(text: str, paths: int, size: int, tmp_path: Path) -> None:
    options = only(tmp_path, f"batch-max = {text}").options
    assert (options.batch_paths, options.batch_bytes) == (paths, size)


@pytest.mark.parametrize(("text", "seconds"), [("true", POLL_S), ("false", None), ("3", 3.0)])
def test_polling(text: str, seconds: float | None, tmp_path: Path) -> None:
    assert only(tmp_path, f"poll = {text}").options.poll_s == seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9184", ("127.0.0.1", 9184)),
        ('"0.0.0.0:80"', ("0.0.0.0", 80)),
        ('"[::1]:9184"', ("::1", 9184)),
        ('"localhost:0"', ("localhost", 0)),
    ],
)
def test_metrics_are_of_the_whole_daemon(text: str, address: tuple[str, int], tmp_path: Path) -> None:
    assert config(tmp_path, f"[daemon]\nmetrics = {text}\n{PAIR}").metrics == address
    assert config(tmp_path, f"[daemon]\n{PAIR}").metrics is None


def test_paths_are_relative_to_the_file_they_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "atomsync.toml").write_text('[[sync]]\nsource = "a/b"\ndestination = "~/c"\n')
    (found,) = read("../atomsync.toml", watch.command).pairs
    assert os.path.realpath(found.source) == str(tmp_path / "a/b")
    assert found.destination == "/home/me/c"


def test_pairs_are_equal_as_long_as_nothing_about_them_changes(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("a\n")
    text = 'exclude-from = "rules"\n'
    before = only(tmp_path, text)
    assert only(tmp_path, text + "settle = 0.1\n") == before
    assert only(tmp_path, text + "settle = 0.2\n") != before
    (tmp_path / "rules").write_text("b\n")
    assert only(tmp_path, text) != before


def test_patterns_keep_their_order_and_come_last(tmp_path: Path) -> None:
    found = only(tmp_path, 'patterns = ["!a", "b"]\ninclude = "c"\nexclude = ["d"]\n')
    assert found.patterns == ("d", "!c", "!a", "b")


# -- mistakes
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("delte = true", ["[[sync]] number 1", "unknown key delte", "Did you mean delete?"]),
        ("max_wait = 2", ["unknown key max_wait", "Did you mean max-wait?"]),
        ("one_file_system = true", ["Did you mean one-file-system?"]),
        ("metrics = 9184", ["unknown key metrics"]),
        ("dry-run = true", ["unknown key dry-run"]),
        ("json = true", ["unknown key json"]),
        ("zzz = 1", ["unknown key zzz", "batch-max, check, checksum"]),
        ('delete = "yes"', ["delete is 'yes'", "true or false"]),
        ("delete = 1", ["delete is 1", "true or false"]),
        ("keep = -1", ["keep: -1 is not in the range"]),
        ("keep = true", ["keep is True", "whole number"]),
        ('keep = "5"', ["keep is '5'", "whole number"]),
        ("keep = 1.5", ["keep is 1.5", "whole number"]),
        ('durability = "half"', ["durability: 'half' is not one of 'full', 'none'"]),
        ("durability = 1", ["durability: "]),
        ("verify = []", ["verify: "]),
        ('on-unstable = ""', ["on-unstable: "]),
        ("exclude = 5", ["exclude is 5", "array of strings"]),
        ("exclude = [5]", ["exclude is 5", "not a string"]),
        ('exclude = [""]', ["exclude is empty"]),
        ('exclude = ["a\\u0000b"]', ["NUL"]),
        ("patterns = [[]]", ["patterns is []"]),
        ('exclude = ["[a"]\npatterns = ["!"]', ["pattern"]),
        ('exclude-from = "nowhere"', ["cannot read the patterns", "nowhere", "No such file"]),
        ('state-dir = ""', ["state-dir is empty"]),
        ("message = 5", ["message is 5", "not a string"]),
        ('settle = "2x"', ["settle: '2x' is no time such as 250ms"]),
        ('settle = ""', ["settle: ''"]),
        ("settle = true", ["settle: True"]),
        ("settle = -1", ["settle: -1"]),
        ("settle = nan", ["settle: nan"]),
        ("settle = inf", ["settle: inf"]),
        ('settle = "367d"', ["longer than a year"]),
        ("settle = 9999999999999", ["longer than a year"]),
        ("settle = 1979-05-27", ["settle: "]),
        ("settle = {}", ["settle: {}"]),
        ('settle = "3s"', ["cannot wait for 3 s of rest", "--max-wait ends it after 2 s"]),
        ("poll = 0", ["poll: 0 is shorter than 10ms"]),
        ('poll = "often"', ["poll: 'often'"]),
        ("batch-max = 0", ["batch-max: 0"]),
        ("batch-max = true", ["batch-max: True"]),
        ('batch-max = "1,2"', ["batch-max: '1,2'"]),
        ('batch-max = "1MB,2MB"', ["batch-max: '1MB,2MB'"]),
        ('batch-max = "1.5"', ["batch-max: '1.5'"]),
        ('batch-max = "5XB"', ["batch-max: '5XB'"]),
        ('batch-max = "1,"', ["batch-max: '1,'"]),
    ],
)
def test_a_wrong_value_is_told_with_its_key(text: str, words: list[str], tmp_path: Path) -> None:
    said = complaint(tmp_path, PAIR + text + "\n")
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no pairs", "[[sync]]"]),
        ("sync = []", ["no pairs"]),
        ("sync = 5", ["no pairs"]),
        ("sync = [1]", ["no pairs"]),
        ('[sync]\nsource = "a"\n', ["[sync]", "must be written [[sync]]"]),
        ("[[sync]]\n", ["[[sync]] number 1", "it has no source"]),
        ('[[sync]]\nsource = "a"\n', ["it has no destination"]),
        ('[[sync]]\nsource = ""\ndestination = "b"\n', ["source is empty"]),
        ('[[sync]]\nsource = ["a"]\ndestination = "b"\n', ["source is ['a']"]),
        ('[[sync]]\nsource = "a"\ndestination = "b\\u0000"\n', ["destination has a NUL"]),
        (
            PAIR + '[[sync]]\nsource = "x"\ndestination = "y"\nkep = 1\n',
            ["[[sync]] number 2", "Did you mean keep?"],
        ),
        (PAIR + "[[synk]]\n", ["unknown key synk", "Did you mean sync?"]),
        (PAIR + "[daemon]\nmetric = 1\n", ["[daemon]", "Did you mean metrics?"]),
        (PAIR + '[daemon]\nmetrics = "x:y"\n', ["[daemon]", "metrics: 'x:y' is no address"]),
        (PAIR + "[daemon]\nmetrics = 70000\n", ["metrics: 70000"]),
        (PAIR + "[daemon]\nmetrics = true\n", ["metrics: True"]),
        ("daemon = 5\n" + PAIR, ["[daemon]", "no table"]),
        (PAIR + "delete = \n", ["not TOML", "line 4"]),
        (PAIR + "delete = true\ndelete = true\n", ["not TOML", "overwrite"]),
        ("a = " + "[" * 5000, ["not"]),
    ],
)
def test_a_wrong_file_is_told_with_the_table(text: str, words: list[str], tmp_path: Path) -> None:
    said = complaint(tmp_path, text)
    for word in words:
        assert word in said


@pytest.mark.parametrize("other", ["/dst", "/dst/", "/x/../dst", "/./dst"])
def test_two_pairs_with_one_destination_are_refused(other: str, tmp_path: Path) -> None:
    said = complaint(tmp_path, f'{PAIR}[[sync]]\nsource = "/else"\ndestination = "{other}"\n')
    assert "[[sync]] number 2" in said
    assert "that of number 1" in said


def test_a_destination_by_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = '[[sync]]\nsource = "/a"\ndestination = "real"\n[[sync]]\nsource = "/b"\ndestination = "link"\n'
    assert "that of number 1" in complaint(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none: No such file"):
        read(str(tmp_path / "none"), watch.command)
    with pytest.raises(UsageError, match="Is a directory"):
        read(str(tmp_path), watch.command)
    (tmp_path / "latin").write_bytes(b'a = "\xe9"')
    with pytest.raises(UsageError, match="it is not UTF-8"):
        read(str(tmp_path / "latin"), watch.command)


# -- the page about it
def test_the_example_in_the_documents_is_a_config_and_its_table_names_every_key(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    found = config(tmp_path, example)
    assert [pair.destination for pair in found.pairs] == ["/srv/www", "/mnt/usb/photos"]
    assert found.metrics == ("127.0.0.1", 9184)
    assert found.pairs[1].patterns == ("*.raw", "!keep.raw")
    table = page[page.index("| key | value |") :].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    options = [option for option in watch.command.params if isinstance(option, click.Option)]
    known = keys([option for option in options if option.name not in PROCESS])
    assert named == {"source", "destination", "patterns", *known}


def test_a_destination_inside_another_is_refused(tmp_path: Path) -> None:
    text = '[[sync]]\nsource = "a"\ndestination = "d"\n[[sync]]\nsource = "b"\ndestination = "d/sub"\n'
    path = tmp_path / "atomsync.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"number 2.*lies in that of number 1"):
        read(str(path), watch.command)
