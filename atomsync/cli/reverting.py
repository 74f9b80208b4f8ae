"""What ``undo`` and ``restore`` have in common on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from atomsync.cli import records_history, render, render_history
from atomsync.cli.help import with_options
from atomsync.cli.options import keep_bytes_option, output_options, state_dir_option
from atomsync.cli.push import progress_of, unheard
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.errors import Interrupted, RootError
from atomsync.fs.roots import no_dir
from atomsync.store.progress import Progress
from atomsync.tree.path import shown
from atomsync.unit.reverting import Reverted
from atomsync.unit.store import Store, open_store

PATIENCE_S = 2.0  # for one who has the store for a commit only, as a watch does
_OPTIONS = (  # to go back must not cost any of what one could go back to
    click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; touch nothing."),
    click.option("-m", "--message", default="", help="A note to keep with the unit."),
    click.option(
        "--keep",
        type=click.IntRange(0),
        default=sys.maxsize,
        metavar="N",
        help="How many finished units to keep, with the versions they displaced. Default: all.",
    ),
    keep_bytes_option,
    state_dir_option,
    output_options,
)


def reverting_options(command: Any) -> Any:
    """What both have."""
    return with_options(command, _OPTIONS)


def carried_out(
    dst: str, way: str, what: Callable[[Store, Progress], Reverted], options: dict[str, Any]
) -> int:
    """Do it, and tell of it. ``way`` is "undoes" or "restores"."""
    verbose = options["verbose"] or int(options["dry_run"])
    store = open_store(
        dst,
        keep=options["keep"],
        keep_bytes=options["keep_bytes"],
        state_dir=options["state_dir"],
        timeout=PATIENCE_S,
    )
    if not store.is_there():
        raise RootError(f"cannot change {shown(dst)}", no_dir(dst))
    with stopping(progress_of(bar=False, curious=False)) as progress:
        found = what(store, progress)
    try:
        _tell(found, way, verbose=verbose, quiet=options["quiet"], as_json=options["as_json"])
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        unheard(error)
    if progress.stopping:
        raise Interrupted(
            f"stopped by {progress.stopping}", "the unit was sealed by then, so it was finished"
        )
    return 0


def _tell(found: Reverted, way: str, *, verbose: int, quiet: bool, as_json: bool) -> None:
    if as_json:
        for line in records_history.reverted(found, way, verbose=verbose > 0):
            click.echo(line)
        return
    for line in render_history.remarks(found, way):
        say(line, err=True)
    if quiet:
        return
    for line in render.changes(found.changes, why=verbose > 1) if verbose else ():
        say(line)
    say(render_history.reverted(found, way))
