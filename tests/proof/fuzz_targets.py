"""What is fuzzed: functions of bytes that return nothing, and raise when the product does not keep its word.

Each decodes its bytes into choices, so that a fuzzer that learns which bytes lead where gets deep.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator

from atomsync.errors import AtomSyncError, JournalError
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store.journal import Header, Journal, decode
from atomsync.tree.entry import DIR, FILE, LINK, Entry
from atomsync.tree.filters import Filters
from tests.proof.forged import Records, frame, records_of
from tests.store.encoded import encode

Target = Callable[[bytes], None]
_ABOUT = {"who": "me@here", "source": {"path": "/\udcff", "identity": {"ino": 1 << 63}}}
_HEADER = Header("20260102-030405-678", 1, 2, "", "utf-8", None, _ABOUT)
_FILE = Entry(FILE, 0o644, 3, 10, 0, 0, "", "", 5, 1, 11, 7, "00" * 16)
_DIR = Entry(DIR, 0o755, 0, 30, 0, 0, "", "", 9, 1, 31, 2)
_LINK = Entry(LINK, 0o777, 0, 30, 0, 0, "../\udcff", "", 12, 1, 31, 2)
_STEPS = (
    Step(CREATE, "new", None, _DIR, (("new/x", _FILE), ("new/d", _DIR)), (), "0"),
    Step(REPLACE, "d", _DIR, _LINK, (), (("d/\udcfe", _FILE),), "1"),
    Step(REMOVE, "gone", _FILE, None, (), (), "2"),
    Step(META, "mode", _FILE, _FILE),
    Step(META, "", _DIR, None),
)
JOURNAL = bytes(encode(_HEADER, _STEPS)[0])
_RECORDS, COMMIT_AT = records_of(JOURNAL)
_WORDS = [b"..", b"/", b"../x", b".atomsync", b"\\u0000", b"\\ud800", b"null", b"true", b"[]", b'""', b"1e9"]
_WORDS += [b"9" * 30, b"-1", b"create", b"meta", b"new", b"gone", b"d/", b'"', b",", b"[", b"]"]

_ALPHABET = [
    b"*",
    b"**",
    b"/",
    b"a",
    b"b",
    b"?",
    b"[a-c]",
    b"[!",
    b"]",
    b"\\",
    b"!",
    b"#",
    b" ",
    b"\n",
    b"\xff",
]


class Choices:
    """Bytes as a source of decisions; at their end every decision is 0."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        taken = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(taken, "little") % count if count else 0

    def bytes(self, most: int) -> bytes:
        size = self.below(most + 1)
        self._at += size
        return self._data[self._at - size : self._at]


# -- the journal
def journal(data: bytes) -> None:
    """Whatever a journal says, with right digests or not: it is refused, or nothing it names leads out."""
    choices = Choices(data)
    form = choices.below(3)
    if form == 0:
        bad = data[2:]
    elif form == 1:
        bad = _bent(bytearray(JOURNAL), choices)
    else:
        bad = _mended(choices)
    try:
        found = decode(bad)
    except JournalError:
        return
    _check(found)
    again, at, commit = encode(found.header, found.steps)
    if decode(bytes(again[:at]) + (commit if found.committed else b"")) != found:
        raise AssertionError("what was read is not what is written again")


def _bent(data: bytearray, choices: Choices) -> bytes:
    while choices:
        at, kind = choices.below(len(data) + 1), choices.below(4)
        if kind == 0:
            data[at:at] = choices.bytes(64)
        elif kind == 1:
            del data[at : at + choices.below(64)]
        elif at < len(data):
            data[at] ^= 1 << choices.below(8)
    return bytes(data)


def _mended(choices: Choices) -> bytes:
    """Payloads changed byte by byte or word by word, records moved; every digest right."""
    records: Records = [(kind, json.dumps(payload).encode()) for kind, payload in _RECORDS]
    while choices:
        number, verb = choices.below(len(records)), choices.below(6)
        kind, payload = records[number]
        at = choices.below(len(payload) + 1)
        if verb == 0:
            records[number] = (choices.below(9), payload)
        elif verb == 1 and len(records) > 1:
            del records[number]
        elif verb == 2:
            records.insert(choices.below(len(records)), (kind, payload))
        elif verb == 3:
            records[number] = (kind, payload[:at] + choices.bytes(16) + payload[at + choices.below(16) :])
        else:
            word = _WORDS[choices.below(len(_WORDS))]
            records[number] = (kind, payload[:at] + word + payload[at + choices.below(16) :])
    whole = [frame(_unit_id(records), number, *record) for number, record in enumerate(records)]
    return b"".join(whole) + bytes(64)


def _unit_id(records: Records) -> str:
    try:
        return str(json.loads(records[0][1])[0])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _check(found: Journal) -> None:
    """What recovery relies on, said once more in other words than the codec's."""
    slots, tops = [], []
    for step in found.steps:
        for path in [step.path, *(path for path, _ in (*step.inside, *step.displaced))]:
            names = os.fsencode(path).split(b"/") if path else []
            if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
                raise AssertionError(f"{path!r} leads out")
            if any(name.lower().rstrip(b". ") == b".atomsync" for name in names):
                raise AssertionError(f"{path!r} leads into the control directory")
        if step.kind != META:
            slots.append(step.slot)
            tops.append(step.path + "/")
            if not step.path or not step.slot.isdecimal() or "/" in step.slot:
                raise AssertionError(f"{step} has no place of its own")
        for entry in (step.old, step.new):
            if entry is not None and not 0 <= entry.mode <= 0o7777:
                raise AssertionError(f"mode {entry.mode:o} of {step.path!r}")
    if len({*slots}) != len(slots) or len({*tops}) != len(tops):
        raise AssertionError("two steps share a slot or a path")
    if any(one != other and one.startswith(other) for one in tops for other in tops):
        raise AssertionError("a step lies below another")


# -- the filters
def filters(data: bytes) -> None:
    """Any bytes as patterns, any path: an answer or an AtomSyncError, and soon."""
    choices = Choices(data)
    form = choices.below(4)

    def text(most: int) -> str:
        if form & 1:
            return os.fsdecode(choices.bytes(most))
        return os.fsdecode(
            b"".join(_ALPHABET[choices.below(len(_ALPHABET))] for _ in range(choices.below(most)))
        )

    patterns, nested = text(40), text(20)
    paths = ["a" * 60, "/".join("a" * 30), text(30).replace("\0", "")]
    try:
        asked = Filters(patterns.splitlines() if form & 2 else (), gitignore=True)
        asked.learn("", patterns)
        asked.learn("a", nested)
        for path in paths:
            for is_dir in (False, True):
                if asked.excludes(path, is_dir=is_dir) not in (True, False):
                    raise AssertionError("an answer that is none")
    except AtomSyncError:
        return


TARGETS: dict[str, Target] = {"journal": journal, "filters": filters}


def corpus(seed: int) -> Iterator[bytes]:
    """Inputs without end, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        yield rng.randbytes(rng.choice((2, 8, 32, 128, 512)))
