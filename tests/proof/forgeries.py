"""The table of hand-made journals: every digest is right, and something else is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.proof.figures import Outcome
from tests.proof.forged import (
    ABOUT,
    BEGIN,
    COMMIT,
    DISPLACED,
    END,
    INSIDE,
    PREPARED,
    STEP,
    Records,
    Trial,
    changed,
    frame,
    written,
)

KIND, PATH, OLD, NEW, SLOT = 0, 1, 2, 3, 6
Forged = Iterator[tuple[str, Records]]
BAD_PATHS: tuple[Any, ...] = (
    *("../x", "../src/made", "/etc/passwd", "a/../../x", "..", ".", "./made", "made/.", "deep/.."),
    *("a//b", "made/", "", "a\0b", "\ud800x", ".atomsync", ".atomsync/lock", ".ATOMSYNC/lock"),
    *(".atomsync./lock", "deep/.Atomsync /x", None, 5, True, ["made"], {"made": 1}),
)
BAD_SLOTS: tuple[Any, ...] = (
    *("../../made", "../journal", "..", ".", "", "0/../1", "/0", "-1", "0x1", " 1", "1\n", "\u0661"),
    *(None, 0, []),
)
BAD_FIELDS: dict[int, tuple[Any, ...]] = {  # of an entry
    0: ("pipe", "", None, 7, "FILE"),
    1: ("rw", None, 1.5, [1], -1, 1 << 40, True),
    2: (None, -1, "4"),
    3: (10**30, -(10**30), 10**4000, None, 0.5),
    4: (1 << 40, -(1 << 40), "root"),
    5: (1 << 40, None),
    6: (None, 5, "\ud800"),
    7: ("5", -1, [1]),
    11: (None, 0),
}
BAD_ENTRIES: tuple[Any, ...] = (
    [],
    "entry",
    {},
    7,
    ["file"],
    ["file", 0o644, 1, 1, 0, 0, "", 5, 1, 1, 1, "", 1],
)
BAD_STEPS: tuple[Any, ...] = ([], {}, None, "step", [1] * 6, [1] * 8)
BAD_SHAPES: tuple[Any, ...] = ("create", "replace", "remove", "meta", "link", None, 1, [])
BAD_IDS: tuple[Any, ...] = (
    *("", "../../etc", "a/b", "0", "-", "99999999-999999-999", "20261121-090403-542/..", "1" * 300),
    *(7, None),
)
BAD_ABOUTS: tuple[Any, ...] = (
    *([], None, "who", 7, {"a": [1]}, {"a": True}, {"a": 1.5}, {"a": "\ud800"}, {"\ud800": 1}),
    *({"a": {"b": {"c": {}}}}, {"a": 1 << 70}, {"a": "x" * (1 << 16)}, {str(name): 1 for name in range(65)}),
)
BAD_HEADERS: tuple[Any, ...] = ([], {}, None, "x", 5, [[]])


def every_forgery(base: Path, outcome: Outcome) -> None:
    trial = Trial(base, outcome)
    for name, data in _forged(trial.victim.records):
        if outcome.done:
            return
        trial.refused(name, data)


def crowded(records: Records, count: int) -> bytes:
    """``count`` steps, each of them fine, and an END that speaks of 10^9."""
    step = next(payload for kind, payload in records if kind == STEP and payload[KIND] == "create")
    many = [(STEP, [*step[:PATH], f"made-{number}", *step[OLD:SLOT], str(number)]) for number in range(count)]
    return written([records[0], *many, (END, 10**9)])


def _forged(records: Records) -> Iterator[tuple[str, bytes]]:
    """Every forgery, made of the records of a journal that is right; with COMMIT and without."""
    for forge in (_places, _members, _shapes, _order, _entries, _abouts):
        for name, forged in forge(records):
            for committed in (False, True):
                yield name + (", committed" if committed else ""), written(forged, committed=committed)
    yield from _frames(records)


def _numbers(records: Records) -> tuple[list[int], list[int]]:
    """Of the steps that swap, and of those that set attributes."""
    steps = [(number, payload) for number, (kind, payload) in enumerate(records) if kind == STEP]
    swaps = [number for number, payload in steps if payload[SLOT]]
    return swaps, [number for number, payload in steps if not payload[SLOT]]


def _places(records: Records) -> Forged:
    swaps, metas = _numbers(records)
    for number in (*swaps, metas[0], metas[-1]):
        for path in BAD_PATHS:
            if path != "" or number in swaps:  # attributes of the root may change
                yield f"step {number} at {path!r}", changed(records, number, PATH, path)
    for number in swaps:
        for slot in BAD_SLOTS:
            yield f"step {number} in slot {slot!r}", changed(records, number, SLOT, slot)
    yield "attributes with a slot", changed(records, metas[0], SLOT, "0")
    for here in swaps:
        for other in swaps:
            if here != other:
                path, slot = records[other][1][PATH], records[other][1][SLOT]
                yield f"steps {here} and {other} in one slot", changed(records, here, SLOT, slot)
                yield f"steps {here} and {other} at one path", changed(records, here, PATH, path)
                yield f"step {here} below step {other}", changed(records, here, PATH, path + "/below")


def _shapes(records: Records) -> Forged:
    swaps, metas = _numbers(records)
    for number in (*swaps, metas[-1]):
        kind, _, old, new, *_ = records[number][1]
        for shape in BAD_SHAPES:
            if shape != kind:
                yield f"step {number} is a {shape}", changed(records, number, KIND, shape)
        for side, entry in ((OLD, old), (NEW, new)):
            if kind != "meta" or side == OLD:  # attributes may become what they will
                other = None if entry else old or new
                yield f"step {number} with or without side {side}", changed(records, number, side, other)
        for step in BAD_STEPS:
            yield f"step {number} is {step}", [*records[:number], (STEP, step), *records[number + 1 :]]


def _entries(records: Records) -> Forged:
    swaps, metas = _numbers(records)
    for number in (*swaps, metas[-1]):
        for side in (OLD, NEW):
            entry = records[number][1][side]
            if entry is None:
                continue
            for field, values in BAD_FIELDS.items():
                for value in values:
                    bent = [*entry[:field], value, *entry[field + 1 :]]
                    yield (
                        f"step {number}: {str(value)[:40]} in {bent[:8]}",
                        changed(records, number, side, bent),
                    )
            for bad in BAD_ENTRIES:
                yield f"step {number}: entry {bad}", changed(records, number, side, bad)


def _members(records: Records) -> Forged:
    number = next(number for number, (kind, _) in enumerate(records) if kind == INSIDE)
    entry = records[number][1][0][1]
    for kind in (INSIDE, DISPLACED):
        for path in (*BAD_PATHS, "made", "new-dirt/f", "new-dir", "new-dir/../made", "new-dir/.atomsync/f"):
            yield f"member {path!r}", [*records[:number], (kind, [[path, entry]]), *records[number + 1 :]]
        for bad in (None, *BAD_ENTRIES):
            payload = [["new-dir/f", bad]]
            yield f"member {bad}", [*records[:number], (kind, payload), *records[number + 1 :]]
    yield "members before a step", [records[0], records[number], *records[1:]]


def _order(records: Records) -> Forged:
    swaps, metas = _numbers(records)
    steps = len(swaps + metas)
    for count in (0, steps - 1, steps + 1, 10**9, -1, None, str(steps), [steps]):
        yield f"END counts {count}", [*records[:-1], (END, count)]
    for unit_id in BAD_IDS:
        yield f"unit id {unit_id!r}", changed(records, 0, 0, unit_id)
    for header in BAD_HEADERS:
        yield f"BEGIN holds {header!r}", [(BEGIN, header), *records[1:]]
    for field in range(1, 5):
        values: tuple[Any, ...] = (None, 1.5, [], 3 if field > 2 else "x")
        for value in values:
            yield f"BEGIN, field {field} is {value!r}", changed(records, 0, field, value)
    yield "another encoding", changed(records, 0, 4, "latin-1")
    yield "BEGIN twice", [records[0], *records]
    yield "END twice", [*records, records[-1]]
    yield "no END", records[:-1]
    yield "COMMIT before END", [*records[:-1], (COMMIT, b""), records[-1]]
    yield "a step behind END", [*records, records[swaps[0]]]
    for kind in (0, 7, 255):
        yield f"a record of type {kind}", [records[0], (kind, b""), *records[1:]]


def _abouts(records: Records) -> Forged:
    begin, about, *rest = records
    for bad in BAD_ABOUTS:
        yield f"ABOUT holds {str(bad)[:40]}", [begin, (ABOUT, bad), *rest]
    yield "ABOUT twice", [begin, about, about, *rest]
    yield "ABOUT before PREPARED", [begin, about, (PREPARED, ""), *rest]
    yield "ABOUT behind a step", [begin, rest[0], about, *rest[1:]]


def _frames(records: Records) -> Iterator[tuple[str, bytes]]:
    whole, unit_id = written(records), records[0][1][0]
    end = written(records, rest=b"")
    commit = frame(unit_id, len(records), COMMIT, b"")
    for lie in (-1, 1, 16, 1 << 20, 1 << 31, -(1 << 10)):
        yield f"a length off by {lie}", frame(unit_id, 0, *records[0], lie=lie) + whole
    yield "another version", frame(unit_id, 0, *records[0], version=2) + whole
    yield "COMMIT twice", (end + commit + commit).ljust(len(whole), b"\0")
    yield "garbage behind COMMIT", (end + commit + b"x").ljust(len(whole), b"\0")
    yield "COMMIT far behind END", end + bytes(64) + commit
    yield "a journal behind a journal", whole + whole
    begin = frame(unit_id, 0, *records[0])
    bombs = {
        "nested too deep": b"[" * 500_000,
        "no JSON": b"{",
        "not UTF-8": b'["\xff"]',
        "a number of 400,000 digits": b"[" + b"9" * 400_000 + b"]",
        "not a number": b"[NaN, Infinity]",
    }
    for name, payload in bombs.items():
        yield f"a step that is {name}", begin + frame(unit_id, 1, STEP, payload) + whole[len(begin) :]
