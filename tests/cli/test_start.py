"""How a command starts: what it loads, counted. A number of modules is the same on every machine, loaded or
not, where milliseconds are not; each of ours costs some 0.2 ms, those of the deny list up to 50."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import atomsync as package
from atomsync.cli import collector
from atomsync.cli.app import run

_START = "from atomsync.cli import main; main()"
_OURS_MAX = 121  # of a push; at the time of writing 113
_OTHERS_MAX = 100  # of click and the standard library, beyond a bare start; at the time of writing 83
# What a plain push has no use for, and what each is for.
_DENIED = {
    "rich",  # a bar
    "pathspec",  # patterns
    "watchdog",  # a watch
    "subprocess",  # hooks, and the helper of a large push
    "selectors",  # hooks
    "tempfile",  # hooks
    "socket",  # asking a watch
    "urllib.parse",
    "ipaddress",
    "calendar",
    "difflib",  # a misspelt word
    "importlib.metadata",
    "dataclasses",
    "logging",
    "tomllib",  # a config file
    "click.shell_completion",
    "atomsync.cli.records",  # --json
    "atomsync.cli.planfile",  # --save-plan
    "atomsync.follow.watching",
    "atomsync.store.preview",  # --check
    "atomsync.store.reversal",  # undo
    "atomsync.store.status",
    "atomsync.store.telling",  # log, show
    "atomsync.sync.dry_run",
    "atomsync.sync.look",  # a watch
    "atomsync.sync.running",  # hooks
    "atomsync.unit.reverting",
}


def loaded(code: str, *arguments: object) -> set[str]:
    """The modules that a fresh interpreter loads for this."""
    line = [sys.executable, "-X", "importtime", "-c", code, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    told = [text for text in done.stderr.splitlines() if text.startswith("import time:")]
    return {text.rpartition("|")[2].strip() for text in told[1:]}


@pytest.fixture(scope="module")
def bare() -> set[str]:
    return loaded("pass")


def of_ours(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "atomsync"}


def test_the_version_is_told_by_the_front_door_alone(bare: set[str]) -> None:
    assert loaded(_START, "--version") - bare == {"__future__", "atomsync", "atomsync.cli"}


def test_the_version_is_that_of_the_distribution(atomsync: Any) -> None:
    assert package.__version__ == importlib.metadata.version("atomsync")
    told = {atomsync("--version").stdout, atomsync("--version", "push").stdout}  # the short way and click's
    assert told == {f"atomsync {package.__version__}\n"}


def test_a_version_that_cannot_be_told_is_an_error_as_ever(atomsync: Any) -> None:
    with Path("/dev/full").open("w") as full:
        process = atomsync.start("--version", stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode not in (0, 120)
    assert "No space left on device" in said


def test_a_plain_push_loads_what_it_needs_and_no_more(bare: set[str], tmp_path: Path) -> None:
    for name in ("src", "dst"):
        (tmp_path / name).mkdir()
    for _ in ("makes the store", "finds it"):
        found = loaded(_START, "push", tmp_path / "src", tmp_path / "dst") - bare
        ours = of_ours(found)
        assert found & _DENIED == set()
        assert len(ours) <= _OURS_MAX, sorted(ours)
        assert len(found - ours) <= _OTHERS_MAX, sorted(found - ours)


def test_what_is_denied_is_there_to_be_loaded(bare: set[str]) -> None:
    """Else a name that is misspelt here, or was given up, would deny nothing."""
    line = ";".join(f"import {name}" for name in sorted(_DENIED))
    assert loaded(line) >= _DENIED - bare


def test_the_front_door_of_the_library_loads_nothing(bare: set[str]) -> None:
    assert of_ours(loaded("import atomsync") - bare) == {"atomsync"}


def test_only_what_runs_for_days_looks_for_cycles_at_the_usual_pace(tmp_path: Path) -> None:
    usual = gc.get_threshold()
    try:
        collector.seldom()
        run(["push", "-q", str(tmp_path / "none"), str(tmp_path)])
        assert gc.get_threshold()[0] > 10 * usual[0]
        run(["watch", "-q", str(tmp_path / "none"), str(tmp_path)])
        assert gc.get_threshold() == usual
    finally:
        collector.as_usual()


@pytest.mark.parametrize("more", [(), ("--json",), ("-v",), ("--undo-on-failure",)])
def test_a_push_may_put_another_program_where_its_own_is(more: tuple[str, ...], tmp_path: Path) -> None:
    """What it needs behind the commit it has loaded before."""
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    (src / "new").touch()
    shutil.copytree(Path(package.__file__).parent, dst / "atomsync")
    line = ["push", "--delete", "--max-delete", "100%", "--after", "touch ../ran; test ! -e ../fail"]
    if "--undo-on-failure" in more:
        (tmp_path / "fail").touch()
    done = subprocess.run(
        [sys.executable, "-c", _START, *line, *more, src, dst],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(dst)},
    )
    assert "internal error" not in done.stdout + done.stderr
    assert (tmp_path / "ran").exists()
    if "--undo-on-failure" in more:
        assert (dst / "atomsync").exists()
        assert "was undone" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert not (dst / "atomsync").exists()
