"""``atomsync gc DST``."""

from __future__ import annotations

import click

from atomsync.cli import records_history, render_history
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.quantities import size
from atomsync.cli.reverting import PATIENCE_S
from atomsync.cli.say import say
from atomsync.unit.store import open_store


@click.command("gc")
@click.argument("dst", metavar="DST")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Give up all but the last N units.")
@click.option(
    "--keep-bytes",
    type=size,
    metavar="SIZE",
    help="Give up the oldest until the versions they displaced occupy no more than this (10GB).",
)
@state_dir_option
@json_option
def command(
    dst: str, *, keep: int | None, keep_bytes: int | None, state_dir: str | None, as_json: bool
) -> int:
    """Give up old units of DST, with the versions they displaced, and delete what is waste.

    Without --keep and --keep-bytes no unit is given up. DST itself is not touched; what was given up
    cannot be undone or restored any more.

    \b
    Example:
      atomsync gc --keep-bytes 10GB /srv/www
    """
    found = open_store(dst, state_dir=state_dir, timeout=PATIENCE_S).gc(keep=keep, keep_bytes=keep_bytes)
    if as_json:
        click.echo(records_history.collected(found))
        return 0
    for warning in found.warnings:
        say(f"warning: {warning}", err=True)
    say(render_history.collected(found))
    return 0
