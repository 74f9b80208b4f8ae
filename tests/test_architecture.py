"""The house as it was drawn: floors, one door to the disk, one tree of errors, the front door."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import atomsync
from atomsync import errors

ROOT = Path(__file__).parents[1]
PACKAGE = Path(atomsync.__file__).parent
STATUSES = ROOT / "docs" / "exit-statuses.md"


# -- floors


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the source tree")
def test_every_room_looks_only_at_lower_floors() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def test_every_module_stands_in_the_table_of_its_room() -> None:
    for room in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        table = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
        names = {path.stem for path in room.glob("*.py")} - {"__init__"}
        missing = sorted(name for name in names if not re.search(rf"\b{name}\b", table))
        assert missing == [], f"{room.name}/__init__.py does not tell of them"


def test_every_room_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


# -- the front door


FRONT_DOOR = {
    "ABSENT",
    "ANY",
    "AtomSyncError",
    "Filters",
    "PreparedUnit",
    "Receipt",
    "Report",
    "Savepoint",
    "StagedFile",
    "Store",
    "UnitMaker",
    "UnitOfWork",
    "digest",
    "open_store",
    "push",
    "unit_maker",
}


def test_the_front_door_is_what_it_was_said_to_be() -> None:
    assert set(atomsync.__all__) == FRONT_DOOR
    assert len(atomsync.__all__) == len(FRONT_DOOR)


@pytest.mark.parametrize("name", sorted(FRONT_DOOR))
def test_everything_at_the_front_door_is_there_and_says_what_it_does(name: str) -> None:
    found = getattr(atomsync, name)
    assert found.__doc__
    assert found.__module__.startswith("atomsync.")


def test_nothing_else_is_taken_for_part_of_it() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = atomsync.no_such_name


# -- one door to the disk

# Calls of ``os`` and ``shutil`` that read or change a tree; ``os.fspath`` and its like do not.
_TOUCHING = """
    open close read write pread pwrite mkdir makedirs rmdir removedirs unlink remove rename renames replace
    link symlink readlink chmod fchmod lchmod chown fchown lchown utime truncate ftruncate fsync fdatasync
    sync scandir listdir walk fwalk stat lstat fstat statvfs fstatvfs mkfifo mknod sendfile copy_file_range
    setxattr removexattr posix_fallocate
"""
TOUCHING = set(_TOUCHING.split())

# file → what it may call, and why that is no tree's business.
ALLOWED = {
    # The operator names the roots by ordinary paths; whether they exist is asked before a disk is opened.
    "store/store.py": {"mkdir", "rmdir"},
    "store/sibling.py": {"mkdir"},
    "store/access.py": {"mkdir"},  # --state-dir is such a path
    "store/control.py": {"rmdir"},
    "sync/roots.py": {"stat", "scandir"},
    "sync/dry_run.py": {"statvfs"},
    "store/ahead.py": {"write", "pread", "close"},  # a file that is in memory only
    "sync/running.py": {"read"},  # what a command of the operator's says, by a pipe
    "follow/ground.py": {"statvfs"},
    # The kernel's watches are put on ordinary directories; what is in them is asked elsewhere.
    "watch/covered.py": {"close", "scandir"},
    "watch/inotify.py": {"lstat", "close"},
    "watch/observer.py": {"stat"},
    # The runtime directory, where a watch can be asked.
    "daemon/places.py": {"mkdir"},
    # Output that nobody reads any more.
    "cli/app.py": {"open"},
    "cli/push.py": {"open"},
    "cli/signals.py": {"write"},  # a line on stderr, from a handler
}
OPENED_BY_NAME = {
    "fs/mounts.py",  # the kernel's table of mounts
    "fs/identity.py",  # which boot of the system this is
    "watch/limits.py",  # the kernel's limits
    "cli/options.py",  # the file of patterns the operator names
    "cli/config.py",  # the file of pairs
    "cli/planfile.py",  # the file of a saved plan
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def touching(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """``(module, name, line)`` of what is used of ``os`` and ``shutil``, however it was imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("os", "shutil"):
                yield node.value.id, node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            for alias in node.names:
                yield node.module, alias.name, node.lineno


def test_nothing_above_the_disk_calls_the_system_to_touch_a_tree() -> None:
    found: dict[str, set[str]] = {}
    for name, tree in modules():
        if name.startswith(("fs/", "testing/")):
            continue
        used = {attr for module, attr, _ in touching(tree) if module == "shutil" or attr in TOUCHING}
        if used - ALLOWED.get(name, set()):
            found[name] = used - ALLOWED.get(name, set())
    assert found == {}


def test_files_are_opened_by_name_only_where_an_operator_named_them() -> None:
    found = set()
    for name, tree in modules():
        if name.startswith("testing/"):  # builds and judges trees of its own
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
                found.add(name)
    assert found <= OPENED_BY_NAME


def test_the_exceptions_to_the_one_door_are_still_needed() -> None:
    used = {name: {attr for _, attr, _ in touching(tree)} for name, tree in modules()}
    idle = {name: allowed - used.get(name, set()) for name, allowed in ALLOWED.items()}
    assert {name: names for name, names in idle.items() if names} == {}


PURE = {
    "tree/diff.py",
    "tree/amount.py",
    "sync/findings.py",
    "tree/attributes.py",
    "store/journal.py",
    "sync/judging.py",
    "sync/saved.py",
    "unit/books.py",
    "watch/hint.py",
    "watch/batching.py",
    "watch/moves.py",
    "follow/trouble.py",
    "follow/watching.py",
}


def test_the_pure_rooms_know_neither_the_clock_nor_the_system() -> None:
    for name, tree in modules():
        if not (name.startswith("plan/") or name in PURE):
            continue
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        assert not {"time", "datetime", "random", "subprocess", "socket"} & imported, name
        assert {attr for module, attr, _ in touching(tree) if module == "os"} <= {"fsencode", "fspath"}, name


# -- errors


def error_classes() -> list[type[errors.AtomSyncError]]:
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.AtomSyncError)
    ]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = {kind: kind.code for kind in error_classes()}
    assert len(set(codes.values())) == len(codes), codes
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes.values())


def test_every_error_is_public_and_says_what_it_stands_for() -> None:
    for kind in error_classes():
        assert kind.__name__ in errors.__all__
        assert kind.__doc__
        assert kind.__module__ == "atomsync.errors"


def test_errors_are_defined_in_their_own_room_only() -> None:
    for name, tree in modules():
        if name == "errors.py" or name.startswith("testing/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert not bases & {"Exception", "OSError", "ValueError", *errors.__all__}, (name, node.name)


def test_exit_statuses_differ_where_the_remedies_do() -> None:
    shared: dict[int, set[str]] = {}
    for kind in error_classes():
        shared.setdefault(kind.exit_status, set()).add(kind.__name__)
    assert {status: names for status, names in shared.items() if len(names) > 1} == {
        41: {"Drift", "StaleEntry"},
        70: {"AtomSyncError", "UnitStateError", "PendingRollback"},
    }


@pytest.mark.skipif(not STATUSES.exists(), reason="docs/exit-statuses.md is not written yet")
def test_every_exit_status_is_documented() -> None:
    text = STATUSES.read_text(encoding="utf-8")
    for kind in error_classes():
        assert re.search(rf"(?<!\d){kind.exit_status}(?!\d)", text), kind.exit_status


@pytest.mark.parametrize("number", [number for number in range(1, 134) if number in errors.errno.errorcode])
def test_every_error_of_the_system_becomes_one_of_ours(number: int) -> None:
    found = errors.from_oserror(OSError(number, os.strerror(number)), "cannot do it")
    assert isinstance(found, errors.AtomSyncError)
    assert found.what == "cannot do it"
    assert os.strerror(number) in str(found)
