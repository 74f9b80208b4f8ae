"""Lines to a person, in colours where a terminal shows them, and never with ``NO_COLOR`` or ``TERM=dumb``.

A quiet taste: what comes, what goes, what is wrong. The first word of a line decides, so that whoever makes
the lines need not know; names of files are always behind it.
"""

from __future__ import annotations

import os
import re
import sys

import click

_COLOURS = {
    "created  ": "green",
    "removed  ": "red",
    "repaired  ": "green",
    "only in SRC": "green",
    "only in DST": "red",
    "rot  ": "red",
    "missing  ": "red",
    "drift  ": "yellow",
    "extra  ": "yellow",
    "ok ": "green",
    "note ": "yellow",
    "limit ": "yellow",
    "fail ": "red",
    "warning:": "yellow",
    "note:": "yellow",
    "conflict:": "yellow",
    "drift:": "yellow",
    "violation:": "red",
    "atomsync:": "red",
}
_WORDS = "|".join(map(re.escape, _COLOURS))
_STAMP = r"(?:\d\d:\d\d:\d\d (?:[^ ]+: )?)?"  # which a watch puts before a line
_LINE = rf"(?P<stamp>{_STAMP})(?P<word>{_WORDS})"


def say(line: str, *, err: bool = False) -> None:
    """Print ``line`` on standard output, or with ``err`` on standard error."""
    click.echo(painted(line) if _coloured(err=err) else line, err=err)


def painted(line: str) -> str:
    """``line`` with its first word in its colour, if it has one."""
    found = re.match(_LINE, line)
    if found is None:
        return line
    word = found["word"]
    bare = word.rstrip()
    coloured = click.style(bare, fg=_COLOURS[word]) + word[len(bare) :]
    return found["stamp"] + coloured + line[found.end() :]


def _coloured(*, err: bool) -> bool:
    stream = sys.stderr if err else sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "", "dumb"):
        return False
    return stream is not None and stream.isatty()
