"""(4) What is at the path of each step, and in its slot: looked at in two processes where there are many.

The second process is asked only once it has nothing else to do, and it takes up what comes next, as we do:
so the looks come in the order of the steps, and what follows from them need not wait for the last.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from atomsync.fs.cursor import Cursor
from atomsync.fs.sharing import InTurn, shared
from atomsync.plan.step import META, REMOVE, Step
from atomsync.tree.entry import Entry, entry_of, look_deep_all
from atomsync.tree.path import parent_of

if TYPE_CHECKING:
    from atomsync.fs.second import Second, Task
    from atomsync.fs.second_main import Context

WORTH_STEPS = 1_000
_PORTION_STEPS = 128
_AHEAD = 4  # for each that we look at ourselves we also write down what came of the others
_LOOK = "atomsync.store.looks:look_there"
_made = tuple.__new__

Looks = tuple[Sequence[Entry | None], Sequence[Entry | None]]


class Portion(NamedTuple):
    """Steps that follow each other in one directory: the ``names`` they have there, and their ``slots``, but
    for those that have nothing staged. The root itself has no name: it is a portion of its own."""

    number: int
    directory: str
    steps: Sequence[Step]
    names: list[str]
    slots: list[str]


def looks(
    tree: Cursor,
    slots: int,
    steps: Sequence[Step],
    second: Second | None,
    check: Callable[[], object],
) -> Generator[tuple[Step, Entry | None, Entry | None], None, None]:
    """Each step, in order, with what is at its path now (with generation), and in its slot.

    ``second`` keeps what it was given for it until it is closed. Raises OSError, and what ``check`` raises.
    """
    given = False

    def idle() -> Second | None:
        nonlocal given
        if second is not None and not given and second.idle:
            second.give(tree=tree.root, slots=slots)
            given = True
        return second if given else None

    def here(portion: Portion) -> Looks:
        return look_here(tree, slots, portion.directory, portion.names, portion.slots)

    def ask(other: Second, portion: Portion) -> Task:
        return other.ask(_LOOK, portion.directory, portion.names, portion.slots)

    # Closed by who does not want the rest: its end, and the second process, should not wait for a collector.
    with closing(shared(InTurn(_portions(steps)), here, ask, idle, check, ahead=_AHEAD)) as done:
        for looked in _in_order(done):
            yield from looked


def _in_order(
    done: Iterable[tuple[Portion, Any]],
) -> Iterator[Iterable[tuple[Step, Entry | None, Entry | None]]]:
    early: dict[int, tuple[Portion, Any]] = {}
    number = 0
    for each, answer in done:
        early[each.number] = each, answer
        while number in early:
            portion, answers = early.pop(number)
            at_paths, staged = map(_entries, answers)
            number += 1
            if len(staged) < len(portion.steps):
                rest = iter(staged)
                staged = [next(rest) if _is_staged(step) else None for step in portion.steps]
            yield zip(portion.steps, at_paths, staged)


def _entries(found: Iterable[Any]) -> list[Entry | None]:
    """Of what came from the other process, too: plain tuples."""
    return [each if each is None or type(each) is Entry else _made(Entry, each) for each in found]


def look_here(tree: Cursor, slots: int, directory: str, names: list[str], in_slots: list[str]) -> Looks:
    """What is at ``names`` in a directory, where there is nothing if there is no way; and in slots."""
    staged = look_deep_all(tree.disk, slots, in_slots)
    if names == [""]:
        return [entry_of(tree.disk.fstat(tree.root))], staged
    try:
        at = tree.at(directory)
    except (FileNotFoundError, NotADirectoryError):
        return [None] * len(names), staged
    return look_deep_all(tree.disk, at, names), staged


def look_there(context: Context, directory: str, names: list[str], in_slots: list[str]) -> list[Any]:
    """What the second process does."""
    tree = context.cursor("tree")
    found = look_here(tree, context.descriptors["slots"], directory, names, in_slots)
    return [[entry and tuple(entry) for entry in entries] for entries in found]


def _portions(steps: Iterable[Step]) -> Iterator[Portion]:
    number = 0
    for (directory, is_root), run in groupby(steps, lambda step: (parent_of(step.path), not step.path)):
        skip = len(directory) + 1 if directory else 0
        while some := tuple(islice(run, 1 if is_root else _PORTION_STEPS)):
            names = [step.path[skip:] for step in some]
            yield Portion(number, directory, some, names, [step.slot for step in some if _is_staged(step)])
            number += 1


def _is_staged(step: Step) -> bool:
    return step.kind not in (META, REMOVE)
