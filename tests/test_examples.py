"""The programs in examples/ do what they say, as a user would start them, and their types are right."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync import digest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINES_MAX = 60
WITH_DATABASE = importlib.util.find_spec("sqlalchemy") is not None

Run = Callable[[str], list[str]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "made"


@pytest.fixture
def run(directory: Path) -> Run:
    """Start an example on ``directory``, twice if need be; what it printed, line by line."""

    def started(name: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", ROOT / "examples" / name, directory],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    return started


def names(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != ".atomsync")


def test_forty_reports_are_written_and_none_of_a_run_that_fails(run: Run, directory: Path) -> None:
    first, second = run("write_reports.py")
    assert first.startswith("45 created, 0 updated, in unit ")  # with four directories and a link
    assert second == "the second run wrote nothing: there is no such department"
    assert names(directory) == ["east", "latest", "north", "south", "west"]
    reports = [path for path in directory.glob("*/*.txt") if not path.parent.is_symlink()]
    assert len(reports) == 40
    assert (directory / "latest").read_text() == "north, week 10: 50 visitors\n"
    assert run("write_reports.py")[0].startswith("0 created, 41 updated, in unit ")


def test_a_certificate_and_its_key_always_fit(run: Run, directory: Path) -> None:
    pairs = set()
    for _ in range(2):
        assert run("rotate_certificate.py") == ["rotated", "not rotated: server.crt is not as expected"]
        certificate, key = ((directory / name).read_text() for name in ("server.crt", "server.key"))
        assert certificate.split()[-1] == hashlib.sha256(key.strip().encode()).hexdigest()
        pairs.add((certificate, key))
    assert len(pairs) == 2
    assert names(directory) == ["server.crt", "server.key"]
    assert stat.S_IMODE((directory / "server.key").stat().st_mode) == 0o600


def test_an_upload_is_an_album_or_nothing(run: Run, directory: Path) -> None:
    done, too_much, trick, index = run("upload.py")
    (album,) = names(directory)
    assert done == f"(201, '{album}')"
    assert too_much == "(400, 'an album may have 1,000,000 bytes')"
    assert trick.startswith('(400, "cannot use ')
    assert index == "1 in the index"
    assert names(directory / album) == ["a.jpg", "album.json", "b.jpg"]
    assert (directory / album / "a.jpg").read_bytes() == b"meow"
    described = json.loads((directory / album / "album.json").read_text())
    assert described == {"title": "cats", "files": {"a.jpg": 4, "b.jpg": 4}}
    assert not (directory.parent / "passwd").exists()


def test_files_and_rows_are_added_together_or_not_at_all(run: Run, directory: Path) -> None:
    if not WITH_DATABASE:
        pytest.skip("SQLAlchemy is not installed")
    refused, *rows = run("files_and_database.py")
    assert refused == "neither the bird nor the other cat was added"
    assert rows == ["cat.jpg 4", "dog.jpg 4"]
    assert names(directory) == ["photos", "photos.db"]
    assert names(directory / "photos") == ["cat.jpg", "dog.jpg"]
    assert (directory / "photos" / "cat.jpg").read_bytes() == b"meow"


def test_a_manifest_vouches_for_the_model_beside_it(run: Run, directory: Path) -> None:
    first, second = run("model_and_manifest.py")
    model = (directory / "model.bin").read_bytes()
    manifest = json.loads((directory / "model.json").read_text())
    assert manifest == {"version": 2, "size": 8_000_000, "xxh3_128": digest(model)}
    assert second == f"model 2: {digest(model)}" != first


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_short_and_has_its_test(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    assert f'run("{example.name}")' in Path(__file__).read_text(encoding="utf-8")
    assert f"python examples/{example.name} DIR" in text


def test_users_get_types(tmp_path: Path) -> None:
    """mypy --strict on programs that only import the package, with nothing of our own configuration."""
    known = [path for path in EXAMPLES if WITH_DATABASE or "sqlalchemy" not in path.read_text("utf-8")]
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from atomsync import open_store\n"
        "with open_store('x').begin() as unit:\n"
        "    unit.write('a', 1)\n"
        "    unit.open('a', 'w').write(b'bytes')\n"
        "    reveal_type(unit.commit().created)\n"
    )
    options = ["--strict", "--config-file", os.devnull, f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *known, wrong],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.partition("wrong.py:")[2] for line in done.stdout.splitlines() if " error: " in line]
    assert [line.partition(":")[0] for line in told] == ["3", "4"], done.stdout + done.stderr
    assert '5: note: Revealed type is "int"' in done.stdout.replace("builtins.int", "int")
