"""A destination that does not exist yet: it is made beside its place, and appears there whole."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from atomsync import UnitOfWork, open_store, push
from atomsync.errors import CheckFailed, Drift, StoreLocked
from atomsync.fs.posix import PosixDisk
from atomsync.store.progress import Progress
from atomsync.store.recovery import DISCARDED
from tests.conftest import NOBODY, Cli
from tests.proof import judge

Plant = Callable[..., Path]
Same = Callable[[Path, Path], None]


@pytest.fixture
def src(tmp_path: Path, plant: Plant) -> Path:
    return plant(tmp_path / "src", {"a/f": b"1", "b/g": b"1", "top": b"1", "link": "a/f"})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory in which DST is to be made, and nothing else."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def left_over(place: Path, name: str = "dst") -> Path:
    """What a crash leaves: nobody has it locked."""
    sibling = place / f".{name}.atomsync-new"
    (sibling / ".atomsync/unit").mkdir(parents=True)
    (sibling / ".atomsync/unit/journal").write_bytes(b"torn")
    (sibling / ".atomsync/making").touch()
    (sibling / "half/of").mkdir(parents=True)
    (sibling / ".atomsync").chmod(0o700)
    (sibling / "half").chmod(0o500)
    return sibling


def python(*lines: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote('; '.join(lines))}"


class Watching(Progress):
    """Looks, at each phase of a push, at what stands at a path."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self.seen = path, list[str]()

    def phase(self, name: str, *amounts: int) -> None:
        self.seen.append(f"{name} {self._path.exists()}")
        super().phase(name, *amounts)


# -- it appears whole


def test_nothing_is_to_be_found_of_a_new_destination_before_its_commit(src: Path, place: Path) -> None:
    progress = Watching(place / "dst")
    report = push(src, place / "dst", progress=progress)
    assert {seen.partition(" ")[0] for seen in progress.seen} >= {"stage", "seal", "commit"}
    assert not [seen for seen in progress.seen if seen.endswith("True")]
    assert report.receipt is not None
    assert report.receipt.window_ms == 0
    assert os.listdir(place) == ["dst"]


def test_who_looks_all_the_time_sees_nothing_and_then_all(
    real_tree: Callable[[str], Path], place: Path
) -> None:
    source = real_tree("website")
    expected, seen, done = sorted(os.listdir(source)), set[tuple[str, ...]](), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(tuple(sorted(os.listdir(place / "dst"))))
            except FileNotFoundError:
                seen.add(())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        push(source, place / "dst")
    finally:
        done.set()
        reader.join()
    assert seen <= {(), tuple(sorted([*expected, ".atomsync"]))}


@pytest.mark.parametrize("tree", ["website", "hostile"])
def test_a_destination_made_beside_its_place_is_as_one_that_was_made_in_it(
    tree: str, real_tree: Callable[[str], Path], place: Path, assert_same_tree: Same
) -> None:
    source = real_tree(tree)
    (place / "there").mkdir()
    for name in ("there", "not"):
        push(source, place / name)
    there, new = judge.look(place / "there"), judge.look(place / "not")
    assert {path: seen.visible for path, seen in new.items()} == {
        path: seen.visible for path, seen in there.items()
    }
    assert_same_tree(source, place / "not")
    kept, made = (sorted(os.listdir(place / name / ".atomsync")) for name in ("there", "not"))
    assert kept == made


def test_its_mode_is_that_of_a_directory_just_made(place: Path, tmp_path: Path, plant: Plant) -> None:
    source = plant(tmp_path / "source", {"f": b""})
    before = os.umask(0o027)
    try:
        push(source, place / "dst")
        os.mkdir(place / "made")
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "dst").stat().st_mode) == stat.S_IMODE(source.stat().st_mode)


@pytest.mark.parametrize("name", ["dst/", "./dst", "d" * 255, "ünï", "-n"])
def test_whatever_its_name_is(
    name: str, src: Path, place: Path, atomsync: Cli, assert_same_tree: Same
) -> None:
    done = atomsync("push", "--", src, name, cwd=place)
    assert done.returncode == 0, done.stderr
    assert_same_tree(src, place / name)
    assert len(os.listdir(place)) == 1


def test_the_next_push_finds_it_as_if_it_had_always_been_there(src: Path, place: Path) -> None:
    first = push(src, place / "dst")
    assert push(src, place / "dst").changes == ()
    (src / "top").write_bytes(b"22")
    second = push(src, place / "dst", delete=True)
    assert first.receipt
    assert second.receipt
    open_store(place / "dst").undo()
    assert (place / "dst/top").read_bytes() == b"1"


def test_where_nothing_is_to_be_committed_nothing_is_made(src: Path, place: Path) -> None:
    with UnitOfWork(open_store(place / "dst"), exclusive=True) as unit:
        assert not unit.exists("f")
        assert os.listdir(place) == [".dst.atomsync-new"]
        unit.commit()
    assert os.listdir(place) == []


def test_a_prepared_unit_rests_in_its_place(place: Path) -> None:
    with UnitOfWork(open_store(place / "dst"), exclusive=True) as unit:
        unit.write("f", b"1")
        prepared = unit.prepare("somebody")
    assert os.listdir(place) == ["dst"]
    store = open_store(place / "dst")
    assert [resting.id for resting in store.prepared()] == [prepared.id]
    assert os.listdir(place / "dst") == [".atomsync"]
    store.commit_prepared(prepared.id)
    assert (place / "dst/f").read_bytes() == b"1"


# -- it fails


def test_a_push_that_fails_leaves_nothing(src: Path, place: Path) -> None:
    with pytest.raises(CheckFailed):
        push(src, place / "dst", check="false")
    assert os.listdir(place) == []


def test_what_somebody_made_there_meanwhile_stays_theirs(src: Path, place: Path) -> None:
    theirs = place / "dst/theirs"
    check = f"mkdir {shlex.quote(str(theirs.parent))} && touch {shlex.quote(str(theirs))}"
    with pytest.raises(Drift, match="somebody else has made it meanwhile") as caught:
        push(src, place / "dst", check=check)
    assert "Run this again" in caught.value.hint
    assert (os.listdir(place), os.listdir(place / "dst")) == (["dst"], ["theirs"])
    assert push(src, place / "dst").receipt is not None
    assert theirs.exists()


def test_an_empty_directory_made_there_meanwhile_is_not_replaced(src: Path, place: Path) -> None:
    with pytest.raises(Drift):
        push(src, place / "dst", check=f"mkdir {shlex.quote(str(place / 'dst'))}")
    assert (os.listdir(place), os.listdir(place / "dst")) == (["dst"], [])


def shell(*words: object) -> str:
    return shlex.join(map(str, words))


def test_what_was_moved_away_is_not_taken_for_what_stands_there_now(src: Path, place: Path) -> None:
    sibling, away = place / ".dst.atomsync-new", place / "away"
    theirs = sibling / "theirs"
    check = f"mv {shell(sibling, away)} && mkdir {shell(sibling)} && touch {shell(theirs)}"
    with pytest.raises(Drift, match="moved"):
        push(src, place / "dst", check=check)
    assert sorted(os.listdir(place)) == [".dst.atomsync-new", "away"]
    assert os.listdir(sibling) == ["theirs"]


def test_what_was_moved_away_is_not_removed_nor_what_stands_there_now(src: Path, place: Path) -> None:
    sibling, away = place / ".dst.atomsync-new", place / "away"
    check = f"mv {shell(sibling, away)} && mkdir {shell(sibling)} && touch {shell(sibling / 'theirs')}; false"
    with pytest.raises(CheckFailed):
        push(src, place / "dst", check=check)
    assert os.listdir(sibling) == ["theirs"]


def test_what_somebody_gave_its_place_by_hand_stays_there(src: Path, place: Path) -> None:
    with pytest.raises(Drift):
        push(src, place / "dst", check=f"mv {shell(place / '.dst.atomsync-new', place / 'dst')}")
    push(src, place / "dst")
    assert os.listdir(place) == ["dst"]


def test_an_interrupt_in_the_very_rename_takes_nothing_away(
    src: Path, place: Path, strace: Callable[..., list[str]], assert_same_tree: Same
) -> None:
    heard = "import atomsync, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    work = [sys.executable, "-c", f"{heard}atomsync.push({str(src)!r}, {str(place / 'dst')!r})"]
    log = place.parent / "log"
    subprocess.run([*strace("-e", "trace=renameat2", log=log), *work], check=True)
    calls = log.read_text().splitlines()
    (at,) = [number for number, line in enumerate(calls, 1) if '".dst.atomsync-new"' in line]
    shutil.rmtree(place / "dst")
    inject = f"inject=renameat2:signal=INT:when={at}"
    done = subprocess.run(
        [*strace("-e", "trace=renameat2", "-e", inject), *work], stderr=subprocess.PIPE, text=True
    )
    assert "KeyboardInterrupt" in done.stderr
    assert_same_tree(src, place / "dst")
    assert push(src, place / "dst").changes == ()
    assert not (place / "dst/.atomsync/making").exists()


def test_where_nothing_can_be_renamed_it_is_made_in_its_place(
    src: Path, small_fs: Callable[..., Path], assert_same_tree: Same
) -> None:
    place = small_fs("ext4", 32)
    subprocess.run(["chattr", "+a", place], check=True)
    try:
        push(src, place / "dst")
        assert_same_tree(src, place / "dst")
        assert os.listdir(place) == ["dst"]
    finally:
        subprocess.run(["chattr", "-a", place], check=True)


def test_where_directories_cannot_be_locked_it_is_made_in_its_place_and_nothing_of_others_goes(
    src: Path, place: Path, monkeypatch: pytest.MonkeyPatch, assert_same_tree: Same
) -> None:
    """As on NFS: nobody could tell whether the maker of what is found there lives."""
    theirs = left_over(place, "other")
    before = judge.look(theirs)
    with UnitOfWork(open_store(place / ".third.atomsync-new")) as unit:
        unit.write("f", b"1")
        unit.flush()
        real = PosixDisk.try_lock

        def try_lock(self: PosixDisk, fd: int) -> bool:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(self, fd)

        monkeypatch.setattr(PosixDisk, "try_lock", try_lock)
        for name in ("dst", "other", "third"):
            push(src, place / name)
            assert_same_tree(src, place / name)
        monkeypatch.undo()
        unit.commit()
    assert judge.look(theirs) == before
    assert (place / ".third.atomsync-new/f").read_bytes() == b"1"
    assert not (place / ".dst.atomsync-new").exists()


# -- it has its place, but perhaps not for good


def test_whoever_comes_after_its_maker_died_makes_its_name_durable(
    src: Path, place: Path, atomsync: Cli, strace: Callable[..., list[str]]
) -> None:
    log = place.parent / "log"
    trace = strace("-y", "-e", "trace=fsync,renameat2", log=log)
    assert atomsync("push", src, place / "dst", under=trace).returncode == 0
    made = [f"fsync({number}<{place}>)" for number in range(100)]
    assert any(call in log.read_text() for call in made)
    for words in (["push", src], ["recover"]):
        (place / "dst/.atomsync/making").touch()
        assert atomsync(*words, place / "dst", under=trace).returncode == 0
        assert any(call in log.read_text() for call in made)
        assert not (place / "dst/.atomsync/making").exists()
    (place / "dst/.atomsync/making").touch()
    with open_store(place / "dst").begin() as unit:
        unit.write("f", b"1")
    assert not (place / "dst/.atomsync/making").exists()


def test_a_directory_above_that_may_not_be_read_any_more_holds_nobody_up(
    needs_root: None, public_dir: Path, atomsync: Cli
) -> None:
    source, place = public_dir / "source", public_dir / "place"
    for path in (source, place):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    assert atomsync("push", source, place / "dst", user=NOBODY).returncode == 0
    (place / "dst/.atomsync/making").touch()
    place.chmod(0o311)
    done = atomsync("push", source, place / "dst", user=NOBODY)
    assert done.returncode == 0, done.stderr
    assert not (place / "dst/.atomsync/making").exists()


# -- others come, too


def test_a_second_push_to_the_same_place_meets_its_lock(src: Path, place: Path) -> None:
    again = f"{shlex.quote(sys.executable)} -m atomsync push {shlex.quote(str(src))} "
    again += f"{shlex.quote(str(place / 'dst'))} 2>&1; test $? = 40"
    report = push(src, place / "dst", check=again)
    assert report.receipt is not None
    assert os.listdir(place) == ["dst"]


def test_status_tells_who_is_making_it(src: Path, place: Path, atomsync: Cli) -> None:
    told = place / "told"
    look = f"{shlex.join([sys.executable, '-m', 'atomsync', 'status', str(place / 'dst')])}"
    push(src, place / "dst", check=f"{look} > {shlex.quote(str(told))}")
    said = told.read_text()
    assert "no unit was ever committed here" in said
    assert f"lock: process {os.getpid()} " in said
    left_over(place, "other")
    assert "recovery will discard it" in atomsync("status", place / "other").stdout
    assert atomsync("status", place / "nothing").returncode == 3


def test_the_holder_is_named(src: Path, place: Path) -> None:
    words = ["-m", "atomsync", "push", str(src), str(place / "dst")]
    told = place / "told"
    again = f"{shlex.join([sys.executable, *words])} 2> {shlex.quote(str(told))}; true"
    push(src, place / "dst", check=again)
    said = told.read_text()
    assert f"another process is working on {place / 'dst'}" in said
    assert f"process {os.getpid()} " in said


def test_a_unit_of_the_library_waits_for_it(src: Path, place: Path) -> None:
    work = python(
        "import atomsync",
        f"store = atomsync.open_store({str(place / 'dst')!r}, timeout=0)",
        "unit = atomsync.UnitOfWork(store)",
        "unit.write('f', b'')",
    )
    report = push(src, place / "dst", check=f"{work} 2>&1 | grep StoreLocked")
    assert report.receipt is not None
    waited = open_store(place / "dst2", timeout=30)
    results = list[bytes]()

    def write() -> None:
        with waited.begin() as unit:
            unit.write("late", b"2")
        results.append((place / "dst2/late").read_bytes())

    late = threading.Thread(target=write)

    class Starting(Progress):
        def phase(self, name: str, *amounts: int) -> None:
            if name == "seal":
                late.start()
            super().phase(name, *amounts)

    push(src, place / "dst2", progress=Starting())
    late.join()
    assert results == [b"2"]
    assert (place / "dst2/a/f").read_bytes() == b"1"


# -- a crash left one


def test_the_next_push_removes_what_a_crash_left_and_says_so(src: Path, place: Path, atomsync: Cli) -> None:
    left_over(place)
    done = atomsync("push", src, place / "dst")
    assert done.returncode == 0
    assert "nothing of it was visible" in done.stderr
    assert os.listdir(place) == ["dst"]
    assert not (place / "dst/half").exists()


def test_recover_removes_what_a_crash_left(place: Path, atomsync: Cli) -> None:
    left_over(place)
    done = atomsync("recover", place / "dst")
    assert done.returncode == 0
    assert "discarded" in done.stdout
    assert os.listdir(place) == []
    assert atomsync("recover", place / "dst").returncode == 3


def test_a_unit_of_the_library_removes_what_a_crash_left(place: Path) -> None:
    left_over(place)
    with open_store(place / "dst").begin() as unit:
        unit.write("f", b"1")
    assert os.listdir(place) == ["dst"]
    assert sorted(os.listdir(place / "dst")) == [".atomsync", "f"]


@pytest.mark.parametrize("verb", ["push", "recover"])
def test_one_that_is_left_over_goes_also_if_somebody_else_has_made_the_destination(
    verb: str, src: Path, place: Path, atomsync: Cli
) -> None:
    left_over(place)
    (place / "dst").mkdir()
    words = ["push", src] if verb == "push" else ["recover"]
    assert atomsync(*words, place / "dst").returncode == 0
    assert os.listdir(place) == ["dst"]


def test_one_that_is_being_made_holds_nobody_up_once_there_is_a_destination(src: Path, place: Path) -> None:
    push(src, place / "dst2")
    again = shlex.join([sys.executable, "-m", "atomsync", "push", str(src), str(place / "dst")])
    with pytest.raises(Drift):
        push(src, place / "dst", check=f"mkdir {shlex.quote(str(place / 'dst'))} && {again}")
    assert sorted(os.listdir(place)) == ["dst", "dst2"]
    assert sorted(os.listdir(place / "dst")) == sorted(os.listdir(place / "dst2"))


def test_one_that_was_cut_as_it_was_made_is_used(src: Path, place: Path) -> None:
    (place / ".dst.atomsync-new").mkdir()
    report = push(src, place / "dst")
    assert report.recovery.action != DISCARDED
    assert os.listdir(place) == ["dst"]


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_is_not_ours_is_let_alone(
    kind: str, src: Path, place: Path, tmp_path: Path, assert_same_tree: Same
) -> None:
    other = place / ".dst.atomsync-new"
    if kind == "directory":
        (other / "precious").mkdir(parents=True)
    elif kind == "file":
        other.write_bytes(b"precious")
    else:
        left_over(tmp_path, "elsewhere").rename(tmp_path / "elsewhere")
        other.symlink_to(tmp_path / "elsewhere")
    before = judge.look(other)
    push(src, place / "dst")
    assert_same_tree(src, place / "dst")
    assert judge.look(other) == before


def test_a_destination_that_has_the_name_of_another_ones_sibling_is_let_alone(
    src: Path, place: Path, atomsync: Cli, assert_same_tree: Same
) -> None:
    other = place / ".dst.atomsync-new"
    push(src, other)
    assert atomsync("recover", place / "dst").returncode == 3
    for _ in range(2):
        push(src, place / "dst")
        assert_same_tree(src, place / "dst")
        assert_same_tree(src, other)
    with open_store(place / "dst").begin() as unit:
        unit.write("f", b"1")
    assert len(open_store(other).history()) == 1


def test_a_unit_that_is_staged_in_a_directory_of_that_name_is_let_alone(src: Path, place: Path) -> None:
    with UnitOfWork(open_store(place / ".dst.atomsync-new")) as unit:
        unit.write("f", b"1")
        unit.flush()
        push(src, place / "dst")
        unit.commit()
    assert (place / ".dst.atomsync-new/f").read_bytes() == b"1"


def test_a_source_that_is_left_of_the_making_of_the_destination_is_refused(
    place: Path, atomsync: Cli
) -> None:
    sibling = left_over(place)
    before = judge.look(sibling)
    for source in (sibling, sibling / "half"):
        done = atomsync("push", source, place / "dst")
        assert done.returncode == 4, done.stderr
        assert "would be" not in done.stderr
    assert judge.look(sibling) == before


def test_who_owns_the_source_does_not_matter(
    src: Path, place: Path, needs_root: None, assert_same_tree: Same
) -> None:
    os.chown(src, NOBODY, NOBODY)
    again = shell(sys.executable, "-m", "atomsync", "push", src, place / "dst")
    push(src, place / "dst", check=f"{again} 2>&1; test $? = 40")
    assert_same_tree(src, place / "dst")
    left_over(place, "other")
    os.chown(place / ".other.atomsync-new", NOBODY, NOBODY)
    push(src, place / "other")
    assert sorted(os.listdir(place)) == ["dst", "other"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("what", ["open to all", "a file", "a link"])
def test_one_that_cannot_be_trusted_is_let_alone(
    what: str, there: bool, src: Path, place: Path, assert_same_tree: Same
) -> None:
    control = left_over(place) / ".atomsync"
    if what == "open to all":
        control.chmod(0o755)
    else:
        control.rename(place / "elsewhere")
        control.symlink_to("../elsewhere") if what == "a link" else control.touch()
    before = judge.look(control.parent)
    if there:
        (place / "dst").mkdir()
    open_store(place / "dst").status()
    push(src, place / "dst")
    assert_same_tree(src, place / "dst")
    assert judge.look(control.parent) == before


@pytest.mark.parametrize(
    "stage", [[], [".atomsync"], [".atomsync", ".atomsync/making"], [".atomsync", ".atomsync/lock"]]
)
def test_however_early_its_maker_died_it_is_known(
    stage: list[str], src: Path, place: Path, assert_same_tree: Same
) -> None:
    sibling = place / ".dst.atomsync-new"
    sibling.mkdir()
    for name in stage:
        (sibling / name).mkdir(0o700) if name == ".atomsync" else (sibling / name).touch()
    push(src, place / "dst")
    assert os.listdir(place) == ["dst"]
    assert_same_tree(src, place / "dst")


def test_without_a_push_nobody_makes_one(place: Path) -> None:
    assert open_store(place / "dst").status().unfinished == ""
    assert open_store(place / "dst").history() == ()
    push(place, place.parent / "elsewhere", dry_run=True)
    assert os.listdir(place) == []
    assert not (place.parent / "elsewhere").exists()


def test_a_lock_that_is_held_stays_held_until_it_is_in_its_place(src: Path, place: Path) -> None:
    locked = list[str]()

    class Trying(Progress):
        def phase(self, name: str, *amounts: int) -> None:
            if name in ("stage", "seal", "commit"):
                try:
                    open_store(place / "dst", timeout=0).recover()
                except StoreLocked:
                    locked.append(name)
            super().phase(name, *amounts)

    push(src, place / "dst", progress=Trying())
    assert locked == ["stage", "seal", "commit"]
