"""Once a unit is committed, nothing that happens to its report may look like a failure of the unit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(b"1")
    return tmp_path / "src"


@pytest.mark.parametrize("redirect", [">/dev/full", "2>&-", ">&-", "| true", "</dev/null 2>&- >&-"])
def test_a_push_whose_report_nobody_hears_is_done_all_the_same(
    redirect: str, atomsync: Any, src: Path, tmp_path: Path
) -> None:
    line = " ".join(str(os.fsdecode(word)) for word in atomsync.line("push", "-v", src, tmp_path / "dst"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} {redirect}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "dst" / "a").read_bytes() == b"1"


def test_a_terminal_that_lacks_a_letter_gets_its_number(atomsync: Any, src: Path, tmp_path: Path) -> None:
    atomsync("push", src, tmp_path / "dst")
    (src / "a").chmod(0o600)
    done = atomsync("push", "-v", src, tmp_path / "dst", env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0, done.stderr
    assert "mode 0644 \\u2192 0600" in done.stdout


def test_a_state_directory_serves_one_destination(atomsync: Any, src: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert atomsync("push", "--state-dir", state, src, tmp_path / "one").returncode == 0
    assert not (tmp_path / "one" / ".atomsync").exists()
    (tmp_path / "two").mkdir()
    refused = atomsync("push", "--state-dir", state, src, tmp_path / "two")
    assert refused.returncode == 1
    assert str(tmp_path / "one") in refused.stderr
    assert list((tmp_path / "two").iterdir()) == []
    assert atomsync("push", "--state-dir", state, src, tmp_path / "one").returncode == 0
    assert atomsync("status", "--state-dir", state, tmp_path / "one").returncode == 0
