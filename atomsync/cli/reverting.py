"""What ``undo`` and ``restore`` have in common on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from atomsync.cli import records_history, render, render_history
from atomsync.cli.help import with_options
from atomsync.cli.options import keep_options, output_options, state_dir_option
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.errors import Interrupted, RootError
from atomsync.store.progress import Counted, Progress
from atomsync.tree.path import shown
from atomsync.unit.reverting import Reverted
from atomsync.unit.store import Store, open_store

_OPTIONS = (
    click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; touch nothing."),
    click.option("-m", "--message", default="", help="A note to keep with the unit."),
    keep_options,
    state_dir_option,
    output_options,
)


def reverting_options(command: Any) -> Any:
    return with_options(command, _OPTIONS)


def carried_out(
    dst: str, way: str, what: Callable[[Store, Progress], Reverted], options: dict[str, Any]
) -> int:
    """Do it, and tell of it. ``way`` is "undoes" or "restores"."""
    quiet, as_json = options["quiet"], options["as_json"]
    verbose = options["verbose"] or int(options["dry_run"])
    store = open_store(
        dst,
        keep=options["keep"],
        keep_bytes=options["keep_bytes"],
        state_dir=options["state_dir"],
        timeout=0,
    )
    if not store.is_there():
        raise RootError(f"cannot change {shown(dst)}", "it is not a directory")
    with stopping(Counted()) as progress:
        found = what(store, progress)
    if as_json:
        for line in records_history.reverted(found, way, verbose=verbose > 0):
            click.echo(line)
    else:
        for line in render_history.remarks(found, way):
            say(line, err=True)
        for line in render.changes(found.changes, why=verbose > 1) if verbose and not quiet else ():
            say(line)
        if not quiet:
            click.echo(render_history.reverted(found, way))
    if progress.stopping:
        raise Interrupted(
            f"stopped by {progress.stopping}", "the unit was sealed by then, so it was finished"
        )
    return 0
