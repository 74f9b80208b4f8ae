"""The changes of a unit in normal form."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomsync.plan.change import Change
from atomsync.plan.plan import Plan, normal_form
from atomsync.plan.step import CREATE, META, REMOVE, REPLACE
from atomsync.tree.diff import Ownership, diff
from atomsync.tree.entry import DIR, SEEN, Entry
from atomsync.tree.path import joined, parent_of
from tests.tree.entries import file, folder, link

A, B = file(1, 1), file(2, 2)
D, E = folder(1), folder(2)


def shape(plan: Plan) -> list[tuple[str, str]]:
    return [(step.kind, step.path) for step in plan.steps]


@pytest.mark.parametrize(
    ("changes", "steps", "parents"),
    [
        ([], [], ()),
        ([Change("a", None, A)], [(CREATE, "a")], ("",)),
        ([Change("a", A, B)], [(REPLACE, "a")], ("",)),
        ([Change("a", A, None)], [(REMOVE, "a")], ("",)),
        ([Change("a", A, B, content=False)], [(META, "a")], ()),
        ([Change("d", D, E)], [(META, "d")], ()),
        ([Change("", D, E, content=False)], [(META, "")], ()),
        ([Change("d/a", None, A)], [(CREATE, "d/a")], ("d",)),
        # a directory named by a change of its own is no parent apart
        ([Change("d", D, E), Change("d/a", None, A)], [(CREATE, "d/a"), (META, "d")], ()),
        ([Change("", D, E), Change("a", None, A)], [(CREATE, "a"), (META, "")], ()),
        # whole subtrees enter and leave by one step
        ([Change("n", None, D), Change("n/x", None, A), Change("n/y", None, D)], [(CREATE, "n")], ("",)),
        ([Change("n", D, None), Change("n/x", A, None)], [(REMOVE, "n")], ("",)),
        ([Change("n", A, D), Change("n/x", None, B)], [(REPLACE, "n")], ("",)),
        ([Change("n", D, A), Change("n/x", B, None)], [(REPLACE, "n")], ("",)),
        # a name that merely begins alike lies beside, also where it sorts in between
        ([Change("d", None, D), Change("d.x", None, A), Change("d/x", None, B)],
         [(CREATE, "d"), (CREATE, "d.x")], ("",)),
        ([Change("d", D, None), Change("d-e", A, B), Change("d/x", A, None)],
         [(REPLACE, "d-e"), (REMOVE, "d")], ("",)),
    ],
)  # fmt: skip
def test_changes_become_steps(
    changes: list[Change], steps: list[tuple[str, str]], parents: tuple[str, ...]
) -> None:
    plan = normal_form(changes)
    assert shape(plan) == steps
    assert plan.parents == parents
    assert bool(plan) is bool(steps)


def test_a_step_knows_what_enters_and_what_leaves_below_it() -> None:
    plan = normal_form(
        [
            Change("n", D, E._replace(kind="file")),
            Change("n/gone", A, None),
            Change("n/gone-dir", D, None),
            Change("n/gone-dir/deep", B, None),
        ]
    )
    (step,) = plan.steps
    assert step.inside == ()
    assert step.displaced == (("n/gone", A), ("n/gone-dir", D), ("n/gone-dir/deep", B))


def test_the_order_is_creations_replacements_removals_metadata_and_by_path_within_each() -> None:
    changes = [
        Change("z", None, A),
        Change("a", A, None),
        Change("m", D, E),
        Change("b", A, B),
        Change("y", None, link("z")),
        Change("c", A, B),
        Change("", D, E),
        Change("k", A, None),
    ]
    wanted = [
        (CREATE, "y"),
        (CREATE, "z"),
        (REPLACE, "b"),
        (REPLACE, "c"),
        (REMOVE, "a"),
        (REMOVE, "k"),
        (META, ""),
        (META, "m"),
    ]
    rng = random.Random(1)
    for _ in range(20):
        rng.shuffle(changes)
        assert shape(normal_form(changes)) == wanted


# -- random trees: path → entry, every parent a directory
Tree = dict[str, Entry]
names = st.sampled_from(["a", "b", "a.", "a-", "b c"])
leaves = st.builds(file, st.integers(0, 1), st.integers(0, 1)) | st.builds(link, st.sampled_from("xy"))
nested = st.recursive(leaves, lambda below: st.dictionaries(names, below, max_size=4), max_leaves=12).filter(
    lambda tree: isinstance(tree, dict)
)


def flat(tree: object, path: str = "") -> Tree:
    found: Tree = {}
    assert isinstance(tree, dict)
    for name, child in tree.items():
        here = joined(path, name)
        if isinstance(child, dict):
            found[here] = folder(len(child) % 2)
            found |= flat(child, here)
        else:
            found[here] = child
    return found


def children(tree: Tree, path: str) -> Tree:
    return {name.rpartition("/")[2]: entry for name, entry in tree.items() if name.rpartition("/")[0] == path}


def below(tree: Tree, path: str) -> list[str]:
    return [other for other in tree if other.startswith(path + "/")]


def changes_between(old: Tree, new: Tree) -> list[Change]:
    """As a push with --delete records them."""
    found: list[Change] = []
    pending = [""]
    while pending:
        here = pending.pop()
        told = diff(children(new, here), children(old, here), Ownership(True, 0, frozenset()), {})
        for name in told.created + told.replaced + told.removed:
            top = joined(here, name)
            found.append(Change(top, old.get(top), new.get(top)))
            inside = below(new, top) if top in new and new[top].kind == DIR else []
            outside = below(old, top) if top in old and old[top].kind == DIR else []
            found += [Change(path, None, new[path]) for path in inside]
            found += [Change(path, old[path], None) for path in outside]
        for name in told.metadata:
            found.append(Change(joined(here, name), old[joined(here, name)], new[joined(here, name)], False))
        for name in told.both:
            path = joined(here, name)
            pending.append(path)
            if old[path][:SEEN] != new[path][:SEEN]:
                found.append(Change(path, old[path], new[path], content=False))
    return found


def applied(plan: Plan, old: Tree) -> Tree:
    result = dict(old)
    for step in plan.steps:
        if step.kind == META:
            assert step.new is not None
            result[step.path] = step.new
            continue
        if step.old is not None:
            assert {path for path, _ in step.displaced} == set(below(result, step.path))
            for path in [step.path, *below(result, step.path)]:
                del result[path]
        if step.new is not None:
            assert step.path not in result
            result[step.path] = step.new
            result |= dict(step.inside)
    return result


@given(nested, nested, st.randoms())
def test_the_plan_of_two_random_trees(old_tree: object, new_tree: object, rng: random.Random) -> None:
    old, new = flat(old_tree), flat(new_tree)
    changes = changes_between(old, new)
    rng.shuffle(changes)
    plan = normal_form(changes)

    swaps = [step for step in plan.steps if step.kind != META]
    for step in swaps:  # an antichain: no swap at or below another's path, no metadata below one
        for other in plan.steps:
            if other is not step:
                assert other.path != step.path
                assert not other.path.startswith(step.path + "/")

    covered: list[tuple[str, Entry | None, Entry | None]] = []
    for step in plan.steps:
        covered.append((step.path, step.old, step.new))
        covered += [(path, None, entry) for path, entry in step.inside]
        covered += [(path, entry, None) for path, entry in step.displaced]
    assert sorted(map(repr, covered)) == sorted(repr(change[:3]) for change in changes)

    order = [CREATE, REPLACE, REMOVE, META]
    ranks = [(order.index(step.kind), parent_of(step.path), step.path) for step in plan.steps]
    assert [rank for rank in ranks if rank[0] < 3] == sorted(rank for rank in ranks if rank[0] < 3)
    assert [step.path for step in plan.steps if step.kind == META] == sorted(
        step.path for step in plan.steps if step.kind == META
    )

    for step in plan.steps:  # members by full path, below the step, parents first
        for members in (step.inside, step.displaced):
            seen = {step.path}
            for path, _ in members:
                assert path.rpartition("/")[0] in seen
                seen.add(path)

    touched = {step.path.rpartition("/")[0] for step in swaps}
    named = {step.path for step in plan.steps if step.kind == META}
    assert set(plan.parents) == touched - named

    assert {path: entry[:SEEN] for path, entry in applied(plan, old).items()} == {
        path: entry[:SEEN] for path, entry in new.items()
    }


@given(nested)
def test_equal_trees_need_no_plan(tree: object) -> None:
    assert not normal_form(changes_between(flat(tree), flat(tree)))


@pytest.mark.parametrize(
    ("change", "visible"),
    [
        (Change("d", D, E, content=False), False),
        (Change("d", D, D._replace(mode=0o700), content=False), True),
        (Change("d", None, D), True),
        (Change("d", D, None), True),
        (Change("a", A, A._replace(mtime_ns=9), content=False), True),
    ],
)
def test_only_a_directorys_new_time_is_no_news(change: Change, visible: bool) -> None:
    assert change.visible is visible
