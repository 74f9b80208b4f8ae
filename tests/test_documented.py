"""Every command, option, exit status, JSON event and field is documented: here it fails when one is not."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import atomsync
from atomsync import errors
from atomsync.cli.app import group
from atomsync.cli.records import _OWN_NAMES
from docs.tools.commands import commands, exit_statuses
from docs.tools.man import write
from docs.tools.page import PAGE
from tests.conftest import _tool
from tests.documented import JSON_PAGE, events, undocumented

ROOT = Path(__file__).parents[1]
PACKAGE = Path(atomsync.__file__).parent
STATUSES = ROOT / "docs" / "exit-statuses.md"
TOP = click.Context(group)


# -- commands and options
def test_the_page_of_commands_is_up_to_date() -> None:
    # A process of its own: click remembers what other tests asked of a command.
    line = [sys.executable, "-m", "docs.tools.page", "-"]
    made = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    current = PAGE.read_text(encoding="utf-8")
    assert current.split() == made.split(), "docs/commands.md is not what --help says: run `make docs`"


@pytest.mark.parametrize("name", group.list_commands(TOP))
def test_every_command_and_option_is_on_that_page(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n## atomsync {name}\n")
    section = section.partition("\n## ")[0]
    assert section, f"atomsync {name} is not in docs/commands.md: run `make docs`"
    command = group.get_command(TOP, name)
    assert command is not None
    for param in command.params:
        if isinstance(param, click.Option):
            for word in param.opts:
                assert re.search(rf"(^|[ ,]){re.escape(word)}\b", section, re.M), f"{word}: run `make docs`"


def test_every_command_is_in_the_readme_or_a_page_it_links_to() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(each.read_text(encoding="utf-8") for each in pages if each != PAGE)
    missing = [name for name in group.list_commands(TOP) if f"atomsync {name}" not in text]
    assert missing == [], "each needs at least a line in README.md or in docs/"


# -- manual pages
@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.stem: path for path in write(tmp_path_factory.mktemp("man"))}


def test_there_is_a_manual_page_for_each_command(pages: dict[str, Path]) -> None:
    assert pages.keys() == {"atomsync", *(f"atomsync-{name}" for name in group.list_commands(TOP))}


def test_groff_has_no_complaint_about_any_of_them(pages: dict[str, Path]) -> None:
    for path in pages.values():
        line = [_tool("groff"), "-man", "-Tutf8", "-ww", "-z", "-K", "utf-8", path]
        done = subprocess.run(line, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path.name


def test_a_reader_of_a_manual_page_sees_every_option_as_it_is_typed(pages: dict[str, Path]) -> None:
    shown = {name: plain(path) for name, path in pages.items()}
    for command in commands():
        text = shown[f"atomsync-{command.name}" if command.name else "atomsync"]
        for records in command.sections.values():
            for words, _ in records:
                assert words in text, (command.name, words)
    for status, _ in exit_statuses():
        assert re.search(rf"^ +{status} ", shown["atomsync"], re.M), status
    assert "--exclude '*.tmp' photos/ /mnt/usb/photos" in shown["atomsync-push"]


def plain(path: Path) -> str:
    env = {"MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": "", "PATH": "/usr/bin:/bin"}
    line = [_tool("man"), "--warnings", "-E", "UTF-8", "-l", path]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=env)
    assert done.stderr == ""
    return re.sub(r".\x08", "", done.stdout)


# -- exit statuses
def rows() -> dict[int, set[str]]:
    found = re.findall(r"^\| (\d+) \|([^|]*)\|", STATUSES.read_text(encoding="utf-8"), re.M)
    return {int(status): set(re.findall(r"`([\w-]+)`", codes)) for status, codes in found}


def test_every_exit_status_has_its_row_with_its_codes_and_no_row_is_left_over() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type)]
    for kind in kinds:
        assert kind.code in rows().get(kind.exit_status, set()), f"{kind.__name__}: add it to {STATUSES.name}"
    known = {(kind.exit_status, kind.code) for kind in kinds}
    told = {(status, code) for status, codes in rows().items() for code in codes}
    assert told <= known


def test_the_exit_statuses_in_the_help_are_in_the_table() -> None:
    for command in commands():
        told = [line for line in (command.epilog, command.help) if "xit status" in line]
        for line in told:
            for status in re.findall(r"(?:xit status:? |, )(\d+)\b", line):
                assert int(status) in rows(), (command.name, status)


# -- JSON
def calls(tree: ast.Module, names: set[str]) -> list[list[str]]:
    """The texts among the first two arguments of each call of a function or method of these names."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in names:
                found.append(
                    [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant) and arg.value]
                )
    return found


def test_every_event_the_command_line_prints_has_its_row() -> None:
    named: set[str] = set()
    for path in sorted(PACKAGE.glob("cli/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named |= {texts[0] for texts in calls(tree, {"_line"}) if texts}
        for node in ast.walk(tree):
            if path.name.startswith("records") and isinstance(node, ast.Yield):
                first = node.value.elts[0] if isinstance(node.value, ast.Tuple) else None
                named |= {first.value} if isinstance(first, ast.Constant) else set()
    for path in sorted([*PACKAGE.glob("follow/*.py"), *PACKAGE.glob("daemon/*.py")]):
        told = {
            text for texts in calls(ast.parse(path.read_text("utf-8")), {"_tell", "tell"}) for text in texts
        }
        told -= {"synced"}  # whose lines are those of a push
        named |= {event if event in _OWN_NAMES else f"watch-{event}" for event in told}
    assert {"receipt", "status", "watch-started", "watch-progress", "held"} <= named
    assert named - events().keys() == set(), f"add them to {JSON_PAGE.name}"


def test_a_field_that_is_not_documented_would_be_noticed() -> None:
    good = {"schema": 1, "event": "flushed", "unit": None}
    assert undocumented(json.dumps(good)) == []
    assert undocumented(json.dumps({**good, "more": 1})) == ["flushed: more"]
    assert undocumented(json.dumps({**good, "event": "flash"})) == ["flash"]
    nested: dict[str, Any] = {"schema": 1, "event": "recovered", "conflicts": [{"path": "a", "odd": 1}]}
    assert undocumented(json.dumps(nested)) == ["recovered: odd"]
