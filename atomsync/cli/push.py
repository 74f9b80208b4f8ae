"""``atomsync push SRC DST``."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import click

from atomsync.cli import records, render
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.signals import stopping
from atomsync.errors import Interrupted, UsageError
from atomsync.store.progress import Progress
from atomsync.store.store import KEEP_UNITS
from atomsync.sync.push import Report, push
from atomsync.tree.filters import Filters, exclude_line, include_line
from atomsync.tree.path import shown

_PATTERNS = ("exclude", "include", "exclude_from")


class PushCommand(click.Command):
    """Remembers in which order the pattern options stood: the last match decides."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        given = {name: iter(values.get(name) or ()) for name in _PATTERNS}
        ctx.meta["patterns"] = [(str(p.name), next(given[str(p.name)])) for p in order if p.name in given]
        return super().parse_args(ctx, args)


@click.command(
    "push",
    cls=PushCommand,
    epilog="Exit status: 0 done, 1 usage, 3 no such directory, 13 permission, 20 interrupted, 24 source kept "
    "changing, 25 guard, 40 locked, 41 drift, 44 no space, 46 journal; all in docs/exit-statuses.md.",
)
@click.argument("src", metavar="SRC")
@click.argument("dst", metavar="DST")
@click.option(
    "--delete", is_flag=True, help="Also remove from DST what SRC does not have. Default: remove nothing."
)
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; touch nothing.")
@click.option("-c", "--checksum", is_flag=True, help="Compare files by content instead of by size and mtime.")
@click.option(
    "--exclude",
    multiple=True,
    expose_value=False,
    metavar="PATTERN",
    help="Leave out what matches (gitignore pattern).",
)
@click.option(
    "--include",
    multiple=True,
    expose_value=False,
    metavar="PATTERN",
    help="Take in again; the last match decides.",
)
@click.option(
    "--exclude-from",
    multiple=True,
    expose_value=False,
    metavar="FILE",
    help="Read gitignore patterns from FILE.",
)
@click.option("--gitignore", is_flag=True, help="Honour the .gitignore files in SRC.")
@click.option("-x", "--one-file-system", is_flag=True, help="Do not enter other filesystems mounted in SRC.")
@click.option(
    "--on-unstable",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with files that keep changing while they are staged.",
)
@click.option(
    "--durability",
    type=click.Choice(["full", "none"]),
    default="full",
    show_default=True,
    help="full: survive a power cut. none: only a killed process.",
)
@click.option(
    "--verify",
    type=click.Choice(["readback", "media"]),
    default="readback",
    show_default=True,
    help="Check staged files against what the filesystem, or the medium, gives back.",
)
@state_dir_option
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=KEEP_UNITS,
    show_default=True,
    metavar="N",
    help="How many finished units to keep, with the versions they displaced.",
)
@click.option("-m", "--message", default="", help="A note to keep with the unit.")
@click.option("-v", "--verbose", is_flag=True, help="One line for each changed path.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    src: str,
    dst: str,
    *,
    delete: bool,
    dry_run: bool,
    checksum: bool,
    gitignore: bool,
    one_file_system: bool,
    on_unstable: str,
    durability: str,
    verify: str,
    state_dir: str | None,
    keep: int,
    message: str,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Make DST hold the contents of SRC, in one all-or-nothing unit.

    What SRC holds goes into DST itself, with or without a slash at the end. Permission bits, times
    (in nanoseconds) and, where allowed, owners are kept; symbolic links are copied as links.

    \b
    Examples:
      atomsync push site/ /srv/www
      atomsync push --delete --exclude '*.tmp' photos/ /mnt/usb/photos
      atomsync push -n -v config/ /etc/myapp
    """
    gc.disable()  # a push makes a tuple for each path and no cycles: looking for them costs 8 %
    filters = Filters(_lines(ctx.meta["patterns"]), gitignore=gitignore)
    bar = sys.stderr is not None and sys.stderr.isatty() and not (quiet or as_json)
    with stopping(_progress(bar)) as progress:
        report = push(
            src,
            dst,
            delete=delete,
            dry_run=dry_run,
            checksum=checksum,
            filters=filters,
            one_file_system=one_file_system,
            on_unstable=on_unstable,
            durability=durability,
            verify=verify,
            state_dir=state_dir,
            keep=keep,
            message=message,
            progress=progress,
        )
    try:
        _tell(report, verbose=verbose or dry_run, quiet=quiet, as_json=as_json)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:  # what was to be done is done, whoever hears of it
        _unheard(error)
    if progress.stopping:
        raise Interrupted(
            f"stopped by {progress.stopping}", "the unit was sealed by then, so it was finished"
        )
    return 0


def _unheard(error: OSError) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            click.echo(f"atomsync: done, but the report could not be written: {error.strerror}", err=True)


def _tell(report: Report, *, verbose: bool, quiet: bool, as_json: bool) -> None:
    if as_json:
        for line in records.push(report, verbose=verbose):
            click.echo(line)
        return
    for line in render.notices(report):
        click.echo(line, err=True)
    if quiet:
        return
    if verbose:
        for line in render.changes(report.changes):
            click.echo(line)
    click.echo(render.summary(report, phases=verbose))


def _progress(bar: bool) -> Progress:
    if not bar:
        return Progress()
    from atomsync.cli.bar import BarProgress  # rich costs 50 ms, and only a terminal has a bar

    return BarProgress()


def _lines(order: list[tuple[str, str]]) -> list[str]:
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
