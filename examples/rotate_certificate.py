"""A certificate and its key change together: python examples/rotate_certificate.py DIR

A server that reloads finds a pair that fits. If somebody rotated them meanwhile, theirs stay.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from typing import NamedTuple

from atomsync import ABSENT, Store, UnitOfWork, open_store
from atomsync.errors import StaleEntry


class Pair(NamedTuple):
    certificate: str
    key: str


def issued(name: str) -> Pair:
    """Stands for your authority: a new key, and a certificate that names it."""
    key = secrets.token_hex(32)
    return Pair(f"certificate of {name} for key {hashlib.sha256(key.encode()).hexdigest()}\n", key + "\n")


def seen(store: Store) -> str | None:
    """The digest of the certificate that is in use; None if there is none."""
    with UnitOfWork(store) as unit:
        return unit.digest("server.crt") if unit.exists("server.crt") else None


def rotate(store: Store, pair: Pair, instead_of: str | None) -> None:
    """Put ``pair`` in place, if the certificate there is still the one that was seen."""
    with store.begin(message="certificate") as unit:
        unit.write("server.crt", pair.certificate, mode=0o644, expected=instead_of or ABSENT)
        unit.write("server.key", pair.key, mode=0o600)


def main(directory: str) -> None:
    store = open_store(directory)
    before = seen(store)
    rotate(store, issued("example.org"), before)  # issuing may take minutes; nothing is locked meanwhile
    print("rotated")
    try:
        rotate(store, issued("example.org"), before)
    except StaleEntry as error:
        print(f"not rotated: {error.what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
