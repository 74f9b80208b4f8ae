"""Journals made by hand, put into a store that really has an unfinished unit: refused, nothing touched.

The unit is a real one, killed before COMMIT with every swap done, so whatever is believed has consequences.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

from atomsync.errors import JournalError
from atomsync.store.journal import COMMIT_SPACE_BYTES
from atomsync.sync.push import push
from atomsync.testing import HookedDisk, Killed
from atomsync.unit.store import open_store
from tests.proof.attack import descriptors_closed
from tests.proof.canary import look_hard
from tests.proof.figures import Outcome
from tests.proof.scenario import Scenario
from tests.store.world import World

BEGIN, STEP, INSIDE, DISPLACED, END, COMMIT, PREPARED, ABOUT = range(1, 9)
Records = list[tuple[int, Any]]
_HEAD = struct.Struct("<4sBBxxI")


# -- a writer of our own, from docs/on-disk-format.md
def frame(unit_id: str, number: int, kind: int, payload: Any, *, lie: int = 0, version: int = 1) -> bytes:
    """``payload`` as JSON, or as it is if it is bytes; the length given is off by ``lie``."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    digest = xxhash.xxh3_128_digest(f"{unit_id} {number} {kind} ".encode("utf-8", "surrogatepass") + text)
    return struct.pack("<4sBBxxI", b"atsj", version, kind, (len(text) + lie) % (1 << 32)) + text + digest


def written(records: Records, *, rest: bytes = bytes(COMMIT_SPACE_BYTES), committed: bool = False) -> bytes:
    unit_id = records[0][1][0] if isinstance(records[0][1], list) and records[0][1] else ""
    data = b"".join(frame(str(unit_id), number, *record) for number, record in enumerate(records))
    commit = frame(str(unit_id), len(records), COMMIT, b"") if committed else b""
    return data + commit + rest[len(commit) :]


def records_of(data: bytes) -> tuple[Records, int]:
    """The records of a journal, and where COMMIT belongs."""
    found, at = [], 0
    while data[at : at + 4] == b"atsj":
        _, _, kind, size = _HEAD.unpack_from(data, at)
        found.append((kind, json.loads(data[at + 12 : at + 12 + size])))
        at += 12 + size + 16
    return found, at


def changed(records: Records, number: int, field: int, value: Any) -> Records:
    """The records with one field of one of them changed."""
    kind, payload = records[number]
    bent = (kind, [*payload[:field], value, *payload[field + 1 :]])
    return [*records[:number], bent, *records[number + 1 :]]


class Victim:
    """A DST with an unfinished unit. ``data`` is its journal, which ``put`` replaces."""

    def __init__(self, base: Path) -> None:
        base.mkdir()
        self.base = base
        scenario = Scenario(base, small=True)
        scenario.build()
        self.src, self.dst = scenario.src, scenario.dst
        (scenario.src / "new-dir").mkdir()
        (scenario.src / "new-dir/f").write_bytes(b"f")
        os.chmod(scenario.src / "deep", 0o711)
        self.journal = self.dst / ".atomsync/unit/journal"
        with descriptors_closed():
            try:
                World(HookedDisk(_before_commit()), str(base)).push()
            except Killed:
                pass
            else:
                raise AssertionError("the push should have been cut before its COMMIT")
        self.data = self.journal.read_bytes()
        self.records, self.commit_at = records_of(self.data)
        self.store = open_store(self.dst)
        self._before = self._look()

    def put(self, data: bytes) -> None:
        self.journal.write_bytes(data)

    def touched(self) -> list[str]:
        """What is not as it was, but for the lock, and the journal, which is ours to write."""
        before, now = self._before, self._look()
        self._before = now
        return [
            f"{path!r} was {before.get(path)}, is {now.get(path)}"
            for path in sorted(before.keys() | now.keys())
            if before.get(path) != now.get(path)
        ]

    def _look(self) -> dict[str, tuple[object, ...]]:
        found = look_hard(self.base)
        for name in ("lock", "unit/journal", "unit"):
            found.pop(f"dst/.atomsync/{name}", None)
        return found


def _before_commit() -> Callable[[int, str, tuple[str, ...]], None]:
    swapped = False

    def hook(index: int, verb: str, names: tuple[str, ...]) -> None:
        nonlocal swapped
        swapped = swapped or (verb == "exchange" and "replaced" in names)
        if swapped and verb in ("write", "truncate"):
            raise Killed

    return hook


class Trial:
    """Offers journals to a victim and judges what becomes of them."""

    def __init__(self, base: Path, outcome: Outcome) -> None:
        self._base, self._outcome, self._number = base, outcome, 0
        self.victim = self._fresh()

    def refused(self, name: str, data: bytes, *, thorough: bool = True) -> None:
        """Recovery must; ``thorough``: a push too, status must say so, and the store stay as it is."""
        self.victim.put(data)
        wrong = self._refusals(data, thorough)
        if wrong:
            shutil.rmtree(self.victim.base)
            self.victim = self._fresh()
        self._outcome.judged("accepted" if wrong else "refused", *(f"{name}: {one}" for one in wrong))

    def _refusals(self, data: bytes, thorough: bool) -> list[str]:
        victim = self.victim
        verbs: list[tuple[str, Callable[[], object]]] = [("recover", victim.store.recover)]
        if thorough:
            verbs.append(("push", lambda: push(victim.src, victim.dst)))
        for word, verb in verbs:
            try:
                verb()
            except JournalError as error:
                if "Nothing was touched" not in error.hint:
                    return [f"{word} does not say what to do: {error}"]
            except Exception as error:
                return [f"{word}: {type(error).__name__}: {error}"]
            else:
                return [f"{word} took it"]
        if not thorough:
            return []
        wrong = self.victim.touched()
        if victim.journal.is_file() and victim.journal.read_bytes() != data:
            wrong.append("the journal itself was changed")
        if "cannot be trusted" not in victim.store.status().unfinished:
            wrong.append("status does not say so")
        return wrong

    def _fresh(self) -> Victim:
        self._number += 1
        return Victim(self._base / f"victim-{self._number}")
