"""Which names are one: found by trying, and judged by the filesystems themselves."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.fs.disk import Stat
from atomsync.fs.folding import ASCII, FULL, NONE, SIMPLE, Folding, probe_folding
from atomsync.fs.posix import PosixDisk

# Names of which many are one to somebody.
NAMES = [
    *("readme", "README", "ReadMe", "read.me", "readme ", "K", "k", "\u212a"),
    *("straße", "STRASSE", "strasse", "Straße", "ı", "i", "I", "İ", "ﬁ", "fi"),
    *("café", "CAFÉ", "cafe\u0301", "CAFE\u0301", "cafe", "σ", "ς", "Σ", "д", "Д", "Ω", "\u2126", "ω"),
    *("Ünïcödé", "ünïcödé", "soft\u00adhyphen", "softhyphen", "zero\u200bwidth", "zerowidth", "日本語"),
    *("ガ", "カ\u3099", "Å", "\u212b", "A\u030a", "å", "\u01c5", "\u01c4", "\u01c6", "ÿ", "Ÿ", "µ", "μ"),
]
PAIRS = list(itertools.combinations(NAMES, 2))


def probed(where: Path, disk: PosixDisk | None = None) -> Folding:
    disk = disk or PosixDisk()
    (where / "probe").mkdir()
    at = disk.open_root(str(where / "probe"))
    try:
        found = probe_folding(disk, at)
    finally:
        disk.close(at)
    (where / "probe").rmdir()  # so nothing was left in it
    return found


def are_one(where: Path, made: str, other: str) -> bool:
    """The judge: whether the kernel finds by one name what was made by the other."""
    (where / made).touch()
    try:
        return (where / other).exists()
    finally:
        (where / made).unlink()


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_the_usual_filesystems_take_every_name_for_one_of_its_own(kind: str, small_fs: Any) -> None:
    where = small_fs(kind, {"xfs": 320, "btrfs": 128}.get(kind, 16))
    found = probed(where)
    assert found == Folding()
    assert not found.folds
    assert len({found.key(name) for name in NAMES}) == len(NAMES)


def test_ntfs_that_ignores_case_is_known_and_every_pair_it_collapses_has_one_key(
    ntfs: Callable[..., Path],
) -> None:
    where = ntfs("-o", "ignore_case")
    found = probed(where)
    assert found == Folding(SIMPLE)
    collapsed = {pair for pair in PAIRS if are_one(where, *pair)}
    assert ("readme", "README") in collapsed
    predicted = {pair for pair in PAIRS if found.key(pair[0]) == found.key(pair[1])}
    assert collapsed <= predicted
    # A key may be shared in vain, but only by letters that newer tables fold and this one does not.
    assert all(not (left + right).isascii() for left, right in predicted - collapsed)


def test_ntfs_as_it_is_mounted_by_default_keeps_names_apart(ntfs: Callable[..., Path]) -> None:
    where = ntfs()
    assert probed(where).case == NONE
    assert not are_one(where, "readme", "README")


class FoldingDisk(PosixDisk):
    """Names as a filesystem takes them that this kernel may lack, by the published ``rule``."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def create(self, at: int, name: str) -> int:
        return super().create(at, self._rule(name))

    def lstat(self, at: int, name: str) -> Stat:
        return super().lstat(at, self._rule(name))

    def unlink(self, at: int, name: str) -> None:
        super().unlink(at, self._rule(name))


def ext4_casefold(name: str) -> str:
    """utf8_casefold of the kernel: NFD with full case folding, ignorable code points dropped."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    return "".join(letter for letter in folded if letter not in "\u00ad\u200b")


def vfat(name: str) -> str:
    """With iocharset=ascii: letters of ASCII, and dots at the end count for nothing."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name).rstrip(".")


def hfs_plus_sensitive(name: str) -> str:
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize(
    ("rule", "folding"),
    [
        (ext4_casefold, Folding(FULL, form=True, ignorable=True)),
        (vfat, Folding(ASCII, trailing=".")),
        (hfs_plus_sensitive, Folding(form=True)),
    ],
)
def test_a_rule_is_found_and_its_key_collapses_the_same_names(
    rule: Callable[[str], str], folding: Folding, tmp_path: Path
) -> None:
    found = probed(tmp_path, FoldingDisk(rule))
    assert found == folding
    assert found.folds
    for left, right in PAIRS:
        assert (found.key(left) == found.key(right)) == (rule(left) == rule(right)), (left, right)


@pytest.mark.parametrize(
    "folding", [Folding(), Folding(ASCII), Folding(SIMPLE), Folding(FULL, True, True, ". ")]
)
def test_a_key_is_its_own_key_and_never_empty(folding: Folding) -> None:
    for name in [*NAMES, "\u00ad", "...", " ", "\udcff\udc80", "A\udcff"]:
        key = folding.key(name)
        assert key
        assert folding.key(key) == key


def test_names_that_are_no_utf_8_are_compared_byte_by_byte_where_unicode_rules() -> None:
    assert Folding(FULL, form=True).key("A\udcff") != Folding(FULL, form=True).key("a\udcff")
    assert Folding(ASCII).key("A\udcff") == Folding(ASCII).key("a\udcff")


def test_a_directory_that_may_not_be_written_is_an_error_and_no_answer(tmp_path: Path, small_fs: Any) -> None:
    where = small_fs("tmpfs")
    (where / "probe").mkdir()
    small_fs.remount(where, "ro")
    disk = PosixDisk()
    at = disk.open_root(str(where / "probe"))
    try:
        with pytest.raises(OSError, match="Read-only"):
            probe_folding(disk, at)
    finally:
        disk.close(at)
