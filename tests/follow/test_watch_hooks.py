"""Commands around the units of a watch: one that refuses is trouble, one that follows is run for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import AfterFailed, CheckFailed, UsageError
from atomsync.follow.trouble import FIRST_S, Trouble
from tests.follow.following import Following

Follow = Callable[..., Following]
Same = Callable[[Path, Path], None]


def events(watch: Following, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in watch.told if event == name]


def test_a_check_that_fails_holds_the_batch_back_until_the_source_is_mended(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "conf").write_text("good")
    watch = follow(src, dst, check="echo looking; ! grep -q bad conf")
    watch.settled()
    (src / "conf").write_text("bad")
    (src / "other").write_text("waits with it")
    error = watch.wait_for("retrying")["error"]
    assert isinstance(error, CheckFailed)
    assert "looking" in str(error)
    assert (dst / "conf").read_text() == "good"
    assert not (dst / "other").exists()
    flushed = watch.follower.flush(20)
    assert (flushed.committed, flushed.exit_status) == (False, 43)
    tries = len(events(watch, "retrying"))
    (src / "conf").write_text("good again")
    watch.settled()
    assert_same_tree(src, dst)
    assert [fields["news"] for fields in events(watch, "retrying")[:tries]].count(True) == 1
    watch.wait_for("resumed")


def test_a_change_of_the_source_is_tried_at_once_after_a_check_refused() -> None:
    trouble = Trouble()
    for _ in range(6):
        trouble.meet(CheckFailed("the check failed: x"), 100.0)
    assert trouble.next_try_s is not None
    assert trouble.next_try_s > 100 + 10 * FIRST_S
    trouble.heard(101.0)
    assert trouble.next_try_s == 101.0


def test_what_follows_is_run_once_for_each_unit(src: Path, dst: Path, tmp_path: Path, follow: Follow) -> None:
    log = tmp_path / "log"
    watch = follow(src, dst, after=f'echo "$ATOMSYNC_UNIT" >> {log}', touch="reload")
    for number in range(3):
        (src / f"f{number}").write_text("x")
        watch.settled()
    units = [report.receipt.unit_id for report in watch.reports() if report.receipt]
    assert log.read_text().split() == units
    assert (dst / "reload").exists()
    (src / "reload").write_text("none of its business")
    watch.settled()
    assert (dst / "reload").read_text() == ""


def test_if_what_follows_fails_the_unit_stays_and_the_watch_goes_on(
    src: Path, dst: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "f").write_text("1")
    watch = follow(src, dst, after="echo no; false")
    assert "It said:\n    no" in str(watch.wait_for("after-failed")["error"])
    (src / "f").write_text("22")
    watch.settled()
    assert_same_tree(src, dst)
    assert len(events(watch, "after-failed")) == len(watch.reports())
    assert events(watch, "retrying") == []


def test_a_unit_that_is_undone_is_tried_again_when_the_source_changes(
    src: Path, dst: Path, tmp_path: Path, follow: Follow, assert_same_tree: Same
) -> None:
    watch = follow(src, dst)
    (src / "f").write_text("1")
    watch.settled()
    watch.stop()
    (src / "f").write_text("22")
    watch = follow(src, dst, after=f"test -e {tmp_path}/well", undo_on_failure=True)
    error = watch.wait_for("retrying")["error"]
    assert isinstance(error, AfterFailed)
    assert "was undone, by unit" in str(error)
    (src / "f").write_text("333")
    watch.wait_until(lambda: len(events(watch, "retrying")) > 1)
    assert (dst / "f").read_text() == "1"
    assert [fields["news"] for fields in events(watch, "retrying")][:2] == [True, False]
    assert events(watch, "after-failed") == []
    (tmp_path / "well").touch()
    watch.settled()
    assert_same_tree(src, dst)


def test_a_unit_whose_following_command_is_cut_by_the_stop_is_told_of(
    src: Path, dst: Path, tmp_path: Path, follow: Follow, assert_same_tree: Same
) -> None:
    (src / "f").write_text("1")
    begun = tmp_path / "begun"
    watch = follow(src, dst, after=f"test -e f || exit 0; touch {begun}; sleep 300", undo_on_failure=True)
    watch.wait_until(begun.exists)
    watch.stop()
    assert_same_tree(src, dst)
    assert watch.reports()[-1].receipt.created == 1
    (told,) = events(watch, "after-failed")
    assert "is committed, but the command after it was ended" in str(told["error"])


def test_a_watch_is_stopped_while_its_check_runs(
    src: Path, dst: Path, tmp_path: Path, follow: Follow
) -> None:
    (src / "f").write_text("1")
    begun = tmp_path / "begun"
    watch = follow(src, dst, check=f"touch {begun}; sleep 300; true")
    watch.wait_until(begun.exists)
    watch.stop()
    assert not (dst / "f").exists()


@pytest.mark.parametrize("options", [{"check": "a\0b"}, {"touch": "../f"}])
def test_what_could_never_work_is_refused_at_the_start(
    src: Path, dst: Path, follow: Follow, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError):
        follow(src, dst, **options)
