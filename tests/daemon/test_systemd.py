"""The units in docs/systemd: systemd reads them without a complaint, and they fit what the command does."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atomsync.daemon.keeper import SILENT_S
from atomsync.daemon.service import STOP_S

UNITS = Path(__file__).parents[2] / "docs" / "systemd"


@pytest.mark.parametrize("who", ["system", "user"])
def test_systemd_finds_nothing_wrong_with_the_unit(who: str, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed (package systemd)")
    program = tmp_path / "atomsync"
    program.symlink_to(sys.executable)
    text = unit_file(who).read_text()
    for installed in ("/usr/local/bin/atomsync", "%h/.local/bin/atomsync"):
        text = text.replace(installed, str(program))
    (tmp_path / "atomsync.service").write_text(text)
    done = subprocess.run(
        [verify, "verify", "--man=no", f"--{who}", tmp_path / "atomsync.service"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if "atomsync" in line]
    assert (done.returncode, about_ours) == (0, [])


@pytest.mark.parametrize("who", ["system", "user"])
def test_the_limits_of_the_unit_are_wider_than_those_of_the_command(who: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit_file(who).read_text())
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"]) > STOP_S
    assert float(service["WatchdogSec"]) / 2 > STOP_S, "a reload may wait that long between two signs of life"
    assert service["RuntimeDirectory"] == "atomsync"
    assert float(service["WatchdogSec"]) < SILENT_S


def unit_file(who: str) -> Path:
    return UNITS / ("user" if who == "user" else "") / "atomsync.service"
