"""The tests that docs/testing.md shows are run, not only defined."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = re.findall(r"^def (test_\w+)", TEXT, re.M)


@pytest.fixture
def defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., None]]:
    """Everything that the page defines, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    found: dict[str, Callable[..., None]] = {}
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_the_page_answers_the_questions_it_begins_with() -> None:
    assert len(SHOWN) == len(set(SHOWN)) > 8


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_test_on_the_page_passes(
    name: str, defined: dict[str, Callable[..., None]], tmp_path: Path
) -> None:
    fixtures = inspect.signature(defined[name]).parameters
    defined[name](**({"tmp_path": tmp_path} if "tmp_path" in fixtures else {}))


def break_it(defined: dict[str, Callable[..., object]]) -> None:
    """Instead of the code under test, some that writes the index by itself, and orders before it prepares."""

    def upload(store: object, name: str, content: bytes) -> None:
        for path in (f"files/{name}", "index.txt"):
            with store.begin() as unit:  # type: ignore[attr-defined]
                unit.write(path, content if path != "index.txt" else f"{name}\n".encode())

    def place(store: object, orders: object) -> None:
        orders.commit(store, "an order")  # type: ignore[attr-defined]
        with store.begin() as unit:  # type: ignore[attr-defined]
            unit.write("invoice.txt", b"1 chair")

    defined.update(upload=upload, place=place)


@pytest.mark.parametrize("name", [name for name in SHOWN if "wherever" in name or "takes_back" in name])
def test_a_test_on_the_page_fails_when_the_code_under_test_is_wrong(
    name: str, defined: dict[str, Callable[..., None]]
) -> None:
    break_it(defined)
    with pytest.raises(AssertionError):
        defined[name]()
