"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from atomsync.cli.quantities import duration, most, size
from atomsync.errors import UsageError
from atomsync.store.options import KEEP_UNITS
from atomsync.sync.drift import KEEP, OVERWRITE, REFUSE
from atomsync.sync.hooks import TIMEOUT_S
from atomsync.tree.filters import exclude_line, include_line
from atomsync.tree.path import shown

PATTERNS = ("exclude", "include", "exclude_from")


class Told:
    """What the command line said that an error message must know. ``as_json``: speak to a program."""

    as_json = False


class PairCommand(click.Command):
    """Remembers in which order the pattern options stood: the last match decides."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        given = {name: iter(values.get(name) or ()) for name in PATTERNS}
        ctx.meta["patterns"] = [(str(p.name), next(given[str(p.name)])) for p in order if p.name in given]
        return super().parse_args(ctx, args)


def pattern_lines(order: Iterable[tuple[str, str]]) -> list[str]:
    """The gitignore lines of pattern options, ``(name, value)`` in the order in which they were given."""
    lines: list[str] = []
    for name, value in order:
        if name == "exclude":
            lines.append(exclude_line(value))
        elif name == "include":
            lines.append(include_line(value))
        else:
            try:
                with open(value, encoding="utf-8", errors="surrogateescape") as file:
                    lines += file.read().splitlines()
            except OSError as error:
                raise UsageError(
                    f"cannot read the patterns in {shown(value)}",
                    error.strerror or "",
                    "--exclude-from names a file with one gitignore pattern a line.",
                ) from None
    return lines


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


_PATTERNS = (
    click.option(
        "--exclude",
        multiple=True,
        expose_value=False,
        metavar="PATTERN",
        help="Leave out what matches (gitignore pattern).",
    ),
    click.option(
        "--include",
        multiple=True,
        expose_value=False,
        metavar="PATTERN",
        help="Take in again; the last match decides.",
    ),
    click.option(
        "--exclude-from",
        multiple=True,
        expose_value=False,
        metavar="FILE",
        help="Read gitignore patterns from FILE.",
    ),
)
_SOURCE = (
    click.option("--gitignore", is_flag=True, help="Honour the .gitignore files in SRC."),
    click.option(
        "-x", "--one-file-system", is_flag=True, help="Do not enter other filesystems mounted in SRC."
    ),
)
_HOOKS = (
    click.option(
        "--check",
        default="",
        metavar="CMD",
        help="Run CMD in a view of DST as it will be; unless it succeeds, nothing is committed.",
    ),
    click.option("--after", default="", metavar="CMD", help="Run CMD in DST after each committed unit."),
    click.option(
        "--hook-timeout",
        type=duration,
        default=TIMEOUT_S,
        metavar="TIME",
        help="How long CMD may take; 0: as long as it likes. Default: 5m.",
    ),
    click.option(
        "--touch", default="", metavar="FILE", help="Write FILE (relative to DST) last, whatever is changed."
    ),
)
_KEEP = (
    click.option(
        "--keep",
        type=click.IntRange(0),
        default=KEEP_UNITS,
        show_default=True,
        metavar="N",
        help="How many finished units to keep, with the versions they displaced.",
    ),
    click.option(
        "--keep-bytes",
        type=size,
        metavar="SIZE",
        help="Keep fewer where these versions would occupy more than this (10GB).",
    ),
)


def keep_options(command: Any) -> Any:
    """``--keep`` and ``--keep-bytes``."""
    for option in reversed(_KEEP):
        command = option(command)
    return command


_PAIR = (
    click.option(
        "--delete", is_flag=True, help="Also remove from DST what SRC does not have. Default: remove nothing."
    ),
    click.option(
        "--max-delete",
        type=most,
        metavar="N|P%",
        help="Refuse a unit that removes more than N entries, or P percent; or empties as many files. "
        "Default: half of all, and more than 10.",
    ),
    click.option(
        "--on-drift",
        type=click.Choice([OVERWRITE, REFUSE, KEEP]),
        default=OVERWRITE,
        show_default=True,
        help="What to do with paths that somebody else changed in DST since the last unit.",
    ),
    click.option("--expect-store", is_flag=True, help="Refuse a DST to which no unit was ever committed."),
    click.option(
        "--accept-roots",
        is_flag=True,
        help="SRC and DST are what they are meant to be, though they are not what the last unit saw.",
    ),
    click.option(
        "--last",
        multiple=True,
        metavar="PATTERN",
        help="Make what matches visible after all else (gitignore pattern), say index.html.",
    ),
    click.option(
        "-c", "--checksum", is_flag=True, help="Compare files by content instead of by size and mtime."
    ),
    *_PATTERNS,
    *_SOURCE,
    click.option(
        "-H", "--hard-links", is_flag=True, help="Names that are one file in SRC are one file in DST too."
    ),
    click.option(
        "--on-unstable",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="What to do with files that keep changing while they are staged.",
    ),
    click.option(
        "--durability",
        type=click.Choice(["full", "none"]),
        default="full",
        show_default=True,
        help="full: survive a power cut. none: only a killed process.",
    ),
    click.option(
        "--verify",
        type=click.Choice(["readback", "media"]),
        default="readback",
        show_default=True,
        help="Check staged files against what the filesystem, or the medium, gives back.",
    ),
    state_dir_option,
    keep_options,
    click.option("-m", "--message", default="", help="A note to keep with the unit."),
    *_HOOKS,
)


def pair_options(command: Any) -> Any:
    """What ``push`` and ``watch`` say about SRC, DST and the way from one to the other, in the same words."""
    return _with(command, _PAIR)


def pattern_options(command: Any) -> Any:
    """Which paths are in scope; for a ``PairCommand``."""
    return _with(command, _PATTERNS)


def scope_options(command: Any) -> Any:
    """Which paths of SRC are in scope; for a ``PairCommand``."""
    return _with(command, (*_PATTERNS, *_SOURCE))


def _with(command: Any, options: Sequence[Any]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def hook_options(command: Any) -> Any:
    """What runs around the commit of a unit; a part of ``pair_options``."""
    for option in reversed(_HOOKS):
        command = option(command)
    return command
