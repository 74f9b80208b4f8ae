"""A graft, packed, is the same entries as a mapping of paths to them would hold."""

from __future__ import annotations

from atomsync.tree.entry import SEEN
from atomsync.tree.graft import LARGE_BYTES, Folder, Graft
from tests.tree.entries import file, folder, graft, link

DIGEST = bytes(range(16))
MEMBERS = {
    "a": file(1, mtime_ns=5, ino=7),
    "b\udcff": file(2),
    "sub": folder(3, mode=0o700),
    "sub/c": link("../a"),
    "sub/empty": folder(),
    "sub.d": file(0, mtime_ns=-1),
}


def staged(found: Graft) -> Graft:
    return Graft(folder._replace(digests=DIGEST * folder.names) for folder in found.folders)


def test_it_holds_what_it_was_made_of_parents_before_children() -> None:
    found = [*graft("top", MEMBERS)]
    assert dict(found) == {f"top/{path}": entry for path, entry in MEMBERS.items()}
    seen = {"top"}
    for path, _ in found:
        assert path.rpartition("/")[0] in seen
        seen.add(path)
    assert len(graft("top", MEMBERS)) == len(MEMBERS)


def test_one_without_members_is_false() -> None:
    assert not graft("top", {})
    assert graft("top", {"a": file()})


def test_once_staged_its_files_have_digests_and_nothing_of_the_inodes_of_the_source() -> None:
    for path, entry in staged(graft("top", MEMBERS)):
        before = MEMBERS[path.removeprefix("top/")]
        assert entry[:SEEN] == before[:SEEN]
        assert entry[SEEN:] == (0, 0, 0, 0, DIGEST.hex() if before.kind == "file" else "")


def test_a_digest_is_found_by_its_path() -> None:
    found = staged(graft("top", MEMBERS))
    assert found.digest_of("top/b\udcff") == DIGEST.hex()
    assert found.digest_of("top/sub") == found.digest_of("top/none") == found.digest_of("other/a") == ""


def test_large_files_are_named_and_get_their_digests_from_elsewhere() -> None:
    found = graft("top", {"a": file(LARGE_BYTES), "b": file(LARGE_BYTES + 1)})
    assert [folder.large for folder in found.folders] == [("b",)]
    whole = Graft(staged(found).folders, {"top/b": "ff" * 16})
    assert [entry.digest for _, entry in whole] == [DIGEST.hex(), "ff" * 16]


def test_it_tells_as_a_whole_what_its_members_are_together() -> None:
    found = graft("top", MEMBERS)
    assert (found.files, found.size, found.longest) == (3, 3, 5)


def test_only_folders_with_a_young_file_are_gone_through_for_young_files() -> None:
    old, young = file(1), file(1)._replace(ctime_ns=100)
    found = graft("top", {"a": old, "sub": folder(), "sub/b": old, "sub/c": young})
    assert [path for path, _ in found.changed_since(99)] == ["top/sub/b", "top/sub/c"]
    assert [*found.changed_since(100)] == []


def test_a_folder_is_plain_values_so_that_another_process_can_have_it() -> None:
    import marshal

    for each in graft("top", MEMBERS).folders:
        assert Folder._make(marshal.loads(marshal.dumps(tuple(each)))) == each
