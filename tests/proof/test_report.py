"""The document says what the figures say, all of them or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proof.mutants import MUTANTS
from tests.proof.report import LAYERS, main
from tests.proof.report import MUTANTS as LAYER

DOCUMENT = "a <!-- mutants -->\nold\n<!-- /mutants --> b\n<!-- figures -->\nold\n<!-- /figures --> c"


def keep(kept: Path, *figures: tuple[str, str, dict[str, int | str]], name: str = "1") -> None:
    run = {"date": "2026-11-21", "kernel": "6.18", "python": "3.11", "figures": figures}
    (kept / f"figures-{name}.json").write_text(json.dumps(run))


def everything(judged: int) -> list[tuple[str, str, dict[str, int | str]]]:
    layers = [(layer, "case", {"judged": judged, "violations": 0}) for layer in LAYERS]
    return [*layers, (LAYER, "no B1", {"kills": "no", "model": "caught (3)"})]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "proof.md"
    path.write_text(DOCUMENT)
    return path


def test_a_run_in_which_nothing_ran_fails(document: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(document, tmp_path)


def test_a_part_is_printed_and_leaves_the_document_alone(
    document: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path, ("kills", "rich", {"judged": 1234, "old": 1234, "violations": 0}))
    main(document, tmp_path)
    assert document.read_text() == DOCUMENT
    assert "| kills | rich | 1,234 | 1,234 old | 0 |" in capsys.readouterr().out


def test_a_whole_run_rewrites_both_tables_and_nothing_else(document: Path, tmp_path: Path) -> None:
    keep(tmp_path, *everything(judged=5))
    main(document, tmp_path)
    text = document.read_text()
    assert text.startswith("a <!-- mutants -->\n| switched off | kills | model |")
    assert "| no B1 | no | caught (3) |" in text
    assert text.endswith("<!-- /figures --> c")
    assert f"{5 * len(LAYERS):,} states judged" in text
    assert "old" not in text


def test_every_mutant_stands_in_the_document_as_caught() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "proof.md").read_text().splitlines()
    for name in MUTANTS:
        (row,) = (row for row in rows if row.startswith(f"| {name} |"))
        assert "caught" in row
