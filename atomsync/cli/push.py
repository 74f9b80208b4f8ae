"""``atomsync push SRC DST``."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from atomsync.cli import render
from atomsync.cli.options import PairCommand, output_options, pair_options, pattern_lines
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.errors import AfterFailed, Interrupted, UsageError
from atomsync.store.progress import Counted
from atomsync.sync.push import push
from atomsync.tree.filters import Filters

if TYPE_CHECKING:
    from atomsync.sync.report import Report


@click.command(
    "push",
    cls=PairCommand,
    epilog="Exit status: 0 done, 1 usage, 3 no such directory, 13 permission, 20 interrupted, 24 source kept "
    "changing, 25 guard, 40 locked, 41 drift, 43 check failed, 44 no space, 46 journal; all in "
    "docs/exit-statuses.md.",
)
@click.argument("src", metavar="SRC")
@click.argument("dst", metavar="DST")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; touch nothing.")
@click.option("--save-plan", metavar="FILE", help="With -n: keep the plan, for atomsync apply FILE.")
@pair_options
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    src: str,
    dst: str,
    *,
    dry_run: bool,
    save_plan: str | None,
    gitignore: bool,
    verbose: int,
    quiet: bool,
    as_json: bool,
    **options: Any,
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
    if save_plan is not None and not dry_run:
        raise UsageError("cannot save the plan", "this push would carry it out", "Add -n.")
    if save_plan is not None:
        from atomsync.cli import planfile
        from atomsync.sync.applying import plan_of

        planfile.check(save_plan, src, dst)
    lines = pattern_lines(ctx.meta["patterns"])
    filters = Filters(lines, gitignore=gitignore)
    where = dst, str(options["durability"])
    ready(as_json=as_json)
    with stopping(progress_of(bar=not (quiet or as_json), curious=verbose > 1, where=where)) as progress:
        report = with_report(push, src, dst, dry_run=dry_run, filters=filters, progress=progress, **options)
    if save_plan is not None:
        planfile.write(save_plan, plan_of(report, src, dst, lines, gitignore=gitignore, options=ctx.params))
    return carried_out(report, progress, verbose=verbose or dry_run, quiet=quiet, as_json=as_json)


def ready(*, as_json: bool) -> None:
    """Load what tells of a push, before it is carried out: it may put another program where ours is."""
    if as_json:
        importlib.import_module("atomsync.cli.records")


def with_report(push: Callable[..., Report], *about: Any, **options: Any) -> Report:
    """Its report also if only the command after the commit failed: then that is told of, too."""
    try:
        return push(*about, **options)
    except AfterFailed as error:  # the unit is committed
        report: Report = error.report
        return report


def carried_out(report: Report, progress: Counted, *, verbose: int, quiet: bool, as_json: bool) -> int:
    """Tell of a push that was done; the exit status."""
    try:
        _tell(report, progress.left, verbose=verbose, quiet=quiet, as_json=as_json)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:  # what was to be done is done, whoever hears of it
        unheard(error)
    if report.failed is not None:
        raise report.failed
    if progress.stopping:
        raise Interrupted(
            f"stopped by {progress.stopping}", "the unit was sealed by then, so it was finished"
        )
    return 0


def unheard(error: OSError) -> None:
    """What was done is done, also if the report of it could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more at its end
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            click.echo(f"atomsync: done, but the report could not be written: {error.strerror}", err=True)


def _tell(
    report: Report, left: Sequence[tuple[str, str]], *, verbose: int, quiet: bool, as_json: bool
) -> None:
    if as_json:
        from atomsync.cli import records

        for line in records.push(report, verbose=verbose > 0, left=left):
            click.echo(line)
        return
    for line in render.notices(report):
        say(line, err=True)
    if quiet:
        return
    if verbose:
        for line in render.changes(report.changes, left, why=verbose > 1):
            say(line)
    say(render.summary(report, phases=verbose > 0))


def progress_of(*, bar: bool, curious: bool = False, where: tuple[str, str] | None = None) -> Counted:
    """A bar, if one is wanted and somebody is there to see it; either way it can be asked (``signals``).
    ``where``: the destination of a unit and its durability, so that barriers can be reckoned with."""
    if bar and sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from atomsync.cli.bar import BarProgress, has_barriers  # rich costs 50 ms

        return BarProgress(curious=curious, durable=where is None or has_barriers(*where))
    return Counted(curious=curious)
