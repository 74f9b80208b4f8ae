"""``atomsync recover DST``."""

from __future__ import annotations

import click

from atomsync.cli import records, render
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.say import say
from atomsync.cli.signals import answering
from atomsync.errors import Drift, RootError, UsageError
from atomsync.fs.roots import no_dir
from atomsync.store.progress import Counted
from atomsync.store.recovery import CLEAN
from atomsync.tree.path import shown
from atomsync.unit.store import Store, open_store

_PATIENCE_S = 2.0  # for one who has the store for a commit only


@click.command("recover")
@click.argument("dst", metavar="DST")
@click.option("--commit", metavar="UNIT", help="Decide about a prepared unit: make it visible.")
@click.option("--rollback", metavar="UNIT", help="Decide about a prepared unit: forget it.")
@state_dir_option
@json_option
def command(
    dst: str, *, commit: str | None, rollback: str | None, state_dir: str | None, as_json: bool
) -> int:
    """Finish or undo what a crash left in DST, and say which and why.

    Every other command does this by itself before it starts. Exit status 41 means that another
    program had edited files of the unfinished unit: both versions are kept, and listed.

    A prepared unit (see "atomsync status") rests until somebody decides about it: usually the program that
    prepared it, which asks its database. Decide here only if that program is gone for good.

    \b
    Examples:
      atomsync recover /srv/www
      atomsync recover --rollback 20261121-090403-542 /srv/www
    """
    store = open_store(dst, state_dir=state_dir, timeout=_PATIENCE_S)
    if commit is not None and rollback is not None:
        raise UsageError("cannot decide", "--commit and --rollback exclude each other", "Give one of them.")
    unit = rollback if commit is None else commit
    if unit is not None:
        return _decide(store, unit, commit=commit is not None, as_json=as_json)
    progress = Counted()
    progress.phase("recover")
    with answering(progress):
        found = store.recover()
    if found.action == CLEAN and not store.is_there():
        raise RootError(f"cannot recover {shown(dst)}", no_dir(dst))
    resting = store.prepared()
    if as_json:
        click.echo(records.recovery(found))
    elif found.action == CLEAN and not found.settled:
        click.echo("nothing to recover" + ("" if not resting else ", but a prepared unit rests:"))
    else:
        for line in render.recovery(found):
            say(line)
    for line in () if as_json else render.resting(resting):
        click.echo(line)
    return Drift.exit_status if found.conflicts else 0


def _decide(store: Store, unit: str, *, commit: bool, as_json: bool) -> int:
    warnings: tuple[str, ...] = ()
    if commit:
        warnings = store.commit_prepared(unit).warnings
    else:
        store.rollback_prepared(unit)
    status = Drift.exit_status if commit and unit in store.status().conflicts else 0
    if as_json:
        click.echo(records.decided(unit, warnings, committed=commit))
        return status
    click.echo(f"unit {unit} was {'committed' if commit else 'rolled back'}")
    for warning in warnings:
        say(f"warning: {warning}", err=True)
    return status
