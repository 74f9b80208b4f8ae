"""Storms: whatever changes, however fast, and whatever happens to the watch, at rest DST is what SRC is, and
nobody who reads at DST ever meets a file that is not whole.

The short form is part of every test run; ``make soak`` is the full one.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.proof.figures import Figures
from tests.soak import writers
from tests.soak.reader import Reader
from tests.soak.watched import Watched, scaled
from tests.soak.whole import generations, next_generation, record

Make = Callable[..., Watched]
_SHORT = ("--settle=50ms", "--max-wait=500ms")  # writers that never rest are cut into many units
_QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def told(watched: Watched, began: float) -> dict[str, Any]:
    """What a storm has come to."""
    units = [unit for unit in watched.told("receipt") if unit["unit"]]
    coverage = watched.status()["coverage"]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "units": len(units),
        "changes": sum(unit["created"] + unit["updated"] + unit["removed"] for unit in units),
        "lag max ms": max(unit["lag_ms"] for unit in units),
        "overflows": coverage["overflows"],
        "reattached": coverage["reattached"],
        "rescans": coverage["rescans"],
        "missed": coverage["missed"],
    }


@pytest.mark.parametrize("directories", [1, 3_000])
def test_a_flood_of_new_files_arrives_whole(directories: int, watched: Make, figures: Figures) -> None:
    follower = watched()
    follower.start()
    follower.flush()
    began = time.monotonic()
    count = scaled(20_000, 60_000)
    with writers.Work(lambda: writers.create(follower.src, count, directories)) as flood:
        flood.finish()
    rate = count / (time.monotonic() - began)
    follower.assert_equal_at_rest()
    figures.add(
        "storms", f"new files, {directories} directories", **told(follower, began), **{"files/s": round(rate)}
    )
    follower.stop()


@pytest.mark.parametrize("seed", range(scaled(1, 10)))
def test_at_every_rest_of_a_storm_dst_is_src(seed: int, watched: Make, figures: Figures) -> None:
    follower = watched(*_SHORT, "--rescan=2s")
    writers.prepare(follower.src)
    follower.start()
    follower.flush()
    began = time.monotonic()
    rounds = scaled(30, 50)
    with Reader(follower.dst, forward=True, slow=True) as reader:
        for part in range(scaled(2, 20)):
            with writers.Crowd(follower.src, follower.outside, seed * 100 + part, rounds, slow=True) as crowd:
                crowd.finish()
            follower.assert_equal_at_rest()
    found = told(follower, began)
    figures.add("storms", f"random, seed {seed}", **found, **reader.seen)
    assert found["rescans"] > 0
    assert found["missed"] == 0, follower.told("missed")
    follower.stop()


def test_a_real_overflow_of_the_kernels_queue_loses_nothing(
    watched: Make, wait_until: Any, figures: Figures
) -> None:
    follower = watched(*_SHORT)
    writers.prepare(follower.src)
    follower.start()
    follower.flush()
    began = time.monotonic()
    events_max = int(_QUEUE.read_text())
    overflows = scaled(2, 10)
    crowd = writers.Crowd(follower.src, follower.outside, 7, scaled(100, 800), slow=False)

    def healed() -> tuple[int, int]:
        coverage = follower.status()["coverage"]
        return coverage["overflows"], coverage["reattached"]

    with Reader(follower.dst, forward=True, slow=False) as reader, crowd:
        for number in range(1, overflows + 1):
            time.sleep(0.2)  # of the storm
            follower.process.send_signal(signal.SIGSTOP)
            with writers.Work(partial(writers.flicker, follower.src, events_max + 1)) as flicker:
                flicker.finish()
            follower.process.send_signal(signal.SIGCONT)
            wait_until(lambda number=number: min(healed()) >= number)
        crowd.finish()
        follower.assert_equal_at_rest()
    figures.add("storms", "overflows", **told(follower, began), **reader.seen)
    follower.stop()


@pytest.mark.parametrize("seed", range(scaled(1, 5)))
def test_kills_during_a_storm_lose_nothing(seed: int, watched: Make, atomsync: Any, figures: Figures) -> None:
    dice = random.Random(seed)
    follower = watched(*_SHORT)
    writers.prepare(follower.src)
    follower.start()
    follower.flush()
    began = time.monotonic()
    kills = scaled(6, 60)
    crowd = writers.Crowd(follower.src, follower.outside, seed, kills * 50, slow=False)
    with Reader(follower.dst, forward=False, slow=False) as reader, crowd:
        for number in range(kills):
            time.sleep(dice.uniform(0.3, 2))
            follower.kill()
            if number % 3 == 0:
                done = atomsync("recover", follower.dst)
                assert done.returncode == 0, done.stderr
            follower.start()
        crowd.finish()
        follower.assert_equal_at_rest()
    figures.add("storms", f"kills, seed {seed}", kills=kills, **told(follower, began), **reader.seen)
    follower.stop()


def test_no_batch_is_half_visible_after_the_recovery_of_a_killed_watch(
    watched: Make, atomsync: Any, wait_until: Any, figures: Figures
) -> None:
    """Two directories whose files are written together, then nothing: one batch takes them all."""
    dice = random.Random(3)
    settle_s = 0.2
    follower = watched(f"--settle={settle_s}", "--max-wait=30")
    names = [f"{side}/{number}" for side in ("left", "right") for number in range(200)]
    for name in names:
        (follower.src / name).parent.mkdir(exist_ok=True)

    def publish() -> None:
        generation = next_generation()
        for name in names:
            (follower.src / name).write_bytes(record(generation, 100))

    def generation_of(name: str) -> int:
        found = generations((follower.dst / name).read_bytes())
        assert found is not None
        return found[0]

    def there() -> set[int]:
        return {generation_of(name) for name in names}

    publish()
    kills = scaled(6, 200)
    became: Counter[str] = Counter()
    for number in range(kills):
        follower.start()
        follower.flush()
        before = there()
        publish()
        if number % 3:  # while it commits
            name = dice.choice(names)
            wait_until(lambda name=name, before=before: generation_of(name) not in before)
        else:  # about when it stages
            time.sleep(dice.uniform(settle_s / 2, 2 * settle_s))
        follower.kill()
        done = atomsync("recover", "--json", follower.dst)
        assert done.returncode == 0, done.stderr
        became[json.loads(done.stdout)["action"]] += 1
        assert len(before) == len(there()) == 1
    follower.start()
    follower.assert_equal_at_rest()
    figures.add("storms", "batches killed", kills=kills, **became)
    follower.stop()
