"""``atomsync apply FILE``."""

from __future__ import annotations

from typing import Any

import click

from atomsync.cli import planfile
from atomsync.cli.options import hook_options, output_options
from atomsync.cli.push import carried_out, progress_of, ready, with_report
from atomsync.cli.signals import stopping
from atomsync.sync.applying import apply


@click.command(
    "apply",
    epilog="Exit status: 0 done, 1 FILE is no plan, 47 SRC or DST moved on since, and nothing was touched; "
    "and those of push: docs/exit-statuses.md.",
)
@click.argument("file", metavar="FILE")
@hook_options
@output_options
def command(file: str, *, verbose: int, quiet: bool, as_json: bool, **hooks: Any) -> int:
    """Do exactly what a saved plan says, in one all-or-nothing unit, or nothing.

    SRC and DST are compared again, with the options of the plan. If anything that is to be done is not
    what it says (another path, or other content, mode, time or inode on either side), nothing is touched.

    \b
    Examples:
      atomsync push -n --delete --save-plan monday.plan site/ /srv/www
      atomsync apply monday.plan
    """
    plan = planfile.read(file)
    ready(as_json=as_json)
    where = plan.destination, str(plan.options["durability"])
    with stopping(progress_of(bar=not (quiet or as_json), curious=verbose > 1, where=where)) as progress:
        report = with_report(apply, plan, progress=progress, **hooks)
    return carried_out(report, progress, verbose=verbose, quiet=quiet, as_json=as_json)
