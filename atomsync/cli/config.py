"""``atomsync.toml``: pairs, with every option of the command line by its long name.

The keys are those of the command itself, with its types and defaults: there is no second list of them.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import click

from atomsync.cli.options import pattern_lines
from atomsync.cli.quantities import Batch, address
from atomsync.daemon.pair import Pair
from atomsync.errors import AtomSyncError, UsageError
from atomsync.follow.watching import POLL_S, WatchOptions
from atomsync.tree.filters import Filters
from atomsync.tree.path import shown

PROCESS = ("config", "metrics", "as_json", "verbose", "quiet")  # of the process, not of a pair
_PATHS = ("source", "destination", "state_dir", "exclude_from")  # relative to the file they stand in
_ORDER = ("exclude_from", "exclude", "include")  # an array has lost the order among them; "patterns" keeps it
_LINES = "patterns"


class Config(NamedTuple):
    pairs: tuple[Pair, ...]
    metrics: tuple[str, int] | None


def pair_of(source: str, destination: str, lines: Sequence[str], values: Mapping[str, Any]) -> Pair:
    """A pair, from the values of ``watch``'s options by their names. Raises UsageError."""
    Filters(lines, gitignore=values["gitignore"])  # says what is wrong with a pattern, before anything starts
    if values["max_wait"] < values["settle"]:
        raise UsageError(
            f"cannot wait for {values['settle']:g} s of rest",
            f"--max-wait ends it after {values['max_wait']:g} s",
            "Give a --max-wait that is not shorter than --settle.",
        )
    defaults = WatchOptions._field_defaults
    same = {name: values[name] for name in WatchOptions._fields if name in values}
    batch: Batch = values["batch_max"] or Batch()
    options = WatchOptions(
        **same,
        settle_s=values["settle"],
        max_wait_s=values["max_wait"],
        batch_paths=batch.paths or defaults["batch_paths"],
        batch_bytes=batch.size or defaults["batch_bytes"],
        rescan_s=values["rescan"],
        poll_s=values["poll"],
    )
    return Pair(source, destination, tuple(lines), values["gitignore"], options)


def read(path: str, command: click.Command) -> Config:
    """The pairs that file ``path`` defines for ``watch``. Raises UsageError, naming the table."""
    reader = _Reader(path)
    found = reader.load()
    reader.known(found, ("sync", "daemon"), "")
    daemon = found.get("daemon", {})
    if not isinstance(daemon, dict):
        reader.refuse("[daemon]", "it is no table")
    reader.known(daemon, ("metrics",), "[daemon]")
    metrics = reader.converted(address, daemon["metrics"], "[daemon]", "metrics") if daemon else None
    tables = found.get("sync")
    if isinstance(tables, dict):
        reader.refuse("[sync]", "it must be written [[sync]]", "There may be several, one for each pair.")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        reader.refuse("", "it has no pairs", "A pair is a table [[sync]] with source and destination.")
    options = [
        option for option in command.params if isinstance(option, click.Option) and option.name not in PROCESS
    ]
    defaults = command.make_context(command.name, [], resilient_parsing=True).params
    pairs = [
        reader.pair(table, f"[[sync]] number {at}", keys(options), defaults)
        for at, table in enumerate(tables, 1)
    ]
    first: dict[str, int] = {}
    for at, each in enumerate(pairs, 1):
        if (other := first.setdefault(each.place, at)) != at:
            reader.refuse(
                f"[[sync]] number {at}",
                f"destination {shown(each.destination)} is that of number {other} too",
                "Two sources in one destination would undo each other's work.",
            )
        inside = next((outer for outer in pairs if each.place.startswith(f"{outer.place}/")), None)
        if inside is not None:
            reader.refuse(
                f"[[sync]] number {at}",
                f"destination {shown(each.destination)} lies in that of number {pairs.index(inside) + 1}",
                "Two sources in one destination would undo each other's work.",
            )
    return Config(tuple(pairs), metrics)


def keys(options: Sequence[click.Option]) -> dict[str, click.Option]:
    """What a [[sync]] table may hold for these options: their long names."""
    return {max(option.opts, key=len).removeprefix("--"): option for option in options}


class _Reader:
    """Knows the name of the file, which every complaint begins with."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._where = os.path.dirname(os.path.abspath(path))

    def load(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                return tomllib.loads(file.read().decode())
        except OSError as error:
            self.refuse("", error.strerror or str(error), "--config names a file of pairs (docs/watch.md).")
        except UnicodeDecodeError:
            self.refuse("", "it is not UTF-8")
        except tomllib.TOMLDecodeError as error:
            self.refuse("", f"it is not TOML: {error}")
        except RecursionError:
            self.refuse("", "it is nested too deeply")

    def pair(
        self,
        table: Mapping[str, Any],
        where: str,
        known: Mapping[str, click.Option],
        defaults: Mapping[str, Any],
    ) -> Pair:
        self.known(table, ("source", "destination", *known, _LINES), where)
        for name in ("source", "destination"):
            if name not in table:
                self.refuse(where, f"it has no {name}")
        values = dict(defaults)
        for name, option in known.items():
            if name in table:
                values[str(option.name)] = self._value(option, name, table[name], where)
        order = [(name, text) for name in _ORDER for text in values.get(name, ())]
        lines = self._texts(table.get(_LINES, []), where, _LINES)
        try:
            return pair_of(
                self._text(table["source"], where, "source"),
                self._text(table["destination"], where, "destination"),
                [*pattern_lines(order), *lines],
                values,
            )
        except AtomSyncError as error:
            self.refuse(where, f"{error.what}: {error.why}", error.hint)

    def _value(self, option: click.Option, name: str, value: Any, where: str) -> Any:
        """What the command line would make of it, though never of a value of another type."""
        if option.multiple:
            return tuple(self._texts(value, where, name))
        if option.is_flag:
            if not isinstance(value, bool):
                self.refuse(where, f"{name} is {value!r}, not true or false")
            return value
        if option.name == "poll" and isinstance(value, bool):
            return POLL_S if value else None
        if isinstance(option.type, click.types.StringParamType):
            return self._text(value, where, name)
        if isinstance(option.type, click.IntRange) and type(value) is not int:
            self.refuse(where, f"{name} is {value!r}, not a whole number")
        return self.converted(option.type, value, where, name)

    def converted(self, kind: Callable[[Any], Any], value: Any, where: str, name: str) -> Any:
        try:
            return kind(value)
        except click.BadParameter as error:
            self.refuse(where, f"{name}: {error.message}")

    def _texts(self, value: Any, where: str, name: str) -> list[str]:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list):
            self.refuse(where, f"{name} is {value!r}, not an array of strings")
        return [self._text(each, where, name) for each in values]

    def _text(self, value: Any, where: str, name: str) -> str:
        if not isinstance(value, str):
            self.refuse(where, f"{name} is {value!r}, not a string")
        if "\0" in value or (not value and name != "message"):
            self.refuse(where, f"{name} is empty" if not value else f"{name} has a NUL in it")
        if name.replace("-", "_") in _PATHS:
            return os.path.join(self._where, os.path.expanduser(value))
        return value

    def known(self, table: Mapping[str, Any], names: Collection[str], where: str) -> None:
        for name in table:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1) or difflib.get_close_matches(
                    name.replace("_", "-").lower(), names, 1
                )
                hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(sorted(names))}"
                self.refuse(where, f"unknown key {shown(name)}", hint)

    def refuse(self, where: str, why: str, hint: str = "") -> NoReturn:
        text = f"{where}: {why}" if where else why
        raise UsageError(
            f"cannot use {shown(self._path)}", shown(text), hint or "docs/watch.md shows the format."
        )
