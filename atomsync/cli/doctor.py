"""``atomsync doctor [SRC] DST``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from atomsync.cli import records
from atomsync.cli.options import json_option, state_dir_option
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.errors import AtomSyncError, Interrupted
from atomsync.store.progress import Progress
from atomsync.sync.doctor import examine
from atomsync.sync.findings import FAIL, Finding, findings, verdict


@click.command("doctor")
@click.argument("src", metavar="[SRC]", required=False)
@click.argument("dst", metavar="DST", required=False)
@state_dir_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, src: str | None, dst: str | None, *, state_dir: str | None, as_json: bool
) -> int:
    """Look what DST's filesystem can do, and what would limit atomsync there.

    Tries it out in a directory of its own (.atomsync-doctor-*, or in the store if there is one), for about
    a second; it removes that again, and changes nothing else. If DST does not exist yet, the directory above
    it is tried. With SRC, that is looked through as well: what of it
    DST could not take, and whether a watch would hear of everything in it.

    Each line is "ok", "note" (worth knowing), "limit" (less than elsewhere) or "fail". Exit status 0: a push
    works, whatever limits it. Else what a push would exit with (docs/exit-statuses.md).

    \b
    Examples:
      atomsync doctor /mnt/usb/photos
      atomsync doctor photos/ /mnt/usb/photos
    """
    source, destination = (None, src) if dst is None else (src, dst)
    if destination is None:
        raise click.MissingParameter(param_hint="'DST'", param_type="argument", ctx=ctx)
    with stopping(_Stoppable()) as progress:
        facts = examine(source, destination, state_dir, progress.check)
    found = findings(facts)
    status = _status(found, facts.destination.fault)
    if as_json:
        click.echo(records.doctor(destination, source, found, verdict(found), status))
        return status
    for line in _lines(found):
        say(line)
    say(f"verdict: {verdict(found)}")
    return status


class _Stoppable(Progress):
    """Stops at any point: the scratch directory is removed all the same."""

    def check(self) -> None:
        if self.stopping:
            raise Interrupted(f"stopped by {self.stopping}", "what was tried out was removed")


def _status(found: tuple[Finding, ...], fault: AtomSyncError | None) -> int:
    if not any(finding.level == FAIL for finding in found):
        return 0
    return 13 if fault is None else fault.exit_status


def _lines(found: tuple[Finding, ...]) -> Iterator[str]:
    for level, name, text, hint, _ in found:
        yield f"{level:<6}{name:<14}{text}"
        if hint:
            yield f"{'':<20}{hint}"
