"""The manual pages, made of what ``--help`` says.

``python -m docs.tools.man DIR`` writes ``DIR/man1/*.1`` (``make man``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import atomsync
from docs.tools.commands import Command, commands, exit_statuses

_SPECIAL = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def write(directory: Path) -> list[Path]:
    """Write every page; returns their paths."""
    where = directory / "man1"
    where.mkdir(parents=True, exist_ok=True)
    found = list(commands())
    pages = []
    for command in found:
        page = where / f"{title(command)}.1"
        page.write_text("\n".join(lines(command, found)) + "\n", encoding="utf-8")
        pages.append(page)
    return pages


def title(command: Command) -> str:
    return f"atomsync-{command.name}" if command.name else "atomsync"


def lines(command: Command, all_commands: list[Command]) -> Iterator[str]:
    """One page, in the man macros."""
    name = title(command)
    yield f'.TH {name.upper()} 1 "" "atomsync {atomsync.__version__}" "atomsync manual"'
    yield from (".SH NAME", f"{roff(name)} \\- {roff(command.summary[0].lower() + command.summary[1:])}")
    called = f"atomsync {command.name}".strip()
    yield from (".SH SYNOPSIS", f".B {roff(called)}", roff(command.usage))
    yield ".SH DESCRIPTION"
    examples = []
    for paragraph in command.paragraphs:
        if isinstance(paragraph, str):
            yield from (".PP", roff(paragraph))
        else:
            examples += [line for line in paragraph if not re.match(r"Examples?:$", line.strip())]
    for section, options in command.sections.items():
        alone = section in ("Options", "Commands")
        yield f".SH {section.upper()}" if alone else f".SS {section}"
        for words, told in options:
            yield from (".TP", f".B {roff(words)}", roff(told))
    if examples:
        yield from (".SH EXAMPLES", ".nf", *(roff(line.strip()) for line in examples), ".fi")
    yield ".SH EXIT STATUS"
    if command.name:
        yield roff(command.epilog or "All of them are in atomsync(1).")
    else:
        for status, meaning in exit_statuses():
            yield from (".TP", f".B {status}", roff(meaning))
    yield ".SH SEE ALSO"
    others = [f".BR {roff(title(other))} (1)" for other in all_commands if other is not command]
    yield from (f"{line} ," for line in others[:-1])
    yield others[-1]


def roff(words: str) -> str:
    found = "".join(_SPECIAL.get(letter, letter) for letter in words)
    return f"\\&{found}" if found[:1] in (".", "'") else found


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
