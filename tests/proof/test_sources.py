"""What changes while it is read is never committed torn."""

from __future__ import annotations

from pathlib import Path

from tests.proof.figures import Figures, Outcome, scaled
from tests.proof.sources import changing_sources


def test_a_source_that_changes_at_any_moment_is_never_committed_torn(
    tmp_path: Path, figures: Figures
) -> None:
    outcome = Outcome()
    changing_sources(tmp_path, outcome, stride=scaled(3, 1))
    assert outcome.counts["committed"] > 10, "the changes came too late to matter"
    figures.add("sources", "changed while being read", outcome)
