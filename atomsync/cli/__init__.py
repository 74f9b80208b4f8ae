"""Words in, words out: the command line.

app                   the command group, and how every error becomes a message and an exit status
options               what several commands share
quantities            times, sizes and addresses as people write them
push, apply           ``atomsync push``, and the plan it has saved (``planfile``)
watch                 ``atomsync watch``
config                ``atomsync.toml``, for ``watch``
flush, pause, resume  what one may ask of a watch
recover               ``atomsync recover``
status                ``atomsync status``
log, show, gc         the history, looked at and given up
undo, restore         back; what both have is ``reverting``
diff, verify          two trees compared; one and what was committed
doctor                ``atomsync doctor``
selftest              ``atomsync selftest``
completion            ``atomsync completion``
collector             how often Python looks for cycles
signals               SIGINT and SIGTERM as a wish
render                what a person reads; of the history render_history, of a watch render_watch,
                      of verify and diff render_scrub
render_progress       how far an operation is
help                  sections of options, the nearest word for a misspelt one
say                   lines in colours
records               what a program reads (``--json``); of the history records_history
bar                   the progress bar on a terminal; how much longer it takes is reckoned in estimate
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The ``atomsync`` command. ``--version`` is answered here: all the rest is ten times as much work."""
    if sys.argv[1:] == ["--version"]:
        _tell_version()
    from atomsync.cli import collector

    collector.seldom()
    from atomsync.cli import app

    app.main()


def _tell_version() -> None:
    """Comes back if it could not be told; then the long way says why."""
    from atomsync import __version__

    try:
        print(f"atomsync {__version__}", flush=True)
    except OSError:
        return
    sys.exit(0)
