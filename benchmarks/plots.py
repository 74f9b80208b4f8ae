"""The pictures of a report, with matplotlib, which only benchmarks need; same results, same files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from contenders import OURS
from results import Book
from verdicts import Pair, pairs

# Okabe and Ito's colours: told apart by everybody, also in print.
BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#999999",
)
LIGHT = (ORANGE, SKY, PURPLE, GREY)
STYLE: Any = {
    "svg.hashsalt": "atomsync",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
OF_COMMAND = {OURS: BLUE, "rsync -a": VERMILLION, "cp -a": GREEN}


def draw(book: Book, where: Path) -> list[Path]:
    """Draw what the results are enough for; the files, none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    from matplotlib import pyplot

    drawn = []
    kinds: dict[str, Callable[[Any, Book], Any]] = {"ratios": _ratios, "growth": _growth, "phases": _phases}
    with matplotlib.rc_context(STYLE):
        for name, kind in kinds.items():
            path = where / f"{name}.svg"
            path.unlink(missing_ok=True)
            if figure := kind(pyplot, book):
                where.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, metadata={"Date": None})
                pyplot.close(figure)
                drawn.append(path)
    return drawn


def _ratios(pyplot: Any, book: Book) -> Any:
    """A bar for each comparison, from 1 to the ratio: to the left where we took less time."""
    found = [*_telling(book)]
    if not found:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 1.1 + 0.24 * len(found) + 0.14 * len(_groups(found))))
    place, heads = 0.0, []
    for part, group in _groups(found).items():
        place -= 0.55
        for pair in group:
            value, low, high = pair.ratio.median, pair.ratio.low, pair.ratio.high
            colour = BLUE if value <= 1 else VERMILLION
            axes.barh(place, value - 1, left=1, color=colour, height=0.72)
            axes.plot((low, high), (place, place), color="black", linewidth=1)
            end, align, shift = (min(low, 1), "right", -3) if value <= 1 else (max(high, 1), "left", 3)
            axes.annotate(
                f"{value:.2f}", (end, place), (shift, 0), textcoords="offset points", ha=align, va="center"
            )
            heads.append((place, f"{part}: {pair.peer}"))
            place -= 1
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    lowest, highest = min(each.ratio.low for each in found), max(each.ratio.high for each in found)
    axes.set_xlim(min(lowest / 1.8, 0.5), max(highest * 1.8, 2))
    axes.set_ylim(place, 0.2)
    axes.set_yticks([height for height, _ in heads], [text for _, text in heads])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(pyplot.LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(pyplot.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(pyplot.NullFormatter())
    axes.grid(axis="x", color="#dddddd")
    axes.set_xlabel("time of atomsync ÷ time of the peer: median, and range over the rounds")
    sides = (("atomsync faster", "right", -6, BLUE), ("slower", "left", 6, VERMILLION))
    for text, align, shift, colour in sides:
        axes.annotate(
            text, (1, 0.2), (shift, 2), textcoords="offset points", ha=align, color=colour, weight="bold"
        )
    return figure


def _growth(pyplot: Any, book: Book) -> Any:
    """Seconds against entries, one panel for each kind of push, a line for each command."""
    parts = book.results["growth"].parts if "growth" in book.results else []
    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for part in parts:
        for timing in () if part.watched else part.timings:
            panel = lines.setdefault(part.title.partition(",")[0], {})
            panel.setdefault(timing.name, []).append((part.entries, median(timing.seconds)))
    if not lines:
        return None
    figure, panels = pyplot.subplots(
        1, len(lines), figsize=(4.6 * len(lines), 3.8), sharey=True, squeeze=False
    )
    heights = [second for panel in lines.values() for points in panel.values() for _, second in points]
    line = (max(heights) / min(heights)) ** (1 / 17)  # of text, on the common axis
    for axes, (kind, commands) in zip(panels[0], lines.items()):
        for command, points in commands.items():
            colour = OF_COMMAND.get(command, GREY)
            axes.plot(*zip(*sorted(points)), marker="o", markersize=4, color=colour)
        ends = sorted((max(points)[1], command) for command, points in commands.items())
        right = max(max(points)[0] for points in commands.values())
        for (_, command), height in zip(ends, _apart([end for end, _ in ends], line)):
            colour = OF_COMMAND.get(command, GREY)
            axes.annotate(
                command, (right, height), (7, 0), textcoords="offset points", va="center", color=colour
            )
        axes.set(xscale="log", yscale="log", xlabel="entries", title=kind)
        axes.set_xlim(right=right * 6)
        axes.grid(color="#dddddd")
    panels[0][0].set_ylabel("seconds")
    return figure


def _phases(pyplot: Any, book: Book) -> Any:
    """A bar for each push, divided by what its time went to."""
    shown = {pair.part for pair in _telling(book)}
    found = [
        (title, phases)
        for result in book.results.values()
        for title, phases in result.phases.items()
        if sum(phases.values()) > 0 and title in shown
    ]
    if not found:
        return None
    names = list(dict.fromkeys(name for _, phases in found for name in phases))
    palette = (ORANGE, BLUE, GREEN, PURPLE, VERMILLION, SKY, GREY)
    colours = {name: palette[position % len(palette)] for position, name in enumerate(names)}
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.3 * len(found)))
    for place, (_, phases) in enumerate(found):
        whole, begin = sum(phases.values()), 0.0
        for name in names:
            share = phases.get(name, 0.0) / whole * 100
            axes.barh(
                place, share, left=begin, color=colours[name], height=0.7, label=name if not place else None
            )
            if share >= 6:
                ink = "black" if colours[name] in LIGHT else "white"
                axes.text(begin + share / 2, place, f"{share:.0f}", ha="center", va="center", color=ink)
            begin += share
        axes.text(101, place, _duration(whole), va="center")
    axes.set_yticks(range(len(found)), [title for title, _ in found])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set(xlim=(0, 112), xlabel="% of the time between the start of the scan and the receipt")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def _telling(book: Book) -> Iterator[Pair]:
    """All but the smaller trees of the growth, which has a picture of its own."""
    found = [*pairs(book.results)]
    largest = max((pair.entries for pair in found if pair.case == "growth"), default=0)
    return (pair for pair in found if pair.case != "growth" or pair.entries == largest)


def _groups(found: Iterable[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in found:
        groups.setdefault(pair.part, []).append(pair)
    return groups


def _apart(heights: list[float], factor: float) -> list[float]:
    """Places for labels at these heights, in rising order, each at least ``factor`` above the one before."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] * factor) if placed else height)
    return placed


def _duration(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"
