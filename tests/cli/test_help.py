"""The command line explains itself: help that reads well, and the nearest word for a misspelt one."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest

from atomsync.cli.app import group
from atomsync.cli.options import Told

TOP = click.Context(group, info_name="atomsync", obj=Told())
COMMANDS = group.list_commands(TOP)
MANY = 12  # more options than this are told in sections


def command(name: str) -> click.Command:
    found = group.get_command(TOP, name)
    assert found is not None
    return found


def examples(name: str) -> list[list[str]]:
    """The calls of atomsync in the help of a command, as words."""
    text = command(name).help or ""
    assert "Example" in text, f"the help of {name} has no example"
    calls: list[list[str]] = []
    for line in text.split("Example", 1)[1].splitlines()[1:]:
        for part in re.split(r"&&|\||;|>| {3,}(?=\S)", line.strip()):  # a remark stands behind some spaces
            words = shlex.split(part)
            if words[:1] == ["atomsync"]:
                calls.append(words[1:])
    return calls


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples_that_could_be_called_as_they_are(name: str) -> None:
    found = examples(name)
    assert any(words[0] == name for words in found)
    for verb, *words in found:
        command(verb).make_context(verb, list(words), parent=TOP).close()


def test_an_example_that_is_wrong_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        command("push").make_context("push", ["--delet", "src", "dst"], parent=TOP)
    with pytest.raises(click.UsageError):
        command("push").make_context("push", ["src"], parent=TOP)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_of_help_fits_the_terminal(name: str, atomsync: Any) -> None:
    for width in (80, 100):
        lines = atomsync(name, "--help", env={"COLUMNS": str(width)}).stdout.splitlines()
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("name", [name for name in COMMANDS if len(command(name).params) > MANY])
def test_many_options_are_told_in_sections_and_none_is_lost(name: str, atomsync: Any) -> None:
    text = atomsync(name, "--help").stdout
    sections = re.findall(r"^([A-Z][a-z ]+):$", text, re.M)
    assert sections[0] == "Options"
    assert sections[-1] == "Output"
    assert len(sections) == len(set(sections)) >= 3
    shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.M)
    wanted = [max(param.opts, key=len) for param in command(name).get_params(TOP) if param.opts[0][0] == "-"]
    assert sorted(shown) == sorted(wanted)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["pusch", "a", "b"], "'push'"),
        (["satus", "a"], "'status'"),
        (["push", "--delet", "a", "b"], "--delete"),
        (["push", "--durability", "ful", "a", "b"], "'full'"),
        (["push", "--on-unstable", "skp", "a", "b"], "'skip'"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(words: list[str], near: str, atomsync: Any) -> None:
    done = atomsync(*words)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert re.search(rf"[Dd]id you mean .*{re.escape(near)}", first)
    assert second.startswith("  Try: atomsync")


def test_a_missing_choice_is_told_on_one_line(atomsync: Any) -> None:
    first = atomsync("completion").stderr.splitlines()[0]
    assert first == "atomsync: Missing argument 'SHELL'. Choose from: bash, zsh, fish"


def test_what_is_near_nothing_gets_no_suggestion(atomsync: Any) -> None:
    assert "mean" not in atomsync("zzzz").stderr
    assert "mean" not in atomsync("push", "--durability", "zzzz", "a", "b").stderr
