"""``atomsync pause DST``."""

from __future__ import annotations

import click

from atomsync.cli import records
from atomsync.cli.options import json_option
from atomsync.daemon.client import ask
from atomsync.tree.path import shown


@click.command("pause", epilog="Exit status: 0 paused, 50 no watch; all in docs/exit-statuses.md.")
@click.argument("dst", metavar="DST")
@json_option
def command(dst: str, *, as_json: bool) -> int:
    """Let the watch of DST commit nothing until it is resumed.

    Changes are gathered all the same, and committed then. A unit that is being committed is finished.

    \b
    Example:
      atomsync pause /srv/www && edit-by-hand /srv/www; atomsync resume /srv/www
    """
    found = ask(dst, "pause", patience_s=None)  # a commit may take its time, and the pause holds already
    click.echo(records.switched(found["state"]) if as_json else f"paused: {shown(dst)}")
    return 0
