"""Which paths are in scope: gitignore patterns, in the order git documents.

The last pattern that matches decides. A path below an excluded directory cannot be included again,
since an excluded directory is never entered. Patterns of the caller outrank ``.gitignore`` files; of
those, the one nearest to the path outranks the ones above it. Matching is pathspec's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from atomsync.errors import UsageError
from atomsync.tree.path import is_reserved, parent_of, shown, upwards

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GITIGNORE = ".gitignore"
_NEGATED = r"((?:^|[^\\\[])(?:\\\\)*)\[\^(?!/\])(\]?)"
_STARS = r"(?:\[\^/\]\*)+"
_STAR_AND_TEXT = r"\[\^/\]\*((?:\\.|\[(?:[^\]\\]|\\.)+\]|[^\[(\\])+?)(?=\[\^/\]\*)"
_DIRECTORY = "ps_d"  # pathspec's group for the slash behind a directory that a pattern names


def exclude_line(pattern: str) -> str:
    """The gitignore line for ``--exclude PATTERN``, taken literally as a pattern to exclude."""
    return "\\" + pattern if pattern.startswith(("#", "!")) else pattern


def include_line(pattern: str) -> str:
    """The gitignore line for ``--include PATTERN``."""
    return "!" + pattern


class Filters:
    """``lines`` are gitignore lines, given by ``option``; ``gitignore`` says whether ``.gitignore`` files are
    honoured too."""

    def __init__(
        self, lines: Iterable[str] = (), *, gitignore: bool = False, option: str = "--exclude/--include"
    ) -> None:
        lines = list(lines)
        self.gitignore = gitignore
        self._own = _spec(lines, option) if lines else None
        self._found: dict[str, GitIgnoreSpec] = {}

    def anew(self) -> Filters:
        """The same patterns, with nothing learned."""
        found = Filters(gitignore=self.gitignore)
        found._own = self._own
        return found

    @property
    def active(self) -> bool:
        """False if every path but the reserved name is in scope, so that none need be asked about."""
        return self._own is not None or self.gitignore

    def learn(self, directory: str, text: str) -> None:
        """Take in the text of ``directory/.gitignore``, before any path below it is asked about."""
        where = f"{directory}/{GITIGNORE}" if directory else GITIGNORE
        self._found[directory] = _spec(text.splitlines(), where)

    def excludes(self, path: str, *, is_dir: bool) -> bool:
        """Whether ``path`` is out of scope, given that no directory above it is."""
        if is_reserved(path.rpartition("/")[2]):
            return True
        if not self.active:
            return False
        asked = path + "/" if is_dir else path
        if self._own is not None:
            verdict = _verdict(self._own, asked)
            if verdict is not None:
                return verdict
        if self._found:
            for directory in upwards(parent_of(path)):
                spec = self._found.get(directory)
                if spec is not None:
                    below = asked[len(directory) + 1 :] if directory else asked
                    verdict = _verdict(spec, below)
                    if verdict is not None:
                        return verdict
        return False


def _verdict(spec: GitIgnoreSpec, asked: str) -> bool | None:
    """What the last pattern that names ``asked`` itself says; None if none does.

    pathspec answers for paths out of the blue, so its patterns also match what lies below a directory
    they name, and that would outrank a pattern about the path itself. We come from the top, as git
    does: whoever gets to ``asked`` has had its directories judged before.
    """
    for pattern in reversed(list(spec.patterns)):
        regex = getattr(pattern, "regex", None)
        if regex is None or pattern.include is None:
            continue
        for match in regex.finditer(asked):
            end = match.end(_DIRECTORY) if _DIRECTORY in regex.groupindex else -1
            if end not in (-1, len(asked)):
                continue  # it names a directory above
            if end == -1 and regex.pattern.endswith("/") and match.end() == len(asked):
                continue  # a/** is about what is in a, not about a
            return bool(pattern.include)
    return None


def _spec(lines: Iterable[str], where: str) -> GitIgnoreSpec:
    import pathspec  # costs 30 ms, and most runs have no patterns

    try:
        # To git a/**/ means the directories in a, at any depth; pathspec takes it for a itself.
        spec = pathspec.GitIgnoreSpec.from_lines(
            line.rstrip() + "*/" if line.rstrip().endswith("/**/") else line for line in lines
        )
    except ValueError as error:
        raise UsageError(f"cannot use the patterns of {shown(where)}", str(error)) from None
    for pattern in spec.patterns:
        regex = getattr(pattern, "regex", None)
        if regex is not None:
            pattern.regex = re.compile(_bounded(regex.pattern))
    return spec


def _bounded(regex: str) -> str:
    """The same language, matched in bounded time: patterns come from whoever writes to the source.

    Between two stars of one name the leftmost match of the text is as good as any other, so it is taken
    for good. A negated bracket must not match a slash, as pathspec lets it.
    """
    regex = re.sub(_NEGATED, r"\1[^\2/", regex)
    regex = re.sub(_STARS, "[^/]*", regex)
    return re.sub(_STAR_AND_TEXT, r"(?>[^/]*?\1)", regex)
