"""The sessions in fixtures/transcripts: each command says what it said when a stranger tried it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts import TRANSCRIPTS, typed_again


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_stranger_sees_what_the_transcript_shows(path: Path, tmp_path: Path) -> None:
    for typed, then, now in typed_again(path, tmp_path):
        assert now == then, typed


def test_there_is_a_transcript_of_every_job() -> None:
    assert [path.stem for path in TRANSCRIPTS] == [
        "check-a-config",
        "deploy-a-site",
        "embed-in-a-script",
        "mirror-photos",
        "undo-a-mistake",
    ]
