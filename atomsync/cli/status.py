"""``atomsync status DST``."""

from __future__ import annotations

import click

from atomsync.cli import records, render
from atomsync.cli.options import json_option, state_dir_option
from atomsync.store.store import open_store


@click.command("status")
@click.argument("dst", metavar="DST")
@state_dir_option
@json_option
def command(dst: str, *, state_dir: str | None, as_json: bool) -> int:
    """Show the last unit of DST, whether one is unfinished, and who holds the lock."""
    found = open_store(dst, state_dir=state_dir).status()
    if as_json:
        click.echo(records.status(found))
    else:
        for line in render.status(found):
            click.echo(line)
    return 0
