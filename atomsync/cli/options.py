"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import click


class Told:
    """What the command line said that an error message must know. ``as_json``: speak to a program."""

    as_json = False


def _remember(ctx: click.Context, _option: click.Parameter, value: bool) -> bool:
    told = ctx.find_object(Told)
    if told is not None:
        told.as_json = value
    return value


def json_option(command: Any) -> Any:
    """``--json``."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        callback=_remember,
        help="Print JSON, one object a line (docs/json.md).",
    )(command)


def state_dir_option(command: Any) -> Any:
    """``--state-dir``."""
    return click.option(
        "--state-dir", metavar="DIR", help="The control directory is there, not in DST (same filesystem)."
    )(command)
