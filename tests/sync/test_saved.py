"""A saved plan: read back as it was, and carried out exactly so or not at all."""

from __future__ import annotations

import inspect
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import xxhash

from atomsync import push
from atomsync.cli.app import group
from atomsync.errors import UsageError
from atomsync.plan.change import Change
from atomsync.sync.saved import OPTIONS, SavedPlan, decode, encode
from atomsync.tree.entry import Entry

Plant = Callable[..., Path]
T = 1_600_000_000_000_000_000


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a": b"new a", "d/b": b"b", "l": "a", b"\xff\n": b"odd", "tmp": b""})


@pytest.fixture
def dst(tmp_path: Path, src: Path, plant: Plant) -> Path:
    dst = plant(tmp_path / "dst", {"a": b"old a", "gone/x": b"x"})
    push(plant(tmp_path / "first", {"seen": b""}), dst)
    return dst


@pytest.fixture
def plan(tmp_path: Path, src: Path, dst: Path, atomsync: Any) -> Path:
    """Of a mirror that leaves out ``tmp``."""
    done = atomsync("push", "-n", "--delete", "--exclude", "tmp", "--save-plan", tmp_path / "plan", src, dst)
    assert done.returncode == 0, done.stderr
    return tmp_path / "plan"


def resealed(lines: list[bytes]) -> bytes:
    """These lines with a last one that vouches for them."""
    body = b"".join(line + b"\n" for line in lines)
    end = {"changes": len(lines) - 1, "xxh3_128": xxhash.xxh3_128_hexdigest(body)}
    return body + json.dumps(end).encode() + b"\n"


def headed(head: dict[str, Any]) -> bytes:
    return json.dumps({"atomsync_plan": 1, **head}).encode()


# -- carried out
def test_a_plan_is_carried_out_as_it_was_saved(
    plan: Path, src: Path, dst: Path, atomsync: Any, assert_same_tree: Any
) -> None:
    done = atomsync("apply", "-v", plan)
    assert done.returncode == 0, done.stderr
    assert "created 4 · updated 1 · removed 3" in done.stdout
    (src / "tmp").unlink()
    os.utime(src, ns=(T, dst.stat().st_mtime_ns))
    assert_same_tree(src, dst)


def test_saving_a_plan_touches_nothing_and_shows_it(
    tmp_path: Path, src: Path, dst: Path, atomsync: Any, unchanged: Any
) -> None:
    with unchanged(src), unchanged(dst, control=True):
        done = atomsync("push", "-n", "--save-plan", tmp_path / "p", src, dst)
    assert "would create" in done.stdout
    assert (tmp_path / "p").exists()


def test_a_first_push_can_be_planned_too(
    tmp_path: Path, src: Path, atomsync: Any, assert_same_tree: Any
) -> None:
    for dst in (tmp_path / "new", tmp_path / "plain"):
        if dst.name == "plain":
            dst.mkdir()
        assert atomsync("push", "-n", "--save-plan", tmp_path / "p", src, dst).returncode == 0
        assert atomsync("apply", tmp_path / "p").returncode == 0
        assert_same_tree(src, dst)


def test_it_needs_no_particular_directory_to_stand_in(
    tmp_path: Path, src: Path, dst: Path, atomsync: Any, public_dir: Path
) -> None:
    assert atomsync("push", "-n", "--save-plan", "p", "src", "dst", cwd=tmp_path).returncode == 0
    assert atomsync("apply", tmp_path / "p", cwd=public_dir).returncode == 0
    assert (dst / "a").read_bytes() == b"new a"


def test_a_plan_without_changes_does_nothing(tmp_path: Path, src: Path, dst: Path, atomsync: Any) -> None:
    push(src, dst)
    assert atomsync("push", "-n", "--save-plan", tmp_path / "p", src, dst).returncode == 0
    assert "nothing to do" in atomsync("apply", tmp_path / "p").stdout


# -- or not at all
@pytest.mark.parametrize(
    ("move", "path"),
    [
        (lambda src, dst: (src / "a").write_bytes(b"newer"), "a"),
        (lambda src, dst: (src / "more").write_bytes(b""), "more"),
        (lambda src, dst: (src / "d/b").unlink(), "d/b"),
        (lambda src, dst: (src / "a").chmod(0o600), "a"),
        (lambda src, dst: os.utime(src / "a", ns=(T, (src / "a").stat().st_mtime_ns)), "a"),  # only its ctime
        (lambda src, dst: (dst / "a").write_bytes(b"theirs"), "a"),
        (lambda src, dst: (dst / "gone/y").write_bytes(b""), "gone/y"),
        (lambda src, dst: os.replace(shutil.copy2(dst / "a", dst / "t"), dst / "a"), "a"),  # only its inode
        (lambda src, dst: (dst / "theirs").mkdir(), "theirs"),
        (lambda src, dst: shutil.rmtree(dst / "gone"), "gone"),
    ],
)
def test_whatever_moved_on_since_the_plan_is_not_carried_out(
    move: Callable[[Path, Path], object],
    path: str,
    plan: Path,
    src: Path,
    dst: Path,
    atomsync: Any,
    unchanged: Any,
) -> None:
    move(src, dst)
    with unchanged(dst):
        done = atomsync("apply", plan)
    assert (done.returncode, done.stdout) == (47, "")
    named = done.stderr.splitlines()[0].partition("as the plan saw it: ")[2].split(", ")
    assert path in named
    assert not any((dst / ".atomsync/pending").iterdir())


def test_a_path_the_plan_does_not_care_about_may_change(plan: Path, src: Path, atomsync: Any) -> None:
    (src / "tmp").write_bytes(b"excluded")
    assert atomsync("apply", plan).returncode == 0


def test_a_destination_that_was_made_since_is_not_taken_for_none(
    tmp_path: Path, src: Path, atomsync: Any, unchanged: Any
) -> None:
    dst = tmp_path / "new"
    assert atomsync("push", "-n", "--save-plan", tmp_path / "p", src, dst).returncode == 0
    dst.mkdir()
    with unchanged(dst, control=True):
        assert atomsync("apply", tmp_path / "p").returncode == 47
    shutil.rmtree(dst)
    (src / "a").write_bytes(b"newer")
    assert atomsync("apply", tmp_path / "p").returncode == 47
    assert not dst.exists()


def test_the_first_ten_of_many_are_named(
    tmp_path: Path, src: Path, plan: Path, atomsync: Any, plant: Plant
) -> None:
    plant(src, {f"more{number:02}": b"" for number in range(30)})
    done = atomsync("apply", plan)
    assert "more08 and 21 more" in done.stderr  # the source's own directory is the first


def test_what_changes_after_the_comparison_is_taken_for_moved_too(
    plan: Path, src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push would compare again and take the new content in."""
    from atomsync.errors import PlanMoved
    from atomsync.store.session import Session
    from atomsync.sync.applying import apply

    flush = Session.flush

    def flushed_and_edited(self: Session, *arguments: Any) -> Any:
        found = flush(self, *arguments)
        (src / "a").write_bytes(b"edited meanwhile")
        return found

    monkeypatch.setattr(Session, "flush", flushed_and_edited)
    with pytest.raises(PlanMoved, match="a"):
        apply(decode(plan.read_bytes(), "plan"))
    assert (dst / "a").read_bytes() == b"old a"


# -- the file
def test_a_plan_reads_back_as_it_was_written() -> None:
    entry = Entry("file", 0o644, 3, T, 0, 0, "", ino=12, dev=34, ctime_ns=T + 1)
    made = [Change("\udcff\n", None, entry), Change("", entry, entry, False), Change("b", entry, None)]
    options = {
        **dict.fromkeys(OPTIONS, False),
        "on_unstable": "skip",
        "durability": "full",
        "verify": "media",
        "state_dir": None,
        "keep": 3,
        "keep_bytes": None,
        "message": "m",
        "last": ["x"],
        "max_delete": "3%",
        "on_drift": "keep",
    }
    plan = SavedPlan("/s", "/d", True, T, ("*.o", "!a"), True, options, tuple(sorted(made)))
    assert decode(b"".join(encode(plan)), "plan") == plan


def test_it_keeps_every_option_of_a_push_and_apply_reads_them(plan: Path) -> None:
    """Whoever adds an option of push adds it to a plan."""
    own = {"source", "destination", "dry_run", "filters", "progress", "agreed"}
    own |= {
        "check",
        "after",
        "undo_on_failure",
        "hook_timeout",
        "touch",
    }  # commands are given when they are to be run
    assert inspect.signature(push).parameters.keys() - own == OPTIONS.keys()
    command = group.get_command(click.Context(group), "push")
    assert command is not None
    assert OPTIONS.keys() <= {option.name for option in command.params}
    assert decode(plan.read_bytes(), "plan").options.keys() == OPTIONS.keys()


def test_a_plan_that_was_cut_or_edited_anywhere_is_refused(plan: Path) -> None:
    data = plan.read_bytes()
    for at in range(0, len(data), 7):
        with pytest.raises(UsageError):
            decode(data[:at], "plan")
        with pytest.raises(UsageError):
            decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "plan")
    for extra in (b"x", b"\n\n", b"{}\n"):
        with pytest.raises(UsageError):
            decode(data + extra, "plan")


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../b", ".atomsync/lock", "a//b", "a\0b", 7, "\ud800"]
)
def test_a_path_that_leads_out_is_refused_even_where_the_digest_is_right(path: object, plan: Path) -> None:
    *lines, _ = plan.read_bytes().splitlines()
    _, old, new, content = json.loads(lines[2])
    forged = json.dumps([path, old, new, content]).encode()
    with pytest.raises(UsageError, match="not a saved plan"):
        decode(resealed([*lines[:2], forged, *lines[3:]]), "plan")


def test_what_a_hostile_file_may_hold_ends_in_a_message(plan: Path) -> None:
    *lines, _ = plan.read_bytes().splitlines()
    head = json.loads(lines[0])
    assert head.pop("atomsync_plan") == 1
    bad: list[Any] = [None, 1, "x", [], {}, True, 1e308, "\ud800", "a\0b", [[]], {"delete": 1}]
    for field in head:
        for value in bad:
            if type(value) is type(head[field]) and value not in ({}, {"delete": 1}, "\ud800", "a\0b", [[]]):
                continue
            with pytest.raises(UsageError):
                decode(
                    resealed([json.dumps({"atomsync_plan": 1, **head, field: value}).encode(), *lines[1:]]),
                    "plan",
                )
    for option in head["options"]:
        for value in ({}, [1], 1.5, "a\0b"):
            options = {**head["options"], option: value}
            with pytest.raises(UsageError):
                decode(
                    resealed(
                        [json.dumps({"atomsync_plan": 1, **head, "options": options}).encode(), *lines[1:]]
                    ),
                    "plan",
                )
    for line in (b"[]", b"null", b"[1,2,3,4]", b'["a",null,null,true]', b"[" * 100_000, b'["a",[],[],1]'):
        with pytest.raises(UsageError):
            decode(resealed([lines[0], line]), "plan")
    dice = random.Random(2)
    for _ in range(300):
        with pytest.raises(UsageError):
            decode(dice.randbytes(dice.randint(0, 200)), "plan")


@pytest.mark.parametrize("name", ["none", ".", ""])
def test_a_file_that_cannot_be_read_is_told(name: str, atomsync: Any, tmp_path: Path) -> None:
    done = atomsync("apply", tmp_path / name if name else "")
    assert done.returncode == 1
    assert "cannot read the plan" in done.stderr


def test_a_plan_is_saved_of_a_dry_run_only(tmp_path: Path, src: Path, dst: Path, atomsync: Any) -> None:
    done = atomsync("push", "--save-plan", tmp_path / "p", src, dst)
    assert done.returncode == 1
    assert "Add -n" in done.stderr
    assert (dst / "a").read_bytes() == b"old a"
    assert atomsync("push", "-n", "--save-plan", tmp_path / "no/p", src, dst).returncode == 11


@pytest.mark.parametrize("name", ["src/a", "dst/plan", "src/d/plan", "to-a"])
def test_a_plan_is_not_written_into_what_it_is_of(
    name: str, tmp_path: Path, src: Path, dst: Path, atomsync: Any, unchanged: Any
) -> None:
    (tmp_path / "to-a").symlink_to("src/a")
    with unchanged(src), unchanged(dst, control=True):
        done = atomsync("push", "-n", "--save-plan", tmp_path / name, src, dst)
    assert done.returncode == 1
    assert "lies inside" in done.stderr
