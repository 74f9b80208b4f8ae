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


@pytest.mark.parametrize("call", ["fchownat", "chown", "chmod", "fchmodat", "utimensat"])
def test_a_change_of_attributes_cut_between_two_of_its_calls_is_taken_back(
    call: str, atomsync: Any, strace: Any, src: Path, tmp_path: Path
) -> None:
    dst = tmp_path / "dst"
    (src / "d").mkdir()
    (src / "d" / "b").write_bytes(b"2")
    atomsync("push", src, dst)
    for path in (src / "a", src / "d"):
        path.chmod(0o751)
        os.utime(path, ns=(10**18, 10**18))
    # The quick check would stage a file with another time anew; -c changes it in place.
    seen = {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in (dst / "a", dst / "d", dst)}
    cut = 0
    for number in range(1, 12):
        under = strace("-e", f"trace=?{call}", "-e", f"inject=?{call}:signal=KILL:when={number}")
        done = atomsync("push", "-c", src, dst, under=under)
        if done.returncode == 0:
            break
        cut += 1
        assert atomsync("recover", dst).returncode == 0
        assert {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in seen} == seen
    else:
        pytest.fail("no push got through")
    assert cut or call in ("fchownat", "fchmodat", "chown")
    assert (dst / "a").stat().st_mode & 0o7777 == 0o751
