"""``atomsync resume DST``."""

from __future__ import annotations

import click

from atomsync.cli import records
from atomsync.cli.options import json_option
from atomsync.daemon.client import ask
from atomsync.tree.path import shown


@click.command("resume", epilog="Exit status: 0 resumed, 50 no watch; all in docs/exit-statuses.md.")
@click.argument("dst", metavar="DST")
@json_option
def command(dst: str, *, as_json: bool) -> int:
    """Let the watch of DST go on: after pause, or at once while it waits to try again.

    If it waits because SRC or DST is not what it was, what is there now is accepted in its place. After a
    pause nothing is accepted: should something have changed, the watch says so, and a second resume does.

    \b
    Example:
      atomsync resume /srv/www
    """
    found = ask(dst, "resume")
    click.echo(records.switched(found["state"]) if as_json else f"resumed: {shown(dst)}")
    return 0
