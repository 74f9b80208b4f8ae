"""What undoing a step takes, told by which object is where."""

from __future__ import annotations

import itertools

import pytest

from atomsync.plan.step import CREATE, REMOVE, REPLACE, Step
from atomsync.store.undo import DROP_NAME, KEEP, NOTHING, PUT_BACK, SWAP_BACK, TAKE_OUT, decide
from atomsync.tree.entry import DIR, FILE, LINK, Entry, same_object


def thing(ino: int, generation: int, kind: str = FILE) -> Entry:
    return Entry(kind, 0o644, 1, 1, 0, 0, "", "", ino, 1, 1, generation)


OLD, NEW, FOREIGN = thing(10, 1), thing(20, 2), thing(30, 3)
NAMES = {"nothing": None, "old": OLD, "new": NEW, "foreign": FOREIGN}

# (at the path, in the slot) → action
TABLE = {
    CREATE: {
        ("nothing", "nothing"): NOTHING,
        ("nothing", "new"): NOTHING,
        ("nothing", "foreign"): NOTHING,
        ("new", "nothing"): TAKE_OUT,
        ("new", "new"): TAKE_OUT,  # a rename that became durable by half
        ("foreign", "nothing"): NOTHING,
        ("foreign", "new"): NOTHING,
    },
    REPLACE: {
        ("nothing", "nothing"): NOTHING,
        ("nothing", "old"): PUT_BACK,
        ("nothing", "new"): NOTHING,
        ("nothing", "foreign"): PUT_BACK,
        ("old", "nothing"): NOTHING,
        ("old", "old"): DROP_NAME,
        ("old", "new"): NOTHING,
        ("old", "foreign"): KEEP,
        ("new", "nothing"): NOTHING,
        ("new", "old"): SWAP_BACK,
        ("new", "new"): DROP_NAME,
        ("new", "foreign"): SWAP_BACK,  # what was displaced was another writer's: it goes back
        ("foreign", "nothing"): NOTHING,
        ("foreign", "old"): KEEP,
        ("foreign", "new"): NOTHING,
        ("foreign", "foreign"): DROP_NAME,
    },
    REMOVE: {
        ("nothing", "nothing"): NOTHING,
        ("nothing", "old"): PUT_BACK,
        ("nothing", "foreign"): PUT_BACK,
        ("old", "nothing"): NOTHING,
        ("old", "old"): DROP_NAME,
        ("old", "foreign"): KEEP,
        ("foreign", "nothing"): NOTHING,
        ("foreign", "old"): KEEP,
        ("foreign", "foreign"): DROP_NAME,
    },
}
CASES = [
    (kind, at_path, in_slot, action)
    for kind, rows in TABLE.items()
    for (at_path, in_slot), action in rows.items()
]


def step(kind: str, old: Entry = OLD, new: Entry = NEW) -> Step:
    return Step(kind, "p", None if kind == CREATE else old, None if kind == REMOVE else new, slot="0")


@pytest.mark.parametrize(("kind", "at_path", "in_slot", "action"), CASES)
def test_the_objects_in_the_two_places_decide(kind: str, at_path: str, in_slot: str, action: str) -> None:
    assert decide(step(kind), NAMES[at_path], NAMES[in_slot]) == action


@pytest.mark.parametrize(("kind", "at_path", "in_slot", "action"), CASES)
def test_attributes_and_content_do_not_matter_only_the_object_does(
    kind: str, at_path: str, in_slot: str, action: str
) -> None:
    def later(entry: Entry | None) -> Entry | None:
        return entry and entry._replace(mode=0, size=99, mtime_ns=99, ctime_ns=99, uid=9)

    assert decide(step(kind), later(NAMES[at_path]), later(NAMES[in_slot])) == action


@pytest.mark.parametrize(("kind", "at_path", "in_slot", "action"), CASES)
def test_a_later_inode_with_the_same_number_is_a_foreign_object(
    kind: str, at_path: str, in_slot: str, action: str
) -> None:
    reborn = {"foreign": thing(NEW.ino, 99)}
    named = {**NAMES, **reborn}
    assert decide(step(kind), named[at_path], named[in_slot]) == action


@pytest.mark.parametrize("kind", [FILE, LINK])
def test_another_kind_with_the_same_number_is_a_foreign_object(kind: str) -> None:
    new = thing(20, 2, DIR)
    assert decide(step(CREATE, new=new), thing(20, 2, kind), None) == NOTHING
    assert decide(step(CREATE, new=new), new, None) == TAKE_OUT


@pytest.mark.parametrize(("kind", "at_path", "in_slot", "action"), CASES)
def test_where_generations_are_unknown_the_number_must_do(
    kind: str, at_path: str, in_slot: str, action: str
) -> None:
    def unknown(entry: Entry | None) -> Entry | None:
        return entry and entry._replace(generation=0)

    assert decide(step(kind), unknown(NAMES[at_path]), unknown(NAMES[in_slot])) == action


def after(action: str, at_path: Entry | None, in_slot: Entry | None) -> tuple[Entry | None, Entry | None]:
    """The two places when ``action`` was done (what is kept moves to the conflicts)."""
    if action == TAKE_OUT:
        return None, at_path
    return {
        NOTHING: (at_path, in_slot),
        SWAP_BACK: (in_slot, at_path),
        PUT_BACK: (in_slot, None),
        DROP_NAME: (at_path, None),
        KEEP: (at_path, None),
    }[action]


@pytest.mark.parametrize("kind", [CREATE, REPLACE, REMOVE])
def test_doing_it_twice_does_nothing_the_second_time(kind: str) -> None:
    for at_path, in_slot in itertools.product(NAMES.values(), repeat=2):
        places = at_path, in_slot
        for _ in range(2):
            places = after(decide(step(kind), *places), *places)
        assert decide(step(kind), *places) == NOTHING, (at_path, in_slot)
        once = after(decide(step(kind), at_path, in_slot), at_path, in_slot)
        if kind != REPLACE or in_slot is not FOREIGN:
            assert once == places


@pytest.mark.parametrize("kind", [CREATE, REPLACE, REMOVE])
def test_no_object_of_another_writer_ever_leaves_its_path(kind: str) -> None:
    for in_slot in NAMES.values():
        action = decide(step(kind), FOREIGN, in_slot)
        assert after(action, FOREIGN, in_slot)[0] is FOREIGN


@pytest.mark.parametrize("kind", [REPLACE, REMOVE])
def test_undoing_any_state_a_crash_can_leave_puts_the_old_object_back(kind: str) -> None:
    new = None if kind == REMOVE else NEW
    for at_path, in_slot in ((OLD, new), (new, OLD), (None, OLD)):
        places = after(decide(step(kind), at_path, in_slot), at_path, in_slot)
        assert places[0] is OLD
        assert places[1] is None or same_object(places[1], NEW)


def test_undoing_any_state_a_crash_can_leave_takes_a_created_object_out() -> None:
    for at_path, in_slot in ((NEW, None), (None, NEW)):
        assert after(decide(step(CREATE), at_path, in_slot), at_path, in_slot) == (None, NEW)
