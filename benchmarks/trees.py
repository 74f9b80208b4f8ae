"""The trees that are pushed: a real one, a synthetic one, and what changes in them between rounds."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import quietly

CONTROL = ".atomsync"


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree in its place, and what it holds."""

    path: Path
    origin: str
    files: int
    directories: int
    links: int
    bytes: int

    @property
    def entries(self) -> int:
        """Files, directories and links."""
        return self.files + self.directories + self.links

    @property
    def footprint(self) -> int:
        """What a copy takes at most, in bytes, on a filesystem with pages of 4 KiB."""
        return self.bytes + 4096 * self.entries

    def __str__(self) -> str:
        return (
            f"{self.origin}: {self.files:,} files, {self.directories:,} directories,"
            f" {self.links:,} symbolic links, {self.bytes / 1e6:,.1f} MB"
        )


def measured(path: Path, origin: str) -> Tree:
    """Count what is at ``path``; the control directory, too, if it is there."""
    files = directories = links = size = 0
    folders = [os.fspath(path)]
    while folders:
        directories += 1
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links += 1
                elif entry.is_dir():
                    folders.append(entry.path)
                else:
                    files += 1
                    size += entry.stat().st_size
    return Tree(path, origin, files, directories, links, size)


def made(kind: str, path: Path, count: int, size: int, origin: str) -> Tree:
    """A synthetic tree of `made.KINDS` at ``path``, which is not there yet."""
    quietly(sys.executable, str(Path(__file__).with_name("made.py")), kind, str(path), str(count), str(size))
    return measured(path, origin)


def default_roots() -> list[Path]:
    """Real trees any machine has: the interpreter's installation, topped up with /usr/share."""
    prefix = Path(sys.base_prefix)
    shared = prefix in (Path("/usr"), Path("/usr/local"))
    return [Path(sysconfig.get_path("stdlib")) if shared else prefix, Path("/usr/share")]


def copy(roots: Sequence[Path], into: Path, limit: int | None) -> None:
    """Copy ``roots`` side by side into ``into``, in a fixed order, until ``limit`` files are there.

    Files and directories become writable for us, so that runs without root can change and remove them.
    Devices, sockets and what we may not read stay behind.
    """
    for count, (source, target) in enumerate(_regular_files(roots, into), start=1):
        shutil.copyfile(source, target)
        known = source.stat()
        target.chmod(stat.S_IMODE(known.st_mode) | stat.S_IWUSR)
        os.utime(target, ns=(known.st_atime_ns, known.st_mtime_ns))
        if count == limit:
            return


def regular_files(path: Path) -> list[str]:
    """The regular files below ``path`` in a fixed order, the control directory left out.

    Plain strings: the memory of the runner is the floor of every peak it can measure.
    """
    files = (os.path.join(folder, name) for folder, names in _walk(path) for name in names)
    return [file for file in files if not os.path.islink(file)]


def change(files: Sequence[str], generation: int) -> None:
    """Change the content, the size and the mtime of ``files``.

    The mtime is set to a second of its own for each ``generation``: rounds of a quick run follow each
    other within one second, and a peer that compares whole seconds must not get away with less work.
    """
    moment = int(time.time()) - 86_400 + generation
    for file in files:
        with open(file, "ab") as stream:
            stream.write(f"changed in generation {generation}\n".encode())
        os.utime(file, (moment, moment))


def remove(*paths: Path) -> None:
    """Remove trees; with rm, which is faster than we are."""
    quietly("rm", "-rf", "--", *map(str, paths))


def ctime_spread(path: Path) -> float:
    """Milliseconds between the first and the last ctime of the files below ``path``.

    A rename sets the ctime, so after a run that replaced every file this is how long the tree was mixed.
    """
    moments = [os.stat(file).st_ctime_ns for file in regular_files(path)]
    return (max(moments) - min(moments)) / 1e6


def _walk(path: Path) -> Iterator[tuple[str, list[str]]]:
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name != CONTROL)
        yield folder, sorted(names)


def _regular_files(roots: Sequence[Path], into: Path) -> Iterator[tuple[Path, Path]]:
    """Make the directories and the links on the way; yield each regular file with its place."""
    for root in roots:
        for folder, names in _walk(root):
            home = into / root.name / Path(folder).relative_to(root)
            home.mkdir(parents=True)
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if entry.is_symlink():
                    (home / entry.name).symlink_to(os.readlink(entry.path))
                elif entry.name in names and entry.is_file() and os.access(entry.path, os.R_OK):
                    yield Path(entry.path), home / entry.name
            shutil.copymode(folder, home)
            home.chmod(stat.S_IMODE(home.stat().st_mode) | stat.S_IRWXU)
