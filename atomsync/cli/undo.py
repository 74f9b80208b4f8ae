"""``atomsync undo DST [UNIT]``."""

from __future__ import annotations

from typing import Any

import click

from atomsync.cli.reverting import carried_out, reverting_options
from atomsync.unit.reverting import undo


@click.command(
    "undo",
    epilog="Exit status: 0 done, 1 no such unit, 25 others changed the same paths since (--force), "
    "40 locked, 53 an old version is gone; all in docs/exit-statuses.md.",
)
@click.argument("dst", metavar="DST")
@click.argument("unit", metavar="[UNIT]", default="@")
@click.option("--force", is_flag=True, help="Also where others changed the same paths since.")
@reverting_options
def command(dst: str, unit: str, *, force: bool, **options: Any) -> int:
    """Take a unit of DST back: the last one, or UNIT.

    That is a unit of its own, all or nothing like any other, and can be undone itself: undo twice is
    redo. The old versions go back as they are; no byte is copied.

    UNIT is an id from "atomsync log", or its beginning; @~1 is the one before the last. If later units
    or somebody else changed the same paths, it is refused and they are listed. With --force they are
    undone all the same, and what was made of them is in the history of the undo.

    \b
    Examples:
      atomsync undo /srv/www              what did the last push do? take it back
      atomsync undo -n /srv/www @~1       what would it change?
      atomsync undo /srv/www              after an undo: do it again
    """
    return carried_out(
        dst,
        "undoes",
        lambda store, progress: undo(
            store,
            unit,
            force=force,
            message=options["message"],
            dry_run=options["dry_run"],
            progress=progress,
        ),
        options,
    )
