"""``python -m tests.proof.report docs/proof.md``: the figures of the last full run, as tables in a document.

They stand between two marks there; everything else of the document is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.proof.figures import Figure

KEPT = Path(__file__).parents[2] / "build" / "proof"
LAYERS = (
    "model",
    "kills",
    "errors",
    "lies",
    "conformance",
    "power cuts",
    "shutdown",
    "full disks",
    "bad disks",
    "readers",
    "foreign",
    "sources",
    "attackers",
    "forged",
    "fuzz",
    "at once",
    "prepared",
    "crowd",
    "both",
)
MUTANTS = "mutants"


def figures_table(figures: Iterable[Figure]) -> list[str]:
    lines = ["| layer | case | judged | of which | violations |", "|---|---|---:|---|---:|"]
    for layer, case, numbers in figures:
        rest = dict(numbers)
        judged, violations = rest.pop("judged", ""), rest.pop("violations", "")
        told = ", ".join(
            f"{_number(value)} {name}" if isinstance(value, int) else f"{name} {value}"
            for name, value in rest.items()
        )
        lines.append(f"| {layer} | {case} | {_number(judged)} | {told} | {_number(violations)} |")
    return lines


def mutants_table(figures: Iterable[Figure]) -> list[str]:
    """Mutant × layer: the number of states that a layer judged until it caught the mutant."""
    rows = {case: numbers for _, case, numbers in figures}
    layers = list(dict.fromkeys(layer for numbers in rows.values() for layer in numbers))
    lines = ["| switched off | " + " | ".join(layers) + " |", "|---|" + "---|" * len(layers)]
    for name, numbers in rows.items():
        cells = [str(numbers.get(layer, "")) for layer in layers]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def replaced(document: str, mark: str, lines: list[str]) -> str:
    """The document with what stands between ``<!-- mark -->`` and ``<!-- /mark -->`` replaced."""
    text = "\n".join(lines)
    done, count = re.subn(
        f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)",
        lambda found: f"{found[1]}{text}\n{found[2]}",
        document,
        flags=re.S,
    )
    if count != 1:
        raise SystemExit(f"the document has no place for {mark}")
    return done


def main(document: Path, kept: Path = KEPT) -> None:
    """Print what was kept; put it into ``document``, if every layer ran. SystemExit if nothing did."""
    paths = sorted(kept.glob("figures-*.json"), key=lambda path: path.stat().st_mtime)
    runs: list[dict[str, Any]] = [json.loads(path.read_text()) for path in paths]
    # A part that was run again stands for what it was before.
    figures = [*{tuple(found[:2]): Figure(*found) for run in runs for found in run["figures"]}.values()]
    if not figures:
        raise SystemExit("nothing ran, so nothing is proven")
    order = {layer: at for at, layer in enumerate(LAYERS)}
    proven = sorted(
        (figure for figure in figures if figure.layer != MUTANTS),
        key=lambda figure: (order.get(figure.layer, len(order)), figure.case),
    )
    states = sum(int(figure.numbers.get("judged", 0)) for figure in proven)
    head = "{date}, Linux {kernel}, Python {python}. ".format_map(runs[-1])
    head += f"{states:,} states judged."
    table = [head, "", *figures_table(proven)]
    print(*table, sep="\n")
    table[0] = f"Last full run: {head}"
    missing = {*LAYERS, MUTANTS} - {figure.layer for figure in figures}
    if missing:
        print(f"{document} stays as it is: these layers did not run:", ", ".join(sorted(missing)))
        return
    mutants = sorted(
        (figure for figure in figures if figure.layer == MUTANTS), key=lambda figure: figure.case
    )
    text = replaced(document.read_text(), "figures", table)
    document.write_text(replaced(text, "mutants", mutants_table(mutants)))


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
