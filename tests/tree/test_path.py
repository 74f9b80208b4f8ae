"""The grammar of relative paths, and how they are shown to a person."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomsync.errors import UsageError
from atomsync.tree.path import ancestors, is_reserved, joined, parse, shown

# Names as a filesystem gives them: any bytes but "/" and NUL, with surrogate escapes.
filenames = st.binary(min_size=1, max_size=12).map(os.fsdecode)
texts = st.text(st.characters(exclude_categories=()), max_size=30)
awkward = st.lists(
    st.sampled_from(["a", "..", ".", "", ".atomsync", ".ATOMSYNC.", "b c", "\0", "\\", "é", "-x", "\udcff"]),
    min_size=1,
    max_size=5,
).map("/".join)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", "...", "..a", "a..", ".a", "-x", " ", "a b", "a\nb", "a\\b", "é", "\udcff", "~", "x" * 300],
)
def test_an_ordinary_path_is_taken_as_it_is(path: str) -> None:
    assert parse(path) == path


def test_a_path_object_is_taken_too() -> None:
    assert parse(PurePosixPath("a/b")) == "a/b"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("/", "absolute"),
        ("//a", "absolute"),
        ("..", "'..'"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("a/../../x", "'..'"),
        ("a/..", "'..'"),
        (".", "'.'"),
        ("./a", "'.'"),
        ("a/.", "'.'"),
        ("a/./b", "'.'"),
        ("", "empty"),
        ("a/", "empty"),
        ("a//b", "empty"),
        ("a\0b", "NUL"),
        ("\0", "NUL"),
    ],
)
def test_a_path_that_could_leave_the_root_is_refused_and_the_reason_told(path: str, why: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(path)
    assert why in refusal.value.why


@pytest.mark.parametrize(
    "name",
    [".atomsync", ".ATOMSYNC", ".AtomSync", ".atomsync.", ".atomsync...", ".atomsync ", ".aToMsYnC. ."],
)
def test_the_reserved_name_is_refused_as_every_folding_filesystem_would_read_it(name: str) -> None:
    assert is_reserved(name)
    for path in (name, f"{name}/lock", f"a/{name}", f"a/{name}/b"):
        with pytest.raises(UsageError, match="own name"):
            parse(path)


@pytest.mark.parametrize("name", ["atomsync", ".atomsyncx", "x.atomsync", ".atomsync.d", "..atomsync", "."])
def test_other_names_are_not_reserved(name: str) -> None:
    assert not is_reserved(name)


@given(texts | awkward)
def test_parse_never_yields_a_path_that_escapes(path: str) -> None:
    try:
        found = parse(path)
    except UsageError:
        return
    assert not found.startswith("/")
    assert "\0" not in found
    names = found.split("/")
    assert not {"", ".", ".."} & {*names}
    assert not any(name.casefold().rstrip(". ") == ".atomsync" for name in names)
    assert os.path.normpath(f"/root/{found}") == f"/root/{found}"


@given(texts | awkward | filenames)
def test_what_is_shown_is_always_one_printable_line(path: str) -> None:
    found = shown(path)
    assert found.isprintable()
    assert found.splitlines() in ([found], [])
    found.encode()


@given(texts | awkward)
def test_a_refusal_can_always_be_printed(path: str) -> None:
    try:
        parse(path)
    except UsageError as refusal:
        str(refusal).encode()  # raises on what no terminal takes


def _unshown(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1]:
            code = int(found[1], 16)
            return chr(code if code < 0x80 else code + 0xDC00)
        return chr(int(found[2], 16)) if found[2] else {"n": "\n", "t": "\t", "r": "\r"}[found[3]]

    return re.sub(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|([ntr]))", one, text)


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=(), exclude_characters="\\")))
def test_two_paths_are_shown_differently(path: str) -> None:
    path = re.sub("[\x80-\xff]", "", path)  # C1 controls look like the undecodable byte they would be
    assert _unshown(shown(path)) == path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a\nb", "a b"),
        ("a\x1b[2J", "a[2J"),
        ("\udcff", "ÿ"),
        ("\udcff", "\udcfe"),
        ("\u200b", ""),
        ("\U000e0001", "\ue0001"),
    ],
)
def test_paths_that_look_alike_are_told_apart(one: str, other: str) -> None:
    assert shown(one) != shown(other)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
def test_the_ancestors_of_a_path_are_the_directories_on_the_way_nearest_first(names: list[str]) -> None:
    path = ""
    above: list[str] = []
    for name in names:
        above = [path, *above] if path else above
        path = joined(path, name)
    assert path == "/".join(names)
    assert ancestors(path) == above
