"""``atomsync completion``: the script does its work in a real shell, with keys pressed on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _tool


class Shell:
    """An interactive bash. ``typed`` gives what stands on its line after some keys and a Tab."""

    def __init__(self, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "PS1": "> ", "HOME": str(cwd), "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            [_tool("bash"), "--norc", "--noprofile", "-i"],
            cwd=cwd,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = ""

    def send(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_until(self, pattern: str, timeout_s: float = 20) -> str:
        """What is shown up to and with the first match of ``pattern``."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self._shown)):
            ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self._shown!r}"
            self._shown += os.read(self._ours, 65536).decode(errors="replace")
        shown, self._shown = self._shown[: found.end()], self._shown[found.end() :]
        return shown

    def run(self, line: str) -> str:
        self.send(f"{line}; echo do''ne\n")
        return self.read_until(r"do''ne.*\n(?s:.*)done\r\n")

    def typed(self, keys: str, result: str) -> None:
        """Press these keys and Tab; ``result`` (a pattern) is then on the line."""
        self.send(keys + "\t")
        self.read_until(result)
        self.send("\x15")  # and away with it

    def close(self) -> None:
        os.close(self._ours)
        self._process.kill()
        self._process.wait()


@pytest.fixture
def shell(tmp_path: Path, plant: Callable[..., Path]) -> Iterator[Shell]:
    plant(tmp_path, {"site/index.html": b"", "sink/x": b"", "file.toml": b"", "bin/.keep": b""})
    program = tmp_path / "bin" / "atomsync"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m atomsync "$@"\n')
    program.chmod(0o755)
    shell = Shell(tmp_path)
    shell.run(f"PATH={tmp_path}/bin:$PATH")
    shell.run("source <(atomsync completion bash)")
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("keys", "result"),
    [
        ("atomsync sta", "atomsync status "),
        ("atomsync push --one-f", "atomsync push --one-file-system "),
        ("atomsync push --durability no", "--durability none "),
        ("atomsync push sit", "atomsync push site/"),
        ("atomsync push --exclude x site/ sin", "sink/"),
        ("atomsync watch --config fil", "file\\.toml "),
        ("atomsync completion z", "completion zsh "),
    ],
)
def test_a_tab_completes_commands_options_choices_and_paths(keys: str, result: str, shell: Shell) -> None:
    shell.typed(keys, result)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(name: str, atomsync: Any) -> None:
    done = atomsync("completion", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_ATOMSYNC_COMPLETE={name}_complete" in done.stdout


def test_the_script_for_bash_is_one(atomsync: Any) -> None:
    script = atomsync("completion", "bash").stdout
    checked = subprocess.run([_tool("bash"), "-n"], input=script, text=True, check=False, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_a_wrong_call(atomsync: Any) -> None:
    done = atomsync("completion", "fihs")
    assert done.returncode == 1
    assert "Did you mean 'fish'?" in done.stderr
