"""``atomsync push SRC DST``."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import click

from atomsync.cli import records, render
from atomsync.cli.options import PairCommand, json_option, pair_options, pattern_lines
from atomsync.cli.signals import stopping
from atomsync.errors import Interrupted
from atomsync.store.progress import Progress
from atomsync.sync.push import Report, push
from atomsync.tree.filters import Filters


@click.command(
    "push",
    cls=PairCommand,
    epilog="Exit status: 0 done, 1 usage, 3 no such directory, 13 permission, 20 interrupted, 24 source kept "
    "changing, 25 guard, 40 locked, 41 drift, 44 no space, 46 journal; all in docs/exit-statuses.md.",
)
@click.argument("src", metavar="SRC")
@click.argument("dst", metavar="DST")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; touch nothing.")
@pair_options
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
    archive: bool,
    hard_links: bool,
    xattrs: bool,
    acls: bool,
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
    filters = Filters(pattern_lines(ctx.meta["patterns"]), gitignore=gitignore)
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
            specials=archive,
            hard_links=hard_links,
            xattrs=xattrs,
            acls=acls,
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
