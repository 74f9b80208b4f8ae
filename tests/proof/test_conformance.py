"""Every change the kernel sees went through the door to the disk, and was told of in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.proof.conformance import conforms
from tests.proof.figures import Figures, Outcome
from tests.proof.ground import COMMITTED, EARLIER, MIDWAY, MISSING, PLAIN, STAGED, Ground, Setting

SETTINGS = {
    "rich": Setting(),
    "small": Setting(small=True),
    "first push": Setting(dst=PLAIN),
    "new DST": Setting(dst=MISSING),
    "gives up a unit": Setting(dst=EARLIER),
    "durability none": Setting(durability="none"),
    "state directory": Setting(dst=PLAIN, state_dir=True),
    "recover, staged": Setting(cut=STAGED),
    "recover, midway": Setting(cut=MIDWAY),
    "recover, small": Setting(small=True, cut=MIDWAY),
    "recover, committed": Setting(cut=COMMITTED),
}


def judged(figures: Figures, case: str, base: Path, setting: Setting) -> None:
    outcome = Outcome()
    conforms(outcome, Ground(base, setting))
    figures.add("conformance", case, outcome)
    assert outcome.counts["at the door"] > 10


@pytest.mark.parametrize("name", SETTINGS)
def test_every_mutating_syscall_is_a_verb_of_the_door(
    name: str, strace: Callable[..., list[str]], tmp_path: Path, figures: Figures
) -> None:
    judged(figures, name, tmp_path, SETTINGS[name])


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_every_mutating_syscall_is_a_verb_of_the_door_on(
    kind: str, strace: Callable[..., list[str]], small_fs: Any, figures: Figures
) -> None:
    judged(figures, f"rich, {kind}", small_fs(kind, 64), SETTINGS["rich"])
