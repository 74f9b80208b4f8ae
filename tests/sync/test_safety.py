"""What a push does not do untold: mass removals, other disks, other people's edits, another order."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync import Filters, Report, open_store, push
from atomsync.errors import AccessError, Drift, GuardTripped, RootReplaced, UsageError
from atomsync.store.journal import decode
from atomsync.store.progress import Progress
from atomsync.sync.drift import Drifted

Plant = Callable[..., Path]
Unchanged = Callable[..., Any]
MANY: dict[str, bytes | str | None] = {f"file {number:02}": b"content" for number in range(30)}


class At(Progress):
    """Does something when a phase begins."""

    def __init__(self, **actions: Callable[[str], object]) -> None:
        self._actions = actions

    def phase(self, name: str, files: int = 0, size: int = 0) -> None:
        if name in self._actions:
            self._actions[name](f"it came to {name}")


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    (tmp_path / "src").mkdir()
    return plant(tmp_path / "src", MANY)


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "dst"


@pytest.fixture
def pair(src: Path, dst: Path) -> tuple[Path, Path]:
    push(src, dst)
    return src, dst


def remove(where: Path, count: int) -> None:
    for path in sorted(where.glob("file *"))[:count]:
        path.unlink()


def names(where: Path) -> set[str]:
    return {path.name for path in where.iterdir()} - {".atomsync"}


# -- mass removals


def test_more_than_half_does_not_go_without_leave(pair: tuple[Path, Path], unchanged: Unchanged) -> None:
    src, dst = pair
    remove(src, 16)
    with unchanged(dst), pytest.raises(GuardTripped) as refusal:
        push(src, dst, delete=True)
    assert "remove 16 of 30 entries (53 %)" in refusal.value.what
    assert "file 00" in refusal.value.why
    assert "--max-delete" in refusal.value.hint
    assert push(src, dst, delete=True, max_delete=16).receipt.removed == 16  # type: ignore[union-attr]


def test_half_of_it_may_go(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    remove(src, 15)
    push(src, dst, delete=True)
    assert names(dst) == names(src)


def test_nothing_is_staged_for_what_is_refused(pair: tuple[Path, Path], unchanged: Unchanged) -> None:
    src, dst = pair
    remove(src, 20)
    (src / "big").write_bytes(bytes(1 << 20))
    with unchanged(dst), pytest.raises(GuardTripped):
        push(src, dst, delete=True, progress=At(stage=pytest.fail))


def test_excluded_files_are_no_part_of_what_there_is(pair: tuple[Path, Path], plant: Plant) -> None:
    src, dst = pair
    plant(dst, {f"log {number}": b"x" for number in range(100)})
    remove(src, 16)
    with pytest.raises(GuardTripped, match="of 30 entries"):
        push(src, dst, delete=True, filters=Filters(["log*"]))


def test_an_emptied_source_removes_nothing_however_little_there_is(
    tmp_path: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    src = plant(tmp_path / "few", {"a": b"1", "b": b"2"})
    push(src, dst)
    remove_all(src)
    for dry_run in (True, False):
        with unchanged(dst), pytest.raises(GuardTripped, match="the source is empty"):
            push(src, dst, delete=True, dry_run=dry_run)
    push(src, dst)  # without --delete nothing goes anyway
    assert names(dst) == {"a", "b"}
    push(src, dst, delete=True, max_delete="100%")
    assert names(dst) == set()


def remove_all(where: Path) -> None:
    for path in where.iterdir():
        path.unlink()


def test_files_emptied_all_at_once_are_not_followed(pair: tuple[Path, Path], unchanged: Unchanged) -> None:
    src, dst = pair
    for path in src.iterdir():
        path.write_bytes(b"")
    with unchanged(dst), pytest.raises(GuardTripped, match="replace by empty files 30 of 30"):
        push(src, dst)
    push(src, dst, max_delete="100%")
    assert (dst / "file 00").read_bytes() == b""


def test_a_directory_that_gives_way_counts_with_all_that_was_in_it(
    tmp_path: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    src = plant(tmp_path / "tree", {f"d/{name}": what for name, what in MANY.items()})
    push(src, dst)
    shutil.rmtree(src / "d")
    (src / "d").write_bytes(b"a file now")
    with unchanged(dst), pytest.raises(GuardTripped, match="remove 30 of 31"):
        push(src, dst, delete=True)


def test_a_limit_that_is_no_limit_is_refused_before_anything_else(src: Path, dst: Path) -> None:
    with pytest.raises(UsageError, match="cannot use 'some'"):
        push(src, dst, max_delete="some")
    assert not dst.exists()


# -- roots


def test_a_source_that_is_not_mounted_any_more_is_no_source(
    small_fs: Any, tmp_path: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    src = small_fs("ext4")
    plant(src, MANY)
    push(src, dst)
    subprocess.run(["umount", src], check=True)
    small_fs.points.remove(src)
    plant(src, {"what the disk hid": b"x"})
    with unchanged(dst), pytest.raises(RootReplaced) as refusal:
        push(src, dst)
    assert "is not what the last unit saw" in refusal.value.what
    assert "ext4" in refusal.value.why
    assert "not mounted there now" in refusal.value.why
    assert "--accept-roots" in refusal.value.hint
    push(src, dst, accept_roots=True)
    push(src, dst)
    assert (dst / "what the disk hid").exists()


def test_another_disk_in_the_same_place_is_another_source(
    small_fs: Any, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    src = small_fs("ext4")
    plant(src, MANY)
    push(src, dst)
    subprocess.run(["umount", src], check=True)
    small_fs.points.remove(src)
    small_fs.tmpfs(src)
    plant(src, MANY)
    with unchanged(dst), pytest.raises(RootReplaced, match="is not what the last unit saw"):
        push(src, dst)


def test_the_same_disk_mounted_again_is_the_same_source(small_fs: Any, dst: Path, plant: Plant) -> None:
    src = small_fs("ext4")
    plant(src, MANY)
    push(src, dst)
    subprocess.run(["umount", src], check=True)
    subprocess.run(["mount", "-o", "loop", src.with_suffix(".image"), src], check=True)
    (src / "new").write_bytes(b"x")
    push(src, dst)
    assert (dst / "new").exists()


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def test_a_source_in_a_sandbox_of_bind_mounts_is_the_same_source(
    small_fs: Any, src: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    mounted = small_fs("ext4")
    bound = plant(mounted / "bound", MANY)
    push(bound, dst)
    small_fs.bind(bound, bound)
    (bound / "new").write_bytes(b"x")
    push(bound, dst)
    small_fs.bind(src, bound)  # on another filesystem
    with unchanged(dst), pytest.raises(RootReplaced):
        push(bound, dst)


def test_an_unmounted_bind_mount_of_the_same_filesystem_is_not_the_source(
    small_fs: Any, src: Path, dst: Path, tmp_path: Path, unchanged: Unchanged
) -> None:
    bound = tmp_path / "bound"
    bound.mkdir()
    small_fs.bind(src, bound)
    push(bound, dst)
    small_fs.unmount(bound)
    with unchanged(dst), pytest.raises(RootReplaced, match="is not mounted there now"):
        push(bound, dst)


def test_a_new_snapshot_by_the_name_of_the_one_before_is_the_same_source(
    small_fs: Any, dst: Path, plant: Plant
) -> None:
    where = small_fs("btrfs", 128)
    run("btrfs", "subvolume", "create", where / "home")
    for number in range(2):
        plant(where / "home", {f"file {number}": b"x"})
        run("btrfs", "subvolume", "snapshot", "-r", where / "home", where / "snapshot")
        push(where / "snapshot", dst)
        run("btrfs", "subvolume", "delete", where / "snapshot")
    assert names(dst) == {"file 0", "file 1"}


def test_the_overlay_of_another_container_is_the_same_source(
    small_fs: Any, public_dir: Path, dst: Path, plant: Plant
) -> None:
    for number in range(2):
        upper, point = small_fs("tmpfs"), public_dir / "root"
        plant(upper, {"work": None, "lower": None, f"upper/src/file {number}": b"x"})
        point.mkdir(exist_ok=True)
        small_fs.overlay(upper, point)
        push(point / "src", dst)
        small_fs.unmount(point)
    assert names(dst) == {"file 0", "file 1"}


def test_a_disk_that_got_another_device_number_is_the_same_source(
    small_fs: Any, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    other, src = small_fs("xfs", 320), small_fs("xfs", 320)
    plant(src, {"file 0": b"x"})
    push(src, dst)
    for point in (src, other):
        run("umount", point)
    for point in (src, other):  # in this order they get each other's
        run("mount", "-o", "loop", point.with_suffix(".image"), point)
    plant(src, {"file 1": b"x"})
    push(src, dst)
    small_fs.bind(other, src)
    with unchanged(dst), pytest.raises(RootReplaced, match="is on another filesystem now"):
        push(src, dst)


def test_an_unmounted_filesystem_within_the_source_removes_nothing(
    small_fs: Any, src: Path, dst: Path, plant: Plant, unchanged: Unchanged
) -> None:
    (src / "m").mkdir()
    small_fs.tmpfs(src / "m")
    plant(src, {"m/a": b"1", "m/b": b"2"})
    push(src, dst)
    small_fs.unmount(src / "m")
    (src / "new").write_bytes(b"x")
    push(src, dst)  # without --delete there is no harm in it
    for dry_run in (True, False):
        with unchanged(dst), pytest.raises(RootReplaced, match="m in the source was a mounted filesystem"):
            push(src, dst, delete=True, dry_run=dry_run)
    push(src, dst, delete=True, filters=Filters(["/m/*"]))
    with unchanged(dst), pytest.raises(RootReplaced, match="--accept-roots"):
        push(src, dst, delete=True)
    push(src, dst, delete=True, accept_roots=True)
    assert not any((dst / "m").iterdir())


def test_a_filesystem_mounted_within_the_source_may_hold_less_and_may_be_another(
    small_fs: Any, src: Path, dst: Path, plant: Plant
) -> None:
    (src / "m").mkdir()
    for names_in_it in ({"a", "b"}, {"b"}, {"c"}):
        small_fs.tmpfs(src / "m")
        plant(src, {f"m/{name}": b"1" for name in names_in_it})
        push(src, dst, delete=True)
        assert names(dst / "m") == names_in_it
        small_fs.unmount(src / "m")


def test_a_source_that_was_built_anew_in_its_place_is_the_same_source(
    pair: tuple[Path, Path], plant: Plant
) -> None:
    src, dst = pair
    src.rename(src.with_name("before"))
    src.mkdir()
    plant(src, {**MANY, "new": b"x"})
    push(src, dst, delete=True)
    assert (dst / "new").exists()


def test_a_copy_of_a_destination_is_not_the_destination(
    pair: tuple[Path, Path], tmp_path: Path, unchanged: Unchanged
) -> None:
    src, dst = pair
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", dst, copy], check=True)
    (src / "new").write_bytes(b"x")
    with unchanged(copy), pytest.raises(RootReplaced, match="another directory now"):
        push(src, copy)
    push(src, copy, accept_roots=True)
    (src / "newer").write_bytes(b"x")
    push(src, copy)
    assert (copy / "newer").exists()


def test_a_destination_that_was_renamed_is_the_same_destination(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    moved = dst.rename(dst.with_name("moved"))
    (src / "new").write_bytes(b"x")
    push(src, moved)
    assert (moved / "new").exists()


def test_each_source_of_a_destination_is_known_for_itself(
    pair: tuple[Path, Path], tmp_path: Path, plant: Plant
) -> None:
    dst = pair[1]
    push(plant(tmp_path / "other", {"other": b"x"}), dst)
    push(pair[0], dst)
    assert (dst / "other").exists()


def test_a_destination_without_a_unit_is_refused_where_one_is_expected(src: Path, dst: Path) -> None:
    for made in (False, True):
        if made:
            dst.mkdir()
        with pytest.raises(GuardTripped) as refusal:
            push(src, dst, expect_store=True)
        assert "no unit was ever committed" in refusal.value.why
        assert dst.exists() is made
        assert not made or not any(dst.iterdir())
    push(src, dst)
    push(src, dst, expect_store=True)


def test_an_unmounted_destination_is_not_filled_where_a_store_is_expected(
    small_fs: Any, src: Path, unchanged: Unchanged
) -> None:
    point = small_fs("ext4")
    push(src, point)
    subprocess.run(["umount", point], check=True)
    small_fs.points.remove(point)
    with unchanged(point), pytest.raises(GuardTripped, match="is no destination of atomsync yet"):
        push(src, point, expect_store=True)


# -- permission


@pytest.fixture
def pin() -> Iterator[Callable[[str, Path], None]]:
    """Sets a flag with chattr, and takes it off again."""
    pinned: list[tuple[str, Path]] = []

    def chattr(flag: str, path: Path) -> None:
        done = subprocess.run(["chattr", f"+{flag}", path], check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no such flags here: {done.stderr.strip()}")
        pinned.append((flag, path))

    yield chattr
    for flag, path in pinned:
        subprocess.run(["chattr", f"-{flag}", path], check=True)


@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize("what", ["file", "directory"])
def test_immutable_and_append_only_paths_are_named_before_a_byte_is_staged(
    flag: str,
    what: str,
    small_fs: Any,
    tmp_path: Path,
    plant: Plant,
    unchanged: Unchanged,
    pin: Callable[[str, Path], None],
) -> None:
    src, dst = plant(tmp_path / "src", {"d/file": b"1", "other": b"1"}), small_fs("ext4") / "dst"
    push(src, dst)
    plant(src, {"d/file": b"22", "other": b"22"})
    pin(flag, dst / "d/file" if what == "file" else dst / "d")
    with unchanged(dst), pytest.raises(AccessError) as refusal:
        push(src, dst)
    assert "d/file (" in refusal.value.why
    assert "immutable or append-only" in refusal.value.why
    assert "other" not in refusal.value.why
    assert "lsattr" in refusal.value.hint


def test_waste_that_cannot_be_deleted_keeps_nobody_from_pushing(
    small_fs: Any, tmp_path: Path, plant: Plant
) -> None:
    """An immutable file goes along with its directory, and cannot be deleted when its unit is given up."""
    src, dst = plant(tmp_path / "src", {"d/file": b"1", "other": b"1"}), small_fs("ext4") / "dst"
    push(src, dst)
    if subprocess.run(["chattr", "+i", dst / "d/file"], check=False, capture_output=True).returncode:
        pytest.skip("no such flags here")
    (src / "d/file").unlink()
    (src / "d").rmdir()
    for number in range(3):
        plant(src, {"other": b"1" * (number + 2)})
        receipt = push(src, dst, delete=True, keep=0).receipt
        assert receipt is not None
        (warning,) = receipt.warnings
        assert "is waste that cannot be deleted (file: Operation not permitted)" in warning
    (waste,) = (dst / ".atomsync/retired").iterdir()
    subprocess.run(["chattr", "-R", "-i", waste], check=True)
    plant(src, {"other": b"2"})
    receipt = push(src, dst, keep=0).receipt
    assert receipt is not None
    assert receipt.warnings == ()
    assert not any((dst / ".atomsync/retired").iterdir())


def test_a_directory_of_somebody_else_is_named_before_a_byte_is_staged(
    atomsync: Any, public_dir: Path, plant: Plant, unchanged: Unchanged
) -> None:
    nobody = 65534
    src, dst = public_dir / "src", public_dir / "dst"
    plant(src, {"closed/a": b"1", "open/b": b"1", **{f"f{n}": b"x" * 5000 for n in range(50)}})
    plant(dst, {"closed/a": b"22", "open/b": b"22"})
    for path in (dst, dst / "open"):
        os.chown(path, nobody, nobody)
    with unchanged(dst):
        done = atomsync("push", src, dst, user=nobody)
    assert done.returncode == 13
    assert "closed/a (its directory may not be written)" in done.stderr
    assert "open/b" not in done.stderr


# -- drift


def drift_of(report: Report) -> list[Drifted]:
    return list(report.drifted)


@pytest.fixture
def drifted(pair: tuple[Path, Path]) -> tuple[Path, Path]:
    """An operator edits one file at the destination, removes one, adds one, and puts a link in place of one;
    the source changes another."""
    src, dst = pair
    (dst / "file 00").write_bytes(b"edited by hand")
    (dst / "file 01").unlink()
    (dst / "added").write_bytes(b"by hand")
    (dst / "file 02").unlink()
    (dst / "file 02").symlink_to("file 03")
    (src / "file 05").write_bytes(b"the source's own change")
    return src, dst


DRIFT = [
    Drifted("added", "added"),
    Drifted("file 00", "edited"),
    Drifted("file 01", "removed"),
    Drifted("file 02", "replaced by a link"),
]


def test_by_default_the_source_wins_and_the_other_versions_are_in_the_history(
    drifted: tuple[Path, Path], assert_same_tree: Callable[..., None], history: Callable[..., list[str]]
) -> None:
    src, dst = drifted
    report = push(src, dst, delete=True)
    assert drift_of(report) == DRIFT
    assert not report.kept
    assert_same_tree(src, dst)
    kept = dst / ".atomsync/history" / history(dst)[-1] / "slots"
    held = {path.read_bytes() for path in kept.iterdir() if path.is_file() and not path.is_symlink()}
    assert {b"edited by hand", b"by hand"} <= held


def test_drift_is_refused_on_demand_and_listed(drifted: tuple[Path, Path], unchanged: Unchanged) -> None:
    src, dst = drifted
    with unchanged(dst), pytest.raises(Drift) as refusal:
        push(src, dst, delete=True, on_drift="refuse")
    assert refusal.value.code == "drift"
    assert "4 paths" in refusal.value.what
    assert "file 00 (edited)" in refusal.value.why
    assert "added (added)" in refusal.value.why
    assert "file 05" not in refusal.value.why
    assert "--on-drift overwrite" in refusal.value.hint


def test_drift_is_kept_on_demand_and_the_rest_goes_on(drifted: tuple[Path, Path]) -> None:
    src, dst = drifted
    for _ in range(2):
        report = push(src, dst, delete=True, on_drift="keep")
        assert drift_of(report) == DRIFT
        assert report.kept
        assert (dst / "file 00").read_bytes() == b"edited by hand"
        assert not (dst / "file 01").exists()
        assert (dst / "file 02").is_symlink()
        assert (dst / "added").read_bytes() == b"by hand"
        assert (dst / "file 05").read_bytes() == b"the source's own change"


def test_without_delete_what_was_added_is_in_nobodys_way(drifted: tuple[Path, Path]) -> None:
    src, dst = drifted
    assert drift_of(push(src, dst)) == DRIFT[1:]


def test_what_was_there_before_the_first_unit_is_no_drift(
    src: Path, dst: Path, plant: Plant, tmp_path: Path
) -> None:
    plant(dst, {"older": b"x", "d/older": b"x", "file 00": b"another"})
    assert drift_of(push(src, dst, on_drift="refuse")) == []
    (src / "file 01").write_bytes(b"new")
    assert drift_of(push(src, dst, on_drift="refuse")) == []
    os.chmod(src / "file 02", 0o600)
    push(src, dst)
    assert drift_of(push(src, dst, delete=True, on_drift="refuse")) == []
    assert not (dst / "older").exists()


def test_a_file_that_was_there_before_and_was_touched_since_is_drift(
    src: Path, dst: Path, plant: Plant
) -> None:
    plant(dst, {"older": b"x"})
    push(src, dst)
    (dst / "older").write_bytes(b"touched")
    with pytest.raises(Drift, match="changed a path"):
        push(src, dst, delete=True, on_drift="refuse")


def test_a_directory_that_was_moved_to_the_destination_is_drift_however_old_its_files_are(
    src: Path, dst: Path, tmp_path: Path, plant: Plant, unchanged: Unchanged
) -> None:
    older = plant(tmp_path / "older", {"sub/file": b"x", "empty": None})
    push(src, dst)
    older.rename(dst / "older")
    expected = [Drifted(path, "added") for path in ("older", "older/empty", "older/sub", "older/sub/file")]
    with unchanged(dst), pytest.raises(Drift):
        push(src, dst, delete=True, on_drift="refuse")
    assert drift_of(push(src, dst, delete=True, on_drift="keep", dry_run=True)) == expected
    assert drift_of(push(src, dst, delete=True, on_drift="keep")) == expected
    assert (dst / "older/sub/file").exists()


def test_a_time_that_the_manifest_cannot_hold_is_no_drift(src: Path, dst: Path) -> None:
    for content in (b"1", b"22"):
        (src / "file 00").write_bytes(content)
        subprocess.run(["touch", "-d", "2300-01-01", src / "file 00"], check=True)
        if (src / "file 00").stat().st_mtime_ns < 1 << 63:
            pytest.skip("no such times here")
        assert drift_of(push(src, dst)) == []


def test_units_of_the_library_leave_no_drift_behind(pair: tuple[Path, Path]) -> None:
    src, dst = pair
    with open_store(dst).begin() as unit:
        unit.write("file 00", b"by a program")
        unit.move("file 01", "moved")
        unit.chmod("file 02", 0o600)
        unit.mkdir("made")
        unit.write("made/inside", b"x")
    assert drift_of(push(src, dst, delete=True, on_drift="refuse")) == []


def test_a_directory_into_which_something_was_put_keeps_it(tmp_path: Path, dst: Path, plant: Plant) -> None:
    src = plant(tmp_path / "tree", {"d/a": b"1", "e/a": b"1", "f": b"1"})
    push(src, dst)
    (dst / "d/by hand").write_bytes(b"x")
    shutil.rmtree(src / "d")
    shutil.rmtree(src / "e")
    report = push(src, dst, delete=True, on_drift="keep")
    assert drift_of(report) == [Drifted("d/by hand", "added")]
    assert (dst / "d/by hand").exists()
    assert not (dst / "d/a").exists()
    assert not (dst / "e").exists()


def test_a_directory_that_should_become_a_file_stays_with_what_was_put_into_it(
    tmp_path: Path, dst: Path, plant: Plant
) -> None:
    src = plant(tmp_path / "tree", {"d/a": b"1", "f": b"1"})
    push(src, dst)
    (dst / "d/a").write_bytes(b"by hand")
    shutil.rmtree(src / "d")
    plant(src, {"d": b"a file now", "f": b"22"})
    push(src, dst, delete=True, on_drift="keep")
    assert (dst / "d/a").read_bytes() == b"by hand"
    assert (dst / "f").read_bytes() == b"22"


def test_mode_and_owner_are_drift_and_a_directorys_time_is_not(
    tmp_path: Path, dst: Path, plant: Plant
) -> None:
    src = plant(tmp_path / "tree", {"d/a": b"1", "b": b"1"})
    push(src, dst)
    os.utime(dst / "d", ns=(5, 5))
    os.chmod(dst / "b", 0o600)
    assert drift_of(push(src, dst)) == [Drifted("b", "edited")]


def test_a_word_that_is_no_way_to_treat_drift_is_refused(src: Path, dst: Path) -> None:
    with pytest.raises(UsageError, match="on_drift"):
        push(src, dst, on_drift="ignore")
    assert not dst.exists()


# -- what the command says


def test_the_command_tells_of_drift_to_people_and_to_programs(
    drifted: tuple[Path, Path], atomsync: Any
) -> None:
    src, dst = drifted
    done = atomsync("push", "-n", "--delete", src, dst)
    assert done.returncode == 0, done.stderr
    assert "somebody else changed 4 paths here since the last unit, which this would overwrite" in done.stderr
    assert atomsync("push", "-n", "--on-drift", "refuse", src, dst).returncode == 41
    done = atomsync("push", "--on-drift", "refuse", "--delete", src, dst)
    assert done.returncode == 41
    assert "file 00 (edited)" in done.stderr
    done = atomsync("push", "--on-drift", "keep", "--json", src, dst)
    assert '"event": "drift", "path": "file 00", "why": "edited", "kept": true' in done.stdout
    done = atomsync("push", "--delete", src, dst)
    assert done.returncode == 0
    assert "drift: somebody else changed 4 paths here since the last unit" in done.stderr
    assert "has what was there, as long as the history goes back" in done.stderr


def test_the_command_refuses_a_mass_removal_with_its_own_status(
    pair: tuple[Path, Path], atomsync: Any
) -> None:
    src, dst = pair
    remove(src, 20)
    done = atomsync("push", "--delete", src, dst)
    assert done.returncode == 25
    assert done.stderr.startswith(
        "atomsync: this unit would remove 20 of 30 entries (66 %): the most it may is 50 %"
    )
    assert atomsync("push", "--delete", "--max-delete", "70%", src, dst).returncode == 0
    done = atomsync("push", "--delete", "--max-delete", "lots", src, dst)
    assert done.returncode == 1
    assert "neither a number such as 100" in done.stderr


# -- order


def order_of(dst: Path, unit_id: str) -> list[str]:
    journal = decode((dst / ".atomsync/history" / unit_id / "journal").read_bytes())
    return [f"{step.kind} {step.path}" for step in journal.steps if step.kind != "meta"]


def test_what_comes_last_comes_after_what_it_refers_to_and_before_removals(
    tmp_path: Path, dst: Path, plant: Plant
) -> None:
    src = plant(
        tmp_path / "site", {"index.html": b"1", "style.css": b"1", "sub/index.html": b"1", "old": b"1"}
    )
    push(src, dst)
    (src / "old").unlink()
    plant(
        src,
        {"index.html": b"22", "style.css": b"22", "sub/index.html": b"22", "a/index.html": b"1", "z": b"1"},
    )
    report = push(src, dst, delete=True, last=["index.html"])
    assert report.receipt is not None
    assert order_of(dst, report.receipt.unit_id) == [
        "create a",
        "create z",
        "replace style.css",
        "replace index.html",
        "replace sub/index.html",
        "remove old",
    ]


def test_a_file_that_comes_last_may_be_a_new_one(tmp_path: Path, dst: Path, plant: Plant) -> None:
    src = plant(tmp_path / "site", {"a": b"1"})
    push(src, dst)
    plant(src, {"a": b"22", "0-ready": b"1"})
    report = push(src, dst, last=["0-ready"])
    assert report.receipt is not None
    assert order_of(dst, report.receipt.unit_id) == ["replace a", "create 0-ready"]


def test_all_in_a_directory_that_is_to_come_last_comes_last_and_so_does_the_directory(
    tmp_path: Path, dst: Path, plant: Plant
) -> None:
    src = plant(tmp_path / "site", {"live/a": b"1", "z": b"1"})
    push(src, dst)
    plant(src, {"live/a": b"22", "live/b": b"1", "a/live/b": b"1", "z": b"22", "z-live": b"1"})
    report = push(src, dst, last=["live/"])
    assert report.receipt is not None
    assert order_of(dst, report.receipt.unit_id) == [
        "create a",
        "create z-live",
        "replace z",
        "replace live/a",
        "create live/b",
    ]


def test_a_pattern_that_is_none_is_refused_before_anything_else(src: Path, dst: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        dst.rmdir()
    with pytest.raises(UsageError):
        push(src, dst, last=["!"])
    assert not dst.exists()


# -- a dry run foretells all of it


def test_a_dry_run_keeps_what_the_push_would_keep(drifted: tuple[Path, Path], unchanged: Unchanged) -> None:
    src, dst = drifted
    with unchanged(dst, control=True):
        foretold = push(src, dst, delete=True, on_drift="keep", dry_run=True)
    done = push(src, dst, delete=True, on_drift="keep")
    assert foretold.drifted == done.drifted
    assert [change.path for change in foretold.changes] == [change.path for change in done.changes]


def test_a_dry_run_refuses_other_roots(pair: tuple[Path, Path], tmp_path: Path, unchanged: Unchanged) -> None:
    src, dst = pair
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", dst, copy], check=True)
    with unchanged(copy, control=True), pytest.raises(RootReplaced):
        push(src, copy, dry_run=True)
    push(src, copy, dry_run=True, accept_roots=True)


def test_a_dry_run_of_a_destination_without_a_unit_is_refused_where_one_is_expected(
    src: Path, dst: Path
) -> None:
    with pytest.raises(GuardTripped):
        push(src, dst, dry_run=True, expect_store=True)
    assert not dst.exists()
