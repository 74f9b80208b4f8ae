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
signals               SIGINT and SIGTERM as a wish
render                what a person reads; of the history render_history, of verify and diff render_scrub
render_progress       how far an operation is
help                  sections of options, the nearest word for a misspelt one
say                   lines in colours
records               what a program reads (``--json``); of the history records_history
bar                   the progress bar on a terminal
"""

from atomsync.cli.app import main

__all__ = ["main"]
