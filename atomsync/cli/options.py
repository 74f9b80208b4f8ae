"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from click.core import ParameterSource

from atomsync.cli.help import OUTPUT, SectionedCommand, with_options
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


class PairCommand(SectionedCommand):
    """Remembers in which order the pattern options stood: the last match decides."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["patterns"] = []
        if any(arg.startswith(("--exclude", "--include")) for arg in args):
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
    option = click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        callback=_remember,
        help="Print JSON, one object a line (docs/json.md).",
    )
    return with_options(command, (OUTPUT, option))


def quiet_option(command: Any) -> Any:
    """``-q`` of what only looks."""
    option = click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status tells.")
    return with_options(command, (OUTPUT, option))


def output_options(command: Any) -> Any:
    """``-v``, ``-q`` and ``--json`` of what commits units. ``verbose`` counts: with 1 each changed path has a
    line, with 2 also its reason, and what was left as it is has one."""
    command = json_option(command)
    return with_options(
        command,
        (
            OUTPUT,
            click.option(
                "-v",
                "--verbose",
                count=True,
                help="One line for each changed path; -vv: with the reason, and what was left as it is.",
            ),
            click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only."),
        ),
    )


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
_ARCHIVE = (
    click.option(
        "-a",
        "--archive",
        is_flag=True,
        help="Take in FIFOs, sockets and, as root, devices. The rest of rsync's -a is always on.",
    ),
)
_LINKS = (
    click.option(
        "-H", "--hard-links", is_flag=True, help="Names that are one file in SRC are one file in DST too."
    ),
)
_ATTRIBUTES = (
    click.option("-X", "--xattrs", is_flag=True, help="Keep extended attributes too: user.*, as root all."),
    click.option("-A", "--acls", is_flag=True, help="Keep POSIX ACLs too."),
)


def _named(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """An empty command would run as one that succeeds; who wrote it meant a variable that is not set."""
    if not value and ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
        raise click.BadParameter("it is empty. Is a variable in the command line unset?", ctx, param)
    return value


_HOOKS = (
    click.option(
        "--check",
        default="",
        callback=_named,
        metavar="CMD",
        help="Run CMD in a view of DST as it will be; unless it succeeds, nothing is committed.",
    ),
    click.option(
        "--after",
        default="",
        callback=_named,
        metavar="CMD",
        help="Run CMD in DST after each committed unit.",
    ),
    click.option("--undo-on-failure", is_flag=True, help="Undo a unit whose --after failed."),
    click.option(
        "--hook-timeout",
        type=duration,
        default=TIMEOUT_S,
        metavar="TIME",
        help="How long CMD may take; 0: as long as it likes. Default: 5m.",
    ),
    click.option(
        "--touch",
        default="",
        callback=_named,
        metavar="FILE",
        help="Write FILE (relative to DST) last, whatever is changed.",
    ),
)
keep_bytes_option = click.option(
    "--keep-bytes",
    type=size,
    metavar="SIZE",
    help="Keep fewer where these versions would occupy more than this (10GB).",
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
    keep_bytes_option,
)


def keep_options(command: Any) -> Any:
    """``--keep`` and ``--keep-bytes``."""
    return with_options(command, _KEEP)


_PAIR = (
    "What is copied",
    click.option(
        "--delete", is_flag=True, help="Also remove from DST what SRC does not have. Default: remove nothing."
    ),
    click.option(
        "-c", "--checksum", is_flag=True, help="Compare files by content instead of by size and mtime."
    ),
    *_PATTERNS,
    *_SOURCE,
    *_ARCHIVE,
    *_LINKS,
    *_ATTRIBUTES,
    click.option(
        "--numeric-ids",
        is_flag=True,
        expose_value=False,
        help="Accepted for rsync's sake: on one machine, names and numbers of owners are the same.",
    ),
    "Safety",
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
        "--on-unstable",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="What to do with files that keep changing while they are staged.",
    ),
    "Order and hooks",
    click.option(
        "--last",
        multiple=True,
        metavar="PATTERN",
        help="Make what matches visible after all else (gitignore pattern), say index.html.",
    ),
    *_HOOKS,
    "Durability and history",
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
    *_KEEP,
    click.option("-m", "--message", default="", help="A note to keep with the unit."),
)


def pair_options(command: Any) -> Any:
    """What ``push`` and ``watch`` say about SRC, DST and the way from one to the other, in the same words."""
    return with_options(command, _PAIR)


def pattern_options(command: Any) -> Any:
    """Which paths are in scope; for a ``PairCommand``."""
    return with_options(command, ("What is read", *_PATTERNS))


def scope_options(command: Any) -> Any:
    """Which paths of SRC are in scope, and what of them counts; for a ``PairCommand``."""
    options = *_PATTERNS, *_SOURCE, *_ARCHIVE, *_LINKS, *_ATTRIBUTES
    return with_options(command, ("What is compared", *options))


def mending_options(command: Any) -> Any:
    """What a repair takes from SRC besides what every push does; of these a part of ``pair_options``."""
    return with_options(command, ("What is made good", *_ARCHIVE, *_ATTRIBUTES))


def hook_options(command: Any) -> Any:
    """What runs around the commit of a unit; a part of ``pair_options``."""
    return with_options(command, ("Hooks", *_HOOKS))
