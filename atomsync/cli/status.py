"""``atomsync status DST``."""

from __future__ import annotations

from typing import Any

import click

from atomsync.cli import records, render, render_watch
from atomsync.cli.options import json_option, state_dir_option
from atomsync.daemon.client import ask
from atomsync.errors import AccessError, AtomSyncError, NotWatched, RootError, TimedOut
from atomsync.fs.roots import no_dir
from atomsync.tree.path import shown
from atomsync.unit.store import open_store


@click.command("status")
@click.argument("dst", metavar="DST")
@state_dir_option
@json_option
def command(dst: str, *, state_dir: str | None, as_json: bool) -> int:
    """Show the last unit of DST, whether one is unfinished, and who holds the lock.

    If a watch follows a source into DST, also: its state and why, whether it hears of every change, how
    far it is behind, and what is in its way. A watch is shown while DST itself is missing, too.

    \b
    Example:
      atomsync status --json /srv/www | jq .watch.coverage
    """
    watched = _watched(dst)
    found, trouble = None, ""
    try:
        store = open_store(dst, state_dir=state_dir, timeout=0)
        found = store.status()
        if not store.is_there() and not (found.holder or found.unfinished):
            found = None
            raise RootError(f"cannot show {shown(dst)}", no_dir(dst))
    except AtomSyncError as error:
        if watched is None:
            raise
        trouble = f"{error.what}: {error.why}"
    if as_json:
        click.echo(records.status(found, watched, trouble))
        return 0
    for line in render.status(found) if found else [trouble]:
        click.echo(line)
    for line in render_watch.watched(watched) if watched else ():
        click.echo(line)
    return 0


def _watched(dst: str) -> dict[str, Any] | None:
    try:
        return ask(dst, "status")
    except NotWatched:
        return None
    except (AccessError, TimedOut) as error:  # what can be seen without it is shown all the same
        click.echo(f"note: {error.what}: {error.why}", err=True)
        return None
