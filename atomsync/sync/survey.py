"""A source looked through beforehand: how much it is, and what of it a destination would not take."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection
from typing import NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.fs.disk import Disk
from atomsync.fs.folding import Folding
from atomsync.tree.entry import DIR, FILE, LINK, entry_of, special_name
from atomsync.tree.path import is_reserved, joined

LISTED_MAX = 10


class Some(NamedTuple):
    """``number`` of them, and the first of their texts."""

    number: int = 0
    texts: tuple[str, ...] = ()

    def and_one(self, text: str) -> Some:
        return Some(self.number + 1, self.texts if len(self.texts) == LISTED_MAX else (*self.texts, text))


def some(texts: Collection[str]) -> Some:
    return Some(len(texts), tuple(itertools.islice(texts, LISTED_MAX)))


class Survey(NamedTuple):
    """``directories`` without the root; ``size`` in bytes, ``largest`` of one file. ``too_long``: names that
    the destination cannot hold; ``collapsing``: names that are one there with another beside them."""

    directories: int = 0
    files: int = 0
    links: int = 0
    size: int = 0
    largest: int = 0
    special: Some = Some()
    unreadable: Some = Some()
    too_long: Some = Some()
    collapsing: Some = Some()


def survey(
    disk: Disk, root: int, folding: Folding, name_max: int, check: Callable[[], None] = lambda: None
) -> Survey:
    """Look at everything below the open directory ``root``. ``check`` is called for each directory and may
    raise. Raises OSError, though not for what may not be read."""
    directories = files = links = size = largest = 0
    special, unreadable, too_long, collapsing = Some(), Some(), Some(), Some()
    all_readable = os.geteuid() == 0  # then only directories are tried
    pending = [""]
    with Cursor(disk, root) as cursor:
        while pending:
            check()
            here = pending.pop()
            try:
                at = cursor.at(here)
                found = disk.scandir(at)
            except PermissionError:
                unreadable = unreadable.and_one(here or ".")
                continue
            except FileNotFoundError:
                continue
            seen: dict[str, str] = {}
            for name, status in sorted(found, key=lambda each: each[0]):
                path, entry = joined(here, name), entry_of(status)
                if is_reserved(name):
                    continue
                if len(os.fsencode(name)) > name_max:
                    too_long = too_long.and_one(path)
                if folding.folds and (other := seen.setdefault(folding.key(name), name)) != name:
                    collapsing = collapsing.and_one(f"{joined(here, other)} = {name}")
                if entry.kind == DIR:
                    directories += 1
                    pending.append(path)
                elif entry.kind == FILE:
                    files += 1
                    size += entry.size
                    largest = max(largest, entry.size)
                    if not (all_readable or _readable(disk, at, name)):
                        unreadable = unreadable.and_one(path)
                elif entry.kind == LINK:
                    links += 1
                else:
                    special = special.and_one(f"{path} ({special_name(status.st_mode)})")
    return Survey(directories, files, links, size, largest, special, unreadable, too_long, collapsing)


def _readable(disk: Disk, at: int, name: str) -> bool:
    try:
        disk.close(disk.open_file(at, name))
    except PermissionError:
        return False
    except OSError:
        pass  # another trouble, and a push tells it better
    return True
