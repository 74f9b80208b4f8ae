"""atomsync: a directory follows another in whole batches, never half.

The front door. Names are loaded when first used, so that ``atomsync --version`` and the helper
process of a large push do not pay for what they do not need.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsync.errors import AtomSyncError
    from atomsync.store.commit import Receipt
    from atomsync.store.store import Store, open_store
    from atomsync.sync.push import Report, push
    from atomsync.tree.filters import Filters
    from atomsync.unit.work import StagedFile, UnitOfWork

__all__ = [
    "AtomSyncError",
    "Filters",
    "Receipt",
    "Report",
    "StagedFile",
    "Store",
    "UnitOfWork",
    "open_store",
    "push",
]
__version__ = "0.1.0"

_HOMES = {
    "AtomSyncError": "atomsync.errors",
    "Filters": "atomsync.tree.filters",
    "Receipt": "atomsync.store.commit",
    "Report": "atomsync.sync.push",
    "StagedFile": "atomsync.unit.work",
    "Store": "atomsync.store.store",
    "UnitOfWork": "atomsync.unit.work",
    "open_store": "atomsync.store.store",
    "push": "atomsync.sync.push",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'atomsync' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
