"""The journal's codec: what was written is read back, and nothing else is believed."""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from atomsync.errors import JournalError
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Step
from atomsync.store.journal import COMMIT_SPACE_BYTES, Header, Journal, decode, written_entry
from atomsync.tree.entry import DIR, FILE, LINK, OTHER, Entry
from atomsync.tree.graft import Graft
from atomsync.tree.path import is_reserved
from tests.store.encoded import encode
from tests.tree.entries import file, folder, graft, link

HEADER = Header("20240102-030405-678", 1, 2, "a message")
A = Entry(FILE, 0o644, 3, 10, 0, 0, "", "", 5, 1, 11, 7, "00" * 16)
B = Entry(FILE, 0o600, 4, 20, 0, 0, "", "", 6, 1, 21, 8, "ff" * 16)
D = Entry(DIR, 0o755, 0, 30, 0, 0, "", "", 9, 1, 31, 2)
STEPS = (
    Step(CREATE, "new", None, D, (("new/x", A), ("new/d", D), ("new/d/y", B)), (), "0"),
    Step(REPLACE, "d", D, B, (), (("d/old", A),), "1"),
    Step(REMOVE, "gone", A, None, (), (), "2"),
    Step(META, "mode", A, B),
    Step(META, "", D, None),
)
DATA, COMMIT_AT, COMMIT = encode(HEADER, STEPS)


def committed(data: bytes, at: int, record: bytes) -> bytes:
    return data[:at] + record + data[at + len(record) :]


def as_read(header: Header) -> Header:
    return header._replace(encoding=sys.getfilesystemencoding())


# -- an independent writer, from the description of the format
def plain(payload: Any) -> Any:
    """With entries as they are written: extended attributes at the end, if there are any."""
    if isinstance(payload, Entry):
        *_, xattrs = fields = [*payload[:7], *payload[8:], payload.xattrs]
        return fields if xattrs else fields[:-1]
    return [plain(item) for item in payload] if isinstance(payload, list | tuple) else payload


def frame(number: int, kind: int, payload: Any, unit_id: str = HEADER.id, version: int = 1) -> bytes:
    text = payload if isinstance(payload, bytes) else json.dumps(plain(payload)).encode()
    digest = xxhash.xxh3_128_digest(f"{unit_id} {number} {kind} ".encode() + text)
    return struct.pack("<4sBBxxI", b"atsj", version, kind, len(text)) + text + digest


def written(*records: tuple[int, Any], header: Any = None, rest: bytes = bytes(64)) -> bytes:
    header = as_read(HEADER) if header is None else header
    everything = [(1, header[:5] if isinstance(header, Header) else header), *records]
    return b"".join(frame(number, *record) for number, record in enumerate(everything)) + rest


def refusal(data: bytes) -> JournalError:
    with pytest.raises(JournalError) as found:
        decode(data)
    assert "Nothing was touched" in found.value.hint
    str(found.value).encode()
    return found.value


# -- round trip


def test_a_journal_reads_back_as_it_was_written() -> None:
    assert decode(DATA) == Journal(as_read(HEADER), STEPS, False)


def test_the_commit_record_at_its_place_commits() -> None:
    assert len(COMMIT) <= COMMIT_SPACE_BYTES
    assert len(DATA) == COMMIT_AT + COMMIT_SPACE_BYTES
    assert decode(committed(DATA, COMMIT_AT, COMMIT)) == Journal(as_read(HEADER), STEPS, True)


def test_the_journal_is_written_as_the_format_says() -> None:
    records: list[tuple[int, Any]] = []
    for step in STEPS:
        records.append((2, step._replace(inside=(), displaced=())))
        records += [(3, step.inside)] if step.inside else []
        records += [(4, step.displaced)] if step.displaced else []
    assert decode(written(*records, (5, len(STEPS)))).steps == STEPS


ABOUT = {
    "who": "me@here",
    "source": {"path": "/\udcff", "identity": {"ino": 1 << 63, "type": "ext4"}},
    "destination": None,
}


@pytest.mark.parametrize("coordinator", [None, "a ledger"])
def test_what_is_known_about_a_unit_reads_back(coordinator: str | None) -> None:
    header = HEADER._replace(about=ABOUT, coordinator=coordinator)
    assert decode(bytes(encode(header, STEPS)[0])).header == as_read(header)
    before = [] if coordinator is None else [(7, coordinator)]
    assert decode(written(*before, (8, ABOUT), (2, STEPS[2]), (5, 1))).header.about == ABOUT


def test_a_journal_that_says_nothing_about_its_unit_is_read_as_ever() -> None:
    assert decode(written((2, STEPS[2]), (5, 1))).header.about == {}


@pytest.mark.parametrize(
    "records",
    [
        *([(8, bad)] for bad in ([], None, "who", {"a": [1]}, {"a": True}, {"a": 0.5}, {"a": 1 << 70})),
        *([(8, bad)] for bad in (b"", {"a": {"b": {"c": {}}}}, {"a": "\ud800"}, {"\ud800": 1})),
        [(8, {str(name): name for name in range(65)})],
        [(8, {"a": "x" * (1 << 16)})],
        [(8, {}), (8, {})],
        [(8, {}), (7, "")],
        [(2, STEPS[2]), (8, {})],
    ],
    ids=lambda records: str(records)[:40],
)
def test_what_cannot_be_said_about_a_unit_is_refused(records: list[tuple[int, Any]]) -> None:
    refusal(written(*records, (5, sum(kind == 2 for kind, _ in records))))


XATTRS = "XA\0system.posix_acl_access=0200\0user.a="


def test_extended_attributes_read_back_and_others_are_written_as_ever() -> None:
    step = Step(META, "d", D, D._replace(xattrs=XATTRS))
    into = Step(CREATE, "n", None, D._replace(xattrs=XATTRS), (("n/f", A._replace(xattrs="A")),), (), "0")
    assert decode(bytes(encode(HEADER, (step, into))[0])).steps == (step, into)
    assert decode(written((2, step), (2, into._replace(inside=())), (3, into.inside), (5, 2))).steps == (
        step,
        into,
    )


@pytest.mark.parametrize(
    "bad",
    [
        *(None, 1, [], "\0", "Q", "X\0", "X\0user.a", "X\0user.a=0", "X\0user.a=zz"),
        *("A\0user.a=00", "X\0trusted.a=00", "X\0user.\ud800=00", "S\0security.ima=00"),
    ],
)
def test_a_text_that_says_nothing_of_attributes_is_refused(bad: Any) -> None:
    refusal(written((2, [META, "d", [*plain(D), bad], plain(D), [], [], ""]), (5, 1)))


def test_many_large_attributes_are_cut_into_records() -> None:
    large = A._replace(xattrs="X\0user.a=" + "00" * 150_000)
    step = Step(CREATE, "n", None, D, tuple((f"n/{number}", large) for number in range(9)), (), "0")
    assert decode(bytes(encode(HEADER, (step,))[0])).steps == (step,)


names = (
    st.binary(min_size=1, max_size=8)
    .map(os.fsdecode)
    .filter(lambda name: not {"/", "\0"} & {*name} and name not in (".", "..") and not is_reserved(name))
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
numbers = st.integers(0, 2**63)
times = st.integers(-(2**70), 2**70)  # what a filesystem can hold ends long before
owners = st.integers(-1, 2**32 - 1)
entries = st.builds(
    Entry,
    st.sampled_from([FILE, DIR, LINK, OTHER]),
    st.integers(0, 0o7777),
    numbers,
    times,
    owners,
    owners,
    st.binary(max_size=8).map(os.fsdecode),
    st.sampled_from(["", XATTRS]),
    numbers,
    numbers,
    times,
    st.integers(0, 2**200),  # a whole file handle
    st.sampled_from(["", "ab" * 16]),
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Step, ...]:
    steps = []
    for slot, path in enumerate(draw(st.lists(paths, max_size=5))):
        kind = draw(st.sampled_from([CREATE, REPLACE, REMOVE, META]))
        old = None if kind == CREATE else draw(entries)
        new = None if kind == REMOVE else draw(entries)
        if kind == META:
            steps.append(Step(META, path, old, draw(st.sampled_from([new, None]))))
            continue
        members = st.lists(st.tuples(names.map(lambda name, top=path: f"{top}/{name}"), entries), max_size=3)
        inside, displaced = tuple(draw(members)), tuple(draw(members))
        steps.append(Step(kind, path, old, new, inside, displaced, str(slot)))
    swaps = [step.path for step in steps if step.kind != META]
    return tuple(
        step
        for step in steps
        if step.kind == META
        or (swaps.count(step.path) == 1 and not any(step.path.startswith(path + "/") for path in swaps))
    )


@given(plans(), st.text(st.characters(exclude_categories=()), max_size=20))
def test_any_plan_reads_back_committed_or_not(steps: tuple[Step, ...], message: str) -> None:
    header = HEADER._replace(message=message)
    data, at, record = encode(header, steps)
    assert decode(data) == Journal(as_read(header), steps, False)
    assert decode(committed(data, at, record)) == Journal(as_read(header), steps, True)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2000, 2001, 5000])
def test_steps_with_many_members_read_back(count: int) -> None:
    members = tuple((f"d/{number}", A) for number in range(count))
    steps = (Step(REPLACE, "d", D, D, members, members[1:], "0"), STEPS[2]._replace(slot="1"))
    data, at, record = encode(HEADER, steps)
    assert decode(committed(data, at, record)) == Journal(as_read(HEADER), steps, True)


def test_steps_with_many_long_undecodable_members_read_back() -> None:
    middle = "/".join(["\udcff" * 250] * 4)
    members = tuple((f"d/{middle}/{number}", A) for number in range(1500))
    steps = (Step(CREATE, "d", None, D, members, (), "0"),)
    assert decode(encode(HEADER, steps)[0]).steps == steps


def test_steps_with_many_members_of_letters_that_json_writes_in_two_escapes_read_back() -> None:
    targets = ("/".join(["\U0001f600" * 60] * 16) + str(number) for number in range(300))
    members = tuple((f"d/{number}", link(target)) for number, target in enumerate(targets))
    steps = (Step(CREATE, "d", None, D, members, (), "0"),)
    assert decode(encode(HEADER, steps)[0]).steps == steps


@given(plans())
def test_a_record_is_what_a_json_encoder_makes_of_it(steps: tuple[Step, ...]) -> None:
    def plain(step: Step) -> str:
        old, new = written_entry(step.old), written_entry(step.new)
        return json.dumps(step._replace(old=old, new=new, inside=(), displaced=()), separators=(",", ":"))

    data = bytes(encode(HEADER, steps)[0])
    for step in steps:
        assert plain(step).encode() in data


# -- faults


@pytest.mark.parametrize("bit", range(8))
def test_no_flipped_bit_is_taken_for_what_was_written(bit: int) -> None:
    for data in (DATA, committed(DATA, COMMIT_AT, COMMIT)):
        for at in range(len(data)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                found = decode(bytes(flipped))
            except JournalError:
                continue
            assert at >= COMMIT_AT
            assert found == Journal(as_read(HEADER), STEPS, False), at


def test_a_flip_inside_a_record_is_always_refused() -> None:
    for at in range(COMMIT_AT):
        flipped = bytearray(DATA)
        flipped[at] ^= 0xFF
        with pytest.raises(JournalError):
            decode(bytes(flipped))


def test_a_cut_before_the_end_is_refused_and_a_cut_commit_is_none() -> None:
    data = committed(DATA, COMMIT_AT, COMMIT)
    for size in range(len(data)):
        if size < COMMIT_AT:
            refusal(data[:size])
        else:
            assert decode(data[:size]) == Journal(as_read(HEADER), STEPS, size >= COMMIT_AT + len(COMMIT))


def test_a_torn_commit_is_no_commit_whatever_part_of_it_reached_the_disk() -> None:
    for size in range(len(COMMIT)):
        for torn in (COMMIT[:size], bytes(size) + COMMIT[size:] if size else COMMIT[:-1]):
            assert not decode(committed(DATA, COMMIT_AT, torn)).committed


def test_a_commit_of_another_unit_or_place_is_no_commit() -> None:
    _, _, other = encode(HEADER._replace(id="20240102-030405-679"), STEPS)
    assert not decode(committed(DATA, COMMIT_AT, other)).committed
    _, _, shorter = encode(HEADER, STEPS[:-1])
    assert not decode(committed(DATA, COMMIT_AT, shorter)).committed


def test_nothing_but_zeros_may_stand_behind_the_place_of_commit() -> None:
    assert not any(DATA[COMMIT_AT:])
    refusal(DATA + b"\0")
    refusal(DATA[:-1] + b"x")
    refusal(committed(DATA, COMMIT_AT, COMMIT) + COMMIT)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"atsj", os.urandom(200), DATA[:1], DATA[1:]])
def test_what_is_no_journal_is_refused(data: bytes) -> None:
    refusal(data)


def test_another_version_is_named() -> None:
    found = refusal(frame(0, 1, as_read(HEADER)[:5], version=2) + DATA)
    assert "version 2" in found.why
    assert "version 1" in found.why


def test_another_locale_is_named() -> None:
    found = refusal(written((5, 0), header=HEADER._replace(encoding="latin-1")))
    assert "latin-1" in found.why
    assert "locale" in found.why


# -- hostility: every digest is right


BAD_PATHS = [
    "../x",
    "/etc/passwd",
    "a/../../x",
    "a/..",
    "..",
    ".",
    "a//b",
    "a/",
    "./a",
    "a\0b",
    "\ud800x",
    ".atomsync",
    ".atomsync/x",
    ".ATOMSYNC./x",
    "a/.atomsync/x",
]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("kind", [CREATE, REPLACE, REMOVE, META])
def test_a_step_at_a_path_that_leads_out_is_refused(kind: str, path: str) -> None:
    old, new = (None if kind == CREATE else A), (None if kind == REMOVE else B)
    slot = "" if kind == META else "0"
    refusal(encode(HEADER, (Step(kind, path, old, new, (), (), slot),))[0])


@pytest.mark.parametrize(
    "path", ["d", "e/x", "dx/y", "d/../x", "d/../../x", "/d/x", "d//x", "d/.atomsync", ""]
)
@pytest.mark.parametrize("field", ["inside", "displaced"])
def test_a_member_outside_its_step_is_refused(field: str, path: str) -> None:
    step = Step(REPLACE, "d", D, D, slot="0")._replace(**{field: ((path, A),)})
    refusal(encode(HEADER, (step,))[0])


@pytest.mark.parametrize(
    "slot",
    ["../../etc", "..", ".", "", "a", "-1", "1/2", "/0", "0x1", " 1", "\u0661", "1\n", None, 0, ["0"], True],
)
def test_a_slot_that_is_no_number_of_ours_is_refused(slot: Any) -> None:
    refusal(written((2, [CREATE, "a", None, A, [], [], slot]), (5, 1)))


@pytest.mark.parametrize("step", STEPS[:3])
def test_two_steps_may_not_share_a_slot(step: Step) -> None:
    other = Step(CREATE, "other", None, A, slot=step.slot)
    refusal(encode(HEADER, (step, other))[0])


def test_the_root_is_never_swapped() -> None:
    refusal(encode(HEADER, (Step(REPLACE, "", D, D, slot="0"),))[0])
    assert decode(encode(HEADER, (Step(META, "", D, D),))[0]).steps[0].path == ""


def test_two_steps_at_one_path_are_refused() -> None:
    refusal(encode(HEADER, (Step(REMOVE, "a", A, None, slot="0"), Step(CREATE, "a", None, B, slot="1")))[0])


def test_a_step_below_another_is_refused() -> None:
    refusal(encode(HEADER, (Step(CREATE, "a", None, D, slot="0"), Step(CREATE, "a/b", None, B, slot="1")))[0])


@pytest.mark.parametrize("count", [0, 1, 3, 10**9, -1, None, "2", [2], 2.5])
def test_an_end_that_counts_wrong_is_refused(count: Any) -> None:
    records = [(2, step) for step in STEPS[2:4]]
    assert len(decode(written(*records, (5, 2))).steps) == 2
    refusal(written(*records, (5, count)))


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (CREATE, A, B),
        (CREATE, None, None),
        (REPLACE, None, A),
        (REPLACE, A, None),
        (REMOVE, None, None),
        (REMOVE, A, B),
        (META, None, A),
        (META, None, None),
        ("link", A, B),
        (None, A, B),
        ([], A, B),
    ],
)
def test_a_step_of_the_wrong_shape_is_refused(kind: Any, old: Entry | None, new: Entry | None) -> None:
    refusal(written((2, [kind, "a", old, new, [], [], "" if kind == META else "0"]), (5, 1)))


@pytest.mark.parametrize(
    "entry",
    [
        [],
        [FILE],
        "entry",
        7,
        {},
        {"kind": "file"},
        [*A, 1],
        A._replace(kind="pipe"),
        A._replace(mode="rw"),
        A._replace(size=None),
        A._replace(size=1.5),
        A._replace(target=5),
        A._replace(digest=None),
        A._replace(generation="1"),
        A._replace(ino=[1]),
        # what no system call takes
        A._replace(mode=0o10000),
        A._replace(mode=True),
        A._replace(size=-1),
        A._replace(mtime_ns=10**30),
        A._replace(ctime_ns=-(10**30)),
        A._replace(uid=1 << 40),
        A._replace(gid=-2),
        A._replace(ino=-1),
        A._replace(kind=LINK, target="\ud800x"),
    ],
)
def test_a_malformed_entry_is_refused(entry: Any) -> None:
    refusal(written((2, [CREATE, "a", None, entry, [], [], "0"]), (5, 1)))
    step = (2, [CREATE, "a", None, D, [], [], "0"])
    refusal(written(step, (3, [["a/x", entry]]), (5, 1)))


@pytest.mark.parametrize(
    "payload", [None, 1, "x", {}, [], [1], [[1]], [["a/x"]], [["a/x", None]], [[None, A]]]
)
def test_malformed_members_are_refused(payload: Any) -> None:
    step = (2, [CREATE, "a", None, D, [], [], "0"])
    data = written(step, (3, payload), (5, 1))
    if payload in ([], {}):
        assert decode(data).steps[0].inside == ()
    else:
        refusal(data)


@pytest.mark.parametrize(
    "payload", [None, 1, "step", [], [1] * 6, [1] * 8, {}, [CREATE, None, None, A, [], [], "0"]]
)
def test_a_malformed_step_is_refused(payload: Any) -> None:
    refusal(written((2, payload), (5, 1)))


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        None,
        "x",
        [HEADER.id],
        [HEADER.id, "1", 2, "", "utf-8"],
        [HEADER.id, 1, None, "", "utf-8"],
        [HEADER.id, 1, 2, None, "utf-8"],
        [HEADER.id, 1, 2, "", "utf-8", "more"],
        ["../../etc", 1, 2, "", "utf-8"],
        ["", 1, 2, "", "utf-8"],
        ["0", 1, 2, "", "utf-8"],
        ["-", 1, 2, "", "utf-8"],
        ["99999999-999999-999", 1, 2, "", "utf-8"],
        ["20240102-030405-6789", 1, 2, "", "utf-8"],
        ["1" * 300, 1, 2, "", "utf-8"],
        ["a/b", 1, 2, "", "utf-8"],
        [7, 1, 2, "", "utf-8"],
    ],
)
def test_a_malformed_header_is_refused(header: Any) -> None:
    unit_id = header[0] if isinstance(header, list) and header else ""
    refusal(
        frame(0, 1, header if header is not None else b"null", str(unit_id)) + frame(1, 5, 0, str(unit_id))
    )


@pytest.mark.parametrize(
    "records",
    [
        [(5, 0), (5, 0)],
        [(1, as_read(HEADER)[:5]), (5, 0)],
        [(3, [["a/x", A]]), (5, 0)],
        [(4, [["a/x", A]]), (5, 0)],
        [(6, b""), (5, 0)],
        [(7, b""), (5, 0)],
        [(0, b""), (5, 0)],
        [(255, b""), (5, 0)],
        [(2, STEPS[2])],
        [],
    ],
)
def test_records_out_of_place_are_refused(records: list[tuple[int, Any]]) -> None:
    refusal(written(*records))


def test_a_journal_that_does_not_begin_with_begin_is_refused() -> None:
    refusal(frame(0, 5, [HEADER.id]) + bytes(64))


def test_a_record_of_another_unit_is_refused() -> None:
    begin, end = frame(0, 1, as_read(HEADER)[:5]), frame(2, 5, 1) + bytes(64)
    assert len(decode(begin + frame(1, 2, STEPS[2]) + end).steps) == 1
    refusal(begin + frame(1, 2, STEPS[2], "20240102-030405-679") + end)


def test_a_record_at_another_place_is_refused() -> None:
    one, two = STEPS[2], STEPS[3]
    begin, end = frame(0, 1, as_read(HEADER)[:5]), frame(3, 5, 2) + bytes(64)
    assert len(decode(begin + frame(1, 2, one) + frame(2, 2, two) + end).steps) == 2
    refusal(begin + frame(2, 2, two) + frame(1, 2, one) + end)
    refusal(begin + frame(1, 2, one) + frame(1, 2, one) + end)


@pytest.mark.parametrize("opening", ["[", '{"a":', "[[1],"])
def test_deep_nesting_is_refused_and_does_not_blow_the_stack(opening: str) -> None:
    deep = (opening * 100_000).encode()
    refusal(written((2, deep), (5, 1)))
    closed = ("[" * 100_000 + "]" * 100_000).encode()
    refusal(written((2, closed), (5, 1)))
    refusal(frame(0, 1, closed))


@pytest.mark.parametrize("text", [b"\xff", b"{", b"1 2", b"nul", b'"\\ud800', b"9" * 5000])
def test_a_payload_that_is_no_json_is_refused(text: bytes) -> None:
    refusal(written((2, text), (5, 1)))


def test_a_length_beyond_the_data_or_the_limit_is_refused() -> None:
    head = struct.pack("<4sBBxxI", b"atsj", 1, 1, 0xFFFFFFFF)
    refusal(head + bytes(100))
    refusal(struct.pack("<4sBBxxI", b"atsj", 1, 1, (1 << 20) + 1) + bytes(2 << 20))


def test_a_record_too_long_for_a_reader_is_not_written() -> None:
    with pytest.raises(JournalError):
        encode(HEADER._replace(message="x" * (2 << 20)), ())


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, COMMIT_AT))
def test_arbitrary_bytes_are_read_or_refused_but_never_crash(junk: bytes, at: int) -> None:
    for data in (junk, DATA[:at] + junk, DATA[:at] + junk + DATA[at + len(junk) :]):
        try:
            found = decode(data)
        except JournalError:
            continue
        assert found.steps == STEPS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=8) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=20,
)


@settings(max_examples=300)
@given(json_values, st.sampled_from([1, 2, 3, 4, 5, 7, 8]))
def test_arbitrary_json_in_a_record_is_read_or_refused_but_never_crashes(payload: Any, kind: int) -> None:
    step = (2, [CREATE, "a", None, D, [], [], "0"])
    for data in (
        written((kind, payload), (5, 1)),
        written(step, (kind, payload), (5, 1)),
        written(header=payload),
    ):
        try:
            decode(data)
        except JournalError:
            continue


# -- folders of a graft


def grafted(members: dict[str, Entry], apart: dict[str, str]) -> Step:
    found = graft("new", members)
    folders = [folder._replace(digests=bytes(range(16)) * folder.names) for folder in found.folders]
    return Step(
        CREATE, "new", None, D, Graft(folders, {f"new/{path}": apart[path] for path in apart}), (), "0"
    )


@pytest.mark.parametrize(
    "members",
    [
        {
            "a": file(1),
            "b": file(2, 5, 0o600),
            "sub": folder(),
            "sub/\udcff\n": link("../\u2028a"),
            "sub/x": file(),
        },
        {f"file {number:05}" + "é" * 100: file(number) for number in range(3_000)},
        {},
        {"large": file(1 << 30), "small": file(1)},
        {f"{number}": link("/".join(["\U0001f600" * 60] * 16) + str(number)) for number in range(300)},
    ],
    ids=["all kinds", "more than one record holds", "nothing", "a large file", "two escapes a letter"],
)
def test_a_graft_reads_back_as_its_members(members: dict[str, Entry]) -> None:
    step = grafted(members, {"large": "ff" * 16} if "large" in members else {})
    assert sorted(decode(encode(HEADER, (step,))[0]).steps[0].inside) == sorted(step.inside)


GOOD_FOLDER = ["new/d", ["a", "b"], "file", 0o644, [1, 2], 5, 0, 0, "", "00" * 32]


def test_a_folder_of_another_writer_is_read() -> None:
    data = written((2, STEPS[0]._replace(inside=())), (9, GOOD_FOLDER), (5, 1))
    assert decode(data).steps[0].inside == (
        ("new/d/a", Entry(FILE, 0o644, 1, 5, 0, 0, "", digest="00" * 16)),
        ("new/d/b", Entry(FILE, 0o644, 2, 5, 0, 0, "", digest="00" * 16)),
    )


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "elsewhere"),
        (0, "new/../.."),
        (0, ""),
        (0, 7),
        (1, ["a", "../b"]),
        (1, ["a", "b/c"]),
        (1, ["a", ".atomsync"]),
        (1, ["a", ["b"]]),
        (1, ["a"]),
        (1, None),
        (2, "fifo"),
        (2, [FILE]),
        (3, -1),
        (4, [1, 2, 3]),
        (4, {"a": 1}),
        (9, "00" * 31),
        (9, None),
    ],
)
def test_a_folder_that_is_not_as_described_is_refused(place: int, value: object) -> None:
    payload = [*GOOD_FOLDER[:place], value, *GOOD_FOLDER[place + 1 :]]
    refusal(written((2, STEPS[0]._replace(inside=())), (9, payload), (5, 1)))
    refusal(written((9, GOOD_FOLDER), (5, 0)))
