"""A large model and the manifest that vouches for it: python examples/model_and_manifest.py DIR

The model never is in memory as a whole. Whoever reads the manifest finds the very model it speaks of, by
digest; a bad one is noticed before anybody has it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from atomsync import Store, open_store


def trained(version: int) -> Iterator[bytes]:
    """Stands for your training: megabytes, part by part."""
    for part in range(8):
        yield bytes([version, part]) * 500_000


def publish(store: Store, version: int) -> str:
    """Returns the digest of what is in place now."""
    with store.begin(message=f"model {version}") as unit:
        with unit.open("model.bin", "wb") as file:
            for part in trained(version):
                file.write(part)
        (evidence,) = unit.flush()  # on the disk, read back, still invisible
        if evidence.size != 8_000_000:
            raise ValueError(f"a model of {evidence.size:,} bytes cannot be right")
        manifest = {"version": version, "size": evidence.size, "xxh3_128": evidence.digest}
        unit.write("model.json", json.dumps(manifest, indent=2) + "\n")
    return evidence.digest


def main(directory: str) -> None:
    store = open_store(directory)
    for version in (1, 2):
        print(f"model {version}: {publish(store, version)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
