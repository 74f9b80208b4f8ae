"""A session at a terminal as text: typed again, read, and written anew.

A line that begins with ``$`` is typed into one shell, in an empty directory; ``>`` continues it. What
follows is what came out, in which times, sizes of disks and names of units may be others. ``[7]`` is an exit
status. ``python -m tests.transcripts FILE...`` types what the files hold, and writes down what comes out now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TRANSCRIPTS = sorted((Path(__file__).parents[1] / "fixtures" / "transcripts").glob("*.txt"))
_END = "-- end of command"
# What differs from one day and one machine to the next. Each is shown by one word on both sides.
_VARYING = (
    (re.compile(r"\b\d{8}-\d{6}-\d{3}\b"), "UNIT"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( \+0000)?"), "WHEN"),
    (re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE), "TIME "),
    (re.compile(r"\b\d+(\.\d+)? (ms|s)\b"), "SPAN"),
    (re.compile(r"\b[\w.-]+@[\w.-]+\b"), "WHO"),
    (re.compile(r"\bprocess \d+\b"), "process PID"),
    (re.compile(r"phases in ms: .*"), "phases in ms: SPANS"),
    (re.compile(r" \([\d.]+ [kMG]?B/s\)"), ""),
    (re.compile(r"old versions occupy [\d.]+ [kM]?B"), "old versions occupy SPACE"),
    (re.compile(r"gave up (\d+ units?), [\d.]+ [kM]?B"), r"gave up \1, SPACE"),
)


def steady(text: str, where: Path) -> str:
    text = text.replace(os.fspath(where), "/home/you")
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def said(transcript: str) -> Iterator[tuple[str, str]]:
    """``(what was typed, what came out)``; text before the first command explains."""
    typed, out = "", ""
    for line in transcript.splitlines():
        if line.startswith("$ "):
            if typed:
                yield typed, out
            typed, out = line[2:], ""
        elif line[:2] in (">", "> ") and typed and not out:
            typed += "\n" + line[2:]
        elif typed:
            out += line + "\n"
    if typed:
        yield typed, out


class Shell:
    """bash, as somebody uses it who sees both streams."""

    def __init__(self, where: Path) -> None:
        self._where = where
        commands = os.fspath(Path(sys.executable).parent)
        environment = {
            "PATH": f"{commands}:/usr/sbin:{os.environ['PATH']}",
            "HOME": os.fspath(where),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
            "TZ": "UTC",
        }
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=where,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def type(self, command: str) -> str:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f'{command}\nprintf "%s %s\\n" "{_END}" $?\n')
        self._bash.stdin.flush()
        out = ""
        for line in self._bash.stdout:
            before, mark, status = line.partition(_END)
            out += before
            if mark:
                return out + ("" if status.strip() == "0" else f"[{status.strip()}]\n")
        raise AssertionError(f"the shell ended: {out}")

    def close(self) -> None:
        self._bash.kill()
        self._bash.communicate()


def typed_again(path: Path, where: Path) -> Iterator[tuple[str, str, str]]:
    """``(what was typed, what came out then, what comes out now)``."""
    shell = Shell(where)
    try:
        for typed, then in said(path.read_text(encoding="utf-8")):
            yield typed, steady(then, where).rstrip(), steady(shell.type(typed), where).rstrip()
    finally:
        shell.close()


def write_anew(path: Path) -> None:
    """Keep what explains, above the first command."""
    text = path.read_text(encoding="utf-8")
    lines = [text[: text.index("$ ")].rstrip() + "\n"]
    with tempfile.TemporaryDirectory() as where:
        shell = Shell(Path(where))
        for typed, _ in said(text):
            out = shell.type(typed).replace(where, "/home/you").rstrip()
            shown = typed.replace("\n", "\n> ").replace("\n> \n", "\n>\n")
            lines.append(f"$ {shown}\n" + (out + "\n" if out else ""))
        shell.close()
    path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write_anew(Path(name))
