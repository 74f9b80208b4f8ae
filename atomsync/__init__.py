"""atomsync: a directory follows another in whole batches, never half.

The front door. Names are loaded when first used, so that ``atomsync --version`` and the second
process of a large push do not pay for what they do not need.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs as much as all the rest of ``--version``
if TYPE_CHECKING:
    from typing import Any

    from atomsync.errors import AtomSyncError
    from atomsync.store.commit import Receipt
    from atomsync.store.prepared import PreparedUnit
    from atomsync.sync.push import push
    from atomsync.sync.report import Report
    from atomsync.tree.filters import Filters
    from atomsync.unit.expected import ABSENT, ANY, digest
    from atomsync.unit.maker import UnitMaker, unit_maker
    from atomsync.unit.savepoint import Savepoint
    from atomsync.unit.store import Store, open_store
    from atomsync.unit.work import StagedFile, UnitOfWork

__all__ = [
    "ABSENT",
    "ANY",
    "AtomSyncError",
    "Filters",
    "PreparedUnit",
    "Receipt",
    "Report",
    "Savepoint",
    "StagedFile",
    "Store",
    "UnitMaker",
    "UnitOfWork",
    "digest",
    "open_store",
    "push",
    "unit_maker",
]
__version__ = "0.1.0"

_HOMES = {
    "ABSENT": "atomsync.unit.expected",
    "ANY": "atomsync.unit.expected",
    "AtomSyncError": "atomsync.errors",
    "Filters": "atomsync.tree.filters",
    "PreparedUnit": "atomsync.store.prepared",
    "Receipt": "atomsync.store.commit",
    "Report": "atomsync.sync.report",
    "Savepoint": "atomsync.unit.savepoint",
    "StagedFile": "atomsync.unit.work",
    "Store": "atomsync.unit.store",
    "UnitMaker": "atomsync.unit.maker",
    "UnitOfWork": "atomsync.unit.work",
    "digest": "atomsync.unit.expected",
    "open_store": "atomsync.unit.store",
    "push": "atomsync.sync.push",
    "unit_maker": "atomsync.unit.maker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'atomsync' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
