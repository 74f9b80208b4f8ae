"""``atomsync status DST``."""

from __future__ import annotations

import click

from atomsync.cli import records, render
from atomsync.store.store import open_store


@click.command("status")
@click.argument("dst", metavar="DST")
@click.option("--state-dir", metavar="DIR", help="Where the control directory is, if not in DST.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line (docs/json.md).")
def command(dst: str, *, state_dir: str | None, as_json: bool) -> int:
    """Show the last unit of DST, whether one is unfinished, and who holds the lock."""
    found = open_store(dst, state_dir=state_dir).status()
    if as_json:
        click.echo(records.status(found))
    else:
        for line in render.status(found):
            click.echo(line)
    return 0
