"""What a program is told of a change and a receipt, as plain values: the same by ``--json`` and to hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atomsync.plan.change import Change
    from atomsync.store.commit import Receipt

SCHEMA = 1


def change_facts(change: Change) -> dict[str, object]:
    entry = change.new or change.old
    assert entry is not None
    what = "create" if change.old is None else "remove" if change.new is None else "update"
    return {"change": what, "path": change.path, "kind": entry.kind, "content": change.content}


def receipt_facts(receipt: Receipt) -> dict[str, object]:
    return {
        "unit": receipt.unit_id or None,
        "created": receipt.created,
        "updated": receipt.updated,
        "removed": receipt.removed,
        "bytes": receipt.bytes,
        "window_ms": round(receipt.window_ms, 3),
        "swap_class": receipt.swap_class,
        "durability": receipt.durability,
        "warnings": list(receipt.warnings),
    }
