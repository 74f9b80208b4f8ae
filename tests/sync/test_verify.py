"""``verify``: what it tells of a destination, and what it must not tell."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync import open_store, push
from atomsync.errors import DiskError, Interrupted, UsageError
from atomsync.store.progress import Progress
from atomsync.sync.adopting import Adopter
from atomsync.sync.examine import Examiner
from atomsync.sync.verify import Verification, Verifier, exit_status_of
from atomsync.tree.filters import Filters
from tests.cli.test_levels import on_both

Plant = Callable[..., Path]
T = 1_600_000_000_000_000_000
MIB = 1 << 20


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return old(
        plant(
            tmp_path / "src", {"a": b"aa", "a.txt": b"t", "d/b": b"bb", "d/e/c": b"c", "l": "a", "z": b"zz"}
        )
    )


@pytest.fixture
def dst(tmp_path: Path, src: Path) -> Path:
    push(src, tmp_path / "dst")
    return tmp_path / "dst"


def old(root: Path) -> Path:
    """Times long ago: nothing in it is racy."""
    for path in [*root.rglob("*"), root]:
        os.utime(path, ns=(T, T), follow_symlinks=False)
    return root


def rot(path: Path, at: int = 0) -> None:
    """Other bytes, and no trace of it: as a bad disk does it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def verify(
    dst: Path,
    *lines: str,
    percent: float = 100,
    resume: bool = False,
    progress: Progress | None = None,
    **more: Any,
) -> Verification:
    progress = progress or Progress()
    with Examiner(open_store(dst, timeout=0), progress, **more) as examiner:
        return Verifier(examiner, Filters(lines), percent, progress, lambda *_: None).run(resume=resume)


def told(found: Verification) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.path) for finding in found.findings]


# -- what it finds
def test_a_destination_as_it_was_committed_is_clean(dst: Path) -> None:
    found = verify(dst)
    assert found.findings == ()
    assert (found.tally.paths, found.tally.files, found.tally.bytes) == (8, 5, 8)
    assert exit_status_of(found) == 0


def test_other_bytes_under_the_same_size_and_time_are_rot(dst: Path) -> None:
    rot(dst / "d/b")
    found = verify(dst)
    assert [*found.findings] == [
        found.findings[0]._replace(verdict="rot", path="d/b", differs=("content",), note="")
    ]
    assert exit_status_of(found) == 42


@pytest.mark.parametrize(
    ("edit", "path", "differs"),
    [
        (lambda dst: (dst / "a").write_bytes(b"longer"), "a", ("size", "time")),
        (lambda dst: (dst / "a").write_bytes(b"xx"), "a", ("time",)),
        (lambda dst: (dst / "a").chmod(0o600), "a", ("mode",)),
        (lambda dst: (dst / "d").chmod(0o700), "d", ("mode",)),
        (lambda dst: os.replace(shutil.copy2(dst / "z", dst / ".t"), dst / "a.txt"), "a.txt", ("size",)),
        (lambda dst: ((dst / "z").unlink(), (dst / "z").mkdir()), "z", ("kind",)),
    ],
)
def test_what_somebody_changed_is_drift_with_what_changed(
    edit: Callable[[Path], object], path: str, differs: tuple[str, ...], dst: Path
) -> None:
    edit(dst)
    found = verify(dst)
    assert told(found) == [("drift", path)]
    assert found.findings[0].differs == differs
    assert exit_status_of(found) == 41


def test_a_link_that_leads_elsewhere_has_drifted(dst: Path) -> None:
    os.remove(dst / "l")
    os.symlink("z", dst / "l")
    os.utime(dst / "l", ns=(T, T), follow_symlinks=False)
    assert [finding.differs for finding in verify(dst).findings] == [("target",)]


def test_another_owner_is_drift(dst: Path, needs_root: None) -> None:
    os.chown(dst / "a", 1234, -1)
    assert [finding.differs for finding in verify(dst).findings] == [("owner",)]


def test_a_file_that_both_rotted_and_changed_its_mode_is_rot(dst: Path) -> None:
    rot(dst / "a")
    (dst / "a").chmod(0o600)
    (finding,) = verify(dst).findings
    assert (finding.verdict, finding.differs) == ("rot", ("content", "mode"))


def test_what_went_and_what_came_is_told(dst: Path, plant: Plant) -> None:
    shutil.rmtree(dst / "d")
    plant(dst, {"new/x": b"", "a!": b"sorts between a and a.txt"})
    found = verify(dst)
    assert told(found) == [
        ("extra", "a!"),
        *(("missing", path) for path in ("d", "d/b", "d/e", "d/e/c")),
        *(("extra", path) for path in ("new", "new/x")),
    ]
    assert exit_status_of(found) == 41


def test_the_time_of_a_directory_is_no_drift(dst: Path) -> None:
    os.utime(dst / "d", ns=(T + 5, T + 5))
    assert verify(dst).findings == ()


def test_what_cannot_be_read_is_rot(dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, progress = open_store(dst, timeout=0), Progress()
    inode = (dst / "d/b").stat().st_ino
    pread = os.pread

    def dying(fd: int, size: int, offset: int, /) -> bytes:
        if os.fstat(fd).st_ino == inode:
            raise OSError(5, "Input/output error")
        return pread(fd, size, offset)

    monkeypatch.setattr(store.disk, "pread", dying, raising=False)
    with Examiner(store, progress) as examiner:
        found = Verifier(examiner, Filters(), 100, progress, lambda *_: None).run()
    assert [(finding.verdict, finding.path, finding.note) for finding in found.findings] == [
        ("rot", "d/b", "it cannot be read")
    ]


def test_what_may_not_be_read_is_told_and_ends_with_13(public_dir: Path, plant: Plant, atomsync: Any) -> None:
    src = old(plant(public_dir / "src", {"a": b"a", "closed/b": b"b", "z": b"z"}))
    (public_dir / "dst").mkdir()
    os.chown(public_dir / "dst", 65534, 65534) if os.geteuid() == 0 else None
    assert atomsync("push", src, public_dir / "dst", user=65534).returncode == 0
    (public_dir / "dst/closed").chmod(0)
    (public_dir / "dst/a").chmod(0)
    done = atomsync("verify", public_dir / "dst", user=65534)
    assert done.returncode == 41  # the modes are drift
    assert "closed    closed/b: Permission denied" in done.stdout
    assert "closed    a: Permission denied" in done.stdout


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "ext4-seconds", "xfs", "btrfs"])
@pytest.mark.parametrize("tree", ["awkward", "website"])
def test_a_real_tree_that_was_pushed_is_clean_on_every_filesystem(
    tree: str, kind: str, small_fs: Any, real_tree: Callable[[str], Path]
) -> None:
    point = small_fs(kind, {"xfs": 300, "btrfs": 128}.get(kind, 64))
    push(real_tree(tree), point / "dst", durability="none")
    beyond = ["times/"] if kind == "ext4-seconds" else []  # years it cannot keep
    found = verify(point / "dst", *beyond)
    assert found.findings == ()
    assert found.tally.paths > 10
    assert found.tally.no_digest == found.tally.unknown == 0
    push(real_tree(tree), point / "dst", delete=True, durability="none")
    assert verify(point / "dst", *beyond).findings == ()


# -- what it cannot judge
def test_what_was_there_before_the_first_push_is_known_without_a_digest(
    tmp_path: Path, src: Path, plant: Plant
) -> None:
    dst = plant(tmp_path / "dst", {"mine/x": b"x", "a": b"aa"})
    shutil.copystat(src / "a", dst / "a")
    push(src, dst)
    found = verify(dst)
    assert found.findings == ()
    assert (found.tally.no_digest, found.tally.unknown) == (2, 0)
    (dst / "mine/x").write_bytes(b"edited")
    (dst / "mine/new").write_bytes(b"")
    assert told(verify(dst)) == [("extra", "mine/new"), ("drift", "mine/x")]


def test_a_manifest_that_was_made_anew_does_not_take_for_extra_what_it_cannot_know(
    tmp_path: Path, src: Path, plant: Plant
) -> None:
    dst = plant(tmp_path / "dst", {"mine": b"x"})
    push(src, dst)
    (dst / ".atomsync/manifest.sqlite").unlink()
    found = verify(dst)
    assert found.findings == ()
    assert (found.tally.unknown, found.tally.files) == (1, 5)
    rot(dst / "z")
    assert told(verify(dst)) == [("rot", "z")]


def test_a_sample_reads_so_many_and_says_how_many_it_did_not(tmp_path: Path, plant: Plant) -> None:
    src = old(plant(tmp_path / "src", {f"{number}": b"x" for number in range(400)}))
    push(src, tmp_path / "dst")
    random.seed(1)
    found = verify(tmp_path / "dst", percent=25)
    assert 60 < found.tally.files < 140
    assert found.tally.files + found.tally.not_read == 400
    (tmp_path / "dst/7").unlink()
    assert ("missing", "7") in told(verify(tmp_path / "dst", percent=0.1))


def test_a_racy_file_whose_content_differs_may_have_been_edited(tmp_path: Path, plant: Plant) -> None:
    src = plant(tmp_path / "src", {"a": b"a"})
    future = 4_000_000_000_000_000_000  # its stamp is never over
    os.utime(src / "a", ns=(future, future))
    push(src, tmp_path / "dst")
    rot(tmp_path / "dst/a")
    (finding,) = verify(tmp_path / "dst").findings
    assert finding.verdict == "rot"
    assert "edited within a tick" in finding.note


def test_patterns_leave_paths_out_on_both_sides(dst: Path, plant: Plant) -> None:
    rot(dst / "z")
    shutil.rmtree(dst / "d")
    plant(dst, {"log/new": b""})
    assert verify(dst, "z", "/d/", "log/").findings == ()
    assert told(verify(dst, "*", "!z")) == [("rot", "z")]


# -- made known
def adopting(dst: Path, *lines: str, progress: Progress | None = None, resume: bool = False) -> Verification:
    store, progress = open_store(dst, timeout=0), progress or Progress()
    with Examiner(store, progress) as examiner:
        adopter = Adopter(store, progress)
        verifier = Verifier(examiner, Filters(lines), 100, progress, lambda *_: None, adopter)
        return verifier.run(resume=resume)


def test_what_has_no_digest_gets_one_and_can_rot_from_then_on(
    tmp_path: Path, src: Path, plant: Plant
) -> None:
    dst = plant(tmp_path / "dst", {"mine/x": b"x", "a": b"aa"})
    os.utime(dst / "mine/x", ns=(T, T))
    shutil.copystat(src / "a", dst / "a")
    push(src, dst)
    rot(dst / "a")
    assert verify(dst).findings == ()
    rot(dst / "a")
    found = adopting(dst)
    assert (found.findings, found.tally.adopted, found.tally.no_digest) == ((), 2, 0)
    assert verify(dst).tally.no_digest == 0
    rot(dst / "a")
    rot(dst / "mine/x")
    assert told(verify(dst)) == [("rot", "a"), ("rot", "mine/x")]
    assert told(adopting(dst)) == [("rot", "a"), ("rot", "mine/x")]


def test_a_lost_manifest_is_whole_again_when_all_was_adopted(tmp_path: Path, src: Path, plant: Plant) -> None:
    dst = plant(tmp_path / "dst", {"mine/x": b"x"})
    push(src, dst)
    (dst / ".atomsync/manifest.sqlite").unlink()
    assert adopting(dst, "*.o").tally.adopted == 2
    (dst / "new").write_bytes(b"")
    assert (verify(dst).findings, verify(dst).tally.unknown) == ((), 1)  # a pattern may have hidden something
    assert adopting(dst).tally.adopted == 1
    (dst / "newer").write_bytes(b"")
    assert told(verify(dst)) == [("extra", "newer")]


@pytest.mark.parametrize(("patterns", "unknown"), [([], 2), (["mine"], 1)], ids=["locked", "left out"])
def test_what_a_stopped_adoption_did_not_write_down_is_not_taken_for_new(
    patterns: list[str], unknown: int, dst: Path, plant: Plant
) -> None:
    plant(dst, {"mine": b"", "other": b""})
    (dst / ".atomsync/manifest.sqlite").unlink()
    assert verify(dst).tally.unknown == 2
    with contextlib.nullcontext() if patterns else open_store(dst).session(), pytest.raises(Interrupted):
        adopting(dst, *patterns, progress=Stops(4 + unknown))  # with these two, but for what is left out
    assert adopting(dst, resume=True).resumed == "other"
    assert (verify(dst).findings, verify(dst).tally.unknown) == ((), unknown)


def test_what_drifted_is_not_adopted(tmp_path: Path, src: Path, plant: Plant) -> None:
    dst = plant(tmp_path / "dst", {"mine": b"x"})
    push(src, dst)
    (dst / "mine").write_bytes(b"edited")
    for _ in range(2):
        assert told(adopting(dst)) == [("drift", "mine")]


def test_what_was_adopted_is_pushed_over_as_ever(
    tmp_path: Path, src: Path, plant: Plant, assert_same_tree: Any
) -> None:
    dst = plant(tmp_path / "dst", {"a": b"aa"})
    shutil.copystat(src / "a", dst / "a")
    push(src, dst)
    adopting(dst)
    (src / "a").write_bytes(b"newer")
    push(src, dst)
    assert verify(dst).findings == ()
    assert_same_tree(src, dst)


# -- while others work there
def test_units_committed_meanwhile_are_never_taken_for_rot_or_drift(tmp_path: Path, plant: Plant) -> None:
    src = plant(tmp_path / "src", {f"d{number % 7}/f{number}": os.urandom(2000) for number in range(300)})
    dst = tmp_path / "dst"
    push(src, dst)
    done = threading.Event()
    failed: list[BaseException] = []

    def pusher() -> None:
        dice = random.Random(4)
        try:
            for _ in range(25):
                if dice.random() < 0.5:  # a directory goes, and later another comes by its name
                    shutil.rmtree(src / f"d{dice.randrange(7)}", ignore_errors=True)
                for number in dice.sample(range(300), 60):
                    path = src / f"d{number % 7}/f{number}"
                    if dice.random() < 0.2 and path.exists():
                        path.unlink()
                    else:
                        path.parent.mkdir(exist_ok=True)
                        path.write_bytes(dice.randbytes(2000))  # of the same size
                push(src, dst, delete=True, durability="none", max_delete="100%")
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=pusher)
    thread.start()
    rounds = []
    while not done.is_set():
        rounds.append(verify(dst))
    thread.join()
    assert not failed
    assert len(rounds) >= 2
    assert [finding for found in rounds for finding in found.findings if finding.verdict != "restless"] == []
    assert verify(dst).findings == ()


def test_a_directory_that_was_replaced_meanwhile_is_entered_anew(src: Path, dst: Path) -> None:
    with Examiner(open_store(dst, timeout=0), Progress()) as examiner:
        assert examiner.judge("d/b") is None
        shutil.rmtree(src / "d")
        push(src, dst, delete=True)
        assert examiner.judge("d/b") is None  # nothing is known of it, and nothing is there
        (src / "d").mkdir()
        (src / "d/b").write_bytes(b"another")
        push(src, dst)
        assert examiner.judge("d/b") is None
        assert examiner.files == 2


def test_a_writer_killed_while_it_wrote_the_manifest_costs_nothing(dst: Path) -> None:
    for number in range(300):
        (dst / f"{number:060}").touch()
    child = os.fork()
    if not child:
        try:
            with open_store(dst).session() as session:
                session.manifest._db.execute("PRAGMA cache_size = 1")  # so that pages go to the file early
                session.manifest._db.execute("UPDATE entries SET digest = 'half', target = zeroblob(9000)")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (dst / ".atomsync/manifest.sqlite-journal").stat().st_size
    assert verify(dst, "0*").findings == ()


def test_what_stops_it_otherwise_keeps_its_position_too(dst: Path) -> None:
    store, progress = open_store(dst, timeout=0), Progress()
    with Examiner(store, progress) as examiner:
        verifier = Verifier(examiner, Filters(), 100, progress, lambda *_: None)
        read = examiner.read

        def failing(path: str) -> Any:
            if path == "d/b":
                raise DiskError("cannot read the manifest")
            return read(path)

        examiner.read = failing  # type: ignore[method-assign]
        with pytest.raises(DiskError):
            verifier.run()
    found = verify(dst, resume=True)
    assert found.resumed == "d"
    assert found.tally.paths == 8


def test_it_needs_no_lock_while_another_is_staging(dst: Path) -> None:
    with open_store(dst).session():
        assert verify(dst).findings == ()


def test_what_a_crash_left_is_recovered_first(dst: Path, src: Path, atomsync: Any, strace: Any) -> None:
    (src / "z").write_bytes(b"newer")
    killed = strace("-e", "trace=renameat", "-e", "inject=renameat:signal=KILL:when=2")
    assert atomsync("push", src, dst, under=killed).returncode < 0
    assert verify(dst).findings == ()


def test_what_a_unit_that_is_rolled_back_showed_for_a_while_is_no_finding(
    dst: Path, src: Path, atomsync: Any, strace: Any
) -> None:
    for name in ("a", "z"):
        (src / name).write_bytes(b"newer")
    killed = strace("-e", "trace=renameat2", "-e", "inject=renameat2:signal=KILL:when=5")
    with Examiner(open_store(dst, timeout=0), Progress()) as examiner:
        look, shown = examiner.look, []

        def looking(path: str) -> Any:
            if not shown:  # behind the first moment
                assert atomsync("push", src, dst, under=killed).returncode < 0
                shown.append((dst / "a").read_bytes())
            return look(path)

        examiner.look = looking  # type: ignore[method-assign]
        assert examiner.judge("a") is None
    assert shown == [b"newer"]
    assert (dst / "a").read_bytes() == b"aa"


def test_a_read_only_disk_is_verified_all_the_same(small_fs: Any, src: Path) -> None:
    point = small_fs("ext4", 16)
    push(src, point / "dst")
    rot(point / "dst/z")
    small_fs.remount(point, "ro")
    assert told(verify(point / "dst")) == [("rot", "z")]


# -- interrupted, slow, resumed
class Stops(Progress):
    """As Ctrl-C would, after so many files."""

    def __init__(self, after: int) -> None:
        self._left = after

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._left -= files
        if self._left <= 0:
            self.stopping = "SIGINT"


@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_stopped_verification_goes_on_behind_its_last_path(after: int, dst: Path) -> None:
    rot(dst / "a")
    rot(dst / "z")
    with pytest.raises(Interrupted, match="--resume"):
        verify(dst, progress=Stops(after))
    rest = verify(dst, resume=True)
    assert rest.resumed is not None
    assert told(rest) == [("rot", "a"), ("rot", "z")]
    assert rest.tally.paths == 8
    assert not (dst / ".atomsync/verified").exists()
    assert verify(dst, resume=True).resumed is None


def test_what_was_found_before_the_stop_and_mended_since_is_not_told_again(src: Path, dst: Path) -> None:
    rot(dst / "a")
    rot(dst / "a.txt")
    with pytest.raises(Interrupted):
        verify(dst, progress=Stops(3))
    (src / "a").write_bytes(b"newer")
    push(src, dst)
    assert told(verify(dst, resume=True)) == [("rot", "a.txt")]


def test_a_stop_while_it_looks_once_more_forgets_nothing(dst: Path) -> None:
    rot(dst / "a")
    rot(dst / "a.txt")
    for files in (3, 1):
        with pytest.raises(Interrupted):
            verify(dst, progress=Stops(files), resume=True)
    assert told(verify(dst, resume=True)) == [("rot", "a"), ("rot", "a.txt")]


def test_a_position_of_another_locale_is_forgotten(
    tmp_path: Path, src: Path, plant: Plant, atomsync: Any
) -> None:
    dst = tmp_path / "other"
    push(plant(src, {"\u00e9": b"1", "\u00e9a": b"2", "\u00e9b": b"3"}), dst)
    with pytest.raises(Interrupted):
        verify(dst, progress=Stops(7))
    done = atomsync(
        "verify", "--resume", dst, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "went on" not in done.stdout


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b'{"version": 2}', b"\xff", b'{"version": 1, "after": 3}']
)
def test_a_position_that_cannot_be_read_is_forgotten(damage: bytes, dst: Path) -> None:
    (dst / ".atomsync/verified").write_bytes(damage)
    found = verify(dst, resume=True)
    assert (found.resumed, found.tally.paths) == (None, 8)


def test_ctrl_c_ends_it_with_20_and_the_next_goes_on(
    atomsync: Any, tmp_path: Path, plant: Plant, wait_until: Callable[..., Any]
) -> None:
    src = old(plant(tmp_path / "src", {f"{number:02}": bytes(MIB) for number in range(40)}))
    dst = tmp_path / "dst"
    push(src, dst, durability="none")
    running = atomsync.start("verify", "--bwlimit", "4MiB", dst)

    def is_at_the_third() -> bool:
        fds = Path(f"/proc/{running.pid}/fd")
        with contextlib.suppress(FileNotFoundError):
            return any(os.readlink(fd).endswith("/dst/02") for fd in fds.iterdir())
        return False

    wait_until(is_at_the_third)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 20, errors
    assert "atomsync verify --resume" in errors
    done = atomsync("verify", "--resume", "--json", dst)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["files"], last["paths"]) == (0, 40, 40)
    assert last["resumed"] is not None


def test_the_rate_is_kept(tmp_path: Path, plant: Plant) -> None:
    src = old(plant(tmp_path / "src", {"a": bytes(2 * MIB), "b": bytes(MIB)}))
    push(src, tmp_path / "dst", durability="none")
    assert verify(tmp_path / "dst", bytes_per_s=6 * MIB).seconds >= 0.45


# -- where nothing is known
def test_a_directory_to_which_nothing_was_committed_is_refused(tmp_path: Path, src: Path) -> None:
    with pytest.raises(UsageError, match="no unit was ever committed"):
        verify(src)
    assert not (src / ".atomsync").exists()


def test_a_damaged_manifest_is_told_with_the_way_out(dst: Path) -> None:
    manifest = dst / ".atomsync/manifest.sqlite"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(DiskError, match="made anew from the history"):
        verify(dst)
    manifest.unlink()
    assert verify(dst).findings == ()


def test_a_unit_that_the_manifest_cannot_follow_is_named(dst: Path, history: Any) -> None:
    (unit,) = history(dst)
    (dst / ".atomsync/manifest.sqlite").unlink()
    (dst / ".atomsync/history" / unit / "journal").write_bytes(b"rotten")
    with pytest.raises(DiskError, match=unit):
        verify(dst)


def test_an_empty_manifest_in_its_place_is_made_anew(dst: Path) -> None:
    (dst / ".atomsync/manifest.sqlite").write_bytes(b"")
    assert verify(dst).tally.files == 5


# -- the command
def test_a_person_reads_a_line_a_finding_and_the_sum(dst: Path, atomsync: Any, plant: Plant) -> None:
    rot(dst / "z")
    (dst / "a").chmod(0o600)
    shutil.rmtree(dst / "d")
    plant(dst, {"new/x": b"", "new/y": b""})
    done = atomsync("verify", dst)
    assert done.returncode == 42
    assert done.stdout.splitlines()[:-1] == [
        "drift     a (mode 0644 → 0600)",
        "missing   d/",
        "extra     new/",
        "rot       z (content)",
    ]
    assert done.stdout.splitlines()[-1].startswith(
        "rot 1 · drift 1 · missing 4 · extra 3 · 11 paths compared · "
    )


def test_on_a_terminal_the_bar_is_gone_before_anything_is_said(
    src: Path, dst: Path, atomsync: Any, tmp_path: Path
) -> None:
    rot(dst / "z")
    status, shown = on_both(atomsync.line("verify", "--repair", src, dst), tmp_path)
    assert status == 0
    assert shown.rindex("\x1b[2K") < shown.index("z (content)") < shown.index("now: nothing wrong")


def test_a_program_gets_one_object_a_finding_and_a_summary(dst: Path, atomsync: Any) -> None:
    rot(dst / "z")
    finding, last = map(json.loads, atomsync("verify", "--json", dst).stdout.splitlines())
    assert finding == {
        "schema": 1,
        "event": "finding",
        "verdict": "rot",
        "path": "z",
        "kind": "file",
        "differs": ["content"],
        "note": "",
    }
    assert (last["event"], last["rot"], last["files"], last["resumed"]) == ("verified", 1, 5, None)


def test_what_is_not_judged_is_listed_on_request(
    tmp_path: Path, src: Path, plant: Plant, atomsync: Any
) -> None:
    dst = plant(tmp_path / "dst", {"mine": b"x"})
    push(src, dst)
    done = atomsync("verify", "-v", dst)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "no digest mine")
    assert "not judged: 1 path of which no digest is known" in done.stdout
    assert "not read  z" in atomsync("verify", "-v", "--sample", "0.0001%", dst).stdout


@pytest.mark.parametrize(
    "options", [["--sample", "0%"], ["--sample", "101"], ["--bwlimit", "fast"], ["--bwlimit", "0MB"]]
)
def test_a_share_or_rate_that_means_nothing_is_refused(options: list[str], dst: Path, atomsync: Any) -> None:
    done = atomsync("verify", *options, dst)
    assert done.returncode == 1
    assert "is no" in done.stderr or "less than" in done.stderr


def test_its_state_may_be_elsewhere(tmp_path: Path, src: Path, atomsync: Any) -> None:
    assert atomsync("push", "--state-dir", tmp_path / "state", src, tmp_path / "dst").returncode == 0
    assert atomsync("verify", "--state-dir", tmp_path / "state", tmp_path / "dst").returncode == 0
    assert atomsync("verify", tmp_path / "dst").returncode == 1


def test_the_digest_that_counts_is_that_of_the_manifest(dst: Path) -> None:
    with sqlite3.connect(dst / ".atomsync/manifest.sqlite") as db:
        db.execute("UPDATE entries SET digest = ? WHERE path = CAST('a' AS BLOB)", ("0" * 32,))
    db.close()
    assert told(verify(dst)) == [("rot", "a")]
