"""``atomsync watch SRC DST``, and ``atomsync watch --config FILE``."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import click
from click.core import ParameterSource

from atomsync.cli import collector, records, render_watch
from atomsync.cli.config import PROCESS, pair_of, read
from atomsync.cli.options import PairCommand, output_options, pair_options, pattern_lines
from atomsync.cli.quantities import address, batch, duration, interval
from atomsync.cli.say import say
from atomsync.daemon.pair import Pair
from atomsync.daemon.service import Service
from atomsync.follow.watching import POLL_S, WatchOptions
from atomsync.tree.path import shown

_DEFAULT = WatchOptions._field_defaults
_LINES_MAX = 10_000  # that wait to be printed
_LAST_WORDS_S = 2.0  # for what is left of them at the end
_ROOMS = ["fs", "tree", "plan", "store", "unit", "sync"]


class WatchCommand(PairCommand):
    """``--poll`` takes its value only after an equals sign: SRC may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        args = [f"--poll={POLL_S:g}" if arg == "--poll" else arg for arg in args[:end]] + args[end:]
        return super().parse_args(ctx, args)


@click.command(
    "watch",
    cls=WatchCommand,
    epilog="Signals: SIGTERM and SIGINT end it, SIGHUP reads FILE again, SIGUSR1 looks everywhere at once, "
    "SIGUSR2 tells how far it is. "
    "Exit status: 0 stopped, else what it could not start with; all in docs/exit-statuses.md.",
)
@click.argument("src", metavar="[SRC", required=False)
@click.argument("dst", metavar="DST]", required=False)
@click.option("--config", metavar="FILE", help="Follow the pairs that FILE defines (docs/watch.md).")
@pair_options
@click.option(
    "--settle",
    type=duration,
    default=_DEFAULT["settle_s"],
    metavar="TIME",
    help="Commit a batch when nothing has changed for TIME (250ms, 2s, 5m, 1h). Default: 100ms.",
)
@click.option(
    "--max-wait",
    type=duration,
    default=_DEFAULT["max_wait_s"],
    metavar="TIME",
    help="Commit a batch at this age, whatever goes on changing. Default: 2s.",
)
@click.option(
    "--batch-max",
    type=batch,
    metavar="SIZE",
    help="Commit a batch of this many paths (20000), bytes (500MB), or either (20000,500MB).",
)
@click.option(
    "--rescan",
    type=duration,
    default=_DEFAULT["rescan_s"],
    metavar="TIME",
    help="How often to compare everything all the same; 0: never. Default: 1h.",
)
@click.option(
    "--poll",
    type=interval,
    metavar="[=TIME]",
    help=f"Hear no events; look at everything this often. Without TIME: {POLL_S:g}s.",
)
@click.option(
    "--metrics",
    type=address,
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus there; HOST is 127.0.0.1 unless given.",
)
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    src: str | None,
    dst: str | None,
    *,
    config: str | None,
    metrics: tuple[str, int] | None,
    verbose: int,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> int:
    """Follow SRC: whatever changes there is committed to DST in whole batches.

    Starts with a push, so that what changed while it was not running is caught up. Goes on until it is
    stopped; trouble, such as a full or unmounted DST, is told, waited for and tried again. What it does
    now, and whether it hears of everything, "atomsync status DST" tells.

    \b
    Examples:
      atomsync watch --delete site/ /srv/www
      atomsync watch --settle 1s --exclude '*.tmp' photos/ /mnt/usb/photos
      atomsync watch --config /etc/atomsync.toml --metrics 9184
      atomsync status /srv/www
    """
    collector.as_usual()
    _load_all()
    with _Teller(verbose=verbose, quiet=quiet, as_json=as_json, named=config is not None) as teller:
        if config is None:
            if src is None or dst is None:
                raise click.UsageError("Missing SRC and DST, or --config FILE.", ctx)
            lines = pattern_lines(ctx.meta["patterns"])
            src, dst = (path and _from_here(path) for path in (src, dst))  # an empty one is refused
            pair = pair_of(src, dst, lines, values)
            Service([pair], teller, metrics).run()
            return 0
        for param in ctx.command.params:
            given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
            if given and param.name not in PROCESS:
                name = param.opts[-1] if isinstance(param, click.Option) else str(param.name).upper()
                raise click.UsageError(f"{name} does not go with --config: it stands in FILE.", ctx)
        path = _from_here(config)  # it is read again, wherever we are then
        found = read(path, ctx.command)
        again = lambda: read(path, ctx.command).pairs  # noqa: E731
        Service(found.pairs, teller, metrics or found.metrics, read=again).run()
        return 0


def _load_all() -> None:
    """All that a push loads only when it needs it: a watch needs it some day, and by then this program may
    have been upgraded or removed."""
    for room in _ROOMS:
        found = importlib.import_module(f"atomsync.{room}")
        for module in pkgutil.iter_modules(found.__path__, found.__name__ + "."):
            importlib.import_module(module.name)


def _from_here(path: str) -> str:
    """Not normalised: ``link/..`` means what the system takes it for."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


class _Teller:
    """Prints what happens, in a thread of its own: a held terminal (Ctrl-S), or a reader that does not
    read, holds up no watch. Of what nobody takes, the newest is dropped."""

    def __init__(self, *, verbose: int, quiet: bool, as_json: bool, named: bool) -> None:
        self._verbose, self._quiet, self._as_json, self._named = verbose, quiet, as_json, named
        self._lines: queue.Queue[tuple[str, bool] | None] = queue.Queue(_LINES_MAX)
        self._thread = threading.Thread(target=self._print, name="printer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_LAST_WORDS_S)
        self._thread.join(_LAST_WORDS_S)
        if self._thread.is_alive():  # it holds the stream, for which Python would wait at its end
            os._exit(0 if error is None else getattr(error, "exit_status", 70))

    def __call__(self, pair: Pair | None, event: str, **fields: Any) -> None:
        """Called from the threads of all pairs."""
        for line in self._lines_of(pair, event, fields):
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(line)

    def _lines_of(self, pair: Pair | None, event: str, fields: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        if self._as_json:
            where: dict[str, object] = {"time_ns": time.time_ns()}
            if pair is not None:
                where |= {"source": pair.source, "destination": pair.destination}
            for text in records.watch(event, where, fields, verbose=self._verbose > 0):
                yield text, False
            return
        stamp = time.strftime("%H:%M:%S ")
        if pair is not None and self._named:
            stamp += f"{shown(pair.destination)}: "
        for text, urgent in render_watch.watch(event, fields, verbose=self._verbose):
            if urgent or not self._quiet:
                yield stamp + text, urgent

    def _print(self) -> None:
        while line := self._lines.get():
            with contextlib.suppress(OSError, ValueError):  # gone, full or closed: the watch goes on
                say(line[0], err=line[1])
