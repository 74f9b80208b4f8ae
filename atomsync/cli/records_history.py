"""What a program reads of the history; ``docs/json.md`` is its contract."""

from __future__ import annotations

from collections.abc import Iterator

from atomsync.cli.records import line
from atomsync.cli.render import tally
from atomsync.cli.render_history import diff
from atomsync.store.retention import Collected
from atomsync.store.telling import PastChange, PastUnit
from atomsync.sync.facts import change_facts, receipt_facts
from atomsync.unit.reverting import Reverted


def unit(found: PastUnit) -> str:
    fields = found._asdict()
    return line("unit", **fields | {name: fields[name] or None for name in ("undoes", "restores")})


def shown(found: PastChange, *, with_diff: bool) -> str:
    fields: dict[str, object] = {
        "old_digest": found.old_digest or None,
        "new_digest": found.new_digest or None,
    }
    if with_diff:
        both = found.old is not None and found.new is not None
        fields |= {"diff": list(diff(found)) if both else None, "note": found.note}
    return line("change", **change_facts(found.change), **fields)


def reverted(found: Reverted, way: str, *, verbose: bool) -> Iterator[str]:
    if verbose:
        yield from (line("change", **change_facts(each)) for each in found.changes if each.visible)
    about = {way: found.unit_id or None, "lost": list(found.lost)}
    receipt = found.receipt
    if receipt is None:
        created, updated, removed = tally(found.changes)
        yield line("plan", created=created, updated=updated, removed=removed, **about)
        return
    yield line("receipt", **receipt_facts(receipt), **about)


def collected(found: Collected) -> str:
    return line("gc", **found._asdict() | {"units": list(found.units), "warnings": list(found.warnings)})
