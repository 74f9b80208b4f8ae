"""``atomsync recover DST``."""

from __future__ import annotations

import click

from atomsync.cli import records, render
from atomsync.cli.options import json_option, state_dir_option
from atomsync.errors import Drift
from atomsync.store.recovery import CLEAN
from atomsync.unit.store import open_store


@click.command("recover")
@click.argument("dst", metavar="DST")
@state_dir_option
@json_option
def command(dst: str, *, state_dir: str | None, as_json: bool) -> int:
    """Finish or undo what a crash left in DST, and say which and why.

    Every other command does this by itself before it starts. Exit status 41 means that another
    program had edited files of the unfinished unit: both versions are kept, and listed.
    """
    found = open_store(dst, state_dir=state_dir, timeout=0).recover()
    if as_json:
        click.echo(records.recovery(found))
    elif found.action == CLEAN:
        click.echo("nothing to recover")
    else:
        for line in render.recovery(found):
            click.echo(line)
    return Drift.exit_status if found.conflicts else 0
