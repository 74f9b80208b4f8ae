"""``atomsync diff SRC DST``."""

from __future__ import annotations

import click

from atomsync.cli import records, render, render_scrub
from atomsync.cli.options import (
    PairCommand,
    json_option,
    pattern_lines,
    quiet_option,
    scope_options,
    state_dir_option,
)
from atomsync.cli.push import progress_of
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.sync.difference import diff
from atomsync.tree.filters import Filters

DIFFERENT = 1


@click.command(
    "diff",
    cls=PairCommand,
    epilog="Exit status: 0 the same, 1 different (or a wrong command line), 3 no such "
    "directory, 13 permission, 24 source kept changing; all in docs/exit-statuses.md.",
)
@click.argument("src", metavar="SRC")
@click.argument("dst", metavar="DST")
@click.option("--content", is_flag=True, help="Compare what is in files instead of size and mtime.")
@scope_options
@state_dir_option
@quiet_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    src: str,
    dst: str,
    *,
    content: bool,
    gitignore: bool,
    one_file_system: bool,
    archive: bool,
    hard_links: bool,
    xattrs: bool,
    acls: bool,
    state_dir: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Show where SRC and DST differ, one path a line; touches nothing.

    These are the paths that push --delete would change. Of those on both sides it says in what they
    differ: what DST has → what SRC has. A difference in nothing but the time of a directory is none.

    \b
    Examples:
      atomsync diff site/ /srv/www
      atomsync diff -q --content photos/ /mnt/usb/photos || echo they differ
    """
    filters = Filters(pattern_lines(ctx.meta["patterns"]), gitignore=gitignore)
    with stopping(progress_of(bar=not (quiet or as_json))) as progress:
        found = diff(
            src,
            dst,
            content=content,
            filters=filters,
            one_file_system=one_file_system,
            archive=archive,
            hard_links=hard_links,
            xattrs=xattrs,
            acls=acls,
            state_dir=state_dir,
            progress=progress,
        )
    if as_json:
        for line in records.differences(found):
            click.echo(line)
    elif not quiet:
        for line in render.left_out(found.left_out):
            say(line, err=True)
        for line in render_scrub.differences(found):
            say(line)
    return DIFFERENT if found.found else 0
