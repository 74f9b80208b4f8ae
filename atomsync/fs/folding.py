"""Which names a directory takes for one and the same, found by trying it, not by its name.

Names that differ in SRC collapse at a DST that ignores case (NTFS, vfat, APFS, ext4 with casefold), the
Unicode form (APFS, ext4 with casefold) or what stands at the end (vfat: dots). Case folding may be a matter
of each directory (ext4: ``chattr +F``); new ones do as the one they are made in.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

from atomsync.fs.disk import Disk

# How far case is ignored: a name and another form of it, for each. Each includes those before.
NONE, ASCII, SIMPLE, FULL = range(4)
_CASES = ((ASCII, "a", "A"), (SIMPLE, "\u0434", "\u0414"), (FULL, "stra\u00dfe", "strasse"))
_COMPOSED, _DECOMPOSED = "caf\u00e9", "cafe\u0301"
_WITH_IGNORABLE = "soft\u00adhyphen"  # what is not to be seen in a name: default ignorable code points
_IGNORABLE = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_REFUSED = {errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG}  # names, where others would be taken
_BASE = "folding"


class Folding(NamedTuple):
    """``case``: NONE, or how far case is ignored: of ASCII letters, letter by letter (SIMPLE), or as Unicode
    has it (FULL: ß is ss). ``form``: composed and decomposed letters are one. ``ignorable``: so are names
    with and without invisible characters. ``trailing``: the characters that are dropped at the end."""

    case: int = NONE
    form: bool = False
    ignorable: bool = False
    trailing: str = ""

    @property
    def folds(self) -> bool:
        """Whether any two names that differ may be one here."""
        return self != _EXACT

    def key(self, name: str) -> str:
        """What two names (single components) have in common if they are one name here, and only then.

        Where Unicode knows more letters than the filesystem does, names may share a key and be two.
        """
        if not self.folds:
            return name
        if self.trailing:
            name = name.rstrip(self.trailing) or name
        if name.isascii():
            return name.lower() if self.case else name
        if self.case == ASCII:
            name = "".join(letter.lower() if letter.isascii() else letter for letter in name)
        elif self.case == SIMPLE:
            name = "".join(map(_one_letter, name))
        if self.form or self.case == FULL:
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                return name  # no UTF-8: such names are compared byte by byte
            from unicodedata import normalize

            name = normalize("NFD", name) if self.form else name
            name = name.casefold() if self.case == FULL else name
            name = normalize("NFD", name) if self.form else name
        return re.sub(_IGNORABLE, "", name) or name if self.ignorable else name


_EXACT = Folding()


def probe_folding(disk: Disk, at: int) -> Folding:
    """Try it in directory ``at``, which holds nothing called ``folding...``; nothing of the try remains."""
    forms = ("F\u00e9", "fe\u0301", "f\u00e9\u00ad", "f\u00e9.", "f\u00e9 ")
    if not _same(disk, at, "f\u00e9", *forms):  # the most common answer, for the price of one file
        return _EXACT
    case = NONE
    for more, made, other in _CASES:
        if not _same(disk, at, made, other):
            break
        case = more
    return Folding(
        case,
        _same(disk, at, _COMPOSED, _DECOMPOSED),
        _same(disk, at, _WITH_IGNORABLE, _WITH_IGNORABLE.replace("\u00ad", "")),
        "".join(last for last in ". " if _same(disk, at, "end", "end" + last)),
    )


def _same(disk: Disk, at: int, made: str, *others: str) -> bool:
    """Whether a file made by one name is there by any other. A name that is refused is nobody's other."""
    made = _in_utf8(made)
    try:
        fd = disk.create(at, made)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        raise
    try:
        return any(_is_there(disk, at, _in_utf8(other)) for other in others)
    finally:
        disk.close(fd)
        disk.unlink(at, made)


def _in_utf8(name: str) -> str:
    """The name that has these bytes on disk under any locale."""
    return os.fsdecode(f"{_BASE}-{name}".encode())


def _is_there(disk: Disk, at: int, name: str) -> bool:
    try:
        disk.lstat(at, name)
    except OSError as error:
        if error.errno in {errno.ENOENT, *_REFUSED}:
            return False
        raise
    return True


def _one_letter(letter: str) -> str:
    """As a table of single letters folds it: upper, then lower, so that σ and ς are one as well."""
    upper = letter.upper()
    lower = (upper if len(upper) == 1 else letter).lower()
    return lower if len(lower) == 1 else letter
