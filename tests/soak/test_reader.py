"""The reader of the storms sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.reader import Look, Reader
from tests.soak.whole import generations, next_generation, record
from tests.soak.writers import prepare


def _tear(root: Path) -> None:
    path = root / "w0/deep/er/replaced"
    path.write_bytes(path.read_bytes()[:-1])


def _mix(root: Path) -> None:
    path = root / "chaos/f"
    path.write_bytes(record(1, 40)[:80] + record(2, 40)[80:])


def _remove(root: Path) -> None:
    (root / "w3/link").unlink()


def _go_back(root: Path) -> None:
    (root / "w1/in-place").write_bytes(record(1, 5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_tear, "w0/deep/er/replaced is not whole"),
        (_mix, "chaos/f is not whole"),
        (_remove, "w3/link is missing"),
        (_go_back, "w1/in-place went back"),
    ],
)
def test_a_reader_tells_what_is_wrong(change: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    look = Look(tmp_path, forward=True, slow=True)
    assert [*look.at_what_never_is_missing(), *look.everywhere()] == []
    change(tmp_path)
    assert {*look.at_what_never_is_missing(), *look.everywhere()} == {said}


def test_a_reader_in_its_process_tells_it_too(tmp_path: Path) -> None:
    prepare(tmp_path)
    _remove(tmp_path)
    reader = Reader(tmp_path, forward=True, slow=True)
    with pytest.raises(AssertionError, match="w3/link is missing"), reader:
        pass


def test_records_are_whole_or_not() -> None:
    first, second = record(next_generation(), 0), record(next_generation(), 100)
    assert generations(b"") == []
    assert len(generations(first + second) or []) == 2
    for data in (second[:-1], second[1:], second + b"x", first + second[:40], bytes(63)):
        assert generations(data) is None
