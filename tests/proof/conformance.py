"""Nothing bypasses the door: every system call that changes something belongs to a verb of ``fs.Disk``.

The command runs under strace with a door that writes each verb down before it acts
(``tests.proof.logged``). The trace then holds both, in order. Each mutating call below DST must be one that
the verb before it may make, once, on the names it was given. SRC and everything else must see none at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.proof import traced
from tests.proof.figures import Outcome
from tests.proof.ground import Ground
from tests.proof.traced import Call

# Each verb and the calls it may make, each of them once.
VERBS = {
    "create": ["openat"],
    "open_lock": ["openat"],
    "write": ["pwrite64"],
    "truncate": ["ftruncate"],
    "mkdir": ["mkdirat"],
    "symlink": ["symlinkat"],
    "link": ["linkat"],
    "exchange": ["renameat2"],
    "rename_new": ["renameat2"],
    "replace": ["renameat"],
    "unlink": ["unlinkat"],
    "rmdir": ["unlinkat"],
    "set_meta": ["fchown", "fchmod", "utimensat"],
    "set_meta_at": ["chown", "chmod", "utimensat", "fchownat"],  # by /proc/self/fd, of links by name
    "fsync": ["fsync"],
    "syncfs": ["syncfs"],
}
MAY_DO_NOTHING = {"set_meta", "set_meta_at"}  # where no attribute is given, or the inode is another by now
# Calls of no verb, and why they may be made.
EXCEPTIONS = {
    "SQLite opens and writes its file itself": re.compile(r"/(\.atomsync|state)/manifest\.sqlite"),
    "SQLite syncs the directory of its journal": re.compile(r"^fdatasync\(\d+<[^>]*/(\.atomsync|state)>"),
    "DST itself is made, or found to be there": re.compile(r'^mkdir\("[^"]*/dst", '),
    "it is made beside its place": re.compile(r'^mkdirat\(\d+<[^>]*>, "\.dst\.atomsync-new", 0777'),
    "the state directory is made, for its owner only": re.compile(r'^(mkdir|chmod)\("[^"]*/state", '),
    "what is told goes to stdout and stderr": re.compile(r"^write\([12]<"),
}
_OPENING = re.compile(r"O_CREAT|O_TRUNC|O_TMPFILE")
_CHANGING = re.compile(r"FICLONE|FIDEDUPE|_SETFLAGS|_FSSETXATTR")
_PINNED = re.compile(r'"/proc/self/fd/(\d+)"')
_OPENED = re.compile(r"= (\d+)<([^>]+)>$")
_TOLD = re.compile(r'"(.*)\\n"')


class Verb(NamedTuple):
    """A verb the door told of, and the calls it may still make."""

    name: str
    arguments: list[str]
    left: list[str]


def conforms(outcome: Outcome, ground: Ground) -> None:
    """Run the command of ``ground`` once through a door that tells; judge every mutating call of it."""
    ground.fresh()
    told, log = ground.base / "told", ground.base / "log"
    words = ["tests.proof.logged", str(told), *ground.words[len(ground.command) :]]
    ended = ground.run(words, "-y", "-s", "4096", log=log)
    if ended.status != 0:
        outcome.judged("failed", f"the command ended with {ended}")
    for what, violations in _judged(traced.calls(log), str(told), ground):
        outcome.judged(what, *violations)


def _judged(calls: list[Call], told: str, ground: Ground) -> Iterator[tuple[str, list[str]]]:
    """Of each verb and each mutating call: what it is, and what is wrong with it."""
    verb = Verb("", [], [])
    opened: dict[str, str] = {}
    for call in calls:
        if found := _OPENED.search(call.line):
            opened[found[1]] = found[2]
        if told in call.line:
            if text := _TOLD.search(call.line):
                yield from _idle(verb)
                name, *arguments = text[1].split("\\t")
                verb = Verb(name, arguments, [*VERBS.get(name, [])])
        elif _mutates(call):
            line = _PINNED.sub(lambda pinned: f"<{opened.get(pinned[1], '?')}>", call.line)
            if call.name in ("write", "pwrite64"):
                line = line.partition(",")[0]  # the bytes are none of a path
            what, wrong = _attributed(call.name, line, verb, ground)
            where = f"{call.name}({line[:160]}, after {verb.name} {verb.arguments}"
            yield what, [f"{wrong}: {where}"] if wrong else []
    yield from _idle(verb)


def _attributed(name: str, line: str, verb: Verb, ground: Ground) -> tuple[str, str]:
    """Whose call this is, and what is wrong with it, "" if nothing."""
    if any(reason.search(f"{name}({line}") for reason in EXCEPTIONS.values()):
        return "excepted", ""
    if str(ground.dst.parent) not in line:
        return "elsewhere", "something else than DST is changed"
    if name not in verb.left:
        return "bypass", "no verb of the door did this"
    if any(f'"{argument}"' not in line and f"/{argument}>" not in line for argument in verb.arguments):
        return "bypass", "the door told of other names"
    verb.left.remove(name)
    return "at the door", ""


def _idle(verb: Verb) -> Iterator[tuple[str, list[str]]]:
    """A verb that was told of must have done something."""
    if verb.name:
        done = len(verb.left) < len(VERBS.get(verb.name, [])) or verb.name in MAY_DO_NOTHING
        yield "verbs", [] if done else [f"{verb.name} {verb.arguments} was told of, but no call was made"]


def _mutates(call: Call) -> bool:
    if call.name in ("openat", "open"):
        return bool(_OPENING.search(call.line))
    return call.name in traced.MUTATING or (call.name == "ioctl" and bool(_CHANGING.search(call.line)))
