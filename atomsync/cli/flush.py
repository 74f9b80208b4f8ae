"""``atomsync flush DST``."""

from __future__ import annotations

import click

from atomsync.cli import records
from atomsync.cli.options import json_option
from atomsync.cli.quantities import duration
from atomsync.daemon.client import ask, error_of_status
from atomsync.tree.path import shown

_GRACE_S = 30.0  # for the watch to say that the time is over


@click.command(
    "flush",
    epilog="Exit status: 0 committed, 30 not in time, 50 no watch; else what is in the way; "
    "all in docs/exit-statuses.md.",
)
@click.argument("dst", metavar="DST")
@click.option("--timeout", type=duration, metavar="TIME", help="Wait no longer than this (500ms, 10s, 5m).")
@json_option
def command(dst: str, *, timeout: float | None, as_json: bool) -> int:
    """Wait until all that SRC holds now is committed to DST, by the watch that follows it.

    \b
    Example:
      make site && atomsync flush --timeout 10s /srv/www && ./announce
    """
    patience_s = None if timeout is None else timeout + _GRACE_S
    found = ask(dst, "flush", patience_s=patience_s, timeout_s=timeout)
    if not found["committed"]:
        raise error_of_status(found["exit_status"], f"not all is committed to {shown(dst)}", found["why"])
    if as_json:
        click.echo(records.flushed(found["unit"]))
    else:
        click.echo(f"committed: unit {found['unit']}" if found["unit"] else "committed: nothing was waiting")
    return 0
