"""``atomsync show DST UNIT``."""

from __future__ import annotations

import click

from atomsync.cli import records_history, render_history
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.say import say
from atomsync.errors import RootError
from atomsync.fs.roots import no_dir
from atomsync.tree.path import shown
from atomsync.unit.store import open_store


@click.command("show")
@click.argument("dst", metavar="DST")
@click.argument("unit", metavar="[UNIT]", default="@")
@click.option("--diff", is_flag=True, help="Also the differences of text files.")
@state_dir_option
@json_option
def command(dst: str, unit: str, *, diff: bool, state_dir: str | None, as_json: bool) -> int:
    """Show one finished unit of DST: its paths, and the digests of their old and new contents.

    UNIT is an id from "atomsync log", or its beginning; @ is the last one (the default), @~1 the one
    before. The digest of an old version is computed from the file that is kept; - where there is
    none any more. Changes nothing.

    \b
    Examples:
      atomsync show /srv/www
      atomsync show --diff /srv/www @~1
    """
    store = open_store(dst, state_dir=state_dir)
    if not store.is_there():
        raise RootError(f"cannot show {shown(dst)}", no_dir(dst))
    with store.shown(unit, contents=diff) as (told, changes):
        if as_json:
            click.echo(records_history.unit(told))
            for change in changes:
                click.echo(records_history.shown(change, with_diff=diff))
            return 0
        for line in render_history.log(told, oneline=False):
            say(line)
        click.echo()
        for change in changes:
            for line in render_history.show(change):
                say(line)
    return 0
