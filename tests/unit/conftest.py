"""The worlds of the store's conformance suite, for the unit of work."""

from tests.store.conftest import make, simulate

__all__ = ["make", "simulate"]
