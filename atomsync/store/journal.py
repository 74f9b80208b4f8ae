"""The journal: a sealed unit as bytes, and back. Pure; one codec for seal, recovery and history.

    frame   = magic "atsj", version, type, payload length, payload, xxh3-128
    journal = BEGIN [PREPARED] [ABOUT] (STEP (INSIDE | FOLDER | DISPLACED)*)* END  [COMMIT]  zeros

The digest of a frame covers the unit's id, the frame's number, its type and payload: an old record in a
reused block, or one moved to another place, does not pass. END counts the steps. Behind END the
file holds zeros, so that COMMIT later needs no new block. PREPARED says that another party decides, and
holds the name under which it is asked; FOLDER is a directory of what is inside (``folders``), and ABOUT
what else is good to know (``about``).

What reads wrong is never guessed at: JournalError, and the store stays as it is. Only the space for
COMMIT may hold anything that a torn write leaves; that means: not committed.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import xxhash

from atomsync.errors import JournalError
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE, Members, Step
from atomsync.store.about import ABOUT_MAX_BYTES, About, is_about, is_text
from atomsync.store.unit_id import is_unit_id
from atomsync.tree.entry import DIR, FILE, LINK, OTHER, PLAIN, SEEN, Entry
from atomsync.tree.graft import Graft
from atomsync.tree.path import is_reserved, parent_of, upwards
from atomsync.tree.xattrs import decode as decode_attributes

MAGIC, VERSION = b"atsj", 1
BEGIN, STEP, INSIDE, DISPLACED, END, COMMIT, PREPARED, ABOUT, FOLDER = 1, 2, 3, 4, 5, 6, 7, 8, 9
_HEAD = struct.Struct("<4sBBHI")
_DIGEST_BYTES = 16
_PAYLOAD_MAX_BYTES = 1 << 20
JOURNAL_MAX_BYTES = 1 << 30
_ENTRY_BYTES = 256  # more than the numbers of an entry take
COMMIT_SPACE_BYTES = 64
_ENTRY_FIELDS = 12  # and one more where extended attributes were asked for
_KINDS = {FILE, DIR, LINK, OTHER}
_OWNER_MAX = (1 << 32) - 1  # -1: left as it is
_TIME_MAX = 10**9 << 63  # in ns, of a time_t of 64 bits
_GENERATION_MAX = 1 << 1024


class Header(NamedTuple):
    """``made_ns``: when the unit was sealed. ``checked_ns``: when its sources were last seen unchanged."""

    id: str
    made_ns: int
    checked_ns: int
    message: str
    encoding: str = "utf-8"
    coordinator: str | None = None  # who decides about a prepared unit ("": whoever prepared it)
    about: About = MappingProxyType({})


_text = json.JSONEncoder(separators=(",", ":")).encode
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_quoted = json.encoder.encode_basestring_ascii
_BEGIN_FIELDS = 5  # of the header, in BEGIN; the others have records of their own


class Journal(NamedTuple):
    header: Header
    steps: tuple[Step, ...]
    committed: bool


def encode(header: Header, steps: Iterable[Step], write: Callable[[bytes], object]) -> tuple[int, bytes]:
    """Hand the journal to ``write``, in pieces; returns ``(the offset at which COMMIT belongs, the bytes of
    COMMIT)``. Once these are durable there, the unit is committed."""
    number = offset = 0

    def put(kind: int, text: str) -> None:
        nonlocal number, offset
        frame = _frame(header.id, number, kind, text.encode())
        write(frame)
        number, offset = number + 1, offset + len(frame)

    put(BEGIN, _text(header._replace(encoding=sys.getfilesystemencoding())[:_BEGIN_FIELDS]))
    if header.coordinator is not None:
        put(PREPARED, _text(header.coordinator))
    if header.about:
        put(ABOUT, _text(dict(header.about)))
    count = 0
    for count, step in enumerate(steps, 1):  # noqa: B007  # it is used behind the loop
        put(STEP, _step_text(step))
        for kind, members in ((INSIDE, step.inside), (DISPLACED, step.displaced)):
            if isinstance(members, Graft):
                from atomsync.store.folders import texts

                for folder in members.folders:
                    for text in texts(folder, members.apart, _PAYLOAD_MAX_BYTES):
                        put(FOLDER, text)
                continue
            for chunk in _chunks(members) if members else ():
                put(kind, _text([(path, written_entry(entry)) for path, entry in chunk]))
    put(END, _text(count))
    write(bytes(COMMIT_SPACE_BYTES))
    return offset, _frame(header.id, number, COMMIT, b"")


def _step_text(step: Step) -> str:
    """What ``_text`` would make of it. Written out, for a unit may have many and it is six times as fast."""
    kind, path, old, new, _, _, slot = step
    return f"[{_quoted(kind)},{_quoted(path)},{_entry_text(old)},{_entry_text(new)},[],[],{_quoted(slot)}]"


def _entry_text(entry: Entry | None) -> str:
    if entry is None:
        return "null"
    kind, mode, size, mtime_ns, uid, gid, target, xattrs, ino, dev, ctime_ns, generation, digest = entry
    attributes = f",{_quoted(xattrs)}" if xattrs else ""
    return (
        f"[{_quoted(kind)},{mode},{size},{mtime_ns},{uid},{gid},{_quoted(target)},"
        f"{ino},{dev},{ctime_ns},{generation},{_quoted(digest)}{attributes}]"
    )


def decode(data: bytes) -> Journal:
    """Read a journal back; raises JournalError unless everything up to END is exactly as written."""
    frames = _frames(data)
    number = 0
    kind, payload, end = next(frames, (0, None, 0))
    if kind != BEGIN:
        raise _bad("it does not begin with BEGIN")
    header = _header(payload)
    if header.encoding != sys.getfilesystemencoding():
        raise _bad(f"it was written under filesystem encoding {header.encoding!r}; use the same locale")
    steps: list[Step] = []
    inside: list[tuple[str, Entry]] = []
    displaced: list[tuple[str, Entry]] = []

    def finished() -> None:
        if inside or displaced:
            steps[-1] = steps[-1]._replace(inside=tuple(inside), displaced=tuple(displaced))
            inside.clear()
            displaced.clear()

    for number, (kind, payload, end) in enumerate(frames, 2):  # noqa: B007  # both are used behind it
        if kind == PREPARED and number == 2 and is_text(payload):
            header = header._replace(coordinator=payload)
        elif kind == ABOUT and number == (2 if header.coordinator is None else 3) and is_about(payload):
            header = header._replace(about=payload)
        elif kind == STEP:
            finished()
            steps.append(_step(payload, len(steps)))
        elif kind in (INSIDE, DISPLACED) and steps:
            (inside if kind == INSIDE else displaced).extend(_members(payload, steps[-1].path))
        elif kind == FOLDER and steps:
            inside.extend(_members(_rows(payload), steps[-1].path))
        elif kind == END:
            finished()
            if payload != len(steps):
                raise _bad("END counts other steps than there are")
            _check_antichain(steps)
            if len({step.slot for step in steps if step.slot}) != sum(1 for step in steps if step.slot):
                raise _bad("two steps share a slot")
            break
        else:
            raise _bad(f"a record of type {kind} is out of place")
    else:
        raise _bad("it ends before END")
    rest = data[end:]
    commit = _frame(header.id, number, COMMIT, b"")
    if len(rest) > COMMIT_SPACE_BYTES or any(rest[len(commit) :]):
        raise _bad("something stands behind the place of COMMIT")
    return Journal(header, tuple(steps), rest[: len(commit)] == commit)


def _check_antichain(steps: list[Step]) -> None:
    """Recovery undoes steps in any order: that is right only if no swap lies at or below another."""
    paths = [step.path for step in steps if step.kind != META]
    swaps = set(paths)
    if len(swaps) != len(paths):
        raise _bad("two steps are at one path")
    directories = {parent_of(path) for path in paths}
    if any(above in swaps for directory in directories for above in upwards(directory)):
        raise _bad("a step lies below another")


def _frame(unit_id: str, number: int, kind: int, payload: bytes) -> bytes:
    if len(payload) > _PAYLOAD_MAX_BYTES:
        raise _bad("a record would be longer than a reader accepts")
    digest = _digest(unit_id.encode(), number, kind, payload)
    return _HEAD.pack(MAGIC, VERSION, kind, 0, len(payload)) + payload + digest


def _digest(unit_id: bytes, number: int, kind: int, payload: bytes) -> bytes:
    return xxhash.xxh3_128_digest(b"%s %d %d %s" % (unit_id, number, kind, payload))


def _frames(data: bytes) -> Iterator[tuple[int, Any, int]]:
    """``(type, payload, offset behind the frame)`` of each, up to the first that ends it."""
    if len(data) > JOURNAL_MAX_BYTES:
        raise _bad("it is larger than any journal we write")
    at = number = 0
    unit_id = b""
    head, around, behind = _HEAD.size, _HEAD.size + _DIGEST_BYTES, len(data)
    while at < behind:
        if behind - at < around:
            raise _bad("it is cut short")
        magic, version, kind, zero, length = _HEAD.unpack_from(data, at)
        if magic != MAGIC or zero:
            raise _bad(f"at byte {at} there is no record")
        if version != VERSION:
            raise _bad(f"it has format version {version}; this atomsync reads version {VERSION}")
        end = at + around + length
        if length > _PAYLOAD_MAX_BYTES or end > behind:
            raise _bad("it is cut short")
        payload = data[at + head : end - _DIGEST_BYTES]
        if number == 0:
            unit_id = _unit_id(payload).encode()
        if data[end - _DIGEST_BYTES : end] != _digest(unit_id, number, kind, payload):
            raise _bad(f"the digest of record {number} does not match")
        if kind == ABOUT and length > ABOUT_MAX_BYTES:
            raise _bad(f"record {number} is longer than one of its type can be")
        yield kind, _json(payload), end
        at, number = end, number + 1


def _json(payload: bytes) -> Any:
    try:
        if not payload:
            return None
        text = payload.decode()
        try:  # what json.loads comes to, but for its questions: there is one of these for each step
            found, end = _scan(text, 0)
        except StopIteration:
            end = -1
        return found if end == len(text) else json.loads(text)
    except (ValueError, RecursionError):
        raise _bad("a record holds no JSON") from None


def _unit_id(payload: bytes) -> str:
    head = _json(payload)
    found = head[0] if isinstance(head, list) and head else None
    if not isinstance(found, str) or not is_unit_id(found):
        raise _bad("it names no unit")
    return found


def _header(payload: Any) -> Header:
    if not isinstance(payload, list) or len(payload) != _BEGIN_FIELDS:
        raise _bad("BEGIN has other fields")
    header = Header(*payload)
    if not all(isinstance(value, kind) for value, kind in zip(header, (str, int, int, str, str))):
        raise _bad("BEGIN has fields of other types")
    return header


_SHAPES = {CREATE: (False, True), REPLACE: (True, True), REMOVE: (True, False)}  # has an old one, a new one


def _step(payload: Any, number: int) -> Step:
    try:
        kind, path, old, new, _, _, slot = payload
        if not isinstance(kind, str):
            raise TypeError
        step = Step(kind, checked_path(path), checked_entry(old), checked_entry(new), (), (), slot)
    except (TypeError, ValueError):
        raise _bad(f"step {number} is malformed") from None
    is_new = new is not None
    shape = (True, is_new) if kind == META else _SHAPES.get(kind)
    slot_fits = slot == "" if kind == META else isinstance(slot, str) and slot.isascii() and slot.isdigit()
    if not slot_fits or shape != (old is not None, is_new):
        raise _bad(f"step {number} is malformed")
    if kind != META and not path:
        raise _bad(f"step {number} would swap the root")
    return step


def _members(payload: Any, top: str) -> Members:
    try:
        found = tuple((checked_path(path), checked_entry(entry)) for path, entry in payload)
    except (TypeError, ValueError):
        raise _bad("a list of members is malformed") from None
    if any(entry is None or not path.startswith(top + "/") for path, entry in found):
        raise _bad("a member lies outside its step")
    return found  # type: ignore[return-value]  # None was just ruled out


def _rows(payload: Any) -> Any:
    from atomsync.store.folders import rows

    try:
        return [*rows(payload)]
    except (TypeError, ValueError):
        raise _bad("a folder is malformed") from None


def checked_path(path: object) -> str:
    """JournalError for anything that could lead out of the destination, or into the control directory."""
    if not is_text(path) or "\0" in path:
        raise _bad("a path is not a path")
    if path:
        empty = path[0] == "/" or path[-1] == "/" or "//" in path
        dotted = path[0] == "." or "/." in path  # else none is reserved, nor "." nor ".."
        if empty or (dotted and any(name in (".", "..") or is_reserved(name) for name in path.split("/"))):
            raise _bad("a path leads out of the destination")
    return path


def written_entry(entry: Entry | None) -> Any:
    """An entry as ``checked_entry`` reads it: extended attributes, which few have, stand at the end."""
    if entry is None:
        return None
    fields = (*entry[:PLAIN], *entry[SEEN:])
    return (*fields, entry.xattrs) if entry.xattrs else fields


def checked_entry(fields: Any) -> Entry | None:
    """An entry as it was read, None for None; TypeError for anything that is none."""
    if fields is None:
        return None
    if not isinstance(fields, list):
        raise TypeError
    if len(fields) == _ENTRY_FIELDS:
        xattrs = ""
        kind, mode, size, mtime_ns, uid, gid, target, ino, dev, ctime_ns, generation, digest = fields
    elif len(fields) == _ENTRY_FIELDS + 1:
        kind, mode, size, mtime_ns, uid, gid, target, ino, dev, ctime_ns, generation, digest, xattrs = fields
        if xattrs != "" and (not is_text(xattrs) or not decode_attributes(xattrs)):
            raise TypeError
    else:
        raise TypeError
    if kind not in _KINDS or not isinstance(digest, str) or (target != "" and not is_text(target)):
        raise TypeError
    # Not by isinstance: True and False are none of these. Nor in a loop: it is done twice for each step.
    if not (
        type(mode) is type(size) is type(mtime_ns) is type(uid) is type(gid) is int
        and type(ino) is type(dev) is type(ctime_ns) is type(generation) is int
        and 0 <= mode <= 0o7777
        and 0 <= size <= 1 << 63
        and -_TIME_MAX <= mtime_ns < _TIME_MAX
        and -1 <= uid <= _OWNER_MAX
        and -1 <= gid <= _OWNER_MAX
        and 0 <= ino <= 1 << 64
        and 0 <= dev <= 1 << 64
        and -_TIME_MAX <= ctime_ns < _TIME_MAX
        and 0 <= generation <= _GENERATION_MAX
    ):
        raise TypeError
    fields = kind, mode, size, mtime_ns, uid, gid, target, xattrs, ino, dev, ctime_ns, generation, digest
    return tuple.__new__(Entry, fields)  # past Entry's own, as in entry_of


def _chunks(members: Members) -> Iterator[list[tuple[str, Entry]]]:
    """Cut so that a frame stays below its greatest size, however long the paths."""
    chunk: list[tuple[str, Entry]] = []
    size = 0
    for path, entry in members:
        # JSON writes up to 12 bytes a character: two escapes for what is beyond U+FFFF
        takes = _ENTRY_BYTES + 12 * (len(path) + len(entry.target))
        if entry.xattrs:
            takes += len(json.dumps(entry.xattrs))
        size += takes
        if size > _PAYLOAD_MAX_BYTES:
            yield chunk
            chunk, size = [], takes
        chunk.append((path, entry))
    if chunk:
        yield chunk


def _bad(why: str) -> JournalError:
    return JournalError(
        "cannot trust the journal of an unfinished unit",
        why,
        "Nothing was touched. docs/recovery.md says how to look at it and what to do.",
    )
