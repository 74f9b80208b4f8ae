"""docs/commands.md, made of what ``--help`` says.

``python -m docs.tools.page`` writes it (``make docs``), with ``-`` to standard output.
"""

from __future__ import annotations

import sys

from docs.tools.commands import ROOT, commands

PAGE = ROOT / "docs" / "commands.md"
_HEAD = """# Commands

What `--help` says of each command, all of it. This page is written by `make docs`; every exit status is in
[exit-statuses.md](exit-statuses.md), every object that `--json` prints in [json.md](json.md).
"""


def page() -> str:
    """The text that belongs there."""
    parts = [_HEAD]
    for command in commands(width=110):
        name = f"atomsync {command.name}".strip()
        parts.append(f"## {name}\n\n```text\n{command.help.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), encoding="utf-8")
