"""Which paths are in scope: gitignore patterns, in the order git documents.

The last pattern that matches decides. A path below an excluded directory cannot be included again,
since an excluded directory is never entered. Patterns of the caller outrank ``.gitignore`` files; of
those, the one nearest to the path outranks the ones above it. Matching is pathspec's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from atomsync.errors import UsageError
from atomsync.tree.path import ancestors, is_reserved, shown

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GITIGNORE = ".gitignore"


def exclude_line(pattern: str) -> str:
    """The gitignore line for ``--exclude PATTERN``, taken literally as a pattern to exclude."""
    return "\\" + pattern if pattern.startswith(("#", "!")) else pattern


def include_line(pattern: str) -> str:
    """The gitignore line for ``--include PATTERN``."""
    return "!" + pattern


class Filters:
    """``lines`` are gitignore lines; ``gitignore`` says whether ``.gitignore`` files are honoured too."""

    def __init__(self, lines: Iterable[str] = (), *, gitignore: bool = False) -> None:
        lines = list(lines)
        self.gitignore = gitignore
        self._own = _spec(lines, "--exclude/--include") if lines else None
        self._found: dict[str, GitIgnoreSpec] = {}

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
            verdict = self._own.check_file(asked).include
            if verdict is not None:
                return verdict
        if self._found:
            for directory in [*ancestors(path), ""]:
                spec = self._found.get(directory)
                if spec is not None:
                    below = asked[len(directory) + 1 :] if directory else asked
                    verdict = spec.check_file(below).include
                    if verdict is not None:
                        return verdict
        return False


def _spec(lines: Iterable[str], where: str) -> GitIgnoreSpec:
    import pathspec  # costs 30 ms, and most runs have no patterns

    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(f"cannot use the patterns of {shown(where)}", str(error)) from None
