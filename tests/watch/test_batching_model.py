"""Any hints at any times: none is lost, none is given too young, and nobody is woken for nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from atomsync.watch.batching import Batch, Batcher, Limits
from atomsync.watch.hint import ENTRY, NAMES, TREE, Hint

WIDE = Limits(settle_s=0.125, max_wait_s=2.0)
NARROW = WIDE._replace(paths_max=6, fold_max=2, directories_max=3)
PATIENCE_S = 2 * WIDE.max_wait_s

PATHS = ["", *"abc", *(f"{d}/{n}" for d in "abc" for n in "xyz"), *(f"a/x/{n}" for n in "pqr"), "a/x/p/s"]

paths = st.sampled_from(PATHS)
hints = st.builds(
    Hint,
    paths,
    st.sampled_from([ENTRY, ENTRY, ENTRY, NAMES, TREE]),
    st.sampled_from(["", "", "", *PATHS[1:]]),
    st.sampled_from([None, True, False]),
    st.booleans(),
)
waits = st.sampled_from([0, 0, 1, 1, 2, 3, 8, 33]).map(lambda sixteenths: ("wait", sixteenths / 16))
verbs = st.one_of(
    hints.map(lambda hint: ("add", hint)),
    hints.map(lambda hint: ("add", hint)),
    waits,
    st.just(("take", False)),
    st.just(("take", True)),
    st.just(("put back", None)),
    st.lists(paths, max_size=2).map(lambda found: ("hold", found)),
)


class Need(NamedTuple):
    """Somebody must look at ``path``, as far as ``reach``."""

    path: str
    reach: int


def above(path: str) -> list[str]:
    """Without ``path``; the root included."""
    found = []
    while path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


def is_met(need: Need, batch: Batch) -> bool:
    line = [need.path, *above(need.path)]
    if any(path in batch.held for path in line):
        return False
    for distance, path in enumerate(line):
        if batch.looks.get(path, -1) >= min(need.reach + distance, TREE):
            return True
    return False


class World:
    """A batcher, what it was told, and what must hold of whatever it answers."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.batcher = Batcher(limits)
        self.now_s = 0.0
        self.needs: dict[Need, float] = {}  # and when each was first told of
        self.last_s: dict[str, float] = {}
        self.writing: set[str] = set()
        self.given: tuple[Batch, dict[Need, float]] | None = None

    def apply(self, verb: tuple[str, Any]) -> None:
        name, what = verb
        if name == "add":
            if what.moved_from in (what.path, *above(what.path)):
                what = what._replace(moved_from="")
            self.add(what)
        elif name == "wait":
            self.now_s += what
        elif name == "take":
            self.take(force=what)
        elif name == "put back" and self.given is not None:
            batch, met = self.given
            self.given = None
            self.batcher.put_back(batch, self.now_s)
            for need, first_s in met.items():
                self.needs[need] = min(self.needs.get(need, first_s), first_s)
            for path in batch.looks:
                self.last_s.pop(path, None)  # it rested, or was taken by force; which, nobody kept
        elif name == "hold":
            self.batcher.hold(what, self.now_s)
            for path in what:
                self.needs.setdefault(Need(path, ENTRY), self.now_s)
                self.last_s[path] = self.now_s

    def add(self, hint: Hint) -> None:
        self.batcher.add(hint, self.now_s)
        self.needs.setdefault(Need(hint.path, hint.reach), self.now_s)
        self.last_s[hint.path] = self.now_s
        if hint.moved_from:
            self.writing.clear()  # who writes where now is not what is modelled here
        if hint.writing is True:
            self.writing.add(hint.path)
        elif hint.writing is False:
            self.writing.discard(hint.path)

    def take(self, *, force: bool = False) -> Batch | None:
        due_s = self.batcher.due_s()
        pending = len(self.batcher)
        assert (due_s is None) == (pending == 0)
        batch = self.batcher.take(self.now_s, force=force)
        if not force and (due_s is None or self.now_s < due_s):
            assert batch is None
            assert len(self.batcher) == pending
        if batch is not None:
            self.check(batch, force=force)
        if force:
            assert len(self.batcher) == 0
            assert not self.needs
        return batch

    def check(self, batch: Batch, *, force: bool) -> None:
        looks, held = batch.looks, batch.held
        assert looks
        assert len(looks) <= self.limits.paths_max or force
        assert batch.unannounced <= looks.keys()
        assert not (force and held)
        assert all(looks.get(path) != TREE for look in looks for path in above(look))
        assert not any(path in held for look in looks for path in (look, *above(look)))
        met = {need: first_s for need, first_s in self.needs.items() if is_met(need, batch)}
        if not force:
            for look in looks:
                self.check_age(look, batch, met)
        if self.limits == WIDE and met:
            assert batch.since_s <= min(met.values())
        self.needs = {need: first_s for need, first_s in self.needs.items() if need not in met}
        for need in met:
            for path in held:  # the look left these out
                if need.reach == TREE and need.path in above(path):
                    self.needs[Need(path, TREE)] = self.now_s
        self.writing -= looks.keys()
        self.given = batch, met

    def check_age(self, look: str, batch: Batch, met: dict[Need, float]) -> None:
        """It rests, or its patience has ended."""
        if batch.since_s + PATIENCE_S <= self.now_s:
            return
        assert self.last_s.get(look, -1.0) + self.limits.settle_s <= self.now_s
        if self.limits == WIDE:
            assert look not in self.writing

    def is_idle(self) -> bool:
        """Whether nobody needs to call ``take`` now."""
        due_s = self.batcher.due_s()
        return due_s is None or due_s > self.now_s


def run(limits: Limits, script: list[tuple[str, Any]]) -> None:
    world = World(limits)
    for verb in script:
        world.apply(verb)
        if verb[0] == "take" and not world.is_idle():
            assert world.take() is not None
    # No more hints: all is given within the patience, by no more calls than there is to give.
    end_s = world.now_s + PATIENCE_S + limits.settle_s
    for _ in range(3 * len(PATHS)):
        due_s = world.batcher.due_s()
        if due_s is None:
            break
        world.now_s = max(world.now_s, due_s)
        world.take()
    assert world.batcher.due_s() is None
    assert world.now_s <= end_s
    assert not world.needs


@settings(max_examples=300, deadline=None)
@given(st.lists(verbs, min_size=5, max_size=60))
def test_any_hints_are_given_whole_and_in_time(script: list[tuple[str, Any]]) -> None:
    run(WIDE, script)


@settings(max_examples=300, deadline=None)
@given(st.lists(verbs, min_size=5, max_size=60))
def test_any_hints_are_given_whole_and_in_time_when_they_are_folded(script: list[tuple[str, Any]]) -> None:
    run(NARROW, script)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=12), st.integers(0, 12))
def test_composed_moves_lead_to_where_each_file_is(steps: list[tuple[str, str]], cut: int) -> None:
    """Real renames of files, played on a dictionary; a batch is taken in between and put back."""
    source = Batcher(WIDE)
    now_at = {name: name for name in "abcd"}  # path → whose content
    batch = None
    for number, (old, new) in enumerate(steps):
        if number == cut:
            batch = source.take(1.0, force=True)
        if old != new and old in now_at:
            now_at[new] = now_at.pop(old)
            source.add(Hint(old), 1.0)
            source.add(Hint(new, moved_from=old), 1.0)
    if batch is not None:
        source.put_back(batch, 2.0)
    last = source.take(9.0, force=True)
    moves = {} if last is None else {new: old for new, old in last.moves.items() if new in now_at}
    assert moves == {path: content for path, content in now_at.items() if path != content}
