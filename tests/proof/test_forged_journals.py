"""Hand-made journals are refused, by the library and by the command, and the store stays as it is."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atomsync.errors import JournalError
from tests.proof import bent, forged, forgeries
from tests.proof.figures import Figures, Outcome, scaled

MEMORY_MAX_BYTES, TIME_MAX_S = 3 << 30, 60


@pytest.fixture
def base() -> Iterator[Path]:
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="atomsync-proof-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


def test_every_byte_flipped_and_every_truncation_is_refused(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    masks = tuple(1 << bit for bit in range(8)) + ((0xFF,) if scaled(0, 1) else ())
    bent.flipped_and_cut(base, outcome, masks, stride=scaled(20, 1))
    figures.add("forged", "every byte, every length", outcome)


def test_a_forgery_with_right_digests_is_refused(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    forgeries.every_forgery(base, outcome)
    figures.add("forged", "right digests", outcome)


@pytest.mark.usefixtures("needs_root")
def test_a_journal_that_is_no_file_of_our_own_alone_is_refused(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    bent.misplaced(base, outcome)
    figures.add("forged", "misplaced", outcome)


def test_a_journal_of_strangers_undoes_nothing(base: Path, figures: Figures) -> None:
    """It is whole, but the objects it speaks of are others: nothing of theirs moves, and what is in the
    slots is kept."""
    outcome = Outcome()
    bent.of_strangers(base, outcome)
    figures.add("forged", "of strangers", outcome)


def test_a_journal_of_10_to_the_9_steps_takes_neither_time_nor_memory(base: Path, figures: Figures) -> None:
    outcome = Outcome()
    victim = forged.Victim(base / "victim")
    crowd = forgeries.crowded(victim.records, scaled(20_000, 200_000))
    for name, data, size in (("crowded", crowd, len(crowd)), ("zeros", b"", scaled(100 << 20, 1 << 30))):
        victim.put(data)
        os.truncate(victim.journal, size)
        outcome.judged("refused", *_refused_in_bounds(victim, name), *victim.touched())
    figures.add("forged", "10^9 steps", outcome, bytes=len(crowd))


def _refused_in_bounds(victim: forged.Victim, name: str) -> list[str]:
    """Recovery in a child of little memory and time."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
        signal.alarm(TIME_MAX_S)
        try:
            victim.store.recover()
        except JournalError:
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [] if status == 0 else [f"{name}: recovery ended with {status}"]


@pytest.mark.parametrize("how", ["flipped", "cut", "leads out", "empty"])
def test_the_command_says_what_to_do(how: str, base: Path, atomsync: Any, figures: Figures) -> None:
    victim = forged.Victim(base / "victim")
    data = victim.data
    number = next(number for number, (kind, _) in enumerate(victim.records) if kind == forged.STEP)
    victim.put(
        {
            "flipped": data[:100] + bytes([data[100] ^ 1]) + data[101:],
            "cut": data[: victim.commit_at // 2],
            "leads out": forged.written(forged.changed(victim.records, number, 1, "../x")),
            "empty": b"",
        }[how]
    )
    outcome = Outcome()
    for command, words, status in (
        ("recover", [victim.dst], 46),
        ("push", [victim.src, victim.dst], 46),
        ("status", [victim.dst], 0),
    ):
        done = atomsync(command, *words)
        said = done.stdout + done.stderr
        wrong = victim.touched()
        wrong += [f"exit {done.returncode}: {said}"] if done.returncode != status else []
        wrong += [f"no way out in {said}"] if "recovery.md" not in said and "trusted" not in said else []
        outcome.judged("refused", *(f"{command}, {how}: {one}" for one in wrong))
    figures.add("forged", f"command, {how}", outcome)
