"""``atomsync selftest DST``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from atomsync.cli import records, render
from atomsync.cli.options import json_option
from atomsync.cli.signals import stopping
from atomsync.errors import Interrupted
from atomsync.store.progress import Progress
from atomsync.testing.selftest import Check, Found, Result, scratch, selftest
from atomsync.tree.path import shown

VIOLATED = 43
_LISTED_MAX = 5


@click.command("selftest")
@click.argument("dst", metavar="DST")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86400, min_open=True),
    default=8.0,
    show_default=True,
    metavar="N",
    help="About how long to try. More time tries more points.",
)
@json_option
def command(dst: str, *, seconds: float, as_json: bool) -> int:
    """Try on DST's filesystem whether it keeps what atomsync promises.

    Works in a new directory .atomsync-selftest-* in DST, which it removes at the end, and touches nothing
    else. Shows what the filesystem can do, then pushes a small tree there again and again: watched by a
    reader, raced by another writer, with calls that fail, and killed before one call after the other.

    Exit status 0: every promise held. 43: one did not; do not trust this filesystem with atomsync.

    \b
    Example:
      atomsync selftest --seconds 60 /mnt/usb
    """
    with stopping(_Stoppable()) as progress, scratch(dst) as where:
        if not as_json:
            click.echo(f"selftest in {shown(where)} (removed at the end), for about {seconds:g} s")
        result = selftest(where, seconds, progress)
    if as_json:
        click.echo(records.selftest(_fields(result)))
    else:
        for line in (*_abilities(result.found), *map(_check, result.checks), *_verdict(result)):
            click.echo(line)
    return 0 if result.holds else VIOLATED


class _Stoppable(Progress):
    """Stops at any point: the scratch directory is removed all the same."""

    def check(self) -> None:
        if self.stopping:
            raise Interrupted(f"stopped by {self.stopping}", "the scratch directory was removed")


def weaker(found: Found) -> Iterator[str]:
    """What is promised less here than docs/guarantee.md promises first."""
    able = found.able
    if able.swap_class == "link+replace":
        yield "another writer's save in the instant in which a file is replaced would be lost"
        yield "where a file and a directory trade places, the path is missing for the time of one call"
    elif able.swap_class == "replace":
        yield "a path that is replaced is missing for the time of one call"
    if not able.rename_new:
        yield "a name made by another writer in the instant in which we make it would be replaced"
    if not able.syncfs:
        yield "after a power cut the own time of a symbolic link may be another"


def _abilities(found: Found) -> Iterator[str]:
    able, space = found.able, found.space
    inodes = "inodes not counted" if space.inodes_free is None else f"{space.inodes_free:,} inodes"
    for name, value in (
        ("filesystem", found.filesystem or "unknown"),
        ("exchange two names", _yes(able.exchange)),
        ("rename to a new name only", _yes(able.rename_new)),
        ("hard links", _yes(able.link)),
        ("symbolic links", _yes(found.symlinks)),
        ("reflinks", _yes(found.reflinks)),
        ("syncfs", "trusted" if able.syncfs else "not trusted: every file is synced on its own"),
        ("times kept in steps of", f"{able.time_step_ns:,} ns"),
        ("inode generations", _yes(found.generations)),
        ("longest name", f"{space.name_max} bytes"),
        ("free", f"{render.size(space.bytes_free)}, {inodes}"),
    ):
        yield f"  {name:<26}{value}"


def _check(check: Check) -> str:
    outcomes = "".join(f" · {count:,} {what}" for what, count in check.outcomes.items())
    points = "" if check.tried == check.points else f" of {check.points:,}"
    return f"{check.name}: {check.tried:,}{points}{outcomes} · {len(check.violations):,} violations"


def _verdict(result: Result) -> Iterator[str]:
    violations = [text for check in result.checks for text in check.violations]
    for text in violations[:_LISTED_MAX]:
        yield f"violation: {shown(text)}"
    if violations:
        yield (
            f"verdict: {len(violations):,} violations in {result.seconds:.1f} s. This filesystem does not"
            " keep what atomsync promises, or atomsync has a bug: do not use them together; please report it."
        )
        return
    swap_class = result.found.able.swap_class
    less = list(weaker(result.found))
    yield f"verdict: every promise held in {result.seconds:.1f} s; swap class {swap_class}" + (
        ", the full guarantee." if not less else ", a weaker guarantee (docs/guarantee.md):"
    )
    for text in less:
        yield f"  {text}"
    yield "not tried: power cuts, and storage that lies about what it has written."


def _fields(result: Result) -> dict[str, object]:
    found, able, space = result.found, result.found.able, result.found.space
    return {
        "holds": result.holds,
        "swap_class": able.swap_class,
        "weaker": list(weaker(found)),
        "filesystem": found.filesystem or None,
        "exchange": able.exchange,
        "rename_new": able.rename_new,
        "link": able.link,
        "symlink": found.symlinks,
        "reflink": found.reflinks,
        "syncfs": able.syncfs,
        "time_step_ns": able.time_step_ns,
        "generations": found.generations,
        "name_max": space.name_max,
        "bytes_free": space.bytes_free,
        "inodes_free": space.inodes_free,
        "checks": [{**check._asdict(), "violations": list(check.violations)} for check in result.checks],
        "seconds": round(result.seconds, 3),
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"
