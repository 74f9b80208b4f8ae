"""What every disk promises, the operating system's and the simulated one alike."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from atomsync.fs.disk import Disk
from atomsync.fs.posix import PosixDisk
from atomsync.testing import Dir, File, Link, SimDisk, Special, Tree, build, read


class Place(NamedTuple):
    """A disk and an open, empty directory on it."""

    disk: Disk
    at: int


TREE = Dir(
    {
        "file": File(b"content"),
        "other": File(b"other"),
        "dir": Dir({"inner": File(b"inner")}),
        "empty": Dir({}),
        "link": Link("file"),
        "dirlink": Link("dir"),
        "dangling": Link("nowhere"),
    }
)


@pytest.fixture(params=["posix", "sim-weak", "sim-ordered"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    disk: Disk
    if request.param == "posix":
        disk, path = PosixDisk(), str(tmp_path)
    else:
        disk, path = SimDisk("weak" if request.param == "sim-weak" else "ordered"), "/"
    at = disk.open_root(path)
    yield Place(disk, at)
    disk.close(at)


@pytest.fixture
def full(place: Place) -> Place:
    """The same with ``TREE`` in it."""
    build(*place, TREE)
    return place


@contextlib.contextmanager
def opened(disk: Disk, fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        disk.close(fd)


@contextlib.contextmanager
def refused(place: Place, *numbers: int) -> Iterator[None]:
    """The errno is one of ``numbers``, and nothing changed."""
    before = read(*place, directory_times=True)
    with pytest.raises(OSError) as failure:
        yield
    assert failure.value.errno in numbers, errno.errorcode[failure.value.errno or 0]
    assert read(*place, directory_times=True) == before


def content(place: Place, name: str) -> bytes:
    disk, at = place
    with opened(disk, disk.open_file(at, name)) as fd:
        return disk.pread(fd, 1000, 0)


def names(disk: Disk, fd: int) -> list[str]:
    return sorted(name for name, _ in disk.scandir(fd))


def disk_names(disk: Disk, fd: int) -> list[str]:
    return sorted(disk.names(fd))


# -- opening


def test_a_link_is_never_opened_as_a_directory(full: Place) -> None:
    for name in ("link", "dirlink", "dangling"):
        with refused(full, errno.ENOTDIR, errno.ELOOP):
            full.disk.open_dir(full.at, name)


def test_a_link_is_never_opened_as_a_file_nor_as_a_lock(full: Place) -> None:
    for name in ("link", "dirlink", "dangling"):
        with refused(full, errno.ELOOP):
            full.disk.open_file(full.at, name)
        with refused(full, errno.ELOOP):
            full.disk.open_lock(full.at, name)


def test_a_file_is_not_a_directory(full: Place) -> None:
    with refused(full, errno.ENOTDIR):
        full.disk.open_dir(full.at, "file")
    with opened(full.disk, full.disk.open_file(full.at, "file")) as fd:
        for verb in (
            lambda: full.disk.open_file(fd, "x"),
            lambda: full.disk.lstat(fd, "x"),
            lambda: full.disk.create(fd, "x"),
            lambda: full.disk.mkdir(fd, "x"),
            lambda: full.disk.scandir(fd),
        ):
            with refused(full, errno.ENOTDIR):
                verb()


def test_a_missing_name_is_told_by_every_verb_that_needs_it(full: Place) -> None:
    disk, at = full
    verbs: list[Callable[[], object]] = [
        lambda: disk.open_dir(at, "none"),
        lambda: disk.open_file(at, "none"),
        lambda: disk.lstat(at, "none"),
        lambda: disk.readlink(at, "none"),
        lambda: disk.generation(at, "none"),
        lambda: disk.link(at, "none", at, "new"),
        lambda: disk.exchange(at, "none", at, "file"),
        lambda: disk.exchange(at, "file", at, "none"),
        lambda: disk.rename_new(at, "none", at, "new"),
        lambda: disk.replace(at, "none", at, "file"),
        lambda: disk.unlink(at, "none"),
        lambda: disk.rmdir(at, "none"),
        lambda: disk.set_meta_at(at, "none", -1, -1, 0o600, None),
        lambda: disk.open_root("/no/such/directory/anywhere"),
        lambda: disk.open_file(at, ""),
    ]
    for verb in verbs:
        with refused(full, errno.ENOENT):
            verb()


def test_a_closed_descriptor_is_refused(full: Place) -> None:
    disk, at = full
    fd = disk.open_dir(at, "dir")
    disk.close(fd)
    for verb in (lambda: disk.fstat(fd), lambda: disk.close(fd), lambda: disk.open_dir(fd, ".")):
        with refused(full, errno.EBADF):
            verb()


def test_dot_dot_opens_the_parent_of_an_open_directory(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as below, opened(disk, disk.open_dir(below, "..")) as above:
        assert disk.fstat(above).st_ino == disk.fstat(at).st_ino


def test_dot_dot_of_a_moved_directory_is_its_new_parent(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as moved, opened(disk, disk.open_dir(at, "empty")) as parent:
        disk.rename_new(at, "dir", parent, "dir")
        with opened(disk, disk.open_dir(moved, "..")) as above:
            assert disk.fstat(above).st_ino == disk.fstat(parent).st_ino


def test_dot_dot_of_an_exchanged_directory_is_its_new_parent(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as parent, opened(disk, disk.open_dir(at, "empty")) as moved:
        disk.exchange(at, "empty", parent, "inner")
        with opened(disk, disk.open_dir(moved, "..")) as above:
            assert disk.fstat(above).st_ino == disk.fstat(parent).st_ino


def test_the_operators_path_may_go_through_links(full: Place, tmp_path: Path) -> None:
    disk, at = full
    base = str(tmp_path) if isinstance(disk, PosixDisk) else ""
    with opened(disk, disk.open_root(f"{base}/dirlink/../dirlink")) as fd:
        assert names(disk, fd) == ["inner"]
    with refused(full, errno.ENOTDIR):
        disk.open_root(f"{base}/link")
    disk.symlink("loop", at, "loop")
    with refused(full, errno.ELOOP):
        disk.open_root(f"{base}/loop")


# -- making


def test_a_created_file_is_empty_private_and_open_both_ways(place: Place) -> None:
    disk, at = place
    with opened(disk, disk.create(at, "new")) as fd:
        found = disk.fstat(fd)
        assert (stat.S_ISREG(found.st_mode), stat.S_IMODE(found.st_mode), found.st_size) == (True, 0o600, 0)
        disk.write(fd, b"bytes", 0)
        assert disk.pread(fd, 100, 0) == b"bytes"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_new_files_and_directories_are_private_whatever_the_umask(place: Place, umask: int) -> None:
    disk, at = place
    former = os.umask(umask)
    try:
        disk.close(disk.create(at, "file"))
        disk.close(disk.open_lock(at, "lock"))
        disk.mkdir(at, "dir")
    finally:
        os.umask(former)
    modes = {name: stat.S_IMODE(found.st_mode) for name, found in disk.scandir(at)}
    assert modes == {"file": 0o600, "lock": 0o600, "dir": 0o700}


def test_nothing_is_made_over_an_existing_name(full: Place) -> None:
    disk, at = full
    for name in ("file", "dir", "link", "dangling", ".", ".."):
        for verb in (
            lambda name=name: disk.create(at, name),
            lambda name=name: disk.mkdir(at, name),
            lambda name=name: disk.symlink("x", at, name),
            lambda name=name: disk.link(at, "file", at, name),
            lambda name=name: disk.rename_new(at, "other", at, name),
        ):
            with refused(full, errno.EEXIST):
                verb()


def test_a_name_longer_than_the_disk_allows_is_refused(full: Place) -> None:
    disk, at = full
    longest = disk.space(at).name_max
    disk.close(disk.create(at, "n" * longest))
    disk.close(disk.create(at, "é" * (longest // 2)))
    for name in ("n" * (longest + 1), "é" * (longest // 2 + 1)):
        for verb in (
            lambda name=name: disk.create(at, name),
            lambda name=name: disk.mkdir(at, name),
            lambda name=name: disk.lstat(at, name),
            lambda name=name: disk.rename_new(at, "file", at, name),
            lambda name=name: disk.link(at, "file", at, name),
        ):
            with refused(full, errno.ENAMETOOLONG):
                verb()


def test_nothing_is_made_in_a_removed_directory(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "empty")) as gone:
        disk.rmdir(at, "empty")
        assert disk.scandir(gone) == []
        for verb in (
            lambda: disk.create(gone, "x"),
            lambda: disk.mkdir(gone, "x"),
            lambda: disk.rename_new(at, "file", gone, "x"),
            lambda: disk.replace(at, "file", gone, "x"),
            lambda: disk.link(at, "file", gone, "x"),
        ):
            with refused(full, errno.ENOENT):
                verb()


def test_a_name_that_is_not_utf8_comes_back_as_it_was(place: Place) -> None:
    disk, at = place
    name = os.fsdecode(b"\xff\xfe-\xc3\xa9")
    disk.close(disk.create(at, name))
    disk.symlink(name, at, "link")
    disk.rename_new(at, name, at, name + "2")
    disk.close(disk.create(at, name))
    disk.exchange(at, name, at, name + "2")
    assert names(disk, at) == sorted([name, name + "2", "link"])
    assert disk.readlink(at, "link") == name


def test_a_link_keeps_its_target_as_text(place: Place) -> None:
    disk, at = place
    for number, target in enumerate(("/absolute", "../..", "a//b/", "no such thing", "x" * 1000)):
        disk.symlink(target, at, str(number))
        assert disk.readlink(at, str(number)) == target
        assert stat.S_ISLNK(disk.lstat(at, str(number)).st_mode)
    with refused(place, errno.ENOENT):
        disk.symlink("", at, "empty")


def test_only_a_link_has_a_target(full: Place) -> None:
    for name in ("file", "dir"):
        with refused(full, errno.EINVAL):
            full.disk.readlink(full.at, name)


# -- looking


def test_a_library_reaches_the_file_or_is_told_to_keep_its_data_in_memory(full: Place) -> None:
    path = full.disk.library_path(full.at, "file")
    assert path == ":memory:" or Path(path).read_bytes() == b"content"


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs", "btrfs"])
def test_a_name_made_after_its_directory_was_opened_is_listed(
    kind: str, small_fs: Callable[..., Path]
) -> None:
    """btrfs remembers for each descriptor how far the names went when it was opened, or last read again."""
    disk, path = PosixDisk(), small_fs(kind, 320 if kind == "xfs" else 160)
    for number, verb in enumerate((names, disk_names)):
        (path / str(number)).mkdir()
        with opened(disk, disk.open_root(str(path / str(number)))) as fd:
            disk.mkdir(fd, "a")
            assert verb(disk, fd) == ["a"]
            disk.mkdir(fd, "b")
            assert verb(disk, fd) == ["a", "b"]


def test_a_directory_lists_its_names_with_what_lstat_says_each_time(full: Place) -> None:
    disk, at = full
    for _ in range(2):
        found = dict(disk.scandir(at))
        assert sorted(found) == sorted(TREE.names)
        for name, seen in found.items():
            looked = disk.lstat(at, name)
            fields = ("st_mode", "st_ino", "st_dev", "st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns")
            assert [getattr(seen, field) for field in fields] == [getattr(looked, field) for field in fields]


def test_a_size_is_that_of_the_bytes_or_of_the_target(full: Place) -> None:
    assert full.disk.lstat(full.at, "file").st_size == len(b"content")
    assert full.disk.lstat(full.at, "dangling").st_size == len("nowhere")


def test_a_generation_tells_a_reused_inode_number(place: Place) -> None:
    disk, at = place
    disk.close(disk.create(at, "probe"))
    if not disk.generation(at, "probe"):
        pytest.skip("this filesystem has no generations")
    seen = set()
    for _ in range(20):
        disk.close(disk.create(at, "again"))
        seen.add((disk.lstat(at, "again").st_ino, disk.generation(at, "again")))
        disk.unlink(at, "again")
        disk.syncfs(at)
    assert len(seen) == 20


def test_deep_lstats_are_an_lstat_and_the_generation_of_each_name(full: Place) -> None:
    disk, at = full
    names = ["file", "none", "dir", "link", "dangling", "file"]
    found = [*disk.deep_lstats(at, names)]
    assert [one is None for one in found] == [name == "none" for name in names]
    fields = ("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    for name, one in zip(names, found):
        if one is not None:
            looked = disk.lstat(at, name)
            assert [getattr(one[0], field) for field in fields] == [
                getattr(looked, field) for field in fields
            ]
            assert one[1] == disk.generation(at, name)


def test_what_bears_no_flag_is_not_pinned_and_what_is_missing_neither(full: Place) -> None:
    assert full.disk.pinned(full.at, ["file", "none", "dir", "link", "."]) == []


def test_a_generation_stays_through_renames_and_is_that_of_a_link_itself(full: Place) -> None:
    disk, at = full
    for name in ("file", "dir", "link"):
        before = disk.generation(at, name)
        disk.rename_new(at, name, at, name + "-moved")
        assert disk.generation(at, name + "-moved") == before
    assert disk.generation(at, "link-moved") != disk.generation(at, "file-moved")


def test_free_space_is_told(place: Place) -> None:
    found = place.disk.space(place.at)
    assert found.block_size > 0
    assert found.bytes_free > 0
    assert found.inodes_free is None or found.inodes_free > 0
    assert found.name_max >= 255
    assert not found.read_only


# -- content


def test_bytes_are_read_where_they_were_written(place: Place) -> None:
    disk, at = place
    with opened(disk, disk.create(at, "f")) as fd:
        disk.write(fd, b"abc", 2)
        disk.write(fd, b"", 100)
        disk.write(fd, b"X", 3)
        assert disk.pread(fd, 100, 0) == b"\0\0aXc"
        assert disk.pread(fd, 2, 3) == b"Xc"
        assert disk.pread(fd, 10, 5) == b""
        assert disk.fstat(fd).st_size == 5


def test_a_file_can_be_cut_and_grown(place: Place) -> None:
    disk, at = place
    with opened(disk, disk.create(at, "f")) as fd:
        disk.write(fd, b"abcdef", 0)
        disk.truncate(fd, 2)
        disk.truncate(fd, 4)
        assert disk.pread(fd, 100, 0) == b"ab\0\0"
        with refused(place, errno.EINVAL):
            disk.truncate(fd, -1)


def test_a_file_opened_for_reading_cannot_be_written(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_file(at, "file")) as fd:
        with refused(full, errno.EBADF):
            disk.write(fd, b"x", 0)
        with refused(full, errno.EINVAL, errno.EBADF):
            disk.truncate(fd, 0)


def test_a_directory_has_no_bytes(full: Place) -> None:
    with refused(full, errno.EISDIR):
        full.disk.pread(full.at, 10, 0)
    with refused(full, errno.EISDIR):
        full.disk.open_lock(full.at, "dir")


def test_dropping_the_cache_changes_nothing(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_lock(at, "file")) as fd:
        for sync in (lambda: None, lambda: disk.fsync(fd)):
            disk.write(fd, b"dirty", 0)
            sync()
            disk.drop_cache(fd)
            assert disk.pread(fd, 100, 0) == b"dirtynt"
    with opened(disk, disk.open_dir(at, "dir")) as fd:
        disk.drop_cache(fd)
        assert names(disk, fd) == ["inner"]


# -- names


def test_an_exchange_swaps_whatever_the_types(full: Place) -> None:
    disk, at = full
    kinds = ("file", "dir", "empty", "link", "dangling", "other")
    for name in kinds:
        for other in kinds:
            if name != other:
                one, two = disk.lstat(at, name).st_ino, disk.lstat(at, other).st_ino
                disk.exchange(at, name, at, other)
                assert (disk.lstat(at, name).st_ino, disk.lstat(at, other).st_ino) == (two, one)
                disk.exchange(at, name, at, other)
    assert read(disk, at) == TREE


def test_an_exchange_reaches_across_directories(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as below:
        disk.exchange(at, "empty", below, "inner")
    inner = File(b"inner")
    assert read(disk, at) == Dir({**TREE.names, "empty": inner, "dir": Dir({"inner": Dir({})})})


def test_a_run_of_exchanges_is_those_exchanges_up_to_the_one_that_fails(full: Place) -> None:
    disk, at = full
    pairs = [(b"file", b"inner"), (b"link", b"none"), (b"other", b"inner")]
    with opened(disk, disk.open_dir(at, "dir")) as below:
        disk.exchange_all(at, below, [])
        names = iter(pairs)
        with pytest.raises(FileNotFoundError):
            disk.exchange_all(at, below, names)
    assert list(names) == pairs[2:]
    inner, file = File(b"inner"), File(b"content")
    assert read(disk, at) == Dir({**TREE.names, "file": inner, "dir": Dir({"inner": file})})


def test_a_run_of_renames_is_those_renames_up_to_the_name_that_exists(full: Place) -> None:
    disk, at = full
    pairs = [(b"file", b"a\xff"), (b"link", b"b"), (b"other", b"inner"), (b"empty", b"c")]
    with opened(disk, disk.open_dir(at, "dir")) as below:
        names = iter(pairs)
        with pytest.raises(FileExistsError):
            disk.rename_all_new(at, below, names)
    assert list(names) == pairs[3:]
    stay = {name: tree for name, tree in TREE.names.items() if name not in ("file", "link")}
    held = {"inner": File(b"inner"), "a\udcff": File(b"content"), "b": Link("file")}
    assert read(disk, at) == Dir({**stay, "dir": Dir(held)})


def test_a_directory_is_not_moved_into_itself(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as below:
        disk.mkdir(below, "deep")
        with opened(disk, disk.open_dir(below, "deep")) as deep:
            for into in (below, deep):
                for verb in (
                    lambda into=into: disk.rename_new(at, "dir", into, "x"),
                    lambda into=into: disk.replace(at, "dir", into, "x"),
                ):
                    with refused(full, errno.EINVAL):
                        verb()
            with refused(full, errno.EINVAL):
                disk.exchange(at, "dir", below, "inner")
            with refused(full, errno.EINVAL):
                disk.exchange(below, "inner", at, "dir")
            with refused(full, errno.ENOTEMPTY):
                disk.replace(below, "inner", at, "dir")


def test_the_dots_are_neither_moved_nor_removed(full: Place) -> None:
    disk, at = full
    for name in (".", ".."):
        with refused(full, errno.EBUSY):
            disk.exchange(at, name, at, "file")
        with refused(full, errno.EBUSY):
            disk.rename_new(at, name, at, "new")
        with refused(full, errno.EINVAL, errno.ENOTEMPTY):
            disk.rmdir(at, name)
        with refused(full, errno.EISDIR):
            disk.unlink(at, name)


def test_a_rename_to_a_new_name_keeps_the_object(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "empty")) as into:
        for name in ("file", "dir", "dangling"):
            before = disk.lstat(at, name).st_ino
            disk.rename_new(at, name, into, "new-" + name)
            assert disk.lstat(into, "new-" + name).st_ino == before
        assert names(disk, into) == ["new-dangling", "new-dir", "new-file"]


def test_a_rename_to_an_existing_name_is_refused_even_to_itself(full: Place) -> None:
    disk, at = full
    for name in ("other", "empty", "dangling", "file"):
        with refused(full, errno.EEXIST):
            disk.rename_new(at, "file", at, name)


def test_replace_takes_the_place_of_a_file_a_link_or_an_empty_directory(full: Place) -> None:
    disk, at = full
    disk.replace(at, "file", at, "other")
    disk.replace(at, "other", at, "link")
    disk.replace(at, "dir", at, "empty")
    found = read(disk, at)
    assert found.names["link"] == File(b"content")
    assert found.names["empty"] == Dir({"inner": File(b"inner")})
    assert found.names.keys() == {"link", "empty", "dirlink", "dangling"}


def test_replace_does_not_mix_files_and_directories(full: Place) -> None:
    disk, at = full
    with refused(full, errno.EISDIR):
        disk.replace(at, "file", at, "empty")
    with refused(full, errno.ENOTDIR):
        disk.replace(at, "empty", at, "file")
    with refused(full, errno.ENOTDIR):
        disk.replace(at, "empty", at, "dirlink")
    with refused(full, errno.ENOTEMPTY, errno.EEXIST):
        disk.replace(at, "empty", at, "dir")


def test_replacing_a_file_by_another_name_of_itself_leaves_both(full: Place) -> None:
    disk, at = full
    disk.link(at, "file", at, "twin")
    disk.replace(at, "file", at, "twin")
    assert {"file", "twin"} <= set(names(disk, at))


def test_a_hard_link_is_the_same_file(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as into:
        disk.link(at, "file", into, "twin")
        assert disk.lstat(into, "twin").st_ino == disk.lstat(at, "file").st_ino
        disk.unlink(at, "file")
        assert content(Place(disk, into), "twin") == b"content"


def test_a_hard_link_of_a_link_is_the_link(full: Place) -> None:
    full.disk.link(full.at, "link", full.at, "twin")
    assert full.disk.readlink(full.at, "twin") == "file"


def test_a_directory_cannot_be_hard_linked(full: Place) -> None:
    with refused(full, errno.EPERM):
        full.disk.link(full.at, "dir", full.at, "twin")


def test_unlink_takes_anything_but_a_directory_and_never_a_links_target(full: Place) -> None:
    disk, at = full
    with refused(full, errno.EISDIR):
        disk.unlink(at, "empty")
    for name in ("link", "dirlink", "dangling", "other"):
        disk.unlink(at, name)
    assert names(disk, at) == ["dir", "empty", "file"]


def test_rmdir_takes_only_an_empty_directory(full: Place) -> None:
    disk, at = full
    with refused(full, errno.ENOTEMPTY):
        disk.rmdir(at, "dir")
    for name in ("file", "link", "dirlink"):
        with refused(full, errno.ENOTDIR):
            disk.rmdir(at, name)
    disk.rmdir(at, "empty")
    assert "empty" not in names(disk, at)


# -- open descriptors


def test_an_open_file_outlives_its_name(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_lock(at, "file")) as fd:
        disk.rename_new(at, "file", at, "moved")
        disk.write(fd, b"C", 0)
        assert content(full, "moved") == b"Content"
        disk.unlink(at, "moved")
        disk.close(disk.create(at, "moved"))
        assert disk.pread(fd, 100, 0) == b"Content"
        assert disk.fstat(fd).st_ino != disk.lstat(at, "moved").st_ino


def test_an_open_directory_is_the_same_wherever_it_is_moved(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_dir(at, "dir")) as fd:
        disk.exchange(at, "dir", at, "empty")
        disk.close(disk.create(fd, "later"))
        assert names(disk, fd) == ["inner", "later"]
        assert read(disk, at).names["dir"] == Dir({})


# -- metadata


def test_attributes_are_set_on_an_open_file_and_directory(full: Place) -> None:
    disk, at = full
    for fd in (disk.open_file(at, "file"), disk.open_dir(at, "dir")):
        with opened(disk, fd):
            disk.set_meta(fd, -1, -1, 0o751, 1_234_567_890_123_456_789)
            found = disk.fstat(fd)
            assert stat.S_IMODE(found.st_mode) == 0o751
            assert found.st_mtime_ns == 1_234_567_890_123_456_789
            disk.set_meta(fd, -1, -1, None, None)
            assert disk.fstat(fd).st_mtime_ns == found.st_mtime_ns
            assert disk.fstat(fd).st_mode == found.st_mode


def test_attributes_are_set_by_name_but_never_through_a_link(full: Place) -> None:
    disk, at = full
    target = disk.lstat(at, "file")
    with refused(full, errno.ELOOP, errno.EOPNOTSUPP):
        disk.set_meta_at(at, "link", -1, -1, 0o777, None)
    disk.set_meta_at(at, "link", -1, -1, None, 42)
    assert disk.lstat(at, "link").st_mtime_ns == 42
    assert disk.lstat(at, "file") == target
    disk.set_meta_at(at, "other", -1, -1, 0o4755, 43)
    assert (stat.S_IMODE(disk.lstat(at, "other").st_mode), disk.lstat(at, "other").st_mtime_ns) == (
        0o4755,
        43,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_set_before_the_mode_because_it_clears_setuid(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_file(at, "file")) as fd:
        disk.set_meta(fd, 1, 2, 0o6755, None)
        found = disk.fstat(fd)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1, 2, 0o6755)
        disk.set_meta(fd, 3, -1, None, None)
        found = disk.fstat(fd)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (3, 2, 0o755)
    disk.set_meta_at(at, "link", 4, 5, None, None)
    assert (disk.lstat(at, "link").st_uid, disk.lstat(at, "file").st_uid) == (4, 3)


def test_a_directorys_mtime_changes_when_its_names_do(full: Place) -> None:
    disk, at = full
    disk.set_meta(at, -1, -1, None, 1)
    verbs: list[Callable[[], object]] = [
        lambda: disk.close(disk.create(at, "new")),
        lambda: disk.mkdir(at, "newdir"),
        lambda: disk.exchange(at, "file", at, "other"),
        lambda: disk.rename_new(at, "new", at, "newer"),
        lambda: disk.unlink(at, "newer"),
        lambda: disk.rmdir(at, "newdir"),
    ]
    for verb in verbs:
        verb()
        assert disk.fstat(at).st_mtime_ns > 1
        disk.set_meta(at, -1, -1, None, 1)


def test_a_rename_changes_ctime_and_nothing_else_of_the_moved(full: Place) -> None:
    disk, at = full
    for name in ("file", "dir", "link"):
        before = disk.lstat(at, name)
        disk.rename_new(at, name, at, "moved")
        after = disk.lstat(at, "moved")
        assert after.st_ctime_ns >= before.st_ctime_ns
        fields = ("st_mode", "st_ino", "st_uid", "st_gid", "st_size", "st_mtime_ns")
        assert [getattr(after, field) for field in fields] == [getattr(before, field) for field in fields]
        disk.rename_new(at, "moved", at, name)


def test_a_write_changes_the_mtime(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_lock(at, "file")) as fd:
        for change in (lambda: disk.write(fd, b"x", 0), lambda: disk.truncate(fd, 1)):
            disk.set_meta(fd, -1, -1, None, 1)
            change()
            assert disk.fstat(fd).st_mtime_ns > 1


# -- durability and exclusion


def test_everything_can_be_synced(full: Place) -> None:
    disk, at = full
    for fd in (disk.open_file(at, "file"), disk.open_dir(at, "dir")):
        with opened(disk, fd):
            disk.fsync(fd)
            disk.syncfs(fd)
            assert isinstance(disk.syncfs_trusted(fd), bool)


def test_a_lock_excludes_until_its_descriptor_is_closed(place: Place) -> None:
    disk, at = place
    first = disk.open_lock(at, "lock")
    with opened(disk, disk.open_lock(at, "lock")) as second:
        assert disk.try_lock(first)
        assert disk.try_lock(first)
        assert not disk.try_lock(second)
        disk.close(first)
        assert disk.try_lock(second)


def test_a_lock_is_on_the_file_not_on_its_name(place: Place) -> None:
    disk, at = place
    with opened(disk, disk.open_lock(at, "lock")) as first:
        assert disk.try_lock(first)
        disk.unlink(at, "lock")
        with opened(disk, disk.open_lock(at, "lock")) as second:
            assert disk.try_lock(second)


def test_opening_a_lock_keeps_what_is_in_it(full: Place) -> None:
    disk, at = full
    with opened(disk, disk.open_lock(at, "file")) as fd:
        assert disk.pread(fd, 100, 0) == b"content"
        disk.write(fd, b"C", 0)
    assert content(full, "file") == b"Content"


# -- both at once

TWO_NAMES = ("exchange", "rename_new", "replace", "link")
ONE_NAME = ("mkdir", "rmdir", "unlink", "create", "symlink", "open_dir", "open_file", "readlink")


@pytest.mark.parametrize("seed", range(12))
def test_both_disks_answer_alike_to_the_same_random_verbs(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    places = []
    for disk, path in ((PosixDisk(), str(tmp_path)), (SimDisk(rng.choice(("weak", "ordered"))), "/")):
        top = disk.open_root(path)
        build(disk, top, Dir({"a": Dir({"a": Dir({}), "b": File(b"ab")}), "b": Link("a"), "c": Dir({})}))
        below = disk.open_dir(top, "a")
        places.append((disk, [top, below, disk.open_dir(below, "a"), disk.open_dir(top, "c")]))

    def answer(disk: Disk, fds: list[int], verb: str, picks: list[int], names: list[str]) -> object:
        at, to = fds[picks[0]], fds[picks[1]]
        try:
            if verb in TWO_NAMES:
                getattr(disk, verb)(at, names[0], to, names[1])
            elif verb == "symlink":
                disk.symlink("target", at, names[0])
            else:
                found = getattr(disk, verb)(at, names[0])
                if isinstance(found, int):
                    disk.close(found)
                else:
                    return found
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return None

    for _ in range(250):
        verb = rng.choice(TWO_NAMES + ONE_NAME)
        picks = [rng.randrange(4), rng.randrange(4)]
        picked = [rng.choice("abcde") for _ in range(2)]
        one, two = (answer(disk, fds, verb, picks, picked) for disk, fds in places)
        assert one == two, (verb, picks, picked)
        first, second = ([read(disk, fd) for fd in fds] for disk, fds in places)
        for mine, theirs in zip(first, second, strict=True):
            assert untimed(mine) == untimed(theirs), (verb, picks, picked)
    for disk, fds in places:
        for fd in fds:
            disk.close(fd)


def untimed(tree: Tree) -> Tree:
    """A tree of which only names, kinds, modes and content are compared."""
    if isinstance(tree, Dir):
        return replace(tree, names={name: untimed(child) for name, child in tree.names.items()})
    return tree if isinstance(tree, Special) else replace(tree, mtime_ns=None)


# -- what only the operating system has


def test_opening_a_fifo_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    disk = PosixDisk()
    with opened(disk, disk.open_root(str(tmp_path))) as at, opened(disk, disk.open_file(at, "fifo")) as fd:
        assert stat.S_ISFIFO(disk.fstat(fd).st_mode)


# -- blocks that are shared, or missing


def test_a_file_is_cloned_whole_or_left_as_it_is(place: Place) -> None:
    disk, at = place
    build(*place, Dir({"a": File(b"content"), "b": File(b"other")}))
    source, fd = disk.open_file(at, "a"), disk.open_lock(at, "b")
    cannot = None
    with opened(disk, source), opened(disk, fd):
        try:
            disk.clone(fd, source)
        except OSError as error:
            cannot = error.errno
    assert cannot in (None, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY)
    assert content(place, "b") == (b"content" if cannot is None else b"other")


def test_a_hole_reads_as_zeros_and_the_file_keeps_its_size(place: Place) -> None:
    disk, at = place
    build(*place, Dir({"a": File(b"x" * 8192)}))
    cannot = None
    with opened(disk, disk.open_lock(at, "a")) as fd:
        try:
            disk.punch(fd, 0, 4096)
        except OSError as error:
            cannot = error.errno
        found = disk.pread(fd, 9000, 0)
    assert cannot in (None, errno.EOPNOTSUPP)
    assert found == (b"x" * 4096 if cannot else bytes(4096)) + b"x" * 4096
