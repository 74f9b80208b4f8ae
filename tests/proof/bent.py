"""A journal that was right and then was bent: flipped, cut short, moved, given away, made of strangers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atomsync.errors import JournalError
from atomsync.store.journal import COMMIT_SPACE_BYTES, decode
from atomsync.sync.push import push
from tests.proof.canary import NOBODY
from tests.proof.figures import Outcome
from tests.proof.forged import STEP, Trial, Victim, records_of, written
from tests.proof.judge import look


# -- every byte, every length
def flipped_and_cut(base: Path, outcome: Outcome, masks: tuple[int, ...], stride: int) -> None:
    """Every byte up to the place of COMMIT with every mask, every truncation; each ``stride``-th by recovery
    itself, the others by the codec alone. Behind END anything may stand: not committed, or refused."""
    trial = Trial(base, outcome)
    data, commit_at = trial.victim.data, trial.victim.commit_at
    want = decode(data).steps
    for number, (name, bad) in enumerate(_bent(data, commit_at, masks)):
        if outcome.done:
            return
        if number % stride == 0:
            trial.refused(name, bad, thorough=number % (stride * 50) == 0)
        else:
            outcome.judged("refused", *_not_refused(name, bad))
    for name, bad in _bent_behind_end(data, commit_at, masks):
        try:
            found = decode(bad)
        except JournalError:
            outcome.judged("refused")
            continue
        believed = found.committed or found.steps != want
        outcome.judged("not committed", *([f"{name}: taken for committed"] if believed else []))


def _not_refused(name: str, data: bytes) -> list[str]:
    try:
        decode(data)
    except JournalError:
        return []
    except Exception as error:
        return [f"{name}: {type(error).__name__}: {error}"]
    return [f"{name}: the codec took it"]


def _bent(data: bytes, commit_at: int, masks: tuple[int, ...]) -> Iterator[tuple[str, bytes]]:
    for at in range(commit_at):
        for mask in masks:
            yield f"byte {at} ^ {mask:#x}", data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    for size in range(commit_at):
        yield f"cut to {size} bytes", data[:size]
    rng = random.Random(8)
    for size in (1, 2, 16, 28, 64, 1000, 1 << 16):
        yield f"{size} bytes of garbage behind it", data + rng.randbytes(size)
        yield f"{size} zeros behind it", data + bytes(size)
        yield f"{size} bytes of garbage before it", rng.randbytes(size) + data


def _bent_behind_end(data: bytes, commit_at: int, masks: tuple[int, ...]) -> Iterator[tuple[str, bytes]]:
    records, _ = records_of(data)
    whole = written(records, committed=True)
    for base in (data, whole):
        for at in range(commit_at, len(base)):
            for mask in masks:
                yield f"byte {at} ^ {mask:#x}", base[:at] + bytes([base[at] ^ mask]) + base[at + 1 :]
    for size in range(commit_at, len(whole) - COMMIT_SPACE_BYTES + 28):
        yield f"cut to {size} bytes", whole[:size]


# -- what is a file of another kind
def misplaced(base: Path, outcome: Outcome) -> None:
    """A journal that is right in every byte, but not in what it is."""
    for number, (name, misplace) in enumerate(MISPLACED.items()):
        if outcome.done:
            return
        victim = Victim(base / str(number))
        misplace(victim)
        victim.touched()
        wrong = []
        for word, verb in (("recover", victim.store.recover), ("push", lambda: push(victim.src, victim.dst))):  # noqa: B023
            try:
                verb()
            except JournalError:
                wrong += victim.touched()
            except Exception as error:
                wrong.append(f"{word}: {type(error).__name__}: {error}")
            else:
                wrong.append(f"{word} took it")
        outcome.judged("accepted" if wrong else "refused", *(f"{name}: {one}" for one in wrong))


def of_strangers(base: Path, outcome: Outcome) -> None:
    """The identities of every object are others, in any combination of sides; not committed. What came out
    of a path and is still missing there may go back; nothing else may move, and nothing be lost."""
    for number, sides in enumerate(((2,), (3,), (2, 3))):
        if outcome.done:
            return
        victim = Victim(base / str(number))
        victim.put(written([(kind, _estranged(kind, it, sides)) for kind, it in victim.records]))
        tree, kept = look(victim.dst), _contents(victim.dst / ".atomsync/unit/slots")
        wrong = []
        for _ in range(2):
            try:
                victim.store.recover()
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
        now = look(victim.dst)
        moved = [path for path, seen in tree.items() if path not in now or seen.ino != now[path].ino]
        wrong += [f"moved or replaced: {moved}"] if moved and 3 in sides else []
        lost = kept - _contents(victim.dst)
        wrong += [f"lost: {lost}"] if lost else []
        outcome.judged("harmless", *wrong)


def _estranged(kind: int, payload: Any, sides: tuple[int, ...]) -> Any:
    if kind != STEP:
        return payload
    return [
        [*value[:7], value[7] + 1_000_000_007, *value[8:]] if side in sides and value else value
        for side, value in enumerate(payload)
    ]


def _contents(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in root.rglob("*") if path.is_file() and path.parent.name != "unit"}


def _instead(victim: Victim, plant: Callable[[Path], object]) -> None:
    """Something else under the journal's name; the journal itself stands beside the trees."""
    os.rename(victim.journal, victim.base / "moved")
    plant(victim.journal)


MISPLACED: dict[str, Callable[[Victim], object]] = {
    "somebody else's": lambda victim: os.chown(victim.journal, NOBODY, NOBODY),
    "a hard link": lambda victim: os.link(victim.journal, victim.base / "second"),
    "a link to it": lambda victim: _instead(victim, lambda at: at.symlink_to(victim.base / "moved")),
    "a link to nothing": lambda victim: _instead(victim, lambda at: at.symlink_to("nowhere")),
    "a FIFO": lambda victim: _instead(victim, os.mkfifo),
    "a directory": lambda victim: _instead(victim, os.mkdir),
    "empty": lambda victim: os.truncate(victim.journal, 0),
    "a byte beyond 1 GiB": lambda victim: os.truncate(victim.journal, (1 << 30) + 1),
    "a thousand times larger": lambda victim: os.truncate(victim.journal, 1 << 40),
}
