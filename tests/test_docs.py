"""What the documents show, works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("README.md", "docs/library.md")
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_python_example_runs_as_written(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old-name.html").write_text("old")
    (tmp_path / "site" / "drafts").mkdir()
    (tmp_path / "logo.svg").write_text("<svg/>")
    monkeypatch.chdir(tmp_path)
    block = block.replace('"/srv/www"', '"www"').replace("/home/me/logo.svg", "logo.svg")

    exec(compile(block, "example", "exec"), {})

    if "push(" in block:
        assert (tmp_path / "www" / "new-name.html").read_text() == "old"
        assert not (tmp_path / "www" / "drafts").exists()


def test_every_link_between_the_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_word_of_the_guarantee_names_tests_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "guarantee.md").read_text(encoding="utf-8")
    promise = re.findall(r"^> .*$", page, re.M)
    assert promise
    assert all(line in readme for line in promise), "the README and the page promise the same"
    named = re.findall(r"`(tests/[\w/.]*)`", page)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path
