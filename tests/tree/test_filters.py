"""Which paths are in scope: gitignore patterns, as git documents them."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomsync.errors import UsageError
from atomsync.tree.filters import Filters, exclude_line, include_line


def excluded(filters: Filters, path: str) -> bool:
    """As a walk asks: from the top, never below an excluded directory. A directory ends in a slash."""
    names = path.rstrip("/").split("/")
    for depth in range(1, len(names) + 1):
        is_dir = depth < len(names) or path.endswith("/")
        if filters.excludes("/".join(names[:depth]), is_dir=is_dir):
            return True
    return False


@pytest.mark.parametrize(
    ("lines", "path", "out"),
    [
        # without a slash: at any depth
        (["*.tmp"], "a.tmp", True),
        (["*.tmp"], "deep/er/a.tmp", True),
        (["*.tmp"], "a.tmpx", False),
        # with a slash at the start or in the middle: anchored
        (["/a"], "a", True),
        (["/a"], "b/a", False),
        (["a/b"], "a/b", True),
        (["a/b"], "c/a/b", False),
        # a slash at the end: directories only
        (["build/"], "build/", True),
        (["build/"], "build", False),
        (["build/"], "build/inside", True),
        # one star stops at a slash, two do not
        (["/a/*/c"], "a/b/c", True),
        (["/a/*/c"], "a/b/b/c", False),
        (["/a/**/c"], "a/b/b/c", True),
        (["/a/**/c"], "a/c", True),
        (["**/x"], "a/b/x", True),
        (["a/**"], "a/b", True),
        # the last match decides
        (["*", "!keep"], "keep", False),
        (["!keep", "*"], "keep", True),
        (["*.log", "!important.log", "important.log"], "important.log", True),
        # what is below an excluded directory cannot come back
        (["d/", "!d/keep"], "d/keep", True),
        (["d/*", "!d/keep"], "d/keep", False),
        (["/*", "!/d/"], "d/x", False),
        # the small print
        (["# comment"], "# comment", False),
        (["\\#x"], "#x", True),
        (["\\!x"], "!x", True),
        (["a "], "a", True),
        (["a\\ "], "a ", True),
        ([""], "a", False),
        (["[ab].c"], "a.c", True),
        (["[!ab].c"], "a.c", False),
        (["a[!b]c"], "a/c", False),
        (["a[!b]c"], "axc", True),
        (["x[^b]*c"], "x/c", False),
        (["[!]a]"], "]", False),
        (["[!]a]"], "a", False),
        (["[!]a]"], "b", True),
        (["\\[!b]"], "[!b]", True),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["*"], "with\nnewline", True),
        (["*.jpg"], "\udcff.jpg", True),
    ],
)
def test_patterns_mean_what_git_says(lines: list[str], path: str, out: bool) -> None:
    assert excluded(Filters(lines), path) is out


def test_two_stars_behind_a_directory_match_what_is_in_it_not_the_directory_itself() -> None:
    assert not excluded(Filters(["a/**"]), "a/")
    assert excluded(Filters(["!a/**", "a/"]), "a/x")


def test_a_directory_taken_in_again_does_not_take_in_what_another_pattern_excludes_in_it() -> None:
    assert excluded(Filters(["node_modules/", "!src/"]), "src/node_modules/x")
    assert excluded(Filters(["/a/d", "!/a"]), "a/d/x")


@pytest.mark.parametrize("pattern", ["#notes", "!bang", "plain", "-x"])
def test_an_excluded_pattern_is_never_a_comment_nor_an_inclusion(pattern: str) -> None:
    assert excluded(Filters([exclude_line(pattern)]), pattern)


def test_an_included_pattern_takes_back_what_an_earlier_one_excluded() -> None:
    lines = [exclude_line("*.log"), include_line("keep.log")]
    assert not excluded(Filters(lines), "keep.log")
    assert excluded(Filters(lines), "other.log")


def test_the_reserved_name_is_out_of_scope_whatever_the_patterns_say() -> None:
    for filters in (Filters(), Filters(["!.atomsync"]), Filters(gitignore=True)):
        for path in (".atomsync/", ".ATOMSYNC/", "sub/.atomsync", ".atomsync./lock"):
            assert excluded(filters, path)


def test_filters_without_patterns_need_not_be_asked() -> None:
    assert not Filters().active
    assert Filters(["x"]).active
    assert Filters(gitignore=True).active


def test_the_nearest_gitignore_outranks_the_ones_above_it() -> None:
    filters = Filters(gitignore=True)
    filters.learn("", "*.o\n")
    filters.learn("sub", "!*.o\n")
    filters.learn("sub/deep", "*.o\n")
    assert excluded(filters, "a.o")
    assert not excluded(filters, "sub/a.o")
    assert excluded(filters, "sub/deep/a.o")
    assert not excluded(filters, "sub/other/a.o")


def test_a_nested_gitignore_is_anchored_where_it_lies() -> None:
    filters = Filters(gitignore=True)
    filters.learn("sub", "/only-here\n")
    assert excluded(filters, "sub/only-here")
    assert not excluded(filters, "only-here")
    assert not excluded(filters, "sub/deep/only-here")
    assert not excluded(filters, "subway/only-here")


def test_the_callers_patterns_outrank_every_gitignore() -> None:
    filters = Filters(["!*.o", "*.c"], gitignore=True)
    filters.learn("", "*.o\n!*.c\n")
    assert not excluded(filters, "a.o")
    assert excluded(filters, "a.c")


def test_a_gitignore_cannot_bring_back_what_lies_in_an_excluded_directory() -> None:
    filters = Filters(gitignore=True)
    filters.learn("", "out/\n")
    filters.learn("out", "!*\n")
    assert excluded(filters, "out/x")


def test_windows_line_ends_are_not_part_of_a_pattern() -> None:
    filters = Filters(gitignore=True)
    filters.learn("", "*.o\r\n*.c\r\n")
    assert excluded(filters, "a.o")
    assert excluded(filters, "a.c")


@pytest.mark.parametrize("lines", [["!"], ["a/***/b\\"]])
def test_a_pattern_that_cannot_be_used_is_a_usage_error(lines: list[str]) -> None:
    with pytest.raises(UsageError, match="patterns"):
        Filters(lines)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git as the oracle")
def test_git_itself_agrees_on_random_patterns(tmp_path: Path) -> None:
    rng = random.Random(20)
    paths = [
        f"{top}{middle}{name}"
        for top in ("", "a/", "b/")
        for middle in ("", "a/", "d/")
        for name in ("x", "y.o", "a.o")
    ]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    words = ["x", "*.o", "a", "a/", "/a", "b/", "d/", "/a/d", "a/x", "**/d", "/b/*", "*", "y.?", "d/*"]
    words += ["a/**", "**/d/**", "a/**/x", "[ab]/"]
    for _ in range(40):
        lines = {"": _lines(rng, words), "a": _lines(rng, words)}
        for directory, some in lines.items():
            (tmp_path / directory / ".gitignore").write_text("\n".join(some) + "\n")
        said = subprocess.run(
            ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "--stdin"],
            input="\n".join(paths),
            capture_output=True,
            text=True,
        ).stdout.split("\n")
        filters = Filters(gitignore=True)
        for directory, some in lines.items():
            filters.learn(directory, "\n".join(some))
        for path in paths:
            assert excluded(filters, path) is (path in said), (path, lines)


def _lines(rng: random.Random, words: list[str]) -> list[str]:
    return [("!" if rng.random() < 0.3 else "") + rng.choice(words) for _ in range(rng.randrange(4))]


@pytest.fixture
def soon() -> Iterator[None]:
    """Fails what takes more than some seconds, instead of waiting for it for ever."""

    def fail(*_: object) -> None:
        raise TimeoutError("it backtracks")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize(
    ("pattern", "path", "out"),
    [
        ("*a*a*a*a*a*a*a*b", "a" * 100, False),
        ("*a*a*a*a*a*a*a*b", "a" * 100 + "b", True),
        ("a**b**c**d**e**f**g", "abcdef" * 30, False),
        ("a**b**c**d**e**f**g", "abcdef" * 30 + "g", True),
        ("*[ab]*[!c]*[ab]*[!c]*[ab]*[!c]*z", "ab" * 50, False),
        ("/*a?*a?*a?*a?*a?*a?*a?*\\b/c", "a" * 150 + "/c", False),
    ],
)
def test_no_pattern_takes_for_ever(soon: None, pattern: str, path: str, out: bool) -> None:
    assert Filters([pattern]).excludes(path, is_dir=False) is out
