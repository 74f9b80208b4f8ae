"""What a power cut, a kill and a failing medium do to the simulated disk."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest

from atomsync.fs.capabilities import Capabilities, probe
from atomsync.testing import (
    Dir,
    File,
    Killed,
    Link,
    Profile,
    SimDisk,
    build,
    fail_at,
    fail_sync_at,
    kill_at,
    read,
    snapshot,
)
from atomsync.testing.effects import Attributes

OLD = Dir({"a": File(b"old a"), "b": File(b"old b"), "dir": Dir({"inner": File(b"inner")})})
UNSYNCED = {None, b"", b"1", b"\0\0", b"1\0", b"\x002", b"12"}  # what may be left of b"12", but for garbage
both = pytest.mark.parametrize("profile", ["weak", "ordered"])


def synced(profile: Profile = "weak", **traits: bool) -> tuple[SimDisk, int]:
    """A disk with ``OLD`` on the medium, and its open root."""
    disk = SimDisk(profile, **traits)  # type: ignore[arg-type]
    at = disk.open_root("/")
    build(disk, at, OLD)
    disk.syncfs(at)
    if disk.pending:  # syncfs lies: the long way
        for name in ("a", "b"):
            with_fd(disk, disk.open_file(at, name), disk.fsync)
        with_fd(disk, disk.open_dir(at, "dir"), disk.fsync)
        inner = disk.open_dir(at, "dir")
        with_fd(disk, disk.open_file(inner, "inner"), disk.fsync)
        disk.close(inner)
        disk.fsync(at)
    assert not disk.pending
    disk.log.clear()
    return disk, at


def with_fd(disk: SimDisk, fd: int, verb: Callable[[int], object]) -> None:
    verb(fd)
    disk.close(fd)


def put(disk: SimDisk, at: int, name: str, data: bytes, sync: bool = False) -> None:
    fd = disk.create(at, name)
    disk.write(fd, data, 0)
    if sync:
        disk.fsync(fd)
    disk.close(fd)


def everything(disk: SimDisk) -> range:
    return range(len(disk.pending))


def after_crashes(disk: SimDisk, limit: int = 400) -> Iterator[Dir]:
    for keep, torn in disk.crash_states(random.Random(1), limit):
        yield snapshot(disk.crash(keep, torn))


def contents(disk: SimDisk, name: str) -> set[bytes | None]:
    """What a power cut may leave at a name of the root; None for nothing."""
    found: set[bytes | None] = set()
    for tree in after_crashes(disk):
        file = tree.names.get(name)
        found.add(file.data if isinstance(file, File) else None)
    return found


# -- names


@both
def test_a_file_that_was_not_synced_may_be_lost_empty_torn_or_whole(profile: Profile) -> None:
    disk, at = synced(profile)
    put(disk, at, "new", b"12")
    found = contents(disk, "new")
    assert found > UNSYNCED
    assert {len(data) for data in found - UNSYNCED if data is not None} == {2}  # bits flipped, garbage


@both
def test_a_rename_that_was_not_synced_may_be_lost_but_is_never_half(profile: Profile) -> None:
    disk, at = synced(profile)
    disk.rename_new(at, "a", at, "moved")
    seen = [{"a", "moved"} & tree.names.keys() for tree in after_crashes(disk)]
    assert sorted(map(sorted, seen)) == [["a"], ["moved"]]


@both
def test_an_exchange_that_was_not_synced_happened_whole_or_not_at_all(profile: Profile) -> None:
    disk, at = synced(profile)
    disk.exchange(at, "a", at, "dir")
    swapped = Dir({"a": OLD.names["dir"], "b": OLD.names["b"], "dir": OLD.names["a"]})
    found = list(after_crashes(disk))
    assert len(found) == 2
    assert OLD in found
    assert swapped in found


@both
def test_what_syncfs_covered_survives_every_crash(profile: Profile) -> None:
    disk, at = synced(profile)
    put(disk, at, "new", b"bytes")
    disk.exchange(at, "a", at, "b")
    disk.symlink("target", at, "link")
    disk.syncfs(at)
    assert not disk.pending
    assert snapshot(disk.crash()) == snapshot(disk)


def test_the_bytes_of_an_fsynced_file_are_lost_with_its_name_on_a_weak_disk() -> None:
    disk, at = synced("weak")
    put(disk, at, "new", b"bytes", sync=True)
    assert contents(disk, "new") == {None, b"bytes"}


def test_an_fsync_of_any_file_makes_all_names_durable_on_an_ordered_disk() -> None:
    disk, at = synced("ordered")
    put(disk, at, "first", b"12")
    put(disk, at, "second", b"34", sync=True)
    assert contents(disk, "first") > UNSYNCED - {None}
    assert contents(disk, "second") == {b"34"}


def test_an_fsynced_directory_keeps_its_own_names_and_no_bytes() -> None:
    disk, at = synced("weak")
    disk.mkdir(at, "new")
    below = disk.open_dir(at, "new")
    put(disk, below, "file", b"x")
    put(disk, at, "file", b"x")
    disk.fsync(at)
    assert snapshot(disk.crash()).names["new"] == Dir({}, mode=0o700)
    assert snapshot(disk.crash()).names["file"] == File(b"", mode=0o600)
    disk.fsync(below)
    assert snapshot(disk.crash()).names["new"] == Dir({"file": File(b"", mode=0o600)}, mode=0o700)


def test_an_fsync_of_either_directory_makes_a_rename_between_them_durable() -> None:
    for which in (0, 1):
        disk, at = synced("weak")
        below = disk.open_dir(at, "dir")
        disk.rename_new(at, "a", below, "a")
        disk.fsync((at, below)[which])
        assert not disk.pending


def test_an_fsync_of_a_directory_leaves_other_directories_alone() -> None:
    disk, at = synced("weak")
    below = disk.open_dir(at, "dir")
    put(disk, below, "new", b"x")
    disk.rename_new(at, "a", at, "moved")
    disk.fsync(at)
    assert "new" not in snapshot(disk.crash(), "dir").names


def test_a_rename_takes_the_earlier_ones_of_the_same_name_to_the_medium() -> None:
    disk, at = synced("weak")
    one, two = disk.open_dir(at, "dir"), at
    disk.mkdir(at, "third")
    disk.syncfs(at)
    three = disk.open_dir(at, "third")
    disk.rename_new(two, "a", one, "a")
    disk.rename_new(one, "a", three, "a")
    disk.fsync(three)
    assert not disk.pending
    assert snapshot(disk.crash()) == snapshot(disk)


def test_an_ordered_disk_loses_metadata_only_from_the_end() -> None:
    disk, at = synced("ordered")
    for number in range(12):
        disk.mkdir(at, f"new{number:02}")
    for tree in after_crashes(disk, limit=1000):
        made = sorted(name for name in tree.names if name.startswith("new"))
        assert made == [f"new{number:02}" for number in range(len(made))]
    with pytest.raises(ValueError, match="prefix"):
        disk.crash({5})


def test_a_weak_disk_may_keep_the_later_and_lose_the_earlier() -> None:
    disk, at = synced("weak")
    disk.mkdir(at, "first")
    disk.mkdir(at, "second")
    assert {"second"} in [tree.names.keys() & {"first", "second"} for tree in after_crashes(disk)]


def test_what_was_made_in_a_lost_directory_is_lost_with_it() -> None:
    disk, at = synced("weak")
    disk.mkdir(at, "new")
    below = disk.open_dir(at, "new")
    disk.rename_new(at, "a", below, "a")
    found = snapshot(disk.crash({1}))
    assert "a" not in found.names
    assert "new" not in found.names


def test_a_file_may_be_found_under_two_names_but_a_directory_never_is() -> None:
    disk, at = synced("weak")
    for name in ("a", "dir"):
        disk.rename_new(at, name, at, "1")
        disk.rename_new(at, "1", at, name + "-moved")
    found = snapshot(disk.crash({1, 3})).names
    assert found["a"] == found["a-moved"] == File(b"old a")
    assert "dir" not in found
    assert found["dir-moved"] == OLD.names["dir"]
    after = disk.crash({1, 3})
    assert sorted(inode.links for inode in after.state.values() if inode.data) == [1, 1, 2]


# -- bytes and attributes


def test_a_torn_write_leaves_what_the_caller_says_and_what_is_behind_it() -> None:
    disk, at = synced()
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"NEW", 0)
    for torn, found in ((b"", b"old a"), (b"N", b"Nld a"), (b"\0\0W", b"\0\0W a"), (b"???", b"??? a")):
        assert snapshot(disk.crash({0}, {0: torn})).names["a"] == File(found)


def test_an_unsynced_write_may_turn_into_zeros_garbage_or_have_a_bit_flipped() -> None:
    disk, at = synced()
    put(disk, at, "new", bytes(range(1, 65)))
    found = {data for data in contents(disk, "new") if data and len(data) == 64}
    assert bytes(64) in found
    distances = {sum((a ^ b).bit_count() for a, b in zip(data, range(1, 65))) for data in found}
    assert {0, 1} < distances  # whole, one bit flipped, and more than that
    assert any(not any(data[:32]) and data[32:] == bytes(range(33, 65)) for data in found)


def test_bits_rot_for_programs_and_on_the_medium_alike() -> None:
    disk, _ = synced()
    serial = next(serial for serial, inode in disk.state.items() if inode.data == b"old a")
    disk.rot(serial, 8 * 4 + 1)
    for after in (disk, disk.copy(), disk.crash()):
        assert snapshot(after).names["a"] == File(b"old c")


def test_a_lost_write_before_a_kept_one_leaves_zeros() -> None:
    disk, at = synced()
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"1234", 5)
    disk.write(fd, b"5678", 9)
    assert snapshot(disk.crash({1})).names["a"] == File(b"old a\0\0\0\x005678")


@both
def test_attributes_are_lost_like_everything_else(profile: Profile) -> None:
    disk, at = synced(profile)
    disk.set_meta_at(at, "a", 1, 2, 0o600, 7)
    found = []
    for keep, _ in disk.crash_states(random.Random(1)):
        file = snapshot(disk.crash(keep), owners=True).names["a"]
        assert isinstance(file, File)
        found.append(((file.uid, file.gid) == (1, 2), file.mode == 0o600, file.mtime_ns == 7))
    in_order = [(False,) * 3, (True, False, False), (True, True, False), (True,) * 3]
    assert sorted(found) == (in_order if profile == "ordered" else list(product((False, True), repeat=3)))


def test_attributes_that_are_so_already_are_not_in_the_way() -> None:
    disk, at = synced()
    found = disk.lstat(at, "a")
    disk.set_meta_at(at, "a", found.st_uid, found.st_gid, 0o644, found.st_mtime_ns)
    (effect,) = disk.pending
    assert isinstance(effect, Attributes)
    assert effect.idle
    assert disk.lstat(at, "a").st_ctime_ns > found.st_ctime_ns


@pytest.mark.parametrize("verb", ["set_meta", "set_meta_at"])
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_attributes_may_be_set_in_part_when_a_kill_or_an_error_comes(verb: str, calls: int) -> None:
    for hook, failure in (
        (kill_at(0, written=calls), Killed),
        (fail_at(0, errno.EIO, written=calls), OSError),
    ):
        disk, at = synced()
        disk.hook = hook
        place = (disk.open_file(at, "a"),) if verb == "set_meta" else (at, "a")
        with pytest.raises(failure):
            getattr(disk, verb)(*place, 1, 2, 0o4700, 7)
        now = disk.lstat(at, "a")
        assert [now.st_uid == 1, now.st_mode & 0o7777 == 0o4700, now.st_mtime_ns == 7] == [
            done < calls for done in range(3)
        ]


@both
def test_an_mtime_that_was_set_is_not_undone_by_bytes_written_before(profile: Profile) -> None:
    disk, at = synced(profile)
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"new a", 0)
    disk.set_meta(fd, -1, -1, None, 7)
    for sync in (
        lambda: None,
        lambda: with_fd(disk, disk.open_file(at, "b"), disk.fsync),
        lambda: disk.fsync(fd),
    ):
        sync()
        assert snapshot(disk.crash(everything(disk))).names["a"] == File(b"new a", 0o644, 7)


def test_an_open_file_without_a_name_is_gone_after_a_crash_and_after_a_kill() -> None:
    for end in (SimDisk.copy, SimDisk.crash):
        disk, at = synced()
        fd = disk.open_file(at, "a")
        disk.unlink(at, "a")
        disk.syncfs(at)
        assert disk.pread(fd, 10, 0) == b"old a"
        after = end(disk)
        assert len(after.state) == len(disk.state) - 1
        assert "a" not in snapshot(after).names


# -- kills, locks, descriptors


def test_a_killed_process_leaves_all_it_did_but_no_descriptor_and_no_lock() -> None:
    disk, at = synced()
    fd = disk.open_lock(at, "lock")
    disk.write(fd, b"mine", 0)
    assert disk.try_lock(fd)
    after = disk.copy()
    assert snapshot(after) == snapshot(disk)
    assert after.pending == disk.pending
    assert after.open_descriptors == 0
    assert after.try_lock(after.open_lock(after.open_root("/"), "lock"))


def test_a_power_cut_releases_every_lock() -> None:
    disk, at = synced()
    assert disk.try_lock(disk.open_lock(at, "a"))
    after = disk.crash()
    assert after.try_lock(after.open_lock(after.open_root("/"), "a"))


def test_worlds_after_a_crash_do_not_touch_each_other() -> None:
    disk, at = synced()
    disk.mkdir(at, "new")
    before = snapshot(disk)
    for after in (disk.copy(), disk.crash(), disk.crash({0})):
        root = after.open_root("/")
        after.unlink(root, "a")
        after.syncfs(root)
    assert snapshot(disk) == before
    assert snapshot(disk.crash()) == OLD


def test_a_process_is_killed_before_the_verb_and_does_nothing_more() -> None:
    disk, at = synced()
    disk.hook = kill_at(1)
    disk.mkdir(at, "first")
    for _ in range(2):
        with pytest.raises(Killed):
            disk.mkdir(at, "second")
    assert snapshot(disk).names.keys() - OLD.names.keys() == {"first"}
    assert disk.copy().hook is None
    assert not isinstance(Killed(), Exception)


def test_a_write_may_be_cut_short_by_a_kill_or_an_error() -> None:
    for hook, failure in ((kill_at(1, written=3), Killed), (fail_at(1, errno.ENOSPC, written=3), OSError)):
        disk, at = synced()
        disk.hook = hook
        with pytest.raises(failure):
            put(disk, at, "new", b"12345")
        assert snapshot(disk).names["new"] == File(b"123", 0o600)


def test_a_verb_fails_once_or_from_then_on() -> None:
    for sticky in (False, True):
        disk, at = synced()
        disk.hook = fail_at(1, errno.ENOSPC, sticky)
        outcomes = []
        for name in "123":
            try:
                disk.mkdir(at, name)
                outcomes.append(0)
            except OSError as error:
                outcomes.append(error.errno or 0)
        assert outcomes == [0, errno.ENOSPC, errno.ENOSPC if sticky else 0]


def test_the_log_tells_every_verb_that_changes_something_in_order() -> None:
    disk, at = synced()
    put(disk, at, "new", b"x", sync=True)
    disk.exchange(at, "a", at, "new")
    disk.lstat(at, "a")
    disk.syncfs(at)
    assert disk.log == [
        ("create", "new"),
        ("write", "new"),
        ("fsync", "new"),
        ("exchange", "a", "new"),
        ("syncfs", "/"),
    ]


# -- a failing sync


@pytest.mark.parametrize("whole_disk", [False, True])
@both
def test_a_failed_sync_loses_the_bytes_and_the_next_one_claims_success(
    profile: Profile, whole_disk: bool
) -> None:
    disk, at = synced(profile)
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"COMMIT", 5)
    sync = (lambda: disk.syncfs(fd)) if whole_disk else (lambda: disk.fsync(fd))
    disk.hook = fail_sync_at(0)
    with pytest.raises(OSError) as failure:
        sync()
    assert failure.value.errno == errno.EIO
    sync()
    disk.syncfs(at)
    assert disk.pread(fd, 100, 0) == b"old aCOMMIT"
    assert snapshot(disk.crash()).names["a"] == File(b"old a")


def test_a_filesystem_may_turn_read_only_with_the_failed_sync() -> None:
    disk, at = synced()
    disk.hook = fail_sync_at(0, read_only=True)
    disk.mkdir(at, "before")
    with pytest.raises(OSError) as failure:
        disk.syncfs(at)
    assert failure.value.errno == errno.EIO
    with pytest.raises(OSError) as failure:
        disk.mkdir(at, "after")
    assert failure.value.errno == errno.EROFS


def test_a_failed_fsync_loses_only_the_bytes_of_its_own_file() -> None:
    disk, at = synced()
    for name in ("a", "b"):
        with_fd(disk, disk.open_lock(at, name), lambda fd: disk.write(fd, b"new", 0))
    disk.hook = fail_sync_at(0)
    with pytest.raises(OSError):
        with_fd(disk, disk.open_file(at, "a"), disk.fsync)
    disk.syncfs(at)
    found = snapshot(disk.crash()).names
    assert (found["a"], found["b"]) == (File(b"old a"), File(b"new b"))


def test_lost_bytes_are_seen_to_be_gone_once_the_cache_is_dropped() -> None:
    disk, at = synced()
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"COMMIT", 5)
    disk.hook = fail_sync_at(0)
    with pytest.raises(OSError):
        disk.fsync(fd)
    disk.drop_cache(fd)
    assert disk.pread(fd, 100, 0) == b"old a" + b"\0" * 6


def test_bytes_written_again_after_a_failed_sync_survive() -> None:
    disk, at = synced()
    fd = disk.open_lock(at, "a")
    disk.write(fd, b"new a", 0)
    disk.hook = fail_sync_at(0)
    with pytest.raises(OSError):
        disk.fsync(fd)
    disk.write(fd, b"new a", 0)
    disk.fsync(fd)
    assert snapshot(disk.crash()).names["a"] == File(b"new a")


# -- inode numbers


def test_an_ordered_disk_gives_the_lowest_free_inode_number_again_at_once() -> None:
    disk, at = synced("ordered")
    former, generation = disk.lstat(at, "a").st_ino, disk.generation(at, "a")
    disk.unlink(at, "a")
    disk.close(disk.create(at, "new"))
    assert disk.lstat(at, "new").st_ino == former
    assert disk.generation(at, "new") != generation
    for tree in (disk.crash(), disk.crash({0}), disk.crash({0, 1})):
        numbers = [inode.number for inode in tree.state.values()]
        assert len(numbers) == len(set(numbers))


def test_a_weak_disk_gives_an_inode_number_again_once_its_loss_is_durable() -> None:
    disk, at = synced("weak")
    former = disk.lstat(at, "a").st_ino
    disk.unlink(at, "a")
    disk.close(disk.create(at, "early"))
    assert disk.lstat(at, "early").st_ino != former
    disk.fsync(at)
    disk.close(disk.create(at, "late"))
    assert disk.lstat(at, "late").st_ino == former


def test_the_number_of_an_unlinked_open_file_is_not_given_again() -> None:
    disk, at = synced("ordered")
    fd = disk.open_file(at, "a")
    disk.unlink(at, "a")
    disk.close(disk.create(at, "new"))
    assert disk.lstat(at, "new").st_ino != disk.fstat(fd).st_ino


@both
def test_numbers_stay_unique_whatever_happens(profile: Profile) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        disk = SimDisk(profile)
        for _ in range(60):
            churn(disk, rng)
            if rng.random() < 0.1:
                disk = disk.crash(*rng.choice(list(disk.crash_states(rng, 20))))
            numbers = [inode.number for inode in disk.state.values()]
            assert len(numbers) == len(set(numbers))
            if rng.random() < 0.1:
                with_fd(disk, disk.open_root("/"), disk.syncfs)


def churn(disk: SimDisk, rng: random.Random) -> None:
    """One random change, refused or not."""
    root = disk.open_root("/")
    name, other = rng.choice("abcdef"), rng.choice("abcdef")
    fds = [root]
    try:
        fds.append(disk.open_dir(root, rng.choice("abcdef")))
    except OSError:
        fds.append(disk.open_dir(root, "."))
    at, to = rng.choice(fds), rng.choice(fds)
    verbs: list[Callable[[], object]] = [
        lambda: put(disk, at, name, b"bytes"),
        lambda: disk.mkdir(at, name),
        lambda: disk.exchange(at, name, to, other),
        lambda: disk.rename_new(at, name, to, other),
        lambda: disk.replace(at, name, to, other),
        lambda: disk.link(at, name, to, other),
        lambda: disk.unlink(at, name),
        lambda: disk.rmdir(at, name),
        lambda: disk.set_meta_at(at, name, -1, -1, 0o640, rng.randrange(1 << 40)),
        lambda: with_fd(disk, disk.open_lock(at, name), lambda fd: disk.write(fd, b"more", rng.randrange(9))),
        lambda: with_fd(disk, disk.open_lock(at, name), lambda fd: disk.truncate(fd, rng.randrange(9))),
        lambda: disk.fsync(at),
        lambda: with_fd(disk, disk.open_file(at, name), disk.fsync),
    ]
    try:
        rng.choice(verbs)()
    except OSError:
        pass
    finally:
        for fd in fds:
            disk.close(fd)


@both
def test_nothing_differs_after_a_crash_in_which_everything_survived(profile: Profile) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        disk = SimDisk(profile)
        for step in range(80):
            churn(disk, rng)
            if step % 8 == 0:
                after = disk.crash(everything(disk))
                assert snapshot(after, owners=True, directory_times=True) == snapshot(
                    disk, owners=True, directory_times=True
                )
                assert {s: i.links for s, i in after.state.items()} == {
                    s: i.links for s, i in disk.state.items()
                }


@both
def test_a_full_sync_leaves_the_same_on_the_medium_whatever_was_synced_before(profile: Profile) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        disk = SimDisk(profile)
        for _ in range(80):
            churn(disk, rng)
        with_fd(disk, disk.open_root("/"), disk.syncfs)
        assert not disk.pending
        assert disk.crash().state == disk.state


# -- the states to try


@both
def test_every_state_is_tried_when_few_effects_are_pending(profile: Profile) -> None:
    disk, at = synced(profile)
    for number in range(3):
        disk.mkdir(at, f"{number}")
    kept = {frozenset(keep) for keep, _ in disk.crash_states(random.Random(0))}
    assert len(kept) == (8 if profile == "weak" else 4)


def test_every_subset_is_told_in_order_as_the_profile_allows() -> None:
    for profile, count in (("weak", 2**6), ("ordered", 6 * 2)):
        disk, at = synced(profile)  # type: ignore[arg-type]
        for name in "1234":
            disk.mkdir(at, name)
        put(disk, at, "5", b"x")
        kept = [keep for keep, _ in disk.every_crash_state()]
        assert len(kept) == len(set(kept)) == count
        for keep in kept:
            disk.crash(keep)
        later = {keep for keep, _ in disk.every_crash_state(known=3)}
        assert later == {keep for keep in kept if max(keep, default=0) >= 3}
        assert list(disk.every_crash_state(most=count - 1)) == []


@both
def test_when_many_are_pending_the_telling_states_come_and_the_limit_holds(profile: Profile) -> None:
    disk, at = synced(profile)
    for number in range(20):
        put(disk, at, f"{number}", b"bytes")
    everything_kept = frozenset(everything(disk))
    choices = list(disk.crash_states(random.Random(0), limit=500))
    kept = [keep for keep, _ in choices]
    assert kept[:2] == [frozenset(), everything_kept]
    assert len(choices) == 500 == len({(keep, tuple(torn.items())) for keep, torn in choices})
    assert any(torn for _, torn in choices)
    if profile == "weak":
        assert {everything_kept - {index} for index in everything_kept} <= set(kept)
        assert {frozenset(range(count)) for count in everything_kept} <= set(kept)
    assert choices == list(disk.crash_states(random.Random(0), limit=500))
    for keep, torn in choices:
        disk.crash(keep, torn)


# -- what a disk cannot do


def test_a_capability_that_is_off_is_found_to_be_missing_by_the_probe() -> None:
    everywhere = {"exchange": True, "rename_new": True, "link": True, "syncfs_trusted": True}
    for place, trait in enumerate([*everywhere, ""]):
        disk, at = synced(**({trait: False} if trait else {}))
        disk.mkdir(at, "probe")
        below = disk.open_dir(at, "probe")
        assert probe(disk, below) == Capabilities(*(each != place for each in range(4)))


def test_a_syncfs_that_is_not_trusted_lies() -> None:
    disk, at = synced(syncfs_trusted=False)
    disk.mkdir(at, "new")
    disk.syncfs(at)
    assert snapshot(disk.crash()) == OLD


def test_a_read_only_disk_refuses_every_change() -> None:
    disk = SimDisk(read_only=True)
    at = disk.open_root("/")
    assert disk.space(at).read_only
    with pytest.raises(OSError) as failure:
        disk.mkdir(at, "new")
    assert failure.value.errno == errno.EROFS


def test_a_name_limit_and_free_room_are_what_the_test_says() -> None:
    disk = SimDisk(name_max=8, bytes_free=10, inodes_free=None)
    at = disk.open_root("/")
    assert disk.space(at)[1:] == (10, None, 8, False)
    disk.mkdir(at, "8" * 8)
    with pytest.raises(OSError) as failure:
        disk.mkdir(at, "9" * 9)
    assert failure.value.errno == errno.ENAMETOOLONG


# -- times


def test_no_two_changes_have_the_same_time() -> None:
    disk, at = synced()
    times = []
    for name in "1234":
        disk.mkdir(at, name)
        times.append(disk.fstat(at).st_mtime_ns)
    assert all(one < two for one, two in pairwise(times))
    after = disk.crash()
    root = after.open_root("/")
    after.mkdir(root, "later")
    assert after.fstat(root).st_mtime_ns > times[-1]


# -- literals


@both
def test_a_snapshot_is_what_reading_through_the_verbs_gives(profile: Profile) -> None:
    disk, at = synced(profile)
    disk.symlink("target", at, "link")
    for options in ({}, {"owners": True, "directory_times": True}):
        one, two = read(disk, at, **options), snapshot(disk, **options)
        assert one == two
        assert repr(one) == repr(two)
    assert snapshot(disk, "dir") == OLD.names["dir"]
    assert snapshot(disk, skip=("a", "inner")).names.keys() == {"b", "dir", "link"}


def test_a_literal_compares_only_what_it_names() -> None:
    assert File(b"x", mtime_ns=1) == File(b"x")
    assert File(b"x", mtime_ns=1) != File(b"x", mtime_ns=2)
    assert File(b"x", mode=None) == File(b"x", mode=0o600)
    assert File(b"x", mode=0o644) != File(b"x", mode=0o600)
    assert File(b"x") != File(b"y")
    assert Dir({"a": File(b"x", mtime_ns=1)}) == Dir({"a": File(b"x")})
    assert Dir({"a": File(b"")}) != Dir({"b": File(b"")})
    assert Link("x") != File(b"x")


def test_a_literal_is_shown_as_it_would_be_written() -> None:
    text = "Dir({'a': File(b'x', mode=0o600, mtime_ns=5), 'l': Link('a')})"
    assert repr(Dir({"a": File(b"x", mode=0o600, mtime_ns=5), "l": Link("a")})) == text
