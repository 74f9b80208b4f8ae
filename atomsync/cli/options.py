"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from atomsync.errors import UsageError
from atomsync.store.options import KEEP_UNITS
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


_PAIR = (
    click.option(
        "--delete", is_flag=True, help="Also remove from DST what SRC does not have. Default: remove nothing."
    ),
    click.option(
        "-c", "--checksum", is_flag=True, help="Compare files by content instead of by size and mtime."
    ),
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
    click.option("--gitignore", is_flag=True, help="Honour the .gitignore files in SRC."),
    click.option(
        "-x", "--one-file-system", is_flag=True, help="Do not enter other filesystems mounted in SRC."
    ),
    click.option(
        "-a",
        "--archive",
        is_flag=True,
        help="Take in FIFOs, sockets and, as root, devices. The rest of rsync's -a is always on.",
    ),
    click.option(
        "-H", "--hard-links", is_flag=True, help="Names that are one file in SRC are one file in DST too."
    ),
    click.option("-X", "--xattrs", is_flag=True, help="Keep extended attributes too: user.*, as root all."),
    click.option("-A", "--acls", is_flag=True, help="Keep POSIX ACLs too."),
    click.option(
        "--numeric-ids",
        is_flag=True,
        expose_value=False,
        help="Accepted for rsync's sake: on one machine, names and numbers of owners are the same.",
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
    click.option(
        "--keep",
        type=click.IntRange(0),
        default=KEEP_UNITS,
        show_default=True,
        metavar="N",
        help="How many finished units to keep, with the versions they displaced.",
    ),
    click.option("-m", "--message", default="", help="A note to keep with the unit."),
)


def pair_options(command: Any) -> Any:
    """What ``push`` and ``watch`` say about SRC, DST and the way from one to the other, in the same words."""
    for option in reversed(_PAIR):
        command = option(command)
    return command
