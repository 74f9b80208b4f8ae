"""Every command as click knows it: what the manual pages and docs/commands.md are made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from atomsync.cli.app import group

ROOT = Path(__file__).parents[2]


class Command(NamedTuple):
    """``paragraphs``: of the help, those with kept line breaks as lists of lines. ``sections``: heading →
    options, each with its help."""

    name: str
    summary: str
    usage: str
    paragraphs: list[str | list[str]]
    sections: dict[str, list[tuple[str, str]]]
    epilog: str
    help: str


def commands(width: int = 100) -> Iterator[Command]:
    """The group itself first (its name is ""), then every command; ``help`` as it is printed at ``width``."""
    top = click.Context(group, info_name="atomsync", terminal_width=width, **group.context_settings)
    yield _command("", group, top)
    for name in group.list_commands(top):
        command = group.get_command(top, name)
        assert command is not None
        yield _command(name, command, click.Context(command, top, name, terminal_width=width))


def exit_statuses() -> Iterator[tuple[str, str]]:
    """``(status, meaning)``, from the table in docs/exit-statuses.md."""
    text = (ROOT / "docs" / "exit-statuses.md").read_text(encoding="utf-8")
    for status, meaning in re.findall(r"^\| (\d+) \|[^|]*\| ([^|]*?) \|", text, re.M):
        yield status, re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", meaning).replace("`", "")


def _command(name: str, command: click.Command, ctx: click.Context) -> Command:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option):
            sections.setdefault(getattr(param, "section", "Options"), []).append(record)
    if (output := sections.pop("Output", None)) is not None:
        sections["Output"] = output
    usage = " ".join(command.collect_usage_pieces(ctx))
    if isinstance(command, click.Group):
        sections["Commands"] = [
            (each, command.get_command(ctx, each).get_short_help_str(200))  # type: ignore[union-attr]
            for each in command.list_commands(ctx)
        ]
    paragraphs = _paragraphs(command.help or "")
    summary = command.get_short_help_str(200).rstrip(".")
    return Command(name, summary, usage, paragraphs, sections, command.epilog or "", command.get_help(ctx))


def _paragraphs(text: str) -> list[str | list[str]]:
    found: list[str | list[str]] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith("\b\n"):
            found.append(block.removeprefix("\b\n").splitlines())
        elif block.strip():
            found.append(" ".join(block.split()))
    return found
