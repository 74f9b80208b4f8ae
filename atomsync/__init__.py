"""atomsync: a directory follows another in whole batches, never half."""

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
