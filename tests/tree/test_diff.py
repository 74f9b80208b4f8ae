"""Two listings of one directory compared."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomsync.tree.diff import DirectoryDiff, Ownership, diff
from atomsync.tree.entry import DIR, OTHER, SEEN, Entry
from tests.tree.entries import GID, UID, file, folder, link

ROOT = Ownership(True, 0, frozenset({0}))
USER = Ownership(False, UID, frozenset({GID}))


def compared(
    source: Mapping[str, Entry],
    destination: Mapping[str, Entry],
    ownership: Ownership = ROOT,
    verdicts: Mapping[str, bool] | None = None,
) -> dict[str, tuple[str, ...]]:
    """The names by what they need, without what needs nothing."""
    found = diff(source, destination, ownership, verdicts or {})
    return {key: value for key, value in found._asdict().items() if isinstance(value, tuple) and value}


A = file(3, 100)


@pytest.mark.parametrize(
    ("new", "old", "need"),
    [
        (A, None, "created"),
        (None, A, "removed"),
        (A, A, None),
        (A, A._replace(size=4), "replaced"),
        (A, A._replace(mtime_ns=101), "replaced"),
        (A, A._replace(mode=0o600), "metadata"),
        (A, A._replace(uid=7), "metadata"),
        (A, A._replace(gid=7), "metadata"),
        (A, A._replace(ino=9, dev=9, ctime_ns=9, digest="x", generation=9), None),
        (A, folder(), "replaced"),
        (A, link("a"), "replaced"),
        (folder(), A, "replaced"),
        (folder(), link("a"), "replaced"),
        (folder(1), folder(2), "both"),
        (folder(), folder(), "both"),
        (link("a"), link("a"), None),
        (link("a"), link("b"), "replaced"),
        (link("a", 1), link("a", 2), "replaced"),
        (link("a"), link("a")._replace(uid=7), "metadata"),
        (link("a"), A, "replaced"),
        (A, A._replace(kind=OTHER), "replaced"),
    ],
)
def test_one_name_needs_what_its_two_entries_say(
    new: Entry | None, old: Entry | None, need: str | None
) -> None:
    found = compared({"n": new} if new else {}, {"n": old} if old else {})
    assert found == ({need: ("n",)} if need else {})


@pytest.mark.parametrize(
    ("new", "old", "differs", "need"),
    [
        (A, A, True, "replaced"),
        (A, A, False, None),
        (A, A._replace(mtime_ns=5), False, "metadata"),
        (A, A._replace(mode=0o600), False, "metadata"),
        (A, A._replace(mode=0o600), True, "replaced"),
    ],
)
def test_what_reading_said_outranks_the_quick_check(
    new: Entry, old: Entry, differs: bool, need: str | None
) -> None:
    assert compared({"n": new}, {"n": old}, verdicts={"n": differs}) == ({need: ("n",)} if need else {})


def test_an_owner_that_may_not_be_set_is_no_difference() -> None:
    foreign = A._replace(uid=7, gid=8)
    assert compared({"n": foreign}, {"n": A}, USER) == {}
    assert compared({"n": foreign}, {"n": A}, ROOT) == {"metadata": ("n",)}


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "wanted"),
    [
        (UID, GID, 0o6755, 0o6755),
        (7, GID, 0o6755, 0o2755),
        (UID, 8, 0o6755, 0o4755),
        (7, 8, 0o6755, 0o755),
        (7, 8, 0o644, 0o644),
    ],
)
def test_bits_that_lend_rights_go_with_the_owner_they_lend_from(
    uid: int, gid: int, mode: int, wanted: int
) -> None:
    source = A._replace(uid=uid, gid=gid, mode=mode)
    assert USER.wanted(source).mode == wanted
    assert ROOT.wanted(source) == source


def test_a_directorys_setgid_bit_lends_nothing_and_stays() -> None:
    assert USER.wanted(folder(mode=0o2755)._replace(gid=8)).mode == 0o2755


names = st.text("abc", min_size=1, max_size=2)
entries = st.one_of(
    st.builds(file, st.integers(0, 2), st.integers(0, 2), st.sampled_from([0o644, 0o600]), st.integers(0, 5)),
    st.builds(folder, st.integers(0, 2)),
    st.builds(link, st.sampled_from(["x", "y"]), st.integers(0, 2)),
)
listings = st.dictionaries(names, entries, max_size=6)


def applied(found: DirectoryDiff, source: Mapping[str, Entry], old: Mapping[str, Entry]) -> dict[str, Entry]:
    result = {name: entry for name, entry in old.items() if name not in found.removed}
    for name in found.created + found.replaced:
        result[name] = source[name]
    for name in found.metadata:
        new = source[name]
        result[name] = result[name]._replace(mode=new.mode, mtime_ns=new.mtime_ns, uid=new.uid, gid=new.gid)
    return result


@given(listings, listings)
def test_applying_the_difference_gives_the_source(new: dict[str, Entry], old: dict[str, Entry]) -> None:
    found = diff(new, old, ROOT, {})
    result = applied(found, new, old)
    assert result.keys() == new.keys()
    for name, entry in result.items():
        if name in found.both:
            assert entry.kind == DIR == new[name].kind
        else:
            assert entry[:SEEN] == new[name][:SEEN]


@given(listings, listings)
def test_every_name_needs_one_thing_or_nothing_and_names_are_sorted(
    new: dict[str, Entry], old: dict[str, Entry]
) -> None:
    found = diff(new, old, ROOT, {})
    groups = found[:5]
    assert all(list(group) == sorted(group) for group in groups)
    told = [name for group in groups for name in group]
    assert len(told) == len(set(told))
    assert len(told) + found.unchanged == len(new.keys() | old.keys())


@given(listings)
def test_equal_listings_need_nothing_but_a_look_into_their_directories(new: dict[str, Entry]) -> None:
    found = diff(new, dict(new), ROOT, {})
    assert found[:4] == ((), (), (), ())
    assert set(found.both) == {name for name, entry in new.items() if entry.kind == DIR}


@given(listings, listings)
def test_a_second_look_after_applying_finds_nothing(new: dict[str, Entry], old: dict[str, Entry]) -> None:
    result = applied(diff(new, old, USER, {}), new, old)
    again = diff(new, result, USER, {})
    assert again.created == again.replaced == again.metadata == again.removed == ()
