"""What real programs do to whole trees: few units, none of their temporary names, at rest the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from atomsync import push
from tests.follow.following import Following

Follow = Callable[..., Following]
SameTree = Callable[..., None]
Plant = Callable[..., Path]
Spec = Mapping[str, bytes | str | None]

# A unit is made when SRC rested for so long, and no program that is at work rests so long.
SETTLE_S, MAX_WAIT_S = 1.0, 30.0


def _files(first: int, end: int, mark: str) -> dict[str, bytes | str | None]:
    return {f"part{number % 50}/{number}": f"{mark} {number}\n".encode() * 20 for number in range(first, end)}


def _run(*line: str | Path, cwd: Path) -> None:
    program = shutil.which(line[0])
    if program is None:
        pytest.skip(f"{line[0]} is not installed")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(cwd.parent)}
    subprocess.run([program, *line[1:]], cwd=cwd, env=env, check=True, capture_output=True)


def _git(cwd: Path, *words: str) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "gc.auto=0"]
    _run("git", *who, *words, cwd=cwd)


def _branches(src: Path, plant: Plant, count: int) -> None:
    """Two branches: a tenth of the files is only in the one, a tenth only in the other, the rest differ."""
    tenth = count // 10
    _git(src, "init", "-q", "-b", "old")
    plant(src, _files(0, count, "old"))
    _git(src, "add", "-A")
    _git(src, "commit", "-q", "-m", "old")
    _git(src, "checkout", "-q", "-b", "new")
    for path in _files(0, tenth, ""):
        (src / path).unlink()
    plant(src, _files(tenth, count + tenth, "new"))
    _git(src, "add", "-A")
    _git(src, "commit", "-q", "-m", "new")
    _git(src, "checkout", "-q", "old")
    _git(src, "repack", "-adq")


def _wheel(path: Path, files: Mapping[str, bytes]) -> None:
    """A wheel as pip wants it, without a tool to build it."""
    info = "package-1.0.dist-info"
    members = {
        **files,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: package\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, where there is such a place: making so many files is not what is to be tested."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


# Each: what is there before, and then the one line that a user types.
def _checkout(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    _branches(src, plant, count)
    return lambda: _git(src, "checkout", "-q", "new")


def _untar(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    plant(other / "tree", _files(0, count, "tar"))
    _run("tar", "cf", "tree.tar", "tree", cwd=other)
    return lambda: _run("tar", "xf", other / "tree.tar", cwd=src)


def _copy(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    plant(other / "tree", {**_files(0, count, "cp"), "part0/link": "elsewhere", "empty": None})
    return lambda: _run("cp", "-a", other / "tree", src, cwd=src)


def _rsync(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    plant(src, _files(0, count, "old"))
    plant(other, _files(count // 5, count + count // 5, "new"))
    return lambda: _run("rsync", "-a", "--delete", f"{other}/", f"{src}/", cwd=src)


def _pip_install(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    wheel = other / "package-1.0-py3-none-any.whl"
    _wheel(wheel, {f"package/module{number}.py": f"N = {number}\n".encode() for number in range(count // 10)})
    words = ["-q", "--disable-pip-version-check", "--no-deps", "--no-index", "--target", "site"]
    return lambda: _run(sys.executable, "-m", "pip", "install", *words, wheel, cwd=src)


def _made_anew(src: Path, other: Path, plant: Plant, count: int) -> Callable[[], None]:
    """What npm ci does: all that was installed is removed, and made again, mostly as it was."""
    plant(src / "node_modules", _files(0, count, "old"))
    plant(other / "node_modules", {**_files(0, count, "old"), **_files(0, count // 10, "new")})
    return lambda: _run("sh", "-c", "rm -rf node_modules && cp -a ../other/node_modules .", cwd=src)


PROGRAMS: dict[str, tuple[Callable[[Path, Path, Plant, int], Callable[[], None]], int]] = {
    "git checkout": (_checkout, 5000),
    "tar x": (_untar, 2000),
    "cp -a": (_copy, 2000),
    "rsync -a": (_rsync, 1000),
    "pip install": (_pip_install, 2000),
    "removed and made anew": (_made_anew, 3000),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_does_to_a_tree_arrives_as_one_unit(
    program: str,
    src: Path,
    dst: Path,
    other: Path,
    plant: Plant,
    follow: Follow,
    assert_same_tree: SameTree,
    snapshot: Callable[[Path], dict[bytes, object]],
) -> None:
    make, files = PROGRAMS[program]
    run = make(src, other, plant, files)
    push(src, dst, durability="none")
    before = snapshot(dst)
    watch = follow(src, dst, delete=True, settle_s=SETTLE_S, max_wait_s=MAX_WAIT_S)
    watch.settled()
    run()
    watch.wait_until(watch.units, MAX_WAIT_S)
    watch.settled()
    assert_same_tree(src, dst)
    [unit] = watch.units()
    named = {path for _, path in unit}
    assert named <= {os.fsdecode(path) for path in before | snapshot(dst)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_units_made_while_a_program_is_at_work_end_in_the_same_tree(
    program: str,
    src: Path,
    dst: Path,
    other: Path,
    plant: Plant,
    follow: Follow,
    assert_same_tree: SameTree,
) -> None:
    make, files = PROGRAMS[program]
    run = make(src, other, plant, files // 4)
    push(src, dst, durability="none")
    watch = follow(src, dst, delete=True, settle_s=0.01, max_wait_s=0.05)
    watch.settled()
    run()
    watch.settled()
    assert_same_tree(src, dst)
