"""One save, one change: what programs do to write one file arrives as what it is, and whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atomsync import push
from tests.follow.following import Following, Visible
from tests.follow.reader import Reader

Follow = Callable[..., Following]
Steps = Iterator[object]  # a save: between two steps somebody else may look

OLD, NEW = b"old line\n" * 2000, b"new line\n" * 2500
SETTLE_S = 0.25  # of a save, the steps are so much closer together than this that a busy machine may dawdle
STEP_S = 0.005


# -- what editors do, by their system calls
def _write(path: Path, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC) -> Steps:
    """In three pieces, as one who has a buffer does."""
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        for start in range(0, len(data), len(data) // 3 + 1):
            yield os.write(fd, data[start : start + len(data) // 3 + 1])
        yield os.fsync(fd)
    finally:
        os.close(fd)
    yield None


def in_place(doc: Path) -> Steps:
    """nano, VS Code, cp and a shell's >."""
    yield from _write(doc, NEW)


def over_the_old_content(doc: Path) -> Steps:
    yield from _write(doc, NEW, 0)


def temporary_and_rename(doc: Path) -> Steps:
    """gedit and all of GLib, by this name."""
    temporary = doc.with_name(".goutputstream-X1Y2Z3")
    yield from _write(temporary, NEW, os.O_CREAT | os.O_EXCL)
    yield temporary.chmod(0o644)
    yield temporary.rename(doc)


def jetbrains(doc: Path) -> Steps:
    temporary, aside = doc.with_name("doc___jb_tmp___"), doc.with_name("doc___jb_old___")
    yield from _write(temporary, NEW, os.O_CREAT | os.O_EXCL)
    yield doc.rename(aside)
    yield temporary.rename(doc)
    yield aside.unlink()


def _vim_probe(doc: Path) -> Steps:
    """Vim makes sure it may create files here before it renames anything."""
    probe = doc.with_name("4913")
    fd = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_NOFOLLOW, 0o100644)
    yield os.fchown(fd, os.geteuid(), os.getegid())
    os.close(fd)
    yield probe.unlink()


def vim(doc: Path) -> Steps:
    """set nobackup writebackup backupcopy=no"""
    yield from _vim_probe(doc)
    yield doc.rename(doc.with_name("doc~"))
    yield from _write(doc, NEW)
    yield doc.chmod(0o644)
    yield doc.with_name("doc~").unlink()


def vim_keeping_a_backup(doc: Path) -> Steps:
    """set backup backupcopy=no"""
    yield from _vim_probe(doc)
    yield doc.rename(doc.with_name("doc~"))
    yield from _write(doc, NEW)
    yield doc.chmod(0o644)


def vim_backup_by_copying(doc: Path) -> Steps:
    """set nobackup writebackup backupcopy=yes"""
    yield shutil.copy2(doc, doc.with_name("doc~"))
    yield from _write(doc, NEW)
    yield doc.with_name("doc~").unlink()


def emacs(doc: Path) -> Steps:
    """With the lock of one who edits, and the backup of the first save."""
    lock = doc.with_name(".#doc")
    yield lock.symlink_to("somebody@host.4711:1700000000")
    yield doc.rename(doc.with_name("doc~"))
    yield from _write(doc, NEW, os.O_CREAT | os.O_EXCL)
    yield doc.chmod(0o644)
    yield lock.unlink()


def emacs_later(doc: Path) -> Steps:
    """From the second save on; between them the text was saved by itself."""
    yield from _write(doc.with_name("#doc#"), NEW[:9000])
    yield doc.with_name(".#doc").symlink_to("somebody@host.4711:1700000000")
    yield from _write(doc, NEW)
    yield doc.with_name("#doc#").unlink()
    yield doc.with_name(".#doc").unlink()


def removed_and_made_anew(doc: Path) -> Steps:
    yield doc.unlink()
    yield from _write(doc, NEW, os.O_CREAT | os.O_EXCL)


def twice(doc: Path) -> Steps:
    yield from _write(doc, b"a first save\n" * 1000)
    yield from _write(doc, NEW)


# -- the programs themselves
def _run(*line: str) -> Callable[[Path], Steps]:
    def steps(doc: Path) -> Steps:
        program = shutil.which(line[0])
        if program is None:
            pytest.skip(f"{line[0]} is not installed")
        (doc.parents[1] / "new").write_bytes(NEW)
        yield subprocess.run([program, *line[1:]], cwd=doc.parent, check=True, stdin=subprocess.DEVNULL)

    return steps


_PATCH = "diff -u doc ../new | patch -s doc"

ONE: Visible = [("updated", "doc")]
WITH_BACKUP: Visible = [("created", "doc~"), ("updated", "doc")]
SAVES: dict[str, tuple[Callable[[Path], Steps], Visible]] = {
    "in place": (in_place, ONE),
    "over the old content": (over_the_old_content, ONE),
    "temporary and rename": (temporary_and_rename, ONE),
    "JetBrains": (jetbrains, ONE),
    "vim": (vim, ONE),
    "vim keeping a backup": (vim_keeping_a_backup, WITH_BACKUP),
    "vim, backup by copying": (vim_backup_by_copying, ONE),
    "emacs": (emacs, WITH_BACKUP),
    "emacs later": (emacs_later, ONE),
    "removed and made anew": (removed_and_made_anew, ONE),
    "twice": (twice, ONE),
    "sh >": (_run("sh", "-c", "cat ../new > doc"), ONE),
    "sh >>": (_run("sh", "-c", "echo first >> doc; cat ../new > doc"), ONE),
    "cp": (_run("cp", "../new", "doc"), ONE),
    "cp --remove-destination": (_run("cp", "--remove-destination", "../new", "doc"), ONE),
    "mv from outside": (_run("mv", "../new", "doc"), ONE),
    "rsync": (_run("rsync", "-a", "../new", "doc"), ONE),
    "install": (_run("install", "-m", "644", "../new", "doc"), ONE),
    "dd": (_run("sh", "-c", "dd if=../new of=doc bs=512 2>/dev/null"), ONE),
    "patch": (_run("sh", "-c", _PATCH), ONE),
    "sed -i": (_run("sed", "-i", "-e", "$r ../new", "-e", "1,2000d", "doc"), ONE),
    "perl -i": (_run("perl", "-i", "-pe", "s/old/new/; $_ .= $_ if $. > 1500", "doc"), ONE),
}


@pytest.mark.parametrize("save", SAVES)
def test_a_save_arrives_as_one_change_and_readers_see_the_old_or_the_new(
    save: str, src: Path, dst: Path, plant: Callable[..., Path], follow: Follow
) -> None:
    plant(src, {"doc": OLD, "beside": b"1"})
    push(src, dst)
    watch = follow(src, dst, delete=True, settle_s=SETTLE_S, max_wait_s=5.0)
    watch.settled()
    steps, expected = SAVES[save]
    with Reader(dst, "doc") as reader:
        for _ in steps(src / "doc"):
            time.sleep(STEP_S)
        watch.wait_until(watch.units)
        watch.settled()
    assert watch.units() == [expected]
    assert reader.seen == {"doc": [OLD.decode(), (src / "doc").read_text()]}
    assert reader.names == {"doc", "beside", *(path for _, path in expected)}
