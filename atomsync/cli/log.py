"""``atomsync log DST``."""

from __future__ import annotations

import click

from atomsync.cli import records_history, render_history
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.say import say
from atomsync.errors import RootError
from atomsync.fs.roots import no_dir
from atomsync.tree.path import shown
from atomsync.unit.store import open_store


@click.command("log")
@click.argument("dst", metavar="DST")
@click.option("-n", "--max-count", type=click.IntRange(0), metavar="N", help="Only the last N units.")
@click.option("--oneline", is_flag=True, help="One line for each unit.")
@state_dir_option
@json_option
def command(dst: str, *, max_count: int | None, oneline: bool, state_dir: str | None, as_json: bool) -> int:
    """List the finished units of DST that are kept, the last one first.

    Of each: its id, when it was committed and by whom, what it changed, what the versions it
    displaced occupy, and its message (-m of push and watch). Changes nothing.

    \b
    Examples:
      atomsync log /srv/www
      atomsync log --oneline -n 3 /srv/www
      atomsync log --json /srv/www | jq -r .unit_id
    """
    store = open_store(dst, state_dir=state_dir)
    if not store.is_there():
        raise RootError(f"cannot show {shown(dst)}", no_dir(dst))
    known = store.history()
    if not (known or as_json):
        say("the history is empty: no unit was ever committed here, or none is kept", err=True)
    for number, unit in enumerate(known[:max_count]):
        if as_json:
            click.echo(records_history.unit(unit))
            continue
        if number and not oneline:
            click.echo()
        for line in render_history.log(unit, oneline=oneline):
            say(line)
    return 0
