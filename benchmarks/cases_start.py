"""What is paid before anything is done."""

from __future__ import annotations

import dataclasses

import trees
from bench import Bench
from contenders import OURS, Contender
from pairs import alternate
from results import Result

ROUNDS = 30


def start(bench: Bench, result: Result) -> None:
    """The start of the interpreter, of atomsync, and a push of nothing."""
    rounds = bench.scaled(ROUNDS, bench.rounds)
    result.rounds = rounds
    result.about = (
        "The shortest runs there are. The tree that is pushed is empty, and so is the destination, anew for"
        " each run; `python` is the interpreter that runs atomsync."
    )
    tools = bench.tools
    with bench.space() as space:
        source, target = space / "source", space / "target"
        source.mkdir()
        push = dataclasses.replace(tools.atomsync(source, target), name=f"{OURS}, empty")
        contenders = [tools.atomsync_version(), push, tools.python()]

        def before(number: int, contender: Contender) -> None:
            if contender is push:
                trees.remove(target)
                target.mkdir()

        runs = alternate(contenders, rounds, before=before)
    python = {tools.python().name: runs[tools.python().name]}
    for contender, title in ((contenders[0], "start alone"), (push, "push of an empty tree")):
        result.book(title, {contender.name: runs[contender.name]} | python, key=title)
