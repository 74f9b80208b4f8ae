"""``atomsync verify DST``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from atomsync.cli import quantities, records, render_scrub
from atomsync.cli.help import OUTPUT, with_options
from atomsync.cli.options import (
    PairCommand,
    json_option,
    mending_options,
    pattern_lines,
    pattern_options,
    quiet_option,
    state_dir_option,
)
from atomsync.cli.push import progress_of
from atomsync.cli.say import say
from atomsync.cli.signals import stopping
from atomsync.sync.adopting import Adopter
from atomsync.sync.examine import Examiner
from atomsync.sync.repair import repair as restore
from atomsync.sync.roots import check_roots
from atomsync.sync.verify import Verifier, exit_status_of, mended
from atomsync.tree.filters import Filters
from atomsync.unit.store import open_store


def _reading_options(command: Any) -> Any:
    sample = click.option(
        "--sample",
        type=quantities.percent,
        default="100%",
        metavar="P%",
        help="Read only so many of the files, picked at random. Default: all.",
    )
    limit = click.option(
        "--bwlimit", type=quantities.rate, metavar="RATE", help="Read at most 50MB, say, a second."
    )
    return with_options(command, ("What is read", sample, limit))


def _mending_options(command: Any) -> Any:
    repair = click.option(
        "--repair",
        metavar="SRC",
        help="Then stage what is wrong anew from SRC, if it has it as it was committed.",
    )
    adopt = click.option(
        "--adopt",
        is_flag=True,
        help="Take what cannot be judged for what is to be there; write down its digests.",
    )
    return with_options(command, ("What is made good", repair, adopt))


def _output_options(command: Any) -> Any:
    verbose = click.option(
        "-v", "--verbose", is_flag=True, help="Also one line for each path that is not judged."
    )
    return with_options(quiet_option(command), (OUTPUT, verbose))


@click.command(
    "verify",
    cls=PairCommand,
    epilog="Exit status: 0 all is as it was committed, 41 something was changed, is missing or was added, "
    "42 a file rotted, 13 something may not be read, 20 interrupted; all in docs/exit-statuses.md.",
)
@click.argument("dst", metavar="DST")
@click.option("--resume", is_flag=True, help="Go on where a verification of DST was stopped.")
@state_dir_option
@_reading_options
@pattern_options
@_mending_options
@mending_options
@_output_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    dst: str,
    *,
    sample: float,
    bwlimit: int | None,
    repair: str | None,
    adopt: bool,
    archive: bool,
    xattrs: bool,
    acls: bool,
    resume: bool,
    state_dir: str | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Read everything in DST again, from the medium where possible, and compare it with what was committed.

    Tells what rotted (the size and time it had, but other content), drifted (somebody changed it), is
    missing, or is extra; and what it could not judge. Units may go on meanwhile. With --repair what is wrong
    is then committed anew, in one unit; the exit status is of what is left. Extra paths are left alone.

    \b
    Examples:
      atomsync verify --bwlimit 50MB /mnt/usb/photos
      atomsync verify --sample 5% --exclude /cache/ /srv/www
      atomsync verify --repair site/ /srv/www
    """
    filters = Filters(pattern_lines(ctx.meta["patterns"]))
    store = open_store(dst, state_dir=state_dir, timeout=0)
    said: list[str] = []

    def not_judged(path: str, why: str) -> None:
        if verbose:
            said.append(records.not_judged(path, why) if as_json else render_scrub.not_judged(path, why))

    with (
        stopping(progress_of(bar=not (quiet or as_json))) as progress,
        Examiner(store, progress, bwlimit or 0) as examiner,
    ):
        if repair is not None:
            check_roots(repair, dst, state_dir)
        adopter = Adopter(store, progress) if adopt else None
        found = Verifier(examiner, filters, sample, progress, not_judged, adopter).run(resume=resume)
        progress.close()  # a bar would be drawn over what is said
        _print(said if as_json or not quiet else ())
        told = records.verification(found) if as_json else render_scrub.verification(found)
        _print(told if as_json or not quiet else ())
        if repair is not None:
            done = restore(
                repair,
                store,
                found.findings,
                examiner.rows,
                filters=filters,
                archive=archive,
                xattrs=xattrs,
                acls=acls,
                progress=progress,
            )
            found = mended(examiner, found, done)
            told = records.repair(done, found) if as_json else render_scrub.repair(done, found)
            _print(told if as_json or not quiet else ())
    return exit_status_of(found)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
