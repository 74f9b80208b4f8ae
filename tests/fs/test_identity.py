"""What of an identity that was written down must be the same, and what does not last."""

from __future__ import annotations

import os

from atomsync.fs.identity import Filesystem, Identity, Seen


def seen(kind: str, number: int, device: tuple[int, int], boot: str = "one", point: str = "/mnt") -> Seen:
    found = Identity(12, 0, Filesystem(os.makedev(*device), number, point, "/", kind))
    return Seen.of(found)._replace(boot=boot)


def test_a_filesystem_without_a_device_and_a_number_has_another_device_at_each_mount() -> None:
    for kind in ("nfs4", "fuse.sshfs", "9p"):
        assert seen(kind, 0, (0, 51)).same_filesystem(seen(kind, 0, (0, 63)))
        assert not seen(kind, 0, (0, 51)).same_filesystem(seen("ext4", 7, (8, 1)))


def test_a_number_made_of_the_device_counts_until_the_system_starts_again() -> None:
    assert not seen("vfat", 0x811, (8, 17)).same_filesystem(seen("vfat", 0x821, (8, 33)))
    assert seen("vfat", 0x811, (8, 17)).same_filesystem(seen("vfat", 0x821, (8, 33), "two"))
    assert seen("f2fs", 0x811, (8, 17)).same_filesystem(seen("f2fs", 0x821, (8, 33), "two"))


def test_a_number_that_is_stored_counts_for_ever_and_its_device_never() -> None:
    assert seen("ext4", 7, (8, 17)).same_filesystem(seen("ext4", 7, (8, 33)))
    assert not seen("ext4", 7, (8, 17)).same_filesystem(seen("ext4", 8, (8, 17)))
    assert not seen("ext4", 7, (8, 17)).same_filesystem(seen("ext4", 8, (8, 17), "two"))


def test_subvolumes_of_one_btrfs_are_one_filesystem_only_where_that_is_asked_for() -> None:
    one, other = seen("btrfs", 0x101_0000_0ABC, (0, 51)), seen("btrfs", 0x102_0000_0ABC, (0, 63))
    assert one.same_filesystem(other, subvolumes=True)
    assert not one.same_filesystem(other)
    assert not one.same_filesystem(seen("btrfs", 0x101_0000_0ABD, (0, 51)), subvolumes=True)


def test_a_place_is_a_mount_point_or_where_another_mount_leads_on_the_same_filesystem() -> None:
    whole = seen("ext4", 7, (8, 1), point="/")
    bound = whole._replace(point="/srv/www", root="/srv/www")
    assert whole.same_place(bound, "/srv/www/htdocs")
    assert bound.same_place(whole, "/srv/www")
    assert not bound._replace(root="/data").same_place(whole, "/srv/www")
    assert bound._replace(root="/data").same_place(bound, "/srv/www")
