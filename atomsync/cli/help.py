"""Help that reads well: options in sections, and the nearest word for a misspelt one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

OUTPUT = "Output"
_NOT_ONE_OF = r"'(?P<given>.*)' is not one of "


class SectionedCommand(click.Command):
    """Shows its options in the sections that ``with_options`` has put them in, those without one first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        output = sections.pop(OUTPUT, [])
        for name, records in (*sections.items(), (OUTPUT, output)):
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def with_options(command: Any, options: Sequence[str | Callable[[Any], Any]]) -> Any:
    """Decorate ``command`` with click's options; a text among them is the section of those behind it."""
    section, sectioned = "Options", []
    for option in options:
        if isinstance(option, str):
            section = option
        else:
            sectioned.append((section, option))
    for section, option in reversed(sectioned):
        before = len(_params(command))
        command = option(command)
        for param in _params(command)[before:]:
            param.section = section
    return command


def _params(command: Any) -> list[Any]:
    """The options and arguments that a command, or a function that is to be one, has by now."""
    params: list[Any] = getattr(command, "params", None) or getattr(command, "__click_params__", [])
    return params


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A question to append to a message, "" if no word is near."""
    import difflib

    near = difflib.get_close_matches(word, list(words), n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def complaint(error: click.ClickException) -> str:
    """What click has to say, on one line, with the nearest word for a misspelt one."""
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities or ()
        return error.message + (f" Did you mean {' or '.join(map(repr, near))}?" if near else "")
    return error.format_message().replace("\n\t", " ") + _nearest_choice(error)


def _nearest_choice(error: click.ClickException) -> str:
    """The question for a value that is none of an option's choices."""
    if not (isinstance(error, click.BadParameter) and error.param is not None):
        return ""
    found = re.match(_NOT_ONE_OF, error.message)
    if found is None or not isinstance(error.param.type, click.Choice):
        return ""
    return did_you_mean(found["given"], map(str, error.param.type.choices))
