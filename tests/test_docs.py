"""What the documents show, works."""

from __future__ import annotations

import doctest
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from atomsync.unit.state import drawn

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if "\n```python\n" in page.read_text(encoding="utf-8")]
EXAMPLES = Sybil([PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS)])


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in, as a reader's would be who tries the page."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read_through(nowhere: Path) -> Callable[[Path], int]:
    """Try all examples of a page from top to bottom, and compare what they show; how many there were."""

    def tried(page: Path) -> int:
        if "sqlalchemy" in page.read_text(encoding="utf-8") and not importlib.util.find_spec("sqlalchemy"):
            pytest.skip("SQLAlchemy is not installed, and the examples of this page use it")
        document = EXAMPLES.parse(page)
        examples = [*document.examples()]
        for example in examples:
            example.evaluate()
        document.namespace.clear()
        return len(examples)

    return tried


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=named)
@pytest.mark.filterwarnings("error:a (unit of work|file of a unit):ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_every_python_example_runs_as_written(page: Path, read_through: Callable[[Path], int]) -> None:
    shown = page.read_text(encoding="utf-8").count("\n```python\n")
    assert read_through(page) >= shown


def test_an_example_that_is_wrong_would_be_noticed(
    nowhere: Path, read_through: Callable[[Path], int]
) -> None:
    page = nowhere / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\n>>> x + 1\n3\n```\n")
    with pytest.raises(AssertionError, match="line 6"):
        read_through(page)


def test_no_example_is_in_a_language_that_is_not_tried() -> None:
    """So that none slips through as ``py``."""
    blocks = [block for page in PAGES for block in re.findall(r"^ *```(\w+)$", page.read_text("utf-8"), re.M)]
    assert set(blocks) == {"python", "sh", "text", "toml"}


def test_the_guide_has_its_examples() -> None:
    assert {named(page) for page in WITH_EXAMPLES} >= {"README.md", "docs/library.md", "docs/sqlalchemy.md"}


def test_the_life_of_a_unit_is_drawn_from_its_table() -> None:
    guide = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^<!-- life: begin -->\n(.*?)\n<!-- life: end -->$", guide, re.M | re.S)
    assert shown == drawn()


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_between_the_documents_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def test_every_word_of_the_guarantee_names_tests_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "guarantee.md").read_text(encoding="utf-8")
    promise = re.findall(r"^> .*$", page, re.M)
    assert promise
    assert all(line in readme for line in promise), "the README and the page promise the same"
    named_there = re.findall(r"`(tests/[\w/.]*)`", page)
    assert named_there
    for path in named_there:
        assert (ROOT / path).exists(), path
