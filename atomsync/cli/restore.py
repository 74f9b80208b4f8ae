"""``atomsync restore DST --to UNIT|TIME``."""

from __future__ import annotations

from typing import Any

import click

from atomsync.cli.quantities import unit_or_time
from atomsync.cli.reverting import carried_out, reverting_options
from atomsync.unit.reverting import restore


@click.command(
    "restore",
    epilog="Exit status: 0 done, 1 no such unit, or the history does not go back that far, 40 locked, "
    "53 an old version is gone; all in docs/exit-statuses.md.",
)
@click.argument("dst", metavar="DST")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--to",
    required=True,
    metavar="UNIT|TIME",
    help="The unit behind which, or the time at which, it was as it is to be.",
)
@reverting_options
def command(dst: str, paths: tuple[str, ...], *, to: str, **options: Any) -> int:
    """Bring DST back to what it was after a unit, or at a time: all of it, or only PATHs.

    PATHs are relative to DST; a directory goes back with all below it. It is one unit, all or nothing,
    and "atomsync undo" takes it back. What is there now is in the history then.

    UNIT is an id from "atomsync log", or its beginning, or @, @~1 …; TIME is local, as 2026-11-21,
    "2026-11-21 14:30" or 14:30:05, or an age: 30m, 2h, 1d.

    \b
    Examples:
      atomsync restore --to 2h /srv/www
      atomsync restore --to @~1 /srv/www index.html img/
      atomsync restore -n --to "2026-11-21 14:30" /srv/www
    """
    until = unit_or_time(to)
    names = [path.rstrip("/") or path for path in paths]
    return carried_out(
        dst,
        "restores",
        lambda store, progress: restore(
            store,
            until,
            names,
            message=options["message"],
            dry_run=options["dry_run"],
            progress=progress,
        ),
        options,
    )
